"""How fast kernels and observables are."""
