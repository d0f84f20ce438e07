"""Settings of algorithms that learn from turns of earlier iterations, which the training loop then stores."""

from __future__ import annotations

from hiper.algorithms.interface import AlgorithmSettings
from hiper.fields import Count, Probability, Settings


class OffPolicy(Settings):
    """What a stored turn is used for: `hiper.algorithms.archer`."""

    capacity: Count  # stored turns; the oldest go first
    batch_turns: Count  # drawn from them, with replacement, for each epoch
    critic_epochs: Count  # in each iteration
    actor_epochs: Count
    tau: Probability  # how far the target networks go to the critic after each of its epochs


def off_policy_of(settings: AlgorithmSettings) -> OffPolicy | None:
    """That of an algorithm which learns from stored turns, else None."""
    found = getattr(settings, "off_policy", None)
    return found if isinstance(found, OffPolicy) else None
