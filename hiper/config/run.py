"""Settings of a run, and of the grid that an experiment is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator

from hiper.config.benchmark import BENCHMARKS, BenchmarkSettings, WebshopSettings
from hiper.config.engine import Engine
from hiper.config.errors import explain, nearest, shown
from hiper.config.model import Model
from hiper.config.rollout import RolloutSettings
from hiper.config.types import (
    Count,
    CountOrZero,
    Distinct,
    NonNegative,
    Positive,
    Probability,
    ProbabilityOrAuto,
    Settings,
)
from hiper.errors import UserError

FEWEST_BATCHES = 4  # that gradient variance can be measured with
BLOCK_TOKENS = 9  # six tags, a decision, an action of one token, the end


def _registered(name: str) -> str:
    from hiper.algorithms.registry import ALGORITHMS

    if name not in ALGORITHMS:
        known = ", ".join(sorted(ALGORITHMS))
        hint = nearest(name, ALGORITHMS)
        raise ValueError(f"{shown(name)} is not registered in hiper/algorithms/registry.py, which has: {known}{hint}")
    return name


class Prompt(Settings):
    interface: Literal["plan_execute", "react"]
    style: Literal["full", "compact"]  # compact: same fields, few words, for models trained from scratch
    history_length: CountOrZero
    max_tokens: Count


class Decoding(Settings):
    """`free` samples any text; `guided` permits only the block format and admissible actions."""

    mode: Literal["free", "guided"]
    temperature: NonNegative  # 0: greedy
    max_response_tokens: Count
    max_text_tokens: Count  # of each free text that guided decoding permits: a subgoal, a thought, a search


class Demonstrations(Settings):
    tasks: Count  # the first so many of the train split, in a seeded order; RL trains on the others
    seed: CountOrZero
    max_turns: Count  # the expert's own limit; episodes it does not win within it are left out
    hesitation: Probability  # chance of a needless command before each useful one


class WarmStart(Settings):
    method: Literal["sft", "none"]
    steps: Count
    batch_turns: Count
    learning_rate: Positive
    warmup_steps: CountOrZero
    weight_decay: NonNegative
    held_out: Annotated[float, Field(ge=0.0, lt=1.0)]  # share of demonstration episodes for the validation loss
    checkpoint_every: Count  # steps

    @model_validator(mode="after")
    def warm_up_ends(self) -> WarmStart:
        if self.warmup_steps > self.steps:
            raise ValueError(f"warmup_steps = {self.warmup_steps} must not exceed steps = {self.steps}")
        return self


class Penalties(Settings):
    invalid: NonNegative  # subtracted on turns with a malformed response
    keep: Annotated[float, Field(le=0.0)]  # added on KEEP turns
    keep_mode: Literal["fixed", "normalized", "none"]
    keep_skip_first: bool
    consistency: Annotated[float, Field(le=0.0)]  # added where KEEP comes with an altered subgoal
    consistency_requires_both: bool
    switch_floor: NonNegative  # coefficient of the switch-rate floor of the authors' logged runs
    switch_floor_rate: Probability


class Group(Settings):
    """What the algorithms that compare episodes of one task compare with what; the others do not read it."""

    mode: Literal["mean_norm", "mean_std_norm"]  # advantages divided by their group's standard deviation, or not
    cross_steps: bool  # a group's mean, standard deviation and size count turns, not episodes
    lone_return: bool  # an episode without others in its group gets its return, not 0
    omega: NonNegative  # gigpo, graphhca, hiper_potentials: weight of the step advantage
    history_length: CountOrZero  # hgpo: anchors before a turn's own that may be compared, K
    alpha: NonNegative  # hgpo: groups of k anchors weigh (k + 1)^alpha
    base_group: bool  # hgpo: the episode's advantage counts as the group of no anchor
    # graphhca, hiper_potentials: lower potentials count as this in logarithms
    potential_floor: Annotated[float, Field(gt=0.0, lt=1.0)]


class Algorithm(Settings):
    name: Annotated[str, AfterValidator(_registered)]
    group_size: Count
    gamma: Probability
    lam_turn: Probability
    lam_seg: Probability
    lam_boundary: ProbabilityOrAuto  # 0: as published; auto: by V_high's explained variance
    target_lambda: Probability | None  # every λ of the values' targets; null: those of the advantages. VC-PPO's is 1
    switch_advantage: Literal["return", "paper", "none"]
    normalize: bool
    bootstrap_truncated: bool
    token_weight: NonNegative  # vetta: of what tells the tokens of a turn apart
    penalties: Penalties
    group: Group


class Pretraining(Settings):
    """Before RL the values learn Monte-Carlo returns on what the start model plays, a batch of `training.episodes` at a
    time, as long as their explained variance rises (VC-PPO, arXiv 2503.01491)."""

    episodes: CountOrZero  # at most; they are part of the budget, iterations x episodes. 0: no pretraining
    patience: Count  # batches in which the best explained variance, the mean over heads, did not rise by `tolerance`
    tolerance: NonNegative


def _blocks(value: Any) -> Any:
    """One message for both; pydantic has one for each."""
    if value == "all" or (type(value) is int and value >= 1):
        return value
    raise ValueError(
        f"{shown(value)} must be 'all' or a whole number from 1; a critic without blocks of its own is backbone: "
        "shared with detach: true"
    )


Blocks = Annotated[int | Literal["all"], BeforeValidator(_blocks)]


class Critic(Settings):
    backbone: Literal["shared", "separate"]
    detach: bool  # shared backbone only: value losses do not reach it
    # separate backbone only: heads on its first so many blocks; VETTA's (arXiv 2610.08402) stand on 2
    trunk_blocks: Blocks
    head_hidden: CountOrZero  # width of one hidden layer in each value head; 0: linear
    learning_rate: Positive
    epochs: Count
    warmup_iterations: CountOrZero  # of `iterations`, those that train the critic alone
    pretraining: Pretraining
    clip: Positive  # squared only
    # where a head explains less of a batch's returns than their mean, that is the baseline (EVPO, arXiv 2604.19485)
    gate: bool
    # hl_gauss: the value as a class, cross-entropy (Farebrother et al. 2024, arXiv 2403.03950)
    loss: Literal["squared", "hl_gauss"]
    bins: Annotated[int, Field(ge=2)]  # hl_gauss: classes of equal width from bins_low to bins_high
    bins_low: float
    bins_high: float
    bins_sigma: Positive  # deviation of a target, in widths of a bin

    @model_validator(mode="after")
    def bins_have_width(self) -> Critic:
        if self.bins_low >= self.bins_high:
            raise ValueError(f"bins_low = {self.bins_low} must be below bins_high = {self.bins_high}")
        return self

    @model_validator(mode="after")
    def trunk_is_its_own(self) -> Critic:
        if self.backbone == "shared" and self.trunk_blocks != "all":
            raise ValueError(
                f"trunk_blocks = {self.trunk_blocks} are blocks of the critic's own, and with backbone: shared it has "
                "none; set backbone: separate, or trunk_blocks: all"
            )
        return self


class Validation(Settings):
    """Which model of a run is its best: the one that wins most of `tasks` tasks of the train split that nothing else
    plays and no table reports, looked at `every` so many iterations and at the last."""

    tasks: CountOrZero  # 0: no validation, the last model is the only one
    every: Count
    temperature: NonNegative


class Training(Settings):
    iterations: Count
    episodes: Count  # per iteration
    epochs: Count
    mini_batch_turns: Count
    micro_batch_tokens: Count
    learning_rate: Positive
    final_learning_rate: NonNegative  # linear decay over the iterations
    weight_decay: NonNegative
    gradient_clip: Positive
    loss: str  # of the policy, by its name in hiper/learning/losses.py
    clip_low: Positive
    clip_high: Positive
    dual_clip: Annotated[float, Field(gt=1.0)] | None
    kl: NonNegative
    entropy: NonNegative
    checkpoint_every: Count
    validation: Validation
    critic: Critic

    @model_validator(mode="after")
    def actor_trains(self) -> Training:
        before = self.critic.pretraining.episodes
        if before and self.critic.warmup_iterations:
            raise ValueError(
                f"critic.pretraining.episodes = {before} and critic.warmup_iterations = "
                f"{self.critic.warmup_iterations} are two ways to let the critic learn first; set one of them to 0"
            )
        if before % self.episodes:
            raise ValueError(
                f"critic.pretraining.episodes = {before} must be a multiple of episodes = {self.episodes}: they are "
                "played in batches of this size"
            )
        if self.critic.warmup_iterations >= self.iterations:
            raise ValueError(
                f"critic.warmup_iterations = {self.critic.warmup_iterations} must be below iterations = "
                f"{self.iterations}: the actor would never train"
            )
        return self


class Evaluation(Settings):
    """`exhaustive` plays every task of a split once; `sampled` draws `sampled_episodes` tasks with replacement, as the
    paper's code does. Each is played by every model of a run that `checkpoints` names."""

    protocols: Annotated[list[Literal["exhaustive", "sampled"]], Field(min_length=1), Distinct]
    sampled_episodes: Count  # of each split
    checkpoints: Annotated[list[Literal["last", "best"]], Field(min_length=1), Distinct]
    splits: Annotated[list[str], Field(min_length=1), Distinct] | None  # of benchmark.splits.evaluation; None: all
    temperatures: Annotated[list[NonNegative], Field(min_length=1), Distinct]
    batch: Count


