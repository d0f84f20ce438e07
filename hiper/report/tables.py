"""All tables of a report. A new one is a function from a study to a `Table`, and a line in TABLES."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hiper.records import write_json, write_text
from hiper.report import critics, horizon, selection, variance
from hiper.report.formats import to_csv, to_markdown
from hiper.report.improvement import improvement_table
from hiper.report.latex import to_latex
from hiper.report.published import published_table
from hiper.report.study import Study
from hiper.report.success import aggregate_table, main_cells, success_table
from hiper.report.table import Table
from hiper.report.training import curve_table, efficiency_table, training_table


@dataclass(frozen=True)
class Entry:
    """A table's name among the files of `tables/`, its title on the page (none: only machines read it), what it says
    without any row, and whether it has records, for a CSV file."""

    name: str
    title: str
    make: Callable[[Study], Table]
    nothing: str = "Nothing to show for these runs."
    records: bool = True

    @property
    def files(self) -> list[str]:
        return [f"{self.name}.{kind}" for kind in ("csv",) * self.records + ("md", "tex") * bool(self.title)]


TABLES = (  # in the order of the page
    Entry("success", "Success", success_table),
    Entry("published", "Beside published numbers", published_table, records=False),
    Entry("selection", "Last and best model", selection.selection_table, selection.NONE),
    Entry("aggregate", "Interquartile means", aggregate_table, records=False),
    Entry("improvement", "Differences", improvement_table),
    Entry("efficiency", "Sample efficiency", efficiency_table),
    Entry("horizon", "Success by horizon", horizon.horizon_table, horizon.NONE),
    Entry("horizon_switching", "Subgoals by horizon", horizon.switching_table, horizon.NONE),
    Entry("horizon_episodes", "Episodes to a level by horizon", horizon.level_table, horizon.NO_LEVELS),
    Entry("critics", "Critics", critics.critics_table, critics.NONE),
    Entry("critic_gaps", "What the critic knows, and the gap", horizon.critic_gap_table, horizon.NO_CRITICS),
    Entry("variance", "Gradient variance", variance.variance_table, variance.NONE),
    Entry("training", "", training_table),  # these two in files for machines alone
    Entry("curves", "", curve_table),
)


RATES = "rates"
FILES = [name for entry in TABLES for name in entry.files]


def write_tables(studies: Sequence[Study], folder: Path) -> None:
    """FILES and the folder RATES, in the folder `tables/`.

    Rates in CSV and JSON files are in [0, 1], in the other tables in percent. RATES has a file for each algorithm, so
    that tools which compare metrics show a line for each.
    """
    for entry in TABLES:
        tables = [entry.make(study) for study in studies]
        if entry.records:
            write_text(folder / f"{entry.name}.csv", to_csv(tables))
        if entry.title:
            shown = [table for table in tables if table.cells]
            write_text(folder / f"{entry.name}.md", to_markdown(shown) or f"{entry.nothing}\n")
            write_text(folder / f"{entry.name}.tex", to_latex(shown, entry.name) if shown else f"% {entry.nothing}\n")
    shutil.rmtree(folder / RATES, ignore_errors=True)
    for name, rates in _overall_rates(studies).items():
        write_json(folder / RATES / f"{name}.json", rates)


def _overall_rates(studies: Sequence[Study]) -> dict[str, dict[str, float]]:
    """ "<benchmark>-<model>/<algorithm>" → "<place>_t<temperature>" (`Condition.place`) → overall success rate, under
    the main conditions."""
    nested: dict[str, dict[str, float]] = {}
    for row in (row for study in studies for row in main_cells(study).itertuples()):
        cells = nested.setdefault(f"{row.benchmark}-{row.model}/{row.algorithm}", {})
        cells[f"{row.condition.place}_t{row.temperature}"] = round(row.mean, 4)
    return nested
