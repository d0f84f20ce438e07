"""Expert episodes, cut into subgoal segments, as a chat dataset any trainer can read: one row per turn with
`messages`."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from hiper.benchmarks.experts import Decision
from hiper.benchmarks.record import make_benchmark, record_of
from hiper.config import RunSettings
from hiper.errors import UserError
from hiper.locks import exclusive
from hiper.manifest import again, data_hash, read_manifest, require_unchanged, write_manifest
from hiper.plan_execute import (
    ParsedTurn,
    parse,
    parse_plan,
    parse_react,
    parse_step,
    render,
    render_plan,
    render_react,
    render_step,
    subgoals_of,
)
from hiper.prompts import History, PromptBuilder, State
from hiper.randomness import generator
from hiper.records import MAKE_AGAIN, read_jsonl, require, write_jsonl
from hiper.runs.metrics import Progress
from hiper.stages.sharing import take_over
from hiper.stages.tasks import STREAMS, split_train
from hiper.trajectory import Task

log = logging.getLogger(__name__)

SHOWN_EVERY = 500  # episodes between two lines of progress


@dataclass(frozen=True)
class Demonstration:
    """One turn of an expert's episode: what was shown and what the expert answered. `shorter` is the prompt without
    history, for readers that the whole is too long for (the prompt itself where the row has none); `line` counts from
    1."""

    task: str
    prompt: str
    answer: str
    shorter: str
    line: int


def read_demonstrations(path: Path) -> list[Demonstration]:
    """The turns of a `demonstrations.jsonl`; UserError names file and line of what is none, or an empty file."""
    found = []
    for number, row in enumerate(read_jsonl(path), start=1):
        where = f"{path}:{number}"
        row = require(row, {"task": str, "messages": list}, where)
        if len(row["messages"]) != 2:
            raise UserError(
                f"{where}: `messages` must be a user's and an assistant's message, found {len(row['messages'])}"
            )
        contents = []
        for role, message in zip(("user", "assistant"), row["messages"], strict=True):
            message = require(message, {"role": str, "content": str}, f"{where}, messages")
            if message["role"] != role:
                raise UserError(f"{where}: the role of a message is {message['role'][:60]!r}, expected {role!r}")
            contents.append(message["content"])
        shorter = require({"shorter": contents[0], **row}, {"shorter": str}, where)["shorter"]
        found.append(Demonstration(row["task"], *contents, shorter, number))
    if not found:
        raise UserError(f"{path}: holds no demonstration; {MAKE_AGAIN}")
    return found


def require_same(settings: RunSettings, folder: Path) -> None:
    """UserError when the demonstrations in `folder` were made as other settings say, as after `cp -r` from another
    experiment; a folder without a manifest is from elsewhere."""
    made = (read_manifest(folder) or {}).get("settings")
    now = settings.model_dump(mode="json")
    for section, keys in (("demonstrations", tuple(now["demonstrations"])), ("prompt", ("interface", "style"))):
        before = made.get(section) if isinstance(made, dict) else None
        for key in keys if isinstance(before, dict) else ():
            if key in before and before[key] != now[section][key]:
                raise UserError(
                    f"{folder}: was made with {section}.{key} = {before[key]!r}, and {now[section][key]!r} is wanted "
                    f"now; {again(folder)}"
                )


def make(settings: RunSettings, data_root: Path, output: Path) -> None:
    """Write `demonstrations.jsonl` and `manifest.json` into `output`.

    The expert has `demonstrations.max_turns` turns; episodes that it does not win, or not in answers that are read as
    they are meant, are left out (their number is logged).
    """
    started = time.monotonic()
    data = data_hash(data_root, settings.benchmark.dataset)
    with exclusive(output):
        if take_over(output, "demonstrations", settings, data_root, started=started, data=data):
            return
    limits = settings.benchmark.model_copy(update={"max_turns": settings.demonstrations.max_turns})
    benchmark = make_benchmark(limits, data_root)
    tasks = split_train(settings, benchmark).demonstrations
    environment = benchmark.environment()
    rows: list[dict[str, Any]] = []
    lost = 0
    progress = Progress("demonstrations", len(tasks), 0)
    for number, task in enumerate(tasks):
        random = generator([settings.demonstrations.seed, STREAMS["demonstrations"], number])
        episode = _play(settings, environment, task, random)
        if episode is None:
            lost += 1
        else:
            rows += episode
        if (number + 1) % SHOWN_EVERY == 0:
            progress.show(number + 1, f"{lost} left out")
    if not rows:
        raise UserError(
            f"the expert won none of {len(tasks)} tasks of {settings.benchmark.dataset!r}; check the dataset"
        )
    log.info(
        "%d demonstrations (%d turns); %d tasks left out, not won by the expert or not in answers that can be read",
        len(tasks) - lost,
        len(rows),
        lost,
    )
    require_unchanged(data, data_root, settings.benchmark.dataset)
    with exclusive(output):
        write_jsonl(output / "demonstrations.jsonl", rows)
        written = [output / "demonstrations.jsonl"]
        write_manifest(output, settings, data_root, None, started, written, data=data)


def _play(
    settings: RunSettings, environment: Any, task: Task, random: np.random.Generator
) -> list[dict[str, Any]] | None:
    observation, info = environment.reset(task)
    record = record_of(settings.benchmark.name)
    expert = record.expert(task, info.instruction, random, settings.demonstrations.hesitation)
    prompts = PromptBuilder(settings.prompt, record.words)
    history, subgoal = History(), None
    moments: list[tuple[State, Decision]] = []
    over = False
    while not over:
        so_far = History([*history.observations], [*history.actions])
        state = State(info.instruction, so_far, observation, subgoal, info.admissible_actions)
        decision = expert.act(observation, info.admissible_actions)
        read = READ[settings.prompt.interface](decision)
        if not read.valid or read.action != decision.action.strip().lower():
            return None  # a name of the data holds a tag, for example: no answer can say it
        moments.append((state, decision))
        history.add(observation, decision.action)
        subgoal = decision.subgoal
        observation, _, terminated, truncated, info = environment.step(decision.action)
        over = terminated or truncated
    answered = ANSWERS[settings.prompt.interface](moments)
    if not info.won or answered is None:
        return None
    rows: list[dict[str, Any]] = []
    for state, answer in answered:
        messages = [{"role": "user", "content": prompts.build(state)}, {"role": "assistant", "content": answer}]
        shorter = prompts.build(state, with_history=False)
        row = {"task": task.id, "task_type": task.task_type, "turn": len(rows), "messages": messages}
        rows.append({**row, "shorter": shorter})
    return rows


Moments = Sequence[tuple[State, Decision]]
Answered = list[tuple[State, str]]


def _blueprint(moments: Moments) -> Answered | None:
    """The subgoals that the expert turned out to have, as a plan before its first turn; then its turns."""
    plan: list[str] = []
    answers: Answered = []
    for state, one in moments:
        begins = bool(plan) and one.switch
        if begins or not plan:
            plan.append(one.subgoal)
        answers.append((replace(state, subgoal=plan[-2 if begins else -1]), render_step(begins, one.action)))
    written = render_plan(plan)
    if subgoals_of(parse_plan(written).subgoal) != tuple(plan):
        return None
    return [
        (replace(moments[0][0], subgoal=None), written),
        *((replace(one, plan=plan), said) for one, said in answers),
    ]


ANSWERS: dict[str, Callable[[Moments], Answered | None]] = {
    "plan_execute": lambda moments: [(state, render(one.switch, one.subgoal, one.action)) for state, one in moments],
    "react": lambda moments: [(state, render_react(one.subgoal, one.action)) for state, one in moments],
    "blueprint": _blueprint,
}
"""What the expert answers in each interface, to what it is shown; None where no answer can say it."""

READ: dict[str, Callable[[Decision], ParsedTurn]] = {
    "plan_execute": lambda one: parse(render(one.switch, one.subgoal, one.action)),
    "react": lambda one: parse_react(render_react(one.subgoal, one.action)),
    "blueprint": lambda one: parse_step(render_step(one.switch, one.action)),
}
"""How the answer is read with which the expert acts."""
