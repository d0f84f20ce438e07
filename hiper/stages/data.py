"""The data stage: one benchmark configuration in, one data set out. DVC runs it (`dvc.yaml`)."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import time
from pathlib import Path

from hiper.compose import configuration_file, load_benchmark
from hiper.config import AlfworldSettings
from hiper.errors import UserError

log = logging.getLogger(__name__)

DVC_LOCKS = Path(".dvc/tmp/rwlock")  # DVC's list of who reads and writes what, rewritten in place


def make(configuration: Path, output: Path) -> None:
    """Make the data set of a benchmark file (`configs/benchmark/<name>.yaml`) in the folder `output`, replacing it.

    The file is read as plain YAML: what Hydra would override does not concern the data. Raises UserError for a missing
    or invalid file, and when no task can be had.
    """
    settings = load_benchmark(configuration)
    if isinstance(settings, AlfworldSettings):
        from hiper.benchmarks.alfworld.sources import make_dataset

        make_dataset(settings.dataset, settings.data, settings.task_types, output)
    else:
        from hiper.benchmarks.webshop import sources

        sources.make_dataset(settings, output)


def reproduce(benchmark: str) -> int:
    """`dvc repro` of a benchmark's stage in the project's root; DVC's exit status.

    A kill while DVC writes its list of locks leaves half a list, after which every DVC command fails. It is removed:
    it can say nothing, and DVC itself forgets the entries of processes that are gone.
    """
    if not Path("dvc.yaml").exists():
        raise UserError("dvc.yaml: no such file; run this command in the project's root")
    if _torn(DVC_LOCKS):
        log.warning("%s was left half written by a process that was killed; removing it", DVC_LOCKS)
        DVC_LOCKS.unlink(missing_ok=True)
    stage = f"{load_benchmark(configuration_file('benchmark', benchmark, Path())).name}@{benchmark}"
    return subprocess.run([sys.executable, "-m", "dvc", "--wait-for-lock", "repro", "-q", stage]).returncode


def _torn(path: Path) -> bool:
    """Unreadable, and still so after a second: a living writer needs far less."""
    for wait in (1.0, 0.0):
        try:
            json.loads(path.read_text(encoding="utf-8"))
            return False
        except FileNotFoundError:
            return False
        except ValueError:
            time.sleep(wait)
    return True
