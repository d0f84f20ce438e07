"""No two uses of random numbers get the same ones."""

from __future__ import annotations

from itertools import product

import numpy as np

from hiper.randomness import generator, seed_number
from hiper.stages.tasks import STREAMS

SEEDS = (0, 1, 2, 4, 2**32, 2**40 + 1)
COUNTERS = ((), (0,), (1,), (4,), (0, 0), (1, 0), (0, 1), (0, 0, 0), (2**32 - 1,), (0, 0, 0, 0))


def test_streams_never_coincide() -> None:
    """Of any two purposes, seeds and counters, a counter of 0 and none among them; nor do they with the streams that
    data sets and the order of tasks are made from, which are lists of entropy."""
    streams = [[seed, *numbers] for seed, numbers in product(SEEDS, COUNTERS)]
    streams += [[seed, purpose, *more] for seed, purpose, more in product(SEEDS, STREAMS.values(), COUNTERS)]
    different = [list(stream) for stream in {tuple(stream) for stream in streams}]
    assert len(different) > 800
    made = [generator(stream) for stream in different]
    # the order that splits tasks, and generated games
    made += [np.random.default_rng([seed, STREAMS["tasks"]]) for seed in range(7)]
    made += [np.random.default_rng([*place]) for place in product(range(7), range(3), range(1, 20))]
    drawn = [tuple(random.integers(2**63, size=2)) for random in made]
    assert len(set(drawn)) == len(drawn)


def test_purposes_have_numbers_of_their_own() -> None:
    """Two purposes with one number would be one stream."""
    assert len(set(STREAMS.values())) == len(STREAMS)


def test_a_stream_is_the_same_every_time() -> None:
    """Its numbers follow from the list alone; the seed of another generator fits 32 bits."""
    assert generator([3, 4]).random() == generator([3, 4]).random()
    assert 0 <= seed_number([3, 4]) < 2**32 and seed_number([3, 4]) != seed_number([3, 4, 0])
