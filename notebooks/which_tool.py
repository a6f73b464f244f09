"""Which tool for which question: `tables/which-tool.md` from the measurements beside it.

The measurements, one core each, on an otherwise idle machine (`FLOW` in turn each of the flows that the tables name):

    latticeflow bench head-to-head --flows FLOW --temperatures 0.5,0.9,1.2 --seconds 2 --device cpu --json
    latticeflow bench free-energy  --flows FLOW --temperatures 0.1,0.5,0.9,1.2,1.6,2.0 --seconds 6 --device cpu --json
    latticeflow bench energy-curve --flows FLOW --seconds 10 --device cpu --json

and where no flow is shipped, such as of fully frustrated XY on 16x16,

    latticeflow bench head-to-head --without-flow --model fully_frustrated --size 16 --temperatures 0.3,0.45,0.8 ...
    latticeflow bench free-energy  --without-flow --model fully_frustrated --size 16 --temperatures 0.3,0.45,0.8 ...

Then `python notebooks/which_tool.py`. A list of files that these commands have written can be given for each of the
tables: `python notebooks/which_tool.py --head-to-head A.json B.json --free-energy ... --energy-curve ...` stores them.
"""

import argparse
import json
from pathlib import Path

TABLES = Path(__file__).parent / "tables"
PAGES = (TABLES / "which-tool.md", TABLES.parents[1] / "docs" / "how-to" / "which-tool-measured.md")
NEURAL = ("neural MCMC", "importance", "with redraws", "with sweeps")
FILES = {name: TABLES / f"{name}.json" for name in ("head-to-head", "free-energy", "energy-curve")}


def span(ratios):
    """The smallest and the largest of some ratios, in two digits."""
    low, high = (float(f"{value:.2g}") for value in (min(ratios), max(ratios)))
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"


def verdict(ratios, better, worse):
    """Who wins, and by how much; ratios above 1 are for ``better``."""
    if min(ratios) >= 1:
        return f"{better}, {span(ratios)} times"
    if max(ratios) <= 1:
        return f"{worse}, {span([1 / ratio for ratio in ratios])} times"
    return f"either: {better} {span(ratios)} times"


def rates(rows, name):
    """Effective draws a second of the best classical sampler over those of the best use of the flow, by temperature."""
    found = []
    for T in sorted({row["temperature"] for row in rows}):
        best = {True: 0.0, False: 0.0}
        for row in rows:
            if row["temperature"] == T:
                neural = row["method"] in NEURAL
                best[neural] = max(best[neural], row["effective_draws_per_second"].get(name) or 0.0)
        found.append(best[False] / best[True])
    return found


def by_rates(rows, name):
    """Whether Markov chains or the flow measure an observable faster; without a flow, the fastest classical samplers.

    Samplers are left out of which a chain has kept to one sign of a broken symmetry: they have not sampled.
    """
    if any(row["method"] in NEURAL for row in rows):
        return verdict(rates(rows, name), "Markov chains", "flow")
    best = []
    for T in sorted({row["temperature"] for row in rows}):
        here = [row for row in rows if row["temperature"] == T and row["both_signs"] in (None, 1.0)]
        best.append(max(here, key=lambda row: row["effective_draws_per_second"].get(name) or 0.0)["method"])
    return f"no flow; `{'`, `'.join(dict.fromkeys(best))}`"


def signs(rows):
    """Which share of the chains saw both signs that a broken symmetry leaves open, where it is coldest."""
    coldest = min(row["temperature"] for row in rows)
    seen = {row["method"]: row["both_signs"] for row in rows if row["temperature"] == coldest}
    if None in seen.values():
        return "none is broken"
    return ", ".join(f"`{method}` {share:.0%}" for method, share in seen.items()) + f" (T = {coldest:g})"


def by_errors(gains, rows, name, column):
    """Whether the flow or Markov chains find a free energy faster; without a flow, the best classical error."""
    if gains:
        return verdict([gain[name] for gain in gains], "flow", "Markov chains")
    best = []
    for T in sorted({row["temperature"] for row in rows}):
        here = [row for row in rows if row["temperature"] == T and row[column] is not None]
        best.append(min(here, key=lambda row: row[column] ** 2 * row["seconds"]))
    methods = ", ".join(dict.fromkeys(row["method"].removeprefix("classical, ") for row in best))
    return f"no flow; {methods}: +-{span([row[column] for row in best])} in {best[0]['seconds']:.0f} s"


def page(tables):
    """The table as Markdown."""
    systems = list(dict.fromkeys(row["system"] for row in tables["head-to-head"]["rows"]))

    def of(table, key, system):
        return [row for row in tables[table][key] if row["system"] == system]

    def curve(system, name):
        found = of("energy-curve", "rows", system)[1:-1]
        if not found:
            return "no flow"
        return verdict([row[name] for row in found], "Markov chains with a flow's free energies", "Markov chains alone")

    def error(system, name, column):
        return by_errors(of("free-energy", "gains", system), of("free-energy", "rows", system), name, column)

    questions = {
        **{
            f"{title} at one temperature": lambda system, name=name: by_rates(of("head-to-head", "rows", system), name)
            for title, name in (
                ("energy", "energy"),
                ("m^2", "square_magnetization"),
                ("vortex density", "vortex_density"),
                ("specific heat", "specific_heat"),
                ("helicity modulus", "helicity_modulus"),
            )
        },
        "chains that saw both signs of the order": lambda system: signs(of("head-to-head", "rows", system)),
        "energy along a curve u(T)": lambda system: curve(system, "energy_gain"),
        "specific heat along a curve c(T)": lambda system: curve(system, "specific_heat_gain"),
        "free energy, many temperatures": lambda system: error(system, "free_energy", "free_energy_error"),
        "free energy, one temperature": lambda system: error(system, "free_energy_alone", "free_energy_error"),
        "entropy, many temperatures": lambda system: error(system, "entropy", "entropy_error"),
    }
    lines = [
        "# Which tool for which question",
        "",
        "The faster way, and the ratio of times for the same error, over the temperatures measured. Training is not",
        "counted. Made by `python notebooks/which_tool.py` from the tables beside it.",
        "",
        f"| question | {' | '.join(systems)} |",
        "|---" * (1 + len(systems)) + "|",
    ]
    lines += [
        f"| {question} | {' | '.join(answer(system) for system in systems)} |" for question, answer in questions.items()
    ]
    best = {gain["classical"].removeprefix("classical, ") for gain in tables["free-energy"]["gains"]}
    lines += ["", f"Best classical ways to the free energy: {', '.join(sorted(best))}.", ""]
    lines += [f"- {note}" for note in tables["head-to-head"]["notes"]]
    return "\n".join(lines) + "\n"


def store(name, paths, notes):
    """Join what a command has written for several flows into one table."""
    joined = {"notes": notes}
    for path in paths:
        found = json.loads(Path(path).read_text())
        joined["device"] = found["device"]
        for key in ("rows", "gains", "balance"):
            if key in found:
                joined.setdefault(key, []).extend(found[key])
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
    for place in PAGES:
        place.write_text(page(tables))


if __name__ == "__main__":
    main()
