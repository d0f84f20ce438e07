"""GraphHCA's potentials: worked numbers, and what defines them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from credit_arrays import make_turns, random_turns, settings_of
from hypothesis import given
from hypothesis import strategies as st

from hiper.algorithms import graphhca, grpo
from hiper.algorithms.interface import Floats, Turns

SEEDS = st.integers(0, 2**32 - 1)
LENGTHS = st.lists(st.integers(1, 6), min_size=1, max_size=8)

A, B, C = 0, 1, 2
# Three episodes of one task, the second with a cycle: a b won | a c a b won | a c lost.
THREE = make_turns(
    [2, 4, 2],
    anchor=[[A, B, 9, 9], [A, C, A, B], [A, C, 9, 9]],
    reward=[[0, 1, 9, 9], [0, 0, 0, 1], [0, 0, 9, 9]],
    group=[0, 0, 0],
    won=[True, True, False],
)


def advantages(turns: Turns, gamma: float, **group: Any) -> Floats:
    settings = settings_of("graphhca", gamma=gamma, group={"mode": "mean_std_norm", **group})
    return graphhca.credit(turns, {}, settings).other


def potentials(turns: Turns, gamma: float) -> tuple[Floats, Floats]:
    return graphhca.potentials(turns, graphhca.states(turns), gamma)


def random_graphs(seed: int, lengths: list[int], observations: int = 4) -> Turns:
    """Two groups, few observations: states are shared, and there are cycles of all kinds."""
    rng = np.random.default_rng(seed)
    turns = random_turns(rng, lengths)
    anchor = rng.integers(0, observations, turns.present.shape)
    return replace(turns, group=rng.integers(0, 2, len(lengths)), anchor=anchor)


def test_potentials_by_hand() -> None:
    """From a half of the turns lead to b, half to c; from c one leads back to a, one to the lost end."""
    # γ = 1/2: Φ(b) = 1/2;  Φ(c) = 1/2 · (Φ(a) + 0) / 2 = Φ(a) / 4;  Φ(a) = 1/2 · (Φ(b) + Φ(c)) / 2 = 1/8 + Φ(a) / 16
    a, b, c = 2 / 15, 1 / 2, 1 / 30
    before, after = potentials(THREE, 0.5)
    np.testing.assert_allclose(before, [[a, b, 0, 0], [a, c, a, b], [a, c, 0, 0]], atol=1e-15)
    np.testing.assert_allclose(after, [[b, 1, 0, 0], [c, a, b, 1], [c, 0, 0, 0]], atol=1e-15)
    # γ = 1, chances of success: c wins half as often as a; a = (1 + a/2) / 2
    before, _ = potentials(THREE, 1.0)
    np.testing.assert_allclose(before[1], [2 / 3, 1 / 3, 2 / 3, 1], atol=1e-15)


def test_advantages_by_hand() -> None:
    """Turns are compared with those from the same state: from a, b is better than c; from c, back to a than losing."""
    # a: ℓ = log(15/4) twice and log(1/4) twice, so ± log(15)/2; over their deviation (Bessel) ± √3/2
    # c: ℓ = log 4 and, with the floor, log(0.01 · 30), so ± log(40/3)/2; ± 1/√2.  b: both log 2, hence 0
    # returns 1 1 0: mean 2/3, deviation 1/√3, hence 1/√3 and −2/√3
    won, lost, a, c = 3**-0.5, -2 * 3**-0.5, 2 * 3**0.5 / 2, 2 * 0.5**0.5
    expected = [[won + a, won, 0, 0], [won - a, won + c, won + a, won], [lost - a, lost - c, 0, 0]]
    np.testing.assert_allclose(advantages(THREE, 0.5, omega=2.0), expected, atol=1e-5)
    won, lost, a, c = 1 / 3, -2 / 3, np.log(15) / 2, np.log(40 / 3) / 2
    expected = [[won + a, won, 0, 0], [won - a, won + c, won + a, won], [lost - a, lost - c, 0, 0]]
    np.testing.assert_allclose(advantages(THREE, 0.5, mode="mean_norm"), expected)
    # a higher floor: c counts as the lost end does, and losing from c is log 1
    c = np.log((2 / 15) / 0.1) / 2
    found = advantages(THREE, 0.5, mode="mean_norm", potential_floor=0.1)
    np.testing.assert_allclose([found[1, 1], found[2, 1]], [won + c, lost - c])


@given(SEEDS, LENGTHS, st.sampled_from([0.0, 0.5, 0.95, 1.0]))
def test_a_potential_is_the_discounted_mean_of_those_it_leads_to(seed: int, lengths: list[int], gamma: float) -> None:
    """The equation that defines it, at every state of every group, with any cycles; between 0 and 1."""
    turns = random_graphs(seed, lengths)
    before, after = potentials(turns, gamma)
    for group, observation in {(g, o) for g, row in zip(turns.group, turns.anchor, strict=True) for o in row}:
        here = turns.present & (turns.anchor == observation) & (turns.group == group)[:, None]
        if here.any():
            np.testing.assert_allclose(before[here], gamma * after[here].mean(), atol=1e-12)
    for array in (before, after):
        assert array.min() >= 0 and array.max() <= 1
    last = np.array(lengths) - 1
    np.testing.assert_array_equal(after[np.arange(len(lengths)), last], turns.won)


@given(SEEDS, LENGTHS)
def test_where_all_failed_only_the_episodes_advantage_is_left(seed: int, lengths: list[int]) -> None:
    """No state has a potential then, so no turn changed any."""
    turns = replace(random_graphs(seed, lengths), won=np.zeros(len(lengths), bool))
    expected = grpo.credit(turns, {}, settings_of("grpo", group={"mode": "mean_std_norm"})).other
    np.testing.assert_array_equal(advantages(turns, 0.95), expected)


def test_where_all_succeeded_the_shorter_way_is_still_better() -> None:
    """a won | a b won: equal returns, but from a the first reaches the end and the second Φ(b) = γ."""
    turns = make_turns([1, 2], anchor=[[A, 9], [A, B]], reward=[[1, 9], [0, 1]], group=[0, 0])
    half = 0.5**0.5
    np.testing.assert_allclose(advantages(turns, 0.9), [[half, 0], [-half, 0]], atol=1e-4)
    assert not advantages(turns, 1.0).any()


def test_running_out_of_turns_is_failing() -> None:
    """There is no value that would look beyond the limit."""
    cut = replace(THREE, terminated=np.array([True, True, False]))
    np.testing.assert_array_equal(advantages(cut, 0.5), advantages(THREE, 0.5))
    assert potentials(cut, 0.5)[1][2, 1] == 0


@given(SEEDS, LENGTHS)
def test_equal_episodes_get_equal_credit(seed: int, lengths: list[int]) -> None:
    """Every episode played twice."""
    turns = random_graphs(seed, lengths)
    twice = Turns(**{name: np.repeat(array, 2, axis=0) for name, array in vars(turns).items()})
    found = advantages(twice, 0.95)
    np.testing.assert_array_equal(found[::2], found[1::2])


@pytest.mark.parametrize("observations", [30, 100_000])
def test_a_full_batch_of_groups_has_an_exact_solution(observations: int) -> None:
    """Sixteen groups of 8 × 50 turns, with many shared states and with none: the equation holds to the last digits."""
    rng = np.random.default_rng(0)
    turns = replace(random_graphs(0, [50] * 128, observations), group=np.repeat(np.arange(16), 8))
    turns = replace(turns, won=rng.random(128) < 0.2)
    state = graphhca.states(turns)
    before, after = graphhca.potentials(turns, state, 0.95)
    mean = np.bincount(state.ravel(), after.ravel()) / np.bincount(state.ravel())
    np.testing.assert_allclose(before, 0.95 * mean[state], atol=1e-14)
