"""Which settings an algorithm reads, found by running it: nobody has to list them, so that no list is wrong."""

from __future__ import annotations

from typing import Any

import numpy as np

from hiper.algorithms.interface import EVERY_TOKEN, Turns
from hiper.algorithms.registry import ALGORITHMS

SHAPE = (2, 3)  # trajectories of one task, turns
TOKENS = 2


def settings_read(name: str, settings: Any) -> frozenset[str] | None:
    """Dotted names of those settings that the algorithm looks at, being as they are, when it assigns credit; None for
    one that fails on a batch as small as the one tried here."""
    read = set[str]()
    recorder: Any = _Recorder(settings, read)
    estimator, turns = ALGORITHMS[name], _turns()
    try:
        heads = estimator.heads(recorder)
        places = {**heads, "low_previous": ""}  # the one further array that training gives (hiper.stages.assessment)
        values = {
            head: np.zeros((SHAPE[0], SHAPE[1] + 1, *((TOKENS,) if where == EVERY_TOKEN else ())))
            for head, where in places.items()
        }
        estimator.credit(turns, values, recorder)
    except Exception:
        return None
    return frozenset(read)


class _Recorder:
    """Settings that note in `read` which of them were looked at."""

    def __init__(self, settings: Any, read: set[str], section: str = "") -> None:
        self._settings, self._read, self._section = settings, read, section

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._settings, name)
        if value is None or isinstance(value, (bool, int, float, str, list, tuple, dict)):
            self._read.add(self._section + name)
            return value
        return _Recorder(value, self._read, f"{self._section}{name}.")


def _turns() -> Turns:
    true, zero, number = np.ones(SHAPE, dtype=bool), np.zeros(SHAPE), np.zeros(SHAPE, dtype=np.int64)
    switch = true.copy()
    switch[:, 1] = False
    return Turns(
        present=true,
        reward=zero + np.array([[0.0, 0.0, 1.0], [0.0, 0.0, 0.0]]),
        switch=switch,
        valid=true,
        has_switch=true,
        has_subgoal=true,
        has_action=true,
        copied=~switch,
        switch_probability=zero + 0.5,
        terminated=np.array([True, False]),
        won=np.array([True, False]),
        group=number[:, 0],
        anchor=number,
        chosen=np.ones((*SHAPE, TOKENS), dtype=bool),
    )
