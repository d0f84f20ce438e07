"""How noisy the policy gradients of several estimators are, all on the same episodes of one policy.

Batches of tasks × group size are played by the policy as it samples in training. On some of them every estimator's
value heads learn its own targets, all from the same features (the policy's own, detached) and in as many steps. On the
others each estimator gives credit, and the gradient of its policy loss is taken as the learner takes it, a whole batch
being one mini-batch; KL and entropy are left out, and the policy never moves.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hiper.algorithms.registry import ALGORITHMS
from hiper.benchmarks.record import make_benchmark
from hiper.config import RunSettings
from hiper.digests import stage_digest
from hiper.errors import UserError
from hiper.learning import torch_setup
from hiper.learning.batches import TurnRow, turn_rows
from hiper.learning.critic import Critic
from hiper.learning.decoder import Decoder
from hiper.learning.folders import load_decoder
from hiper.learning.learner import Learner, build_heads
from hiper.learning.local_engine import LocalEngines
from hiper.locks import exclusive
from hiper.manifest import (
    content_hash,
    data_hash,
    git_state,
    package_versions,
    require_data,
    require_unchanged,
    verify_outputs,
)
from hiper.policies.local import LocalPolicy
from hiper.policies.local_backend import LocalPlayers
from hiper.policies.usable import usable_tokenizer
from hiper.randomness import generator
from hiper.records import absolute, write_json
from hiper.runs.metrics import Progress
from hiper.stages.assessment import Assessor
from hiper.stages.gradient_records import Sample, rounded, summary
from hiper.stages.rollout import Rollout
from hiper.stages.tasks import split_train, stream
from hiper.trajectory import Trajectory

log = logging.getLogger(__name__)

EXACT = 1 << 22  # gradients of more numbers are sketched
SKETCH = 1 << 20  # numbers that then stand for a gradient; inner products are kept to about a thousandth
CHUNK = 1 << 24  # numbers sketched at a time
FROZEN = {"backbone": "shared", "detach": True, "trunk_blocks": "all"}  # value heads on the policy's own features
FITTING, MEASURING = 0, 1  # streams of random numbers


class Estimating:
    """One algorithm with value heads of its own on a policy that all share."""

    def __init__(self, settings: RunSettings, actor: Decoder, policy: LocalPolicy) -> None:
        critic = settings.training.critic.model_copy(update=FROZEN)
        training = settings.training.model_copy(update={"critic": critic, "kl": 0.0, "entropy": 0.0})
        read_outs = ALGORITHMS[settings.algorithm.name].heads(settings.algorithm)
        seed = stream(settings, "heads")
        heads = build_heads(actor.shape.hidden_size, sorted(read_outs), critic, seed).to(policy.device)
        reader = Critic(actor.model, heads, read_outs, training.micro_batch_tokens, policy.device)
        engines = LocalEngines(policy.device, settings.engine.dtype == "bfloat16")
        self.learner = Learner(
            actor, None, reader, training, policy.restriction, settings.decoding.temperature, engines
        )
        self.assessor = Assessor(settings.algorithm, reader, policy, frozen_features=True, gate=critic.gate)
        self.actor = actor

    def fit(self, trajectories: Sequence[Trajectory], random: np.random.Generator) -> None:
        """Let the value heads learn from these episodes, as an iteration of training does."""
        assessed = self.assessor.assess(trajectories)
        self.learner.update_critic(assessed.states, assessed.targets(), random)
        self.assessor.remember(assessed)

    def sample(self, trajectories: Sequence[Trajectory]) -> Sample:
        """The policy gradient that these episodes give; neither the policy nor the value heads change, nor
        what `lam_boundary: auto` remembers."""
        assessed = self.assessor.assess(trajectories)
        rows = turn_rows(trajectories, assessed.credit)
        advantages = np.concatenate([row.advantage[row.trained] for row in rows])
        return Sample(
            compressed(self.gradient(rows)),
            trained_tokens=len(advantages),
            advantage_std=float(advantages.std()),
            values=assessed.read(),
        )

    def gradient(self, rows: Sequence[TurnRow]) -> list[Tensor]:
        """The gradient of the loss of `rows` as one mini-batch, parameter by parameter."""
        self.actor.zero_grad(set_to_none=True)
        self.learner.accumulate_actor_gradients(rows, np.arange(len(rows)))
        return taken_gradient(self.actor)


def taken_gradient(module: nn.Module) -> list[Tensor]:
    """The gradients of a module's parameters, each flat, zeros where there is none; they are removed from it."""
    found = [torch.zeros_like(p).flatten() if p.grad is None else p.grad.float().flatten() for p in module.parameters()]
    module.zero_grad(set_to_none=True)
    return found


