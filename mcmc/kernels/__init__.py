"""Numba kernels, one algorithm a file; each advances many independent replicas in place.

Replicas are unit vectors ``x[N, R]``, ``y[N, R]`` (float32, replica index innermost) with ``beta[R]`` and a
stream key per replica. Import a kernel's module only where it runs: importing numba takes a second.
"""
