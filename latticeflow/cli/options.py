"""What several verbs share: options and the parsing of their values."""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import sys
import textwrap
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mcmc import InputError
from mcmc.runtime.install import require
from mcmc.runtime.text import bytes_in_words

if TYPE_CHECKING:
    from mcmc import Model
    from mcmc.runtime.stop import Stop


def add_verb(
    verbs: Any, name: str, execute: Callable[[argparse.Namespace], int | None], summary: str, example: str
) -> argparse.ArgumentParser:
    """Add the parser of one verb, with an example under its ``--help``.

    Args:
        verbs: what ``add_subparsers`` returned.
        name: the verb.
        execute: takes the parsed options; None or 0 is success.
        summary: one line.
        example: a command line to try.
    """
    parser = verbs.add_parser(
        name,
        help=summary,
        description=textwrap.fill(summary, 78),
        epilog=f"example:\n  {example}\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(execute=execute, verb=name)
    return parser


def count(text: str) -> int:
    """Parse a whole number, also as ``1e4``.

    Example:
        >>> count("1e4")
        10000
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not value.is_integer():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number, such as 1000 or 1e3")
    return int(value)


def temperatures(text: str) -> tuple[float, ...]:
    """Parse ``a:b:n`` (n equally spaced, ends included) or a comma-separated list.

    Example:
        >>> temperatures("0.5:1.5:3")
        (0.5, 1.0, 1.5)
    """
    try:
        if ":" in text:
            first, last, count = text.split(":")
            values = np.linspace(float(first), float(last), int(count))
        else:
            values = np.array([float(word) for word in text.split(",")])
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither first:last:count, such as 0.05:2.05:32, nor a list, such as 0.8,0.9,1.0"
        ) from None
    if not values.size or not (np.isfinite(values).all() and (values > 0).all()):
        raise argparse.ArgumentTypeError(f"{text!r} must give positive finite temperatures")
    return tuple(values.tolist())


def lattice_size(text: str) -> tuple[int, ...]:
    """Parse ``16`` or ``16x32`` to (Lx, Ly), ``8x8x8`` to (Lx, Ly, Lz).

    Example:
        >>> lattice_size("16x8")
        (16, 8)
    """
    try:
        sides = [int(word) for word in text.lower().split("x")]
    except ValueError:
        sides = []
    if len(sides) not in (1, 2, 3) or min(sides) < 2:
        raise argparse.ArgumentTypeError(f"{text!r} is not a lattice size: give 16, or 16x32, with sides of at least 2")
    return (sides[0], sides[0]) if len(sides) == 1 else tuple(sides)


def assignment(text: str) -> tuple[str, int | float]:
    """Parse ``name=number``.

    Example:
        >>> assignment("nll=0.5")
        ('nll', 0.5)
    """
    name, value = size(text)
    if isinstance(value, str):
        raise argparse.ArgumentTypeError(f"{text!r} does not give a number to a name, as nll=0.5 does")
    return name, value


def schedule(text: str) -> tuple[str, Any]:
    """Parse ``term=kind`` or ``term=kind:start:end`` to the term and its schedule."""
    from latticeflow.training.weight_schedule import schedule_from_text

    name, equals, value = text.partition("=")
    if not (name and equals):
        raise argparse.ArgumentTypeError(f"{text!r} is not a schedule of a term, such as model=rise:0.2:0.8")
    try:
        return name, schedule_from_text(value)
    except InputError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def size(text: str) -> tuple[str, int | float | str]:
    """Parse ``name=value``, the value a number or a truth value if it looks like one.

    Example:
        >>> size("width=256"), size("base=uniform"), size("marginals=False")
        (('width', 256), ('base', 'uniform'), ('marginals', False))
    """
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise argparse.ArgumentTypeError(f"{text!r} does not give a value to a name, as width=256 does")
    for number in (int, float):
        with contextlib.suppress(ValueError):
            return name, number(value)
    return name, {"True": True, "False": False}.get(value, value)


def words(text: str) -> tuple[str, ...]:
    """Parse a comma-separated list of names.

    Example:
        >>> words("realnvp,multiscale")
        ('realnvp', 'multiscale')
    """
    return tuple(word for word in text.split(",") if word)


def integers(text: str) -> tuple[int, ...]:
    """Parse a comma-separated list of positive integers.

    Example:
        >>> integers("8,16")
        (8, 16)
    """
    found = [int(word) for word in text.split(",") if word.isdigit()]
    if len(found) != len(text.split(",")) or min(found) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of positive integers, such as 8,16")
    return tuple(found)


def _option(text: str) -> tuple[str, int | float | str]:
    return size(text)


def add_model_options(parser: argparse.ArgumentParser, *, size: bool = True) -> None:
    """``--model``, ``--J``, ``--K``, ``--set``, and ``--size`` unless the configurations tell it."""
    parser.add_argument(
        "--model",
        default="xy",
        metavar="NAME|FILE",
        help="xy, exy, another preset such as clock, a sum such as xy+field, or a .toml or .json file of terms",
    )
    parser.add_argument(
        "--set",
        dest="model_options",
        type=_option,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="an option of the preset, such as q=6 of clock; may be repeated",
    )
    if size:
        parser.add_argument(
            "--size",
            type=lattice_size,
            default=(8, 8),
            metavar="L",
            help="sides of the lattice: 8, 8x16, or 8x8x8 (default 8)",
        )
    parser.add_argument("--J", type=float, help="nearest-neighbour coupling (default 1)")
    parser.add_argument("--K", type=float, help="ring-exchange coupling of exy (default 1)")


def model_of(arguments: argparse.Namespace, sides: Sequence[int]) -> Model:
    """The model that ``--model``, ``--J``, ``--K`` and ``--set`` name, for a lattice of these sides.

    Raises:
        InputError: an unknown model or option.
    """
    from mcmc.models.presets import build_model, load_model

    options = {name: value for name in ("J", "K") if (value := getattr(arguments, name)) is not None}
    options |= dict(arguments.model_options)
    if arguments.model.endswith((".toml", ".json")):
        if options:
            raise InputError(f"{arguments.model} tells the couplings by itself: leave out {', '.join(options)}")
        return load_model(arguments.model, tuple(sides))
    name = arguments.model if ":" in arguments.model else arguments.model.lower()
    if name == "xy" and options.get("K") == 0:
        del options["K"]
    return build_model(name, tuple(sides), **options)


def add_temperatures(parser: argparse.ArgumentParser, *, default: str | None = None, help: str) -> None:
    """``--temperatures``, or ``-T``."""
    parser.add_argument("-T", "--temperatures", type=temperatures, default=default, metavar="A:B:N", help=help)


def add_flow(parser: argparse.ArgumentParser) -> None:
    """The flow that a verb reads."""
    help = "a trained flow, from train, or the name of one that is included, such as xy8"
    parser.add_argument("flow", type=Path, metavar="FLOW.pt", help=help)


def add_seed(parser: argparse.ArgumentParser) -> None:
    """``--seed``."""
    parser.add_argument("--seed", type=count, default=0, help="root of the random streams (default 0)")


def add_device(parser: argparse.ArgumentParser) -> None:
    """``--device``."""
    help = "where the flow runs: auto, cpu, cuda, cuda:1, ... (default auto)"
    parser.add_argument("--device", default="auto", help=help)


def say(message: str) -> None:
    """Say one line on stderr: what was done, and what comes next."""
    with contextlib.suppress(OSError):  # the terminal may be gone
        print(message, file=sys.stderr)


def wrote(path: Path, what: str, *, next_command: str) -> None:
    """Say what a file holds, how large it is and what to do with it."""
    say(f"wrote {path}: {what}, {bytes_in_words(path.stat().st_size)}; next: {next_command}")


def warn(message: str) -> None:
    """Say one line on stderr."""
    with contextlib.suppress(OSError):  # the terminal may be gone
        print(f"latticeflow: {message}", file=sys.stderr)


@contextlib.contextmanager
def plain_warnings() -> Iterator[None]:
    """Let what the library warns of appear as one line on stderr, without a source line."""
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = lambda message, *rest: warn(str(message))
        yield


def stopped(stop: Stop, complete: bool, remedy: str = "the same command and --resume") -> int:
    """Exit status of a run that a signal (128 + its number) or a limit of time (75) may have ended early."""
    if complete:
        return 0
    warn(f"stopped by {stop.reason}: go on with {remedy}")
    return 128 + stop.signal if stop.signal else 75


def require_torch() -> None:
    """Refuse what needs torch where it is not installed, and prepare its threads.

    Raises:
        InputError: with the command that installs it.
    """
    require("torch")
    # Threads that spin for long while they wait take the processor from those they wait for, if anything else runs.
    # With this, read when torch loads its OpenMP, a training step takes as long on an idle machine, and 0.7 of the time
    # beside two busy processes.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")


def require_laboratory() -> None:
    """Refuse the laboratory where its libraries are not installed.

    Raises:
        InputError: with the command that installs them.
    """
    require("zuko", "torchdiffeq", "sklearn")
