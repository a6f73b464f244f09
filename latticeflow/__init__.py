"""Flow-accelerated Monte Carlo of lattice spin models: learned proposals that a Metropolis test makes exact."""

from mcmc import __version__

__all__ = ["__version__"]
