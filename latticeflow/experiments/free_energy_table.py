"""A table of f(T) of the XY model: ``python -m latticeflow.experiments.free_energy_table FOLDER --out TABLE``.

Two independent ways, and both together:

- draws of the shipped flows, doubled to larger lattices without training: every temperature by itself, where ln w has a
  variance of at most `MOST_VARIANCE`;
- Markov chains on a ladder of temperatures from infinity, joined by the multistate acceptance ratio.

Their weighted least squares is the table (`mcmc.analysis.free_energy_ladder.anchor`). At T = 2 the correlation length
is about 1: lattices of 32 and more sites a side have the free energy of 16x16 there, to better than 1e-7, and its value
by the flow is one of their known values where its error is smaller. Each row and each piece of a ladder is a file in
the folder as soon as it is there: a run that was cut goes on, and more ``--pieces`` add to it.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.special import ive

from latticeflow.chains.neural_mcmc import propose, unit_size
from latticeflow.flows import Flow, checkpoint
from latticeflow.flows.transfer import enlarge
from mcmc import InputError
from mcmc.analysis.free_energy import log_partition
from mcmc.analysis.free_energy_ladder import anchor, rungs
from mcmc.analysis.mbar import Mbar
from mcmc.analysis.statistics import block_means, format_uncertainty
from mcmc.models.lattice import Lattice
from mcmc.models.presets import XY
from mcmc.runtime.stop import run_script
from mcmc.runtime.whole_file import require_replaceable, whole_file
from mcmc.sampling.rng import key
from mcmc.sampling.settings import Settings
from mcmc.sampling.simulation import Simulation

TEMPERATURES = tuple(np.linspace(0.1, 2.0, 20).round(10).tolist())
HOTTER = (3.0, 4.0)
"""Beside them, by the ladder alone, for the high-temperature series."""
COLDEST = 0.5
"""Of the ladder: below it flows are far better."""
SHIPPED = {8: "xy8", 16: "xy16", 32: "xy16", 64: "xy16"}
"""By the side of the lattice."""
TARGET = 1e-6
"""Error per site at which a flow's draws end."""
MOST_VARIANCE = 2.5
"""Of ln w; beyond it the mean weight, whose variance is exp(this) - 1 or so, would need too many draws."""
ALIKE = (16, 2.0)
"""Side and temperature from which on f does not depend on the side."""
CHAINS = 4
BLOCKS = 1024
"""For the covariance of a ladder."""


def flow_row(flow: Flow, T: float, seconds: float, seed: int) -> dict[str, Any]:
    """f from draws of a flow, until its error is `TARGET` or so many seconds have gone, of the processor or of a GPU.

    Args:
        flow: of the XY model on a square, on any device.
        T: temperature, in units of J / k_B.
        seconds: at most.
        seed: root of the random stream.
    """
    L, N = flow.lattice.Lx, flow.lattice.N
    n, clock = unit_size(flow), time.process_time if flow.device.type == "cpu" else time.monotonic
    generator = torch.Generator(flow.device).manual_seed(int(key(seed, L, round(1000 * T))[0]))
    first = propose(flow, T, n, generator=generator).log_weight
    row: dict[str, Any] = {"L": L, "T": T, "seed": seed, "variance": float(first.var())}
    if row["variance"] > MOST_VARIANCE:
        return row
    pieces: list[np.ndarray] = []
    start, error = clock(), math.inf
    while error > TARGET and clock() - start < seconds:
        pieces.append(propose(flow, T, n, generator=generator).log_weight)
        found = log_partition(np.concatenate(pieces))
        error = T / N * found.error if len(pieces) > 1 else math.inf
    spent = round(clock() - start, 2)
    return row | {"ln_z": found.value, "error": found.error, "draws": n * len(pieces), "seconds": spent}


def keep_flow_row(folder: Path, flow: Flow, T: float, seconds: float) -> None:
    """Write the row of a temperature into the folder, unless it is there."""
    path = folder / f"flow_{flow.lattice.Lx}_{T:g}.json"
    if not path.exists():
        row = flow_row(flow, T, seconds, 1)
        with whole_file(path) as draft:
            draft.write_text(json.dumps(row), encoding="utf-8")


