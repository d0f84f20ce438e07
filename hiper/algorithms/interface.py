"""The arrays that every credit-assignment algorithm reads and writes, padded `[trajectory, turn]`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hiper.errors import UserError

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Turns:
    """One rollout batch. All arrays `[trajectory, turn]` unless said otherwise; entries beyond a trajectory's length
    are ignored.

    `present` marks real turns (a prefix of each row). `reward` is the environment's reward; `switch` is True for
    SWITCH; `valid` is False for malformed turns; `has_*` say whether the block's token span exists; `copied` is True
    where the subgoal block's tokens equal the previous turn's (False on turn 0 and where either is missing).
    `terminated` `[trajectory]` is True where the task itself ended the episode: its discount is 0 there, elsewhere
    (truncation) values may bootstrap. `group` `[trajectory]` numbers task draws. `switch_probability` is β, the
    policy's probability of SWITCH at that turn.
    """

    present: Bools
    reward: Floats
    switch: Bools
    valid: Bools
    has_switch: Bools
    has_subgoal: Bools
    has_action: Bools
    copied: Bools
    switch_probability: Floats
    terminated: Bools
    group: Ints


@dataclass(frozen=True)
class Credit:
    """Advantages per turn for the tokens of each block, and regression targets per value head.

    `switch`, `subgoal`, `action` and `other` (every other response token, the end token included) are `[trajectory,
    turn]`; a token in two spans gets the sum. `trains_other` is False when tokens outside the blocks carry no policy
    gradient. `trained_subgoal` `[trajectory, turn]` marks the turns whose subgoal tokens are trained. `targets` maps
    a head's name to (return, mask), both `[trajectory, turn]`.
    """

    switch: Floats
    subgoal: Floats
    action: Floats
    other: Floats
    trains_other: bool
    trained_subgoal: Bools
    targets: Mapping[str, tuple[Floats, Bools]]


def require_credit(credit: Credit, turns: Turns, heads: Mapping[str, str], name: str) -> None:
    """UserError where what the algorithm `name` returned does not fit the batch, or the value heads it asked for."""
    wanted = turns.present.shape
    arrays = {key: getattr(credit, key) for key in ("switch", "subgoal", "action", "other", "trained_subgoal")}
    for head, (target, mask) in credit.targets.items():
        arrays |= {f"targets[{head!r}], return": target, f"targets[{head!r}], mask": mask}
    for key, array in arrays.items():
        if (shape := getattr(array, "shape", None)) != wanted:
            raise UserError(
                f"algorithm {name}: Credit.{key} has shape {shape}, but [trajectory, turn] of this batch is {wanted}; "
                "values have one column more than turns, for bootstraps: cut it off"
            )
        if array.dtype.kind == "f" and not np.isfinite(array[turns.present]).all():
            raise UserError(
                f"algorithm {name}: Credit.{key} is not finite in a turn that was played; if the values it was given "
                "are not either, training has diverged: lower the learning rates"
            )
    if set(credit.targets) != set(heads):
        raise UserError(
            f"algorithm {name}: Credit.targets is for the heads {sorted(credit.targets)}, heads() names "
            f"{sorted(heads)}; each head needs a target"
        )
