"""Typed settings of a run. The YAML files under `configs/` hold the one default of every setting; this module holds
their types and limits.

Hydra composes (`hiper.compose`); `parse_run` and `parse_grid` validate. Every model forbids unknown keys and has no
defaults, so a setting that is missing, misspelt or of the wrong type is an error that names it.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from hiper.errors import UserError

Probability = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[float, Field(gt=0.0)]
NonNegative = Annotated[float, Field(ge=0.0)]
Count = Annotated[int, Field(ge=1)]
CountOrZero = Annotated[int, Field(ge=0)]

TaskType = Literal[
    "pick_and_place_simple",
    "look_at_obj_in_light",
    "pick_clean_then_place_in_recep",
    "pick_heat_then_place_in_recep",
    "pick_cool_then_place_in_recep",
    "pick_two_obj_and_place",
]


class Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


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
    archives: list[str]  # local .tar.xz/.tar.gz/.zip files
    generate: Generation


class Splits(Settings):
    """Which of the data's splits each stage uses."""

    train: str
    seen: str
    unseen: str


class BenchmarkSettings(Settings):
    name: Literal["alfworld"]
    dataset: str  # the folder `data/<dataset>`; equal to the configuration file's name
    game_engine: Literal["native", "textworld"]
    task_types: Annotated[list[TaskType], Field(min_length=1)]
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

    vocabulary: Annotated[int, Field(ge=300)]
    hidden: Count
    layers: Count
    heads: Count
    intermediate: Count


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
    held_out: Probability  # share of demonstration episodes kept for the validation loss


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
    name: Literal["hiper", "ppo_turn"]
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


class Evaluation(Settings):
    """`exhaustive` plays every task of a split once; `sampled` draws `episodes` tasks with replacement, as the
    paper's code does."""

    protocol: Literal["exhaustive", "sampled"]
    episodes: Count | None
    splits: Annotated[list[Literal["seen", "unseen"]], Field(min_length=1)]
    temperatures: Annotated[list[NonNegative], Field(min_length=1)]
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
    threads: Count
    dtype: Literal["float32", "bfloat16"]  # of matrix products in training; parameters stay float32


class Tracking(Settings):
    live: bool  # mirror metrics to MLflow while a run goes on, from a process of its own


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
        if self.training.episodes % self.algorithm.group_size:
            raise ValueError("training.episodes must be a multiple of algorithm.group_size")
        if self.algorithm.name == "hiper" and self.prompt.interface != "plan_execute":
            raise ValueError("algorithm hiper needs prompt.interface: plan_execute")
        if self.decoding.max_subgoal_tokens >= self.decoding.max_response_tokens:
            raise ValueError("decoding.max_subgoal_tokens must be below decoding.max_response_tokens")
        if self.model.scratch is not None and self.warm_start.method == "none":
            raise ValueError(
                "warm_start.method 'none' needs a pretrained model (model.path): a model from scratch knows nothing"
            )
        return self


class Grid(Settings):
    """Which runs an experiment consists of: the product of its lists."""

    benchmarks: Annotated[list[str], Field(min_length=1)]
    models: Annotated[list[str], Field(min_length=1)]
    algorithms: Annotated[list[str], Field(min_length=1)]
    seeds: Annotated[list[CountOrZero], Field(min_length=1)]


def _explain(error: ValidationError, source: str) -> str:
    lines = [f"{source}: invalid configuration"]
    for problem in error.errors():
        key = ".".join(str(part) for part in problem["loc"]) or "(whole)"
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            lines.append(f"  {key}: unknown setting (value {problem['input']!r}); remove it or correct its name")
        elif problem["type"] == "missing":
            lines.append(f"  {key}: missing; add it")
        elif problem["type"] == "value_error":
            lines.append(f"  {key}: {message}")
        else:
            lines.append(f"  {key} = {problem['input']!r}: {message}")
    return "\n".join(lines)


def parse_run(values: dict[str, Any], source: str) -> RunSettings:
    """Validate a composed configuration; UserError lists every offending key, its value and what is allowed."""
    try:
        return RunSettings.model_validate(values)
    except ValidationError as error:
        raise UserError(_explain(error, source)) from None


def parse_grid(values: dict[str, Any], source: str) -> Grid:
    try:
        return Grid.model_validate(values)
    except ValidationError as error:
        raise UserError(_explain(error, source)) from None


def parse_benchmark(values: dict[str, Any], source: str) -> BenchmarkSettings:
    try:
        return BenchmarkSettings.model_validate(values)
    except ValidationError as error:
        raise UserError(_explain(error, source)) from None
