"""The contract of the laboratory's methods: every registered method keeps it."""

import pytest
import torch

from latticeflow.laboratory import METHODS, Effort, get_method, register
from latticeflow.laboratory.targets import build_target
from mcmc import InputError

QUICK = Effort(steps=3, batch=16, width=8)

every_method = pytest.mark.parametrize("name", sorted(METHODS))


@every_method
def test_a_method_draws_and_is_a_function_of_its_seed(name):
    method, target = METHODS[name], build_target("ring8")
    if not method.supports(target):
        pytest.skip("for other targets")
    done = []
    state = torch.get_rng_state()
    samplers = [method.fit(target, QUICK, seed=seed, report=done.append) for seed in (1, 1, 2)]
    assert bool((torch.get_rng_state() == state).all())  # leaves the caller's randomness alone
    assert done[-1] == 1.0
    first, again, other = (each.sample(50, generator=torch.Generator().manual_seed(3)) for each in samplers)
    assert first.dtype == torch.float32
    assert first.shape == (50, 2)
    assert not first.requires_grad
    assert torch.equal(first, again)
    assert torch.equal(first, other) != method.trained
    if samplers[0].has_density:
        log_q = samplers[0].log_prob(first)
        assert log_q.dtype == torch.float64
        assert log_q.shape == (50,)
        assert bool(log_q.isfinite().all())
    else:
        with pytest.raises(InputError, match="no density"):
            samplers[0].log_prob(first)


def test_registry_refuses_doubles_and_names_the_choices():
    with pytest.raises(InputError, match="gaussian"):
        get_method("nonsense")
    with pytest.raises(InputError, match="another name"):
        register(METHODS["gaussian"])
    with pytest.raises(InputError, match="steps = 0"):
        Effort(steps=0)
