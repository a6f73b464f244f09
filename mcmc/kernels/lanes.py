"""Sixteen replicas in one value: a vector type for numba.

Numba 0.68 vectorises plain loops over replicas only in part: these kernels written so ran at a quarter of the speed
(0.45 instead of 2.3 thousand million over-relaxed spins a second on one Zen 5 core). Here arithmetic on `F32`, `U32`,
`U64` and `MASK` values compiles to single LLVM vector instructions, which LLVM splits on processors with narrower
registers. Every operation is exactly rounded IEEE arithmetic (no approximate reciprocal, no contraction), so results
are the same bytes everywhere.

Inside a jitted function: ``p = pointer(array)``, ``a = load(p, index)``, then ``+ - * /``, comparisons with ``<`` and
``>``, `where`, and numbers, which spread over all lanes; ``store(p, index, a)`` writes back.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.imputils import lower_builtin, lower_cast
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic as _intrinsic
from numba.extending import models, register_model

from mcmc.kernels import CHECKED
from mcmc.kernels.calls import helper
from mcmc.kernels.conventions import WIDTH

# Compiled callers pass other arguments than Python sees in the signatures below.
intrinsic: Any = _intrinsic


class Lanes(types.Type):
    """Numba type of `WIDTH` numbers of one kind."""

    def __init__(self, dtype: types.Type):
        self.dtype = dtype
        super().__init__(name=f"lanes({dtype})")


F32, U32, U64, MASK = (Lanes(t) for t in (types.float32, types.uint32, types.uint64, types.boolean))
_ELEMENTS: dict[Any, ir.Type] = {
    types.float32: ir.FloatType(),
    types.uint32: ir.IntType(32),
    types.uint64: ir.IntType(64),
    types.boolean: ir.IntType(1),
}


def _vector(kind: Lanes) -> ir.VectorType:
    return ir.VectorType(_ELEMENTS[kind.dtype], WIDTH)


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Lanes):
        super().__init__(manager, kind, _vector(kind))


@lower_cast(types.Number, Lanes)
@lower_cast(types.Literal, Lanes)
def _spread(context: Any, builder: Any, source: Any, target: Lanes, value: Any) -> Any:
    if isinstance(source, types.Literal):
        value = context.get_constant(target.dtype, source.literal_value)
    else:
        value = context.cast(builder, value, source, target.dtype)
    start = ir.Constant(ir.VectorType(value.type, WIDTH), ir.Undefined)
    single = builder.insert_element(start, value, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(single, single, ir.Constant(ir.VectorType(ir.IntType(32), WIDTH), [0] * WIDTH))


def _operator(symbol: Callable, emits: dict[Lanes, Callable], arity: int = 2, result: Lanes | None = None) -> None:
    """Give ``symbol`` a meaning for lanes of some kinds, numbers among the operands included."""

    class Template(AbstractTemplate):
        # So it is tried before all that numba knows itself.
        metadata: Any = {"target": "cpu"}  # noqa: RUF012

        def generic(self, args: Any, kws: Any) -> Any:
            for kind in args:
                if kind in emits and len(args) == arity:
                    return signature(result or kind, *[kind] * arity)
            # What numba would find too, after it had tried some dozens of other meanings of the symbol.
            if args == (types.int64,) * 2 and symbol is not operator.truediv:
                return signature(types.boolean if result else types.int64, *args)
            return None

    infer_global(symbol)(Template)
    for kind, emit in emits.items():
        lower_builtin(symbol, *[kind] * arity)(partial(_emitted, emit))


def _emitted(emit: Callable, context: Any, builder: Any, sig: Any, args: Any) -> Any:
    return emit(builder, *args)


_operator(operator.add, {F32: ir.IRBuilder.fadd, U32: ir.IRBuilder.add, U64: ir.IRBuilder.add})
_operator(operator.mul, {F32: ir.IRBuilder.fmul, U32: ir.IRBuilder.mul, U64: ir.IRBuilder.mul})
_operator(operator.sub, {F32: ir.IRBuilder.fsub, U32: ir.IRBuilder.sub})
_operator(operator.truediv, {F32: ir.IRBuilder.fdiv})
_operator(operator.neg, {F32: ir.IRBuilder.fneg}, 1)
_operator(
    operator.lt,
    {
        F32: lambda builder, a, b: builder.fcmp_ordered("<", a, b),
        U32: lambda builder, a, b: builder.icmp_unsigned("<", a, b),
    },
    result=MASK,
)
_operator(operator.gt, {F32: lambda builder, a, b: builder.fcmp_ordered(">", a, b)}, result=MASK)
_operator(operator.ne, {U32: lambda builder, a, b: builder.icmp_unsigned("!=", a, b)}, result=MASK)
_operator(operator.xor, dict.fromkeys((U32, U64), ir.IRBuilder.xor))
_operator(operator.and_, dict.fromkeys((U32, U64, MASK), ir.IRBuilder.and_))
_operator(operator.lshift, dict.fromkeys((U32, U64), ir.IRBuilder.shl))
_operator(operator.rshift, dict.fromkeys((U32, U64), ir.IRBuilder.lshr))


def _function(result: Lanes, *kinds: Lanes) -> Any:
    """Make a jit-callable function of lanes from what it emits."""

    def make(emit: Callable) -> Any:
        def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            return emit(builder, *args)

        # Numba reads the number of arguments off the signature.
        typers = {
            1: lambda typing, a: (signature(result, *kinds), lower),
            2: lambda typing, a, b: (signature(result, *kinds), lower),
            3: lambda typing, a, b, c: (signature(result, *kinds), lower),
        }
        return intrinsic(typers[len(kinds)])

    return make


def _call(builder: Any, name: str, *args: Any) -> Any:
    kind = ir.FunctionType(args[0].type, [a.type for a in args])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), args)


@_function(F32, F32)
def sqrt(builder: Any, a: Any) -> Any:
    """Square root."""
    return _call(builder, f"llvm.sqrt.v{WIDTH}f32", a)


@_function(F32, F32)
def floor(builder: Any, a: Any) -> Any:
    """Largest whole number not above a."""
    return _call(builder, f"llvm.floor.v{WIDTH}f32", a)


@_function(F32, F32, F32, F32)
def fma(builder: Any, a: Any, b: Any, c: Any) -> Any:
    """a * b + c, rounded once."""
    return _call(builder, f"llvm.fma.v{WIDTH}f32", a, b, c)


@_function(F32, F32)
def absolute(builder: Any, a: Any) -> Any:
    """Magnitude."""
    return _call(builder, f"llvm.fabs.v{WIDTH}f32", a)


@_function(F32, F32, F32)
def minimum(builder: Any, a: Any, b: Any) -> Any:
    """The smaller one."""
    return builder.select(builder.fcmp_ordered("<", a, b), a, b)


@_function(F32, F32, F32)
def maximum(builder: Any, a: Any, b: Any) -> Any:
    """The larger one."""
    return builder.select(builder.fcmp_ordered(">", a, b), a, b)


@intrinsic
def where(typing: Any, mask: Any, a: Any, b: Any) -> Any:
    """``a`` where the mask holds, else ``b``; floats unless one of them is whole numbers."""
    kind = U32 if U32 in (a, b) else F32
    return kind(MASK, kind, kind), lambda context, builder, sig, args: builder.select(*args)


@_function(F32, U32)
def signed(builder: Any, a: Any) -> Any:
    """The bits of a, read as a signed whole number, as float."""
    return builder.sitofp(a, _vector(F32))


@_function(U32, F32)
def whole(builder: Any, a: Any) -> Any:
    """Signed whole number of a, as bits."""
    return builder.fptosi(a, _vector(U32))


@_function(U32, MASK)
def ones(builder: Any, mask: Any) -> Any:
    """1 where the mask holds, else 0."""
    return builder.zext(mask, _vector(U32))


@_function(F32, U32)
def as_float(builder: Any, a: Any) -> Any:
    """Reinterpret bits as float."""
    return builder.bitcast(a, _vector(F32))


@_function(U64, U32)
def widen(builder: Any, a: Any) -> Any:
    """The same numbers in 64 bits."""
    return builder.zext(a, _vector(U64))


@_function(U32, U64)
def narrow(builder: Any, a: Any) -> Any:
    """The lower 32 bits."""
    return builder.trunc(a, _vector(U32))


@_function(U32, U32)
def count_up(builder: Any, a: Any) -> Any:
    """A plus the lane's number 0, 1, ..."""
    return builder.add(a, ir.Constant(a.type, list(range(WIDTH))))


