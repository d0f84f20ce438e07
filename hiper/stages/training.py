"""The RL loop: rollout → credit → critic → actor, resumable at every iteration."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from hiper.algorithms.off_policy import off_policy_of
from hiper.algorithms.registry import ALGORITHMS
from hiper.algorithms.sampling import ALL, sampling_of
from hiper.algorithms.unexplained import Unexplained
from hiper.benchmarks.record import make_benchmark
from hiper.config import RunSettings
from hiper.digests import stage_digest
from hiper.errors import Interrupted, UserError
from hiper.learning import torch_setup
from hiper.learning.batches import TurnRow, turn_rows
from hiper.learning.critic import Critic
from hiper.learning.decoder import Decoder
from hiper.learning.engines import make_engines
from hiper.learning.folders import VALUE_HEADS, WEIGHTS, save_decoder, save_tensors
from hiper.learning.learner import Learner, build_heads
from hiper.learning.lora import adapt
from hiper.learning.mismatch import corrected_rows, mismatch_metrics, require_agreement
from hiper.learning.processes import Processes, joined
from hiper.learning.training_engine import Engines, whole
from hiper.manifest import (
    files_of,
    require_data,
    require_unchanged,
    verify_outputs,
    withdraw_manifest,
    write_manifest,
)
from hiper.policies import room
from hiper.policies.backends import make_backend
from hiper.policies.usable import usable_tokenizer
from hiper.randomness import generator
from hiper.records import sha256_file
from hiper.runs import episodes
from hiper.runs.metrics import METRICS
from hiper.runs.summary import explained_variance, rollout_metrics
from hiper.stages import checkpoint
from hiper.stages.assessment import Assessor
from hiper.stages.choosing import chosen_rows, relaxed
from hiper.stages.distribution import SharedRollout, resumable_by, written_by_first
from hiper.stages.interruption import Notice, listening
from hiper.stages.off_policy import OffPolicyLearner
from hiper.stages.phases import PhasedSampling
from hiper.stages.pretraining import Pretraining
from hiper.stages.sampling import EpisodeSampling, Sampled, usable
from hiper.stages.selection import FOLDER as BEST
from hiper.stages.selection import ModelSelection
from hiper.stages.tasks import draw_tasks, split_train, stream
from hiper.stages.training_records import TrainingRecords
from hiper.tracking import start_follower
from hiper.trajectory import Task, Trajectory, Turn

log = logging.getLogger(__name__)


def run(settings: RunSettings, start: Path, folder: Path, data_root: Path) -> None:
    """Train from the model folder `start`; write `folder/model` (and `folder/best`, with validation), `metrics.jsonl`
    and, last, `manifest.json`."""
    started = time.monotonic()
    verify_outputs(start.parent)
    data = require_data(start.parent, data_root, settings.benchmark.dataset)
    with joined(settings.engine) as processes, written_by_first(folder, processes), listening() as notice:
        trainer = Trainer(settings, start, folder, data_root, processes, data)
        if processes.first:
            identity = {
                "settings": stage_digest(resumable_by(settings), "train"),
                "start": sha256_file(start / WEIGHTS),
                "data": data,
            }
            withdraw_manifest(folder)
            checkpoint.begin(folder / "checkpoints", identity)
        processes.wait()
        follower = start_follower(folder) if settings.tracking.live and processes.first else None
        started -= trainer.train(notice)
        trainer.save(folder / "model")
        if not processes.first:
            return
        trainer.require_data()
        checkpoint.clear(folder / "checkpoints")
        written, facts = files_of(folder / "model"), {"metrics": sha256_file(folder / METRICS)}
        if trainer.selection.best is not None:
            written, facts = written + files_of(folder / BEST), facts | {"best": trainer.selection.state()}
        write_manifest(folder, settings, data_root, {"start": start}, started, written, facts, data=data)
    log.info("done: %s%s", folder, "" if follower is None else " (its records catch up in the background)")


class Trainer:
    """Everything one run holds in memory."""

    def __init__(
        self,
        settings: RunSettings,
        start: Path,
        folder: Path,
        data_root: Path,
        processes: Processes | None = None,
        data: Mapping[str, str] | None = None,
    ) -> None:
        self.settings, self.folder, self.start = settings, folder, start
        self.data_root, self.data = data_root, data
        self.processes = processes or Processes()
        self.device = torch_setup.prepare(settings.engine)
        engines = make_engines(settings.engine, self.processes)
        self.tokenizer = usable_tokenizer(settings, start)
        self.actor = self._in_training(engines, 0)
        reference = engines.loaded(start).requires_grad_(False) if settings.training.kl else None
        self.players = make_backend(settings, self.device).in_training(
            start,
            self.actor,
            self.tokenizer,
            weights=lambda: self.learner.actor_engine.weights(),
            whole=engines.whole_weights,
        )
        self.policy = self.players.policy(settings.decoding.temperature)
        self.heads = ALGORITHMS[settings.algorithm.name].heads(settings.algorithm)
        heads = build_heads(
            self.actor.shape.hidden_size,
            sorted(self.heads),
            settings.training.critic,
            stream(settings, "heads"),
        ).to(engines.home)
        backbone = self.actor.model
        if self.heads and settings.training.critic.backbone == "separate":
            backbone = self._in_training(engines, 1, settings.training.critic.trunk_blocks).model
        self.critic = Critic(backbone, heads, self.heads, settings.training.micro_batch_tokens, self.device)
        self.learner = Learner(
            self.actor,
            reference,
            self.critic,
            settings.training,
            self.policy.restriction,
            settings.decoding.temperature,
            engines,
        )
        gate = settings.training.critic.gate
        self.assessor = Assessor(settings.algorithm, self.critic, self.policy, self.learner.frozen_features, gate)
        self.pretraining = Pretraining()
        self.since_checkpoint = checkpoint.SinceCheckpoint(settings.training.checkpoint_minutes)
        self.checkpoints = checkpoint.Writer(folder / "checkpoints", self.processes)
        stored = off_policy_of(settings.algorithm)
        self.off_policy = None if stored is None else OffPolicyLearner(settings, stored, self.learner, self.players)
        benchmark = make_benchmark(settings.benchmark, data_root)
        tasks = split_train(settings, benchmark)
        wanted, there = settings.training.tasks, len(tasks.reinforcement)
        if wanted is not None and wanted > there:
            raise UserError(f"training.tasks = {wanted}: RL has {there} tasks; make it fewer, or null for all")
        self.tasks = tasks.reinforcement[:wanted]
        self.rollout = SharedRollout(benchmark, self.policy, settings.prompt, self.processes)
        self.greedy: SharedRollout | None = None  # plays what the policy finds likeliest
        sampling = sampling_of(settings.algorithm)
        if sampling is not None and sampling.phases:
            self.greedy = SharedRollout(benchmark, self.players.policy(0.0), settings.prompt, self.processes)
            self.sampling: EpisodeSampling = PhasedSampling(settings, self.tasks, self._play, self._plan)
        else:
            self.sampling = EpisodeSampling(settings, self.tasks, self._play)
        validator = self.players.policy(settings.training.validation.temperature)
        validation = SharedRollout(benchmark, validator, settings.prompt, self.processes)
        self.selection = ModelSelection(settings, validation, tasks.validation)

    def _in_training(self, engines: Engines, number: int, blocks: int | Literal["all"] = "all") -> Decoder:
        """The model that training begins with, or only its first `blocks`; `number` tells apart the adapters of
        several."""
        decoder = engines.loaded(self.start)
        memory, gpus = torch_setup.card_memory(self.device), self.processes.size
        # all or none: with sharded weights processes would wait for each other
        again = self.processes.any(room.layout_of(self.settings, decoder.shape, gpus, memory).checkpointing)
        log.info("backward passes %s", "compute activations again" if again else "find activations kept")
        if blocks != "all":
            if blocks > (there := decoder.shape.num_hidden_layers):
                raise UserError(
                    f"training.critic.trunk_blocks = {blocks}: the model in {self.start} has {there}; make it fewer, "
                    "or all"
                )
            decoder.model.keep_first(blocks)
        adapt(decoder, self.settings.model.lora, stream(self.settings, "adapters", number))
        decoder.model.checkpointing = again
        return decoder

    def train(self, notice: Notice) -> float:
        """From where it was left to the last iteration; the checkpoints that were begun are then whole. Seconds that
        earlier attempts took."""
        with self.checkpoints:
            return self._train(notice)

    def _train(self, notice: Notice) -> float:
        total = self.settings.training.iterations
        done = self._resume()
        self.pretrain(notice)
        records = TrainingRecords(self.folder, total, keep=done) if self.processes.first else None
        self.since_checkpoint.restart()
        while not self._ended(done):
            iterated = self.iterate(done)
            self.checkpoints.finish()
            if records is not None:
                records.add(*iterated)
            done, stopping = done + 1, self.processes.any(notice.given)
            if not self._ended(done) and (stopping or self._checkpoint_due(done)):
                self._checkpoint(done)
            if not self._ended(done) and stopping:
                self.checkpoints.finish()
                raise Interrupted(f"{notice}: stopped after iteration {done} of {total}")
        if records is not None:
            records.complete(done)
        for rollout in (self.rollout, self.greedy, self.selection):
            if rollout is not None:
                rollout.close()
        return 0.0 if records is None else records.metrics.before

    def pretrain(self, notice: Notice) -> None:
        """Let the values learn before RL, if the settings want it; from where it was left."""
        critic = self.settings.training.critic
        while self.heads and not self.pretraining.ended(critic):
            self.pretrain_once()
            log.info("%s", self.pretraining)
            stopping, ended = self.processes.any(notice.given), self.pretraining.ended(critic)
            if stopping or ended:
                self._checkpoint(0)
            if stopping and not ended:
                self.checkpoints.finish()
                raise Interrupted(f"{notice}: stopped after {self.pretraining.episodes} episodes of pretraining")

    def pretrain_once(self) -> None:
        """Play a batch and let the values learn its Monte-Carlo returns."""
        settings, batch = self.settings, self.pretraining.batches
        draws = settings.training.episodes // settings.algorithm.group_size
        numbers = range(batch * draws, (batch + 1) * draws)
        tasks, groups = draw_tasks(self.tasks, settings, numbers, "pretraining tasks")
        played = self._play(tasks, groups, stream(settings, "pretraining", batch))
        trajectories = usable(played, "pretraining")
        assessed = self.assessor.assess(trajectories).of_returns()
        random = generator(stream(settings, "pretraining update", batch))
        self.learner.update_critic(assessed.states, assessed.targets(), random)
        if self.off_policy is not None:
            self.off_policy.remember(trajectories)
            self.off_policy.follow(1.0)  # or the first iterations would unlearn what this has taught
        self.pretraining = self.pretraining.then(settings.training.critic, played, assessed.read())

    def _play(
        self,
        tasks: Sequence[Task],
        groups: Sequence[int],
        seed: Sequence[int],
        blueprints: Sequence[Turn | None] | None = None,
        greedy: bool = False,
    ) -> list[Trajectory]:
        rollout = self.greedy if greedy and self.greedy is not None else self.rollout
        self.players.play()
        played = rollout.play(tasks, groups, seed, blueprints=blueprints)
        self.players.train()
        return played

    def _plan(self, tasks: Sequence[Task], groups: Sequence[int], seed: Sequence[int]) -> list[Turn | None]:
        self.players.play()
        planned = self.rollout.plan(tasks, groups, seed)
        self.players.train()
        return planned

    def _ended(self, done: int) -> bool:
        """Whether the budget is spent after so many iterations."""
        return not self.sampling.draws(done, self.pretraining.episodes)

    def iterate(self, iteration: int) -> tuple[dict[str, Any], dict[str, float], list[dict[str, Any]]]:
        """One iteration of the method; returns its metrics, how long each part took, and some of its episodes."""
        settings, clock = self.settings, _Clock()
        spent, progress = self.pretraining.episodes, self._progress(iteration)
        before = spent + self.sampling.draws(iteration, spent).start * settings.algorithm.group_size
        sampled = self.sampling.sample(iteration, spent)
        played, trajectories = sampled.played, sampled.trajectories + sampled.replayed
        clock.lap("rollout")
        assessed = self.assessor.assess(trajectories)
        clock.lap("credit")
        random = generator(stream(settings, "update", iteration))
        updates: dict[str, float] = {}
        if self.off_policy is None:
            updates |= self.learner.update_critic(assessed.states, assessed.targets(), random)
            clock.lap("critic")
        rows, mismatch = self._corrected(turn_rows(trajectories, assessed.credit), sampled)
        rows = self.sampling.learned(rows, sampled)
        if mismatch:
            clock.lap("logprobs")
        if (sampling := sampling_of(settings.algorithm)) is not None and sampling.choose != ALL:
            rows = chosen_rows(rows, trajectories, relaxed(sampling.choose, progress), self._entropies)
            clock.lap("choice")
        # without value heads there is no critic to wait for
        train_actor = not self.heads or iteration >= settings.training.critic.warmup_iterations
        if self.off_policy is not None:
            self.off_policy.remember(trajectories)
            updates |= self.off_policy.update(iteration, random, self._learning_rate(progress), train_actor)
            clock.lap("replay")
        elif train_actor:
            updates |= self.learner.update_actor(rows, random, self._learning_rate(progress))
            clock.lap("actor")
        row: dict[str, float] = {"iteration": iteration + 1, "episodes": before + len(played)}
        row |= self.pretraining.metrics() if iteration == 0 else {}
        row |= rollout_metrics(sampled.own) | sampled.metrics | explained_variance(assessed.read()) | updates
        row |= self.assessor.remember(assessed) | self.players.metrics() | mismatch
        if self.selection.due(iteration + 1, last=self._ended(iteration + 1)):
            self.players.play()
            row |= self.selection.measure(iteration + 1)
            if self.selection.best is not None and self.selection.best.iteration == iteration + 1:
                self.save(self.folder / BEST)
            clock.lap("validation")
        update = episodes.Update(trajectories, assessed.values, assessed.credit, rows, train_actor)
        kept = settings.tracking.episodes
        records = episodes.training_records(iteration + 1, played, update, self.policy.decode, kept)
        return {name: round(value, 6) for name, value in row.items()}, clock.laps, records

    def _corrected(self, rows: list[TurnRow], sampled: Sampled) -> tuple[list[TurnRow], dict[str, float]]:
        """The rows with the trainer's log probabilities where the sampler's are those of another program, and how far
        both lie apart; those of replayed episodes, the last, are weighed and keep what they were played with."""
        cap, fresh = self.settings.rollout.importance_cap, sum(len(one.turns) for one in sampled.trajectories)
        rows, replayed = rows[:fresh], self.sampling.weighed(rows[fresh:], importance=cap is not None)
        if self.players.exact:
            return rows + replayed, {}
        trainer = [logprobs.float().cpu().numpy() for logprobs in self.learner.actor_logprobs(rows)]
        found = mismatch_metrics(rows, trainer, cap)
        require_agreement(found, self.settings.rollout.difference_limit)
        return corrected_rows(rows, trainer, cap) + replayed, found

    def _entropies(self, rows: Sequence[TurnRow]) -> list[npt.NDArray[np.float32]]:
        return [part.float().cpu().numpy() for part in self.learner.actor_entropies(rows)]

    def _progress(self, iteration: int) -> float:
        """From 0 in the first iteration to 1 in the last, counting the iterations whose draws resampling used up."""
        place = iteration + self.sampling.skipped(self.pretraining.episodes)
        return min(1.0, place / max(1, self.settings.training.iterations - 1))

    def _learning_rate(self, progress: float) -> float:
        """Linear from `learning_rate` to `final_learning_rate`."""
        training = self.settings.training
        return training.learning_rate + progress * (training.final_learning_rate - training.learning_rate)

    def _checkpoint_due(self, done: int) -> bool:
        """By the first process's clock, so that all write one or none."""
        if done % self.settings.training.checkpoint_every:
            return False
        return self.processes.any(self.processes.first and self.since_checkpoint.enough)

    def _checkpoint(self, done: int) -> None:
        """Begin to write one, which goes on beside the next iteration."""
        learner = self.learner
        mine = {"actor": learner.actor_engine.state(), "critic": learner.critic_engine.state()}
        further: dict[str, Any] = {}
        if self.processes.first:
            self.require_data()
            further = {
                "best": self.selection.state(),
                "unexplained": asdict(self.assessor.unexplained),
                "pretraining": asdict(self.pretraining),
                "sampling": self.sampling.state(),
            }
            if self.off_policy is not None:
                further["off_policy"] = self.off_policy.state()
        engine = self.settings.engine
        if engine.offload_optimizer:  # lies in the host's memory, which may have no room for a second one
            self.checkpoints.begin(done, mine, further)
            self.checkpoints.finish()
        else:
            own = mine if engine.device == "cuda" else checkpoint.copied(mine)  # the way here has made a copy
            self.checkpoints.begin(done, own, checkpoint.copied(further))
        self.since_checkpoint.restart()

    def require_data(self) -> None:
        """UserError when the data are no longer those that the run began with: no checkpoint knows two of them."""
        require_unchanged(self.data, self.data_root, self.settings.benchmark.dataset)

    def _resume(self) -> int:
        loaded = checkpoint.load_latest(self.folder / "checkpoints")
        if loaded is None:
            return 0
        iteration, state = loaded
        parts = checkpoint.parts_of(state)
        self.learner.actor_engine.load(whole([part["actor"] for part in parts]))
        self.learner.critic_engine.load(whole([part["critic"] for part in parts]))
        self.selection.restore(state["best"])
        self.assessor.unexplained = Unexplained(**state["unexplained"])
        self.pretraining = Pretraining(**state["pretraining"])
        if "sampling" in state:  # a checkpoint without it is older than all there is to say of it
            self.sampling.restore(state["sampling"])
        if self.off_policy is not None:
            self.off_policy.restore(state["off_policy"])
        log.info("resuming after iteration %d of %d", iteration, self.settings.training.iterations)
        return iteration

    def save(self, folder: Path) -> None:
        """Write the model as it is now: a Hugging Face folder, the value heads (and a separate critic's backbone)
        beside the model."""
        first = self.processes.first
        actor = {name: weight.cpu() for name, weight in self.learner.actor_engine.weights() if first}
        critic = {name: weight.cpu().contiguous() for name, weight in self.learner.critic_weights() if first}
        if first:
            end = int(self.tokenizer.eos_token_id)
            pad = int(self.tokenizer.pad_token_id if self.tokenizer.pad_token_id is not None else end)
            save_decoder(self.actor, folder, self.start, end, pad, actor)
            save_tensors(critic, folder / VALUE_HEADS)


class _Clock:
    """Seconds between laps."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self.last = time.monotonic()

    def lap(self, name: str) -> None:
        now = time.monotonic()
        self.laps[name], self.last = now - self.last, now
