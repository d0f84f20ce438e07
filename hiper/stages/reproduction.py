"""The data stage by way of DVC, which keeps what was made from what; left usable by whoever was killed before."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import yaml

from hiper.compose import configuration_file, load_benchmark
from hiper.errors import UserError

log = logging.getLogger(__name__)

# What DVC rewrites in place; a kill in the middle leaves half a file, after which every DVC command fails.
IN_USE = Path(".dvc/tmp/rwlock")  # who reads and writes what
HASHES = Path("dvc.lock")  # what the stages were made from and made


def reproduce(benchmark: str) -> int:
    """`dvc repro` of a benchmark's stage in the project's root; DVC's exit status.

    What a killed DVC left half written is put right before: the list of who uses what can say nothing then and is
    removed, DVC itself forgets the entries of processes that are gone; of the hashes the committed ones are taken, or
    none, and DVC finds out again what there is.
    """
    if not Path("dvc.yaml").exists():
        raise UserError("dvc.yaml: no such file; run this command in the project's root")
    if _torn(IN_USE, json.loads):
        log.warning("%s was left half written by a process that was killed; removing it", IN_USE)
        IN_USE.unlink(missing_ok=True)
    if _torn(HASHES, _require_hashes):
        restored = _committed(HASHES)
        instead = "taking the committed one" if restored else "removing it"
        log.warning("%s was left half written by a process that was killed; %s", HASHES, instead)
        if not restored:
            HASHES.unlink(missing_ok=True)
    stage = f"{load_benchmark(configuration_file('benchmark', benchmark, Path())).name}@{benchmark}"
    return subprocess.run([sys.executable, "-m", "dvc", "--wait-for-lock", "repro", "-q", stage]).returncode


def _torn(path: Path, parse: Callable[[str], object]) -> bool:
    """Unreadable, and still so after a second: a living writer needs far less."""
    for wait in (1.0, 0.0):
        try:
            parse(path.read_text(encoding="utf-8"))
            return False
        except FileNotFoundError:
            return False
        except ValueError:
            time.sleep(wait)
    return True


def _require_hashes(text: str) -> None:
    """ValueError unless DVC would read this `dvc.lock`."""
    from dvc.schema import COMPILED_LOCKFILE_SCHEMA
    from voluptuous import Invalid

    try:
        COMPILED_LOCKFILE_SCHEMA(yaml.safe_load(text) or {})
    except (yaml.YAMLError, Invalid) as error:
        raise ValueError(str(error)) from None


def _committed(path: Path) -> bool:
    """Get back the committed state of a file; False where git knows none."""
    try:
        return subprocess.run(["git", "checkout", "-q", "--", path], capture_output=True).returncode == 0
    except FileNotFoundError:  # no git
        return False
