"""Values that learn before RL does: how far their pretraining is, and when it ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from hiper.config import Critic
from hiper.runs.summary import ReadOuts, explained
from hiper.trajectory import Trajectory


@dataclass(frozen=True)
class Pretraining:
    """`batches` were played: so many `episodes`, `turns` and `tokens` of answers. `explained`: each head's variance of
    Monte-Carlo returns explained on the last batch, before the head learned from it; `best` the highest mean over
    heads, which has not risen in the last `waited` batches (-1: there was no batch)."""

    batches: int = 0
    episodes: int = 0
    turns: int = 0
    tokens: int = 0
    best: float = 0.0
    waited: int = -1
    explained: dict[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        shares = ", ".join(f"{head} {share:.3f}" for head, share in self.explained.items())
        return f"values after {self.episodes} episodes of pretraining, explained before the last batch: {shares}"

    def ended(self, settings: Critic) -> bool:
        """The budget is spent, or the values have settled."""
        wanted = settings.pretraining
        return self.episodes >= wanted.episodes or self.waited >= wanted.patience

    def then(self, settings: Critic, played: Sequence[Trajectory], read: Mapping[str, ReadOuts]) -> Pretraining:
        """With a further batch, and what the heads said of it before they learned from it."""
        found = {head: explained(one.returns, one.values) for head, one in read.items()}
        mean = float(np.mean(list(found.values())))
        rose = self.waited < 0 or mean > self.best + settings.pretraining.tolerance
        turns = [turn for trajectory in played for turn in trajectory.turns]
        answers = [len(turn.generation.response_tokens) for turn in turns if turn.generation is not None]
        return Pretraining(
            batches=self.batches + 1,
            episodes=self.episodes + len(played),
            turns=self.turns + len(turns),
            tokens=self.tokens + sum(answers),
            best=mean if rose else self.best,
            waited=0 if rose else self.waited + 1,
            explained=found,
        )

    def metrics(self) -> dict[str, float]:
        """Of the first iteration's row; empty without pretraining."""
        if not self.batches:
            return {}
        counts = {name: float(getattr(self, name)) for name in ("episodes", "turns", "tokens")}
        last = {f"explained_variance_{head}": value for head, value in self.explained.items()}
        return {f"pretraining/{name}": value for name, value in (counts | last).items()}