def _shuffle(source: Callable[[int], int], kind: Lanes = F32) -> Any:
    """A function of lanes whose lane k is lane ``source(k)`` of its argument."""
    order = [source(k) for k in range(WIDTH)]

    def emit(builder: Any, a: Any) -> Any:
        return builder.shuffle_vector(a, a, ir.Constant(ir.VectorType(ir.IntType(32), WIDTH), order))

    return _function(kind, kind)(emit)


def _rotation(group: int, by: int) -> Any:
    return _shuffle(lambda k: k // group * group + (k + by) % group)


def _shift_up(by: int) -> Any:
    return _shuffle(lambda k: max(k - by, 0), U32)


_next2, _next4, _next8, _next16 = (_rotation(group, 1) for group in (2, 4, 8, 16))
_last2, _last4, _last8, _last16 = (_rotation(group, -1) for group in (2, 4, 8, 16))
_swap1, _swap2, _swap4, _swap8 = (_shuffle(bit.__xor__) for bit in (1, 2, 4, 8))
_up1, _up2, _up4, _up8 = (_shift_up(by) for by in (1, 2, 4, 8))
_last = _shuffle(lambda k: WIDTH - 1, U32)


@helper
def from_next(a: Any, group: Any) -> Any:
    """Each lane receives the lane after it, the last of every ``group`` (2, 4, 8 or 16) the first."""
    if group == 2:
        return _next2(a)
    if group == 4:
        return _next4(a)
    if group == 8:
        return _next8(a)
    return _next16(a)


@helper
def from_last(a: Any, group: Any) -> Any:
    """Each lane receives the lane before it, the first of every ``group`` (2, 4, 8 or 16) the last."""
    if group == 2:
        return _last2(a)
    if group == 4:
        return _last4(a)
    if group == 8:
        return _last8(a)
    return _last16(a)


@helper
def group_sum(a: Any, group: Any) -> Any:
    """Every lane receives the sum over its ``group`` (1, 2, 4, 8 or 16) of lanes, the same bits in each."""
    if group > 1:
        a = a + _swap1(a)
    if group > 2:
        a = a + _swap2(a)
    if group > 4:
        a = a + _swap4(a)
    if group > 8:
        a = a + _swap8(a)
    return a


@helper
def run_starts(a: Any, joined: Any, before: Any) -> Any:
    """Each lane receives the number of the first lane of its run.

    Args:
        a: U32, a number for every lane.
        joined: bits, lane k in bit k: whether the lane belongs to the run of the lane before.
        before: U32, whose last lane is the one before the first.
    """
    a = where(mask_of(joined & 1), _last(before), a)
    joined = joined & 0xFFFE
    a = where(mask_of(joined), _up1(a), a)
    joined = joined & (joined << 1)
    a = where(mask_of(joined), _up2(a), a)
    joined = joined & (joined << 2)
    a = where(mask_of(joined), _up4(a), a)
    joined = joined & (joined << 4)
    return where(mask_of(joined), _up8(a), a)


@_function(U32, MASK, U32)
def compress(builder: Any, mask: Any, a: Any) -> Any:
    """The lanes where the mask holds, one after the other from the first lane on; nothing is known of the rest."""
    name = f"llvm.experimental.vector.compress.v{WIDTH}i32"
    return _call(builder, name, a, mask, ir.Constant(a.type, ir.Undefined))


@intrinsic
def spread(typing: Any, a: Any) -> Any:
    """A number in all lanes."""
    kind = Lanes(types.unliteral(a))
    return kind(kind.dtype), lambda context, builder, sig, args: _spread(context, builder, kind.dtype, kind, args[0])


@intrinsic
def any_lane(typing: Any, mask: Any) -> Any:
    """Whether the mask holds anywhere."""

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        bits = builder.bitcast(args[0], ir.IntType(WIDTH))
        return builder.icmp_unsigned("!=", bits, ir.Constant(bits.type, 0))

    return types.boolean(MASK), emit


@intrinsic
def bits(typing: Any, mask: Any) -> Any:
    """The mask as a whole number, lane k in bit k."""

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.zext(builder.bitcast(args[0], ir.IntType(WIDTH)), ir.IntType(64))

    return types.int64(MASK), emit


@intrinsic
def mask_of(typing: Any, number: Any) -> Any:
    """The mask of which lane k is bit k of a whole number."""

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.bitcast(builder.trunc(args[0], ir.IntType(WIDTH)), _vector(MASK))

    return MASK(types.int64), emit


@intrinsic
def count_ones(typing: Any, number: Any) -> Any:
    """How many bits of a whole number are 1."""
    return types.int64(types.int64), lambda context, builder, sig, args: builder.ctpop(args[0])


@intrinsic
def _pointer(typing: Any, array: Any) -> Any:
    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return context.make_array(sig.args[0])(context, builder, args[0]).data

    return types.CPointer(array.dtype)(array), emit


def _lanes_at(builder: Any, kind: Any, base: Any, index: Any) -> Any:
    return builder.bitcast(builder.gep(base, [index]), _vector(Lanes(kind.dtype)).as_pointer())


@intrinsic
def _load(typing: Any, base: Any, index: Any) -> Any:
    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.load(_lanes_at(builder, sig.args[0], *args), align=4)

    return Lanes(base.dtype)(base, types.intp), emit


@intrinsic
def _store(typing: Any, base: Any, index: Any, value: Any) -> Any:
    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        builder.store(args[2], _lanes_at(builder, sig.args[0], *args[:2]), align=4)
        return context.get_dummy_value()

    return types.void(base, types.intp, Lanes(base.dtype)), emit


@intrinsic
def _section(typing: Any, base: Any, start: Any, kind: Any) -> Any:
    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.bitcast(builder.gep(args[0], [args[1]]), context.get_value_type(sig.return_type))

    return types.CPointer(kind.dtype)(base, types.intp, kind), emit


@helper
def _checked_section(array: Any, start: Any, kind: Any) -> Any:
    return array[start:].view(kind)


@intrinsic
def _scratch(typing: Any, kind: Any, size: Any) -> Any:
    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        room = builder.alloca(context.get_data_type(kind.dtype), args[1])
        room.align = 64  # a vector in one line of the cache
        return room

    return types.CPointer(kind.dtype)(kind, types.intp), emit


@helper
def _checked_scratch(kind: Any, size: Any) -> Any:
    return np.empty(size, kind)


def _places(builder: Any, kind: Any, base: Any, index: Any) -> Any:
    """Addresses of the numbers that stand at the indices."""
    places = ir.GEPInstr(builder.block, base, [index], False, "", source_etype=_ELEMENTS[kind.dtype])
    places.type = ir.VectorType(ir.PointerType(), WIDTH)
    builder._insert(places)
    return places


def _everywhere(function: str, kind: ir.Type) -> tuple[str, tuple[Any, Any]]:
    """Name of an intrinsic function that takes addresses, with its alignment and a mask that holds in all lanes."""
    element = "f32" if isinstance(kind.element, ir.FloatType) else "i32"
    mask = ir.Constant(_vector(MASK), [1] * WIDTH)
    return f"llvm.masked.{function}.v{WIDTH}{element}.v{WIDTH}p0", (ir.Constant(ir.IntType(32), 4), mask)


@intrinsic
def _gather(typing: Any, base: Any, index: Any) -> Any:
    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        kind = _vector(sig.return_type)
        # Addresses are reckoned with signed indices: those of 32 bits must stay below 2^31.
        name, how = _everywhere("gather", kind)
        arguments = (_places(builder, sig.args[0], *args), *how, ir.Constant(kind, ir.Undefined))
        function = ir.FunctionType(kind, [a.type for a in arguments])
        return builder.call(cgutils.get_or_insert_function(builder.module, function, name), arguments)

    return Lanes(base.dtype)(base, U32), emit


@intrinsic
def _scatter(typing: Any, base: Any, index: Any, value: Any) -> Any:
    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        name, how = _everywhere("scatter", args[2].type)
        arguments = (args[2], _places(builder, sig.args[0], *args[:2]), *how)
        function = ir.FunctionType(ir.VoidType(), [a.type for a in arguments])
        builder.call(cgutils.get_or_insert_function(builder.module, function, name), arguments)
        return context.get_dummy_value()

    return types.void(base, U32, Lanes(base.dtype)), emit


@intrinsic
def _transpose(typing: Any, source: Any, start: Any, step: Any, target: Any, begin: Any, pitch: Any) -> Any:
    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        base, start, step, into, begin, pitch = args

        def at(first: Any, apart: Any, number: int) -> Any:
            return builder.add(first, builder.mul(apart, ir.Constant(apart.type, number)))

        def merged(a: Any, b: Any, places: list[int]) -> Any:
            return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(ir.IntType(32), WIDTH), places))

        rows = [builder.load(_lanes_at(builder, sig.args[0], base, at(start, step, k)), align=4) for k in range(WIDTH)]
        apart = 1
        while apart < WIDTH:
            # Numbers that differ in this bit of the row and of the lane change places.
            for k in range(WIDTH):
                if not k & apart:
                    a, b = rows[k], rows[k | apart]
                    low = [WIDTH + lane - apart if lane & apart else lane for lane in range(WIDTH)]
                    high = [WIDTH + lane if lane & apart else lane + apart for lane in range(WIDTH)]
                    rows[k], rows[k | apart] = merged(a, b, low), merged(a, b, high)
            apart *= 2
        for k, row in enumerate(rows):
            builder.store(row, _lanes_at(builder, sig.args[3], into, at(begin, pitch, k)), align=4)
        return context.get_dummy_value()

    return types.void(source, types.intp, types.intp, target, types.intp, types.intp), emit


