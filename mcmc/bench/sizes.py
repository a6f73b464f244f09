"""The sizes that a benchmark takes on its command line."""

from __future__ import annotations

import argparse
from collections.abc import Sequence


def sizes(description: str | None, default: Sequence[int], arguments: Sequence[str] | None = None) -> list[int]:
    """Sides of lattices given on the command line; ends the process with one line if they are none.

    Args:
        description: what ``--help`` says.
        default: the sides if none is given.
        arguments: of the command line; None takes those of the process.

    Example:
        >>> sizes("Measure something.", (16, 64), ["8", "12"])
        [8, 12]
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "sizes",
        type=_side,
        nargs="*",
        default=list(default),
        metavar="SIZE",
        help=f"side of the lattice (default {' '.join(map(str, default))})",
    )
    found: list[int] = parser.parse_args(arguments).sizes
    return found


def _side(word: str) -> int:
    if not word.isdecimal() or int(word) < 2:
        raise argparse.ArgumentTypeError(f"{word!r} must be a whole number of at least 2")
    return int(word)
