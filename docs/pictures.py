"""Make the pictures of README and gallery: ``python docs/pictures.py`` (half a minute).

Those of contests show the measurements that `notebooks/tables` keeps.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

import latticeflow as lf
import mcmc
from latticeflow.experiments.free_energy_contest import FreeEnergyResult
from latticeflow.experiments.head_to_head import Rate
from latticeflow.laboratory.report import summary
from latticeflow.plots import flow_figures, mode_figures

ROOT = Path(__file__).resolve().parent.parent
FOLDER, TABLES = ROOT / "data" / "figures", ROOT / "notebooks" / "tables"


def main() -> None:
    """Draw ensembles, read tables, and write the pictures."""
    T = (0.4, 0.9, 1.4)
    ensemble = mcmc.generate("xy", size=24, temperatures=T, draws=1, chains=1, seed=6)
    theta = ensemble.theta()[:, 0, 0]
    lf.plot.save(lf.plot.spins(theta, titles=[f"T = {t}" for t in T]), FOLDER / "spins.png")
    tables = {
        f"L = {L}": mcmc.observe(mcmc.generate("xy", size=L, temperatures=np.linspace(0.1, 2, 20), draws=500, seed=1))
        for L in (8, 16)
    }
    lf.plot.save(lf.plot.observables(tables), FOLDER / "observables.png")
    rates = [
        Rate(**{name: value for name, value in row.items() if name in Rate._fields}) for row in measured("head-to-head")
    ]
    lf.plot.save(flow_figures.head_to_head(rates), FOLDER / "head-to-head.png")
    errors = [FreeEnergyResult(**row) for row in measured("free-energy")]
    lf.plot.save(flow_figures.free_energy_errors(errors), FOLDER / "free-energy.png")
    curves = [json.loads(line) for line in (TABLES / "published.jsonl").read_text().splitlines()]
    pairs = [("forward_kl", "advnf_forward"), ("reverse_kl", "advnf_reverse"), ("forward_reverse_kl", "advnf")]
    curves = [row for row in curves if row["draws"] == 1000]
    lf.plot.save(flow_figures.published_curves(curves, pairs), FOLDER / "advnf-curves.png")
    kept = summary.completed(summary.read(TABLES / "modes.json"), summary.read(TABLES / "frontier.json"), runs=5)
    lf.plot.save(mode_figures.heatmap(kept), FOLDER / "modes.png")


def measured(name: str) -> list[dict]:
    """Rows of a table of measurements; what a method does not give is NaN."""
    rows = json.loads((TABLES / f"{name}.json").read_text())["rows"]

    def known(value: Any) -> Any:
        if isinstance(value, list):
            return [known(each) for each in value]
        return np.nan if value is None else value

    return [{key: known(value) for key, value in row.items()} for row in rows]


if __name__ == "__main__":
    main()
