"""How much of a GPU vLLM gets: a rule in place of a setting."""

from __future__ import annotations

import math

from hiper.planning.hardware import GB
from hiper.planning.shapes import ModelShape, cache_bytes, parameters

RESERVED = 4 * GB  # for activations while prompts are read, CUDA graphs and the libraries; an estimate, to be measured
TWENTIETHS, LARGEST = 20, 18  # shares are whole twentieths; more than 18 of them would leave the trainer nothing
SEQUENCES = 1024  # vLLM's own limit on large cards: what is beyond it waits


def sequences_at_once(episodes: int, validation: int, group: int, processes: int) -> int:
    """Answers that one process's sampler has to give at once in training: to its share of the `episodes`, which are
    dealt out in groups, or of the tasks of a `validation`."""
    most = max(-(-(episodes // group) // processes) * group, -(-validation // processes), 1)
    return min(most, SEQUENCES)


def automatic_share(shape: ModelShape, sequences: int, longest: int, value_bytes: int, memory: float) -> float:
    """Of a card of `memory` bytes: one copy of the weights, a cache with `longest` tokens for each sequence, and
    RESERVED; rounded up. `value_bytes`: of a weight and of a cached number."""
    needed = parameters(shape) * value_bytes + sequences * longest * cache_bytes(shape, value_bytes) + RESERVED
    return min(math.ceil(TWENTIETHS * needed / memory), LARGEST) / TWENTIETHS
