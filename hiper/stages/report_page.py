"""`report.html`: the whole experiment on one page that needs no network, no script and no other file.

What won, what was compared, tables and figures, a few episodes, and where every cell comes from. Equal results give
equal bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hiper.records import write_text
from hiper.stages import report_episodes, report_runs
from hiper.stages.aggregates import aggregate_table
from hiper.stages.published import OURS, published_table
from hiper.stages.report_markup import Markup, document, facts, grid, image, join, link, numbers, tag
from hiper.stages.results import WARM_START, Condition, Study, describe, label, setting, task_label
from hiper.stages.table_formats import Table, interval_text, mean_spread, signed
from hiper.stages.tables import improvement_table, improvements, played_cells, success_rate, success_table
from hiper.stages.training_tables import efficiency_table

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
    "their mean, bands the 95 % Wilson intervals of the episodes that a point averages; moving averages over a "
    "fifteenth of a run. In a run's first iterations the critic alone learns (training.critic.warmup_iterations), so "
    "that success there is still the warm start's.",
    "efficiency": "The same over the tokens that the agent generated in training.",
    "success": "Evaluated success: bars are means over seeds, dots single seeds, whiskers 95 % Wilson intervals of all "
    "episodes.",
    "task_types": "Evaluated success by task type, on the last split.",
    "switching": "How often the agent replaces its subgoal, and how many turns it keeps one.",
}
MAIN = "hiper"  # whose differences stand at the top; the table has all
LINKED = ("Algorithm", "Comparison", "All")  # columns whose cells lead to their origin
IDENTITY = ("seed", "data_source", "algorithm.name")  # settings that differ anyway


def write(studies: Sequence[Study], experiment: Path, figures: Sequence[Path]) -> None:
    """Write `experiment/report.html`; `figures` are PNG files."""
    name = experiment.resolve().name
    sections = {
        "result": join([_headline(study) for study in studies]),
        "compared": join([_compared(study, experiment) for study in studies]),
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
    """The rates under the condition that asks most: the last split, its lowest temperature."""
    splits = [condition.split for condition in study.conditions]
    condition = next(c for c in study.conditions if c.split == splits[-1])
    bars = [_bar(study, name, condition) for name, where in played_cells(study) if where == condition]
    sentence = f"Episodes won on the split {condition.split} at temperature {condition.temperature}:"
    found = [
        tag("li", _verdict(algorithm, baseline, difference.mean, difference.interval.low, difference.interval.high))
        for algorithm, baseline, where, difference in improvements(study)
        if where == condition and (algorithm == MAIN or MAIN not in study.algorithms)
    ]
    return join([_title(study), tag("p", sentence), tag("div", *bars, class_="bars"), tag("ul", *found), *_note(found)])


def _note(found: Sequence[Markup]) -> list[Markup]:
    text = (
        "These intervals are over tasks: another training seed may change more. Spreads over seeds stand behind the ±."
    )
    return [tag("p", text, class_="quiet")] if found else []


def _bar(study: Study, algorithm: str, condition: Condition) -> Markup:
    """A bar for the mean with a line for the interval; links to where the number comes from."""
    rate = success_rate(study.of(algorithm), condition)
    assert rate is not None
    low, high = 100 * rate.interval.low, 100 * rate.interval.high
    seeds = f"{len(rate.runs)} seed{'s' * (len(rate.runs) > 1)}"
    value = f"{mean_spread(rate.mean, rate.spread)} %  {interval_text(rate.interval)}, {seeds}"
    bar = tag(
        "span", class_="fill start" if algorithm == WARM_START else "fill", style=f"width: {100 * rate.mean:.1f}%"
    )
    whisker = tag("span", class_="whisker", style=f"left: {low:.1f}%; width: {high - low:.1f}%")
    return join(
        [
            link(f"#{report_runs.cell_name(study, algorithm, condition)}", label(algorithm)),
            tag("span", bar, whisker, class_="track"),
            tag("span", value),
        ]
    )


def _verdict(algorithm: str, baseline: str, mean: float, low: float, high: float) -> str:
    names = (
        f"{label(algorithm)} − {label(baseline)}: {signed(mean)} points, 95 % interval [{signed(low)}, {signed(high)}]"
    )
    if low > 0:
        return f"{names}: better on these tasks."
    if high < 0:
        return f"{names}: worse on these tasks."
    return f"{names}: could be chance."


def _compared(study: Study, experiment: Path) -> Markup:
    """The study in facts, what to beware of, and how the algorithms' settings differ."""
    trained = [name for name in study.algorithms if name != WARM_START]
    seeds = ", ".join(map(str, sorted({run.seed for run in study.runs})))
    played = [f"{sum(map(len, _played(study, c)))} episodes {c.split} at T = {c.temperature}" for c in study.conditions]
    pairs = [
        ("data", describe(study)),
        ("model", _model(study)),
        ("task types", ", ".join(map(task_label, study.task_types))),
        ("algorithms", ", ".join(map(label, study.algorithms))),
        ("seeds", f"{seeds}; the algorithms of a seed begin from one warm start" if trained else seeds),
        ("training", _budget(study, trained)),
        ("evaluation", "; ".join(played)),
    ]
    notices = [tag("li", sentence) for sentence in report_runs.notices(study, experiment)]
    beware = tag("ul", *notices, class_="beware") if notices else Markup("")
    return join([_title(study), facts(pairs), beware, _differing(study, trained)])


