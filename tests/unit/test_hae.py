"""Hierarchical advantage estimation: worked numbers, identities, invariances, and what HiPER deals out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from credit_arrays import (
    make_turns,
    permuted_and_padded,
    prefix,
    random_turns,
    random_values,
    settings_of,
    widen,
)
from hypothesis import given
from hypothesis import strategies as st

from hiper import plugins
from hiper.algorithms import hiper
from hiper.algorithms.hae import Hierarchy, hierarchical_advantages
from hiper.algorithms.hiper import HiperSettings
from hiper.algorithms.interface import Credit, Turns
from hiper.algorithms.registry import ALGORITHMS
from hiper.algorithms.returns import discounted_returns, discounts, generalized_advantages, next_values
from hiper.algorithms.unexplained import Unexplained
from hiper.layers import available

LENGTHS = st.lists(st.integers(1, 7), min_size=1, max_size=5)
SEEDS = st.integers(0, 2**32 - 1)
HEADS = ("low", "high", "switch", "low_previous")


def levels_of(turns: Turns, values: dict[str, Any], **settings: Any) -> Hierarchy:
    return hiper.estimate(turns, values, settings_of("hiper", **settings))


# One trajectory of four turns, segments {0, 1} and {2, 3}: SWITCH KEEP SWITCH KEEP.
# rewards 1 2 3 4; V_low 1 1 1 1; V_high 2 . 6 . ; γ = 0.5
FOUR = make_turns([4], reward=[[1.0, 2.0, 3.0, 4.0]], switch=[[True, False, True, False]])
FOUR_VALUES = {
    "low": np.array([[1.0, 1.0, 1.0, 1.0, 10.0]]),
    "high": np.array([[2.0, -50.0, 6.0, -50.0, 20.0]]),  # off boundaries a value must not matter
    "switch": np.array([[0.5, 0.5, 0.5, 0.5, np.nan]]),
}


def test_low_level_by_hand() -> None:
    """In-segment GAE, V_high of the next boundary at the end of an inner segment, 0 after termination."""
    levels = levels_of(FOUR, FOUR_VALUES, gamma=0.5, lam_turn=0.5)
    # δ3 = 4 − 1 = 3                        A3 = 3
    # δ2 = 3 + 0.5 · 1 − 1 = 2.5            A2 = 2.5 + 0.25 · 3 = 3.25
    # δ1 = 2 + 0.5 · V_high[2] (6) − 1 = 4  A1 = 4   (reset: turn 1 ends its segment)
    # δ0 = 1 + 0.5 · 1 − 1 = 0.5            A0 = 0.5 + 0.25 · 4 = 1.5
    np.testing.assert_allclose(levels.low, [[1.5, 4.0, 3.25, 3.0]])
    np.testing.assert_allclose(levels.low_return, [[2.5, 5.0, 4.25, 4.0]])


def test_high_level_by_hand() -> None:
    """Segments as steps whose discount is γ to the power of their length."""
    levels = levels_of(FOUR, FOUR_VALUES, gamma=0.5, lam_seg=0.8)
    # r̃_1 = 3 + 0.5 · 4 = 5            δ_1 = 5 − 6 = −1
    # r̃_0 = 1 + 0.5 · 2 = 2, γ̃ = 0.25  δ_0 = 2 + 0.25 · 6 − 2 = 1.5;  A_0 = 1.5 + 0.25 · 0.8 · (−1) = 1.3
    np.testing.assert_allclose(levels.high, [[1.3, 0.0, -1.0, 0.0]])
    np.testing.assert_allclose(levels.high_return, [[3.3, 0.0, 5.0, 0.0]])


def test_return_form_of_the_switch_level_by_hand() -> None:
    """In-segment Monte-Carlo return, V_high at the next boundary, minus V_switch; λ plays no part."""
    levels = levels_of(FOUR, FOUR_VALUES, gamma=0.5, lam_turn=0.3, lam_seg=0.1)
    # R3 = 4; R2 = 3 + 2 = 5; R1 = 2 + 0.5 · 6 = 5; R0 = 1 + 0.5 · 5 = 3.5
    np.testing.assert_allclose(levels.segment_return, [[3.5, 5.0, 5.0, 4.0]])
    np.testing.assert_allclose(levels.switch, [[3.0, 4.5, 4.5, 3.5]])


def test_paper_form_of_the_switch_level_by_hand() -> None:
    """(q − β)(V_high(s_t) − V_low(s_t, o_{t−1})) at every turn."""
    turns = replace(FOUR, switch_probability=np.array([[0.9, 0.25, 0.25, 0.5]]))
    values = {
        "low": FOUR_VALUES["low"],
        "high": np.array([[2.0, 3.0, 6.0, 1.0, 0.0]]),
        "low_previous": np.array([[0.0, 1.0, 2.0, 5.0, 0.0]]),
    }
    # 0.1 · (2 − 0); −0.25 · (3 − 1); 0.75 · (6 − 2); −0.5 · (1 − 5)
    levels = levels_of(turns, values, switch_advantage="paper")
    np.testing.assert_allclose(levels.switch, [[0.2, -0.5, 3.0, 2.0]])


def test_truncation_bootstraps_from_the_next_state_by_hand() -> None:
    """The last segment of a truncated trajectory ends in the values behind its last turn, or in 0 by setting."""
    turns = replace(FOUR, terminated=np.array([False]))
    levels = levels_of(turns, FOUR_VALUES, gamma=0.5, lam_turn=0.0)
    # low at the last turn: 4 + 0.5 · 10 − 1 = 8; high of the last segment: 3 + 2 + 0.25 · 20 − 6 = 4
    # switch at the last turn: 4 + 0.5 · 20 − 0.5 = 13.5
    assert (levels.low[0, 3], levels.high[0, 2], levels.switch[0, 3]) == pytest.approx((8.0, 4.0, 13.5))
    off = levels_of(turns, FOUR_VALUES, gamma=0.5, bootstrap_truncated=False)
    terminated = levels_of(FOUR, FOUR_VALUES, gamma=0.5)
    for name in ("low", "high", "switch"):
        np.testing.assert_array_equal(getattr(off, name), getattr(terminated, name))


def test_the_boundary_trace_by_hand() -> None:
    """after_segment = V_high + λ_b · A_high at the boundary that ends a segment, for actions and switches; the subgoal
    level is as without."""
    levels = levels_of(FOUR, FOUR_VALUES, gamma=0.5, lam_turn=0.5, lam_seg=0.8, lam_boundary=0.5)
    # A_high[2] = −1 as without, so after_segment = 6 + 0.5 · (−1) = 5.5 where 6 stood
    # δ1 = 2 + 0.5 · 5.5 − 1 = 3.75; A0 = 0.5 + 0.25 · 3.75;  R1 = 2 + 0.5 · 5.5, R0 = 1 + 0.5 · 4.75
    np.testing.assert_allclose(levels.low, [[1.4375, 3.75, 3.25, 3.0]])
    np.testing.assert_allclose(levels.segment_return, [[3.375, 4.75, 5.0, 4.0]])
    np.testing.assert_allclose(levels.high, [[1.3, 0.0, -1.0, 0.0]])
    np.testing.assert_allclose(levels.returns, [[3.25, 4.5, 5.0, 4.0]])


@given(SEEDS, LENGTHS, st.floats(0, 1), st.booleans())
def test_with_every_lambda_one_each_level_is_the_return_less_its_baseline(
    seed: int, lengths: list[int], gamma: float, without_cut: bool
) -> None:
    """Whatever the episode and the critics: A_low = G − V_low, A_high = G − V_high, A_switch = G − V_switch, and every
    head's target is G. Where a truncated episode bootstraps, γ^k V stands in G for what it would still have earned."""
    rng = np.random.default_rng(seed)
    turns = random_turns(rng, lengths)
    values = random_values(rng, turns, HEADS)
    rows = np.arange(len(lengths))
    values["low"][rows, lengths] = values["high"][rows, lengths]  # one and the same state
    levels = levels_of(
        turns, values, gamma=gamma, lam_turn=1.0, lam_seg=1.0, lam_boundary=1.0, bootstrap_truncated=not without_cut
    )
    returns = discounted_returns(turns.reward, turns.present, gamma)
    np.testing.assert_array_equal(levels.returns, returns)
    if not without_cut:
        left = np.maximum(np.array(lengths)[:, None] - np.arange(returns.shape[1]), 0)
        returns = returns + gamma**left * (values["high"][rows, lengths] * ~turns.terminated)[:, None]
    spans = {"low": turns.present, "high": levels.boundary & turns.has_subgoal, "switch": turns.has_switch}
    targets = {"low": levels.low_return, "high": levels.high_return, "switch": levels.segment_return}
    learned = {"low": turns.present, "high": levels.boundary, "switch": turns.present}
    for name, span in spans.items():
        found = getattr(levels, name)
        np.testing.assert_allclose(found, np.where(span, returns - values[name][:, :-1], 0.0), atol=1e-12)
        np.testing.assert_allclose(targets[name], np.where(learned[name], returns, 0.0), atol=1e-12)


