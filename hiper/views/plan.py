"""`hiper plan`: what an experiment's grid costs, counted before anything runs, with all that was assumed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
from hiper.views.durations import Durations
from hiper.views.estimates import HOUR, Plan, plans
from hiper.views.needs import model_problems

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

GB = 1e9
HOST = (
    "host: a node's own memory, for models in reading or an offloaded optimiser and a checkpoint; "
    "libraries and environments of the processes come on top"
)
FEW_ENOUGH = 64  # the most that `fewest_gpus` looks at


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
    runs = {name: plan.settings for plan in found for name in (plan.name.warm_start, plan.name)}
    console.print(_jobs(found, Durations(experiment, runs, root)))
    console.print(_disk(found))
    kinds = _kinds([plan for plan in found if plan.on_gpu])
    if not kinds:
        console.print("engine cpu: times are measured, not counted; what has run is in the first table")
        return
    console.print(_time(kinds, list(_measuring(found).values())))
    first = [group[0] for group in kinds]
    console.print(_memory(first, assumed))
    for line in (HOST, *(fact for model, group in _by_model(first) for fact in _facts(model, group)), ""):
        console.print(Text(line))
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


def _kinds(found: Sequence[Plan]) -> list[list[Plan]]:
    """The runs that cost the same together, dear ones first within a benchmark and model."""

    def cost(plan: Plan) -> tuple[str, str, float, float]:
        return plan.name.model, plan.name.benchmark, -plan.training_seconds, -plan.memory.peak

    return [list(group) for _, group in groupby(sorted(found, key=cost), key=cost)]


def _table(title: str, *names: str) -> Table:
    """The first column gives way where there is no room; figures are never cut."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, pad_edge=False, padding=0)
    for number, name in enumerate(names):
        left = number == 0
        table.add_column(name, justify="left" if left else "right", no_wrap=not left, overflow="fold")
    return table


def _jobs(found: Sequence[Plan], known: Durations) -> Table:
    """How many there are, how many have run, and from the seconds of these minutes of one and of those to come."""
    table = _table("Jobs", "rule", "jobs", "have run", "minutes each", "minutes to come")
    for rule, count in jobs(found).items():
        times = list(known.own(rule).values())
        mean = sum(times) / len(times) / 60 if times else 0.0
        minutes = [f"{mean:,.1f}", f"{mean * max(0, count - len(times)):,.1f}"] if times else ["", ""]
        table.add_row(rule, f"{count:,}", str(len(times)) if times else "", *minutes)
    return table


def _disk(found: Sequence[Plan]) -> Table:
    """Runs of one model together; checkpoints of those that go on at the same time come on top."""
    table = _table(
        "Disk, GB", "model", "runs", "kept by one", "kept by all", "checkpoints\nof one at work", "seconds\nof one"
    )
    total = 0.0
    for model, group in _by_model(found):
        starts = list({plan.name.warm_start: plan for plan in group}.values())
        kept = [plan.files(True).kept for plan in group] + [plan.files(False).kept for plan in starts]
        total += sum(kept)
        checkpoints = max(plan.files(True).checkpoints for plan in group)
        seconds = max(plan.checkpoint_seconds for plan in group)
        sizes = (_gb(max(kept)), _gb(sum(kept)), _gb(checkpoints), f"{seconds:,.1f}")
        table.add_row(model, str(len(kept)), *sizes)
    table.add_row("all", "", "", _gb(total), "", "", style="bold")
    return table


def _by_model(found: Sequence[Plan]) -> list[tuple[str, list[Plan]]]:
    def model(plan: Plan) -> str:
        return plan.name.model

    return [(name, list(group)) for name, group in groupby(sorted(found, key=model), key=model)]


