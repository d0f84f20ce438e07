"""What a job asks of a cluster: memory of its computer and time, from the counting where that knows them."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import Literal

from hiper.compose import RunName
from hiper.config import RunSettings
from hiper.paths import looks_like_path
from hiper.planning.assumptions import Assumptions
from hiper.planning.files import FLOAT, checkpoint_bytes, saved_bytes
from hiper.planning.host import loading_bytes
from hiper.views.estimates import Plan, plan_of

Stage = Literal["warm_start", "train", "evaluate", "gradient_variance"]

OWN_MB = {"cpu": 4_000, "cuda": 16_000}  # of a process beside its models (libraries, environments, texts); assumed
UNKNOWN_MB = 64_000  # of a process with a model whose sizes nobody knows yet
SLACK = 1.5  # times the counted time, which no measurement confirms yet
SHORTEST, LONGEST = 240, 1440  # minutes; what takes longer goes on from its checkpoint in another job
GB = 10**9


def memory_mb(stage: Stage, name: RunName, settings: RunSettings, attempt: int) -> int:
    """Of one node, in whole GB: what is counted, and for each process what is assumed, more of that with each
    attempt."""
    engine = settings.engine
    processes = engine.gpus if stage == "train" else 1
    plan = plan_of(name, settings, Assumptions())
    if plan is None:
        return UNKNOWN_MB * processes * attempt
    return OWN_MB[engine.device] * processes * attempt + round(_counted(stage, plan) / GB) * 1000


def _counted(stage: Stage, plan: Plan) -> float:
    """Bytes. On a CPU the computer's memory is also that of the computation; a warm start that only copies a model
    does so in this memory."""
    if stage == "train":
        return plan.host.peak
    computing = 0.0 if plan.on_gpu else plan.memory.resident + plan.memory.training
    actor = replace(plan.models, own_critic=False, reference=False)
    read = loading_bytes(actor, 1, FLOAT) + computing
    if stage != "warm_start":
        return read
    learns = plan.settings.warm_start.method == "sft"
    return read + saved_bytes(actor) + (checkpoint_bytes(actor) if learns else 0.0)


def minutes(stage: Stage, name: RunName, settings: RunSettings, attempt: int, algorithms: int, uncounted: int) -> int:
    """At most `LONGEST`. `algorithms`: of the grid; `uncounted`: of the first attempt where nothing counts it, as on
    CPUs."""
    plan = plan_of(name, settings, Assumptions())
    if plan is None or not plan.on_gpu or stage == "warm_start":
        return min(LONGEST, uncounted * attempt)
    seconds = {
        "train": lambda: plan.training_seconds,
        "evaluate": lambda: plan.evaluation_seconds,
        "gradient_variance": lambda: plan.variance_seconds(algorithms),
    }[stage]()
    return min(LONGEST, max(SHORTEST, round(SLACK * seconds / 60)) * attempt)


def warned(options: str, name: RunName, settings: RunSettings) -> str:
    """`options` of sbatch for a training, whose warning comes earlier than they say (`--signal=USR1@SECONDS`) where an
    iteration with its validation and a checkpoint take longer by counting."""
    plan = plan_of(name, settings, Assumptions())
    if plan is None or not plan.on_gpu:
        return options
    counted = math.ceil(SLACK * (plan.step.seconds + plan.validation_seconds + plan.checkpoint_seconds))
    seconds = min(counted, 60 * SHORTEST // 2)  # or a job would be warned as soon as it begins
    return re.sub(r"(--signal=\S+@)(\d+)", lambda found: f"{found[1]}{max(int(found[2]), seconds)}", options)


def unknown_sizes(name: RunName, settings: RunSettings) -> str | None:
    """What to tell the user where memory and time cannot be counted; None where they can."""
    if plan_of(name, settings, Assumptions()) is not None:
        return None
    model = settings.model.path or ""
    way = "" if looks_like_path(model) else f" (hiper model {model} --download)"
    return (
        f"the sizes of {model} are not known before its config.json is on this machine{way}: its jobs ask for "
        f"{UNKNOWN_MB / 1000:g} GB of memory for each process, and the longest times"
    )
