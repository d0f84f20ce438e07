"""The data stage by way of DVC, which keeps what was made from what; left usable by whoever was killed before."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml

from hiper.compose import configuration_file, load_benchmark
from hiper.errors import UserError
from hiper.manifest import git

log = logging.getLogger(__name__)

# What DVC rewrites in place; a kill in the middle leaves half a file, after which every DVC command fails.
IN_USE = Path(".dvc/tmp/rwlock")  # who reads and writes what
HASHES = Path("dvc.lock")  # what the stages were made from and made


def reproduce(benchmark: str, force: bool = False) -> None:
    """`dvc repro` of a benchmark's stage in the project's root; UserError with DVC's exit status when it fails, for the
    reason that DVC has written to stderr.

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
    command = [sys.executable, "-m", "dvc", "--wait-for-lock", "repro", *(["--force"] if force else []), stage]
    with _without_git() as environment:
        # DVC's errors, and all that the stage says, go to stderr; stdout has remarks such as "didn't change, skipping"
        status = subprocess.run(command, env=environment, stdout=subprocess.DEVNULL).returncode
    if status:
        raise UserError(
            f"data set {benchmark}: DVC ended with status {status} in its stage {stage}, for the reason above. It "
            "reads dvc.yaml, dvc.lock, .dvc/config and .dvc/config.local (where the cache's folder is set). Correct "
            f"what it names, then give the same command again: hiper data repro {benchmark}"
        )


@contextmanager
def _without_git() -> Iterator[dict[str, str]]:
    """An environment in which DVC leaves git alone: a data stage needs nothing of it, and DVC would refuse to work in a
    copy without `.git`, in a repository that git refuses, and on `data/` behind a link. The setting is none of the
    project's, because comparing results with earlier commits needs git."""
    from configobj import ConfigObj
    from dvc.dirs import system_config_dir

    with TemporaryDirectory(prefix="hiper-dvc-") as folder:
        settings = ConfigObj(str(Path(system_config_dir()) / "config"), encoding="utf-8")
        settings.merge({"core": {"no_scm": "true"}})
        settings.filename = str(Path(folder) / "config")
        settings.write()
        yield {**os.environ, "DVC_SYSTEM_CONFIG_DIR": folder}


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
        git(Path(), "checkout", "-q", "--", str(path))
    except UserError as error:
        log.warning("%s", error)
        return False
    return True
