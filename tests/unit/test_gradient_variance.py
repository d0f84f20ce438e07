"""The stage that measures gradients: they are those that the learner would apply, and the policy does not move."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pipeline import ROOT, WARM, run_settings

from hiper.cli.main import main
from hiper.compose import write_config
from hiper.config import RunSettings
from hiper.learning.batches import TurnRow, turn_rows
from hiper.stages import gradient_variance
from hiper.stages.gradient_variance import FITTING, MEASURING, Measurement, taken_gradient

TINY = {"batches": 4, "critic_batches": 2, "tasks": 2, "group_size": 4}


def measurement(pipeline: Path, settings: RunSettings, *algorithms: str) -> Measurement:
    return Measurement(with_algorithms(settings, *algorithms), pipeline / "warmstart", pipeline / "data")


def with_algorithms(settings: RunSettings, *algorithms: str) -> dict[str, RunSettings]:
    found = {}
    for name in algorithms:
        algorithm = run_settings(f"alfworld_test-test-{name}-seed0").algorithm
        variance = settings.variance.model_copy(update=TINY)
        found[name] = settings.model_copy(update={"algorithm": algorithm, "variance": variance})
    return found


def test_the_gradients_are_those_of_the_learner(small_pipeline: Path, small_settings: RunSettings) -> None:
    """The mean of two batches' gradients, weighted with their trained tokens, is what `accumulate_actor_gradients`
    gives for both batches together as one mini-batch; for a hierarchical and a flat estimator."""
    made = measurement(small_pipeline, small_settings, "hiper", "ppo_turn")
    for estimating in made.estimators.values():
        rows: list[list[TurnRow]] = []
        for number in range(2):
            played = made._play(MEASURING, number)
            rows.append(turn_rows(played, estimating.assessor.assess(played).credit))
        counts = [sum(int(row.trained.sum()) for row in batch) for batch in rows]
        parts = [torch.cat(estimating.gradient(batch)) for batch in rows]
        together = rows[0] + rows[1]
        estimating.learner.accumulate_actor_gradients(together, np.arange(len(together)))
        whole = torch.cat(taken_gradient(made.actor))
        weighted = (counts[0] * parts[0] + counts[1] * parts[1]) / sum(counts)
        assert whole.norm() > 1e-3
        assert (weighted - whole).norm() < 1e-4 * whole.norm()


def test_a_gradient_is_the_derivative_of_the_mean_of_advantage_times_log_probability(
    small_pipeline: Path, small_settings: RunSettings
) -> None:
    """Against a difference quotient along the gradient: with the ratio at 1 nothing is clipped."""
    made = measurement(small_pipeline, small_settings, "ppo_turn")
    (estimating,) = made.estimators.values()
    played = made._play(MEASURING, 0)
    rows = turn_rows(played, estimating.assessor.assess(played).credit)
    gradient = estimating.gradient(rows)
    square = float(sum((part**2).sum() for part in gradient))
    step = 1e-2 / square**0.5
    values = []
    for sign in (1, -1):
        move(made.actor, gradient, sign * step)
        values.append(mean_of_advantage_times_logprob(estimating, rows))
        move(made.actor, gradient, -sign * step)
    # the loss is minus that mean
    assert (values[1] - values[0]) / (2 * step) == pytest.approx(square, rel=2e-2)


def move(module: torch.nn.Module, direction: Sequence[torch.Tensor], step: float) -> None:
    with torch.no_grad():
        for parameter, part in zip(module.parameters(), direction, strict=True):
            parameter += step * part.view_as(parameter)


def mean_of_advantage_times_logprob(estimating: Any, rows: Sequence[TurnRow]) -> float:
    learner = estimating.learner
    with torch.no_grad():
        taken, _ = learner.logprobs.at(estimating.actor, rows, [row.trained for row in rows])
    advantages = np.concatenate([row.advantage[row.trained] for row in rows])
    return float((taken.double().numpy() * advantages).mean())


def test_estimators_see_the_same_episodes_and_the_policy_does_not_move(
    small_pipeline: Path, small_settings: RunSettings
) -> None:
    """Flat estimators train the same tokens; measuring leaves the weights as they were, only value heads learn, and a
    critic-free estimator has none."""
    made = measurement(small_pipeline, small_settings, "hiper", "ppo_turn", "rloo")
    before = [p.detach().clone() for p in made.actor.parameters()]
    heads = {
        name: [p.detach().clone() for p in one.learner.critic.heads.parameters()]
        for name, one in made.estimators.items()
    }
    found = made.measure()["estimators"]
    assert found["ppo_turn"]["trained_tokens"] == found["rloo"]["trained_tokens"]
    assert all(torch.equal(p, q) for p, q in zip(made.actor.parameters(), before, strict=True))
    for name, old in heads.items():
        new = list(made.estimators[name].learner.critic.heads.parameters())
        assert all(not torch.equal(p, q) for p, q in zip(new, old, strict=True))
    assert heads["hiper"] and heads["ppo_turn"] and not heads["rloo"]


def test_batches_are_independent_draws(small_pipeline: Path, small_settings: RunSettings) -> None:
    """A batch has its groups, is the same every time, and no other batch's random numbers; value heads learn from
    episodes of their own, without groups."""
    made = measurement(small_pipeline, small_settings, "rloo")
    first, again, other, fitting = (
        made._play(part, number) for part, number in ((MEASURING, 0), (MEASURING, 0), (MEASURING, 1), (FITTING, 0))
    )
    assert [t.group for t in first] == [0] * 4 + [1] * 4 and len({t.group for t in fitting}) == 8
    assert all(len({t.task for t in first if t.group == group}) == 1 for group in (0, 1))
    words = [[[turn.response for turn in t.turns] for t in batch] for batch in (first, again, other, fitting)]
    assert words[0] == words[1] and words[0] != words[2] and words[0] != words[3]


@pytest.fixture(scope="module")
def experiment(small_pipeline: Path, small_settings: RunSettings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of results with a warm start and its configuration."""
    results = tmp_path_factory.mktemp("results") / "test"
    shutil.copytree(small_pipeline / "warmstart", results / "runs" / WARM)
    settings = small_settings.model_copy(update={"variance": small_settings.variance.model_copy(update=TINY)})
    write_config(settings, results / "runs" / WARM / "config.yaml")
    return results


