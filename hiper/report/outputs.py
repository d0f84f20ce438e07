"""The report of an experiment: `tables/`, `figures/` and `report.html` from the run folders, and the summary the demo
ends with."""

from __future__ import annotations

import logging
import textwrap
from pathlib import Path

from hiper.locks import exclusive
from hiper.records import absolute
from hiper.report import figures
from hiper.report.formats import to_text
from hiper.report.improvement import improvement_table
from hiper.report.measures import differences
from hiper.report.page import PAGE, write_page
from hiper.report.study import load_studies
from hiper.report.success import main_cells, success_table
from hiper.report.table import reach
from hiper.report.tables import write_tables
from hiper.runs.labels import DEFAULT_EXPERIMENT

log = logging.getLogger(__name__)

SUMMARY_COLUMNS = ("Algorithm", "Split", "Temp.", "All", "95 % interval", "Score", "Reachable", "Episodes", "Seeds")
SUMMARY_DIFFERENCES = ("Comparison", "Split", "Temp.", "Difference", "95 % interval", "Seed std", "Tasks", "Seeds")
SUMMARY_WIDTH = 110


def write_report(experiment: Path) -> None:
    """Write the tables, the figures and the page of `results/<experiment>`; UserError when no run has been
    evaluated."""
    studies = load_studies(experiment)
    with (
        exclusive(experiment / "tables"),
        exclusive(experiment / "figures"),
        exclusive(experiment / PAGE),
    ):
        write_tables(studies, experiment / "tables")
        drawn = figures.draw(studies, experiment / "figures")
        write_page(studies, experiment, [one for one in drawn if figures.shown(one.name, studies)])
    for study in studies:
        if study.gaps:
            log.warning("report of %s, %s: %s", study.benchmark, study.model, study.gaps)


def summary(experiment: Path) -> str:
    """The result in plain text: success, improvement over the warm start, where the figures and MLflow are."""
    parts = []
    for study in load_studies(experiment):
        cells, improvement = main_cells(study), improvement_table(study)
        parts.append(f"Success rate in % on {study.benchmark}, model {study.model} (mean ± deviation over seeds)")
        parts.append(to_text(success_table(study, cells).chosen(SUMMARY_COLUMNS)))
        if study.main_note:
            parts.append(f"{study.main_note} The rest: {experiment / 'tables' / 'success.md'}")
        if improvement.cells:
            parts.append("Differences in percentage points, paired over seeds and tasks")
            parts.append(to_text(improvement.chosen(SUMMARY_DIFFERENCES)))
        seeds = {count for rows in (cells, differences(study)) if len(rows) for count in rows["seeds"]}
        parts.append(textwrap.fill(reach(seeds), SUMMARY_WIDTH))
        if study.gaps:
            parts.append(study.gaps)
    name = absolute(experiment).name
    browse = "make mlflow" if name == DEFAULT_EXPERIMENT else f"EXPERIMENT={name} make mlflow"
    places = (
        ("Report:  ", PAGE, experiment / PAGE),
        ("Tables:  ", "tables", experiment / "tables"),
        ("Figures: ", "figures", experiment / "figures"),
        ("MLflow:  ", "tracking", browse),  # unpacked evidence has no records
    )
    there = [f"{title}{where}" for title, name, where in places if (experiment / name).exists()]
    if not (experiment / PAGE).exists():
        there.insert(0, f"Report:  none yet; to make it: hiper report {experiment}")
    parts.append("\n".join(there))
    return "\n\n".join(parts) + "\n"
