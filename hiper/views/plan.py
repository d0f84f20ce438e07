"""`hiper plan`: what an experiment's grid costs, counted before anything runs, with all that was assumed."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from hiper.benchmarks.record import record_of
from hiper.compose import RunName
from hiper.config import RunSettings
from hiper.learning import pretrained
from hiper.planning.assumptions import Assumptions
from hiper.planning.memory import Memory
from hiper.planning.shapes import cache_bytes, parameters
from hiper.views.estimates import HOUR, Plan, plans
from hiper.views.needs import model_problems

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

GB = 1e9


def show(
    console: Console,
    experiment: str,
    root: Path,
    assumed: Assumptions,
    engine: str | None = None,
    rank: int | None = None,
) -> None:
    """All tables of an experiment; UserError where it does not compose. `engine` and `rank` as in `plans`."""
    from rich.text import Text

    found, unknown = plans(experiment, root, assumed, engine, rank)
    for line in _models([plan.settings for plan in found], unknown):
        console.print(Text(f"{line}\n"))
    if not found:
        return
    console.print(_jobs(found, measured(experiment, root)))
    console.print(_disk(found))
    kinds = _kinds([plan for plan in found if plan.on_gpu])
    if not kinds:
        console.print("engine cpu: times are measured, not counted; what has run is in the first table")
        return
    console.print(_time(kinds, list(_measuring(found).values())))
    console.print(_memory([group[0] for group in kinds], assumed))
    console.print(_assumptions(assumed, found))


def _models(counted: Sequence[RunSettings], unknown: Sequence[RunSettings]) -> Iterator[str]:
    """What is said of pretrained models before anything is counted: that they are unknown, or cannot be used."""
    users: dict[str, list[RunSettings]] = {}
    for settings in (*counted, *unknown):
        if (model := settings.model.path) is not None:
            users.setdefault(model, []).append(settings)
    uncounted = {settings.model.path for settings in unknown}
    for model, using in sorted(users.items()):
        out = "; its runs are left out" if model in uncounted else ""
        folder = pretrained.located(model)
        if folder is not None and not pretrained.gaps(folder):
            yield from (f"{problem}{out}" for problem in model_problems(folder, using))
        elif out:
            yield f"{model}: neither a published shape nor a folder with a whole model{out}"


def jobs(found: Sequence[Plan]) -> dict[str, int]:
    """How many jobs each rule of the workflow has when nothing is made yet."""
    starts = {plan.name.warm_start: plan for plan in found}
    taught = {plan.name.benchmark for plan in found if plan.settings.warm_start.method == "sft"}
    made = {(plan.name.benchmark, plan.name.model) for plan in found if plan.settings.model.scratch is not None}
    return {
        "data": len({plan.settings.benchmark.dataset for plan in found}),
        "demonstrations": len(taught),
        "tokenizer": len(made),
        "warm_start": len(starts),
        "train": len(found),
        "evaluate": len(starts) + len(found),
        "gradient_variance": len(_measuring(found)),
        "report, tracking": 3,
    }


def _measuring(found: Sequence[Plan]) -> dict[RunName, list[Plan]]:
    """Of each warm start that gradients are measured on, a run of each algorithm they are measured for."""
    starts: dict[RunName, list[Plan]] = {}
    for plan in found:
        if plan.settings.variance.batches:
            starts.setdefault(plan.name.warm_start, []).append(plan)
    return starts


def measured(experiment: str, root: Path) -> dict[str, list[float]]:
    """Seconds of the jobs that have run, by rule: Snakemake's benchmark files."""
    found: dict[str, list[float]] = {}
    folder = root / "results" / experiment / "benchmarks"
    for path in sorted(folder.glob("*/*.tsv")):
        with path.open(encoding="utf-8", newline="") as stream:
            rows = [row for row in csv.DictReader(stream, delimiter="\t")]
        found.setdefault(path.parent.name, []).extend(float(row["s"]) for row in rows if row.get("s"))
    return found


def _kinds(found: Sequence[Plan]) -> list[list[Plan]]:
    """The runs that cost the same together, dear ones first within a benchmark and model."""

    def cost(plan: Plan) -> tuple[str, str, float, float]:
        return plan.name.model, plan.name.benchmark, -plan.training_seconds, -plan.memory.peak

    return [list(group) for _, group in groupby(sorted(found, key=cost), key=cost)]


def _table(title: str, *names: str) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(
        title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0)
    )
    for number, name in enumerate(names):
        table.add_column(name, justify="left" if number == 0 else "right", no_wrap=True)
    return table


def _jobs(found: Sequence[Plan], spent: dict[str, list[float]]) -> Table:
    table = _table("Jobs", "rule", "jobs", "have run", "seconds each (mean)")
    for rule, count in jobs(found).items():
        times = spent.get(rule, [])
        mean = f"{sum(times) / len(times):,.0f}" if times else ""
        table.add_row(rule, f"{count:,}", str(len(times)) if times else "", mean)
    return table


def _disk(found: Sequence[Plan]) -> Table:
    """Runs of one model together; checkpoints of those that go on at the same time come on top."""
    table = _table("Disk, GB", "model", "runs", "kept by one", "kept by all", "checkpoints while one goes on")
    total = 0.0
    for model, group in _by_model(found):
        starts = list({plan.name.warm_start: plan for plan in group}.values())
        kept = [plan.files(True).kept for plan in group] + [plan.files(False).kept for plan in starts]
        total += sum(kept)
        checkpoints = max(plan.files(True).checkpoints for plan in group)
        table.add_row(model, str(len(kept)), _gb(max(kept)), _gb(sum(kept)), _gb(checkpoints))
    table.add_row("all", "", "", _gb(total), "", style="bold")
    return table


