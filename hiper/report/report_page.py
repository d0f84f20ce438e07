"""`report.html`: the whole experiment on one page that needs no network, no script and no other file.

What won, what was compared, tables and figures, a few episodes, and where every cell comes from. Equal results give
equal bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hiper.records import absolute, write_text
from hiper.report import report_compared, report_episodes, report_runs
from hiper.report.aggregates import aggregate_table
from hiper.report.critics_table import critics_table
from hiper.report.improvement_tables import improvement_table, improvements
from hiper.report.published import published_table
from hiper.report.report_markup import Markup, document, image, join, link, numbers, tag
from hiper.report.selection_table import selection_table
from hiper.report.table_formats import Table, headline, mean_spread, reach, signed, signed_interval
from hiper.report.tables import (
    cells_side_by_side,
    main_cells,
    played_cells,
    success_rate,
    success_table,
)
from hiper.report.training_tables import efficiency_table
from hiper.report.variance_table import variance_table
from hiper.runs.conditions import Condition
from hiper.runs.results import WARM_START, Study, cell_name, describe
from hiper.statistics import Mean

FILE = "report.html"
SECTIONS = {
    "result": "In short",
    "compared": "What was compared",
    "tables": "Results",
    "figures": "Figures",
    "episodes": "Episodes",
    "origin": "Where each cell comes from",
}
FIGURES = {
    "learning_curves": "Success on training tasks over the episodes played. Thin lines are single seeds, thick ones "
    "their mean; moving averages over a fifteenth of a run. Bands are 95 % intervals of the mean for new seeds "
    "(Student's over seeds at each point), never narrower than Wilson's of the episodes that a point averages; with "
    "one seed they are the latter, and say nothing about others; of two there are none, as they would fill the figure. "
    "In a run's first iterations the critic alone learns "
    "(training.critic.warmup_iterations), so that success there is still that of the model training begins from.",
    "efficiency": "The same over the tokens that the agent generated in training.",
    "success": "Evaluated success: bars are means over seeds, dots single seeds, whiskers 95 % intervals for new seeds "
    "and new tasks (with one seed: for new tasks alone), as in the tables.",
    "task_types": "The same by task type, on the last split.",
    "switching": "How often the agent replaces its subgoal, and how many turns it keeps one.",
}
MAIN = "hiper"  # whose differences stand at the top; the table has all


def write(studies: Sequence[Study], experiment: Path, figures: Sequence[Path]) -> None:
    """Write `experiment/report.html`; `figures` are PNG files."""
    name = absolute(experiment).name
    sections = {
        "result": join([_headline(study) for study in studies]),
        "compared": join([join([_title(one), report_compared.compared(one, experiment)]) for one in studies]),
        "tables": join([_tables(study) for study in studies]),
        "figures": _figures(figures, len(studies)),
        "episodes": join([tag("p", report_episodes.READING), *(_episodes(study, experiment) for study in studies)]),
        "origin": join(
            [tag("p", report_runs.INTRODUCTION), *(report_runs.provenance(study, experiment) for study in studies)]
        ),
    }
    models = ", ".join(dict.fromkeys(study.model for study in studies))
    played = ", ".join(dict.fromkeys(study.benchmark for study in studies))
    lead = f"Ways of giving credit to a language-model agent, compared on {played} with {models}. "
    lead += "Every number leads to the runs it comes from."
    contents = tag("nav", *(link(f"#{key}", title) for key, title in SECTIONS.items()))
    body = [tag("section", tag("h2", SECTIONS[key]), content, id=key) for key, content in sections.items()]
    end = tag("footer", "Made by ", tag("code", f"hiper report results/{name}"), "; the tables are in tables/, too.")
    title = f"Experiment {name}"
    page = document(title, tag("header", tag("h1", title), tag("p", lead), contents), tag("main", *body), end)
    write_text(experiment / FILE, page)


def _title(study: Study) -> Markup:
    return tag("h3", f"{study.benchmark}, {study.model}")


def _headline(study: Study) -> Markup:
    """The rates under the condition that asks most."""
    if (condition := study.hardest) is None:
        return join([_title(study), tag("p", "No run has been evaluated yet.")])
    bars = [_bar(study, name, condition) for name, where in played_cells(study) if where == condition]
    sentence = f"Episodes won on the split {condition.split} ({condition.decoding}):"
    found = [
        (f"{study.label(algorithm)} − {study.label(baseline)}", difference)
        for algorithm, baseline, where, difference in improvements(study)
        if where == condition and (algorithm == MAIN or MAIN not in study.algorithms)
    ]
    seeds = {sum(bool(run.played(condition)) for run in study.of(name)) for name in study.algorithms}
    note = tag("p", reach(seeds | {difference.seeds for _, difference in found}), class_="quiet")
    verdicts = tag("ul", *(tag("li", _verdict(names, difference)) for names, difference in found))
    return join([_title(study), tag("p", sentence), tag("div", *bars, class_="bars"), verdicts, note])


def _bar(study: Study, algorithm: str, condition: Condition) -> Markup:
    """A bar for the mean with a line for the interval; links to where the number comes from."""
    rate = success_rate(study.of(algorithm), condition)
    assert rate is not None
    low, high = 100 * rate.success.known.low, 100 * rate.success.known.high
    seeds = f"{len(rate.runs)} seed{'s' * (len(rate.runs) > 1)}"
    value = f"{mean_spread(rate.success.mean, rate.success.spread)} %  {headline(rate.success)}, {seeds}"
    bar = tag(
        "span",
        class_="fill start" if algorithm == WARM_START else "fill",
        style=f"width: {100 * rate.success.mean:.1f}%",
    )
    whisker = tag("span", class_="whisker", style=f"left: {low:.1f}%; width: {high - low:.1f}%")
    return join(
        [
            link(f"#{cell_name(study, algorithm, condition)}", study.label(algorithm)),
            tag("span", bar, whisker, class_="track"),
            tag("span", value),
        ]
    )


def _verdict(names: str, difference: Mean) -> str:
    low, high = difference.known.low, difference.known.high
    found = f"{names}: {signed(difference.mean)} points, 95 % interval {headline(difference, signed_interval)}"
    which = "" if difference.seeds > 1 else " with this seed; of others it says nothing"
    if low > 0:
        return f"{found}: better{which}."
    if high < 0:
        return f"{found}: worse{which}."
    return f"{found}: could be chance."


def _tables(study: Study) -> Markup:
    """Every row linked to where it comes from; tables without rows are left out."""
    parts = [_title(study)]
    for title, table in (
        ("Success", success_table(study, main_cells(study))),
        ("Beside published numbers", published_table(study)),
        ("Last and best model", selection_table(study)),
        ("Interquartile means", aggregate_table(study)),
        ("Differences", improvement_table(study)),
        ("Sample efficiency", efficiency_table(study)),
        ("Critics", critics_table(study)),
        ("Gradient variance", variance_table(study)),
    ):
        if table is not None and table.rows:
            parts += [tag("h4", title), _linked(study, table)]
            parts += _side_by_side(study) if title == "Success" else []
    return join(parts)


def _side_by_side(study: Study) -> list[Markup]:
    """All protocols and models, folded; nothing where there is one of each."""
    cells = cells_side_by_side(study)
    if len(cells) == len(main_cells(study)):
        return []
    title = tag("summary", f"All protocols and models side by side ({len(cells)} rows)")
    return [tag("details", title, _linked(study, success_table(study, cells)))]


def _linked(study: Study, table: Table) -> Markup:
    """The table with its links; without what `_compared` says."""

    def cell(row: int, column: int, value: str) -> str:
        anchor = table.links[row].get(table.header[column]) if table.links else None
        return value if anchor is None else link(f"#{anchor}", value)

    caption = table.caption.replace(describe(study), "").replace(study.gaps(), "").strip()
    return numbers(Table(caption, table.header, table.rows), cell)


def _figures(paths: Sequence[Path], studies: int) -> Markup:
    """Side by side where they fit; each study of a figure gets the same width."""
    order = [path for name in FIGURES for path in paths if path.stem == name]
    order += [path for path in paths if path not in order]
    shown = [image(path, FIGURES.get(path.stem, path.stem)) for path in order]
    return tag("div", *shown, class_="figures", style=f"--studies: {studies}")


def _episodes(study: Study, experiment: Path) -> Markup:
    return join([_title(study), report_episodes.episodes(study, experiment)])
