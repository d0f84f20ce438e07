"""The theorem of docs/method.md by exact expectation: every episode of a small task, weighed with its probability."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
from subgoal_task import CRITICS, REFERENCE, SubgoalTask, policy_value, table

ROOT = Path(__file__).resolve().parents[2]
EXACT = 1e-10
POLICIES = [(REFERENCE, 1.0), (0, 1.0), (1, 0.9)]  # seed, γ


@cache
def task_of(seed: int, gamma: float) -> SubgoalTask:
    return SubgoalTask(seed, gamma)


@pytest.fixture(params=POLICIES, ids=str)
def task(request: pytest.FixtureRequest) -> SubgoalTask:
    return task_of(*request.param)


def test_all_episodes_are_counted(task: SubgoalTask) -> None:
    """Their probabilities add up to 1, their returns to the value of the policy, their scores to nothing."""
    assert task.probability.sum() == pytest.approx(1.0, abs=1e-12)
    value = policy_value(task.parameters, task.gamma)
    assert task.expectation(task.returns[:, 0]) == pytest.approx(value, abs=1e-12)
    for scores in task.scores.values():
        np.testing.assert_allclose(task.expectation(scores), 0.0, atol=1e-12)
    assert np.linalg.norm(task.gradient) > 0.01


@pytest.mark.parametrize("critic", range(4))
def test_with_every_lambda_one_the_policy_gradient_is_unbiased_whatever_the_critics(
    task: SubgoalTask, critic: int
) -> None:
    """E[Σ γ^t ∇ log π · Â] = ∇J with critics that say anything, on all three levels at once."""
    advantages = task.advantages(task.wrong_values(critic), lam_seg=1.0, lam_boundary=1.0)
    np.testing.assert_allclose(task.expectation(task.gradients(advantages)), task.gradient, atol=EXACT)


def test_the_published_method_is_biased_unless_its_critics_are_exact(task: SubgoalTask) -> None:
    """λ_b = 0: right with exact critics for any λ_seg; with a constant one actions and switches before the last
    boundary learn nothing of the outcome, and a good part of the gradient is missing."""
    for lam_seg in (0.95, 1.0):
        exact, constant, wrong = (
            task.gradients(task.advantages(values_of(task), lam_seg=lam_seg)) for values_of in CRITICS.values()
        )
        np.testing.assert_allclose(task.expectation(exact), task.gradient, atol=EXACT)
        assert task.bias(constant) > 0.25 and task.bias(wrong) > 1.0


@pytest.mark.parametrize("lam_boundary", [0.25, 0.5])
def test_the_bias_shrinks_in_proportion(task: SubgoalTask, lam_boundary: float) -> None:
    """(1 − λ_b) times that of the published method, component by component."""
    values = task.wrong_values(0)
    errors = [
        task.expectation(task.gradients(task.advantages(values, lam_seg=1.0, lam_boundary=lam))) - task.gradient
        for lam in (0.0, lam_boundary)
    ]
    np.testing.assert_allclose(errors[1], (1.0 - lam_boundary) * errors[0], atol=EXACT)


def test_the_trace_of_the_shipped_settings_is_nearly_unbiased(task: SubgoalTask) -> None:
    """`hiper_traced` keeps λ_seg = 0.95: what is left is a twentieth of the published method's bias or less."""
    for values_of in (SubgoalTask.constant_values, lambda one: one.wrong_values(1)):
        published, traced = (
            task.bias(task.gradients(task.advantages(values_of(task), lam_seg=0.95, lam_boundary=lam)))
            for lam in (0.0, 1.0)
        )
        assert 0.0 < traced < published / 20


def test_variance_is_the_price(task: SubgoalTask) -> None:
    """With exact critics λ_b = 0 is the least noisy of the estimates, λ_b = 1 the noisiest, and none beats the exact
    advantages."""
    values = task.exact_values()
    found = [task.advantages(values, lam_seg=1.0, lam_boundary=lam) for lam in (0.0, 0.5, 1.0)]
    noise = [task.variance(task.gradients(one)) for one in (task.exact_advantages(), *found)]
    assert noise == sorted(noise)
    errors = [task.errors(one)["action"] for one in found]
    assert 0.0 < errors[0] < errors[1] < errors[2]


def test_auto_traces_as_far_as_chance_goes_even_with_an_exact_critic(task: SubgoalTask) -> None:
    """A constant critic is looked through; of an exact one what the state does not settle stays, and of
    a critic between the two something between, by which its bias shrinks."""
    exact, constant = task.exact_values(), task.constant_values()
    assert task.unexplained(constant) == pytest.approx(1.0)
    assert 0.0 < task.unexplained(exact) < 1.0
    between = {head: 0.5 * (exact[head] + constant[head]) for head in exact}
    lam = task.unexplained(between)
    assert task.unexplained(exact) < lam < 1.0
    found = [
        task.gradients(task.advantages(between, lam_seg=1.0, lam_boundary=lam_boundary)) for lam_boundary in (0.0, lam)
    ]
    assert task.bias(found[1]) == pytest.approx((1.0 - lam) * task.bias(found[0]))


def test_the_documented_figures_are_those_of_the_task() -> None:
    """docs/method.md shows the table that `python tests/unit/subgoal_task.py` prints."""
    text = (ROOT / "docs" / "method.md").read_text(encoding="utf-8")
    task = task_of(REFERENCE, 1.0)
    assert "\n".join(table(task)) in text
    assert f"it would be {task.unexplained(task.exact_values()):.2f} with exact values" in text.replace("\n", " ")
