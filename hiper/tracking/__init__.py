"""The mirror of an experiment in a tracker: every number in it comes from the files in `results/<experiment>/`.

The tracker is MLflow, or another of `hiper.tracking.trackers`. MLflow's records go to the server that
`MLFLOW_TRACKING_URI` names, else to `results/<experiment>/tracking/mlflow.db`.

`initialize` makes database and experiment before any run starts, `sync` brings the records up to date, `rebuild` makes
them anew, `follow` mirrors one run while it goes on, from a process of its own. The mirror never gates a run: a run
does not wait for it and does not notice when it fails, and one `sync` brings later what is missing.

Every wait has an end: 5 s for a lock (a minute where it is the last chance), two tries of 5 s for a request, and the
first that fails ends the command.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from hiper.errors import UserError
from hiper.records import absolute, leftover, write_json
from hiper.tracking.follower import follow, start_follower
from hiper.tracking.readings import started
from hiper.tracking.tracker import LAST_PATIENCE, RESULTS
from hiper.tracking.trackers import chosen_tracker

__all__ = ["follow", "initialize", "rebuild", "start_follower", "sync"]

log = logging.getLogger(__name__)
T = TypeVar("T")

EXPERIMENT, SYNCED = "experiment.json", "synced.json"


def initialize(experiment: Path, *, best_effort: bool = False) -> None:
    """Make the database where there is none, and the experiment; record its id in `tracking/experiment.json`."""
    mirror = _attempt(lambda: chosen_tracker()(experiment), experiment, best_effort)
    if mirror is not None:
        log.info("%s's records of %s go to %s", mirror.title, experiment, mirror.place)
    found = {"experiment": absolute(experiment).name, "experiment_id": mirror.experiment_id if mirror else None}
    write_json(experiment / "tracking" / EXPERIMENT, found)


def sync(experiment: Path, *, best_effort: bool = False) -> None:
    """Mirror every run folder and the result tables; what is there already is left alone. Writes `synced.json`."""
    runs = _attempt(lambda: _sync(experiment), experiment, best_effort)
    write_json(experiment / "tracking" / SYNCED, {"runs": runs})


def _sync(experiment: Path) -> list[str]:
    mirror = chosen_tracker()(experiment, LAST_PATIENCE)
    folders = sorted(path for path in experiment.glob("runs/*") if started(path) and not leftover(path.name))
    broken: list[UserError] = []
    for folder in folders:
        try:
            mirror.run(folder)
        except UserError as error:  # this run's files; those of the others are none the worse
            broken.append(error)
    mirror.results()
    names = [folder.name for folder in folders]
    mirror.forget_all_but({*names, RESULTS})
    where = mirror.title, experiment, mirror.place
    log.info("%s's records of %s (%s): %d runs; added %s", *where, len(names), mirror.added)
    if broken:
        raise UserError(f"{len(broken)} of {len(names)} runs could not be mirrored; the first: {broken[0]}")
    return names


def rebuild(experiment: Path, *, best_effort: bool = False) -> None:
    """Make the records anew, as the tracker's `afresh` says."""
    _attempt(lambda: _rebuild(experiment), experiment, best_effort)


def _rebuild(experiment: Path) -> None:
    with chosen_tracker().afresh(experiment):
        initialize(experiment)
        sync(experiment)


def _attempt(action: Callable[[], T], experiment: Path, best_effort: bool) -> T | None:
    """The action's result. What goes wrong is one message with the way out: a UserError, or a warning and None."""
    try:
        return action()
    except Exception as error:
        message = str(error)
        if not isinstance(error, UserError):
            tracker = chosen_tracker()  # there is one: a name that is none is a UserError
            message = f"{tracker.title}: {tracker.message_of(error)}"
        if not message.endswith(advice(experiment)):
            message += advice(experiment)
        if not best_effort:
            raise UserError(message) from None  # the cause may hold an address with a password
        log.warning("%s", message)
        return None


def advice(experiment: Path) -> str:
    return f"\nThe files are complete; `hiper track sync {experiment}` brings the records up to date later"
