"""What a sampler has kept of a density: its modes, and the distributions of energy and magnetisation."""