@helper
def _flat(array: Any) -> Any:
    return array.reshape(-1)


@helper
def _within(array: Any, index: Any) -> None:
    if index < 0 or index + WIDTH > len(array):
        raise IndexError("a kernel reaches beyond its array")


@helper
def _checked_load(array: Any, index: Any) -> Any:
    _within(array, index)
    return _load(_pointer(array), index)


@helper
def _checked_store(array: Any, index: Any, value: Any) -> None:
    _within(array, index)
    _store(_pointer(array), index, value)


@helper
def _checked_gather(array: Any, index: Any) -> Any:
    _all_within(array, index)
    return _gather(_pointer(array), index)


@helper
def _checked_scatter(array: Any, index: Any, value: Any) -> None:
    _all_within(array, index)
    _scatter(_pointer(array), index, value)


@helper
def _all_within(array: Any, index: Any) -> None:
    if any_lane(spread(np.uint32(len(array) - 1)) < index):
        raise IndexError("a kernel reaches beyond its array")


@helper
def _checked_transpose(source: Any, start: Any, step: Any, target: Any, begin: Any, pitch: Any) -> None:
    for k in range(WIDTH):
        _within(source, start + k * step)
        _within(target, begin + k * pitch)
    _transpose(_pointer(source), start, step, _pointer(target), begin, pitch)


