"""Pretraining of values: its budget, when it ends, what it counts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pipeline import run_settings

from hiper.errors import UserError
from hiper.runs.summary import ReadOuts
from hiper.stages.pretraining import Pretraining
from hiper.stages.tasks import draws_of
from hiper.trajectory import Task, Trajectory

RETURNS = np.array([0.0, 1.0, 2.0])
EPISODES = [Trajectory(Task("t", "train", "look"), 0, (), False, True, False, None)] * 8


@given(iterations=st.integers(1, 20), draws=st.integers(1, 6), group=st.sampled_from([1, 2, 4]), data=st.data())
def test_what_pretraining_spends_is_taken_from_all_iterations_alike(
    iterations: int, draws: int, group: int, data: st.DataObject
) -> None:
    """Together they play the rest of the budget, each draw once and in order, and no iteration plays a group more than
    another but one; without pretraining each plays `episodes`."""
    settings = run_settings(
        training__iterations=iterations, training__episodes=draws * group, algorithm__group_size=group
    )
    spent = data.draw(st.integers(0, iterations - 1)) * draws * group
    numbers = [draws_of(settings, iteration, spent) for iteration in range(iterations)]
    assert [n for one in numbers for n in one] == list(range((iterations * draws * group - spent) // group))
    assert max(map(len, numbers)) - min(map(len, numbers)) <= (1 if spent else 0)
    assert spent or {len(one) for one in numbers} == {draws}


def explaining(share: float) -> dict[str, ReadOuts]:
    """Values that explain this share of the returns: an error of so many times their deviations."""
    return {"low": ReadOuts(RETURNS - np.sqrt(1.0 - share) * (RETURNS - 1.0), RETURNS, RETURNS)}


def test_it_ends_when_explained_variance_has_settled() -> None:
    """Patience 2, tolerance 0.1: after 0.1, 0.3, 0.35 and 0.38 neither of the last two has risen by 0.1 above 0.3."""
    critic = run_settings(
        training__critic__pretraining={"episodes": 800, "patience": 2, "tolerance": 0.1}, training__iterations=200
    ).training.critic
    state, ended = Pretraining(), []
    for share in (0.1, 0.3, 0.35, 0.38):
        assert not state.ended(critic)
        state = state.then(critic, EPISODES, explaining(share))
        ended.append(state.ended(critic))
    assert ended == [False, False, False, True]
    assert (state.batches, state.episodes, state.best) == (4, 32, pytest.approx(0.3))
    assert state.metrics()["pretraining/explained_variance_low"] == pytest.approx(0.38)


def test_it_ends_when_its_budget_is_spent() -> None:
    """Whatever the values still learn; without a budget it never begins."""
    chosen: dict[str, Any] = {"patience": 2, "tolerance": 0.0}
    critic = run_settings(training__critic__pretraining={"episodes": 8, **chosen}).training.critic
    assert not Pretraining().ended(critic) and Pretraining().then(critic, EPISODES, explaining(0.5)).ended(critic)
    assert Pretraining().ended(run_settings().training.critic) and Pretraining().metrics() == {}


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"training__critic__warmup_iterations": 1}, ["warmup_iterations = 1", "set one of them to 0"]),
        ({"training__critic__detach": False}, ["would change the policy", "detach: true"]),
        ({"training__iterations": 1}, ["leave 0 of iterations", "make them fewer"]),
        ({"training__episodes": 6}, ["must be a multiple of episodes = 6"]),
    ],
    ids=["two warm-ups", "the actor's backbone", "no episode left", "broken batches"],
)
def test_pretraining_that_cannot_be_is_refused(changes: dict[str, Any], wanted: list[str]) -> None:
    """Each contradiction is an error that says what to change."""
    pretraining = {"episodes": 8, "patience": 2, "tolerance": 0.0}
    with pytest.raises(UserError) as caught:
        run_settings(training__critic__pretraining=pretraining, **changes)
    assert all(part in str(caught.value) for part in wanted), str(caught.value)
