"""The table of every preset by every move: ``python -m tests.sampling.exactness ROWS.jsonl PAGE.md``.

Rows that are in the file already are not measured again; ``--minutes`` ends a run early, the same command goes on.
"""

import argparse
import json
import time
from pathlib import Path

from mcmc.analysis.statistics import format_uncertainty
from tests.sampling.test_models import MODELS, four_digits, supported

HEAD = """# Every preset by every move

Does every move sample every model that it accepts? On the 2x2 lattice at $\\beta = 1$ the exact averages are known (all
angles integrated on a grid, `tests/oracle.py`), so every preset was sampled by every move that supports it: 512 chains
of 16,000 draws, of clusters and symmetry moves 2,048 of 2,000. Intel Xeon (model 207), 2026-11-26 and 27.

```sh
python -m tests.sampling.exactness notebooks/tables/exactness.jsonl docs/background/exactness.md
```

"""
SHORT = {
    "energy": "$e$",
    "energy_square": "$e^2$",
    "square_magnetization": "$m^2$",
    "square_nematic": "nematic",
    "square_first": r"$\cos^2$",
}


def table(rows):
    """The page."""
    order = {name: k for k, name in enumerate(MODELS)}
    rows = sorted(rows, key=lambda row: order[row["model"]])
    lines = [
        f"| model | move | $e$ | {' | '.join(f'dev. {name}' for name in SHORT.values())} | control |",
        "|---" * (4 + len(SHORT)) + "|",
    ]
    for row in rows:
        z = " | ".join(f"{row['z'][key]:.1f}" for key in SHORT)
        e = format_uncertainty(row["energy"], row["error"])
        lines.append(f"| `{row['model']}` | `{row['move']}` | {e} | {z} | {row['control']:.0f} |")
    z = sorted(each for row in rows for each in row["z"].values())
    over = [sum(each > limit for each in z) for limit in (2, 3, 4)]
    summary = (
        f"**{len(rows)} pairs, {len(z)} deviations: the largest is {z[-1]:.1f} standard errors**; {over[0]}, {over[1]} "
        f"and {over[2]} are\nlarger than 2, 3 and 4. The five of a row are correlated. An earlier sample of XY by "
        "Swendsen and Wang\n(256 chains of 16,000 draws) had a deviation of 3.5; the one below has 1.0.\n\n"
        "The columns: the energy per site $e$ with its error; deviations from the exact averages in standard errors,\n"
        "of $e$, $e^2$, $m^2$, the square of the nematic order and $\\cos^2$ of the first angle; and the negative\n"
        "control, the deviation of $e$ from what couplings 2 % larger would give."
    )
    errors = [row["error"] for row in rows]
    small = sum(each < 1.5e-4 for each in errors)
    summary += (
        f"\n\nErrors of $e$ run from {min(errors):.1e} to {max(errors):.1e}; {small} rows have less than 1.5e-4.\n"
        f"Clusters and symmetry moves have the largest. The smallest deviation of the negative control is "
        f"{min(row['control'] for row in rows):.0f}."
    )
    found = {(row["model"], row["move"]) for row in rows}
    lacking = [f"{name} by {move}" for name, move in (each.values for each in supported()) if (name, move) not in found]
    if lacking:
        summary += f"\n\nNot measured yet: {', '.join(lacking)}."
    return HEAD + summary + "\n\n" + "\n".join(lines) + "\n"


def read(path):
    """The rows that a file holds, or an empty list if it does not exist.

    Raises:
        ValueError: the file holds something else.
    """
    if not path.exists():
        return []
    rows = []
    try:
        for line in path.read_text().splitlines():
            row = json.loads(line)
            numbers = [row["energy"], row["error"], row["control"], *(row["z"][key] for key in SHORT)]
            if row["model"] not in MODELS or not all(isinstance(each, float | int) for each in numbers):
                raise TypeError
            rows.append(row)
    except (OSError, ValueError, KeyError, TypeError):
        raise ValueError(
            f"{path} does not hold rows of this table from line {len(rows) + 1} on: name another"
        ) from None
    return rows


def main():
    """Measure what is missing, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", type=Path)
    parser.add_argument("page", type=Path)
    parser.add_argument("--minutes", type=float, default=float("inf"))
    arguments = parser.parse_args()
    end = time.monotonic() + 60 * arguments.minutes
    try:
        rows = read(arguments.rows)
    except ValueError as error:
        parser.error(str(error))
    known = {(row["model"], row["move"]) for row in rows}
    pairs = sorted({each.values for each in supported()} - known, key=lambda pair: pair[1])
    for pair in pairs:
        if time.monotonic() > end:
            break
        start = time.process_time()
        rows.append({**four_digits(*pair), "seconds": round(time.process_time() - start, 1)})
        with arguments.rows.open("a") as file:
            file.write(json.dumps(rows[-1]) + "\n")
    arguments.page.write_text(table(rows))
    print(f"{len(rows)} of {len(known) + len(pairs)} rows")


if __name__ == "__main__":
    main()
