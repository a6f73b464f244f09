"""Where the threads that share a lattice wait for one another, within a kernel."""

from __future__ import annotations

import os
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic as _intrinsic

from mcmc.kernels.calls import helper

intrinsic: Any = _intrinsic
_YIELD = "SwitchToThread" if os.name == "nt" else "sched_yield"
"""The operating system's function that lets other threads run."""
_PATIENCE = 2000
"""Looks before a thread lets others run: some microseconds."""


@intrinsic
def _add_one(typing: Any, array: Any) -> Any:
    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        data = context.make_array(sig.args[0])(context, builder, args[0]).data
        builder.atomic_rmw("add", data, ir.Constant(ir.IntType(64), 1), "seq_cst")
        return context.get_dummy_value()

    return types.void(array), emit


@intrinsic
def _look(typing: Any, array: Any, index: Any) -> Any:
    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        data = context.make_array(sig.args[0])(context, builder, args[0]).data
        return builder.load_atomic(builder.gep(data, [args[1]]), "seq_cst", 8)

    return types.int64(array, types.intp), emit


@intrinsic
def _let_others_run(typing: Any) -> Any:
    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        kind = ir.FunctionType(ir.IntType(32), [])
        builder.call(cgutils.get_or_insert_function(builder.module, kind, _YIELD), [])
        return context.get_dummy_value()

    return types.void(), emit


@helper
def wait_for_all(arrived: Any, threads: Any, barriers: Any) -> Any:
    """Wait until all threads have come here.

    Args:
        arrived: int64 (2,), how often threads have come to a barrier since all began; and, if not 0, that one of them
            will come no more, so that nobody waits.
        threads: how many there are.
        barriers: how many barriers this thread has passed.

    Returns:
        How many it has passed now.
    """
    if threads > 1:
        _add_one(arrived)
        looks = 0
        while _look(arrived, 0) < (barriers + 1) * threads and not _look(arrived, 1):
            looks += 1
            if looks > _PATIENCE:
                _let_others_run()
    return barriers + 1
