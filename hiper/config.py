"""Typed settings of a run. The YAML files under `configs/` hold the one default of every setting; this module holds
their types and limits.

Hydra composes (`hiper.compose`); `parse_run` and `parse_grid` validate. Every model forbids unknown keys and has no
defaults, so a setting that is missing, misspelt or of the wrong type is an error that names it.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from hiper.config_errors import explain, nearest
from hiper.errors import UserError

Probability = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[float, Field(gt=0.0)]
NonNegative = Annotated[float, Field(ge=0.0)]
Count = Annotated[int, Field(ge=1)]
CountOrZero = Annotated[int, Field(ge=0)]
Width = Annotated[int, Field(ge=1, le=1 << 20)]  # of a layer or a vocabulary: more is a slip of the keyboard
Split = Literal["train", "valid_seen", "valid_unseen"]


def _distinct(values: Sequence[Hashable]) -> Sequence[Hashable]:
    if twice := sorted({str(value) for value in values if values.count(value) > 1}):
        raise ValueError(f"{', '.join(twice)} is listed twice; remove the repetition")
    return values


def _registered(name: str) -> str:
    from hiper.algorithms.registry import ALGORITHMS

    if name not in ALGORITHMS:
        known = ", ".join(sorted(ALGORITHMS))
        hint = nearest(name, ALGORITHMS)
        raise ValueError(f"{name!r} is not registered in hiper/algorithms/registry.py, which has: {known}{hint}")
    return name


Distinct = AfterValidator(_distinct)  # for lists

BLOCK_TOKENS = 9  # six tags, a decision, an action of one token, the end

TaskType = Literal[
    "pick_and_place_simple",
    "look_at_obj_in_light",
    "pick_clean_then_place_in_recep",
    "pick_heat_then_place_in_recep",
    "pick_cool_then_place_in_recep",
    "pick_two_obj_and_place",
]


class Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class Generation(Settings):
    """Games made from the room layouts of the alfworld package (used when `data.source` comes to `generate`)."""

    seed: CountOrZero
    receptacles: Count | None  # per room; None: as many as the room has
    objects: Count | None  # further objects per room; None: as crowded as the real rooms
    train: CountOrZero
    valid_seen: CountOrZero
    valid_unseen: CountOrZero


class Data(Settings):
    """Where the games come from. `auto` takes the first source that applies: folder, archives, download, generate."""

    source: Literal["auto", "folder", "archives", "download", "generate"]
    folder: str | None  # a folder in ALFWorld's layout; None: $ALFWORLD_DATA
    archives: Annotated[list[str], Distinct]  # local .tar.xz/.tar.gz/.zip files
    generate: Generation


class Splits(Settings):
    """Which of the data's splits each stage uses."""

    train: Split
    seen: Split
    unseen: Split

    @model_validator(mode="after")
    def apart(self) -> Splits:
        if len({self.train, self.seen, self.unseen}) < 3:
            raise ValueError("train, seen and unseen must be three different splits: a shared one leaks training games")
        return self


class BenchmarkSettings(Settings):
    name: Literal["alfworld"]
    dataset: str  # the folder `data/<dataset>`; equal to the configuration file's name
    game_engine: Literal["native", "textworld"]
    task_types: Annotated[list[TaskType], Field(min_length=1), Distinct]
    max_turns: Count
    success_reward: Positive
    splits: Splits
    data: Data


class Prompt(Settings):
    interface: Literal["plan_execute", "react"]
    style: Literal["full", "compact"]  # compact: same fields, few words, for models trained from scratch
    history_length: CountOrZero
    max_tokens: Count


