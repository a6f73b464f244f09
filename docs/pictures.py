"""Make the pictures of README and documentation that show physics: ``python docs/pictures.py`` (half a minute)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import latticeflow as lf
import mcmc

FOLDER = Path(__file__).resolve().parent.parent / "data" / "figures"


def main() -> None:
    """Draw ensembles, and write ``spins.png`` and ``observables.png``."""
    T = (0.4, 0.9, 1.4)
    ensemble = mcmc.generate("xy", size=24, temperatures=T, draws=1, chains=1, seed=6)
    theta = ensemble.theta()[:, 0, 0]
    lf.plot.save(lf.plot.spins(theta, titles=[f"T = {t}" for t in T]), FOLDER / "spins.png")
    tables = {
        f"L = {L}": mcmc.observe(mcmc.generate("xy", size=L, temperatures=np.linspace(0.1, 2, 20), draws=500, seed=1))
        for L in (8, 16)
    }
    lf.plot.save(lf.plot.observables(tables), FOLDER / "observables.png")


if __name__ == "__main__":
    main()
