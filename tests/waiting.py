"""Waiting for other processes. pytest's time limit for a test is the only limit: a busy machine takes its time."""

from __future__ import annotations

import time
from collections.abc import Callable


def wait_for(condition: Callable[[], bool]) -> None:
    """Return once it holds; ask again a few times a second."""
    while not condition():
        time.sleep(0.2)
