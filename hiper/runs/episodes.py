"""Episodes as rows of JSON, turn by turn: what the agent saw and did and, in training, what each token learned from.

`<run>/episodes.jsonl` holds a few episodes of every training iteration exactly as they entered the update;
`<run>/evaluation.jsonl` holds all evaluation episodes, without credit because evaluation has no critic. Numbers are
rounded to six digits. `hiper inspect` shows both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np

from hiper.algorithms.interface import Credit, Floats
from hiper.learning.batches import TurnRow, generation_of
from hiper.runs.summary import segments
from hiper.trajectory import Trajectory, Turn

EPISODES = "episodes.jsonl"
BLOCKS = ("switch", "subgoal", "action")

Outcome = Literal["won", "lost", "truncated", "failed"]
Decode = Callable[[Sequence[int]], tuple[str, tuple[int, ...]]]
"""Tokens to their text and the character at which each token begins, as `LocalPolicy.decode` gives them."""


@dataclass(frozen=True)
class Update:
    """What one iteration learned from: the `trajectories` that entered it, every head's `values` `[trajectory, turn +
    1]`, the `credit` `[trajectory, turn]` and the `rows` of tokens, one per turn. `actor` is False in iterations that
    train the critic alone."""

    trajectories: Sequence[Trajectory]
    values: Mapping[str, Floats]
    credit: Credit
    rows: Sequence[TurnRow]
    actor: bool


def outcome(won: bool, truncated: bool, failure: str | None) -> Outcome:
    """How an episode ended: broken, won, out of turns, or ended by the task without success."""
    if failure is not None:
        return "failed"
    if won:
        return "won"
    return "truncated" if truncated else "lost"


def episode_record(trajectory: Trajectory) -> dict[str, Any]:
    """What every recorded episode says. `decisions` has one entry per turn; a broken episode keeps the turns before the
    break. `observation` is what the agent saw last, after its last action."""
    turns, info = trajectory.turns, trajectory.info
    return {
        "task": trajectory.task.id,
        "task_type": trajectory.task.task_type,
        "instruction": info.get("instruction", ""),
        "won": trajectory.won,
        "terminated": trajectory.terminated,
        "truncated": trajectory.truncated,
        "failure": trajectory.failure,
        "score": info["score"],
        "details": info.get("details", {}),
        "return": _number(sum(turn.reward for turn in turns)),
        "turns": len(turns),
        "switches": sum(turn.switch for turn in turns),
        "segments": segments(trajectory),
        "valid_turns": sum(turn.valid for turn in turns),
        "tokens": sum(_tokens(turn) for turn in turns),
        "decisions": [turn_record(turn) for turn in turns],
        "observation": info.get("observation", ""),
    }


def turn_record(turn: Turn) -> dict[str, Any]:
    """One turn: `subgoal` is the one in force after it, `subgoal_text` what the response itself said."""
    return {
        "observation": turn.observation,
        "response": turn.response,
        "switch": turn.switch,
        "subgoal": turn.subgoal,
        "subgoal_text": turn.subgoal_text,
        "action": turn.action,
        "valid": turn.valid,
        "problems": list(turn.problems),
        "reward": _number(turn.reward),
        "tokens": _tokens(turn),
    }


def choose(outcomes: Sequence[Outcome], count: int) -> list[int]:
    """Which of an iteration's episodes are kept, in order: the first of each outcome, then the first by number, up to
    `count`; and every broken one, whatever the count (unless it is 0)."""
    if not count:
        return []
    preferred = sorted(range(len(outcomes)), key=lambda number: (outcomes.index(outcomes[number]) != number, number))
    broken = {number for number, ending in enumerate(outcomes) if ending == "failed"}
    return sorted({*preferred[:count], *broken})


def training_records(
    iteration: int, played: Sequence[Trajectory], update: Update, decode: Decode, count: int
) -> list[dict[str, Any]]:
    """The rows that iteration `iteration` (from 1) adds to `episodes.jsonl`. `played` are all its episodes; those that
    broke or have no turn entered no update and carry no credit."""
    places = {id(trajectory): place for place, trajectory in enumerate(update.trajectories)}
    firsts = _firsts(update.trajectories)
    records = []
    for number in choose([outcome(t.won, t.truncated, t.failure) for t in played], count):
        trajectory = played[number]
        place = places.get(id(trajectory))
        record = episode_record(trajectory) | {
            "iteration": iteration,
            "number": number,
            "group": trajectory.group,
            "updated": [] if place is None else ["critic", "actor"] if update.actor else ["critic"],
        }
        if place is not None:
            for t, (turn, decision) in enumerate(zip(trajectory.turns, record["decisions"], strict=True)):
                decision |= _credit_record(turn, update.rows[firsts[place] + t], update, (place, t), decode)
        records.append(record)
    return records


def _credit_record(turn: Turn, row: TurnRow, update: Update, place: tuple[int, int], decode: Decode) -> dict[str, Any]:
    """Values, targets and advantages of a turn as the update used them, and per response token the share of each.

    `advantages` are those of the blocks' tokens (normalised if the algorithm normalises); `targets` are None for heads
    that do not learn from this turn; a head that is read at every token has the turn's means in both. Lists under
    `token` have one entry per response token: its text, advantage, sampled log probability, whether it carries a policy
    gradient (`trained`) and whether the guide left no choice (`forced`).
    """
    credit = update.credit
    spans = {"switch": turn.switch_span, "subgoal": turn.subgoal_span, "action": turn.action_span}
    return {
        "values": {head: _number(_mean(values[place], row.chosen)) for head, values in update.values.items()},
        "targets": {
            head: _number(_mean(target[place], row.chosen)) if np.any(mask[place]) else None
            for head, (target, mask) in credit.targets.items()
        },
        "advantages": {name: _number(getattr(credit, name)[place]) for name in (*BLOCKS, "other")},
        "whole_response": credit.trains_other,
        "spans": {name: None if span is None else [span.start, span.stop] for name, span in spans.items()},
        "token": {
            "text": _pieces(turn, decode),
            "advantage": [_number(value) for value in row.advantage],
            "logprob": [_number(value) for value in row.logprob],
            "trained": [int(value) for value in row.trained],
            "forced": [int(not value) for value in row.chosen],
        },
    }


def _mean(numbers: Any, chosen: Any) -> Any:
    """A turn's number, or the mean of those that its chosen tokens have."""
    return numbers if np.ndim(numbers) == 0 else numbers[: len(chosen)][chosen].mean()


def _pieces(turn: Turn, decode: Decode) -> list[str]:
    """The text of each response token; empty for the end token and for all but the last bytes of one character."""
    text, offsets = decode(generation_of(turn)[1].tolist())
    return [text[start:stop] for start, stop in pairwise(offsets)]


def _firsts(trajectories: Sequence[Trajectory]) -> list[int]:
    """Where each trajectory's turns begin among the rows of all."""
    firsts = [0]
    for trajectory in trajectories:
        firsts.append(firsts[-1] + len(trajectory.turns))
    return firsts


def _tokens(turn: Turn) -> int:
    return 0 if turn.generation is None else len(turn.generation.response_tokens)


def _number(value: Any) -> float:
    """Six digits, and no negative zero."""
    return round(float(value), 6) + 0.0
