"""`report.html`: the whole experiment on one page that needs no network and no other file.

What won, what was compared, tables and figures, every episode, and where every cell comes from. The markup is in
`templates/`, a file for each section, and the page's one script `episodes.js`; here is what they show. The browser runs
that script alone, whose hash the page names. Equal results give equal bytes, but for the line that says when and where
they were made.
"""

from __future__ import annotations

import hashlib
import re
from base64 import b64encode
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from hiper.records import absolute, write_text
from hiper.report import compared, episodes, origin
from hiper.report.colours import colour
from hiper.report.execution import execution
from hiper.report.figures import FIGURES, Drawn
from hiper.report.measures import COMMON_BASELINES, MAIN, differences, pick
from hiper.report.study import Study
from hiper.report.success import cells_side_by_side, main_cells, played_cells, success_table
from hiper.report.table import INTERVAL, Table, headline, known, mean_spread, reach, signed, signed_headline
from hiper.report.tables import TABLES
from hiper.report.text import printable
from hiper.runs.comparison import PAGE

TEMPLATES = Path(__file__).with_name("templates")
SECTIONS = {  # by name of their template: in the navigation, and above the section
    "result": ("In short", "In short"),
    "compared": ("Compared", "What was compared"),
    "tables": ("Tables", "Results"),
    "figures": ("Figures", "Figures"),
    "episodes": ("Episodes", "Episodes"),
    "origin": ("Origin", "Where each cell comes from"),
}
SIDE_BY_SIDE = 9  # algorithms in columns of a table
FITS = range(240, 2001, 80)  # pixels: the widths below which a table's rows become blocks
BREAK = re.compile(r"\s+|<wbr>")  # where the text of a cell may
TRACED = "hiper_traced"  # the form of HiPER that carries credit on through the ends of subgoals
MARGIN = 1.05  # of an axis beyond the furthest end of an interval
ONE_COLUMN, LEAST = 470, 1.2  # points: the width of a picture with one panel; pixels for each of a wider one
LETTER, PADDING = 7.6, 16  # pixels of a table: a letter, and around a cell


class Cell(NamedTuple):
    """Of a table on the page: its text, the anchor that it leads to and the colour of a dot before it."""

    text: str
    link: str | None = None
    colour: str | None = None


