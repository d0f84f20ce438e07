"""Mirroring one run while it goes on, from a process of its own that the run neither waits for nor notices."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

from hiper.records import absolute
from hiper.tracking.readings import FOLLOWED
from hiper.tracking.tracker import LAST_PATIENCE, PATIENCE, Tracker
from hiper.tracking.trackers import chosen_tracker

log = logging.getLogger(__name__)

CLUSTER_JOB = "SLURM_JOB_ID"
POLL_SECONDS = 2.0
LONGEST_PAUSE = 60.0  # seconds between attempts while the records cannot be reached
GRACE = 600.0  # seconds by which a follower outlives its run at most; starting alone takes a minute on a busy machine


def start_follower(folder: Path) -> subprocess.Popen[bytes] | None:
    """Start `hiper track follow` for the run in `folder` as a background process; None when that is impossible.

    Never raises and never blocks; what goes wrong stands in `<run>/tracking.log`. On a cluster there is none without a
    tracking server: several computers must not write one sqlite file.
    """
    try:
        server = chosen_tracker().server_variable
        if os.environ.get(CLUSTER_JOB) and server and not os.environ.get(server, "").strip():
            log.info("no live records without a tracking server (%s); the workflow brings them at its end", server)
            return None
        command = [sys.executable, "-m", "hiper", "track", "follow", str(folder), "--process", str(os.getpid())]
        with (folder / FOLLOWED).open("ab") as output:
            return subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )
    except Exception as error:  # a mirror must not stop a run, whatever is wrong with it
        log.warning("metrics of %s are not mirrored live: %s", folder, error)
        return None


def follow(folder: Path, process: int | None) -> None:
    """Mirror the run in `folder` whenever its metrics grow, until `process` is gone or the manifest is written."""
    os.nice(5)  # a third of a training process's share; at 10 it is a tenth, and MLflow takes minutes to import
    _Follower(folder, process).run()


class _Follower:
    """What a follower remembers between two looks at its run."""

    def __init__(self, folder: Path, process: int | None) -> None:
        self.folder, self.process = folder, process
        self.experiment = absolute(folder).parent.parent
        self.is_child = process is not None and os.getppid() == process
        self.tracker = chosen_tracker()
        self.mirror: Tracker | None = None
        self.seen: int | None = None
        self.pause = 0.0  # seconds; 0 while all goes well
        self.due = 0.0  # monotonic time of the next attempt
        self.announced = False

    def run(self) -> None:
        done = threading.Event()
        threading.Thread(target=self._leave_in_time, args=(done,), daemon=True).start()
        while True:
            ended = self._ended()
            if ended or (self._size() != self.seen and time.monotonic() >= self.due):
                self._attempt(LAST_PATIENCE if ended else PATIENCE)
            if ended:
                break
            time.sleep(POLL_SECONDS)
        done.set()
        if self.pause:
            log.warning("the run has ended; `hiper track sync %s` brings its records later", self.experiment)

    def _attempt(self, patience: float) -> None:
        size = self._size()
        try:
            if self.mirror is None or not self.mirror.current():
                self.mirror = self.tracker(self.experiment, patience)
            self.mirror.patience = patience
            self.mirror.run(self.folder)
        except Exception as error:  # locked, damaged or out of reach: try again, the files lose nothing
            if not self.pause:
                log.warning("no records for now: %s", self.tracker.message_of(error))
            self.mirror = None
            self.pause = min(max(2 * self.pause, POLL_SECONDS), LONGEST_PAUSE)
            self.due = time.monotonic() + self.pause
            return
        if self.pause or not self.announced:
            log.info("records go to %s%s", self.mirror.place, " again" if self.announced and self.pause else "")
        self.seen, self.pause, self.due, self.announced = size, 0.0, 0.0, True

    def _size(self) -> int | None:
        metrics = self.folder / "metrics.jsonl"
        return metrics.stat().st_size if metrics.exists() else None

    def _ended(self) -> bool:
        """A run withdraws its old manifest before it starts a follower."""
        if (self.folder / "manifest.json").exists() or not self.folder.exists():
            return True
        return self.process is not None and not self._alive(self.process)

    def _alive(self, process: int) -> bool:
        """A child sees the end of its parent even where another process has got the number since."""
        if self.is_child:
            return os.getppid() == process
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return True

    def _leave_in_time(self, done: threading.Event) -> None:
        """End the process when the run has been over for `GRACE`: a request may hang in ways no time limit covers."""
        since: float | None = None
        while not done.wait(POLL_SECONDS):
            if since is None:
                since = time.monotonic() if self._ended() else None
            elif time.monotonic() - since > GRACE:
                log.warning("records incomplete after %g s; `hiper track sync %s` brings them", GRACE, self.experiment)
                os._exit(1)