def compressed(gradient: Sequence[Tensor]) -> Tensor:
    """The whole gradient on the CPU, or its sketch if it is large: every number, with a random sign, is added to one of
    SKETCH random places (Charikar et al. 2002), the same for all gradients. Inner products of sketches are unbiased."""
    if sum(map(len, gradient)) <= EXACT:
        return torch.cat(list(gradient)).cpu()
    sketch = torch.zeros(SKETCH, device=gradient[0].device)
    generator = torch.Generator(sketch.device).manual_seed(0)
    for parameter in gradient:
        for part in parameter.split(CHUNK):
            drawn = torch.randint(2 * SKETCH, part.shape, generator=generator, device=sketch.device)
            sketch.index_add_(0, drawn // 2, part * (2.0 * (drawn % 2) - 1.0))
    return sketch.cpu()


def run(studied: Mapping[str, RunSettings], folder: Path, output: Path, data_root: Path) -> None:
    """Measure the estimators `studied`, by the name of their configuration, on the policy `folder/model`; write the
    JSON file `output`. Their settings may differ in `algorithm` only."""
    started = time.monotonic()
    verify_outputs(folder)
    dataset = next(iter(studied.values())).benchmark.dataset
    data = require_data(folder, data_root, dataset)
    with exclusive(output):
        measurement = Measurement(studied, folder, data_root)
        measured = measurement.description() | measurement.measure()
        require_unchanged(data, data_root, dataset)
        write_json(output, measured)
    log.info("done: %s (%.0f s)", output, time.monotonic() - started)


class Measurement:
    """Everything a measurement holds in memory."""

    def __init__(self, studied: Mapping[str, RunSettings], folder: Path, data_root: Path) -> None:
        self.studied, self.folder, self.data_root = studied, folder, data_root
        self.settings = settings = next(iter(studied.values()))
        if not settings.variance.batches:
            raise UserError(f"{folder}: variance.batches = 0, so there is nothing to measure; give --batches")
        model, device = folder / "model", torch_setup.prepare(settings.engine)
        tokenizer = usable_tokenizer(settings, model)
        self.actor = actor = load_decoder(model, device)
        self.parameters = sum(p.numel() for p in actor.parameters())
        players = LocalPlayers(settings, actor, tokenizer, device)
        policy = players.policy(settings.decoding.temperature)
        self.estimators = {name: Estimating(chosen, actor, policy) for name, chosen in studied.items()}
        benchmark = make_benchmark(settings.benchmark, data_root)
        self.tasks = split_train(settings, benchmark).reinforcement
        self.rollout = Rollout(benchmark, policy, settings.prompt)

    def description(self) -> dict[str, Any]:
        """What the numbers were made of; nothing that depends on when or where."""
        first = self.settings
        return {
            "data": data_hash(self.data_root, first.benchmark.dataset),
            "experiment": first.experiment,
            "git": git_state(absolute(self.data_root).parent),
            "model": content_hash(self.folder / "model"),
            "packages": package_versions(*self.studied.values()),
            "parameters": self.parameters,
            "run": absolute(self.folder).name,
            "seed": first.seed,
            "settings": {name: stage_digest(settings, "variance") for name, settings in self.studied.items()},
            "sketch": SKETCH if self.parameters > EXACT else None,
            "variance": first.variance.model_dump(),
        }

    def measure(self) -> dict[str, Any]:
        wanted = self.settings.variance
        progress = Progress("gradient variance", wanted.critic_batches + wanted.batches, 0)
        for number in range(wanted.critic_batches):
            played = self._play(FITTING, number)
            for estimator in self.estimators.values():
                random = generator(stream(self.settings, "variance", FITTING, number, 2))
                estimator.fit(played, random)
            progress.show(number + 1, "value heads")
        samples: dict[str, list[Sample]] = {name: [] for name in self.estimators}
        won, turns = [], []
        for number in range(wanted.batches):
            played = self._play(MEASURING, number)
            won.append(float(np.mean([trajectory.won for trajectory in played])))
            turns.append(sum(len(trajectory.turns) for trajectory in played))
            for name, estimator in self.estimators.items():
                samples[name].append(estimator.sample(played))
            progress.show(wanted.critic_batches + number + 1, "gradients")
        self.rollout.close()
        return {"success": rounded(float(np.mean(won))), "turns": turns} | summary(samples, turns)

    def _play(self, part: int, number: int) -> list[Trajectory]:
        """One batch, its tasks drawn independently of every other batch's: for gradients `tasks`, each `group_size`
        times; for value heads, which learn more from more tasks, as many episodes of one task each."""
        wanted = self.settings.variance
        repeats = wanted.group_size if part == MEASURING else 1
        count = wanted.tasks * wanted.group_size // repeats
        draw = generator(stream(self.settings, "variance", part, number, 0))
        drawn = draw.choice(len(self.tasks), count, replace=count > len(self.tasks))
        groups = np.repeat(np.arange(count), repeats).tolist()
        seed = stream(self.settings, "variance", part, number, 1)
        played = self.rollout.play([self.tasks[drawn[group]] for group in groups], groups, seed)
        usable = [trajectory for trajectory in played if trajectory.failure is None and trajectory.turns]
        if not usable:
            raise UserError(f"every episode of a batch broke, the first with: {played[0].failure}")
        return usable
