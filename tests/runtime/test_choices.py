"""Unknown keyword arguments are told as such, with the nearest known one."""

import inspect

import pytest

import latticeflow
import mcmc
from mcmc import InputError
from mcmc.runtime.choices import strict


@pytest.mark.parametrize(
    ("function", "wrong", "right"),
    [
        (mcmc.generate, "temperature", "temperatures"),
        (mcmc.observe, "observable", "observables"),
        (latticeflow.compare, "draw", "draws"),
        (latticeflow.sample, "chain", "chains"),
        (latticeflow.importance, "drwas", "draws"),
        (latticeflow.free_energy, "classical", "classical_draws"),
        (latticeflow.train, "minute", "minutes"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_misspelt_argument_is_named_with_the_right_one(function, wrong, right):
    assert right in inspect.signature(function).parameters
    with pytest.raises(InputError, match=f"{wrong!r}: did you mean {right!r}"):
        function(None, **{wrong: 1})


def test_other_arguments_pass_unchanged():
    @strict
    def measured(first, *, second=2):
        """Words."""
        return first, second

    assert measured(1) == (1, 2)
    assert measured(1, second=3) == (1, 3)
    assert measured(first=4) == (4, 2)
    assert measured.__doc__ == "Words."
    with pytest.raises(TypeError, match="missing 1 required"):
        measured()
