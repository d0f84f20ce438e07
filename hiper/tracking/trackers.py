"""Which trackers there are. The environment variable HIPER_TRACKER names another than MLflow.

To add one: a class that keeps the contract `hiper.tracking.tracker.Tracker`, and a line in TRACKERS.
"""

from __future__ import annotations

import os

from hiper.errors import UserError
from hiper.tracking.mirror import Mirror
from hiper.tracking.tracker import Tracker

CHOICE = "HIPER_TRACKER"
TRACKERS: dict[str, type[Tracker]] = {"mlflow": Mirror}


def chosen_tracker() -> type[Tracker]:
    """The tracker of this process; UserError where the environment names none that there is."""
    name = os.environ.get(CHOICE, "").strip() or "mlflow"
    if name not in TRACKERS:
        raise UserError(f"{CHOICE}={name!r} is no tracker; there are: {', '.join(sorted(TRACKERS))}")
    return TRACKERS[name]
