"""Measure a GPU in stages, the most telling first: `python -m dev.gpu`, twelve minutes at most.

Every stage is a process of its own with a limit of its own and prints one line of JSON: what it is, how it ended, its
figures. A stage that is cut off, by its limit or because this script is stopped, shows what it had measured by then.
One whose packages are not there says which. So the script is worth running on a bare machine, where torch and numpy
are all there is, and for any number of minutes. Exit status 1 where a stage failed.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

from dev.gpu.stages import STAGES
from dev.gpu.worker import LACKING, SIZES

DONE, CUT, STOPPED, FAILED, LACKED = "done", "cut off by its limit", "stopped", "failed", "a package is missing"
SAID = 300  # characters of an error


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m dev.gpu", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("stages", nargs="*", metavar="STAGE", help=f"default: all, in this order: {', '.join(STAGES)}")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="(default: cuda)")
    parser.add_argument(
        "--size", choices=tuple(SIZES), default="paper", help="of models and batches; tiny shows that it runs"
    )
    parser.add_argument("--patience", type=float, default=1.0, metavar="N", help="times each limit (default: 1)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="append each line there, too")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    parser = build_parser()
    given = parser.parse_args(arguments)
    if unknown := [name for name in given.stages if name not in STAGES]:
        parser.error(f"no stage is called {', '.join(unknown)}; there are {', '.join(STAGES)}")
    failed = False
    with _stopping() as stop:
        for name in given.stages or STAGES:
            command = [sys.executable, "-m", "dev.gpu.worker", name, "--device", given.device, "--size", given.size]
            line = {"stage": name, "what": STAGES[name].what}
            line |= run_stage(command, STAGES[name].limit * given.patience, stop)
            failed |= line["status"] == FAILED
            _show(line, given.json)
            if stop.is_set():
                return 130
    return int(failed)


@contextmanager
def _stopping() -> Iterator[threading.Event]:
    """An event that a signal sets in place of ending this process, which still has a line to write."""
    stop = threading.Event()
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def run_stage(command: Sequence[str], limit: float, stop: threading.Event) -> dict[str, Any]:
    """How a stage, which `command` runs in a process of its own, has ended, and the figures that it has printed."""
    began, figures = time.monotonic(), dict[str, Any]()
    with TemporaryFile("w+", errors="replace") as errors:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, text=True, start_new_session=True, errors="replace"
        )
        assert process.stdout is not None
        reader = threading.Thread(target=_collect, args=(process.stdout, figures), daemon=True)
        reader.start()
        while process.poll() is None and time.monotonic() - began < limit and not stop.is_set():
            time.sleep(0.05)
        ended = process.poll() is not None
        _end(process)
        reader.join()
        said = _last(errors)
    line = {"status": DONE, "seconds": round(time.monotonic() - began, 1), "limit": limit, "figures": figures}
    if not ended:
        line["status"] = STOPPED if stop.is_set() else CUT
    elif process.returncode:
        line |= {"status": LACKED if process.returncode == LACKING else FAILED, "said": said}
    return line


def _collect(lines: IO[str], figures: dict[str, Any]) -> None:
    """What the stage prints, one object of figures a line; other lines are some library's."""
    for line in lines:
        try:
            found = json.loads(line)
        except ValueError:
            continue
        if isinstance(found, dict):
            figures.update(found)


def _end(process: subprocess.Popen[str]) -> None:
    """End what is left of the stage, whatever it has started with it."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _last(errors: IO[str]) -> str:
    """The last line that was written there."""
    errors.seek(0)
    lines = [line.strip() for line in errors if line.strip()]
    return lines[-1][:SAID] if lines else ""


def _show(line: dict[str, Any], path: Path | None) -> None:
    text = json.dumps(line)
    print(text, flush=True)
    if path is not None:
        with path.open("a", encoding="utf-8") as stream:
            stream.write(text + "\n")


if __name__ == "__main__":
    sys.exit(main())
