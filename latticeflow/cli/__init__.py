"""The ``latticeflow`` command: argument parsing only; each verb is one file that calls the library.

A verb's module is imported when the verb is called. It declares its arguments at the top level and imports torch, numba
or matplotlib inside ``execute``.
"""

from __future__ import annotations

import argparse
import logging
import os
import re
import sys
import textwrap
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from typing import Any, NoReturn

from mcmc import InputError, __version__
from mcmc.runtime.registry import nearest
from mcmc.runtime.stop import Ended, ended_by_exception

VERBS = {
    "generate": "draw a reference ensemble by Markov chains",
    "observe": "measure ensembles: energies, vortices, helicity, ... with error bars",
    "train": "train a normalizing flow on an ensemble",
    "compare": "evaluate a flow against an ensemble: acceptance, overlaps, missed modes",
    "sample": "draw exactly from a flow, by Metropolis or by weights",
    "free-energy": "compute absolute free energy, entropy, energy, specific heat by a flow",
    "info": "say what is in a file, and how it was made",
    "report": "write one HTML page about files: warnings, tables, figures",
    "verify": "check every block of a file, and cut off what is damaged",
    "merge": "join the files of a batch array, or of independent runs",
    "import": "make an ensemble file from a numpy array of angles",
    "bench": "measure speeds, and flows against Markov chains",
    "modes": "count the modes that samplers lose, on densities whose modes are known",
    "demo": "generate, train, sample and compare on a small lattice, in a few minutes",
}
"""Every verb with what it does, in the order in which a user meets them."""


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, without the usage before it; options may stand between file names."""

    verbs: Verbs | None = None

    def error(self, message: str) -> NoReturn:
        """Leave with status 2 and one line that points to the right help."""
        if message.startswith("unrecognized arguments: "):
            message = f"{message.removeprefix('unrecognized arguments: ').split()[0]!r} is one argument too many"
        self.exit(2, f"{self.prog}: error: {message}; see {self.prog} --help\n")

    def parse(self, words: Sequence[str]) -> argparse.Namespace:
        """Parse the words after the verb; an unknown option is named with the nearest known one."""
        known = [option for option in self._option_string_actions if option.startswith("--")]
        for word in words[: words.index("--") if "--" in words else None]:
            name = word.partition("=")[0]
            if name.startswith("--") and not any(option.startswith(name) for option in known):
                self.error(f"unknown option {name}: {nearest(name, known)}")
        return self.parse_intermixed_args(words)

    def add_subparsers(self, **settings: Any) -> Verbs:  # type: ignore[override]
        """Verbs below this one; they are looked up by `main`."""
        self.verbs = Verbs(self.prog)
        self.usage = f"{self.prog} SUBJECT ..."
        return self.verbs

    def format_help(self) -> str:
        """The help, with the verbs below this one."""
        text = super().format_help()
        if self.verbs is None:
            return text
        return f"{text}\nsubjects (each explains itself with --help):\n{listing(self.verbs.summaries)}\n"


def listing(summaries: Mapping[str, str]) -> str:
    """Names with what they do, in two columns of 80 characters together.

    Example:
        >>> print(listing({"info": "say what is in a file", "verify": "check it"}))
          info    say what is in a file
          verify  check it
    """
    width = max(map(len, summaries)) + 4
    return "\n".join(
        textwrap.fill(summary, 80, initial_indent=f"  {name}".ljust(width), subsequent_indent=" " * width)
        for name, summary in summaries.items()
    )


class Verbs(dict[str, Parser]):
    """Parsers by verb, to which ``add_parser`` adds as argparse's own does.

    Args:
        prog: the words before the verb.
    """

    def __init__(self, prog: str):
        super().__init__()
        self.prog = prog
        self.summaries: dict[str, str] = {}

    def add_parser(self, name: str, *, help: str = "", **settings: Any) -> Parser:
        """Make the parser of one verb."""
        self.summaries[name] = help
        self[name] = Parser(prog=f"{self.prog} {name}", **settings)
        return self[name]


def verb_parser(verb: str) -> Parser:
    """The parser of one verb of `VERBS`, such as ``"observe"``."""
    verbs = Verbs("latticeflow")
    import_module(f"latticeflow.cli.verb_{verb.replace('-', '_')}").add_parser(verbs)
    return verbs[verb]


def build_parser() -> argparse.ArgumentParser:
    """One parser of the whole command, for shell completion and for the documentation."""
    parser = argparse.ArgumentParser(prog="latticeflow")
    verbs = parser.add_subparsers(metavar="VERB")
    for verb in VERBS:
        import_module(f"latticeflow.cli.verb_{verb.replace('-', '_')}").add_parser(verbs)
    return parser


def _complete() -> None:
    """Answer the shell that asks for completions, if argcomplete is installed."""
    try:
        import argcomplete
    except ImportError:
        return
    argcomplete.autocomplete(build_parser())


def overview() -> str:
    """What ``latticeflow --help`` prints."""
    return "\n".join(
        [
            "usage: latticeflow VERB ...",
            "",
            "Sample lattice spin models with Markov chains and normalizing flows.",
            "",
            "verbs:",
            listing(VERBS),
            "",
            "latticeflow VERB --help explains a verb; --version names the version.",
            "A first ensemble, and its observables:",
            "  latticeflow generate --model xy --size 16 -T 0.5:1.5:11 --out xy16.h5",
            "  latticeflow observe xy16.h5 --plot xy16.png",
        ]
    )


def _find(words: Sequence[str]) -> tuple[Parser, list[str]]:
    """The parser that the first words name, and the words after them."""
    verb, rest = words[0], [*words[1:]]
    if verb not in VERBS:
        kind = "option" if verb.startswith("-") else "verb"
        raise InputError(f"unknown {kind} {verb!r}: {nearest(verb, VERBS)}; see latticeflow --help")
    parser = verb_parser(verb)
    while parser.verbs is not None:
        if not rest or rest[0] in ("-h", "--help"):
            return parser, ["--help"]
        if rest[0] not in parser.verbs:
            known = nearest(rest[0], parser.verbs)
            raise InputError(f"unknown subject {rest[0]!r} of {parser.prog}: {known}; see {parser.prog} --help")
        parser, rest = parser.verbs[rest[0]], rest[1:]
    return parser, rest


def with_options(message: str, parser: argparse.ArgumentParser) -> str:
    """A message of the library with its parameters written as the options of a verb.

    Example:
        >>> parser = argparse.ArgumentParser()
        >>> _ = parser.add_argument("--resume", action="store_true")
        >>> with_options("a.h5 exists: go on with it (resume=True), or name another file", parser)
        'a.h5 exists: go on with it (--resume), or name another file'
    """
    known = {action.dest: action.option_strings[-1] for action in parser._actions if action.option_strings}

    def option(match: re.Match[str]) -> str:
        return known.get(match[1], match[0])

    return re.sub(r"\b(\w+)=(?:True|\.\.\.)", option, message)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the exit status is 0 only on success.

    Args:
        arguments: the words after ``latticeflow``; None takes them from the command line.
    """
    if "_ARGCOMPLETE" in os.environ:
        _complete()
    _prepare_streams()
    words = sys.argv[1:] if arguments is None else [*arguments]
    if not words or words[0] in ("-h", "--help"):
        print(overview())
        return 0 if words else 2
    if words[0] == "--version":
        print(f"latticeflow {__version__}")
        return 0
    logging.basicConfig(format="%(message)s", stream=sys.stderr)
    for package in ("mcmc", "latticeflow"):  # of other libraries, warnings only
        logging.getLogger(package).setLevel(logging.INFO)
    name, parser = "latticeflow", None
    try:
        parser, rest = _find(words)
        name = parser.prog
        if parser.verbs is not None:
            parser.print_help()
            return 0 if "--help" in words or "-h" in words else 2
        options = parser.parse(rest)
        options.command = ["latticeflow", *words]  # for the files that the verb writes
        with ended_by_exception():
            status = options.execute(options) or 0
            sys.stdout.flush()
        return status
    except BrokenPipeError:  # the reader of our output, such as head, has seen enough
        _give_up_output()
        return 141
    except (InputError, OSError, MemoryError) as error:
        text = str(error) or "out of memory"
        _complain(f"{name}: error: {with_options(text, parser) if parser else text}")
    except Ended as error:
        _complain(f"{name}: stopped by {error.name}")
        return 128 + error.number
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
