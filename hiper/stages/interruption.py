"""SIGTERM and SIGUSR1: stop at the next place from which the work can go on.

Clusters announce the end of a job with one of them: SIGTERM when it is preempted, SIGUSR1 some time before its limit
(`--signal=USR1@SECONDS`). A stage that listens finishes the iteration it is in, writes a checkpoint and raises
`Interrupted`, which the command line turns into exit status 75: try again later. A second signal ends the process at
once, as it would without this module; every file is replaced in one piece, so that only the iteration is lost.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)


class Notice:
    """Whether this process has been asked to stop; as text, by which signal."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None

    def __str__(self) -> str:
        return "not asked to stop" if self.signal is None else self.signal.name

    @property
    def given(self) -> bool:
        return self.signal is not None

    def receive(self, number: int, frame: FrameType | None) -> None:
        """The handler of both signals."""
        if self.given:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        self.signal = signal.Signals(number)
        # not through logging: this may run in the middle of a line that is being logged
        os.write(2, f"{self}: stopping after a checkpoint; a second signal stops at once\n".encode())


@contextmanager
def listening() -> Iterator[Notice]:
    """Take note of both signals instead of dying of them; only the main thread may call this."""
    notice = Notice()
    before = {number: signal.signal(number, notice.receive) for number in SIGNALS}
    try:
        yield notice
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