class Scratch(Settings):
    """A Qwen2-layout model made here, with a byte-level BPE learned from the demonstrations."""

    vocabulary: Annotated[int, Field(ge=300, le=1 << 20)]
    hidden: Width
    layers: Annotated[int, Field(ge=1, le=1000)]
    heads: Width
    intermediate: Width

    @model_validator(mode="after")
    def heads_fit(self) -> Scratch:
        if self.hidden % self.heads or (self.hidden // self.heads) % 2:
            raise ValueError(
                f"hidden = {self.hidden} must be an even multiple of heads = {self.heads}: each head needs an even "
                "size for its rotary embedding"
            )
        return self


class Model(Settings):
    name: str
    path: str | None  # Hugging Face name or local folder; None: made from scratch
    scratch: Scratch | None

    @model_validator(mode="after")
    def one_origin(self) -> Model:
        if (self.path is None) == (self.scratch is None):
            raise ValueError(
                "give exactly one of model.path (a pretrained model) and model.scratch (sizes of a new one)"
            )
        return self


class Decoding(Settings):
    """`free` samples any text; `guided` permits only the block format and admissible actions."""

    mode: Literal["free", "guided"]
    temperature: NonNegative  # 0: greedy
    max_response_tokens: Count
    max_subgoal_tokens: Count


class Demonstrations(Settings):
    games: Count  # the first so many of the train split, in a seeded order; RL trains on the others
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
    keep_mode: Literal["fixed", "normalized"]
    keep_skip_first: bool
    consistency: Annotated[float, Field(le=0.0)]  # added where KEEP comes with an altered subgoal
    consistency_requires_both: bool
    switch_floor: NonNegative  # coefficient of the switch-rate floor of the authors' logged runs
    switch_floor_rate: Probability


class Algorithm(Settings):
    name: Annotated[str, AfterValidator(_registered)]
    group_size: Count
    gamma: Probability
    lam_turn: Probability
    lam_seg: Probability
    switch_advantage: Literal["return", "paper", "none"]
    normalize: bool
    bootstrap_truncated: bool
    penalties: Penalties


class Critic(Settings):
    backbone: Literal["shared", "separate"]
    detach: bool  # shared backbone only: value losses do not reach it
    head_hidden: CountOrZero  # width of one hidden layer in each value head; 0: linear
    learning_rate: Positive
    epochs: Count
    warmup_iterations: CountOrZero  # iterations that train the critic alone
    clip: Positive


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
    clip_low: Positive
    clip_high: Positive
    dual_clip: Annotated[float, Field(gt=1.0)] | None
    kl: NonNegative
    entropy: NonNegative
    checkpoint_every: Count
    critic: Critic

    @model_validator(mode="after")
    def actor_trains(self) -> Training:
        if self.critic.warmup_iterations >= self.iterations:
            raise ValueError(
                f"critic.warmup_iterations = {self.critic.warmup_iterations} must be below iterations = "
                f"{self.iterations}: the actor would never train"
            )
        return self


class Evaluation(Settings):
    """`exhaustive` plays every task of a split once; `sampled` draws `episodes` tasks with replacement, as the
    paper's code does."""

    protocol: Literal["exhaustive", "sampled"]
    episodes: Count | None
    splits: Annotated[list[Literal["seen", "unseen"]], Field(min_length=1), Distinct]
    temperatures: Annotated[list[NonNegative], Field(min_length=1), Distinct]
    batch: Count

    @model_validator(mode="after")
    def sampled_needs_count(self) -> Evaluation:
        if (self.protocol == "sampled") != (self.episodes is not None):
            raise ValueError(
                "evaluation.episodes is the sample size: give it for protocol 'sampled', null for 'exhaustive'"
            )
        return self


class Engine(Settings):
    name: Literal["local"]
    device: Literal["cpu", "cuda"]
    threads: Annotated[int, Field(ge=1, le=1024)]
    dtype: Literal["float32", "bfloat16"]  # of matrix products in training; parameters stay float32


class Tracking(Settings):
    live: bool  # mirror metrics to MLflow while a run goes on, from a process of its own
    episodes: CountOrZero  # recorded per training iteration in `episodes.jsonl`, for `hiper inspect`


class RunSettings(Settings):
    """Everything that determines a run."""

    experiment: str
    seed: CountOrZero
    benchmark: BenchmarkSettings
    prompt: Prompt
    model: Model
    decoding: Decoding
    demonstrations: Demonstrations
    warm_start: WarmStart
    algorithm: Algorithm
    training: Training
    evaluation: Evaluation
    engine: Engine
    tracking: Tracking

    @model_validator(mode="after")
    def consistent(self) -> RunSettings:
        if problems := [problem for part in (_learning, _text, _games) for problem in part(self)]:
            raise ValueError("\n".join(problems))
        return self


def _learning(run: RunSettings) -> Iterator[str]:
    """Contradictions between what is trained and how."""
    if run.training.episodes % run.algorithm.group_size:
        yield "training.episodes must be a multiple of algorithm.group_size"
    if run.algorithm.name == "hiper" and run.prompt.interface != "plan_execute":
        yield "algorithm hiper needs prompt.interface: plan_execute"
    if run.model.scratch is not None and run.warm_start.method == "none":
        yield "warm_start.method 'none' needs a pretrained model (model.path): a model from scratch knows nothing"
    if run.decoding.temperature == 0.0:
        yield (
            "decoding.temperature = 0 never tries another action, so RL has nothing to learn from; set it above 0 "
            "(evaluation.temperatures may hold 0)"
        )


def _text(run: RunSettings) -> Iterator[str]:
    """Contradictions between what the model reads and what it may write."""
    decoding = run.decoding
    if decoding.max_subgoal_tokens >= decoding.max_response_tokens:
        yield "decoding.max_subgoal_tokens must be below decoding.max_response_tokens"
    elif decoding.max_response_tokens - decoding.max_subgoal_tokens < BLOCK_TOKENS:
        yield (
            f"decoding.max_response_tokens must exceed decoding.max_subgoal_tokens by {BLOCK_TOKENS} at least: the "
            "tags, the decision and the action come on top of the subgoal"
        )
    if run.prompt.style == "compact" and run.warm_start.method == "none" and decoding.mode == "free":
        yield (
            "prompt.style 'compact' does not tell the answer's format: with warm_start.method 'none' and decoding.mode "
            "'free' no answer would have it; use prompt.style 'full', or change one of the others"
        )


def _games(run: RunSettings) -> Iterator[str]:
    """Splits that are asked for and would be made empty."""
    data, splits = run.benchmark.data, run.benchmark.splits
    if data.source != "generate":
        return
    for use in ("train", *run.evaluation.splits):
        split = getattr(splits, use)
        if getattr(data.generate, split) == 0:
            yield f"benchmark.data.generate.{split} = 0 leaves the split {use!r} empty; make at least one game"


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
        raise UserError(explain(error, source, model)) from None


def parse_run(values: dict[str, Any], source: str) -> RunSettings:
    """Validate a composed configuration; UserError lists every offending key, its value and what is allowed."""
    return _parse(RunSettings, values, source)


def parse_grid(values: dict[str, Any], source: str) -> Grid:
    return _parse(Grid, values, source)


def parse_benchmark(values: dict[str, Any], source: str) -> BenchmarkSettings:
    return _parse(BenchmarkSettings, values, source)
