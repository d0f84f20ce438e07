"""What an experiment needs that would otherwise be missed after hours in a queue: models, GPUs and their memory,
packages, Slurm, disk.

Its jobs run on this machine, or on others that Slurm finds: then GPUs are not looked for here, while everything that
lies on the shared disk is.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

from hiper.benchmarks.record import make_benchmark
from hiper.compose import WARM_START, RunName
from hiper.config import BenchmarkSettings, RunSettings
from hiper.errors import UserError
from hiper.learning import pretrained
from hiper.manifest import MANIFEST
from hiper.planning.assumptions import Assumptions
from hiper.planning.hardware import CARDS
from hiper.views import slurm
from hiper.views.datasets import data_finding
from hiper.views.estimates import Plan, plan_of, shape_of
from hiper.views.machine import Finding, State, listed_gpus
from hiper.views.profiles import LOCAL, SLURM

GB = 10**9
Run = tuple[RunName, RunSettings]


def missing(experiment: str, runs: Sequence[Run], root: Path, executor: str, remade: Collection[str] = ()) -> list[str]:
    """What keeps these runs from being made, one line each: the workflow's check before its first job. It imports
    nothing large, except for the sake of a pretrained model. `remade`: data sets that a job will make, whatever they
    hold now."""
    kept = [run for run in runs if run[1].benchmark.dataset not in remade or not _made(run[1].benchmark, root)]
    found = [*needs(experiment, runs, root, "missing", executor, listed_gpus), *data_needs(kept, root, "missing")]
    return [f"{one.name}: {one.detail}; {one.remedy}" for one in found if one.state == "missing"]


def _made(benchmark: BenchmarkSettings, root: Path) -> bool:
    return (root / "data" / benchmark.dataset / "dataset.json").exists()


def data_needs(runs: Sequence[Run], root: Path, lacking: State) -> Iterator[Finding]:
    """Of each data set once, with the splits that any of the runs plays."""
    sets: dict[str, tuple[BenchmarkSettings, dict[str, None]]] = {}
    for _, settings in runs:
        benchmark = settings.benchmark
        used = sets.setdefault(benchmark.dataset, (benchmark, {}))[1]
        used |= dict.fromkeys(benchmark.splits.named(name) for name in ("train", *settings.evaluated_splits))
    for benchmark, used in sets.values():
        found = data_finding(benchmark, root, lacking, list(used))
        yield found
        if found.state == "ok":
            own = [settings for _, settings in runs if settings.benchmark.dataset == benchmark.dataset]
            for problem in _too_few(own, root):
                yield Finding("Data", benchmark.dataset, lacking, problem, "for this experiment alone")


def _too_few(runs: Sequence[RunSettings], root: Path) -> Iterator[str]:
    """Why a data set has too few tasks for these runs, in the words of their stages."""
    from hiper.stages.tasks import split_train

    opened = make_benchmark(runs[0].benchmark, root / "data")
    different = {(run.demonstrations.tasks, run.training.validation.tasks): run for run in runs}
    for settings in different.values():
        try:
            split_train(settings, opened)
        except UserError as error:
            yield str(error)


def needs(
    experiment: str,
    runs: Sequence[Run],
    root: Path,
    lacking: State,
    executor: str = LOCAL,
    see_gpus: Callable[[], list[int]] = listed_gpus,
) -> Iterator[Finding]:
    """Findings called after the experiment; what it cannot do without has the state `lacking`. `see_gpus` gives the
    bytes of memory of each GPU here."""
    yield from (
        Finding("Experiments", experiment, state or lacking, detail, remedy)
        for state, detail, remedy in (
            *_models(experiment, runs, root),
            *_packages(runs),
            *_gpus(runs, executor, see_gpus),
            *_nodes(runs, executor),
            *_slurm(executor),
            *_disk(experiment, runs, root, executor),
        )
    )


Lack = tuple[State | None, str, str]  # None: the state of what is needed; what was found; the remedy


def _models(experiment: str, runs: Sequence[Run], root: Path) -> Iterator[Lack]:
    """Of the warm starts: what comes after them begins with their folders."""
    asked = f"hiper doctor --experiment {experiment}"
    starts = {name for name, _ in runs if name.algorithm == WARM_START}
    wanted: dict[str, Path | None] = {}
    files = {run.model.path: f"configs/model/{name.model}.yaml" for name, run in runs if name in starts}
    for model in sorted(path for path in files if path is not None):
        try:
            wanted[model] = pretrained.located(model)
        except UserError as error:
            yield None, str(error), "or set model.path to a folder that is there"
    using: dict[Path, list[RunSettings]] = {}
    made: list[RunSettings] = []
    for name, settings in runs:
        if (model := settings.model.path) is None:
            made.append(settings)
            continue
        folder = root / "results" / experiment / "runs" / str(name.warm_start) / "model"
        if name.warm_start in starts:
            folder = wanted.get(model)
        if folder is not None and not pretrained.gaps(folder):
            using.setdefault(folder, []).append(settings)
    for model, folder in wanted.items():
        if folder is None:
            yield None, f"the model {model} ({files[model]}) is not on this machine", pretrained.remedy(model)
        elif absent := pretrained.gaps(folder):
            missing = ", ".join(absent)
            yield None, f"the model {model} ({files[model]}) lacks {missing} in {folder}", pretrained.remedy(model)
    for problem in dict.fromkeys(problem for settings in made for problem in _unsampled(settings)):
        yield None, problem, f"change configs/model, or a setting that this names; {asked} asks again"
    for folder, users in using.items():
        problems = model_problems(folder, users)
        for problem in problems:
            yield None, problem, f"choose another model, or change the setting that this names; {asked} asks again"
        if not problems and any(settings.engine.device == "cpu" for settings in users):
            yield from _slower(folder, users[0].model.name)


def _slower(folder: Path, name: str) -> Iterator[Lack]:
    from hiper.learning.folders import described
    from hiper.policies.usable import computed_by

    if other := computed_by(described(folder)[0]):
        yield "ok", f"the model {name}: {other}", ""


def _unsampled(settings: RunSettings) -> Iterator[str]:
    """Why the sampler would refuse a model that is still to be made from scratch."""
    if settings.rollout.backend == "local":
        return  # it takes all of them
    from hiper.policies.usable import require_sampled

    if (shape := shape_of(settings)) is not None:
        try:
            require_sampled(settings, shape, f"the model {settings.model.name}")
        except UserError as error:
            yield str(error)


def model_problems(folder: Path, users: Sequence[RunSettings]) -> list[str]:
    """Why the stages of runs with these settings would refuse a model's folder, in their words; nothing is left out but
    what the weights themselves tell."""
    from hiper.policies.usable import opened, require_usable

    found: dict[str, None] = {}
    try:
        shape, tokenizer = opened(folder)
        for settings in users:
            try:
                require_usable(settings, folder, shape, tokenizer)
            except UserError as error:
                found[f"the model {settings.model.path}: {error}"] = None
    except UserError as error:
        found[f"the model {users[0].model.path}: {error}"] = None
    return list(found)


def _packages(runs: Sequence[Run]) -> Iterator[Lack]:
    wanted = {
        "deepspeed": (
            any(settings.engine.name == "deepspeed" for _, settings in runs),
            "pip install -c envs/constraints.txt deepspeed, or engine: local",
        ),
        "vllm": (
            any(settings.rollout.backend == "vllm" for _, settings in runs),
            "an environment with it (envs/README.md), or `- override /rollout: local` under the experiment's defaults",
        ),
    }
    for name, (needed, remedy) in wanted.items():
        if needed and find_spec(name) is None:
            yield None, f"needs the package {name}, which is not in this environment", remedy


def _gpus(runs: Sequence[Run], executor: str, see: Callable[[], list[int]]) -> Iterator[Lack]:
    wanting = [run for run in runs if run[1].engine.device == "cuda"]
    if not wanting:
        return
    most = max(settings.engine.gpus for _, settings in wanting)
    nodes = max(settings.engine.nodes for _, settings in wanting)
    asked = f"{most} GPU{'s' if most > 1 else ''}" + (f" on each of {nodes} nodes" if nodes > 1 else "")
    plans = [plan for name, settings in wanting if (plan := plan_of(name, settings, Assumptions())) is not None]
    largest = max(plans, key=lambda plan: plan.memory.peak, default=None)
    size = (
        ""
        if largest is None
        else f", about {largest.memory.peak / GB:.1f} GB of memory{' on each' if most > 1 else ''}"
    )
    if executor != LOCAL:
        large = largest is not None and largest.memory.peak > max(card.memory for card in CARDS.values())
        remedy = "more than any GPU has: engine deepspeed shares it out" if large else ""
        yield "optional" if large else "ok", f"its jobs ask for {asked}{size}; not looked for on this machine", remedy
        return
    sizes = see()
    if len(sizes) < most or nodes > 1:
        yield None, f"needs {asked}{size}; here are {len(sizes)}", "run it on such a machine, or --profile slurm"
    elif largest is not None:
        yield from _memory(largest, min(sizes))


def _nodes(runs: Sequence[Run], executor: str) -> Iterator[Lack]:
    """Of trainings on CPUs, which need no GPUs to be counted."""
    nodes = max((run.engine.nodes for _, run in runs if run.engine.device == "cpu"), default=1)
    if executor == LOCAL and nodes > 1:
        remedy = "engine.nodes: 1 and as many more engine.gpus, or --profile slurm"
        yield None, f"needs {nodes} nodes, and its jobs would all run on this machine", remedy


def _memory(plan: Plan, size: int) -> Iterator[Lack]:
    """What stays in memory all the time is counted exactly; the rest depends on what the training plays."""
    memory, model = plan.memory, plan.name.model
    remedy = f"hiper plan {plan.settings.experiment} has the parts; engine deepspeed shares them out"
    if memory.resident > size:
        detail = (
            f"{model}: weights, gradients and optimiser are {memory.resident / GB:.0f} GB, a GPU has {size / GB:.0f}"
        )
        yield None, detail, remedy
    elif memory.peak > size:
        detail = f"{model}: about {memory.peak / GB:.1f} GB at its peak, a GPU has {size / GB:.0f}"
        yield "optional", detail, f"lower training.micro_batch_tokens; {remedy}"


def _slurm(executor: str) -> Iterator[Lack]:
    if executor == SLURM and (absent := slurm.lacking()):
        yield None, f"no {', '.join(absent)} here", "log in to the cluster's head node"


def _disk(experiment: str, runs: Sequence[Run], root: Path, executor: str) -> Iterator[Lack]:
    """Room for the runs that are not finished, and for the checkpoints of the one that needs most; on a cluster, where
    many are at work at once, also for theirs."""
    results = root / "results" / experiment / "runs"
    plans = [plan for name, settings in runs if (plan := plan_of(name, settings, Assumptions())) is not None]
    unfinished = [plan for plan in plans if not (results / str(plan.name) / MANIFEST).exists()]
    files = [plan.files(plan.name.algorithm != WARM_START) for plan in unfinished]
    kept, most = sum(one.kept for one in files), max((one.checkpoints for one in files), default=0.0)
    free = shutil.disk_usage(root).free
    trainings = sum(one.checkpoints > 0 for one in files)
    further = f" + {most / GB:,.0f} GB for each further run at work" if trainings > 1 else ""
    detail = f"needs {(kept + most) / GB:,.0f} GB of disk{further}, {free / GB:,.0f} are free"
    parts = f"hiper plan {experiment} has the parts"
    if free < kept + most:
        yield None, detail, f"{parts}; run part of its grid, or free some"
    elif executor != LOCAL and most and (at_once := int((free - kept) / most)) < trainings:
        yield "optional", f"{detail}: enough for {at_once} at once", f"{parts}; `jobs` in the profile limits them"
