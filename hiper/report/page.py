"""`report.html`: the whole experiment on one page that needs no network, no script and no other file.

What won, what was compared, tables and figures, a few episodes, and where every cell comes from. The markup is in
`templates/`, a file for each section; here is what they show. Equal results give equal bytes.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from hiper.records import absolute, write_text
from hiper.report import compared, episodes, origin
from hiper.report.figures import FIGURES
from hiper.report.measures import differences, pick
from hiper.report.study import Study
from hiper.report.success import cells_side_by_side, main_cells, played_cells, success_table
from hiper.report.table import INTERVAL, headline, known, mean_spread, reach, signed, signed_headline
from hiper.report.tables import TABLES
from hiper.runs.labels import WARM_START

PAGE = "report.html"
TEMPLATES = Path(__file__).with_name("templates")
SECTIONS = {  # by name of their template
    "result": "In short",
    "compared": "What was compared",
    "tables": "Results",
    "figures": "Figures",
    "episodes": "Episodes",
    "origin": "Where each cell comes from",
}
MAIN = "hiper"  # whose differences stand at the top; the table has all


def write_page(studies: Sequence[Study], experiment: Path, figures: Sequence[Path]) -> None:
    """Write `experiment/report.html`; `figures` are PNG files of FIGURES."""
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
    page = environment.get_template("page.html.j2").render(
        experiment=absolute(experiment).name,
        sections=SECTIONS,
        models=dict.fromkeys(study.model for study in studies),
        benchmarks=dict.fromkeys(study.benchmark for study in studies),
        studies=[_study(study, experiment) for study in studies],
        figures=[(b64encode(path.read_bytes()).decode("ascii"), FIGURES[path.stem].caption) for path in figures],
    )
    write_text(experiment / PAGE, page)


def _printable(value: Any) -> Any:
    """Text with characters that do not show or that turn the reading direction written out; line ends stay."""
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    return "".join(
        character
        if character.isprintable() or character == "\n"
        else character.encode("unicode_escape").decode("ascii")
        for character in value
    )


def _study(study: Study, experiment: Path) -> dict[str, Any]:
    made = origin.made_runs(study, experiment)
    return {
        "title": f"{study.benchmark}, {study.model}",
        "result": _headline(study),
        "compared": compared.compared(study, made),
        "tables": list(_tables(study)),
        "episodes": episodes.episodes(study, experiment),
        "cells": [origin.cells(study, algorithm, made) for algorithm in study.algorithms],
        "runs": [origin.card(one, experiment) for one in made],
    }


def _headline(study: Study) -> dict[str, Any] | None:
    """The rates under the condition that asks most; None where no run has been evaluated."""
    if (condition := study.hardest) is None:
        return None
    algorithm = {"algorithm": MAIN} if MAIN in study.algorithms else {}
    found = pick(differences(study), condition=condition, **algorithm)
    seeds = {len(study.outcomes.get((name, condition), ())) for name in study.algorithms}
    return {
        "condition": condition,
        "bars": [_bar(row) for row in pick(played_cells(study), condition=condition).itertuples()],
        "verdicts": [_verdict(row) for row in found.itertuples()],
        "reach": reach(seeds | ({*found["seeds"]} if len(found) else set())),
    }


def _bar(row: Any) -> dict[str, Any]:
    """A bar for the mean with a line for the interval; leads to where the number comes from."""
    low, high = known(row)
    seeds = f"{row.seeds} seed{'s' * (row.seeds > 1)}"
    return {
        "label": row.label,
        "origin": row.origin,
        "start": row.algorithm == WARM_START,
        "width": f"{100 * row.mean:.1f}",
        "low": f"{100 * low:.1f}",
        "length": f"{100 * high - 100 * low:.1f}",
        "text": f"{mean_spread(row.mean, row.std)} %  {headline(*_ends(row))}, {seeds}",
    }


def _verdict(row: Any) -> str:
    low, high = known(row)
    found = f"{row.comparison}: {signed(row.difference)} points, 95 % interval {signed_headline(*_ends(row))}"
    which = "" if row.seeds > 1 else " with this seed; of others it says nothing"
    if low > 0:
        return f"{found}: better{which}."
    if high < 0:
        return f"{found}: worse{which}."
    return f"{found}: could be chance."


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
            yield {"title": entry.title, "table": table, "folded": folded}