class Variance(Settings):
    """How the gradient variance of the estimators is measured: over `batches` of `tasks` × `group_size` episodes that
    the warm start plays, after `critic_batches` others on which value heads learn."""

    batches: CountOrZero  # 0: not at all
    critic_batches: CountOrZero
    tasks: Count
    group_size: Annotated[int, Field(ge=2)]  # the group baselines compare episodes of one task

    @model_validator(mode="after")
    def enough(self) -> Variance:
        if 0 < self.batches < FEWEST_BATCHES:
            raise ValueError(
                f"batches = {self.batches} are too few for an interval: make it {FEWEST_BATCHES} at least, or 0 for no "
                "measurement"
            )
        return self


class Tracking(Settings):
    live: bool  # mirror metrics to MLflow while a run goes on, from a process of its own
    episodes: CountOrZero  # recorded per training iteration in `episodes.jsonl`, for `hiper inspect`


class RunSettings(Settings):
    """Everything that determines a run."""

    experiment: str
    seed: CountOrZero
    benchmark: Annotated[BenchmarkSettings, Field(discriminator="name")]
    prompt: Prompt
    model: Model
    decoding: Decoding
    demonstrations: Demonstrations
    warm_start: WarmStart
    algorithm: Algorithm
    training: Training
    evaluation: Evaluation
    variance: Variance
    engine: Engine
    rollout: RolloutSettings
    tracking: Tracking

    @property
    def evaluated_splits(self) -> list[str]:
        return list(self.benchmark.splits.evaluation) if self.evaluation.splits is None else self.evaluation.splits

    @model_validator(mode="after")
    def consistent(self) -> RunSettings:
        if problems := [problem for part in (_learning, _text, _splits) for problem in part(self)]:
            raise ValueError("\n".join(problems))
        return self