# The checked build keeps the arrays, whose lengths it asserts: see `mcmc.kernels`.
pointer: Any = _flat if CHECKED else _pointer
"""``pointer(array)``: address of a contiguous array's first number, which `load`, `store` and ``p[i]`` take.

Helpers take pointers rather than arrays because numba would count references to the arrays in the inner loop.
"""
section: Any = _checked_section if CHECKED else _section
"""``section(p, start, kind)``: what begins at ``p[start]`` as numbers of another kind, such as np.float32."""
load: Any = _checked_load if CHECKED else _load
"""``load(p, index)``: the lanes at ``p[index : index + WIDTH]``."""
store: Any = _checked_store if CHECKED else _store
"""``store(p, index, lanes)``: write lanes to ``p[index : index + WIDTH]``."""
scratch: Any = _checked_scratch if CHECKED else _scratch
"""``p = scratch(np.float32, size)``: room on the stack for so many numbers, until the kernel ends; not for loops."""
gather: Any = _checked_gather if CHECKED else _gather
"""``gather(p, index)``: the numbers ``p[k]`` for every lane k of ``index``, which is below 2^31."""
scatter: Any = _checked_scatter if CHECKED else _scatter
"""``scatter(p, index, lanes)``: write lanes to the places ``p[k]``; of equal ones the last lane's stays."""
transpose: Any = _checked_transpose if CHECKED else _transpose
"""``transpose(p, start, step, q, begin, pitch)``: ``q[begin + s * pitch + k] = p[start + k * step + s]``, k, s < 16."""
