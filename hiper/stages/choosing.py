"""Which of an iteration's tokens carry a policy gradient, where not all do (D³S: `hiper.algorithms.sampling`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from hiper.algorithms.sampling import Choose, largest, most_varied
from hiper.learning.batches import TurnRow
from hiper.trajectory import Trajectory

Entropies = Callable[[Sequence[TurnRow]], Sequence[npt.NDArray[np.float32]]]
"""The policy's entropy at every response token, [response] for each row."""


def relaxed(settings: Choose, progress: float) -> Choose:
    """The shares after this part of the iterations, from 0 in the first to 1 in the last."""
    episodes, tokens = (min(1.0, one + progress * (1.0 - one)) for one in (settings.episodes, settings.tokens))
    return Choose(episodes=episodes, tokens=tokens)


def chosen_rows(
    rows: Sequence[TurnRow], trajectories: Sequence[Trajectory], settings: Choose, entropies: Entropies
) -> list[TurnRow]:
    """The rows of `trajectories`, turn by turn, with fewer tokens `trained`: those of the chosen episodes of each group
    that are chosen. An episode's advantage is the mean over its trained tokens."""
    places = np.repeat(np.arange(len(trajectories)), [len(one.turns) for one in trajectories])
    kept = np.zeros(len(trajectories), bool)
    advantage = np.array([_mean([rows[i] for i in np.flatnonzero(places == n)]) for n in range(len(trajectories))])
    groups = np.array([one.group for one in trajectories])
    for group in np.unique(groups):
        members = np.flatnonzero(groups == group)
        count = min(len(members), max(2, round(settings.episodes * len(members))))
        kept[members] = most_varied(advantage[members], count)
    left = [
        row if kept[n] else replace(row, trained=np.zeros_like(row.trained))
        for n, row in zip(places, rows, strict=True)
    ]
    if settings.tokens == 1.0 or not any(row.trained.any() for row in left):
        return left
    scores = np.concatenate(entropies(left)) * np.abs(np.concatenate([row.advantage for row in left]))
    trained = np.concatenate([row.trained for row in left])
    trained[trained] = largest(scores[trained], settings.tokens)
    parts = np.split(trained, np.cumsum([len(row.trained) for row in left])[:-1])
    return [replace(row, trained=part) for row, part in zip(left, parts, strict=True)]


def _mean(rows: Sequence[TurnRow]) -> float:
    """Over the trained tokens; 0 where there is none."""
    trained = np.concatenate([row.advantage[row.trained] for row in rows])
    return float(trained.mean(dtype=np.float64)) if len(trained) else 0.0
