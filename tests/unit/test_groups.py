"""The flat group baselines: worked numbers, and what holds for all of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from credit_arrays import make_turns, permuted_and_padded, random_turns, settings_of
from hypothesis import given
from hypothesis import strategies as st

from hiper.algorithms.groups import GroupedSettings
from hiper.algorithms.interface import Floats, Turns
from hiper.algorithms.registry import ALGORITHMS

NAMES = sorted(
    name
    for name, one in ALGORITHMS.items()
    if issubclass(one.settings, GroupedSettings) and "group" in one.settings.model_fields and not one.hierarchical
)
MODES = ("mean_norm", "mean_std_norm")
SEEDS = st.integers(0, 2**32 - 1)
LENGTHS = st.lists(st.integers(1, 5), min_size=1, max_size=9)

# Three episodes of one task: anchors a b, a b, c b.
HISTORIES = make_turns(
    [2, 2, 2], reward=[[0.0, 4.0], [1.0, 0.0], [0.0, 1.0]], group=[0, 0, 0], anchor=[[0, 1], [0, 1], [2, 1]]
)


def advantages(name: str, turns: Turns, gamma: float = 1.0, **group: Any) -> Floats:
    return ALGORITHMS[name].credit(turns, {}, settings_of(name, gamma=gamma, group=group)).other


def random_groups(seed: int, lengths: list[int]) -> Turns:
    """Groups of random sizes, among them groups of one; few anchors, so that many turns share one."""
    rng = np.random.default_rng(seed)
    turns = random_turns(rng, lengths)
    group = rng.integers(0, 3, len(lengths))
    return replace(turns, group=group, anchor=rng.integers(0, 3, turns.present.shape))


def test_grpo_by_hand() -> None:
    """Returns 4 and 0 of one task, 7 of another that was played once."""
    turns = make_turns([3, 1, 1], reward=[[1, 0, 3], [0, 9, 9], [7, 9, 9]], group=[5, 5, 2])
    # mean 2, std √((4 + 4) / 1) = 2.8284: ±0.7071
    expected = [[0.70711, 0.70711, 0.70711], [-0.70711, 0, 0], [0, 0, 0]]
    np.testing.assert_allclose(advantages("grpo", turns, mode="mean_std_norm"), expected, atol=1e-5)
    np.testing.assert_allclose(advantages("grpo", turns), [[2, 2, 2], [-2, 0, 0], [0, 0, 0]])
    # over turns: mean (3 · 4 + 0) / 4 = 3, std √((3 · 1 + 9) / 3) = 2
    expected = [[0.5, 0.5, 0.5], [-1.5, 0, 0], [0, 0, 0]]
    np.testing.assert_allclose(advantages("grpo", turns, mode="mean_std_norm", cross_steps=True), expected, atol=1e-5)


def test_rloo_by_hand() -> None:
    """Returns 6, 0, 3: the others' means are 1.5, 4.5, 3."""
    turns = make_turns([1, 2, 1], reward=[[6, 0], [1, -1], [3, 0]], group=[0, 0, 0])
    np.testing.assert_allclose(advantages("rloo", turns), [[4.5, 0], [-4.5, -4.5], [0, 0]])
    # over turns: n = 4, mean (6 + 0 + 0 + 3) / 4 = 2.25, times 4/3
    np.testing.assert_allclose(advantages("rloo", turns, cross_steps=True), [[5, 0], [-3, -3], [1, 0]])


def test_gigpo_by_hand() -> None:
    """Two episodes begin at the same observation; the second turn of one is alone at its own."""
    turns = make_turns([2, 1], reward=[[0, 4], [1, 0]], group=[0, 0], anchor=[[0, 1], [0, 0]])
    # returns 4, 1, mean 2.5: ±1.5; G = 2, 4 and 1 at γ = 0.5; at the first observation mean 1.5: ±0.5; A = ±1.5 ± 0.5 ω
    np.testing.assert_allclose(advantages("gigpo", turns, 0.5), [[2, 1.5], [-2, 0]])
    np.testing.assert_allclose(advantages("gigpo", turns, 0.5, omega=2.0), [[2.5, 1.5], [-2.5, 0]])
    # two values differ from their mean by 1/√2 standard deviations
    half = 0.5**0.5
    expected = [[2 * half, half], [-2 * half, 0]]
    np.testing.assert_allclose(advantages("gigpo", turns, 0.5, mode="mean_std_norm"), expected, atol=1e-5)


