"""A small batch of made-up episodes with real credit, and a run folder that holds their records. A token is a
character, so that spans and texts can be compared by eye."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from credit_arrays import settings_of

from hiper.algorithms.registry import ALGORITHMS
from hiper.learning.batches import turn_arrays, turn_rows
from hiper.plan_execute import carried_subgoal, parse, render
from hiper.records import write_jsonl, write_text
from hiper.runs.episodes import Update, training_records
from hiper.stages.evaluation import Batch, episode_row
from hiper.trajectory import Generation, Task, TokenSpan, Trajectory, Turn

KINDS = ("won", "truncated", "failed", "lost", "truncated", "won")
TYPES = ("pick_and_place_simple", "look_at_obj_in_light")
MALFORMED = "\x1b[31mno blocks at all\x1b[0m [bold]"


def decode(tokens: Sequence[int]) -> tuple[str, tuple[int, ...]]:
    """Characters and their places; 0 is the end token, without text."""
    text = "".join(chr(token) for token in tokens if token)
    return text, tuple(min(place, len(text)) for place in range(len(tokens) + 1))


def make_turn(response: str, before: str | None, reward: float, guided: bool) -> Turn:
    """A turn as a rollout would leave it; under guidance, everything but lower-case letters is forced."""
    tokens = [*map(ord, response), 0]
    parsed = parse(response, decode(tokens)[1])
    spans = {
        f"{name}_span": None if (span := getattr(parsed, f"{name}_span")) is None else TokenSpan(*span)
        for name in ("switch", "subgoal", "action")
    }
    generation = Generation(
        prompt_tokens=np.array([1, 2], np.int32),
        response_tokens=np.array(tokens, np.int32),
        logprobs=np.linspace(-1.0, -0.1, len(tokens)).astype(np.float32),
        allowed=tuple(() if chr(token).islower() else (token,) for token in tokens) if guided else None,
    )
    return Turn(
        observation="You see a desk 1.",
        prompt="",
        response=response,
        switch=parsed.switch,
        subgoal=carried_subgoal(before, parsed),
        subgoal_text=parsed.subgoal,
        action=parsed.action,
        valid=parsed.valid,
        reward=reward,
        generation=generation,
        problems=parsed.problems,
        **spans,
    )


def make_trajectory(number: int, kind: str, guided: bool) -> Trajectory:
    """Three turns, the second a KEEP; those of `lost` end in a malformed answer."""
    answers = [
        render(True, "find mug", "go to desk 1"),
        render(False, "find mug", "look"),
        render(True, "put mug", "x"),
    ]
    if kind == "lost":
        answers[2] = MALFORMED
    turns: list[Turn] = []
    for t, answer in enumerate(answers):
        before = turns[-1].subgoal if turns else None
        turns.append(make_turn(answer, before, 1.0 if kind == "won" and t == 2 else 0.0, guided))
    return Trajectory(
        task=Task(f"train/game-{number}", "train", TYPES[number % 2]),
        group=number // 2,
        turns=tuple(turns),
        won=kind == "won",
        terminated=kind in ("won", "lost"),
        truncated=kind == "truncated",
        failure="step: OSError: gone" if kind == "failed" else None,
        info={"score": float(kind == "won"), "instruction": f"put mug {number} on shelf.", "observation": "The end."},
    )


def make_batch(algorithm: str, guided: bool, seed: int = 0) -> tuple[list[Trajectory], Update]:
    """All episodes of an iteration, and the update they gave: real credit from random values."""
    played = [make_trajectory(number, kind, guided) for number, kind in enumerate(KINDS)]
    entered = [trajectory for trajectory in played if trajectory.failure is None]
    settings = settings_of(algorithm, bootstrap_truncated=False)
    random = np.random.default_rng(seed)
    shape = (len(entered), len(entered[0].turns) + 1)
    values = {head: random.normal(size=shape) for head in sorted(ALGORITHMS[algorithm].heads(settings))}
    credit = ALGORITHMS[algorithm].credit(turn_arrays(entered), values, settings)
    return played, Update(entered, values, credit, turn_rows(entered, credit), actor=True)


def make_run(folder: Path, iterations: int = 2) -> Path:
    """A run's folder with `iterations` recorded in full, every second one of free decoding, and one evaluated split at
    two temperatures."""
    rows = []
    for iteration in range(1, iterations + 1):
        played, update = make_batch("hiper", guided=iteration % 2 == 1, seed=iteration)
        rows += training_records(iteration, played, update, decode, len(KINDS))
    batch = Batch("last", "unseen", "exhaustive", 0, 0, [])
    evaluated = [
        episode_row(make_trajectory(number, kind, guided=False), batch, temperature)
        for temperature in (0.4, 1.0)
        for number, kind in enumerate(KINDS)
    ]
    write_text(folder / "config.yaml", "benchmark: {name: alfworld}\n")
    write_jsonl(folder / "episodes.jsonl", rows)
    write_jsonl(folder / "evaluation.jsonl", evaluated)
    return folder
