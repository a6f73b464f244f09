"""How kernels are compiled: helpers into their callers, each sweep once by itself, to be called by its address.

Numba would optimise a function again in every function that calls it, and write machine code for all of them. What
takes arrays of a whole block is therefore compiled by itself, where it is first needed, and `mcmc.kernels.steps` calls
it through a pointer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.core.typing import signature
from numba.extending import intrinsic

from mcmc.kernels import CHECKED
from mcmc.kernels.compilation import KernelCompiler, PartCompiler
from mcmc.runtime.compiler import announce_compilation, require_compiler

require_compiler()
announce_compilation("mcmc.kernels")

_njit: Any = njit  # whose annotations do not know all of its options


_PLAIN: Any = {"no_cfunc_wrapper": True, "_nrt": CHECKED}
"""Options of all functions that make no arrays, which need no counts of the references to them."""
PART: Any = {"pipeline_class": PartCompiler, "no_cpython_wrapper": True, **_PLAIN}
"""Options of a function that only compiled code calls, a part of its callers. It may take lanes or pointers, which
Python cannot give."""
INLINED: Any = {"forceinline": True, **PART}
"""Options of one that all its callers take in."""


def part(function: Callable) -> Any:
    """Compile a function together with those that call it; see `PART`."""
    return _njit(**PART)(function)


def helper(function: Callable) -> Any:
    """Compile a function into those that call it; see `INLINED`."""
    return _njit(**INLINED)(function)


def entry(function: Callable) -> Any:
    """Compile a function that Python calls, and that makes no arrays; it does not hold Python's lock."""
    return _njit(cache=True, nogil=True, pipeline_class=KernelCompiler, **_PLAIN)(function)


class Kernel:
    """A function of a `BlockArrays` and a tuple of further arguments that `Caller` calls by its address.

    Args:
        function: what to compile; it returns nothing, and makes no arrays.
    """

    def __init__(self, function: Callable):
        self.dispatcher = _njit(cache=True, no_cpython_wrapper=True, pipeline_class=KernelCompiler, **_PLAIN)(function)


class Caller:
    """Kernels that take further arguments of the same types, and how compiled code calls one of them.

    Args:
        kinds: numba's types of the arguments.

    Attributes:
        invoke: in a jitted function ``invoke(address, block, arguments)`` calls a kernel with a tuple of arguments.
    """

    def __init__(self, *kinds: types.Type):
        self._kinds = kinds
        self.invoke: Any = _invocation(kinds)

    def address(self, kernel: Kernel, block: types.Type) -> int:
        """Where the machine code of a kernel for blocks of this type begins; compiled if need be."""
        compiled = kernel.dispatcher.get_compile_result(signature(types.none, block, *self._kinds))
        return compiled.library.get_pointer_to_function(compiled.fndesc.llvm_func_name)


def _invocation(kinds: tuple[types.Type, ...]) -> Any:
    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        convention, passed = context.call_conv, [sig.args[1], *kinds]
        pointer = builder.inttoptr(args[0], ir.PointerType(convention.get_function_type(types.none, passed)))
        values = [args[1], *cgutils.unpack_tuple(builder, args[2], len(kinds))]
        status, _ = convention.call_function(builder, pointer, types.none, passed, values)
        with cgutils.if_unlikely(builder, status.is_error):
            convention.return_status_propagate(builder, status)
        return context.get_dummy_value()

    @intrinsic
    def invoke(typing: Any, address: Any, block: Any, arguments: Any) -> Any:
        return types.void(types.intp, block, types.Tuple(kinds)), emit

    return invoke