def test_hgpo_by_hand() -> None:
    """Groups of one anchor weigh 2, of two anchors 3; a turn that is alone in a group has none of its weight."""
    # G = 4 4 | 1 0 | 1 1.  One anchor: a {4, 1} ±1.5; b {4, 0, 1}, mean 5/3: 7/3, −5/3, −2/3; c alone.
    # Two anchors: a b {4, 0} ±2; c b alone.
    # t = 1: (2 · 7/3 + 3 · 2) / 5 = 32/15, (−2 · 5/3 − 3 · 2) / 5 = −28/15, −2/3
    expected = [[1.5, 32 / 15], [-1.5, -28 / 15], [0, -2 / 3]]
    np.testing.assert_allclose(advantages("hgpo", HISTORIES, history_length=1), expected, atol=1e-5)
    np.testing.assert_allclose(advantages("hgpo", HISTORIES, history_length=9), expected, atol=1e-5)
    # without history the groups of one anchor alone
    expected = [[1.5, 7 / 3], [-1.5, -5 / 3], [0, -2 / 3]]
    np.testing.assert_allclose(advantages("hgpo", HISTORIES, history_length=0), expected, atol=1e-5)


def test_hgpo_with_the_episode_as_a_group_by_hand() -> None:
    """It weighs 1: returns 4, 1, 1, mean 2, give 2, −1, −1."""
    # t = 0: (2 + 2 · 1.5) / 3, (−1 − 2 · 1.5) / 3, −1
    found = advantages("hgpo", HISTORIES, history_length=1, base_group=True)
    np.testing.assert_allclose(found[:, 0], [5 / 3, -4 / 3, -1], atol=1e-5)
    # t = 1, α = 0: (2 + 7/3 + 2) / 3, (−1 − 5/3 − 2) / 3, (−1 − 2/3) / 2
    found = advantages("hgpo", HISTORIES, history_length=1, base_group=True, alpha=0.0)
    np.testing.assert_allclose(found[:, 1], [19 / 9, -14 / 9, -5 / 6], atol=1e-5)