def write_page(studies: Sequence[Study], experiment: Path, figures: Sequence[Drawn]) -> None:
    """Write `experiment/report.html`, with these figures."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_printable,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals["zip"] = zip
    script = (TEMPLATES / "episodes.js").read_text(encoding="utf-8")
    made = [origin.made_runs(study, experiment) for study in studies]
    page = environment.get_template("page.html.j2").render(
        experiment=absolute(experiment).name,
        title=origin.title(experiment, [one for runs in made for one in runs]),
        sections=SECTIONS,
        fits=FITS,
        models=dict.fromkeys(study.model for study in studies),
        benchmarks=dict.fromkeys(study.benchmark for study in studies),
        execution=execution(experiment, [one for runs in made for one in runs]),
        studies=[
            _study(number, study, runs, experiment)
            for number, (study, runs) in enumerate(zip(studies, made, strict=True))
        ],
        figures=[_figure(one) for one in figures],
        archive=episodes.archive(studies, experiment),
        script=Markup(script),  # the project's own file
        digest=b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii"),
    )
    write_text(experiment / PAGE, page)


def _figure(drawn: Drawn) -> dict[str, Any]:
    panels = [(about, b64encode(svg.encode()).decode("ascii"), _least(svg)) for about, svg in drawn.panels]
    return {"name": drawn.name, "caption": FIGURES[drawn.name].caption, "panels": panels}


def _least(svg: str) -> int | None:
    """Pixels that a picture of several columns needs for its words to be read; it scrolls where there are fewer."""
    found = re.search(r'<svg [^>]*?width="([\d.]+)pt"', svg)
    width = float(found[1]) if found else 0.0
    return round(width * LEAST) if width > ONE_COLUMN else None


def _printable(value: Any) -> Any:
    return value if isinstance(value, Markup) or not isinstance(value, str) else printable(value)


def _study(number: int, study: Study, made: Sequence[origin.Made], experiment: Path) -> dict[str, Any]:
    told = compared.compared(study, made)
    return {
        "title": f"{study.benchmark}, {study.model}",
        "result": _headline(number, study),
        "compared": told,
        **{part: _settings(told["labels"], told[part]) for part in ("differing", "partly")},
        "tables": list(_tables(study)),
        "cells": [_origin(study, algorithm, made) for algorithm in study.algorithms],
        "runs": [origin.card(one, experiment) | {"colour": colour(one.run.algorithm)} for one in made],
    }


def _settings(labels: Sequence[str], rows: Sequence[Sequence[str]]) -> dict[str, Any]:
    """A row for each setting, whose name may break after each dot; a column for each algorithm or, where there are too
    many, one with each value and who has it."""
    names = [Cell(Markup(".<wbr>").join(printable(name).split("."))) for name, *_ in rows]
    if len(labels) <= SIDE_BY_SIDE:
        return _grid(
            ["Setting", *labels],
            [[name, *map(Cell, values)] for name, (_, *values) in zip(names, rows, strict=True)],
        )
    told = []
    for _, *values in rows:
        whose: dict[str, list[str]] = {}
        for label, value in zip(labels, values, strict=True):
            whose.setdefault(value, []).append(label)
        whose.pop(compared.NOT_READ, None)
        told.append(". ".join(f"{value}: {'; '.join(who)}" for value, who in whose.items()))
    return _grid(["Setting", "Values"], [[name, Cell(text)] for name, text in zip(names, told, strict=True)])


def _grid(header: Sequence[str], rows: Sequence[Sequence[Cell]]) -> dict[str, Any]:
    """A table as the template wants it. `fit`: of FITS, the width that it needs when its cells break between words."""
    columns = zip(header, *([cell.text for cell in row] for row in rows), strict=True)
    words = [max(1, *(len(word) for text in column for word in BREAK.split(text))) for column in columns]
    return {"header": header, "rows": rows, "fit": _fit(sum(LETTER * longest + PADDING for longest in words))}


def _fit(width: float) -> int:
    return next((fit for fit in FITS if fit >= width), FITS[-1])


def _origin(study: Study, algorithm: str, made: Sequence[origin.Made]) -> dict[str, Any]:
    found = origin.cells(study, algorithm, made)
    return found | {"fit": _fit(330 + 100 * len(found["runs"]))}


def _headline(number: int, study: Study) -> dict[str, Any] | None:
    """The rates under the condition that asks most; None where no run has been evaluated."""
    if (condition := study.hardest) is None:
        return None
    found = pick(differences(study), condition=condition)
    if MAIN in study.algorithms and len(found):
        of_main = (found["algorithm"] == MAIN) | (found["baseline"] == MAIN)
        traced = (found["algorithm"] == TRACED) & found["baseline"].isin(COMMON_BASELINES)
        found = found[of_main | traced]
    seeds = {len(study.outcomes.get((name, condition), ())) for name in study.algorithms} - {0}
    rows = [*found.itertuples()]
    scale = MARGIN * max((abs(end) for row in rows for end in (*known(row), row.difference)), default=1.0) or 1.0
    return {
        "condition": condition,
        "bars": [_bar(row) for row in pick(played_cells(study), condition=condition).itertuples()],
        "verdicts": [_verdict(row, scale, number) for row in rows],
        "scale": f"{100 * scale:.0f}",
        "reach": reach(seeds | ({*found["seeds"]} if len(found) else set())),
    }


def _bar(row: Any) -> dict[str, Any]:
    """A bar for the mean with a line for the interval; leads to where the number comes from."""
    low, high = known(row)
    seeds = f"{row.seeds} seed{'s' * (row.seeds > 1)}"
    return {
        "label": row.label,
        "origin": row.origin,
        "colour": colour(row.algorithm),
        "width": f"{100 * row.mean:.1f}",
        "low": f"{100 * low:.1f}",
        "length": f"{100 * high - 100 * low:.1f}",
        "text": f"{mean_spread(row.mean, row.std)} %  {headline(*_ends(row))}, {seeds}",
    }


def _verdict(row: Any, scale: float, study: int) -> dict[str, Any]:
    """A difference on an axis from -scale to +scale, in words, and the tasks that it rests on."""
    low, high = known(row)
    which = {1: " with this seed; of others it says nothing", 2: " with two seeds, which say little of others"}.get(
        row.seeds, ""
    )
    said = f"better{which}" if low > 0 else f"worse{which}" if high < 0 else "could be chance"
    places = {"low": low, "mean": row.difference}
    tasks = {"study": study, "place": printable(row.condition.words), "outcome": "here"}
    return {
        "label": row.comparison,
        "origin": row.origin,
        "colour": colour(row.algorithm),
        "hollow": row.seeds == 1,
        **{name: f"{50 + 50 * place / scale:.1f}" for name, place in places.items()},
        "length": f"{50 * (high - low) / scale:.1f}",
        "text": f"{signed(row.difference)} {signed_headline(*_ends(row))}: {said}.",
        "query": urlencode(tasks | {"algorithm": row.algorithm, "other": row.baseline}),
    }


def _ends(row: Any) -> list[float]:
    return [getattr(row, name) for name in INTERVAL]


def _tables(study: Study) -> Iterator[dict[str, Any]]:
    """Those that have rows, the success table of the main conditions with all others folded below it."""
    cells = cells_side_by_side(study)
    for entry in TABLES:
        if not entry.title:
            continue
        folded = None
        if entry.name == "success":
            table = success_table(study, main_cells(study))
            folded = success_table(study, cells) if len(cells) > len(table.cells) else None
        else:
            table = entry.make(study)
        if table.cells:
            yield {
                "title": entry.title,
                "table": _shown(table, entry.files),
                "folded": _shown(folded, entry.files) if folded else None,
            }


def _shown(table: Table, files: Sequence[str]) -> dict[str, Any]:
    """A table of results: each cell leads to where it comes from; a dot in the algorithm's colour begins a row."""
    dots = (
        [colour(name) for name in table.rows["algorithm"]] if "algorithm" in table.rows else [None] * len(table.cells)
    )
    rows = [
        [Cell(text, link, None if place else dot) for place, (text, link) in enumerate(zip(texts, links, strict=True))]
        for texts, links, dot in zip(table.cells, table.anchors, dots, strict=True)
    ]
    return _grid(table.header, rows) | {"caption": table.caption, "files": files}