@given(SEEDS, LENGTHS, st.floats(0, 1), st.floats(0, 1))
def test_the_targets_lambda_leaves_the_advantages_alone(
    seed: int, lengths: list[int], gamma: float, lam: float
) -> None:
    """Every level's targets are those of an estimate whose λs are all that one, whatever the advantages' are: for 1 the
    returns. Null: those that belong to the advantages."""
    rng = np.random.default_rng(seed)
    turns = random_turns(rng, lengths)
    values = random_values(rng, turns, HEADS)
    own = {"gamma": gamma, "lam_turn": 0.4, "lam_seg": 0.7, "lam_boundary": 0.2, "bootstrap_truncated": False}

    def estimate(**given: Any) -> hiper.Hierarchy:
        return hiper.estimate(turns, values, settings_of("hiper", **{**own, **given}))

    plain, apart = estimate(), estimate(target_lambda=lam)
    alike = estimate(lam_turn=lam, lam_seg=lam, lam_boundary=lam)
    for name in ("low", "high", "switch"):
        np.testing.assert_array_equal(getattr(apart, name), getattr(plain, name))
    for name in ("low_return", "high_return", "segment_return"):
        np.testing.assert_array_equal(getattr(apart, name), getattr(alike, name))
    np.testing.assert_array_equal(plain.low_return, plain.low + np.where(turns.present, values["low"][:, :-1], 0.0))
    returns = estimate(target_lambda=1.0)
    np.testing.assert_allclose(returns.low_return, returns.returns, atol=1e-12)
    np.testing.assert_allclose(returns.high_return, np.where(returns.boundary, returns.returns, 0.0), atol=1e-12)


