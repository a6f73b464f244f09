"""Make the table from which notebook 8 reads mutual informations and domain walls of the XY model.

    python notebooks/mutual_information.py                        L = 4, 8, 16: five processor minutes

The Renyi-2 mutual information of two halves, over L, of different sizes crosses near the Kosterlitz-Thouless
temperature and near twice that (Iaconis, Inglis, Kallin, Melko, arXiv:1210.2403); the table and the crossings go to
notebooks/tables/mutual-information.json.
"""

from __future__ import annotations

import argparse
import json
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from mcmc import XY
from mcmc.analysis.free_energy_differences import domain_wall, mutual_information
from mcmc.runtime.progress import Progress

TABLE = Path(__file__).parent / "tables" / "mutual-information.json"
TEMPERATURES = [0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7, 1.8, 1.9, 2.0, 2.2, 2.4, 2.6]
WINDOWS = {"near T_KT": (0.8, 1.2), "near 2 T_KT": (1.7, 2.2)}


def crossing(small: dict[str, Any], large: dict[str, Any], window: tuple[float, float]) -> tuple[float, float]:
    """Where the difference of two curves of I_2 / L, fitted by a parabola, vanishes, and its error."""
    T = np.array(TEMPERATURES)
    low, high = window
    inside = (low <= T) & (high >= T)
    values, errors = (
        [np.array(size[name])[inside] / size["L"] for size in (small, large)] for name in ("value", "error")
    )
    difference, error = values[1] - values[0], np.hypot(*errors)

    def root(y: np.ndarray) -> float:
        found = np.roots(np.polyfit(T[inside], y, 2, w=1 / error))
        real = found[np.abs(found.imag) < 1e-9].real
        return float(real[np.argmin(np.abs(real - np.mean(window)))]) if len(real) else float("nan")

    rng = np.random.default_rng(0)
    spread = [root(difference + error * rng.normal(size=len(error))) for _ in range(400)]
    return root(difference), float(np.nanstd(spread))


def main() -> None:
    """Anneal every size, write the table and print the crossings."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[4, 8, 16], help="default 4 8 16")
    parser.add_argument("--effort", type=float, default=1.0, help="multiplies the number of walkers (default 1: 4,096)")
    parser.add_argument("--out", type=Path, default=TABLE, help="default notebooks/tables/mutual-information.json")
    arguments = parser.parse_args()
    sizes = []
    for L in arguments.sizes:
        start, steps = time.monotonic(), 100 * L
        with Progress(f"L = {L}", 6 * steps, unit="steps") as progress:
            how = {"steps": steps, "populations": max(2, round(4096 * arguments.effort)), "report": progress.advance}
            found = {"information": mutual_information(XY(), L, TEMPERATURES, seed=L, **how)}
            found["wall"] = domain_wall(XY(), L, TEMPERATURES, seed=100 + L, **how)
        information = {"value": [each.value for each in found["information"]]}
        information["error"] = [each.error for each in found["information"]]
        wall = {"value": [each.value for each in found["wall"]], "error": [each.error for each in found["wall"]]}
        sizes.append({"L": L, **information, "wall": wall, "steps": steps, "seconds": time.monotonic() - start})
    crossings = []
    for small, large in pairwise(sizes):
        for name, window in WINDOWS.items():
            value, error = crossing(small, large, window)
            crossings.append({"sizes": [small["L"], large["L"]], "where": name, "T": value, "error": error})
            print(f"L = {small['L']} and {large['L']}, {name}: T = {value:.3f} +- {error:.3f}")
    table = {"model": "XY", "temperatures": TEMPERATURES, "sizes": sizes, "crossings": crossings}
    arguments.out.write_text(json.dumps(table, indent=1) + "\n")


if __name__ == "__main__":
    main()
