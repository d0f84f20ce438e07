"""Tables as LaTeX that fits a page: turned on its side if it is wide, in parts if it is long."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from hiper.report.table import Table


@dataclass(frozen=True)
class Page:
    """An environment, and the room in it, in points: that of the standard classes on letter paper, their smallest."""

    environment: str
    width: float
    height: float


UPRIGHT, SIDEWAYS = Page("table", 345.0, 530.0), Page("sidewaystable", 530.0, 320.0)
SHRUNK = 1.3  # a table of up to so many times the page's width is scaled down; a wider one is turned
CHARACTER, GAP, LINE = 3.5, 6.0, 8.5  # points: of a cell's text, between columns, from row to row
CAPTION_CHARACTER, CAPTION_LINE = 5.0, 12.0
SCALED = r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}"  # never enlarged


def to_latex(tables: Sequence[Table], name: str) -> str:
    """Floats with booktabs rules; the first line says which packages they need. Labels are `tab:<name>`, with a number
    behind it if there are several."""
    parts = []
    for number, table in enumerate(tables, start=1):
        label = f"tab:{name}-{number}" if len(tables) > 1 else f"tab:{name}"
        page = SIDEWAYS if _width(table) > SHRUNK * UPRIGHT.width else UPRIGHT
        first, *others = _pages(table, page)
        caption = [rf"\caption{{{_escape(table.full_caption)}}}", rf"\label{{{label}}}"]
        parts += _float(table.header, first, page, caption)
        for rows in others:
            parts += _float(table.header, rows, page, [rf"\caption{{Table~\ref{{{label}}}, continued.}}"])
    packages = ["booktabs", "graphicx", *(["rotating"] if rf"\begin{{{SIDEWAYS.environment}}}" in parts else [])]
    return "\n".join([rf"% needs \usepackage{{{','.join(packages)}}}", *parts]) + "\n"


def _float(header: Sequence[str], rows: Sequence[Sequence[str]], page: Page, caption: Sequence[str]) -> list[str]:
    head, *body = (" & ".join(map(_escape, row)) + r" \\" for row in (header, *rows))
    return [
        rf"\begin{{{page.environment}}}",
        r"\centering\scriptsize\setlength{\tabcolsep}{3pt}",
        *caption,
        r"\smallskip",
        SCALED + r"{\begin{tabular}{l" + "r" * (len(header) - 1) + "}",
        r"\toprule",
        head,
        r"\midrule",
        *body,
        r"\bottomrule",
        r"\end{tabular}}",
        rf"\end{{{page.environment}}}",
    ]


def _width(table: Table) -> float:
    columns = zip(table.header, *table.cells, strict=True)
    return sum(CHARACTER * max(map(len, column)) + GAP for column in columns)


def _pages(table: Table, page: Page) -> list[list[tuple[str, ...]]]:
    """The rows in parts that fit below the caption; rows of one name stay together where a part can hold them."""
    caption = CAPTION_LINE * math.ceil(CAPTION_CHARACTER * len(table.full_caption) / page.width)
    most = max(1, int((page.height - caption) / LINE) - 2)
    parts: list[list[tuple[str, ...]]] = [[]]
    for _, group in groupby(table.cells, key=lambda row: row[0]):
        rows = list(group)
        if len(parts[-1]) + len(rows) > most >= len(rows):
            parts.append([])
        for row in rows:
            if len(parts[-1]) == most:
                parts.append([])
            parts[-1].append(row)
    return [part for part in parts if part]


_LATEX = {
    **{character: f"\\{character}" for character in "&%$#_{}"},
    **{"~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "\\": r"\textbackslash{}", "<": r"\textless{}"},
    **{
        ">": r"\textgreater{}",
        "≥": r"$\geq$",
        "≈": r"$\approx$",
        "…": r"\dots{}",
        "±": r"$\pm$",
        "∞": r"$\infty$",
        "×": r"$\times$",
        "−": "$-$",
        "–": "--",
    },
    "[": "{[}",  # after a line break LaTeX would read it as an optional argument
}


def _escape(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in text)
