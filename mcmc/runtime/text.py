"""Tables for people: columns on a terminal, HTML in a notebook; and packages that only a conversion needs."""

from __future__ import annotations

import html
import textwrap
from collections.abc import Collection, Mapping, Sequence
from importlib import import_module
from typing import Any

from mcmc.errors import InputError


def columns(
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    gap: str = "  ",
    names: int = 0,
    width: int | None = None,
) -> str:
    """A table with right-aligned columns.

    Args:
        head: titles of the columns.
        rows: as many cells each.
        gap: between columns.
        names: so many columns name the row: they are aligned to the left, and stand in every part of a divided table.
        width: a longer table is divided: columns that do not fit follow below. None divides no table.

    Example:
        >>> print(columns(["T", "energy"], [["0.5", "-1.74(2)"], ["10", "-0.1"]]))
          T    energy
        0.5  -1.74(2)
         10      -0.1
        >>> print(columns(["flow", "ms", "draws/s"], [["spline", "12", "7,000"]], names=1, width=14))
        flow    ms
        spline  12
        <BLANKLINE>
        flow    draws/s
        spline    7,000
    """
    lines = [list(head), *map(list, rows)]
    widths = [max(len(line[k]) for line in lines) for k in range(len(head))]
    parts: list[list[int]] = [[]]
    for k in range(names, len(head)):
        taken = sum(widths[j] + len(gap) for j in [*range(names), *parts[-1]]) + widths[k]
        if width is not None and taken > width and parts[-1]:
            parts.append([])
        parts[-1].append(k)
    tables = []
    for part in parts:
        cells = [
            [line[k].ljust(widths[k]) if k < names else line[k].rjust(widths[k]) for k in [*range(names), *part]]
            for line in lines
        ]
        tables.append("\n".join(gap.join(each).rstrip() for each in cells))
    return "\n\n".join(tables)


def wrapped(text: str, width: int = 80, *, indent: int = 0) -> str:
    """A sentence in lines of at most ``width`` characters; words and numbers stay whole.

    Args:
        text: the sentence.
        width: of a line.
        indent: spaces before every line but the first.
    """
    return textwrap.fill(text, width, subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False)


def counted(number: int, noun: str) -> str:
    """A number of things, in the singular or plural.

    Example:
        >>> counted(1, "chain"), counted(1200, "draw")
        ('1 chain', '1,200 draws')
    """
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def grid_in_words(temperatures: Collection[float]) -> str:
    """Temperatures for people: how many, from the lowest to the highest.

    Example:
        >>> grid_in_words((0.9,)), grid_in_words((0.5, 1.5, 1.0))
        ('T = 0.9', '3 temperatures, 0.5 to 1.5')
    """
    low, high = min(temperatures), max(temperatures)
    return f"T = {low:g}" if len(temperatures) == 1 else f"{len(temperatures)} temperatures, {low:g} to {high:g}"


def printable(text: object) -> str:
    r"""Text as files and figures take it: names of files may hold bytes that are not UTF-8.

    Example:
        >>> printable("caf\udce9.h5")
        'caf\\udce9.h5'
    """
    return str(text).encode("utf-8", "backslashreplace").decode()


def html_facts(rows: Mapping[str, object], *, caption: str = "") -> str:
    """Names and what belongs to them as a table of HTML, for notebooks and reports; what is empty is left out."""
    cells = "".join(
        f'<tr><th style="text-align:left">{html.escape(name)}</th>'
        f'<td style="text-align:left">{html.escape(str(text))}</td></tr>'
        for name, text in rows.items()
        if text
    )
    title = f"<caption>{html.escape(caption)}</caption>" if caption else ""
    return f'<table class="facts">{title}{cells}</table>'


def html_table(
    head: Sequence[str], rows: Sequence[Sequence[str]], *, caption: str = "", notes: Sequence[str] = ()
) -> str:
    """A table for a notebook; every text is escaped."""

    def cells(tag: str, texts: Sequence[str]) -> str:
        return "".join(f"<{tag}>{html.escape(text)}</{tag}>" for text in texts)

    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    title = f"<caption>{html.escape(caption)}</caption>" if caption else ""
    below = "".join(f"<p>{html.escape(note)}</p>" for note in notes)
    return f"<table>{title}<thead><tr>{cells('th', head)}</tr></thead><tbody>{body}</tbody></table>{below}"


def bytes_in_words(size: float) -> str:
    """A number of bytes for people.

    Example:
        >>> bytes_in_words(131_000_000), bytes_in_words(900)
        ('131 MB', '900 B')
    """
    for unit in ("B", "kB", "MB", "GB"):
        if size < 999.5:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"


def require(package: str, purpose: str) -> Any:
    """Import a package that only one conversion needs.

    Args:
        package: its name, as imported and as installed.
        purpose: what it is for, such as ``"to_pandas"``.

    Raises:
        InputError: it is not installed, with the command that installs it.
    """
    try:
        return import_module(package)
    except ImportError:
        raise InputError(f"{purpose} needs {package}: install it with `pip install {package}`") from None
