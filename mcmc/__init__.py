"""Classical Monte Carlo of two-dimensional lattice spin models: exact kernels, honest files and error bars."""

from mcmc.errors import InputError
from mcmc.models.lattice import Lattice, wrap
from mcmc.models.presets import XY, ExtendedXY, Model, model_from_name

__version__ = "0.1.0"

__all__ = ["XY", "ExtendedXY", "InputError", "Lattice", "Model", "model_from_name", "wrap"]
