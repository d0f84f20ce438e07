"""The second tier of algorithms and losses: worked numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from credit_arrays import make_turns, settings_of
from pipeline import VLLM, run_settings

from hiper.algorithms.registry import ALGORITHMS
from hiper.errors import UserError
from hiper.learning import losses

# Two won episodes of one turn and two, a lost one of three; | begins a subgoal: |w, |. w, |. |.
THREE = make_turns(
    [1, 2, 3],
    switch=[[True, False, False], [True, False, False], [True, False, True]],
    reward=[[1, 9, 9], [0, 1, 9], [0, 0, 0]],
    won=[True, True, False],
    group=[0, 0, 0],
)


def loss(
    name: str, ratio: list[float], advantage: list[float], turn: list[int] | None = None, **training: object
) -> tuple[float, int, list[float]]:
    """The loss, the number of clipped tokens and the gradient by log π; tokens were drawn with probability 1, of one
    turn unless `turn` says of which."""
    logprob = torch.tensor(ratio, dtype=torch.float64).log().requires_grad_()
    settings = run_settings(**{f"training__{key}": value for key, value in training.items()}).training
    turns = torch.tensor(turn or [0] * len(ratio))
    tokens = losses.Tokens(logprob, torch.zeros(len(ratio)), torch.tensor(advantage, dtype=torch.float64), turns)
    value, clipped = losses.token_loss(name)(tokens, settings)
    (gradient,) = torch.autograd.grad(value, logprob)
    return float(value), int(clipped), gradient.tolist()


def test_cispo_keeps_the_gradient_of_every_token() -> None:
    """Weights 1.2 (clipped), 0.5 and 1.2 (clipped) times −A; PPO would give the first nothing."""
    _, clipped, gradient = loss("cispo", [1.5, 0.5, 2.0], [1.0, 1.0, -2.0], clip_low=1.0, clip_high=0.2)
    assert clipped == 2
    np.testing.assert_allclose(gradient, [-1.2, -0.5, 2.4])


def test_dispo_clips_its_four_regimes_apart() -> None:
    """Good and likelier: up to 11; good and rarer: not below 0.8; bad and likelier: up to 101; bad and rarer: as is."""
    _, clipped, gradient = loss("dispo", [20.0, 0.5, 300.0, 0.01], [1.0, 1.0, -1.0, -1.0])
    assert clipped == 3
    np.testing.assert_allclose(gradient, [-11.0, -0.8, 101.0, 0.01])
    own = {"good_low": 0.2, "good_high": 1.0, "bad_low": 0.5, "bad_high": 3.0}
    _, clipped, gradient = loss("dispo", [20.0, 0.5, 300.0, 0.01], [1.0, 1.0, -1.0, -1.0], dispo=own)
    assert clipped == 4
    np.testing.assert_allclose(gradient, [-2.0, -0.8, 4.0, 0.5])


def test_on_the_policy_that_played_all_losses_have_the_gradient_of_reinforce() -> None:
    """ρ = 1: −A by log π, whatever the loss."""
    advantages = [1.0, -2.0, 0.5]
    for name in losses.TOKEN_LOSSES:
        _, _, gradient = loss(name, [1.0, 1.0, 1.0], advantages)
        np.testing.assert_allclose(gradient, [-1.0, 2.0, -0.5], err_msg=name)


def test_gbpo_draws_ratios_to_their_targets_from_both_sides() -> None:
    """Targets 1.3 and 0.7: |1 − 1.3|·2 + |1.5 − 1.3|·1 + |0.9 − 0.7|·1; the second has passed its own and is drawn
    back."""
    value, clipped, gradient = loss("gbpo", [1.0, 1.5, 0.9], [2.0, 1.0, -1.0])
    assert value == pytest.approx(0.6 + 0.2 + 0.2) and clipped == 1
    np.testing.assert_allclose(gradient, [-2.0, 1.5, 0.9])
    assert loss("gbpo", [1.0], [0.0])[0] == 0.0


def test_fiberpo_clips_a_turn_and_its_tokens_apart() -> None:
    """Turn 5 moved by log 2 on average, more than log 1.5: its first token adds log (4 / 1.5), more than log 2, its
    second log (1 / 1.5). Gated ratios 3 and 1; neither turn nor first token has a gradient, the second token has its
    own. Turn 2 is within both bounds: its token has the plain ratio."""
    bounds = {"turn": float(np.log(1.5)), "token": float(np.log(2.0))}
    value, clipped, gradient = loss("fiberpo", [4.0, 1.0, 1.2], [1.0, 2.0, -1.0], [5, 5, 2], fiberpo=bounds)
    assert value == pytest.approx(-3.0 - 2.0 + 1.2) and clipped == 2
    np.testing.assert_allclose(gradient, [0.0, -2.0, 1.2])
    # a turn within its bound, √(4.84 / 4) = 1.1, whose first token is not: 1.1 · 2, which both tokens move alike
    value, clipped, gradient = loss("fiberpo", [4.84, 0.25], [1.0, 0.0], fiberpo=bounds)
    assert value == pytest.approx(-2.2) and clipped == 2
    np.testing.assert_allclose(gradient, [-1.1, -1.1])


def test_planning_tokens_learn_more_from_success_and_less_from_failure() -> None:
    """HICRA with α = 0.2 on A = ±1/3, ∓2/3: switch and subgoal tokens get 1.2 A or 0.8 A, others A."""
    settings = settings_of("grpo", planning_weight=0.2)
    credit = ALGORITHMS["grpo"].credit(THREE, {}, settings)
    np.testing.assert_allclose(credit.action[:, 0], [1 / 3, 1 / 3, -2 / 3])
    np.testing.assert_allclose(credit.switch[:, 0], [0.4, 0.4, -1.6 / 3])
    np.testing.assert_array_equal(credit.subgoal, credit.switch)
    np.testing.assert_array_equal(credit.other, credit.action)


def test_normal_scores_go_by_rank() -> None:
    """Returns 1, 1, 0: two share the ranks 2 and 3, (2.5 − ½) / 3; one has (1 − ½) / 3."""
    settings = settings_of("grpo", group={"by_rank": True})
    found = ALGORITHMS["grpo"].credit(THREE, {}, settings).other[:, 0]
    np.testing.assert_allclose(found, [0.430727, 0.430727, -0.967422], atol=1e-6)  # Φ⁻¹ of 2/3 and 1/6
    alike = make_turns([1, 1, 2], reward=[[1, 9], [1, 9], [0, 1]], group=[0, 0, 0])
    assert not ALGORITHMS["grpo"].credit(alike, {}, settings).other.any()


@pytest.mark.parametrize(("prefer", "weight"), [("shorter", 1.0), ("longer", 0.1)])
def test_adora_trusts_groups_whose_successes_look_as_they_should(prefer: str, weight: float) -> None:
    """Wins of one and two turns, a loss of three: quick wins, and no long ones."""
    found = ALGORITHMS["adora"].credit(THREE, {}, settings_of("adora", prefer=prefer, discount=0.1)).other[:, 0]
    np.testing.assert_allclose(found, weight * np.array([1 / 3, 1 / 3, -2 / 3]))


def test_dvao_weighs_objectives_by_how_much_a_group_differs_in_them() -> None:
    """Rewards 4, 0, success 1, 0, all well-formed: (2 · 1 + ½ · 2) / (2 · 1 + ½ · 2) = ±1; form takes no part."""
    turns = make_turns([1, 1], reward=[[4.0], [0.0]], group=[0, 0], won=[True, False])
    weights = {"reward": 1.0, "success": 2.0, "form": 5.0}
    found = ALGORITHMS["dvao"].credit(turns, {}, settings_of("dvao", objectives=weights)).other[:, 0]
    np.testing.assert_allclose(found, [1.0, -1.0], atol=1e-5)
    # one malformed answer, of the winner: (2 + 1 − 5 · ½) / (2 + 1 + 5 · ½)
    turns = make_turns([1, 1], reward=[[4.0], [0.0]], group=[0, 0], won=[True, False], valid=[[False], [True]])
    found = ALGORITHMS["dvao"].credit(turns, {}, settings_of("dvao", objectives=weights)).other[:, 0]
    np.testing.assert_allclose(found, [0.5 / 5.5, -0.5 / 5.5], atol=1e-5)


def test_mgrpo_compares_plans_by_episodes_and_actions_by_segments() -> None:
    """Segments earn 1, 1 and, of the lost episode, 0.1 twice at half the weight: mean (1 + 1 + 0.1) / 3 = 0.7."""
    credit = ALGORITHMS["mgrpo"].credit(THREE, {}, settings_of("mgrpo", lost_call=0.1))
    np.testing.assert_allclose(credit.action, [[0.3, 0, 0], [0.3, 0.3, 0], [-0.6, -0.6, -0.6]], atol=1e-12)
    np.testing.assert_allclose(credit.switch[:, 0], [1 / 3, 1 / 3, -2 / 3])
    np.testing.assert_allclose(credit.subgoal, [[1 / 3, 0, 0], [1 / 3, 0, 0], [-2 / 3, 0, -2 / 3]])
    # a malformed turn spoils its segment alone: the lost episode's first earns 0 now, the mean is (2 + 0.05) / 3
    spoiled = make_turns(
        [1, 2, 3],
        switch=THREE.switch,
        reward=THREE.reward,
        won=THREE.won,
        group=THREE.group,
        valid=[[True] * 3, [True] * 3, [True, False, True]],
    )
    found = ALGORITHMS["mgrpo"].credit(spoiled, {}, settings_of("mgrpo", lost_call=0.1)).action[2]
    np.testing.assert_allclose(found, np.array([0, 0, 0.1]) - 2.05 / 3, atol=1e-12)


def test_segments_of_an_episode_alone_in_its_group_have_nothing_to_be_compared_with() -> None:
    """However many there are, and whatever they earned: their weights, 1/n each, need not add up to 1 exactly."""
    for count in range(1, 60):
        spoiled = np.arange(count) % 2 == 0
        turns = make_turns([count], group=[0], valid=[spoiled])
        credit = ALGORITHMS["mgrpo"].credit(turns, {}, settings_of("mgrpo", lost_call=0.1))
        assert not credit.action.any() and not credit.subgoal.any()


def test_hiper_without_a_critic_compares_returns_among_blocks_of_a_kind() -> None:
    """Every turn of a won episode is followed by 1. Actions: 3 of 6 turns, mean ½; subgoals: 2 of 4 boundaries."""
    credit = ALGORITHMS["hiper_groups"].credit(THREE, {}, settings_of("hiper_groups", returns="episode"))
    half = np.array([[1, 0, 0], [1, 1, 0], [-1, -1, -1]]) / 2
    np.testing.assert_allclose(credit.action, half)
    np.testing.assert_allclose(credit.switch, half)
    np.testing.assert_allclose(credit.subgoal, half * np.array([[1, 0, 0], [1, 0, 0], [1, 0, 1]]))


def test_returns_that_stop_at_a_segments_end_tell_earlier_segments_nothing() -> None:
    """Two episodes of two segments, one won: the first segments' actions get the same, and no difference."""
    turns = make_turns([2, 2], reward=[[0, 1], [0, 0]], group=[0, 0], won=[True, False])
    found = {
        returns: ALGORITHMS["hiper_groups"].credit(turns, {}, settings_of("hiper_groups", returns=returns)).action
        for returns in ("segment", "episode")
    }
    np.testing.assert_allclose(found["segment"], [[-0.25, 0.75], [-0.25, -0.25]])
    np.testing.assert_allclose(found["episode"], [[0.5, 0.5], [-0.5, -0.5]])


def test_archer_compares_an_answer_with_its_state_by_the_lower_of_two_critics() -> None:
    """Two turns, γ = ½: A = min(3, 2) − min(1, 4) and min(0, 1) − min(2, 2). Q learns 0 + ½ · V of the next turn, then
    the reward, as the episode has ended; V learns its own Q."""
    turns = make_turns([2], reward=[[0.0, 6.0]], group=[0])
    values = {"q_1": [[3.0, 0, 9]], "q_2": [[2.0, 1, 9]], "v_1": [[1.0, 2, 9]], "v_2": [[4.0, 2, 9]]}
    settings = settings_of("archer", gamma=0.5)
    credit = ALGORITHMS["archer"].credit(turns, {name: np.array(one) for name, one in values.items()}, settings)
    np.testing.assert_allclose(credit.other, [[1.0, -2.0]])
    targets = {head: target.tolist() for head, (target, _) in credit.targets.items()}
    assert targets == {"q_1": [[1.0, 6.0]], "v_1": [[3.0, 0.0]], "q_2": [[1.0, 6.0]], "v_2": [[2.0, 1.0]]}
    with pytest.raises(UserError, match="fresh answers in the middle of updates"):
        run_settings("alfworld_test-test-archer-seed0", rollout=VLLM)