def _by_model(found: Sequence[Plan]) -> list[tuple[str, list[Plan]]]:
    def model(plan: Plan) -> str:
        return plan.name.model

    return [(name, list(group)) for name, group in groupby(sorted(found, key=model), key=model)]


def _time(kinds: Sequence[Sequence[Plan]], measuring: Sequence[Sequence[Plan]]) -> Table:
    """A row for runs that cost the same, named after the first of their algorithms; `+n`: and so many more."""
    names = ("Mtok", "play", "score", "critic", "actor", "step", "hours", "eval.", "runs", "GPU h")
    table = _table("Seconds of a training step and its parts; hours of a run and of its evaluation", "run", *names)
    total, model = 0.0, ""
    for group in kinds:
        plan, one = group[0], group[0].step
        if plan.name.model != model:
            model = plan.name.model
            table.add_row(f"{model}, {plan.gpus} GPU{'s' if plan.gpus > 1 else ''}", style="italic")
        played = plan.episodes(plan.settings.training.episodes)
        training, evaluation = plan.training_seconds / HOUR, plan.evaluation_seconds / HOUR
        spent = (training * plan.gpus + evaluation) * len(group)
        total += spent
        parts = (one.generation, one.scoring, one.critic, one.actor, one.seconds)
        more = len({other.name.algorithm for other in group}) - 1
        name = f"  {plan.name.benchmark} {plan.name.algorithm}{f' +{more}' if more else ''}"
        cost = (f"{training:,.1f}", f"{evaluation:,.1f}", str(len(group)), f"{spent:,.0f}")
        table.add_row(name, f"{played.tokens / 1e6:.1f}", *(f"{part:,.0f}" for part in parts), *cost)
    for name, hours in _variance_hours(measuring).items():
        total += sum(hours)
        table.add_row(name, *[""] * 7, f"{hours[0]:,.1f}", str(len(hours)), f"{sum(hours):,.0f}")
    table.add_row("all", *[""] * (len(names) - 1), f"{total:,.0f}", style="bold")
    return table


def _variance_hours(measuring: Sequence[Sequence[Plan]]) -> dict[str, list[float]]:
    """Of one GPU for each warm start, by what stands at the head of the row."""
    found: dict[str, list[float]] = {}
    for group in measuring:
        plan = group[0]
        hours = plan.variance_seconds(len(group)) / HOUR
        found.setdefault(f"{plan.name.model} {plan.name.benchmark} gradient variance", []).append(hours)
    return found


def _memory(found: Sequence[Plan], assumed: Assumptions) -> Table:
    size = assumed.card.memory
    names = ("actor", "critic", "ref.", "update", "play", "peak", f"fits {size / GB:g}", "shared", "host")
    table = _table("Peak memory of one GPU, GB (update and play come one after the other)", "run", *names)
    shown: dict[tuple[str, ...], None] = {}
    for plan in found:
        fits = "yes" if plan.memory.peak <= size else "NO"
        fewest = f"{plan.fewest_gpus or 'over 64'} GPU{'' if plan.fewest_gpus == 1 else 's'}"
        shown[
            (
                _networks(plan),
                *_parts(plan.memory),
                fits,
                fewest,
                f"{plan.host.peak / GB:,.0f}",
            )
        ] = None
    for row in shown:
        table.add_row(*row)
    facts: dict[str, Callable[[Plan], str]] = {
        "parameters": lambda plan: f"{parameters(plan.shape):,}",
        "trained, with the critic's": lambda plan: f"{plan.models.trained:,}",
        "bytes of KV cache per token": lambda plan: f"{cache_bytes(plan.shape, plan.sampler.value_bytes):,}",
    }
    said = [f"{plan.name.model}: {what} {tell(plan)}" for what, tell in facts.items() for plan in found]
    shared = (
        "shared: fits from so many GPUs with ZeRO 3, activations computed again, a bfloat16 sampler\n"
        "host: a node's own memory, for models in reading or an offloaded optimiser and a checkpoint;\n"
        "libraries and environments of the processes come on top"
    )
    table.caption, table.caption_justify = "\n".join(dict.fromkeys([shared, *said])), "left"
    return table


def _networks(plan: Plan) -> str:
    alone = "" if plan.memory.critic else ", no critic"
    return f"{plan.name.model} {plan.name.benchmark}{alone}"


def _parts(memory: Memory) -> list[str]:
    values = (memory.actor, memory.critic, memory.reference, memory.training, memory.generation, memory.peak)
    return [_gb(value) for value in values]


def _assumptions(assumed: Assumptions, found: Sequence[Plan]) -> Table:
    table = _table("Assumed; every one can be given as an option", "option", "value", "")
    table.columns[1].justify = table.columns[2].justify = "left"
    table.columns[2].no_wrap = False
    names = dict.fromkeys(plan.settings.benchmark.name for plan in found)
    for line in assumed.lines({name: record_of(name).tokens for name in names}):
        table.add_row(*line)
    return table


def _gb(size: float) -> str:
    return f"{size / GB:,.1f}" if size >= GB / 10 or not size else f"{size / GB:.4f}"
