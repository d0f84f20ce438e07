"""Micro- and mini-batches cover every row once; turns become arrays."""

from __future__ import annotations

from itertools import count

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hiper.algorithms.shaping import consistency_penalty
from hiper.learning.batches import micro_batches, mini_batches, turn_arrays
from hiper.trajectory import Generation, Task, TokenSpan, Trajectory, Turn

NUMBERS = count()
FREE_TEXT = (-1,)  # a class of tokens, which the guide leaves to the policy


@given(st.lists(st.integers(1, 300), max_size=60), st.integers(1, 500))
def test_micro_batches_partition_rows_within_budget(lengths: list[int], budget: int) -> None:
    """Every row is in exactly one group; a group over the budget holds a single row."""
    groups = micro_batches(np.array(lengths, dtype=np.int64), budget)
    assert sorted(int(i) for group in groups for i in group) == list(range(len(lengths)))
    assert all(len(group) == 1 or sum(lengths[i] for i in group) <= budget for group in groups)


@given(st.integers(1, 1000), st.integers(1, 300))
def test_mini_batches_partition_rows_in_nearly_equal_parts(count: int, size: int) -> None:
    """Sizes differ by at most one, and no batch is above one and a half times the wished size."""
    parts = list(mini_batches(count, size, np.arange(count)))
    assert np.array_equal(np.concatenate(parts), np.arange(count))
    sizes = [len(part) for part in parts]
    assert max(sizes) - min(sizes) <= 1
    assert max(sizes) <= max(size * 1.5 + 1, 1)


def _turn(observation: str, allowed: tuple[tuple[int, ...], ...] | None, tokens: int) -> Turn:
    numbers = np.arange(tokens, dtype=np.int32)
    generation = Generation(np.array([7], np.int32), numbers, np.zeros(tokens, np.float32), allowed)
    return Turn(observation, f"prompt {next(NUMBERS)}", "", True, None, None, "look", True, 0.0,
                generation=generation)  # fmt: skip


def test_turns_with_the_same_observation_have_the_same_anchor() -> None:
    """Whatever the prompt around it, in whichever trajectory; a space more is another observation."""
    rows = (("hall", "room", "hall"), ("room", "room "))
    task = Task("t", "train", "look")
    trajectories = [
        Trajectory(task, 0, tuple(_turn(text, None, 1) for text in row), False, True, False, None) for row in rows
    ]
    anchor = turn_arrays(trajectories).anchor
    assert anchor[0, 0] == anchor[0, 2] != anchor[0, 1] == anchor[1, 0] != anchor[1, 1] != anchor[0, 0]


def test_only_a_benchmarks_success_is_a_success() -> None:
    """Ends of the task's own can be lost: `won` is not `terminated`."""
    task, turns = Task("t", "train", "look"), (_turn("a", None, 1),)
    ends = [(True, True, False), (False, True, False), (False, False, True)]
    arrays = turn_arrays([Trajectory(task, 0, turns, *end) for end in ends])
    assert (arrays.won.tolist(), arrays.terminated.tolist()) == ([True, False, False], [True, True, False])


def test_chosen_tokens_are_those_that_the_guide_did_not_force() -> None:
    """Two allowed tokens or a class of them are a choice, one is none; free decoding chooses everything."""
    guided, free = _turn("a", ((4,), (5, 6), FREE_TEXT), 3), _turn("a", None, 2)
    trajectory = Trajectory(Task("t", "train", "look"), 0, (guided, free), False, True, False, None)
    chosen = turn_arrays([trajectory]).chosen
    assert chosen.tolist() == [[[False, True, True], [True, True, False]]]


def _said(switch: bool, tokens: list[int], guided: bool) -> Turn:
    """A turn whose subgoal block is all of these tokens."""
    generation = Generation(
        np.array([7], np.int32),
        np.array(tokens, np.int32),
        np.zeros(len(tokens), np.float32),
        tuple((token,) for token in tokens) if guided else None,
    )
    span = TokenSpan(0, len(tokens))
    return Turn("", "", "", switch, "a", "a", "look", True, 0.0, subgoal_span=span, generation=generation)


@pytest.mark.parametrize("guided", [False, True])
def test_the_copy_that_the_guide_forces_is_never_an_altered_one(guided: bool) -> None:
    """It may be written with other tokens than the subgoal was drawn with, with a blank before it for example; without
    a guide tokens are compared, as in the original."""
    drawn, written = [1, 2, 3], [1, 3]
    turns = _said(True, drawn, guided), _said(False, written, guided), _said(False, written, guided)
    trajectory = Trajectory(Task("t", "train", "look"), 0, turns, False, True, False, None)
    arrays = turn_arrays([trajectory])
    assert arrays.copied.tolist() == [[False, guided, True]]
    penalty = consistency_penalty(arrays.present & ~arrays.switch, arrays.copied, arrays.has_subgoal, -0.3, False)
    assert penalty.tolist() == [[0.0, 0.0 if guided else -0.3, 0.0]]
