"""The report of an experiment: `tables/`, `figures/` and `report.html` from the run folders, and the summary the demo
ends with."""

from __future__ import annotations

import logging
import textwrap
from pathlib import Path

from hiper.locks import exclusive
from hiper.records import absolute, write_json, write_text
from hiper.report import critics_table, figures, report_page, selection_table, variance_table
from hiper.report.aggregates import aggregate_table
from hiper.report.curves import curve_records
from hiper.report.improvement_tables import improvement_records, improvement_table, improvements
from hiper.report.published import published_table
from hiper.report.table_formats import Table, reach, to_csv, to_markdown, to_text
from hiper.report.table_latex import to_latex
from hiper.report.tables import (
    main_cells,
    success_rate,
    success_records,
    success_table,
)
from hiper.report.training_tables import BUDGETS, efficiency_records, efficiency_table, training_records
from hiper.runs.results import DEFAULT_EXPERIMENT, Study, load_studies

log = logging.getLogger(__name__)

_WHERE = ("benchmark", "model", "algorithm", "split", "temperature", "protocol", "checkpoint")
SUCCESS_COLUMNS = (
    *(*_WHERE, "task_type", "mean", "std", "low", "high", "tasks_low", "tasks_high"),
    *("score", "score_std", "reachable"),
    *("won", "episodes", "seeds", "runs", "iqm", "iqm_low", "iqm_high"),
)
IMPROVEMENT_COLUMNS = (
    *(*_WHERE, "baseline", "difference", "low", "high", "tasks_low", "tasks_high", "seed_std", "tasks", "seeds"),
    *("probability", "probability_low", "probability_high"),
)
EFFICIENCY_COLUMNS = (
    *("benchmark", "model", "algorithm", "level", "reached", "seeds"),
    *("episodes", "episodes_std", "turns", "turns_std", "tokens", "tokens_std"),
)
TRAINING_COLUMNS = (
    *("run", "benchmark", "model", "algorithm", "seed", "iterations", "episodes", "averaged_iterations"),
    *("final_success", "final_switch_rate", "final_segment_length", "final_valid_rate"),
)
CURVE_COLUMNS = (
    *("benchmark", "model", "algorithm", "seed", "run", "iteration", *BUDGETS),
    *("success", "smoothed_success", "validation_success"),
)
SUMMARY_COLUMNS = ("Algorithm", "Split", "Temp.", "All", "95 % interval", "Score", "Reachable", "Episodes", "Seeds")
SUMMARY_WIDTH = 110
SUMMARY_DIFFERENCES = ("Comparison", "Split", "Temp.", "Difference", "95 % interval", "Seed std", "Tasks", "Seeds")


def run(experiment: Path) -> None:
    """Write the tables, the figures and the page of `results/<experiment>`; UserError when no run has been
    evaluated."""
    studies = load_studies(experiment)
    with (
        exclusive(experiment / "tables"),
        exclusive(experiment / "figures"),
        exclusive(experiment / report_page.FILE),
    ):
        write_tables(studies, experiment / "tables")
        drawn = figures.draw(studies, experiment / "figures")
        report_page.write(studies, experiment, [path for path in drawn if path.suffix == ".png"])
    for study in studies:
        if gaps := study.gaps():
            log.warning("report of %s, %s: %s", study.benchmark, study.model, gaps)


def write_tables(studies: list[Study], folder: Path) -> None:
    """The files of `tables/`.

    Rates in CSV and JSON files are in [0, 1], in the other tables in percent. `rates.json` holds the overall rates
    under the main conditions, nested, for tools that compare metrics.
    """
    for name, records_of, columns in (
        ("success", success_records, SUCCESS_COLUMNS),
        ("improvement", improvement_records, IMPROVEMENT_COLUMNS),
        ("efficiency", efficiency_records, EFFICIENCY_COLUMNS),
        ("training", training_records, TRAINING_COLUMNS),
        ("selection", selection_table.selection_records, selection_table.RECORD_COLUMNS),
        ("curves", curve_records, CURVE_COLUMNS),
        ("critics", critics_table.critics_records, critics_table.RECORD_COLUMNS),
        ("variance", variance_table.variance_records, variance_table.RECORD_COLUMNS),
    ):
        records = [record for study in studies for record in records_of(study)]
        write_text(folder / f"{name}.csv", to_csv(records, columns))
    nothing = "Nothing to show for these runs."
    for name, table_of, empty in (
        ("success", success_table, nothing),
        ("selection", selection_table.selection_table, selection_table.NONE),
        ("aggregate", aggregate_table, nothing),
        ("improvement", improvement_table, nothing),
        ("efficiency", efficiency_table, nothing),
        ("published", published_table, nothing),
        ("critics", critics_table.critics_table, critics_table.NONE),
        ("variance", variance_table.variance_table, variance_table.NONE),
    ):
        pages = [table for study in studies if (table := table_of(study)) is not None and table.rows]
        write_text(folder / f"{name}.md", to_markdown(pages) or f"{empty}\n")
        write_text(folder / f"{name}.tex", to_latex(pages, name) if pages else f"% {empty}\n")
    write_json(folder / "rates.json", _metrics(studies))


def summary(experiment: Path) -> str:
    """The result in plain text: success, improvement over the warm start, where the figures and MLflow are."""
    parts = []
    for study in load_studies(experiment):
        cells = main_cells(study)
        parts.append(f"Success rate in % on {study.benchmark}, model {study.model} (mean ± deviation over seeds)")
        parts.append(to_text(_columns(success_table(study, cells), SUMMARY_COLUMNS)))
        if study.main_note:
            parts.append(f"{study.main_note} The rest: {experiment / 'tables' / 'success.md'}")
        improvement = improvement_table(study)
        if improvement.rows:
            parts.append("Differences in percentage points, paired over seeds and tasks")
            parts.append(to_text(_columns(improvement, SUMMARY_DIFFERENCES)))
        seeds = {sum(bool(run.played(condition)) for run in study.of(name)) for name, condition in cells}
        seeds |= {difference.seeds for *_, difference in improvements(study)}
        parts.append(textwrap.fill(reach(seeds), SUMMARY_WIDTH))
        if gaps := study.gaps():
            parts.append(gaps)
    name = absolute(experiment).name
    page = experiment / report_page.FILE
    browse = "make mlflow" if name == DEFAULT_EXPERIMENT else f"EXPERIMENT={name} make mlflow"
    parts.append(
        f"Report:  {page}\nTables:  {experiment / 'tables'}\nFigures: {experiment / 'figures'}\nMLflow:  {browse}"
    )
    return "\n\n".join(parts) + "\n"


def _columns(table: Table, names: tuple[str, ...]) -> Table:
    chosen = [table.header.index(name) for name in names if name in table.header]
    header, *rows = (tuple(row[column] for column in chosen) for row in (table.header, *table.rows))
    return Table(table.caption, header, tuple(rows))


def _metrics(studies: list[Study]) -> dict[str, dict[str, float]]:
    """ "<benchmark>-<model>-<algorithm>" → "<place>_t<temperature>" (`Condition.place`) → overall success rate, under
    the main conditions."""
    nested: dict[str, dict[str, float]] = {}
    for study in studies:
        for algorithm, condition in main_cells(study):
            rate = success_rate(study.of(algorithm), condition)
            assert rate is not None
            cells = nested.setdefault(f"{study.benchmark}-{study.model}-{algorithm}", {})
            cells[f"{condition.place}_t{condition.temperature}"] = round(rate.success.mean, 4)
    return nested
