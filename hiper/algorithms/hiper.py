"""HiPER's credit assignment: hierarchical advantages, normalised per level and dealt out to the blocks of a turn.

Who gets what (as in the released code): action tokens A_low at every turn; subgoal tokens A_high at boundary turns only
(a KEEP turn copies its subgoal, which is no decision); switch tokens A_switch at every turn; everything else, the end
token included, is not trained. A turn without an action block gives A_low to its *whole* response, added to what the
other blocks carry.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import numpy as np

from hiper.algorithms.hae import Hierarchy, boundaries, hierarchical_advantages
from hiper.algorithms.interface import Algorithm, Bools, Credit, Floats, Turns
from hiper.algorithms.normalize import standardize
from hiper.algorithms.returns import GaeSettings, bootstraps, discounted_returns, masked
from hiper.algorithms.shaping import HierarchyPenalties, shape_rewards
from hiper.algorithms.unexplained import Unexplained
from hiper.declarations import Before
from hiper.fields import Probability, ProbabilityOrAuto


class HiperSettings(GaeSettings):
    lam_seg: Probability  # λ of the subgoals' advantages, from segment to segment
    # 0: as published; auto: by V_high's explained variance
    lam_boundary: Annotated[ProbabilityOrAuto, Before(0.0)]
    # of the switch tokens: return, a head of its own (as released); paper, from the other two heads; none
    switch_advantage: Literal["return", "paper", "none"]
    penalties: HierarchyPenalties


# Where each head reads the critic: at the last prompt token, or before the first token after the subgoal block.
HEADS: Mapping[str, str] = {"low": "after_subgoal", "high": "prompt", "switch": "prompt"}


@dataclass(frozen=True)
class Assignment:
    """Which blocks the high and the switch level reach; the default is the released code's."""

    high_to_subgoal: bool = True
    high_to_switch: bool = False
    switch_to_switch: bool = True


RELEASED = Assignment()


def heads(settings: HiperSettings) -> Mapping[str, str]:
    """Value heads to train and their read-out positions; there is a switch head only for the return form."""
    return {name: where for name, where in HEADS.items() if name != "switch" or settings.switch_advantage == "return"}


def previous(settings: HiperSettings) -> Collection[str]:
    """The paper's switch advantage compares with V_low(s_t, o_{t−1})."""
    return ("low",) if settings.switch_advantage == "paper" else ()


def credit(
    turns: Turns, values: Mapping[str, Floats], settings: HiperSettings, assignment: Assignment = RELEASED
) -> Credit:
    """Advantages for the blocks of every turn and λ-return targets for every head of `heads(settings)`.

    `values` maps a head's name to `[trajectory, turn + 1]`; the column at a trajectory's length holds the value of the
    real next state of a truncated trajectory (read only if `settings.bootstrap_truncated`). With the paper's switch
    advantage it also holds `low_previous`, V_low(s_t, o_{t−1}), of the same shape. On turns without an action block
    every token of the response is to be trained: `other` is A_low there, although `trains_other` is False.
    """
    levels = estimate(turns, values, settings, assignment)
    targets = {"low": (levels.low_return, turns.present), "high": (levels.high_return, levels.boundary)}
    if settings.switch_advantage == "return":
        targets["switch"] = (levels.segment_return, turns.present)
    return deal(turns, levels, targets, assignment)


def deal(
    turns: Turns,
    levels: Hierarchy,
    targets: Mapping[str, tuple[Floats, Bools]],
    assignment: Assignment = RELEASED,
) -> Credit:
    """The levels, each masked to the turns that it reaches, as advantages of the blocks."""
    # The original's fallback: without an action block the whole response counts as the action.
    whole = turns.present & ~turns.has_action
    everywhere = masked(levels.low, whole)
    switch, subgoal = everywhere + levels.switch, everywhere.copy()
    if assignment.high_to_switch:
        switch += masked(levels.high, turns.has_switch)
    if assignment.high_to_subgoal:
        subgoal += masked(levels.high, turns.has_subgoal)
    return Credit(
        switch=switch,
        subgoal=subgoal,
        action=levels.low,
        other=everywhere,
        trains_other=False,
        trained_subgoal=turns.has_subgoal & (levels.boundary & assignment.high_to_subgoal | whole),
        targets=targets,
        returns=levels.returns,
    )