def ladder_piece(L: int, seconds: float, seed: int) -> dict[str, np.ndarray]:
    """Energies (rungs, chains, draws) of chains on a ladder from infinity, and its temperatures."""
    lattice = Lattice(L, L)
    wanted = [T for T in (*TEMPERATURES, *HOTTER) if T >= COLDEST]
    ladder = rungs(XY(), lattice, wanted, seed=0)
    start = time.process_time()
    simulation = Simulation(Settings(XY(), lattice, ladder, chains=CHAINS, seed=seed))
    energies: list[np.ndarray] = []
    while len(energies) < 8 or time.process_time() - start < seconds:
        energies.append(lattice.N * simulation.block(8).series["energy"])
    spent = np.array(time.process_time() - start)
    return {"temperatures": np.array(ladder), "energies": np.concatenate(energies, axis=2), "seconds": spent}


def ladder_values(pieces: list[Any]) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Temperatures from `COLDEST` to `HOTTER`, ln Z there, their covariance, and the processor seconds."""
    ladder = pieces[0]["temperatures"]
    n = min(each["energies"].shape[2] for each in pieces)
    energies = np.concatenate([each["energies"][:, :, -n:] for each in pieces], axis=1)[::-1]
    wanted = [T for T in (*TEMPERATURES, *HOTTER) if T >= COLDEST]
    found = Mbar(energies, 1 / ladder[::-1]).at_drawn()
    chosen = [found[len(ladder) - 1 - int(np.argmin(abs(ladder - T)))] for T in wanted]
    blocks = block_means(np.stack([each.shifts for each in chosen], -1), BLOCKS)
    return (
        np.array(wanted),
        -np.array([each.value for each in chosen]),
        np.cov(blocks.T) / len(blocks),
        float(sum(each["seconds"] for each in pieces)),
    )


def together(L: int, flows: dict[tuple[int, float], dict[str, Any]], pieces: list[Any]) -> list[dict[str, Any]]:
    """Rows of the table of one size."""
    N, rows = L * L, []
    free, grid, chi_square, spent = N * math.log(2 * math.pi), np.array([]), 0.0, 0.0
    if pieces:
        grid, value, covariance, spent = ladder_values(pieces)
        known, error = (np.full(len(grid), np.nan) for _ in range(2))
        for k, T in enumerate(grid.tolist()):
            sources = [L, ALIKE[0]] if ALIKE[0] < L and ALIKE[1] <= T else [L]
            for source in sources:
                if "ln_z" in (drawn := flows.get((source, T), {})):
                    scale = N / source**2
                    size = N / T * 1e-7 if source != L else 0.0  # of the lattice
                    deviation = math.hypot(scale * drawn["error"], size)
                    if not error[k] <= deviation:
                        known[k], error[k] = scale * drawn["ln_z"], deviation
        value = value + free
        both = anchor(value, covariance, known, error)
        chi_square, count = both.chi_square, int(np.isfinite(known).sum())
    for T in (*TEMPERATURES, *HOTTER):
        row: dict[str, Any] = {"L": L, "T": T}
        by_flow = flows.get((L, T), {})
        if "ln_z" in by_flow:
            row["flow"] = [-T / N * by_flow["ln_z"], T / N * by_flow["error"]]
            row["draws"], row["flow_seconds"] = by_flow["draws"], by_flow.get("seconds", 0.0)
            row["f"] = row["flow"]
        if T in grid:
            k = int(np.flatnonzero(grid == T)[0])
            row["ladder"] = [-T / N * float(value[k]), T / N * math.sqrt(covariance[k, k])]
            row["f"] = [-T / N * float(both.value[k]), T / N * math.sqrt(both.covariance[k, k])]
            row |= {"ladder_seconds": spent, "chi_square": chi_square, "known": count}
        if "flow" in row and "ladder" in row:
            (a, s), (b, t) = row["flow"], row["ladder"]
            row["pull"] = (a - b) / math.hypot(s, t)
        if "f" in row:
            rows.append(row)
    return rows


def high_temperature(T: float) -> float:
    """f of the infinite lattice to sixth order in t = I1(1/T) / I0(1/T)."""
    t = ive(1, 1 / T) / ive(0, 1 / T)
    return float(-T * (math.log(2 * math.pi) + 2 * (math.log(ive(0, 1 / T)) + 1 / T) + 2 * t**4 + 4 * t**6))


def low_temperature(L: int, T: float) -> float:
    """f of the L x L lattice without vortices, to third order in T: spin waves and their interaction.

    Gaussian waves of the energy sum d^2 / 2 over bonds, whose differences d have the variance T g, g = (N - 1) / 2 N;
    then -<d^4> / 24 and <d^6> / 720 to first order, and d^4 / 24 to second.
    """
    N, k = L * L, 2 * np.pi * np.arange(L) / L
    lam = 4 - 2 * np.cos(k)[:, None] - 2 * np.cos(k)
    lam[0, 0] = 1.0
    waves = -T / N * (math.log(2 * math.pi * L) + (N - 1) / 2 * math.log(2 * math.pi * T) - np.log(lam).sum() / 2)
    g = (N - 1) / (2 * N)
    weight = 1 / lam
    weight[0, 0] = 0.0
    steps = [np.exp(1j * k)[None, :] - 1, np.exp(1j * k)[:, None] - 1]  # along x, along y
    c2 = c4 = 0.0
    for a in steps:
        for b in steps:
            c = np.fft.ifft2(a * np.conj(b) * weight).real  # <d_a(0) d_b(r)> / T
            c2, c4 = c2 + (c**2).sum(), c4 + (c**4).sum()
    third = 30 * g**3 / 720 - (72 * g**2 * c2 + 24 * c4) / (2 * 576)
    return float(-2 + waves - g**2 * T**2 / 4 + third * T**3)


def page(rows: list[dict[str, Any]], notes: list[str]) -> str:
    """The table as Markdown."""
    lines = [
        "# Free energy of the XY model",
        "",
        r"The free energy per site $f = -T \ln Z / N$ of $E = -\sum \cos(\theta_i - \theta_j)$ on periodic lattices,",
        r"$J = k_B = 1$, $Z = \int e^{-E/T} d\theta_1 \cdots d\theta_N$. Use the column $f$; the standard error of its",
        "last digits stands in brackets. It is the least-squares mean of two independent ways:",
        "",
        r"- *flow*: independent draws of a trained flow $q$, $Z$ the mean of $e^{-E/T} / q$ (*draws* says how many),",
        "- *ladder*: Markov chains on a ladder of temperatures that begins at infinity, where $Z$ is known, by MBAR.",
        "",
        r"Where $Z$ is defined with $d\theta / 2 \pi$, add $T \ln 2 \pi$. `latticeflow free-energy xy16` gives other",
        "temperatures.",
        "",
        "*Pull* is their difference in standard errors. The pulls of one size are correlated, since all temperatures",
        r"of a ladder share its way down from infinity; the $\chi^2$ below each table accounts for that.",
        "",
        "```sh",
        "python -m latticeflow.experiments.free_energy_table FOLDER --flows FLOWS \\",
        "    --out notebooks/tables/free-energy-xy.json --page docs/background/free-energy.md",
        "```",
        "",
        *[f"{note}\n" for note in notes],
    ]
    for L in dict.fromkeys(row["L"] for row in rows):
        mine = [row for row in rows if row["L"] == L]
        lines += [f"## {L} x {L}", "", "| $T$ | $f$ | flow | draws | ladder | pull |", "|---|---|---|---|---|---|"]
        for row in mine:
            f, flow, ladder = (
                format_uncertainty(*row[name]) if name in row else "" for name in ("f", "flow", "ladder")
            )
            pull = f"{round(row['pull'], 1) + 0.0:.1f}" if "pull" in row else ""
            lines.append(f"| {row['T']:.1f} | {f} | {flow} | {row.get('draws', '')} | {ladder} | {pull} |")
        by_ladder = [row for row in mine if "ladder" in row]
        by_flow = sum(row.get("flow_seconds", 0.0) for row in mine)
        notes_below = []
        if by_ladder:
            chi, count = by_ladder[0]["chi_square"], by_ladder[0]["known"]
            notes_below.append(rf"Flows and ladder at {count} temperatures: $\chi^2 = {chi:.1f}$.")
        spent = {"the flow": by_flow, "the ladder": by_ladder[0]["ladder_seconds"] if by_ladder else 0.0}
        times = [f"{seconds:.0f} of {name}" for name, seconds in spent.items() if seconds]
        if times:
            notes_below.append(f"Processor seconds: {', '.join(times)}.")
        lines += ["", " ".join(notes_below), ""]
    lines += [
        "## Checks",
        "",
        "At low temperature *series* is spin waves with their interaction, to third order in $T$; at high temperature",
        r"that of the infinite lattice to $t^6$, $t = I_1(1/T) / I_0(1/T)$. The difference should be of the order of",
        "the larger of two: the standard error, and the first term left out, $T^4$ or $T t^8$.",
        "",
        "| $L$ | $T$ | $f$ | series | difference | term left out |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        T = row["T"]
        if T in (TEMPERATURES[0], TEMPERATURES[1]) or (T in HOTTER and row["L"] >= ALIKE[0]):
            cold = T < 1
            expected = low_temperature(row["L"], T) if cold else high_temperature(T)
            left = T**4 if cold else T * (ive(1, 1 / T) / ive(0, 1 / T)) ** 8
            f = format_uncertainty(*row["f"])
            lines.append(f"| {row['L']} | {T:g} | {f} | {expected:.8f} | {row['f'][0] - expected:.1e} | {left:.1e} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure what is missing, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="for rows and ladders, to go on with later")
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="the table, which is not written without")
    parser.add_argument("--page", type=Path, metavar="FILE.md", help="the same to be read (default: beside the table)")
    parser.add_argument(
        "--flows", type=Path, metavar="DIR", help="flows such as DIR/xy32.pt, for rows that are missing"
    )
    parser.add_argument("--sizes", type=int, nargs="+", choices=SHIPPED, default=[*SHIPPED], help="default: all")
    parser.add_argument("--flow-seconds", type=float, default=20.0, help="of each temperature, at most (default 20)")
    parser.add_argument("--ladder-seconds", type=float, default=200.0, help="of each piece of a ladder (default 200)")
    parser.add_argument("--pieces", type=int, default=1, help="of each ladder (default 1)")
    parser.add_argument("--minutes", type=float, default=math.inf, help="after which no further row is begun")
    parser.add_argument("--note", action="append", default=[], help="on the machine; repeatable")
    arguments = parser.parse_args()
    if not min(arguments.flow_seconds, arguments.ladder_seconds, arguments.pieces) > 0:
        parser.error("--flow-seconds, --ladder-seconds and --pieces must be positive")
    if arguments.folder.is_file():
        parser.error(f"{arguments.folder} is a file: name a folder")
    if arguments.flows is not None and not arguments.flows.is_dir():
        parser.error(f"{arguments.flows} is not a folder of flows")
    try:
        arguments.folder.mkdir(parents=True, exist_ok=True)
        for path in (arguments.out, arguments.page):
            if path is not None:
                require_replaceable(path)
    except (InputError, OSError) as error:
        parser.error(str(error))
    torch.set_num_threads(1)
    end = time.monotonic() + 60 * arguments.minutes
    for L in arguments.sizes:
        for piece in range(arguments.pieces):
            path = arguments.folder / f"ladder_{L}_{piece}.npz"
            if not path.exists() and time.monotonic() < end:
                found = ladder_piece(L, arguments.ladder_seconds, int(key(11, L, piece)[0]))
                with whole_file(path) as draft, draft.open("wb") as file:
                    np.savez(file, allow_pickle=False, **found)
        trained = arguments.flows / f"xy{L}.pt" if arguments.flows else None
        source = trained if trained is not None and trained.exists() else SHIPPED[L]
        flow = enlarge(checkpoint.load(source, "cpu").flow, Lattice(L, L))
        for T in TEMPERATURES:
            if time.monotonic() < end:
                keep_flow_row(arguments.folder, flow, T, arguments.flow_seconds)
    if arguments.out is None:
        return
    kept = [json.loads(path.read_text()) for path in sorted(arguments.folder.glob("flow_*.json"))]
    flows = {(row["L"], row["T"]): row for row in kept}
    rows: list[dict[str, Any]] = []
    for L in SHIPPED:
        rows += together(L, flows, [np.load(path) for path in sorted(arguments.folder.glob(f"ladder_{L}_*.npz"))])
    with whole_file(arguments.out) as draft:
        draft.write_text(json.dumps({"notes": arguments.note, "rows": rows}, indent=1) + "\n", encoding="utf-8")
    with whole_file(arguments.page or arguments.out.with_suffix(".md")) as draft:
        draft.write_text(page(rows, arguments.note), encoding="utf-8")


if __name__ == "__main__":
    run_script(main)
