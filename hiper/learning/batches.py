"""From trajectories to rows of tokens: which positions are trained, and with which advantage."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hiper.algorithms.interface import Credit, Turns
from hiper.learning.read_outs import Answer, Index
from hiper.trajectory import Trajectory, Turn


@dataclass(frozen=True)
class TurnRow:
    """One turn as a training row. `tokens` is prompt + response; per response token [response]: `advantage`, `trained`
    (carries a policy gradient), `chosen` (the policy had a choice there: KL and entropy act on it), `logprob` (the
    sampler's, or the trainer's own where both differ), `allowed` (None under free decoding), `importance` (what the
    policy gradient is multiplied by; None: nothing)."""

    tokens: npt.NDArray[np.int32]
    prompt_length: int
    advantage: npt.NDArray[np.float32]
    trained: npt.NDArray[np.bool_]
    chosen: npt.NDArray[np.bool_]
    logprob: npt.NDArray[np.float32]
    allowed: tuple[tuple[int, ...], ...] | None
    importance: npt.NDArray[np.float32] | None = None


def generation_of(turn: Turn) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """(prompt tokens, response tokens); a turn of a scripted policy has none and cannot be trained on."""
    if turn.generation is None:
        raise ValueError("this turn was not sampled by a model")
    return turn.generation.prompt_tokens, turn.generation.response_tokens


def turn_arrays(trajectories: Sequence[Trajectory]) -> Turns:
    """The padded `[trajectory, turn]` arrays the algorithms read."""
    width = max(len(t.turns) for t in trajectories)
    shape = (len(trajectories), width)
    present, switch, valid, copied = (np.zeros(shape, bool) for _ in range(4))
    has = {name: np.zeros(shape, bool) for name in ("switch", "subgoal", "action")}
    reward, probability = np.zeros(shape), np.zeros(shape)
    anchor, observations = np.zeros(shape, np.int64), dict[str, int]()
    choices = [[chosen_tokens(turn) for turn in trajectory.turns] for trajectory in trajectories]
    chosen = np.zeros((*shape, max((len(row) for rows in choices for row in rows), default=0)), bool)
    for i, trajectory in enumerate(trajectories):
        before: tuple[int, ...] | None = None
        for t, turn in enumerate(trajectory.turns):
            present[i, t], switch[i, t], valid[i, t], reward[i, t] = True, turn.switch, turn.valid, turn.reward
            has["switch"][i, t] = turn.switch_span is not None
            has["subgoal"][i, t] = turn.subgoal_span is not None
            has["action"][i, t] = turn.action_span is not None
            subgoal = _span_tokens(turn)
            copied[i, t] = subgoal is not None and (subgoal == before or _forced_copy(turn))
            before = subgoal
            probability[i, t] = switch_probability(turn)
            anchor[i, t] = observations.setdefault(turn.observation, len(observations))
            chosen[i, t, : len(choices[i][t])] = choices[i][t]
    return Turns(
        present=present,
        reward=reward,
        switch=switch,
        valid=valid,
        has_switch=has["switch"],
        has_subgoal=has["subgoal"],
        has_action=has["action"],
        copied=copied,
        switch_probability=probability,
        terminated=np.array([t.terminated for t in trajectories]),
        won=np.array([t.won for t in trajectories]),
        group=np.array([t.group for t in trajectories], dtype=np.int64),
        anchor=anchor,
        chosen=chosen,
    )


def chosen_tokens(turn: Turn) -> npt.NDArray[np.bool_]:
    """True at the response tokens [response] that the guide did not force; empty for a scripted policy's turn."""
    if turn.generation is None:
        return np.zeros(0, bool)
    if turn.generation.allowed is None:
        return np.ones(len(turn.generation.response_tokens), bool)
    return np.array([len(ids) != 1 or ids[0] < 0 for ids in turn.generation.allowed], bool)


def _span_tokens(turn: Turn) -> tuple[int, ...] | None:
    if turn.subgoal_span is None or turn.generation is None:
        return None
    return tuple(turn.generation.response_tokens[turn.subgoal_span.start : turn.subgoal_span.stop].tolist())


def _forced_copy(turn: Turn) -> bool:
    """Under the guide a KEEP can only copy the subgoal in force, which may have been written with other tokens: drawn
    one by one, or with blanks around it."""
    return turn.generation is not None and turn.generation.allowed is not None and not turn.switch


def switch_probability(turn: Turn) -> float:
    """β = π(SWITCH | s, o): from the logprobs of the switch block, exact when only KEEP and SWITCH have mass."""
    if turn.switch_span is None or turn.generation is None:
        return 1.0 if turn.switch else 0.0
    chosen = float(np.exp(turn.generation.logprobs[turn.switch_span.start : turn.switch_span.stop].sum()))
    return chosen if turn.switch else 1.0 - chosen


def turn_rows(trajectories: Sequence[Trajectory], credit: Credit) -> list[TurnRow]:
    """One row per turn, trajectory by trajectory; under guided decoding forced tokens are not trained."""
    rows = []
    for i, trajectory in enumerate(trajectories):
        for t, turn in enumerate(trajectory.turns):
            prompt, response = generation_of(turn)
            advantage, trained = _token_credit(turn, len(response), credit, (i, t))
            assert turn.generation is not None
            logprobs, allowed = turn.generation.logprobs, turn.generation.allowed
            chosen, tokens = chosen_tokens(turn), np.concatenate([prompt, response])
            rows.append(TurnRow(tokens, len(prompt), advantage, trained & chosen, chosen, logprobs, allowed))
    return rows


def _token_credit(
    turn: Turn, length: int, credit: Credit, place: tuple[int, int]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Advantage and training mask of one turn's tokens; a token in two spans gets the sum."""
    if credit.tokens is not None:
        return credit.tokens[place][:length].astype(np.float32), np.ones(length, bool)
    if credit.trains_other:
        return np.full(length, credit.other[place], np.float32), np.ones(length, bool)
    advantage = np.zeros(length, np.float32)
    trained = np.zeros(length, bool)
    inside = np.zeros(length, bool)
    for span, values, trains in (
        (turn.switch_span, credit.switch, True),
        (turn.subgoal_span, credit.subgoal, bool(credit.trained_subgoal[place])),
        (turn.action_span, credit.action, True),
    ):
        if span is not None:
            advantage[span.start : span.stop] += values[place]
            trained[span.start : span.stop] |= trains
            inside[span.start : span.stop] = True
    if turn.action_span is None:
        # the released code's fallback: without an action block the whole response counts as the action
        advantage[~inside] = credit.other[place]
        trained[:] = True
    return advantage, trained


def answer_of(turn: Turn) -> Answer:
    """A turn's response as read-outs see it."""
    _, response = generation_of(turn)
    stops = [None if span is None else span.stop for span in (turn.switch_span, turn.subgoal_span)]
    return Answer(len(response), *stops, chosen_tokens(turn))


def mini_batches(count: int, size: int, order: Index) -> Iterator[Index]:
    """Slices of `order` of about equal size: as many as full ones fit, so that no tiny last batch arises."""
    yield from np.array_split(order, max(1, round(count / size)))


def micro_batches(lengths: Index, budget: int) -> list[Index]:
    """Groups of row numbers, alike in length, each of at most `budget` tokens (or a single row): longest rows first."""
    groups: list[list[int]] = []
    room = 0
    for row in np.argsort(-lengths, kind="stable"):
        if not groups or room < lengths[row]:
            groups.append([])
            room = budget
        groups[-1].append(int(row))
        room -= int(lengths[row])
    return [np.array(group) for group in groups]
