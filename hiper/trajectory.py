"""What a rollout leaves behind: tasks, turns and trajectories, immutable, with the token spans found when they were
parsed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int32]
FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Task:
    """One playable task of a benchmark; `id` is unique within the benchmark and stable across machines."""

    id: str
    split: str
    task_type: str


@dataclass(frozen=True)
class TokenSpan:
    """Half-open range `[start, stop)` of indices into a turn's response tokens."""

    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True)
class Generation:
    """Tokens a sampler produced for one prompt.

    `prompt_tokens` [prompt], `response_tokens` [response], `logprobs` [response]: the sampler's own log probabilities
    at the sampling temperature, after the guide's restriction and renormalisation if one was active. `allowed` has
    one entry per response token under guided decoding: the token ids that were permitted there, the empty tuple
    meaning "any text token" (see `hiper.learning.guide`); it is None under free decoding. `features` [≤ response,
    hidden], where the sampler offers them: the decoder's hidden state before each of the first response tokens (those
    it had to look at), which value heads on a shared, detached backbone read without another forward pass.
    """

    prompt_tokens: IntArray
    response_tokens: IntArray
    logprobs: FloatArray
    allowed: tuple[tuple[int, ...], ...] | None = None
    features: FloatArray | None = None


@dataclass(frozen=True)
class Turn:
    """One decision of the agent and what the environment answered.

    `subgoal` is the subgoal in force after this turn; `subgoal_text` is what the turn's own block said (None when
    missing). `switch` is True for SWITCH. Spans include the tags and are None where the block is missing. `shortened`:
    the prompt left something out to fit. `generation` is None for scripted policies. `admissible`: what could be done.
    """

    observation: str
    prompt: str
    response: str
    switch: bool
    subgoal: str | None
    subgoal_text: str | None
    action: str
    valid: bool
    reward: float
    switch_span: TokenSpan | None = None
    subgoal_span: TokenSpan | None = None
    action_span: TokenSpan | None = None
    generation: Generation | None = None
    problems: tuple[str, ...] = ()
    shortened: bool = False
    admissible: tuple[str, ...] = ()


def without_features(turn: Turn) -> Turn:
    """Without the sampler's hidden states."""
    return turn if turn.generation is None else replace(turn, generation=replace(turn.generation, features=None))


@dataclass(frozen=True)
class Trajectory:
    """One episode. Exactly one of `terminated`, `truncated`, `failure` ends it.

    `failure` holds the cause when the episode broke (a bad rollout is data, not a crash). `group` numbers the task draw
    that the episode shares with the other members of its group. `last_prompt` is the prompt of the state after the last
    turn: a truncated episode's value bootstraps from it. `info` holds the benchmark's `score` and `details`, the
    `instruction` and the last `observation`.
    """

    task: Task
    group: int
    turns: tuple[Turn, ...]
    won: bool
    terminated: bool
    truncated: bool
    last_prompt: str | None = None
    failure: str | None = None
    info: dict[str, Any] = field(default_factory=dict)

    @property
    def earned(self) -> float:
        """The sum of its rewards."""
        return sum(turn.reward for turn in self.turns)


def evaluated_on(row: Mapping[str, Any]) -> str:
    """Where a row of `evaluation.jsonl` was played, in a word: the split, and what is not usual about it: `unseen`,
    `unseen.sampled` (tasks drawn with replacement), `unseen.best` (by the best model, not the last)."""
    protocol, checkpoint = row.get("protocol", "exhaustive"), row.get("checkpoint", "last")
    unusual = [name for name in (protocol, checkpoint) if name not in ("exhaustive", "last")]
    return ".".join([row["split"], *unusual])
