"""Numba kernels, one algorithm a file; each advances many independent replicas in place.

A *block* holds W replicas (a multiple of `conventions.WIDTH` = 16) of an N-site lattice as unit vectors: flat float32
arrays ``x`` and ``y`` of N * W numbers, replica index innermost. Sites are visited in order, so that any periodic
rectangle will do. Every random number is Philox's answer to (move, site) under the 128-bit key of the replica; a
*move* is a number never used twice in a run. So nothing depends on the order in which blocks run or on which replicas
share one.

Arguments common to the kernels, by themselves or in a `conventions.BlockArrays`:

- ``x``, ``y``: float32 (N * W,), the block.
- ``beta``: float32 (W,), inverse temperatures.
- ``keys``: uint32 (4 * W,), the replicas' keys, word by word.
- ``neighbours``: int32 (N, 8): east, west, south, north, SE, NE, SW, NW.
- ``J``, ``K``: float32 couplings.
- ``move``: uint64, the number of the (first) move.
- ``accepted``: float32 (W,), to which accepted proposals are added.
- ``order``: (first, last, length, stride, pitch), the sites that a sweep visits: between first and last in runs of
  ``length``, which begin ``pitch`` apart, of each run every stride-th site, then the ones after these, and so on.

A lattice may also be cut into strips, one a lane: see `mcmc.kernels.strips`. Then N is the number of a strip's sites.

Import a kernel's module only where it runs: importing numba takes a second.

With ``LATTICEFLOW_CHECK_KERNELS=1`` in the environment kernels are compiled with every access to an array checked: an
index beyond its end raises IndexError, where it would otherwise overwrite memory. They then run several times slower.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from mcmc.runtime.compiler import prepare_environment

CHECKED = os.environ.get("LATTICEFLOW_CHECK_KERNELS", "0") not in ("", "0")
"""Whether accesses to arrays are checked."""


def _check_accesses() -> None:
    """Have numba check indices too, and keep this code apart from the usual one; read when numba is imported."""
    os.environ["NUMBA_BOUNDSCHECK"] = "1"
    home = os.environ.get("NUMBA_CACHE_DIR") or str(Path(__file__).parent / "__pycache__")
    os.environ["NUMBA_CACHE_DIR"] = str(Path(home) / "checked")


def _forget_stale_code() -> None:
    """Delete compiled kernels older than any kernel's source: numba looks only at the file that a kernel is in."""
    here = Path(__file__).parent
    newest = max(path.stat().st_mtime for path in here.glob("*.py"))
    for index in (here / "__pycache__").rglob("*.nbi"):
        with suppress(OSError):
            if index.stat().st_mtime < newest:
                index.unlink()


prepare_environment(Path(__file__).parent)
if CHECKED:
    _check_accesses()
_forget_stale_code()