def _learning(run: RunSettings) -> Iterator[str]:
    """Contradictions between what is trained and how."""
    from hiper.algorithms.registry import ALGORITHMS

    estimator = ALGORITHMS[run.algorithm.name]
    if run.training.episodes % run.algorithm.group_size:
        yield (
            f"training.episodes = {run.training.episodes} must be a multiple of algorithm.group_size = "
            f"{run.algorithm.group_size}"
        )
    if run.algorithm.group_size == 1 and estimator.grouped:
        yield (
            f"algorithm.group_size = 1: algorithm {run.algorithm.name} learns from differences between episodes of one "
            "task; make it 2 at least (the published runs have 8)"
        )
    if estimator.hierarchical and run.prompt.interface != "plan_execute":
        yield f"algorithm {run.algorithm.name} needs prompt.interface: plan_execute"
    paper = run.algorithm.switch_advantage == "paper"
    if paper and estimator.hierarchical and not estimator.heads(run.algorithm):
        yield (
            f"algorithm.switch_advantage 'paper' compares V_high with V_low, and algorithm {run.algorithm.name} learns "
            "neither: use 'return' or 'none'"
        )
    draws = run.training.episodes // run.algorithm.group_size
    critic = run.training.critic
    if critic.pretraining.episodes and estimator.heads(run.algorithm):
        left = run.training.iterations * run.training.episodes - critic.pretraining.episodes
        if left // run.algorithm.group_size < run.training.iterations * run.engine.processes:
            yield (
                f"training.critic.pretraining.episodes = {critic.pretraining.episodes} leave {left} of iterations x "
                f"episodes for {run.training.iterations} iterations, and each needs a group of algorithm.group_size = "
                f"{run.algorithm.group_size} for each process; make them fewer"
            )
        if critic.backbone == "shared" and not critic.detach:
            yield (
                "training.critic.pretraining would change the policy before RL, because the critic trains its "
                "backbone; set training.critic.backbone: separate, or training.critic.detach: true"
            )
    if draws < run.engine.processes:
        yield (
            f"training.episodes in groups of algorithm.group_size make {draws} groups, fewer than the "
            f"{run.engine.processes} processes of engine.gpus x engine.nodes: a group is played by one process, so "
            "some would have none; lower engine.gpus or engine.nodes"
        )
    if run.engine.name == "deepspeed" and run.training.critic.backbone == "shared" and not run.training.critic.detach:
        yield (
            "engine deepspeed gives each weight one optimiser, and a critic that trains the actor's backbone would be "
            "a second; set training.critic.backbone: separate, or training.critic.detach: true"
        )
    blocks = run.training.critic.trunk_blocks
    if run.model.scratch is not None and blocks != "all" and blocks > run.model.scratch.layers:
        yield (
            f"training.critic.trunk_blocks = {blocks}: model.scratch.layers = {run.model.scratch.layers} are all that "
            "there are; make it fewer, or all"
        )
    if run.model.scratch is not None and run.warm_start.method == "none":
        yield (
            "warm_start.method 'none' needs a pretrained model (model.path): a model from scratch knows nothing; "
            "make it 'sft'"
        )
    if run.decoding.temperature == 0.0:
        yield (
            "decoding.temperature = 0 never tries another action, so RL has nothing to learn from; set it above 0 "
            "(evaluation.temperatures may hold 0)"
        )