@given(SEEDS, LENGTHS, st.floats(0, 1), st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_between_the_ends_the_trace_interpolates(
    seed: int, lengths: list[int], gamma: float, lam_turn: float, lam_seg: float, lam_boundary: float
) -> None:
    """Every level is linear in λ_b, so its bias is (1 − λ_b) times the published method's where λ_b = 1 has none."""
    rng = np.random.default_rng(seed)
    turns = random_turns(rng, lengths)
    values = random_values(rng, turns, HEADS)
    ends, between = [
        [levels_of(turns, values, gamma=gamma, lam_turn=lam_turn, lam_seg=lam_seg, lam_boundary=lam) for lam in lams]
        for lams in ((0.0, 1.0), (lam_boundary,))
    ]
    for name in ("low", "high", "switch"):
        published, traced = (getattr(one, name) for one in ends)
        wanted = (1.0 - lam_boundary) * published + lam_boundary * traced
        np.testing.assert_allclose(getattr(between[0], name), wanted, atol=1e-12)


@given(SEEDS, LENGTHS, st.floats(0, 1), st.floats(0, 1))
def test_with_a_switch_every_turn_actions_learn_from_the_subgoal_levels_trace(
    seed: int, lengths: list[int], gamma: float, lam_seg: float
) -> None:
    """r + γ (V_high + A_high) of the next turn, whatever λ_turn: TD(λ_seg) with V_high less V_low."""
    rng = np.random.default_rng(seed)
    turns = replace(random_turns(rng, lengths), switch=prefix(lengths), has_subgoal=prefix(lengths))
    values = random_values(rng, turns, HEADS)
    rows = np.arange(len(lengths))
    values["low"][rows, lengths] = values["high"][rows, lengths]
    levels = levels_of(turns, values, gamma=gamma, lam_turn=0.3, lam_seg=lam_seg, lam_boundary=1.0)
    bootstrap = values["high"][rows, lengths]
    following = next_values(values["high"][:, :-1] + levels.high, bootstrap, turns.present)
    expected = turns.reward + discounts(turns.present, turns.terminated, gamma) * following
    np.testing.assert_allclose(levels.low, np.where(turns.present, expected - values["low"][:, :-1], 0.0), atol=1e-12)


@given(SEEDS, LENGTHS, st.floats(0, 1))
def test_without_switches_there_is_no_boundary_to_trace_through(
    seed: int, lengths: list[int], lam_boundary: float
) -> None:
    """One segment per trajectory: λ_b changes nothing, to the bit."""
    rng = np.random.default_rng(seed)
    turns = replace(random_turns(rng, lengths), switch=np.zeros_like(prefix(lengths)))
    values = random_values(rng, turns, HEADS)
    published, traced = (levels_of(turns, values, lam_turn=0.8, lam_boundary=lam) for lam in (0.0, lam_boundary))
    for name in ("low", "high", "switch", "low_return", "high_return", "segment_return"):
        np.testing.assert_array_equal(getattr(traced, name), getattr(published, name))


def test_auto_traces_as_far_as_the_critic_leaves_returns_unexplained() -> None:
    """λ_b = 1 − explained variance of V_high at boundaries: 0 where V_high is the return but for a constant, 1 where it
    is a constant or worse, and one number for the batch in between."""
    rng = np.random.default_rng(0)
    turns = replace(random_turns(rng, [7, 5, 6, 7]), terminated=np.ones(4, dtype=bool))
    values = random_values(rng, turns, HEADS)
    returns = discounted_returns(turns.reward, turns.present, 0.9)
    for high, wanted in ((returns + 3.0, 0.0), (0.0 * returns, 1.0), (-2.0 * returns, 1.0), (0.5 * returns, 0.25)):
        given = values | {"high": np.pad(high, ((0, 0), (0, 1)))}
        assert hiper.unexplained(turns, given, settings_of("hiper", gamma=0.9)).share == pytest.approx(wanted, abs=1e-9)
        auto, number = (levels_of(turns, given, gamma=0.9, lam_boundary=lam) for lam in ("auto", wanted))
        np.testing.assert_allclose(auto.low, number.low, atol=1e-9)


def test_auto_remembers_batches_by_how_much_their_returns_differ() -> None:
    """Nothing known: trace all the way. A batch without differences changes nothing; ten batches count, so that one odd
    one moves λ_b by a tenth of the way; a long series of equal ones is its own average."""
    assert Unexplained().share == 1.0 == Unexplained.of(np.zeros(0), np.zeros(0)).share
    known = Unexplained().then(Unexplained(left=0.6, total=1.0))
    assert known.share == pytest.approx(0.6)
    assert known.then(Unexplained()).share == pytest.approx(0.6)
    settled = known
    for _ in range(200):
        settled = settled.then(Unexplained(left=0.6, total=1.0))
    assert settled.total == pytest.approx(1.0) and settled.share == pytest.approx(0.6)
    assert settled.then(Unexplained(left=1.0, total=1.0)).share == pytest.approx(0.64)


def test_turn_zero_opens_a_segment_whatever_its_switch_says() -> None:
    """KEEP on the first turn has nothing to keep."""
    keep_first = replace(FOUR, switch=np.array([[False, False, True, False]]))
    np.testing.assert_array_equal(levels_of(keep_first, FOUR_VALUES).high, levels_of(FOUR, FOUR_VALUES).high)


@given(SEEDS, LENGTHS, st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_with_a_switch_every_turn_the_high_level_is_ordinary_gae(
    seed: int, lengths: list[int], gamma: float, lam_turn: float, lam_seg: float
) -> None:
    """Segments of length one: γ̃ = γ, and λ_seg is the trace decay of turn-level GAE with V_high."""
    rng = np.random.default_rng(seed)
    turns = replace(random_turns(rng, lengths), switch=prefix(lengths), has_subgoal=prefix(lengths))
    values = random_values(rng, turns, HEADS)
    levels = levels_of(turns, values, gamma=gamma, lam_turn=lam_turn, lam_seg=lam_seg)
    expected = flat_gae(turns, values["high"], gamma, lam_seg)
    np.testing.assert_allclose(levels.high, expected, atol=1e-12)


@given(SEEDS, LENGTHS, st.floats(0, 1), st.floats(0, 1))
def test_without_switches_the_low_level_is_ordinary_gae_and_the_high_level_a_full_return(
    seed: int, lengths: list[int], gamma: float, lam_turn: float
) -> None:
    """One segment per trajectory: A_low is turn-level GAE with V_low, A_high = G_0 + bootstrap − V_high(s_0)."""
    rng = np.random.default_rng(seed)
    turns = replace(random_turns(rng, lengths), switch=np.zeros_like(prefix(lengths)), has_subgoal=prefix(lengths))
    values = random_values(rng, turns, HEADS)
    levels = levels_of(turns, values, gamma=gamma, lam_turn=lam_turn)
    np.testing.assert_allclose(levels.low, flat_gae(turns, values["low"], gamma, lam_turn), atol=1e-12)
    ends = values["high"][np.arange(len(lengths)), lengths] * ~turns.terminated * gamma ** np.array(lengths)
    returns = discounted_returns(turns.reward, turns.present, gamma)[:, 0]
    np.testing.assert_allclose(levels.high[:, 0], returns + ends - values["high"][:, 0], atol=1e-12)
    assert not levels.high[:, 1:].any()


@given(SEEDS, LENGTHS, st.floats(0, 1))
def test_at_lambda_one_the_switch_target_is_the_low_target(seed: int, lengths: list[int], gamma: float) -> None:
    """R_switch ≡ A_low + V_low at λ_turn = 1, where both bootstrap from the same value after the last turn."""
    rng = np.random.default_rng(seed)
    turns = random_turns(rng, lengths)
    values = random_values(rng, turns, HEADS)
    rows = np.arange(len(lengths))
    values["low"][rows, lengths] = values["high"][rows, lengths]
    levels = levels_of(turns, values, gamma=gamma, lam_turn=1.0)
    np.testing.assert_allclose(levels.segment_return, levels.low_return, atol=1e-12)


@given(SEEDS, LENGTHS, st.sampled_from(["return", "paper", "none"]), st.booleans(), st.floats(0, 1))
def test_vectorised_levels_equal_loops_over_segments(
    seed: int, lengths: list[int], form: str, bootstrap_truncated: bool, lam_boundary: float
) -> None:
    """Against the definitions, written with explicit segments."""
    rng = np.random.default_rng(seed)
    turns = random_turns(rng, lengths)
    values = random_values(rng, turns, HEADS)
    settings = settings_of(
        "hiper",
        gamma=0.9,
        lam_turn=0.8,
        lam_seg=0.7,
        lam_boundary=lam_boundary,
        switch_advantage=form,
        bootstrap_truncated=bootstrap_truncated,
    )
    rows = np.arange(len(lengths))
    real = ~turns.terminated & bootstrap_truncated
    bootstrap_low, bootstrap_high = (values[name][rows, lengths] * real for name in ("low", "high"))
    levels = hierarchical_advantages(
        turns.reward, turns.switch, turns.present, turns.terminated,
        values["low"][:, :-1], values["high"][:, :-1],
        gamma=0.9, lam_turn=0.8, lam_seg=0.7, lam_boundary=lam_boundary,
        bootstrap_low=bootstrap_low, bootstrap_high=bootstrap_high, switch_advantage=form,
        value_switch=values["switch"][:, :-1], value_low_previous=values["low_previous"][:, :-1],
        switch_probability=turns.switch_probability,
    )  # fmt: skip
    for i, length in enumerate(lengths):
        low, high, returns = by_segments(turns, values, i, settings, (bootstrap_low[i], bootstrap_high[i]))
        np.testing.assert_allclose(levels.low[i, :length], low, atol=1e-12)
        np.testing.assert_allclose(levels.high[i, :length], high, atol=1e-12)
        np.testing.assert_allclose(levels.segment_return[i, :length], returns, atol=1e-12)
        if form == "none":
            assert not levels.switch[i].any()
    for name in ("low", "high", "switch", "low_return", "high_return", "segment_return"):
        assert not getattr(levels, name)[~turns.present].any()


@given(SEEDS, LENGTHS, st.sampled_from(["return", "paper", "none"]), st.booleans(), st.sampled_from([0.0, 0.6, "auto"]))
def test_padding_and_the_order_of_trajectories_do_not_matter(
    seed: int, lengths: list[int], form: str, normalize: bool, lam_boundary: Any
) -> None:
    """Wider arrays full of NaN and permuted rows give the same credit, permuted."""
    rng = np.random.default_rng(seed)
    turns = random_turns(rng, lengths)
    values = random_values(rng, turns, ("low", "high", "switch" if form == "return" else "low_previous"))
    settings = settings_of(
        "hiper",
        gamma=0.9,
        lam_turn=0.8,
        lam_seg=0.7,
        lam_boundary=lam_boundary,
        switch_advantage=form,
        normalize=normalize,
        penalties={"invalid": 0.1, "keep": -0.3, "keep_mode": "normalized", "consistency": -0.2},
    )
    expected = hiper.credit(turns, values, settings)
    order = rng.permutation(len(lengths))
    wide_values = {name: widen(array, np.nan)[order] for name, array in values.items()}
    credit = hiper.credit(permuted_and_padded(turns, order), wide_values, settings)
    columns = turns.present.shape[1]
    for name in ("switch", "subgoal", "action", "other", "trained_subgoal"):
        np.testing.assert_allclose(getattr(credit, name)[:, :columns], getattr(expected, name)[order], atol=1e-9)
        assert not getattr(credit, name)[:, columns:].any()
    assert credit.targets.keys() == expected.targets.keys() == hiper.heads(settings).keys()
    for name, (target, mask) in credit.targets.items():
        np.testing.assert_allclose(target[:, :columns], expected.targets[name][0][order], atol=1e-9)
        np.testing.assert_array_equal(mask[:, :columns], expected.targets[name][1][order])


def test_blocks_get_their_own_level() -> None:
    """Action A_low, subgoal A_high at boundaries, switch A_switch, nothing elsewhere; a missing block gets nothing."""
    turns = replace(FOUR, has_switch=np.array([[True, True, True, False]]))
    levels, credit = levels_of(turns, FOUR_VALUES), hiper.credit(turns, FOUR_VALUES, settings_of("hiper"))
    np.testing.assert_array_equal(credit.action, levels.low)
    np.testing.assert_array_equal(credit.subgoal, levels.high)
    np.testing.assert_array_equal(credit.switch, levels.switch)
    assert credit.switch[0, 3] == 0.0
    assert not credit.other.any() and not credit.trains_other
    assert credit.trained_subgoal.tolist() == [[True, False, True, False]]


def test_without_an_action_block_the_whole_response_is_the_action() -> None:
    """A_low goes to every token of such a turn, on top of what switch and subgoal carry."""
    turns = replace(FOUR, has_action=np.array([[False, False, True, True]]))
    levels, credit = levels_of(turns, FOUR_VALUES), hiper.credit(turns, FOUR_VALUES, settings_of("hiper"))
    low = levels.low[0]
    np.testing.assert_allclose(credit.other, [[low[0], low[1], 0.0, 0.0]])
    np.testing.assert_allclose(credit.subgoal[0, :2], [levels.high[0, 0] + low[0], low[1]])
    np.testing.assert_allclose(credit.switch[0, :2], levels.switch[0, :2] + low[:2])
    assert credit.trained_subgoal.tolist() == [[True, True, True, False]]


def test_each_level_is_normalised_over_its_own_turns() -> None:
    """Mean 0 and standard deviation 1 over all turns (low), boundaries with a subgoal (high), turns with a switch."""
    rng = np.random.default_rng(0)
    turns = random_turns(rng, [9, 7, 8])
    values = random_values(rng, turns, HEADS)
    levels = levels_of(turns, values, normalize=True)
    masks = (turns.present, levels.boundary & turns.has_subgoal, turns.has_switch)
    for level, mask in zip((levels.low, levels.high, levels.switch), masks, strict=True):
        assert level[mask].mean() == pytest.approx(0.0, abs=1e-9)
        assert level[mask].std() == pytest.approx(1.0, abs=1e-6)
    plain = levels_of(turns, values, normalize=False)
    np.testing.assert_array_equal(levels.low_return, plain.low_return)  # targets keep their scale


def test_heads_follow_the_switch_form() -> None:
    """Only the return form has a switch head, and only the paper form needs V_low(s_t, o_{t−1})."""
    assert dict(hiper.heads(settings_of("hiper"))) == {"low": "after_subgoal", "high": "prompt", "switch": "prompt"}
    for form in ("paper", "none"):
        settings = settings_of("hiper", switch_advantage=form)
        assert dict(hiper.heads(settings)) == {"low": "after_subgoal", "high": "prompt"}
        assert list(hiper.previous(settings)) == (["low"] if form == "paper" else [])
    values = {"low": FOUR_VALUES["low"], "high": FOUR_VALUES["high"]}
    assert not hiper.credit(FOUR, values, settings_of("hiper", switch_advantage="none")).switch.any()
    with pytest.raises(ValueError, match="'paper'"):
        hiper.credit(FOUR, values, settings_of("hiper", switch_advantage="paper"))


def test_the_registry_knows_the_configured_names() -> None:
    """Each algorithm of ours has a file of defaults."""
    assert plugins.BUILT_IN[plugins.ALGORITHMS].keys() <= set(available("algorithm", Path(__file__).parents[2]))
    assert isinstance(ALGORITHMS["hiper"].credit(FOUR, FOUR_VALUES, settings_of("hiper")), Credit)


def test_the_paper_form_is_a_centred_advantage() -> None:
    """E over q ~ β of (q − β)·gain is 0, and the two choices differ by the gain."""
    beta = 0.3
    values = {"low": np.zeros((1, 2)), "high": np.array([[5.0, 0.0]]), "low_previous": np.array([[1.0, 0.0]])}
    choices = [make_turns([1], switch=[[q]], switch_probability=[[beta]]) for q in (False, True)]
    chosen = [levels_of(turns, values, switch_advantage="paper").switch[0, 0] for turns in choices]
    assert (1 - beta) * chosen[0] + beta * chosen[1] == pytest.approx(0.0)
    assert chosen[1] - chosen[0] == pytest.approx(4.0)


def test_segments_lower_the_variance_of_action_credit() -> None:
    """Exact values, λ = 1: the low-level estimate has the flat estimate's mean and a smaller variance.

    Each episode draws a subgoal o ∈ {−1, +1}, earns o + noise twice, then (a new boundary) pure noise twice. All noise
    has variance 1 and γ = 1. Flat: G_0 − V(s_0) with V(s_0) = 0 has variance Var(2·o) + 4 = 8. HAE: the tail is
    replaced by V_high = 0 and V_low = 2·o is subtracted: variance 2.
    """
    rng, episodes = np.random.default_rng(0), 20_000
    subgoal = rng.choice([-1.0, 1.0], size=episodes)
    reward = rng.normal(size=(episodes, 4)) + subgoal[:, None] * np.array([1.0, 1.0, 0.0, 0.0])
    switch = np.tile([True, False, True, False], (episodes, 1))
    turns = make_turns([4] * episodes, reward=reward, switch=switch)
    to_come = subgoal[:, None] * np.array([2.0, 1.0, 0.0, 0.0, 0.0])
    values = {"low": to_come, "high": np.zeros((episodes, 5)), "switch": np.zeros((episodes, 5))}
    hierarchical = levels_of(turns, values).low[:, 0]
    flat = flat_gae(turns, np.zeros((episodes, 5)), 1.0, 1.0)[:, 0]
    assert flat.mean() == pytest.approx(hierarchical.mean(), abs=0.1)
    assert hierarchical.var() == pytest.approx(2.0, rel=0.05)
    assert flat.var() == pytest.approx(8.0, rel=0.05)


def flat_gae(turns: Turns, values: Any, gamma: float, lam: float) -> Any:
    """Turn-level GAE, bootstrapped at truncation from the column behind the last turn."""
    rows, count = np.arange(len(values)), turns.present.sum(axis=1)
    following = next_values(values[:, :-1], values[rows, count], turns.present)
    discount = discounts(turns.present, turns.terminated, gamma)
    return generalized_advantages(turns.reward, values[:, :-1], following, discount, lam * turns.present, turns.present)


def by_segments(
    turns: Turns, values: dict[str, Any], i: int, settings: HiperSettings, bootstrap: tuple[float, float]
) -> tuple[Any, Any, Any]:
    """(A_low, A_high, segment returns) of trajectory i by loops over its segments, last to first."""
    gamma, length = settings.gamma, int(turns.present[i].sum())
    reward, low_values, high_values = turns.reward[i], values["low"][i], values["high"][i]
    starts = [t for t in range(length) if t == 0 or turns.switch[i, t]]
    low, high, returns = (np.zeros(length) for _ in range(3))
    later = 0.0
    for start, stop in reversed(list(zip(starts, [*starts[1:], length], strict=True))):
        after_low, after_high = bootstrap if stop == length else (high_values[stop], high_values[stop])
        traced = 0.0 if stop == length else settings.lam_boundary * later
        carried, following, to_go = 0.0, after_low + traced, after_high + traced
        for t in range(stop - 1, start - 1, -1):
            carried = reward[t] + gamma * following - low_values[t] + gamma * settings.lam_turn * carried
            low[t], following = carried, low_values[t]
            to_go = returns[t] = reward[t] + gamma * to_go
        discount = gamma ** (stop - start)
        earned = sum(gamma ** (t - start) * reward[t] for t in range(start, stop))
        later = earned + discount * after_high - high_values[start] + discount * settings.lam_seg * later
        high[start] = later
    return low, high, returns
