"""Settings of a run, and of the grid that an experiment is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from hiper.algorithms.off_policy import off_policy_of
from hiper.algorithms.registry import ALGORITHMS
from hiper.algorithms.sampling import sampling_of
from hiper.config.algorithm import AlgorithmSection
from hiper.config.benchmark import BenchmarkSection, BenchmarkSettings
from hiper.config.engine import Engine
from hiper.config.errors import message_of
from hiper.config.model import Model
from hiper.config.rollout import RolloutSettings
from hiper.declarations import Before, ReadBy, Unread
from hiper.errors import UserError, nearest, shown
from hiper.fields import (
    Count,
    CountOrZero,
    Distinct,
    NonNegative,
    Positive,
    Probability,
    Settings,
)
from hiper.plugins import ENVIRONMENTS, known, load

FEWEST_BATCHES = 4  # that gradient variance can be measured with
BLOCK_TOKENS = 9  # six tags, a decision, an action of one token, the end
DATA_PARTS = ("name", "dataset", "task_types", "data")  # of a benchmark's settings: what its data set is made of


class Prompt(Settings):
    interface: Literal["plan_execute", "react", "blueprint"]
    style: Literal["full", "compact"]  # compact: same fields, few words, for models trained from scratch
    history_length: CountOrZero
    max_tokens: Count
    system: Annotated[str | None, Before(None)]  # a system message; None: what the chat template says without one
    thinking: Annotated[bool, Before(False)]  # of templates that ask (enable_thinking): whether answers begin with one
    # blueprint only: after so many turns with a subgoal the next of the plan begins by itself; None: never
    subgoal_turns: Annotated[Count | None, Before(None)]


class Decoding(Settings):
    """`free` samples any text; `guided` permits only the block format and admissible actions."""

    mode: Literal["free", "guided"]
    temperature: NonNegative  # 0: greedy
    max_response_tokens: Count
    max_text_tokens: Count  # of each free text that guided decoding permits: a subgoal, a thought, a search


class Demonstrations(Settings):
    # the first so many of the train split, in a seeded order; RL trains on the others
    tasks: Annotated[Count, ReadBy("variance")]
    seed: Annotated[CountOrZero, ReadBy("variance")]
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
    trunk_blocks: Annotated[Blocks, Before("all")]
    head_hidden: CountOrZero  # width of one hidden layer in each value head; 0: linear
    learning_rate: Positive
    epochs: Count
    warmup_iterations: CountOrZero  # of `iterations`, those that train the critic alone
    pretraining: Annotated[Pretraining, Before({"episodes": 0, "patience": 5, "tolerance": 0.01})]
    clip: Positive  # squared only
    # where a head explains less of a batch's returns than their mean, that is the baseline (EVPO, arXiv 2604.19485)
    gate: Annotated[bool, Before(False)]
    # hl_gauss: the value as a class, cross-entropy (Farebrother et al. 2024, arXiv 2403.03950)
    loss: Annotated[Literal["squared", "hl_gauss"], Before("squared")]
    bins: Annotated[int, Field(ge=2), Before(51)]  # hl_gauss: classes of equal width from bins_low to bins_high
    bins_low: Annotated[float, Before(-10.0)]
    bins_high: Annotated[float, Before(10.0)]
    bins_sigma: Annotated[Positive, Before(0.75)]  # deviation of a target, in widths of a bin

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


class DispoBounds(Settings):
    """How far the weight of a token may lie below and above 1; published as 0.2, 10, 1, 100 (arXiv 2602.00983)."""

    good_low: NonNegative
    good_high: NonNegative
    bad_low: NonNegative
    bad_high: NonNegative


class GbpoTarget(Settings):
    """Where the ratio of a token is drawn to; published as 0.3, 0.3, 1e-4 (arXiv 2604.18578)."""

    low: NonNegative
    high: NonNegative
    temperature: Positive  # in units of advantage


class FiberpoBounds(Settings):
    """How far log ratios may lie from 0; no published values are known (arXiv 2603.08239)."""

    turn: NonNegative  # their mean over a turn's tokens
    token: NonNegative  # what a token adds to it


class Training(Settings):
    iterations: Count
    episodes: Count  # per iteration
    # of the train split's for RL, in the seeded order, those that are played, again and again; None: all
    tasks: Annotated[Count | None, Before(None)]
    epochs: Count
    mini_batch_turns: Annotated[Count, ReadBy("variance")]
    micro_batch_tokens: Annotated[Count, ReadBy("warmstart", "variance")]
    learning_rate: Positive
    final_learning_rate: NonNegative  # linear decay over the iterations
    weight_decay: Annotated[NonNegative, ReadBy("variance")]
    gradient_clip: Annotated[Positive, ReadBy("warmstart", "variance")]
    # of the policy, by its name in hiper/learning/losses.py
    loss: Annotated[str, ReadBy("variance"), Before("ppo_clip")]
    clip_low: Positive
    clip_high: Positive
    dual_clip: Annotated[float, Field(gt=1.0)] | None
    dispo: Annotated[
        DispoBounds, ReadBy("variance"), Before({"good_low": 0.2, "good_high": 10.0, "bad_low": 1.0, "bad_high": 100.0})
    ]
    gbpo: Annotated[GbpoTarget, ReadBy("variance"), Before({"low": 0.3, "high": 0.3, "temperature": 1.0e-4})]
    fiberpo: Annotated[FiberpoBounds, ReadBy("variance"), Before({"turn": 0.1, "token": 0.2})]
    kl: NonNegative
    entropy: NonNegative
    checkpoint_every: Count  # iterations, if `checkpoint_minutes` have passed since the last one
    checkpoint_minutes: Annotated[NonNegative, Unread("when checkpoints are written changes no result"), Before(0.0)]
    validation: Annotated[Validation, ReadBy("variance")]
    critic: Annotated[Critic, ReadBy("variance")]

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


class Trials(Settings):
    """How settings of an experiment were chosen for each of its algorithms, for its report; `hiper choose` prints it,
    and `hiper.grids` compares it with the record."""

    record: str  # the table of all trials, a file named from the project's root (`hiper.trials`)
    each: Annotated[int, Field(ge=2)]  # trials of each algorithm
    seeds: Annotated[list[CountOrZero], Field(min_length=1), Distinct]  # of the trials; no run has one of them
    settings: Annotated[list[str], Field(min_length=1), Distinct]  # dotted names of those that were tried


class RunSettings(Settings):
    """Everything that determines a run, and which stages read it (`hiper.declarations`)."""

    experiment: Annotated[str, Unread("a name: experiments share what they have in common")]
    seed: Annotated[CountOrZero, ReadBy("warmstart", "train", "evaluate", "variance")]
    benchmark: Annotated[
        BenchmarkSection,
        ReadBy("data", parts=DATA_PARTS),
        ReadBy("demonstrations", "train", "evaluate", "variance"),
    ]
    prompt: Annotated[Prompt, ReadBy("demonstrations", "tokenizer", "warmstart", "train", "evaluate", "variance")]
    model: Annotated[Model, ReadBy("tokenizer", "warmstart", "train", "evaluate", "variance")]
    decoding: Annotated[Decoding, ReadBy("tokenizer", "warmstart", "train", "evaluate", "variance")]
    demonstrations: Annotated[Demonstrations, ReadBy("demonstrations", "train")]
    warm_start: Annotated[WarmStart, ReadBy("warmstart", "train")]
    algorithm: Annotated[AlgorithmSection, ReadBy("train", "variance")]
    training: Annotated[Training, ReadBy("train")]
    evaluation: Annotated[Evaluation, ReadBy("evaluate")]
    variance: Annotated[Variance, ReadBy("variance")]
    engine: Annotated[Engine, ReadBy("train", "variance")]
    rollout: RolloutSettings  # each of its settings has readers of its own
    tracking: Annotated[Tracking, Unread("how a run is watched and which of its episodes are kept: no result reads it")]
    trials: Annotated[Trials | None, Unread("says where other settings are from"), Before(None)]

    @property
    def evaluated_splits(self) -> list[str]:
        return list(self.benchmark.splits.evaluation) if self.evaluation.splits is None else self.evaluation.splits

    @model_validator(mode="after")
    def consistent(self) -> RunSettings:
        if problems := [problem for part in (_learning, _sampling, _text, _splits) for problem in part(self)]:
            raise ValueError("\n".join(problems))
        return self


def _learning(run: RunSettings) -> Iterator[str]:
    """Contradictions between what is trained and how."""
    if run.training.episodes % run.algorithm.group_size:
        yield (
            f"training.episodes = {run.training.episodes} must be a multiple of algorithm.group_size = "
            f"{run.algorithm.group_size}"
        )
    if ALGORITHMS[run.algorithm.name].hierarchical and run.prompt.interface != "plan_execute":
        yield f"algorithm {run.algorithm.name} needs prompt.interface: plan_execute"
    draws = run.training.episodes // run.algorithm.group_size
    critic = run.training.critic
    if critic.pretraining.episodes and ALGORITHMS[run.algorithm.name].heads(run.algorithm):
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


def _sampling(run: RunSettings) -> Iterator[str]:
    """Contradictions between what an algorithm learns from and what there is."""
    if off_policy_of(run.algorithm) is not None and (run.rollout.backend, run.engine.name) != ("local", "local"):
        yield (
            f"algorithm {run.algorithm.name} asks the model for fresh answers in the middle of updates, which "
            "rollout.backend: local gives it with engine.name: local; set both, or choose another algorithm"
        )
    if off_policy_of(run.algorithm) is not None and run.training.critic.gate:
        yield (
            f"training.critic.gate: algorithm {run.algorithm.name} learns from stored turns, whose values no gate "
            "looks at; set it to false"
        )
    sampling = sampling_of(run.algorithm)
    if sampling is not None and sampling.phases and run.prompt.interface != "blueprint":
        yield (
            f"algorithm.sampling.phases: with prompt.interface {run.prompt.interface!r} there are no plans that could "
            "learn apart from what follows them; set prompt.interface: blueprint, or phases: false"
        )


def _text(run: RunSettings) -> Iterator[str]:
    """Contradictions between what the model reads and what it may write."""
    decoding = run.decoding
    texts = load(ENVIRONMENTS, run.benchmark.name).own_texts
    if run.prompt.interface == "blueprint":
        texts = ("plan",)  # no answer has two texts, and no other text is longer
    if decoding.max_response_tokens < (least := len(texts) * decoding.max_text_tokens + BLOCK_TOKENS):
        what = " and ".join(f"a {text}" for text in texts) if len(texts) > 1 else f"the {texts[0]}"
        yield (
            f"decoding.max_response_tokens = {decoding.max_response_tokens} must be {least} at least: {what}, "
            f"decoding.max_text_tokens = {decoding.max_text_tokens}{' each' if len(texts) > 1 else ''}, and "
            f"{BLOCK_TOKENS} for the tags, the decision and the action"
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
            others = ", ".join(splits.evaluation)
            hint = nearest(name, splits.evaluation)
            yield f"evaluation.splits: benchmark {run.benchmark.dataset} has no split {name!r}, it has: {others}{hint}"
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
        raise UserError(message_of(error, source, model, values)) from None


def parse_model(values: dict[str, Any], source: str) -> Model:
    """As `parse_run`, of a file of `configs/model`."""
    return _parse(Model, values, source)


def parse_run(values: dict[str, Any], source: str) -> RunSettings:
    """Validate a composed configuration; UserError lists every offending key, its value and what is allowed."""
    return _parse(RunSettings, values, source)


def parse_grid(values: dict[str, Any], source: str) -> Grid:
    return _parse(Grid, values, source)


def parse_benchmark(values: dict[str, Any], source: str) -> BenchmarkSettings:
    name = values.get("name")
    if name not in (names := known(ENVIRONMENTS)):
        problem = f"name = {shown(name)}:" if name else "name: missing; it"
        raise UserError(f"{source}: {problem} must be one of {', '.join(names)}")
    model: type[BenchmarkSettings] = load(ENVIRONMENTS, str(name)).settings
    return _parse(model, values, source)