def _text(run: RunSettings) -> Iterator[str]:
    """Contradictions between what the model reads and what it may write."""
    decoding = run.decoding
    texts, what = (2, "a subgoal and a search") if isinstance(run.benchmark, WebshopSettings) else (1, "the subgoal")
    if decoding.max_response_tokens < (least := texts * decoding.max_text_tokens + BLOCK_TOKENS):
        yield (
            f"decoding.max_response_tokens = {decoding.max_response_tokens} must be {least} at least: {what}, "
            f"decoding.max_text_tokens = {decoding.max_text_tokens}{' each' if texts > 1 else ''}, and {BLOCK_TOKENS} "
            "for the tags, the decision and the action"
        )
    if run.prompt.style == "compact" and run.warm_start.method == "none" and decoding.mode == "free":
        yield (
            "prompt.style 'compact' does not tell the answer's format: with warm_start.method 'none' and decoding.mode "
            "'free' no answer would have it; use prompt.style 'full', or change one of the others"
        )


def _splits(run: RunSettings) -> Iterator[str]:
    """Splits and models that are asked for and do not exist, or would be made empty."""
    splits = run.benchmark.splits
    if "best" in run.evaluation.checkpoints and not run.training.validation.tasks:
        yield (
            "evaluation.checkpoints: 'best' is chosen by validation: set training.validation.tasks above 0, or leave "
            "'best' out"
        )
    for name in run.evaluation.splits or []:
        if name not in splits.evaluation:
            known = ", ".join(splits.evaluation)
            hint = nearest(name, splits.evaluation)
            yield f"evaluation.splits: benchmark {run.benchmark.dataset} has no split {name!r}, it has: {known}{hint}"
    known_uses = ["train", *(use for use in run.evaluated_splits if use in splits.evaluation)]
    used = {splits.named(use): use for use in known_uses}
    for split, setting in run.benchmark.empty_splits():
        if split in used:
            yield f"benchmark.{setting} = 0 leaves the split {used[split]!r} empty; make at least one task"


class Grid(Settings):
    """Which runs an experiment consists of: the product of its lists."""

    benchmarks: Annotated[list[str], Field(min_length=1), Distinct]
    models: Annotated[list[str], Field(min_length=1), Distinct]
    algorithms: Annotated[list[str], Field(min_length=1), Distinct]
    seeds: Annotated[list[CountOrZero], Field(min_length=1), Distinct]


T = TypeVar("T", bound=Settings)


def _parse(model: type[T], values: Any, source: str) -> T:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise UserError(explain(error, source, model, values)) from None


def parse_run(values: dict[str, Any], source: str) -> RunSettings:
    """Validate a composed configuration; UserError lists every offending key, its value and what is allowed."""
    return _parse(RunSettings, values, source)


def parse_grid(values: dict[str, Any], source: str) -> Grid:
    return _parse(Grid, values, source)


def parse_benchmark(values: dict[str, Any], source: str) -> BenchmarkSettings:
    name = values.get("name")
    if name not in BENCHMARKS:
        known = f"must be one of {', '.join(BENCHMARKS)}"
        raise UserError(f"{source}: name = {shown(name)}: {known}" if name else f"{source}: name: missing; it {known}")
    return _parse(BENCHMARKS[name], values, source)
