"""From an experiment's settings to what it costs: the counting of `hiper.planning` applied to each kind of run."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from hiper.benchmarks.record import record_of
from hiper.compose import WARM_START, RunName, configuration_file
from hiper.config import RunSettings, parse_run
from hiper.errors import UserError
from hiper.grids import compose_grid
from hiper.learning import pretrained
from hiper.planning.assumptions import Assumptions
from hiper.planning.files import Files, checkpoint_seconds, checkpoints_of, run_files, waiting_seconds
from hiper.planning.host import Host, training_host
from hiper.planning.memory import MIXED, Layout, Memory, estimate, playing_bytes
from hiper.planning.shapes import PUBLISHED, Models, ModelShape, forward_operations
from hiper.planning.step import (
    Episodes,
    Passes,
    Sampler,
    Step,
    generation_seconds,
    offloaded_seconds,
    passes,
    step,
    transferred_seconds,
)
from hiper.policies import room
from hiper.records import read_json
from hiper.yaml_files import read_yaml

KEPT_CHECKPOINTS = 2
HOUR = 3600.0
WEIGHTS_SHARED = 3  # the ZeRO stage from which on the sampler has a copy of its own
FLOAT32, BFLOAT16 = Sampler(4, 4, True), Sampler(2, 2, False)


def shape_of(settings: RunSettings) -> ModelShape | None:
    """The model's sizes: from its configuration, the folder that `model.path` names or, where that is not here, the
    table of published ones; None where none of them tells."""
    if (scratch := settings.model.scratch) is not None:
        heads = scratch.heads
        sizes = (scratch.vocabulary, scratch.hidden, scratch.intermediate, scratch.layers, heads, heads)
        return ModelShape(*sizes, True)
    assert settings.model.path is not None
    try:
        folder = pretrained.located(settings.model.path)
    except UserError:
        return None  # `needs` says why
    if folder is None:
        return PUBLISHED.get(settings.model.path)
    from hiper.learning import model_config  # torch comes with it: only for those who have a model's folder

    path = folder / pretrained.CONFIGURATION
    try:
        return ModelShape.of(model_config.shape_of(read_json(path), path))
    except UserError:
        return None  # `needs` says why


@dataclass(frozen=True)
class Plan:
    """One run, counted. All of it follows from the settings and the assumptions."""

    name: RunName
    settings: RunSettings
    shape: ModelShape
    assumed: Assumptions

    @property
    def on_gpu(self) -> bool:
        return self.settings.engine.device == "cuda"

    @property
    def gpus(self) -> int:
        """That train it. All other stages run on one."""
        return self.settings.engine.processes if self.assumed.gpus is None else self.assumed.gpus

    @property
    def layout(self) -> Layout:
        memory = self.assumed.card.memory if self.on_gpu else None
        return room.layout_of(self.settings, self.shape, self.gpus, memory)

    @property
    def sampler(self) -> Sampler:
        """Of training: the local engine's samples with the weights that it trains."""
        return BFLOAT16 if self._vllm or self.settings.engine.name != "local" else self._local_sampler

    @property
    def _local_sampler(self) -> Sampler:
        """Float32 weights, products as in training."""
        return replace(FLOAT32, single=self.settings.engine.dtype == "float32")

    @property
    def _vllm(self) -> bool:
        return self.settings.rollout.backend == "vllm"

    def episodes(self, count: int) -> Episodes:
        limit = self.settings.benchmark.max_turns
        prompt, response = self.assumed.tokens(record_of(self.settings.benchmark.name).tokens)
        prompt = min(prompt, float(self.settings.prompt.max_tokens))
        longest = min(self.assumed.longest_response * response, float(self.settings.decoding.max_response_tokens))
        return Episodes(count, self.assumed.turn_share * limit, limit, prompt, min(response, longest), longest)

    @property
    def passes(self) -> Passes:
        training = self.settings.training
        critic = training.critic
        return passes(
            heads=bool(room.value_heads(self.settings)),
            detached=critic.backbone == "shared" and critic.detach,
            reference=training.kl > 0,
            epochs=training.epochs,
            critic_epochs=critic.epochs,
            again=self.layout.checkpointing,
            adapters=self.models.rank > 0,
            critic_share=self.models.critic_shape.num_hidden_layers / self.shape.num_hidden_layers,
            rescored=not room.exact(self.settings),
        )

    @property
    def models(self) -> Models:
        return room.networks(self.settings, self.shape)

    @cached_property
    def step(self) -> Step:
        """One training iteration, with the host's part of the updates of an offloaded optimiser."""
        played = self.episodes(self.settings.training.episodes)
        one = step(self.shape, played, self.passes, self.sampler, self.assumed.card, self.gpus, self.assumed.rates)
        if not self.layout.offload:
            return one
        training = self.settings.training
        actor = self._offloaded(played, self.models.actor.trained, training.epochs)
        critic = self._offloaded(played, self.models.critic.trained, training.critic.epochs)
        return replace(one, actor=one.actor + actor, critic=one.critic + critic)

    def _offloaded(self, played: Episodes, trained: int, epochs: int) -> float:
        """Seconds of a step that an offloaded optimiser of so many parameters takes: its updates and what travels."""
        training, cores, assumed = self.settings.training, self.settings.engine.threads * self.gpus, self.assumed
        updates = math.ceil(played.turn_count / training.mini_batch_turns)
        micro_batches = math.ceil(played.tokens / updates / training.micro_batch_tokens)
        rounds = updates * math.ceil(micro_batches / self.gpus)
        host = offloaded_seconds(trained, epochs * updates, cores, assumed.host_nanoseconds)
        return host + transferred_seconds(trained, epochs * rounds, epochs * updates, self.gpus, assumed.pcie)

    @property
    def memory(self) -> Memory:
        return self._memory(self.layout, self.sampler)

    def _memory(self, layout: Layout, sampler: Sampler) -> Memory:
        played = self.episodes(self.settings.training.episodes)
        budget = self.settings.training.micro_batch_tokens
        read_out = budget * played.response / (played.prompt + played.response)
        share = self._share(layout.gpus)
        staying = room.stays(self.settings, self.shape, layout, share, self.assumed.card.memory)
        return estimate(self.models, layout, budget, read_out, self._playing(layout, sampler, share), staying)

    def _share(self, gpus: int) -> float | None:
        """Of each GPU's memory, for vLLM; None for the other sampler."""
        sequences = room.sequences_in_training(self.settings, gpus)
        return room.vllm_share(self.settings, self.shape, sequences, self.assumed.card.memory)

    def _playing(self, layout: Layout, sampler: Sampler, share: float | None) -> float:
        """vLLM takes its share; the other needs a row of cache for each of the GPU's episodes."""
        if share is not None:
            return share * self.assumed.card.memory
        rows = -(-self.settings.training.episodes // layout.gpus)
        own_copy = sampler.weight_bytes if layout.zero_stage == WEIGHTS_SHARED else 0
        return playing_bytes(self.shape, rows, room.longest(self.settings), own_copy, sampler.value_bytes)

    @property
    def fewest_gpus(self) -> int | None:
        """The smallest power of two of GPUs on which it fits when all is shared out (ZeRO 3, activations computed
        again, a bfloat16 sampler beside it); None if 64 are too few."""
        for gpus in (1, 2, 4, 8, 16, 32, 64):
            layout = Layout(MIXED, gpus, 3, False, True)
            if self._memory(layout, BFLOAT16).peak <= self.assumed.card.memory:
                return gpus
        return None

    @property
    def host(self) -> Host:
        engine = self.settings.engine
        validated = self.settings.training.validation.tasks > 0
        return training_host(self.models, self.layout, engine.nodes, None if self.on_gpu else self.memory, validated)

    @property
    def training_seconds(self) -> float:
        training = self.settings.training
        checks = -(-training.iterations // training.validation.every) if training.validation.tasks else 0
        waiting = self.checkpoints * self.waiting_seconds
        return training.iterations * self.step.seconds + checks * self.validation_seconds + waiting

    @property
    def validation_seconds(self) -> float:
        """Of one."""
        tasks = self.settings.training.validation.tasks
        return self._play_seconds(tasks, self.sampler, self.gpus) if tasks else 0.0

    @property
    def checkpoint_seconds(self) -> float:
        """Until a checkpoint is there."""
        return sum(checkpoint_seconds(self.models, self.assumed.pcie, self.assumed.writing, self.gpus))

    @property
    def waiting_seconds(self) -> float:
        """Of a checkpoint that is not the last thing that a run does."""
        parts = checkpoint_seconds(self.models, self.assumed.pcie, self.assumed.writing, self.gpus)
        return waiting_seconds(*parts, self.step.seconds, self.settings.engine.offload_optimizer)

    @property
    def checkpoints(self) -> int:
        """Written by a run that nothing interrupts."""
        training = self.settings.training
        every, minutes = training.checkpoint_every, training.checkpoint_minutes
        return checkpoints_of(training.iterations, every, minutes, self.step.seconds)

    @property
    def evaluation_seconds(self) -> float:
        """On one GPU."""
        batch = self.settings.evaluation.batch
        sizes = [size for count in self.evaluated for size in [batch] * (count // batch) + [count % batch] if size]
        return sum(self._play_seconds(size, BFLOAT16 if self._vllm else self._local_sampler, 1) for size in sizes)

    def variance_seconds(self, algorithms: int) -> float:
        """Of measuring the gradients of so many algorithms on one warm start: one GPU, this project's sampler, and a
        pass with gradients for each algorithm and batch."""
        wanted = self.settings.variance
        played = self.episodes(wanted.tasks * wanted.group_size)
        context = (played.prompt + played.response) / 2
        forward = forward_operations(self.shape, played.tokens, context, played.response_tokens)
        gradient = 3.0 * forward / (self.assumed.card.flops * self.assumed.mfu)
        batches = wanted.critic_batches + wanted.batches
        return (
            batches * self._play_seconds(played.count, self._local_sampler, 1) + wanted.batches * algorithms * gradient
        )

    def _play_seconds(self, count: int, sampler: Sampler, gpus: int) -> float:
        rates, card = self.assumed.rates, self.assumed.card
        return sum(generation_seconds(self.shape, self.episodes(count), sampler, card, gpus, rates))

    @property
    def evaluated(self) -> list[int]:
        """Episodes of each split, protocol, temperature and model of an evaluation."""
        evaluation = self.settings.evaluation
        found = []
        for name in self.settings.evaluated_splits:
            for protocol in evaluation.protocols:
                found.append(evaluation.sampled_episodes if protocol == "sampled" else split_size(self.settings, name))
        return found * len(evaluation.temperatures) * len(evaluation.checkpoints)

    def files(self, trained: bool) -> Files:
        training = self.settings.training
        recorded = self.settings.tracking.episodes * training.iterations if trained else 0
        turns = self.episodes(1).turns
        return run_files(
            self.models,
            trained=trained,
            folders=2 if trained and training.validation.tasks else 1,
            kept=KEPT_CHECKPOINTS,
            recorded=recorded * turns,
            evaluated=sum(self.evaluated) * turns,
        )


def plan_of(name: RunName, settings: RunSettings, assumed: Assumptions) -> Plan | None:
    """None for a model of unknown sizes."""
    shape = shape_of(settings)
    return None if shape is None else Plan(name, settings, shape, assumed)


def split_size(settings: RunSettings, name: str) -> int:
    """Tasks of an evaluation split, as `configs/benchmark/` has them (the official data have as many)."""
    benchmark = settings.benchmark
    return benchmark.split_size(benchmark.splits.named(name))


def plans(
    experiment: str, root: Path, assumed: Assumptions, engine: str | None = None, rank: int | None = None
) -> tuple[list[Plan], list[RunSettings]]:
    """The runs of the grid, without warm starts, one per cell, and the settings of those whose model's sizes are
    unknown. In place of the experiment's own: `engine`, a file of configs/engine; `rank` of `model.lora`, 0 for none.
    """
    other = {} if engine is None else {"engine": read_yaml(configuration_file("engine", engine, root))}
    found: list[Plan] = []
    unknown: list[RunSettings] = []
    composed: dict[tuple[str, str, str], RunSettings] = {}
    for name, settings in compose_grid(experiment, root):
        cell = (name.benchmark, name.model, name.algorithm)
        if name.algorithm == WARM_START:
            continue
        if cell not in composed:  # seeds cost the same
            values = settings.model_dump()
            if rank is not None:
                values["model"]["lora"] = {"rank": rank, "alpha": float(rank)} if rank else None
            values |= other
            if assumed.gpus is not None:  # what composing refuses is no plan
                nodes = values["engine"]["nodes"] if assumed.gpus % values["engine"]["nodes"] == 0 else 1
                values["engine"] = {**values["engine"], "gpus": assumed.gpus // nodes, "nodes": nodes}
            given = {"engine": engine, "--gpus": assumed.gpus}
            told = " and ".join(f"{option} {value}" for option, value in given.items() if value is not None)
            composed[cell] = parse_run(values, f"experiment {experiment}{f' with {told}' if told else ''}")
        if (plan := plan_of(name, composed[cell], assumed)) is None:
            unknown.append(composed[cell])
        else:
            found.append(plan)
    return found, unknown
