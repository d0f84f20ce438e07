"""The contract of a credit-assignment algorithm: the arrays that it reads and writes, padded `[trajectory, turn]`, the
settings that every one has, and `Algorithm`, by which the pipeline knows one.

An algorithm declares its own settings beside its formula, in a model that inherits `AlgorithmSettings`; its defaults
stand in `configs/algorithm/NAME.yaml`. It declares what it reads and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from hiper.algorithms.unexplained import Unexplained
from hiper.errors import UserError
from hiper.fields import Count, NonNegative, Settings

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]

EVERY_TOKEN = "every_token"  # where a value head reads that has a value for each chosen token, not one for the turn


@dataclass(frozen=True)
class Turns:
    """One rollout batch. All arrays `[trajectory, turn]` unless said otherwise; entries beyond a trajectory's length
    are ignored.

    `present` marks real turns (a prefix of each row). `reward` is the environment's reward; `switch` is True for
    SWITCH; `valid` is False for malformed turns; `has_*` say whether the block's token span exists; `copied` is True
    where the subgoal block's tokens equal the previous turn's (False on turn 0 and where either is missing).
    `terminated` `[trajectory]` is True where the task itself ended the episode: its discount is 0 there, elsewhere
    (truncation) values may bootstrap; `won` `[trajectory]` where it ended in success. `group` `[trajectory]` numbers
    task draws. `switch_probability` is β, the policy's probability of SWITCH at that turn. `anchor` numbers the
    observations: equal text, equal number. `chosen` `[trajectory, turn, token]` marks the response tokens at which the
    policy had a choice: all of them under free decoding, those that the guide did not force otherwise.
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
    won: Bools
    group: Ints
    anchor: Ints
    chosen: Bools


@dataclass(frozen=True)
class Credit:
    """Advantages per turn for the tokens of each block, and regression targets per value head.

    `switch`, `subgoal`, `action` and `other` (every other response token, the end token included) are `[trajectory,
    turn]`; a token in two spans gets the sum. `trains_other` is False when tokens outside the blocks carry no policy
    gradient. `trained_subgoal` `[trajectory, turn]` marks the turns whose subgoal tokens are trained. `targets` maps
    a head's name to (return, mask), both `[trajectory, turn]`; for a head that is read at `every_token` they are
    `[trajectory, turn, token]`, the mask being `Turns.chosen`. `tokens` `[trajectory, turn, token]` takes the place of
    the four where every token has an advantage of its own (they then say the turn's mean, for records); it needs
    `trains_other`. `returns` `[trajectory, turn]` is what the value heads are measured against, and needed where there
    are any: the Monte-Carlo return that a turn's values stand for, of the rewards as they came, with nothing for what a
    truncated episode would still have earned.
    """

    switch: Floats
    subgoal: Floats
    action: Floats
    other: Floats
    trains_other: bool
    trained_subgoal: Bools
    targets: Mapping[str, tuple[Floats, Bools]]
    tokens: Floats | None = None
    returns: Floats | None = None


class Penalties(Settings):
    invalid: NonNegative  # subtracted on turns with a malformed response


class AlgorithmSettings(Settings):
    """What every algorithm has."""

    name: str  # under which the algorithm is known, not the name of the configuration file
    group_size: Count  # episodes that are played on each task drawn
    normalize: bool  # advantages are standardised over the batch
    penalties: Penalties

    def idle(self) -> Collection[str]:
        """Dotted names of the settings that have no effect while the others are as they are."""
        return ()


Own = TypeVar("Own", bound=AlgorithmSettings)


def no_heads(settings: AlgorithmSettings) -> Mapping[str, str]:
    return {}


def no_previous(settings: AlgorithmSettings) -> Collection[str]:
    return ()


def no_bootstraps(settings: AlgorithmSettings) -> bool:
    return False


def nothing_unexplained(turns: Turns, values: Mapping[str, Floats], settings: AlgorithmSettings) -> Unexplained | None:
    return None


@dataclass(frozen=True)
class Algorithm(Generic[Own]):
    """One algorithm, as the pipeline knows it.

    `settings` is the model of its settings and `credit(turns, values, settings)` its formula; `values` maps a head's
    name to `[trajectory, turn + 1]`, or `[trajectory, turn + 1, token]` of a head that is read at every token.

    The others have defaults for an algorithm without a critic. `heads(settings)`: value heads and where each reads.
    `bootstraps(settings)`: whether `values` hold, in the column at a truncated trajectory's length, those of the real
    next state. `previous(settings)`: heads that are read a second time with the previous turn's subgoal in place of the
    turn's own; `values` have them as `<head>_previous`. `unexplained(turns, values, settings)`: what sets a
    `lam_boundary` that is `auto`, None where it is a number or there is none. `hierarchical`: it tells switch, subgoal
    and action blocks apart, so the prompt must ask for them.
    """

    settings: type[Own]
    credit: Callable[[Turns, Mapping[str, Floats], Own], Credit]
    heads: Callable[[Own], Mapping[str, str]] = no_heads
    bootstraps: Callable[[Own], bool] = no_bootstraps
    previous: Callable[[Own], Collection[str]] = no_previous
    unexplained: Callable[[Turns, Mapping[str, Floats], Own], Unexplained | None] = nothing_unexplained
    hierarchical: bool = False

    def __post_init__(self) -> None:
        """UserError where a part is not what it must be: who brings an algorithm sees it before anything runs."""
        if not (isinstance(self.settings, type) and issubclass(self.settings, AlgorithmSettings)):
            raise UserError(f"Algorithm: settings is {self.settings!r}, and must be a class of AlgorithmSettings")
        for name in ("credit", "heads", "bootstraps", "previous", "unexplained"):
            if not callable(getattr(self, name)):
                raise UserError(f"Algorithm: {name} is {getattr(self, name)!r}, and must be a function")


def require_credit(credit: Credit, turns: Turns, heads: Mapping[str, str], name: str) -> None:
    """UserError where what the algorithm `name` returned does not fit the batch, or the value heads it asked for."""
    arrays: dict[str, Any] = {
        key: getattr(credit, key) for key in ("switch", "subgoal", "action", "other", "trained_subgoal")
    }
    if credit.targets:
        arrays["returns"] = credit.returns
    long: dict[str, Any] = {} if credit.tokens is None else {"tokens": credit.tokens}
    for head, pair in credit.targets.items():
        named = dict(zip((f"targets[{head!r}], return", f"targets[{head!r}], mask"), pair, strict=True))
        if heads.get(head) == EVERY_TOKEN:
            long |= named
        else:
            arrays |= named
    for key, array in (arrays | long).items():
        kind, wanted = "[trajectory, turn]", turns.present.shape
        if key in long:
            kind, wanted = "[trajectory, turn, token]", turns.chosen.shape
        if (shape := getattr(array, "shape", None)) != wanted:
            raise UserError(
                f"algorithm {name}: Credit.{key} has shape {shape}, but {kind} of this batch is {wanted}; "
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
    for head, (_, mask) in credit.targets.items():
        if heads[head] == EVERY_TOKEN and not np.array_equal(mask, turns.chosen):
            raise UserError(f"algorithm {name}: Credit.targets[{head!r}], mask: must be Turns.chosen for {EVERY_TOKEN}")
