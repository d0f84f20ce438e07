"""The RL loop: rollout → credit → critic → actor, resumable at every iteration."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hiper.algorithms.interface import Credit, Floats, require_credit
from hiper.algorithms.registry import ALGORITHMS
from hiper.compose import stage_digest
from hiper.config import RunSettings
from hiper.errors import UserError
from hiper.learning import engine
from hiper.learning.batches import turn_arrays, turn_rows
from hiper.learning.critic import Critic, State, bootstrap_states, previous_subgoal_states, turn_state
from hiper.learning.folders import HEADS, WEIGHTS, load_decoder, require_positions, save_decoder, save_tensors
from hiper.learning.learner import Learner, Targets, build_heads
from hiper.learning.qwen2 import Backbone
from hiper.locks import exclusive
from hiper.manifest import files_of, verify_outputs, withdraw_manifest, write_manifest
from hiper.plan_execute import render
from hiper.policies.local import LocalPolicy, load_tokenizer
from hiper.records import append_jsonl, sha256_file
from hiper.stages import checkpoint, episodes
from hiper.stages.metrics import MetricsLog, Progress, resume_rows
from hiper.stages.rollout import Rollout
from hiper.stages.selection import FOLDER as BEST
from hiper.stages.selection import ModelSelection
from hiper.stages.summary import explained_variance, rollout_metrics
from hiper.stages.tasks import draw_tasks, make_benchmark, split_train, stream
from hiper.tracking import start_follower
from hiper.trajectory import Trajectory

log = logging.getLogger(__name__)


def run(settings: RunSettings, start: Path, folder: Path, data_root: Path) -> None:
    """Train from the model folder `start`; write `folder/model` (and `folder/best`, with validation), `metrics.jsonl`
    and, last, `manifest.json`."""
    started = time.monotonic()
    verify_outputs(start.parent)
    with exclusive(folder):
        trainer = Trainer(settings, start, folder, data_root)
        identity = {"settings": stage_digest(settings, "train"), "start": sha256_file(start / WEIGHTS)}
        withdraw_manifest(folder)
        checkpoint.begin(folder / "checkpoints", identity)
        follower = start_follower(folder) if settings.tracking.live else None
        trainer.train()
        trainer.save(folder / "model")
        checkpoint.clear(folder / "checkpoints")
        written, facts = files_of(folder / "model"), {}
        if trainer.selection.best is not None:
            written, facts = written + files_of(folder / BEST), {"best": trainer.selection.state()}
        write_manifest(folder, settings, data_root, {"start": start}, started, written, facts)
    log.info("done: %s%s", folder, "" if follower is None else " (MLflow mirror catches up in the background)")


class Trainer:
    """Everything one run holds in memory."""

    def __init__(self, settings: RunSettings, start: Path, folder: Path, data_root: Path) -> None:
        self.settings, self.folder, self.start = settings, folder, start
        self.device = engine.prepare(settings.engine)
        self.tokenizer = load_tokenizer(start)
        self.actor = load_decoder(start, self.device)
        require_positions(self.actor, settings.prompt.max_tokens + settings.decoding.max_response_tokens, start)
        reference = load_decoder(start, self.device).requires_grad_(False) if settings.training.kl else None
        self.policy = self._policy(settings.decoding.temperature)
        self.estimator = ALGORITHMS[settings.algorithm.name]
        self.kinds = self.estimator.heads(settings.algorithm)
        heads = build_heads(
            self.actor.shape.hidden_size,
            sorted(self.kinds),
            settings.training.critic.head_hidden,
            stream(settings, "initialization"),
        ).to(self.device)
        backbone = self.actor.model
        if settings.training.critic.backbone == "separate":
            backbone = load_decoder(start, self.device).model
        self.critic = Critic(backbone, heads, self.kinds, settings.training.micro_batch_tokens, self.device)
        self.learner = Learner(
            self.actor,
            reference,
            self.critic,
            settings.training,
            self.policy.restriction,
            settings.decoding.temperature,
            settings.engine.dtype == "bfloat16",
        )
        benchmark = make_benchmark(settings.benchmark, data_root)
        tasks = split_train(settings, benchmark)
        self.tasks = tasks.reinforcement
        self.rollout = Rollout(benchmark, self.policy, settings.prompt)
        validator = self._policy(settings.training.validation.temperature)
        self.selection = ModelSelection(settings, Rollout(benchmark, validator, settings.prompt), tasks.validation)

    def _policy(self, temperature: float) -> LocalPolicy:
        """The actor as a player."""
        settings = self.settings
        decoding = settings.decoding.model_copy(update={"temperature": temperature})
        interface, limit = settings.prompt.interface, settings.prompt.max_tokens
        return LocalPolicy(self.actor, self.tokenizer, decoding, interface, limit, self.device)

    def train(self) -> None:
        total = self.settings.training.iterations
        first = self._resume()
        metrics = MetricsLog(self.folder, "iteration", keep=first)
        resume_rows(self.folder / episodes.FILE, "iteration", keep=first)
        progress = Progress("training", total, first)
        for iteration in range(first, total):
            row, timings, records = self.iterate(iteration)
            for record in records:
                append_jsonl(self.folder / episodes.FILE, record)
            metrics.write(row, timings)
            progress.show(iteration + 1, f"success {row['train/success']:.2f}  turns {row['train/turns']:.1f}")
            if (iteration + 1) % self.settings.training.checkpoint_every == 0 and iteration + 1 < total:
                checkpoint.save(self.folder / "checkpoints", iteration + 1, self._state())
        metrics.require(range(1, total + 1))
        self.rollout.close()
        self.selection.close()

    def iterate(self, iteration: int) -> tuple[dict[str, Any], dict[str, float], list[dict[str, Any]]]:
        """One iteration of the method; returns its metrics, how long each part took, and some of its episodes."""
        settings, clock = self.settings, _Clock()
        tasks, groups = draw_tasks(self.tasks, settings, iteration)
        played = self.rollout.play(tasks, groups, stream(settings, "rollout", iteration))
        trajectories = [t for t in played if t.failure is None and t.turns]
        if not trajectories:
            raise UserError(f"iteration {iteration + 1}: every episode broke, the first with: {played[0].failure}")
        clock.lap("rollout")
        turns = turn_arrays(trajectories)
        states, values = self._values(trajectories, turns.chosen.shape[2])
        credit = self.estimator.credit(turns, values, settings.algorithm)
        require_credit(credit, turns, self.kinds, settings.algorithm.name)
        clock.lap("credit")
        random = np.random.default_rng(stream(settings, "update", iteration))
        updates = self.learner.update_critic(states, _targets(states, values, credit), random)
        clock.lap("critic")
        rows = turn_rows(trajectories, credit)
        # without value heads there is no critic to wait for
        if train_actor := not self.kinds or iteration >= settings.training.critic.warmup_iterations:
            updates |= self.learner.update_actor(rows, random, self._learning_rate(iteration))
            clock.lap("actor")
        row = {"iteration": iteration + 1, "episodes": (iteration + 1) * settings.training.episodes}
        row |= rollout_metrics(played) | explained_variance(values, credit) | updates
        if self.selection.due(iteration + 1):
            row |= self.selection.measure(iteration + 1)
            if self.selection.best is not None and self.selection.best.iteration == iteration + 1:
                self.save(self.folder / BEST)
            clock.lap("validation")
        update = episodes.Update(trajectories, values, credit, rows, train_actor)
        kept = settings.tracking.episodes
        records = episodes.training_records(iteration + 1, played, update, self.policy.decode, kept)
        return {name: round(value, 6) for name, value in row.items()}, clock.laps, records

    def _values(self, trajectories: list[Trajectory], tokens: int) -> tuple[list[State], dict[str, Floats]]:
        """The turns' states (for the critic's update) and the value arrays `[trajectory, turn + 1]` of every head; of
        one that is read at every token `[trajectory, turn + 1, tokens]`."""
        kinds = sorted(set(self.kinds.values()))
        shape = (len(trajectories), max(len(t.turns) for t in trajectories) + 1, tokens)
        states = [
            turn_state(turn, (i, t), kinds, self.learner.frozen_features)
            for i, trajectory in enumerate(trajectories)
            for t, turn in enumerate(trajectory.turns)
        ]
        further = []
        if self.settings.algorithm.bootstrap_truncated:
            further = bootstrap_states(trajectories, self.policy.encode_prompt, self._encode_kept)
        self.critic.fill_features(states + further)
        values = {head: self.critic.values(states + further, head, shape) for head in self.kinds}
        if self.settings.algorithm.switch_advantage == "paper":
            previous = previous_subgoal_states(trajectories, self._encode_kept)
            self.critic.fill_features(previous)
            values["low_previous"] = self.critic.values(previous, "low", shape)
        return states, values

    def _encode_kept(self, subgoal: str | None) -> np.ndarray:
        """Tokens of an answer that keeps `subgoal`, up to the end of the subgoal block; no subgoal is called None, as
        in prompts."""
        answer = render(False, subgoal or "None", "")
        text = answer[: answer.index("</subgoal>") + len("</subgoal>")]
        return np.asarray(self.tokenizer.encode(text, add_special_tokens=False), dtype=np.int32)

    def _learning_rate(self, iteration: int) -> float:
        """Linear from `learning_rate` to `final_learning_rate` over the iterations."""
        training = self.settings.training
        share = iteration / max(1, training.iterations - 1)
        return training.learning_rate + share * (training.final_learning_rate - training.learning_rate)

    def _state(self) -> dict[str, Any]:
        return {
            "actor": self.actor.state_dict(),
            "heads": self.critic.heads.state_dict(),
            "backbone": self._own_backbone(),
            "actor_optimizer": self.learner.actor_optimizer.state_dict(),
            "critic_optimizer": self.learner.critic_optimizer.state_dict(),
            "best": self.selection.state(),
        }

    def _own_backbone(self) -> dict[str, torch.Tensor]:
        """The critic's backbone where it is not the actor's."""
        separate = self.settings.training.critic.backbone == "separate"
        return dict(self.critic.backbone.state_dict()) if separate else {}

    def _resume(self) -> int:
        loaded = checkpoint.load_latest(self.folder / "checkpoints")
        if loaded is None:
            return 0
        iteration, state = loaded
        self.actor.load_state_dict(state["actor"])
        self.critic.heads.load_state_dict(state["heads"])
        if state["backbone"]:
            assert isinstance(self.critic.backbone, Backbone)
            self.critic.backbone.load_state_dict(state["backbone"])
        self.learner.actor_optimizer.load_state_dict(state["actor_optimizer"])
        self.learner.critic_optimizer.load_state_dict(state["critic_optimizer"])
        self.selection.restore(state["best"])
        log.info("resuming after iteration %d of %d", iteration, self.settings.training.iterations)
        return iteration

    def save(self, folder: Path) -> None:
        """Write the model as it is now: a Hugging Face folder, the value heads (and a separate critic's backbone)
        beside the model."""
        end = int(self.tokenizer.eos_token_id)
        pad = int(self.tokenizer.pad_token_id if self.tokenizer.pad_token_id is not None else end)
        save_decoder(self.actor, folder, self.start, end, pad)
        tensors = {name: p.detach().cpu().contiguous() for name, p in self.critic.heads.state_dict().items()}
        tensors |= {f"backbone.{name}": p.detach().cpu().contiguous() for name, p in self._own_backbone().items()}
        save_tensors(tensors, folder / HEADS)


def _targets(states: list[State], values: Mapping[str, Floats], credit: Credit) -> dict[str, Targets]:
    """Each head's old values, targets and mask in the order of `states`, [states] or [states, token]."""
    rows, columns = np.array([state.place for state in states]).T
    return {
        head: Targets(
            old=values[head][rows, columns].astype(np.float32),
            target=target[rows, columns].astype(np.float32),
            mask=mask[rows, columns],
        )
        for head, (target, mask) in credit.targets.items()
    }


class _Clock:
    """Seconds between laps."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self.last = time.monotonic()

    def lap(self, name: str) -> None:
        now = time.monotonic()
        self.laps[name], self.last = now - self.last, now
