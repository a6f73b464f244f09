"""What a flow remembers of its training."""

import math

import numpy as np

from latticeflow.flows import checkpoint
from latticeflow.plots.flow_figures import training_curve
from latticeflow.training.learning_curve import POINTS, LearningCurve
from latticeflow.training.trainer import Metrics
from latticeflow.training.training_settings import TrainingSettings
from mcmc.runtime.stop import Stop
from tests.helpers import QUICK, SIZES, After, train_file


def metrics(step):
    return Metrics(step, 2.0 * step, math.sin(step), 1.0, math.nan if step < 40 else 0.5, 1.0, math.nan)


def test_points_are_means_over_equal_numbers_of_steps():
    curve = LearningCurve()
    for step in range(900):
        curve.add(metrics(step))
    found = curve.to_json()
    width = found["width"]
    assert POINTS / 2 <= len(found["loss"]) < POINTS
    means = np.sin(np.arange(900))[: 900 // width * width].reshape(-1, width).mean(1)
    np.testing.assert_allclose(found["loss"], means, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(np.divide(found["seconds"], found["step"]), 2.0, rtol=1e-5)
    assert found["acceptance"][0] is None
    assert found["acceptance"][-1] == 0.5
    # Going on from what was kept is going on.
    other = LearningCurve(found)
    for step in range(900 // width * width, 2000):
        if step >= 900:
            curve.add(metrics(step))
        other.add(metrics(step))
    for name, values in curve.to_json().items():
        np.testing.assert_allclose(np.array(other.to_json()[name], float), np.array(values, float), rtol=1e-4)


def test_a_training_is_remembered_over_an_interruption(few_draws, tmp_path):
    out = tmp_path / "flow.pt"
    for stop in (After(3), Stop()):
        train_file(few_draws, out, TrainingSettings(steps=8, **QUICK), sizes=SIZES, stop=stop, resume=out.exists())
    curve = checkpoint.load(out).metadata["curve"]
    assert np.diff(curve["step"]).tolist() == [1] * 7
    assert np.isfinite(np.array(curve["loss"], float)).all()
    assert len(training_curve({"curve": curve}).axes) == 2
    assert training_curve({}) is None
