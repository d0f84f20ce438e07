"""Statistics of groups of episodes, and of groups of turns within them: what the critic-free baselines compare with.

The episodes of a group were rolled on the same task. Notation: R_i = Σ_t r_t the return of trajectory i, mean and std
those of its group, ε = 1e-6. An advantage against a group has the mode `mean_norm`, x − mean, or `mean_std_norm`,
(x − mean) / (std + ε). An element that is alone in its group has nothing to be compared with: it gets 0 (the original
takes mean 0 and std 1 there, hence x; `lone_return`). Each baseline's own module names its paper; the quirks of the
code behind published numbers stand in docs/deviations.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from statistics import NormalDist
from types import MappingProxyType
from typing import Annotated, Literal

import numpy as np
from pydantic import ValidationInfo, field_validator

from hiper.algorithms.interface import AlgorithmSettings, Bools, Credit, Floats, Ints, Turns
from hiper.algorithms.normalize import standardize
from hiper.algorithms.returns import lengths, masked
from hiper.algorithms.sampling import NO_SAMPLING, Sampling
from hiper.algorithms.shaping import invalid_penalty
from hiper.declarations import Before
from hiper.fields import NonNegative, Settings

EPSILON = 1e-6  # added to a group's standard deviation, as in the original
ROUNDING = 1e-9  # of the largest value; elements this close to their mean equal it, but for the order of additions


class Counting(Settings):
    """How the episodes of a group count."""

    cross_steps: bool  # a group's mean, standard deviation and size count turns, not episodes
    lone_return: bool  # an episode without others in its group gets its return, not 0


class Comparison(Counting):
    """How an episode is compared with its group."""

    mode: Literal["mean_norm", "mean_std_norm"]  # advantages divided by their group's standard deviation, or not
    by_rank: Annotated[bool, Before(False)]  # episodes by their rank alone, each counting once, as a normal sample


class StepComparison(Comparison):
    """The same, and turns compared with turns."""

    omega: NonNegative  # weight of the step advantage


class GroupedSettings(AlgorithmSettings):
    """What an algorithm has that learns from differences between the episodes of a group."""

    sampling: Annotated[Sampling, Before(NO_SAMPLING)]

    @field_validator("group_size")
    @classmethod
    def something_to_compare_with(cls, value: int, info: ValidationInfo) -> int:
        if value == 1:
            raise ValueError(
                f"algorithm.group_size = 1: algorithm {info.data.get('name')} learns from differences between episodes "
                "of one task; make it 2 at least (the published runs have 8)"
            )
        return value


def against_group(
    values: Floats, groups: Ints, weights: Floats, *, divide: bool, unbiased: bool = True, lone_return: bool = False
) -> Floats:
    """x − mean, divided by (std + ε) if `divide`, of each element `[n]` in its group; `groups` are labels.

    mean = Σ w x / Σ w,   std² = Σ w (x − mean)² / (Σ w − 1), or / Σ w unless `unbiased`

    An element of weight w counts as w equal ones; `unbiased` needs whole numbers. A group of total weight 1 gives 0, or
    x with `lone_return`. Deviations within rounding are exactly 0.
    """
    _, index = np.unique(groups, return_inverse=True)
    count = np.bincount(index, weights)
    mean = np.bincount(index, weights * values) / np.maximum(count, 1.0)
    deviation = values - mean[index]
    deviation[np.abs(deviation) <= ROUNDING * np.abs(values).max(initial=0.0)] = 0.0
    lone = count[index] <= 1 + ROUNDING  # thirds, for one, add up to a little more or less
    if divide:
        square = np.bincount(index, weights * deviation**2)
        std = np.sqrt(square / np.maximum(count - unbiased, 1.0))
        deviation = deviation / (std[index] + EPSILON)
    return np.where(lone, values if lone_return else 0.0, deviation)


def shaped_rewards(turns: Turns, settings: AlgorithmSettings) -> Floats:
    """r[t]: the environment's reward less the invalid penalty, 0 on padding; the hierarchy's penalties do not apply."""
    return masked(turns.reward + invalid_penalty(turns.valid, turns.present, settings.penalties.invalid), turns.present)


def episode_weights(present: Bools, group: Counting) -> Floats:
    """How often a trajectory counts in its group `[trajectory]`: once, or with `cross_steps` once for each of its turns
    (the original's default, by which long episodes weigh more)."""
    return np.asarray(lengths(present) if group.cross_steps else np.ones(len(present)), dtype=np.float64)


def normal_scores(values: Floats, groups: Ints) -> Floats:
    """Φ⁻¹((rank − ½) / n) of each element `[n]` in its group, ranks from 1, equal elements sharing their mean rank:
    what a normal distribution would give them, however far apart they are (G²RPO, arXiv 2604.08539). A group that
    agrees, or has one member, gives 0."""
    scores = np.zeros(len(values))
    for label in np.unique(groups):
        members = np.flatnonzero(groups == label)
        _, place, alike = np.unique(values[members], return_inverse=True, return_counts=True)
        rank = np.cumsum(alike) - (alike - 1) / 2
        quantile = [NormalDist().inv_cdf(share) for share in (rank - 0.5) / len(members)]
        scores[members] = np.array(quantile)[place]
    return scores


def episode_advantages(turns: Turns, reward: Floats, group: Comparison) -> Floats:
    """R_i against its group in the mode of the settings, Bessel's correction in std; `[trajectory]`. `by_rank`:
    `normal_scores` instead."""
    if group.by_rank:
        return normal_scores(reward.sum(axis=1), turns.group)
    weights = episode_weights(turns.present, group)
    divide = group.mode == "mean_std_norm"
    return against_group(reward.sum(axis=1), turns.group, weights, divide=divide, lone_return=group.lone_return)


def anchor_groups(turns: Turns, depth: int) -> Iterator[tuple[Bools, Ints]]:
    """For k = 1 … depth: the turns with k anchors up to their own, and a label of (task group, last k anchors); both
    `[trajectory, turn]`, labels −1 on other turns."""
    labels = np.broadcast_to(turns.group[:, None], turns.present.shape)
    for back in range(depth):
        members = turns.present.copy()
        members[:, :back] = False
        if not members.any():
            return
        anchors = np.roll(turns.anchor, back, axis=1)
        pairs = np.stack([labels[members], anchors[members]], axis=1)
        labels = np.full(members.shape, -1)
        labels[members] = np.unique(pairs, axis=0, return_inverse=True)[1].reshape(-1)
        yield members, labels


def turn_advantages(values: Floats, members: Bools, labels: Ints, *, divide: bool, unbiased: bool) -> Floats:
    """The values of the `members` against their groups `labels`, 0 elsewhere; all `[trajectory, turn]`."""
    advantage = np.zeros(members.shape)
    weights = np.ones(int(members.sum()))
    advantage[members] = against_group(values[members], labels[members], weights, divide=divide, unbiased=unbiased)
    return advantage


def broadcast(per_trajectory: Floats, present: Bools) -> Floats:
    """`[trajectory]` → `[trajectory, turn]`, 0 on padding."""
    return np.where(present, per_trajectory[:, None], 0.0)


class Planning(AlgorithmSettings):
    """What a flat advantage may be composed with."""

    # HICRA (arXiv 2509.03646; published as 0.2): how much more the tokens of switch and subgoal blocks learn
    planning_weight: Annotated[NonNegative, Before(0.0)]


def whole_response(
    advantage: Floats,
    turns: Turns,
    settings: AlgorithmSettings,
    targets: Mapping[str, tuple[Floats, Bools]] = MappingProxyType({}),
    returns: Floats | None = None,
) -> Credit:
    """The same advantage for every token of a response, the end token included; standardised over the batch's turns if
    `settings.normalize`. `targets` and `returns` are those of the value heads, if there are any.

    With `Planning.planning_weight` α the tokens of switch and subgoal blocks get A + α |A|, as HICRA's planning tokens:
    what went well is credited to the plan more, what went badly less. HICRA mines its planning tokens from text; here
    the blocks are known.
    """
    dealt = standardize(advantage, turns.present) if settings.normalize else masked(advantage, turns.present)
    planned = dealt + getattr(settings, "planning_weight", 0.0) * np.abs(dealt)
    return Credit(
        switch=planned,
        subgoal=planned,
        action=dealt,
        other=dealt,
        trains_other=True,
        trained_subgoal=turns.present & turns.has_subgoal,
        targets=targets,
        returns=returns,
    )
