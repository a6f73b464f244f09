"""Make the tables from which the notebooks read Kosterlitz-Thouless temperatures.

    python notebooks/transition.py                                 XY, L = 8 ... 64: seven processor minutes
    python notebooks/transition.py --K 0.5 --sizes 8 16 32 --effort 0.4      extended XY with ring exchange

Configurations are measured as they are made and not kept. The tables, as `latticeflow observe --json` would print them,
go to notebooks/tables/.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from mcmc import Lattice, model_from_name
from mcmc.analysis.kosterlitz_thouless import transition
from mcmc.analysis.thermodynamics import simulate, tabulate
from mcmc.runtime.progress import Progress
from mcmc.sampling.settings import Settings

TABLES = Path(__file__).parent / "tables"
# Draws of all chains at each temperature: sizes share the time 1 : 3 : 6 : 20, as the largest decide.
DRAWS = {8: 500_000, 16: 250_000, 32: 100_000, 64: 55_000}
CHAINS = 64
# Around the transition, from a first look at each coupling.
TEMPERATURES = {
    0.0: (0.88, 0.89, 0.9, 0.91),
    0.25: (0.94, 0.96, 0.98, 1.0),
    0.5: (0.99, 1.01, 1.03, 1.05),
    1.0: (1.08, 1.11, 1.14, 1.17),
}


def main() -> None:
    """Simulate every size, write its table and print the transition."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--K", type=float, default=0.0, choices=TEMPERATURES, help="ring exchange (default 0: XY)")
    parser.add_argument("--sizes", type=int, nargs="+", default=list(DRAWS), help="default 8 16 32 64")
    parser.add_argument("--effort", type=float, default=1.0, help="multiplies the number of draws (default 1)")
    arguments = parser.parse_args()
    model = model_from_name("exy" if arguments.K else "xy", K=arguments.K or None)
    temperatures = TEMPERATURES[arguments.K]
    TABLES.mkdir(exist_ok=True)
    tables = []
    for L in arguments.sizes:
        draws = max(50, round(arguments.effort * DRAWS[L] / CHAINS))
        settings = Settings(model, Lattice(L, L), temperatures, chains=CHAINS, seed=L)
        with Progress(f"L = {L}", draws * CHAINS * len(temperatures), unit="draws") as progress:
            moments = simulate(settings, draws, report=progress.advance)
        tables.append(tabulate(moments, model, settings.lattice, temperatures))
        path = TABLES / f"transition_K{arguments.K:g}_L{L}.json"
        path.write_text(json.dumps(tables[-1].as_json(), indent=1) + "\n")
        for line in tables[-1].warnings():
            print(line)
    for first in range(len(tables) - 1):
        print(f"L >= {arguments.sizes[first]}: {transition(tables[first:])}")
        leading = transition(tables[first:], subleading=False)
        print(f"        without the second logarithm: {leading}")


if __name__ == "__main__":
    main()
