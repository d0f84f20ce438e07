"""The report of an experiment: `tables/` and `figures/` from the run folders, and the summary the demo ends with."""

from __future__ import annotations

import logging
from pathlib import Path

from hiper.locks import exclusive
from hiper.records import write_json, write_text
from hiper.stages import figures
from hiper.stages.results import DEFAULT_EXPERIMENT, Study, load_studies
from hiper.stages.table_formats import Table, to_csv, to_latex, to_markdown, to_text
from hiper.stages.tables import (
    improvement_records,
    improvement_table,
    success_records,
    success_table,
    training_records,
)

log = logging.getLogger(__name__)

_WHERE = ("benchmark", "model", "algorithm", "split", "temperature")
SUCCESS_COLUMNS = (
    *(*_WHERE, "task_type", "mean", "std", "wilson_low", "wilson_high", "bootstrap_low", "bootstrap_high"),
    *("score", "score_std", "reachable"),
    *("won", "episodes", "seeds", "runs"),
)
IMPROVEMENT_COLUMNS = (*_WHERE, "baseline", "difference", "low", "high", "seed_std", "tasks", "seeds")
TRAINING_COLUMNS = (
    *("run", "benchmark", "model", "algorithm", "seed", "iterations", "episodes", "averaged_iterations"),
    *("final_success", "final_switch_rate", "final_segment_length", "final_valid_rate"),
)
SUMMARY_COLUMNS = ("Algorithm", "Split", "Temp.", "All", "95 % interval", "Score", "Reachable", "Episodes", "Seeds")


def run(experiment: Path) -> None:
    """Write the tables and figures of `results/<experiment>`; UserError when no run has been evaluated."""
    studies = load_studies(experiment)
    with exclusive(experiment / "tables"), exclusive(experiment / "figures"):
        write_tables(studies, experiment / "tables")
        figures.draw(studies, experiment / "figures")
    for study in studies:
        if gaps := study.gaps():
            log.warning("report of %s, %s: %s", study.benchmark, study.model, gaps)


def write_tables(studies: list[Study], folder: Path) -> None:
    """The files of `tables/`.

    Rates in CSV and JSON files are in [0, 1], in the other tables in percent. `rates.json` holds the overall rates,
    nested, for tools that compare metrics.
    """
    for name, table_of, records_of, columns in (
        ("success", success_table, success_records, SUCCESS_COLUMNS),
        ("improvement", improvement_table, improvement_records, IMPROVEMENT_COLUMNS),
    ):
        pages = [table_of(study) for study in studies]
        records = [record for study in studies for record in records_of(study)]
        write_text(folder / f"{name}.csv", to_csv(records, columns))
        write_text(folder / f"{name}.md", to_markdown(pages))
        write_text(folder / f"{name}.tex", to_latex(pages, name))
    training = [record for study in studies for record in training_records(study)]
    write_text(folder / "training.csv", to_csv(training, TRAINING_COLUMNS))
    write_json(folder / "rates.json", _metrics(studies))


def summary(experiment: Path) -> str:
    """The result in plain text: success, improvement over the warm start, where the figures and MLflow are."""
    parts = []
    for study in load_studies(experiment):
        parts.append(f"Success rate in % on {study.benchmark}, model {study.model} (mean ± deviation over seeds)")
        parts.append(to_text(_columns(success_table(study), SUMMARY_COLUMNS)))
        improvement = improvement_table(study)
        if improvement.rows:
            parts.append("Differences in percentage points, paired over tasks")
            parts.append(to_text(improvement))
        if gaps := study.gaps():
            parts.append(gaps)
    name = experiment.resolve().name
    browse = "make mlflow" if name == DEFAULT_EXPERIMENT else f"EXPERIMENT={name} make mlflow"
    parts.append(f"Tables:  {experiment / 'tables'}\nFigures: {experiment / 'figures'}\nMLflow:  {browse}")
    return "\n\n".join(parts) + "\n"


def _columns(table: Table, names: tuple[str, ...]) -> Table:
    chosen = [table.header.index(name) for name in names if name in table.header]
    header, *rows = (tuple(row[column] for column in chosen) for row in (table.header, *table.rows))
    return Table(table.caption, header, tuple(rows))


def _metrics(studies: list[Study]) -> dict[str, dict[str, float]]:
    """ "<benchmark>-<model>-<algorithm>" → "<split>_t<temperature>" → overall success rate."""
    nested: dict[str, dict[str, float]] = {}
    for record in (record for study in studies for record in success_records(study) if record["task_type"] == "all"):
        name = f"{record['benchmark']}-{record['model']}-{record['algorithm']}"
        nested.setdefault(name, {})[f"{record['split']}_t{record['temperature']}"] = float(record["mean"])
    return nested