def variance(experiment: Path, pipeline: Path, *arguments: str) -> int:
    return main(["variance", str(experiment / "runs" / WARM), "--data", str(pipeline / "data"), *arguments])


def test_the_command_measures_the_grids_algorithms_twice_alike(
    experiment: Path, small_pipeline: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file lies in `variance/`, says what it was made of, and a second run writes the same bytes."""
    monkeypatch.chdir(ROOT)
    assert variance(experiment, small_pipeline) == 0
    path = experiment / "variance" / f"{WARM}.json"
    first = path.read_bytes()
    found = json.loads(first)
    assert found["algorithms"] == ["hiper", "ppo_turn"] and found["run"] == WARM and found["sketch"] is None
    assert found["variance"] == TINY and len(found["turns"]) == 4 and found["settings"].keys() == {"hiper", "ppo_turn"}
    assert found["estimators"]["hiper"]["explained_variance"].keys() == {"low", "high", "switch"}
    assert all(len(one["per_token"]["precision"]["without"]) == 4 for one in found["estimators"].values())
    assert variance(experiment, small_pipeline) == 0 and path.read_bytes() == first


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (["--batches", "3"], "batches = 3 are too few"),
        (["--batches", "0"], "nothing to measure"),
        (["--algorithms", "hipper"], "algorithm 'hipper' is unknown; did you mean 'hiper'"),
    ],
)
def test_a_mistake_is_explained(
    experiment: Path,
    small_pipeline: Path,
    arguments: list[str],
    wanted: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Exit status 2 and one message that says what to do."""
    monkeypatch.chdir(ROOT)
    assert variance(experiment, small_pipeline, *arguments) == 2
    assert wanted in capsys.readouterr().err


def test_a_shared_critic_is_measured_whatever_the_settings_train(
    small_pipeline: Path, small_settings: RunSettings
) -> None:
    """A run with a separate critic, KL and entropy is measured with value heads on the policy's features and the policy
    gradient alone."""
    training = small_settings.training
    critic = training.critic.model_copy(update={"backbone": "separate", "detach": False})
    other = training.model_copy(update={"critic": critic, "kl": 0.1, "entropy": 0.1})
    made = [
        measurement(small_pipeline, small_settings.model_copy(update={"training": one}), "ppo_turn")
        for one in (training.model_copy(update={"kl": 0.0, "entropy": 0.0}), other)
    ]
    gradients = [one.estimators["ppo_turn"].sample(one._play(MEASURING, 0)).gradient for one in made]
    assert torch.equal(*gradients)
    assert gradient_variance.EXACT > made[0].parameters == len(gradients[0])
