"""Which tool for which question: the page of the documentation, from the measurements in `tables`.

The measurements, one core each, on an otherwise idle machine (`FLOW` in turn each of the flows that the tables name):

    latticeflow bench head-to-head --flows FLOW --temperatures 0.5,0.9,1.2 --seconds 2 --device cpu --json
    latticeflow bench free-energy  --flows FLOW --temperatures 0.1,0.5,0.9,1.2,1.6,2.0 --seconds 6 --device cpu --json
    latticeflow bench energy-curve --flows FLOW --seconds 10 --device cpu --json

also of flows that are not included, made as `data/flows/commands.md` says, at temperatures about their transitions

    fully frustrated XY 8x8 at 0.3,0.45,0.8 (free energies also at 1.2), EXY K = -1 8x8 at 0.3,0.6,1.2,
    XY 4x4x4 and 8x8x8 at 1.5,2.2,3 (free energies also at 1.1)

and for models without a flow, such as fully frustrated XY on 16x16,

    latticeflow bench head-to-head --without-flow --model fully_frustrated --size 16 --temperatures 0.3,0.45,0.8 ...
    latticeflow bench free-energy  --without-flow --model fully_frustrated --size 16 --temperatures 0.3,0.45,0.8 ...

Then `python notebooks/which_tool.py`. A list of files that these commands have written can be given for each of the
tables: `python notebooks/which_tool.py --head-to-head A.json B.json --free-energy ... --energy-curve ...` stores them.
The table itself may be the first of them: a file replaces the systems that an earlier one has measured, too.
"""

import argparse
import json
from pathlib import Path

from latticeflow.experiments.head_to_head import system_name
from latticeflow.flows.checkpoint import load_flow, shipped

TABLES = Path(__file__).parent / "tables"
PAGE = TABLES.parents[1] / "docs" / "how-to" / "which-tool-measured.md"
NEURAL = ("neural MCMC", "importance", "with redraws", "with sweeps")
FILES = {name: TABLES / f"{name}.json" for name in ("head-to-head", "free-energy", "energy-curve")}


def span(ratios):
    """The smallest and the largest of some ratios, in two digits."""
    low, high = (float(f"{value:.2g}") for value in (min(ratios), max(ratios)))
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"


def verdict(ratios, better, worse):
    """Who wins, and by how much; ratios above 1 are for ``better``."""
    if min(ratios) >= 1:
        return f"{better}, {span(ratios)}"
    if max(ratios) <= 1:
        return f"{worse}, {span([1 / ratio for ratio in ratios])}"
    return f"alike ({better}, {span(ratios)})"


def sampled(rows, T):
    """Rows of one temperature, without samplers of which a chain has kept to one sign of a broken symmetry."""
    return [row for row in rows if row["temperature"] == T and row["both_signs"] in (None, 1.0)]


def rates(rows, name):
    """Effective draws a second of the best classical sampler over those of the best use of the flow, by temperature."""
    found = []
    for T in sorted({row["temperature"] for row in rows}):
        best = {True: 0.0, False: 0.0}
        for row in sampled(rows, T):
            neural = row["method"] in NEURAL
            best[neural] = max(best[neural], row["effective_draws_per_second"].get(name) or 0.0)
        found.append(best[False] / best[True])
    return found


def by_rates(rows, name):
    """Whether Markov chains or the flow measure an observable faster; without a flow, the fastest classical samplers.

    Samplers are left out of which a chain has kept to one sign of a broken symmetry: they have not sampled.
    """
    if any(row["method"] in NEURAL for row in rows):
        return verdict(rates(rows, name), "chains", "flow")
    best = []
    for T in sorted({row["temperature"] for row in rows}):
        best.append(max(sampled(rows, T), key=lambda row: row["effective_draws_per_second"].get(name) or 0.0)["method"])
    return f"`{'`, `'.join(dict.fromkeys(best))}`"


def by_signs(rows):
    """The same for the sign that a broken symmetry leaves open."""
    if any(row["both_signs"] is None for row in rows):
        return "no symmetry is broken"
    return by_rates(rows, "sign_of_order")


def signs(rows):
    """Which share of the chains saw both signs that a broken symmetry leaves open, where it is coldest."""
    coldest = min(row["temperature"] for row in rows)
    seen = {row["method"]: row["both_signs"] for row in rows if row["temperature"] == coldest}
    if None in seen.values():
        return "no symmetry is broken"
    return ", ".join(f"`{method}` {share:.0%}" for method, share in seen.items()) + f" (T = {coldest:g})"


def by_errors(gains, rows, name, column):
    """Whether the flow or Markov chains find a free energy faster; without a flow, the best classical error."""
    if gains:
        return verdict([gain[name] for gain in gains], "flow", "chains")
    best = []
    for T in sorted({row["temperature"] for row in rows}):
        here = [row for row in rows if row["temperature"] == T and row[column] is not None]
        best.append(min(here, key=lambda row: row[column] ** 2 * row["seconds"]))
    methods = ", ".join(dict.fromkeys(row["method"].removeprefix("classical, ") for row in best))
    return f"{methods}: error {span([row[column] for row in best])} in {best[0]['seconds']:.0f} s"