def _time(kinds: Sequence[Sequence[Plan]], measuring: Sequence[Sequence[Plan]]) -> Table:
    """A row for runs that cost the same, named after the first of their algorithms; `+n`: and so many more."""
    names = ("Mtok", "play", "score", "critic", "actor", "step", "hours", "eval.", "runs", "GPU h")
    table = _table("Seconds of a training step and its parts; hours of a run and of its evaluation", "run", *names)
    total = 0.0
    for model, alike in groupby(kinds, key=lambda group: group[0].name.model):
        groups = list(alike)
        table.add_row(f"{model}\n{_count(groups[0][0].gpus)}", style="italic")
        for group in groups:
            plan, one = group[0], group[0].step
            played = plan.episodes(plan.settings.training.episodes)
            training, evaluation = plan.training_seconds / HOUR, plan.evaluation_seconds / HOUR
            spent = (training * plan.gpus + evaluation) * len(group)
            total += spent
            parts = (one.generation, one.scoring, one.critic, one.actor, one.seconds)
            more = len({other.name.algorithm for other in group}) - 1
            name = f"  {plan.name.benchmark} {plan.name.algorithm}{f' +{more}' if more else ''}"
            cost = (f"{training:,.1f}", f"{evaluation:,.1f}", str(len(group)), f"{spent:,.0f}")
            table.add_row(name, f"{played.tokens / 1e6:.1f}", *(f"{part:,.0f}" for part in parts), *cost)
        for benchmark, hours in _start_hours(groups).items():
            total += sum(hours)
            cost = (f"{hours[0]:,.1f}", str(len(hours)), f"{sum(hours):,.0f}")
            table.add_row(f"  {benchmark} warm start", *[""] * 7, *cost)
    for name, hours in _variance_hours(measuring).items():
        total += sum(hours)
        table.add_row(name, *[""] * 7, f"{hours[0]:,.1f}", str(len(hours)), f"{sum(hours):,.0f}")
    table.add_row("all", *[""] * (len(names) - 1), f"{total:,.0f}", style="bold")
    return table


def _start_hours(groups: Sequence[Sequence[Plan]]) -> dict[str, list[float]]:
    """Of evaluating each warm start, by benchmark: one GPU."""
    found: dict[str, list[float]] = {}
    for name, plan in {plan.name.warm_start: plan for group in groups for plan in group}.items():
        found.setdefault(name.benchmark, []).append(plan.evaluation_seconds / HOUR)
    return found


def _variance_hours(measuring: Sequence[Sequence[Plan]]) -> dict[str, list[float]]:
    """Of one GPU for each warm start, by what stands at the head of the row."""
    found: dict[str, list[float]] = {}
    for group in measuring:
        plan = group[0]
        hours = plan.variance_seconds(len(group)) / HOUR
        found.setdefault(f"{plan.name.model} {plan.name.benchmark} gradient variance", []).append(hours)
    return found


def _memory(found: Sequence[Plan], assumed: Assumptions) -> Table:
    """A row for runs of one model and benchmark that need the same, in name after the networks that they train."""
    size = assumed.card.memory
    names = ("actor", "critic", "ref.", "update", "play", "peak", "fits", "host")
    table = _table(f"Peak memory of one of a run's GPUs, of {size / GB:g} GB", "run", *names)
    for model, group in _by_model(found):
        table.add_row(f"{model}\n{_count(group[0].gpus)}", style="italic")
        rows: dict[tuple[str, ...], Plan] = {}
        for plan in group:
            fits = "yes" if plan.memory.peak <= size else "NO"
            rows.setdefault((plan.name.benchmark, *_parts(plan.memory), fits, f"{plan.host.peak / GB:,.0f}"), plan)
        heads = [_networks(plan) for plan in rows.values()]
        for (_, *cells), plan in rows.items():
            head = _networks(plan)
            table.add_row(f"  {head}{f' {plan.name.algorithm}' if heads.count(head) > 1 else ''}", *cells)
    return table


def _facts(model: str, group: Sequence[Plan]) -> Iterator[str]:
    """What is said of a model once."""
    first = group[0]
    yield f"{model}: {parameters(first.shape):,} parameters"
    trained: dict[int, str] = {}
    for plan in group:
        trained.setdefault(plan.models.trained, "with the critic's" if plan.memory.critic else "without a critic")
    yield "  trained: " + ", ".join(f"{count:,} {whose}" for count, whose in trained.items())
    yield f"  update and play {'at the same time: there is room for vLLM to stay' if first.memory.stays else 'in turn'}"
    yield f"  {cache_bytes(first.shape, first.sampler.value_bytes):,} bytes of KV cache per token"
    fewest = max((plan.fewest_gpus or FEW_ENOUGH + 1) for plan in group)
    needed = f"at least {_count(fewest)}" if fewest <= FEW_ENOUGH else f"more than {FEW_ENOUGH} GPUs"
    yield f"  {needed} if everything is sharded (ZeRO 3) and nothing offloaded"


def _count(gpus: int) -> str:
    return f"{gpus} GPU{'s' if gpus > 1 else ''}"


def _networks(plan: Plan) -> str:
    return f"{plan.name.benchmark}{'' if plan.memory.critic else ', no critic'}"


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
