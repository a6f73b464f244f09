"""The ``latticeflow`` command: argument parsing only; each verb is one file that calls the library.

A verb's module must import fast: it declares its arguments at the top level and imports torch, numba or
matplotlib inside ``run``.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from typing import NoReturn

from mcmc import InputError, __version__

VERBS = (
    "generate",
    "train",
    "sample",
    "compare",
    "observe",
    "free-energy",
    "import",
    "info",
    "verify",
    "merge",
    "bench",
    "modes",
    "demo",
)


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, without the usage before it."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message}; see {self.prog} --help\n")


def build_parser() -> argparse.ArgumentParser:
    """The parser of the whole command."""
    parser = _Parser(
        prog="latticeflow", description="Sample lattice spin models with Markov chains and normalizing flows."
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    for verb in VERBS:
        import_module(f"latticeflow.cli.verb_{verb.replace('-', '_')}").add_parser(verbs)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the exit status is 0 only on success.

    Args:
        arguments: the words after ``latticeflow``; None takes them from the command line.
    """
    _prepare_streams()
    words = sys.argv[1:] if arguments is None else [*arguments]
    options = build_parser().parse_args(words)
    options.command = ["latticeflow", *words]  # for the files that the verb writes
    logging.basicConfig(format="%(message)s", level=logging.INFO, stream=sys.stderr)
    try:
        status = options.execute(options) or 0
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # whoever read our output, such as head, has seen enough
        _give_up_output()
        return 141
    except (InputError, OSError, MemoryError) as error:
        _complain(f"latticeflow {options.verb}: error: {str(error) or 'out of memory'}")
    except KeyboardInterrupt:
        _complain(f"latticeflow {options.verb}: interrupted")
        return 130
    try:
        sys.stdout.flush()
    except OSError:
        _give_up_output()
    return 2


def _prepare_streams() -> None:
    """Let standard streams print any name of a file, and open those that are closed, lest files get their numbers."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode, closefd=False))
    for stream in (sys.stdout, sys.stderr):
        if getattr(stream, "errors", None) == "strict" and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _complain(message: str) -> None:
    with suppress(OSError):  # the terminal may be gone
        print(message, file=sys.stderr)


def _give_up_output() -> None:
    """Let what is left in the buffer of stdout go nowhere: it would be tried again at the end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
