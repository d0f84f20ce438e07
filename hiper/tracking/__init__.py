"""The MLflow mirror of an experiment: every number in it comes from the files in `results/<experiment>/`.

`initialize` makes the sqlite database before any run starts (several processes opening a fresh one would race to
migrate it), `sync` brings it up to date, `rebuild` makes it anew, `follow` mirrors one run while it goes on, from a
process of its own. The mirror never gates a run: a run does not wait for it and does not notice when it fails.
"""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from hiper.errors import UserError
from hiper.records import read_json, write_json
from hiper.tracking.mirror import RESULTS, Mirror

log = logging.getLogger(__name__)
T = TypeVar("T")

EXPERIMENT, SYNCED = "experiment.json", "synced.json"
POLL_SECONDS = 2.0


def initialize(experiment: Path, *, best_effort: bool = False) -> None:
    """Create and migrate the database, create the experiment, record its id in `tracking/experiment.json`."""
    experiment_id = _attempt(lambda: Mirror(experiment).experiment_id, best_effort)
    write_json(experiment / "tracking" / EXPERIMENT, {"experiment": experiment.name, "experiment_id": experiment_id})


def sync(experiment: Path, *, best_effort: bool = False) -> None:
    """Mirror every run folder and the result tables; what is there already is left alone. Writes `synced.json`."""
    runs = _attempt(lambda: _sync(experiment), best_effort)
    write_json(experiment / "tracking" / SYNCED, {"runs": runs})


def _sync(experiment: Path) -> list[str]:
    mirror = Mirror(experiment)
    folders = sorted(path.parent for path in experiment.glob("runs/*/config.yaml"))
    for folder in folders:
        mirror.run(folder)
    mirror.results()
    names = [folder.name for folder in folders]
    mirror.forget_all_but({*names, RESULTS})
    log.info("MLflow mirrors %d runs of %s", len(names), experiment)
    return names


def rebuild(experiment: Path, *, best_effort: bool = False) -> None:
    """Make the database anew; the old one comes back if that fails.

    For a process that has not opened the database yet: MLflow keeps connections, and they would go to the old file.
    """
    tracking, old = experiment / "tracking", experiment / ".tracking.old"
    shutil.rmtree(old, ignore_errors=True)
    if tracking.exists():
        tracking.rename(old)
    try:
        initialize(experiment, best_effort=best_effort)
        sync(experiment, best_effort=best_effort)
    except BaseException:
        shutil.rmtree(tracking, ignore_errors=True)
        if old.exists():
            old.rename(tracking)
        raise
    shutil.rmtree(old, ignore_errors=True)


def start_follower(folder: Path) -> subprocess.Popen[bytes] | None:
    """Start `hiper track follow` for the run in `folder` as a background process; None when there is no database.

    Never raises and never blocks; what goes wrong stands in `<run>/tracking.log`.
    """
    try:
        described = folder.parent.parent / "tracking" / EXPERIMENT
        if not described.exists() or read_json(described)["experiment_id"] is None:
            return None
        command = [sys.executable, "-m", "hiper", "track", "follow", str(folder), "--process", str(os.getpid())]
        with (folder / "tracking.log").open("ab") as output:
            return subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )
    except Exception as error:  # a mirror must not stop a run, whatever is wrong with it
        log.warning("metrics of %s are not mirrored live: %s", folder, error)
        return None


def follow(folder: Path, process: int | None) -> None:
    """Mirror the run in `folder` whenever its metrics grow, until `process` is gone or the manifest is written."""
    os.nice(10)
    started, seen = time.time(), None
    mirror: Mirror | None = None
    while True:
        manifest = folder / "manifest.json"
        ended = (process is not None and not _alive(process)) or (
            manifest.exists() and manifest.stat().st_mtime >= started
        )
        metrics = folder / "metrics.jsonl"
        state = metrics.stat().st_size if metrics.exists() else None
        if ended or state != seen:
            try:
                mirror = mirror or Mirror(folder.parent.parent)
                mirror.run(folder)
                seen = state
            except Exception as error:  # a locked or damaged database: try again, the files lose nothing
                log.warning("%s", error)
        if ended:
            return
        time.sleep(POLL_SECONDS)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _attempt(action: Callable[[], T], best_effort: bool) -> T | None:
    try:
        return action()
    except UserError:
        raise
    except Exception as error:
        message = (
            f"MLflow: {error}; the files are complete, `hiper track rebuild EXPERIMENT_DIR` makes the database anew"
        )
        if not best_effort:
            raise UserError(message) from error
        log.warning("%s", message)
        return None
