"""HiPER's levels read from potentials: worked numbers, and what the levels have in common."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from credit_arrays import make_turns, permuted_and_padded, random_turns, settings_of
from hypothesis import given
from hypothesis import strategies as st

from hiper.algorithms import hiper_potentials
from hiper.algorithms.interface import Credit, Floats, Turns

SEEDS = st.integers(0, 2**32 - 1)
LENGTHS = st.lists(st.integers(1, 6), min_size=1, max_size=8)
BLOCKS = ("switch", "subgoal", "action", "other")

A, B, C = 0, 1, 2
# Three episodes of one task; | begins a subgoal: |a b won, |a |b c lost, |a c lost.
THREE = make_turns(
    [2, 3, 2],
    anchor=[[A, B, 9], [A, B, C], [A, C, 9]],
    switch=[[True, False, True], [True, True, False], [True, False, True]],
    reward=[[0, 1, 9], [0, 0, 0], [0, 0, 9]],
    group=[0, 0, 0],
    won=[True, False, False],
)


def credit(turns: Turns, gamma: float = 0.5, group: dict[str, Any] | None = None, **settings: Any) -> Credit:
    own = settings_of("hiper_potentials", gamma=gamma, group=group or {}, **settings)
    return hiper_potentials.credit(turns, {}, own)


def random_groups(seed: int, lengths: list[int]) -> Turns:
    rng = np.random.default_rng(seed)
    turns = random_turns(rng, lengths)
    anchor = rng.integers(0, 3, turns.present.shape)
    return replace(turns, group=rng.integers(0, 2, len(lengths)), anchor=anchor)


def compared(*potentials: float) -> Floats:
    """Their logarithms less the mean of these."""
    found: Floats = np.log(potentials) - np.log(potentials).mean()
    return found


def test_three_levels_by_hand() -> None:
    """Actions by the next state, subgoals by the state where their segment ended, discounted by how long it took."""
    # Φ(c) = 0, Φ(b) = 1/2 · (1 + 0) / 2 = 1/4;  episodes: returns 1 0 0, less their mean; the floor is 0.01
    episode = np.array([[2 / 3], [-1 / 3], [-1 / 3]])
    # from a one leads to b, b, c; from b to success and to c; from c always to failure
    a, b = compared(1 / 4, 1 / 4, 0.01), compared(1, 0.01)
    action = episode + np.array([[a[0], b[0], 0], [a[1], b[1], 0], [a[2], 0, 0]])
    # segments from a: γ² after success, γ · 1/4 at b, γ² · 0; nobody else begins one in b
    a = compared(1 / 4, 1 / 8, 0.01)
    subgoal = episode * [[1, 0, 0], [1, 1, 0], [1, 0, 0]] + [[a[0], 0, 0], [a[1], 0, 0], [a[2], 0, 0]]
    # in b one kept its subgoal and won, γ · 1, and one switched and lost
    b = compared(1 / 2, 0.01)
    switch = episode + np.array([[a[0], b[0], 0], [a[1], b[1], 0], [a[2], 0, 0]])
    found = credit(THREE)
    for level, expected in ((found.action, action), (found.subgoal, subgoal), (found.switch, switch)):
        np.testing.assert_allclose(level, np.where(THREE.present, expected, 0.0), atol=1e-12)
    assert not found.other.any() and not found.trains_other and not found.targets
    np.testing.assert_array_equal(found.trained_subgoal, THREE.present & (subgoal != 0))
    assert not credit(THREE, switch_advantage="none").switch.any()


@given(SEEDS, LENGTHS)
def test_where_every_turn_switches_all_levels_say_the_same(seed: int, lengths: list[int]) -> None:
    """A segment of one turn ends where its action leads."""
    turns = random_groups(seed, lengths)
    full = {name: turns.present for name in ("switch", "has_switch", "has_subgoal", "has_action")}
    turns = replace(turns, **full, won=np.ones(len(lengths), bool))
    found = credit(turns, group={"potential_floor": 1e-9})
    np.testing.assert_allclose(found.subgoal, found.action, atol=1e-9)
    np.testing.assert_allclose(found.switch, found.action, atol=1e-9)


@given(SEEDS, LENGTHS, st.sampled_from(["mean_norm", "mean_std_norm"]))
def test_order_padding_and_other_groups_do_not_matter(seed: int, lengths: list[int], mode: str) -> None:
    """Trajectories in another order, columns of nonsense, other numbers of groups and observations; a group alone."""
    turns = random_groups(seed, lengths)
    order = np.random.default_rng(seed).permutation(len(lengths))
    other = permuted_and_padded(turns, order)
    other = replace(other, group=7 - 2 * other.group, anchor=100 - 3 * other.anchor)
    rows = turns.group == turns.group[0]
    alone = Turns(**{key: array[rows] for key, array in vars(turns).items()})
    found, moved, part = (credit(batch, 0.95, {"mode": mode}) for batch in (turns, other, alone))
    for block in BLOCKS:
        np.testing.assert_allclose(getattr(moved, block)[:, :-2], getattr(found, block)[order], atol=1e-9)
        np.testing.assert_allclose(getattr(part, block), getattr(found, block)[rows], atol=1e-9)
        assert not getattr(moved, block)[:, -2:].any()


def test_penalties_of_the_hierarchy_count() -> None:
    """As part of what an episode earned: of two that both lost, the one that never kept its subgoal did better."""
    turns = make_turns([2, 2], switch=[[True, True], [True, False]], group=[0, 0], won=[False, False])
    found = credit(turns, penalties={"keep": -0.5})
    np.testing.assert_allclose(found.action, [[0.25, 0.25], [-0.25, -0.25]])
    assert not credit(turns).action.any()


def test_levels_are_normalised_each_over_the_turns_it_reaches() -> None:
    """Only if wanted, as in HiPER."""
    turns = random_groups(5, [6, 6, 4, 6, 5, 6])
    turns = replace(turns, has_action=turns.present)
    found = credit(turns, normalize=True)
    boundary = turns.switch.copy()
    boundary[:, 0] = True
    for level, mask in (
        (found.action, turns.present),
        (found.subgoal, turns.has_subgoal & boundary),
        (found.switch, turns.has_switch),
    ):
        assert (level[mask].mean(), level[mask].std()) == (pytest.approx(0, abs=1e-9), pytest.approx(1, abs=1e-6))