def test_hgpo_divides_by_the_standard_deviation_of_the_population() -> None:
    """Two values differ from their mean by exactly one."""
    found = advantages("hgpo", HISTORIES, history_length=0, mode="mean_std_norm")
    np.testing.assert_allclose(found[:, 0], [1, -1, 0], atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_an_episode_alone_in_its_group_teaches_nothing(name: str) -> None:
    """Whatever it earned; the original's way, its return, is an option."""
    turns = make_turns([1, 1], reward=[[3.0], [5.0]], group=[0, 1], anchor=[[0], [0]])
    for mode in MODES:
        for cross_steps in (False, True):
            assert not advantages(name, turns, mode=mode, cross_steps=cross_steps, base_group=True).any()
    found = advantages(name, turns, lone_return=True, base_group=True)
    np.testing.assert_allclose(found, [[3.0], [5.0]], rtol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_the_invalid_penalty_counts(name: str) -> None:
    """Two equal episodes but for one malformed turn; that neither switched costs nothing."""
    turns = make_turns([2, 2], reward=[[0, 1], [0, 1]], group=[0, 0], switch=np.zeros((2, 2), bool),
                       valid=[[True, True], [True, False]])  # fmt: skip
    found, free = (
        ALGORITHMS[name]
        .credit(turns, {}, settings_of(name, penalties={"invalid": invalid}, group={"history_length": 0}))
        .other
        for invalid in (0.4, 0.0)
    )
    assert (found[0] >= 0).all() and found[0, 1] > 0
    assert not free.any()


@pytest.mark.parametrize("name", NAMES)
def test_equal_returns_up_to_rounding_give_exactly_zero(name: str) -> None:
    """0.1 + 0.2 and 0.3 differ in the last bit; divided by their standard deviation they must not look different."""
    turns = make_turns([2, 2, 2], reward=[[0.1, 0.2], [0.3, 0.0], [0.2, 0.1]], group=[0, 0, 0])
    turns = replace(turns, anchor=np.array([[0, 1], [0, 2], [0, 3]]))
    assert not advantages(name, turns, mode="mean_std_norm", base_group=True).any()


@pytest.mark.parametrize("name", NAMES)
@given(SEEDS, LENGTHS, st.sampled_from(MODES), st.booleans())
def test_shifting_all_returns_changes_nothing(
    name: str, seed: int, lengths: list[int], mode: str, cross_steps: bool
) -> None:
    """The same amount added at the end of every episode cancels against the group (γ = 1)."""
    turns = random_groups(seed, lengths)
    shifted = turns.reward.copy()
    shifted[np.arange(len(lengths)), np.array(lengths) - 1] += 2.5
    given_group = {"mode": mode, "cross_steps": cross_steps, "base_group": True}
    before, after = (advantages(name, t, **given_group) for t in (turns, replace(turns, reward=shifted)))
    np.testing.assert_allclose(before, after, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
@given(SEEDS, LENGTHS, st.floats(0.1, 50), st.booleans())
def test_scaling_rewards_scales_advantages_unless_they_are_divided(
    name: str, seed: int, lengths: list[int], factor: float, cross_steps: bool
) -> None:
    """Means are linear; dividing by the standard deviation takes the unit away, up to ε: whole rewards and γ = 1/2 keep
    returns that differ well apart. RLOO never divides, and potentials have no unit."""
    turns = random_groups(seed, lengths)
    turns = replace(turns, reward=turns.reward.round())
    scaled = replace(turns, reward=turns.reward * factor)
    for mode, expected in (("mean_norm", factor), ("mean_std_norm", 1.0)):
        if (name, mode) in (("rloo", "mean_std_norm"), ("graphhca", "mean_norm")):
            continue
        given_group = {"mode": mode, "cross_steps": cross_steps, "base_group": True}
        before, after = (advantages(name, t, 0.5, **given_group) for t in (turns, scaled))
        np.testing.assert_allclose(after, expected * before, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("name", NAMES)
@given(SEEDS, LENGTHS, st.sampled_from(MODES), st.booleans())
def test_order_and_padding_do_not_matter(
    name: str, seed: int, lengths: list[int], mode: str, cross_steps: bool
) -> None:
    """Trajectories in another order, with columns of nonsense behind them, and all numbers of groups and observations
    replaced: the same advantages."""
    turns = random_groups(seed, lengths)
    order = np.random.default_rng(seed).permutation(len(lengths))
    other = permuted_and_padded(turns, order)
    other = replace(other, group=7 - 2 * other.group, anchor=100 - 3 * other.anchor)
    given_group = {"mode": mode, "cross_steps": cross_steps, "base_group": True}
    before, after = (advantages(name, t, 0.9, **given_group) for t in (turns, other))
    np.testing.assert_allclose(after[:, :-2], before[order], atol=1e-9)
    assert not after[:, -2:].any()


@pytest.mark.parametrize("name", NAMES)
@given(SEEDS, LENGTHS)
def test_groups_do_not_influence_each_other(name: str, seed: int, lengths: list[int]) -> None:
    """The credit of a group is the same in a batch of its own, although groups share observations."""
    turns = random_groups(seed, lengths)
    found = advantages(name, turns, 0.9)
    for group in np.unique(turns.group):
        rows = turns.group == group
        alone = advantages(name, Turns(**{key: array[rows] for key, array in vars(turns).items()}), 0.9)
        np.testing.assert_allclose(alone, found[rows], atol=1e-9)


@given(SEEDS, LENGTHS)
def test_leave_one_out_equals_its_definition(seed: int, lengths: list[int]) -> None:
    """R_i less the mean of the others, written as a loop."""
    turns = random_groups(seed, lengths)
    returns = np.where(turns.present, turns.reward, 0.0).sum(axis=1)
    found = advantages("rloo", turns)[:, 0]
    for i, group in enumerate(turns.group):
        others = [returns[j] for j in np.flatnonzero(turns.group == group) if j != i]
        assert found[i] == pytest.approx(returns[i] - np.mean(others) if others else 0.0, abs=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_every_token_of_a_turn_gets_the_same_advantage(name: str) -> None:
    """Blocks and the rest alike, all trained, without a critic; standardised over the batch only if wanted."""
    turns = random_groups(3, [3, 5, 2, 4])
    credit = ALGORITHMS[name].credit(turns, {}, settings_of(name))
    for tokens in (credit.switch, credit.subgoal, credit.action):
        np.testing.assert_array_equal(tokens, credit.other)
    assert credit.trains_other and not credit.targets and not ALGORITHMS[name].heads(settings_of(name))
    np.testing.assert_array_equal(credit.trained_subgoal, turns.has_subgoal)
    assert credit.other[turns.present].std() != pytest.approx(1.0, abs=1e-3)
    standardised = ALGORITHMS[name].credit(turns, {}, settings_of(name, normalize=True)).other[turns.present]
    assert (standardised.mean(), standardised.std()) == (pytest.approx(0.0, abs=1e-9), pytest.approx(1.0, abs=1e-6))