def deal_without_critic(turns: Turns, low: Floats, high: Floats, switch: Floats | None, *, normalize: bool) -> Credit:
    """As `deal`, for levels `[trajectory, turn]` that no value head stands behind: actions at every turn, subgoals at
    boundaries with a subgoal block, switches (None: 0) at turns with a switch block; with `normalize` each standardised
    over those."""
    present, none = turns.present, np.zeros(turns.present.shape)
    boundary = boundaries(turns.switch, present)
    scale = standardize if normalize else masked
    levels = Hierarchy(
        boundary=boundary,
        low=scale(low, present),
        low_return=none,
        high=scale(high, boundary & turns.has_subgoal),
        high_return=none,
        switch=none if switch is None else scale(switch, present & turns.has_switch),
        segment_return=none,
        returns=none,
    )
    return deal(turns, levels, targets={})


def unexplained(turns: Turns, values: Mapping[str, Floats], settings: HiperSettings) -> Unexplained:
    """What V_high leaves unexplained of this batch's shaped Monte-Carlo returns at segment boundaries."""
    boundary = boundaries(turns.switch, turns.present)
    returns = discounted_returns(shape_rewards(turns, settings.penalties), turns.present, settings.gamma)
    return Unexplained.of(returns[boundary], values["high"][:, : boundary.shape[1]][boundary])


def estimate(
    turns: Turns, values: Mapping[str, Floats], settings: HiperSettings, assignment: Assignment = RELEASED
) -> Hierarchy:
    """The levels over shaped rewards, each masked to the turns whose tokens it reaches and normalised over those.

    Low: every turn (an action span, or the whole response); high: boundary turns with a span it is given to; switch:
    turns with a switch span. Return targets are neither masked nor normalised. `lam_boundary: auto` means here what
    this batch alone says; training hands in a number that remembers earlier batches. With `target_lambda` λ the targets
    are those of λ_turn = λ_seg = λ_b = λ: for 1 the returns themselves, or what stands for them at truncation.
    """
    lam_boundary = settings.lam_boundary
    if lam_boundary == "auto":
        lam_boundary = unexplained(turns, values, settings).share
    levels = _levels(turns, values, settings, settings.lam_turn, settings.lam_seg, lam_boundary)
    if (lam := settings.target_lambda) is not None:
        learned = _levels(turns, values, settings, lam, lam, lam)
        levels = replace(
            levels,
            low_return=learned.low_return,
            high_return=learned.high_return,
            segment_return=learned.segment_return,
        )
    high_spans = np.zeros_like(turns.present)
    if assignment.high_to_subgoal:
        high_spans |= turns.has_subgoal
    if assignment.high_to_switch:
        high_spans |= turns.has_switch
    scale = standardize if settings.normalize else masked
    return replace(
        levels,
        low=scale(levels.low, turns.present),
        high=scale(levels.high, levels.boundary & high_spans),
        switch=scale(levels.switch, turns.present & turns.has_switch & assignment.switch_to_switch),
    )


def _levels(
    turns: Turns,
    values: Mapping[str, Floats],
    settings: HiperSettings,
    lam_turn: float,
    lam_seg: float,
    lam_boundary: float,
) -> Hierarchy:
    columns = turns.present.shape[1]
    return hierarchical_advantages(
        shape_rewards(turns, settings.penalties),
        turns.switch,
        turns.present,
        turns.terminated,
        values["low"][:, :columns],
        values["high"][:, :columns],
        gamma=settings.gamma,
        lam_turn=lam_turn,
        lam_seg=lam_seg,
        lam_boundary=lam_boundary,
        bootstrap_low=bootstraps(values["low"], turns.present, turns.terminated, settings.bootstrap_truncated),
        bootstrap_high=bootstraps(values["high"], turns.present, turns.terminated, settings.bootstrap_truncated),
        switch_advantage=settings.switch_advantage,
        value_switch=values["switch"][:, :columns] if "switch" in values else None,
        value_low_previous=values["low_previous"][:, :columns] if "low_previous" in values else None,
        switch_probability=turns.switch_probability,
    )


def unexplained_if_asked(turns: Turns, values: Mapping[str, Floats], settings: HiperSettings) -> Unexplained | None:
    return unexplained(turns, values, settings) if settings.lam_boundary == "auto" else None


ALGORITHM = Algorithm(
    HiperSettings,
    credit,
    heads,
    bootstraps=lambda settings: settings.bootstrap_truncated,
    previous=previous,
    unexplained=unexplained_if_asked,
    hierarchical=True,
)
