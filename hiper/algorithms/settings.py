"""What the estimators need to know of a run's settings, as protocols: any object with these attributes will do.

`hiper.config.Algorithm` and `hiper.config.Penalties` fit; the pure floor does not import them.
"""

from __future__ import annotations

from typing import Literal, Protocol


class PenaltySettings(Protocol):
    """Reward shaping; `hiper.algorithms.shaping` says what each number does."""

    @property
    def invalid(self) -> float: ...

    @property
    def keep(self) -> float: ...

    @property
    def keep_mode(self) -> str: ...

    @property
    def keep_skip_first(self) -> bool: ...

    @property
    def consistency(self) -> float: ...

    @property
    def consistency_requires_both(self) -> bool: ...

    @property
    def switch_floor(self) -> float: ...

    @property
    def switch_floor_rate(self) -> float: ...


class GroupSettings(Protocol):
    """What the group baselines read; `hiper.algorithms.groups` and their own modules say what each does."""

    @property
    def mode(self) -> str: ...

    @property
    def cross_steps(self) -> bool: ...

    @property
    def lone_return(self) -> bool: ...

    @property
    def omega(self) -> float: ...

    @property
    def history_length(self) -> int: ...

    @property
    def alpha(self) -> float: ...

    @property
    def base_group(self) -> bool: ...

    @property
    def potential_floor(self) -> float: ...


class AlgorithmSettings(Protocol):
    """Discounts, trace decays and switches of an estimator."""

    @property
    def gamma(self) -> float: ...

    @property
    def lam_turn(self) -> float: ...

    @property
    def lam_seg(self) -> float: ...

    @property
    def lam_boundary(self) -> float | Literal["auto"]: ...

    @property
    def target_lambda(self) -> float | None: ...

    @property
    def switch_advantage(self) -> str: ...

    @property
    def normalize(self) -> bool: ...

    @property
    def bootstrap_truncated(self) -> bool: ...

    @property
    def token_weight(self) -> float: ...

    @property
    def penalties(self) -> PenaltySettings: ...

    @property
    def group(self) -> GroupSettings: ...