def _model(study: Study) -> str:
    """Where the model is from, or how large it is if it was made here."""
    path, sizes = (setting(study.runs[0].settings, f"model.{key}") for key in ("path", "scratch"))
    if path is not None:
        return f"{study.model}: {path}"
    made = ", ".join(f"{key} {value}" for key, value in sizes.items()) if isinstance(sizes, Mapping) else "not known"
    return f"{study.model}, made from scratch: {made}"


def _played(study: Study, condition: Condition) -> list[list[dict[str, Any]]]:
    return [run.played(condition) for run in study.runs]


def _budget(study: Study, trained: Sequence[str]) -> str:
    """Iterations and episodes of each; one phrase where all have the same."""
    phrases: dict[str, list[str]] = {}
    for algorithm in trained:
        settings = study.of(algorithm)[0].settings
        iterations, episodes = (setting(settings, f"training.{key}") for key in ("iterations", "episodes"))
        if iterations is not None:
            phrases.setdefault(f"{iterations} iterations of {episodes} episodes", []).append(label(algorithm))
    if len(phrases) == 1:
        return f"{next(iter(phrases))} per run"
    return "; ".join(f"{', '.join(names)}: {phrase}" for phrase, names in phrases.items()) or "not known"


def _differing(study: Study, trained: Sequence[str]) -> Markup:
    """The settings in which the trained algorithms are not alike; empty for fewer than two."""
    settings = [_flat(study.of(algorithm)[0].settings) for algorithm in trained]
    keys = [key for key in dict.fromkeys(key for one in settings for key in one) if key not in IDENTITY]
    rows = [[key, *(one.get(key, "–") for one in settings)] for key in keys]
    rows = [row for row in rows if len(set(row[1:])) > 1]
    if not rows:
        return Markup("")
    note = tag("p", "Settings in which the algorithms differ; in all others they are alike.")
    return join([note, grid(["Setting", *map(label, trained)], rows, class_="numbers")])


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = "–" if value is None else str(value)
    return found


def _tables(study: Study) -> Markup:
    """Every row linked to where it comes from; tables without rows are left out."""
    parts = [_title(study)]
    for title, table in (
        ("Success", success_table(study)),
        ("Beside published numbers", published_table(study)),
        ("Interquartile means", aggregate_table(study)),
        ("Differences", improvement_table(study)),
        ("Sample efficiency", efficiency_table(study)),
    ):
        if table is not None and table.rows:
            parts += [tag("h4", title), _linked(study, table)]
    return join(parts)


def _linked(study: Study, table: Table) -> Markup:
    """The table with links from the names and, in the success table, from the rates; without what `_compared` says."""
    algorithms = {label(algorithm): algorithm for algorithm in study.algorithms}
    conditions = {(c.split, f"{c.temperature}"): c for c in study.conditions}

    def cell(row: int, column: int, value: str) -> str:
        named = dict(zip(table.header, table.rows[row], strict=True))
        algorithm = algorithms.get(table.rows[row][0].split(" − ")[0])
        if algorithm is None or named.get("Source", OURS) != OURS or table.header[column] not in LINKED:
            return value
        condition = conditions.get((named.get("Split", ""), named.get("Temp.", "")))
        if condition is None:
            return link(f"#{report_runs.group_name(study, algorithm)}", value)
        return link(f"#{report_runs.cell_name(study, algorithm, condition)}", value)

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
