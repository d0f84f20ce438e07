"""Runs `hiper` commands in forked children that die on demand. Importing torch takes seconds, a fork none.

Reads one JSON request per line: `argv`, the `folder` to work in, the `log` for its output, and the `fault`:

    {"event": n}      SIGKILL before the n-th operation that changes the file system (opening for writing, renaming, …)
    {"bytes": n}      the kernel kills the process (SIGXFSZ) in the middle of the write that takes a file beyond n bytes
    {"seconds": s}    SIGKILL after that time, wherever the process is
    {}                none

Answers with the exit status (negative: the signal) and the number of operations that changed the file system.
"""

from __future__ import annotations

import json
import logging
import os
import resource
import signal
import sys
import traceback
from importlib import import_module
from pathlib import Path
from typing import Any

# What stages import when they need it, and what takes long.
LAZY = (
    "hydra",
    "matplotlib.pyplot",
    "mlflow.store.tracking.sqlalchemy_store",
    "torch._inductor.config",
    "transformers.tokenization_utils_tokenizers",
)

CHANGES = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.truncate"}


class Counter:
    """An audit hook that counts changes of the file system and kills this process before number `fatal`."""

    def __init__(self, fatal: int | None) -> None:
        self.count, self.fatal = 0, fatal

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        writes = event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        if (not writes and event not in CHANGES) or str(arguments[0]).startswith("/dev/"):
            return
        self.count += 1
        if self.count == self.fatal:
            os.kill(os.getpid(), signal.SIGKILL)


def child(request: dict[str, Any], answer: int) -> None:
    from hiper.cli.main import main

    os.chdir(request["folder"])
    output = os.open(request["log"], os.O_CREAT | os.O_TRUNC | os.O_WRONLY)
    os.dup2(output, 1)
    os.dup2(output, 2)
    logging.getLogger().handlers.clear()  # the next one writes to the new stderr
    sys.argv = ["hiper", *request["argv"]]
    fault = request["fault"]
    if "bytes" in fault:
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # Python ignores it and reports an error instead
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (fault["bytes"], fault["bytes"]))
    if "seconds" in fault:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, fault["seconds"])
    counter = Counter(fault.get("event"))
    sys.addaudithook(counter)
    status = main(request["argv"])
    os.write(answer, str(counter.count).encode())
    sys.stderr.flush()
    os._exit(status)


def serve() -> None:
    for line in sys.stdin:
        request = json.loads(line)
        reading, writing = os.pipe()
        process = os.fork()
        if process == 0:
            os.close(reading)
            try:
                child(request, writing)
            except BaseException as error:
                Path(request["log"]).write_text("".join(traceback.format_exception(error)))
            finally:
                os._exit(70)
        os.close(writing)
        _, status = os.waitpid(process, 0)
        events = os.read(reading, 100)
        os.close(reading)
        print(json.dumps([os.waitstatus_to_exitcode(status), int(events or 0)]), flush=True)


if __name__ == "__main__":
    stages = [f"hiper.stages.{name}" for name in ("evaluation", "training", "warmstart")] + ["hiper.report.outputs"]
    for name in [*stages, *LAZY]:
        import_module(name)
    print("ready", flush=True)
    serve()
