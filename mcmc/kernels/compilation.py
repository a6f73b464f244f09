"""What numba does to compile a kernel: less than for any Python function.

Kernels are plain loops over numbers and pointers, so that most of numba's rewriting finds nothing to do. And most
functions only ever run as a part of others. Numba would optimise them by themselves, write machine code for them, and
optimise them again with each of their callers; here only the callers are.
"""

from __future__ import annotations

from typing import Any

from numba._dynfunc import make_function
from numba.core import compiler_machinery, typed_passes, untyped_passes
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import CompilerBase


class _Library(JITCodeLibrary):
    """Code that is optimised when it is complete, and not function by function before."""

    def _optimize_functions(self, module: Any) -> None:
        module.data_layout = self._codegen._data_layout

    def _optimize_final_module(self) -> None:
        # Lanes are vectors as they are, and there are no counts of references that a first pass would remove.
        passes, builder = self._codegen._module_pass_manager(loop_vectorize=False, slp_vectorize=False)
        passes.run(self._final_module, builder)


class _Part(_Library):
    """Code that is never run by itself."""

    def _optimize_final_module(self) -> None:
        pass

    def _finalize_final_module(self) -> None:
        self._finalized = True


@compiler_machinery.register_pass(mutates_CFG=True, analysis_only=False)
class _LowerKernel(typed_passes.NativeLowering):
    _name = "lower_kernel"

    def run_pass(self, state: Any) -> bool:
        state.library = _Library(state.targetctx.codegen(), state.func_id.func_qualname)
        state.library.enable_object_caching()
        return super().run_pass(state)


@compiler_machinery.register_pass(mutates_CFG=True, analysis_only=False)
class _LowerPart(typed_passes.NativeLowering):
    """Write a function's code for its callers alone."""

    _name = "lower_part"

    def run_pass(self, state: Any) -> bool:
        state.library = _Part(state.targetctx.codegen(), state.func_id.func_qualname)
        state.flags.no_compile = True
        super().run_pass(state)
        lowered = state["cr"]
        # Numba knows functions that call each other by the objects that Python would call.
        name = lowered.fndesc.lookup_module(), lowered.fndesc.qualname
        known_as = make_function(*name, "", 0, lowered.env, (state.library,))
        state.targetctx.insert_user_function(known_as, lowered.fndesc, [state.library])
        state["cr"] = lowered._replace(cfunc=known_as)
        return True


class KernelCompiler(CompilerBase):
    """Compile a function that runs by itself."""

    lowering: Any = _LowerKernel

    def define_pipelines(self) -> list[Any]:
        """Numba's passes, without those that kernels do not need."""
        manager = compiler_machinery.PassManager("kernel")
        for each in (
            untyped_passes.TranslateByteCode,
            untyped_passes.FixupArgs,
            untyped_passes.IRProcessing,
            untyped_passes.GenericRewrites,
            untyped_passes.ReconstructSSA,
            typed_passes.NopythonTypeInference,
            typed_passes.PreLowerStripPhis,
            typed_passes.IRLegalization,
            typed_passes.AnnotateTypes,
            self.lowering,
            typed_passes.NoPythonBackend,
        ):
            manager.add_pass(each, each.__name__)
        manager.finalize()
        return [manager]


class PartCompiler(KernelCompiler):
    """Compile a function that is a part of others."""

    lowering = _LowerPart
