"""Random numbers from named streams: a seed and the numbers that tell one use of it from another.

Each stream is a spawn key of NumPy's SeedSequence. Lists of entropy will not do: NumPy fills them up with zeros, so
that [4] and [4, 0] are one stream.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def sequence(stream: Sequence[int]) -> np.random.SeedSequence:
    """`stream` is the seed, then the numbers, each from 0 to 2³² − 1: different ones give independent streams."""
    seed, *numbers = stream
    return np.random.SeedSequence(seed, spawn_key=tuple(numbers))


def generator(stream: Sequence[int]) -> np.random.Generator:
    return np.random.default_rng(sequence(stream))


def seed_number(stream: Sequence[int]) -> int:
    """The seed of a generator that takes a single number of 32 bits."""
    return int(sequence(stream).generate_state(1)[0])
