"""What a tracker is: something that shows the records of an experiment, all of which come from the experiment's files.

`hiper.tracking.trackers` says which there are. `hiper.tracking.readings` gives what the files say as names, steps and
numbers.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import ClassVar, Protocol

PATIENCE = 5.0  # seconds to wait for another writer on this machine
LAST_PATIENCE = 60.0  # for who will not come again; followers that catch up hold the lock for one run at a time
RESULTS = "results"  # the record that shows the report, the tables and the figures


class Tracker(Protocol):
    """One experiment's records, opened; the experiment is made when it is new.

    `run` and `results` are called again and again, while a run goes on and by several processes at once: they add what
    the records lack. What a tracker keeps on this machine belongs into the experiment's folder `tracking`.
    Whatever goes wrong is an exception: callers make a warning of it, or try again. Every wait has an end.
    """

    title: ClassVar[str]
    """Its name, for people."""
    server_variable: ClassVar[str | None]
    """The environment variable that names a server; without one records are files, which several computers must not
    write. None: there is always a server."""

    patience: float
    """Seconds to wait for another writer."""
    experiment_id: str
    added: object
    """What has been written so far; its `str` is for people."""

    def __init__(self, experiment: Path, patience: float = PATIENCE) -> None: ...

    @property
    def place(self) -> str:
        """Where the records are, for people; without credentials."""
        ...

    def current(self) -> bool:
        """Whether the records are still those that were opened."""
        ...

    def run(self, folder: Path) -> None:
        """Bring the record of one run folder up to date: settings, metrics, evaluation, files."""
        ...

    def results(self) -> None:
        """Bring the record RESULTS up to date."""
        ...

    def forget_all_but(self, names: set[str]) -> None:
        """Delete those of our records whose name is none of these; other people's stay."""
        ...

    @classmethod
    def afresh(cls, experiment: Path) -> AbstractContextManager[None]:
        """Within it our records of the experiment are gone and are made anew; where that fails, those that can come
        back do."""
        ...

    @staticmethod
    def message_of(error: BaseException) -> str:
        """What went wrong, on one line, without credentials."""
        ...