def page(tables):
    """The tables as Markdown: systems with a flow, and systems without."""
    systems = list(dict.fromkeys(row["system"] for row in tables["head-to-head"]["rows"]))

    def of(table, key, system):
        return [row for row in tables[table][key] if row["system"] == system]

    def curve(system, name):
        return verdict([row[name] for row in of("energy-curve", "rows", system)[1:-1]], "both", "chains")

    def error(system, name, column):
        return by_errors(of("free-energy", "gains", system), of("free-energy", "rows", system), name, column)

    rates_of = {
        f"{title} at one temperature": lambda system, name=name: by_rates(of("head-to-head", "rows", system), name)
        for title, name in (
            ("energy", "energy"),
            ("$m^2$", "square_magnetization"),
            ("vortex density", "vortex_density"),
            ("specific heat", "specific_heat"),
            ("helicity modulus", "helicity_modulus"),
        )
    }
    curves = {
        "energy along a curve $u(T)$": lambda system: curve(system, "energy_gain"),
        "specific heat along a curve $c(T)$": lambda system: curve(system, "specific_heat_gain"),
    }
    free_energies = {
        "free energy, many temperatures": lambda system: error(system, "free_energy", "free_energy_error"),
        "free energy, one temperature": lambda system: error(system, "free_energy_alone", "free_energy_error"),
        "entropy, many temperatures": lambda system: error(system, "entropy", "entropy_error"),
    }
    broken = {"sign of the broken order": lambda system: by_signs(of("head-to-head", "rows", system))}
    kept = {"chains that saw both signs of the order": lambda system: signs(of("head-to-head", "rows", system))}
    by_chains = {name: free_energies[f"{name}, many temperatures"] for name in ("free energy", "entropy")}
    flows = [load_flow(path, device="cpu") for path in shipped().values()]
    of_included = {system_name(flow.model, flow.lattice) for flow in flows}
    with_flow = [system for system in systems if of("free-energy", "gains", system)]
    included = [system for system in with_flow if system in of_included]
    others = [system for system in with_flow if system not in of_included]
    without = [system for system in systems if system not in with_flow]
    best = sorted({gain["classical"].removeprefix("classical, ") for gain in tables["free-energy"]["gains"]})
    lines = [
        "# Which tool, measured",
        "",
        "How the answers of {doc}`which-tool` were found. `python notebooks/which_tool.py` makes this page from the",
        "tables beside it, and names the commands that measure them.",
        "",
        "## Included flows",
        "",
        "Each cell names the faster way and how many times faster it is for the same error, over the temperatures",
        "measured. *Chains* are Markov chains, *both* are Markov chains whose energies are made more precise by the",
        "flow's free energies; training is not counted. The best classical ways to a free energy were",
        f"{', '.join(best[:-1])} and {best[-1]}. *Many temperatures*: all of those measured are wanted, and one ladder",
        "serves them all; *one temperature*: only that one is wanted.",
        "",
        *_table(included, {**rates_of, **curves, **free_energies}),
        "",
        "## Other flows",
        "",
        "Trained for some minutes each, and not included ({doc}`../background/benchmarks`). A sampler of which a chain",
        "kept to one sign of a broken symmetry, here of the chirality, has not sampled and is left out. These flows",
        "do not change when all angles are reversed, so that they draw both signs equally often.",
        "",
        *_table(others, {**rates_of, **broken, **curves, **free_energies}),
        "",
        "## Without a flow",
        "",
        "The fastest sampler; where it depends on the temperature, from low to high. For free energies the fastest",
        "way, with the error per site that it reached in the time given.",
        "",
        *_table(without, {**rates_of, **kept, **by_chains}),
        "",
    ]
    lines += [f"- {note}" for note in tables["head-to-head"]["notes"]]
    return "\n".join(lines) + "\n"


def _table(systems, questions):
    """Lines of a Markdown table: one row a question, one column a system."""
    return [
        f"| question | {' | '.join(systems)} |",
        "|---" * (1 + len(systems)) + "|",
        *(f"| {question} | {' | '.join(map(answer, systems))} |" for question, answer in questions.items()),
    ]


def store(name, paths, notes):
    """Join what a command has written for several flows into one table."""
    joined = {"notes": notes}
    for path in paths:
        found = json.loads(Path(path).read_text())
        joined["device"] = found["device"]
        again = {row["system"] for row in found["rows"]}
        for key in ("rows", "gains", "balance"):
            kept = [row for row in joined.get(key, []) if row["system"] not in again]
            if key in joined or key in found:
                joined[key] = kept + found.get(key, [])
    FILES[name].write_text(json.dumps(joined, indent=1) + "\n")


def main():
    """Store new measurements, if there are any, and make the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in FILES:
        parser.add_argument(f"--{name}", nargs="+", metavar="FILE.json")
    parser.add_argument("--note", action="append", default=[], help="on the machine and the flows; repeatable")
    arguments = vars(parser.parse_args())
    for name in FILES:
        if paths := arguments[name.replace("-", "_")]:
            store(name, paths, arguments["note"])
    tables = {name: json.loads(path.read_text()) for name, path in FILES.items()}
    PAGE.write_text(page(tables))


if __name__ == "__main__":
    main()
