"""What a configuration is and what it is worth: the models, the lattice, observables of configurations."""
