"""When does the adversarial term rescue reverse KL? AdvNF (RKL) at other weights, along schedules, with other critics.

The published objective weighs reverse KL by 0.5 and the adversarial term by 1, all the time. These methods are in the
registry, but stand outside the table; ``notebooks/tables/frontier.md`` is made by

    latticeflow modes --table --doublings 0 --steps 2000 --seeds 5 --target mog4 mog8 --method ...
        --rows notebooks/tables/frontier.jsonl --report notebooks/tables/frontier.md

with the names that `scan_methods` gives for ``realnvp`` and ``spline``, beside forward KL, reverse KL and a mixture of
flows. All have the same number of updates, 2000.
"""

from __future__ import annotations

from dataclasses import replace

from latticeflow.laboratory.methods.density_objectives import OBJECTIVES, PLAIN_CRITIC, RAMP, DensityObjective
from latticeflow.laboratory.methods.flow_methods import FlowMethod
from latticeflow.laboratory.methods.method_registry import register
from latticeflow.training.weight_schedule import WeightSchedule

GROUP = "weights"
REVERSE = OBJECTIVES["advnf_reverse"]
SMOOTH = replace(PLAIN_CRITIC, gradient_penalty=0.3, learning_rate=2e-3)
"""A critic with R1, fast enough to follow the flow."""
ANNEAL = WeightSchedule("rise", 0.0, 0.7)
LATE = WeightSchedule("rise", 0.4, 0.9)
WASSERSTEIN = replace(
    REVERSE.varied("AdvNF (RKL), Wasserstein critic", adversarial=5.0),
    distance="wasserstein",
    critic=replace(PLAIN_CRITIC, learning_rate=2e-3),
    critic_updates=2,
    learning_rate=1e-3,
)
"""Its slope is 1 everywhere on the way from one mode to another, where the logistic critic's is flat within a mode: it
moves weight between modes that are far apart."""


def _weighed(adversarial: float) -> DensityObjective:
    return REVERSE.varied(f"AdvNF (RKL), adversarial {adversarial:g}", adversarial=adversarial)


def _titled(title: str, objective: DensityObjective, **changes: object) -> DensityObjective:
    return replace(objective, title=title, **changes)  # type: ignore[arg-type]


VARIANTS: dict[str, DensityObjective] = {
    "advnf_reverse_weight0.1": _weighed(0.1),
    "advnf_reverse_weight0.3": _weighed(0.3),
    "advnf_reverse_weight3": _weighed(3.0),
    "advnf_reverse_weight5": _weighed(5.0),
    "advnf_reverse_weight10": _weighed(10.0),
    "advnf_reverse_adaptive": _titled(
        "AdvNF (RKL), adversarial by gradient norm", REVERSE, schedules={"adversarial": WeightSchedule("adaptive")}
    ),
    "advnf_reverse_ramp": _titled("AdvNF (RKL), RKL rising", REVERSE, schedules={"model": RAMP}),
    "advnf_reverse_ramp_r1": _titled("AdvNF (RKL), RKL rising, R1", REVERSE, schedules={"model": RAMP}, critic=SMOOTH),
    "advnf_reverse_rescue": _titled(
        "AdvNF (RKL), adversarial 10, RKL rising late, R1",
        REVERSE.varied("", adversarial=10.0),
        schedules={"model": LATE},
        critic=SMOOTH,
    ),
    "advnf_reverse_rescue_constant": _titled(
        "AdvNF (RKL), adversarial 10, R1", REVERSE.varied("", adversarial=10.0), critic=SMOOTH
    ),
    "advnf_reverse_rescue30": _titled(
        "AdvNF (RKL), adversarial 30, RKL rising late, R1",
        REVERSE.varied("", adversarial=30.0),
        schedules={"model": LATE},
        critic=SMOOTH,
    ),
    "advnf_reverse_rescue_anneal": _titled(
        "AdvNF (RKL), adversarial 10, tempered target, R1",
        REVERSE.varied("", adversarial=10.0),
        tempering=ANNEAL,
        critic=SMOOTH,
    ),
    "advnf_reverse_rescue_late_anneal": _titled(
        "AdvNF (RKL), adversarial 10, RKL rising late, tempered target, R1",
        REVERSE.varied("", adversarial=10.0),
        schedules={"model": LATE},
        tempering=LATE,
        critic=SMOOTH,
    ),
    "advnf_reverse_packed": _titled(
        "AdvNF (RKL), RKL rising, R1, packs of 2",
        REVERSE,
        schedules={"model": RAMP},
        critic=replace(SMOOTH, packing=2),
    ),
    "advnf_reverse_wasserstein": _titled(
        "AdvNF (RKL), Wasserstein critic 5, RKL rising late", WASSERSTEIN, schedules={"model": LATE}
    ),
    "advnf_reverse_wasserstein20": _titled(
        "AdvNF (RKL), Wasserstein critic 20, RKL rising late",
        WASSERSTEIN.varied("", adversarial=20.0),
        schedules={"model": LATE},
    ),
    "advnf_reverse_wasserstein_constant": _titled("AdvNF (RKL), Wasserstein critic 5, constant", WASSERSTEIN),
    "reverse_kl_anneal": _titled("RKL, tempered target", OBJECTIVES["reverse_kl"], tempering=ANNEAL),
    "advnf_reverse_anneal": _titled("AdvNF (RKL), tempered target", REVERSE, tempering=ANNEAL, critic=SMOOTH),
}
"""Objectives by name, beside those of `OBJECTIVES`."""
SHORT_TITLES = {
    "advnf_reverse_rescue": "AdvNF (RKL), rescued",
    "advnf_reverse_rescue_late_anneal": "AdvNF (RKL), rescued, tempered",
}
"""What the recipes that work are called for short."""


class ScanMethod(FlowMethod):
    """A flow by one of the `VARIANTS`, with as many updates as any other architecture."""

    group = GROUP

    def __init__(self, architecture: str, variant: str):
        super().__init__(architecture, "advnf_reverse")
        self.objective, self.group, self.pace = VARIANTS[variant], GROUP, 1.0
        self.name, self.title = f"{architecture}_{variant}", f"{self.architecture.title}, {self.objective.title}"
        self._short = SHORT_TITLES.get(variant, self.objective.title)

    @property
    def short_title(self) -> str:
        """The recipe by its name in `SHORT_TITLES`, where it has one."""
        return f"{self.architecture.title}, {self._short}"


def scan_methods(architecture: str) -> list[str]:
    """Names of the scan's methods for ``realnvp`` or ``spline``."""
    return [f"{architecture}_{name}" for name in VARIANTS]


for _architecture in ("realnvp", "spline"):
    for _variant in VARIANTS:
        register(ScanMethod(_architecture, _variant))
for _architecture in ("realnvp6_relu", "realnvp16_relu"):
    register(ScanMethod(_architecture, "advnf_reverse_rescue_late_anneal"))
