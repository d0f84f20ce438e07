"""The data stage by way of DVC, which keeps what was made from what; left usable by whoever was killed before.

A data set that `dvc.yaml` has no stage for, that of a benchmark from another package, is made here: a file beside it
keeps what DVC would keep, a digest of what it was made from and the hash of its content.
"""

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

from hiper.compose import available, configuration_file, load_benchmark
from hiper.config import BenchmarkSettings
from hiper.digests import benchmark_digest
from hiper.errors import UserError
from hiper.manifest import MADE, benchmark_code, folder_hash, git, read_made
from hiper.records import sha256_json, write_json
from hiper.stages.data import make

log = logging.getLogger(__name__)

# What DVC rewrites in place; a kill in the middle leaves half a file, after which every DVC command fails.
IN_USE = Path(".dvc/tmp/rwlock")  # who reads and writes what
DATA = Path("data")
HASHES = Path("dvc.lock")  # what the stages were made from and made


def reproduce(benchmark: str, force: bool = False) -> None:
    """`dvc repro` of a benchmark's stage in the project's root; UserError with DVC's exit status when it fails, for the
    reason that DVC has written to stderr. Without a stage the data set is made here if anything changed, or by `force`.

    What a killed DVC left half written is put right before: the list of who uses what can say nothing then and is
    removed, DVC itself forgets the entries of processes that are gone; of the hashes the committed ones are taken, or
    none, and DVC finds out again what there is.
    """
    if not Path("dvc.yaml").exists():
        raise UserError("dvc.yaml: no such file; run this command in the project's root")
    configuration = configuration_file("benchmark", benchmark, Path())
    settings = load_benchmark(configuration)
    if not _has_stage(settings.name, benchmark):
        _make_here(settings, configuration, force)
        return
    if _torn(IN_USE, json.loads):
        log.warning("%s was left half written by a process that was killed; removing it", IN_USE)
        IN_USE.unlink(missing_ok=True)
    if _torn(HASHES, _require_hashes):
        restored = _committed(HASHES)
        instead = "taking the committed one" if restored else "removing it"
        log.warning("%s was left half written by a process that was killed; %s", HASHES, instead)
        if not restored:
            HASHES.unlink(missing_ok=True)
    stage = f"{settings.name}@{benchmark}"
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


def states() -> dict[str, str]:
    """Of each data set that the benchmarks' files name: whether it is made here, and what has changed since. DVC's own
    `status` calls a set that was never made deleted, so it is asked about the others alone."""
    found, stages = {}, {}
    for benchmark in available("benchmark", Path()):
        settings = load_benchmark(configuration_file("benchmark", benchmark, Path()))
        if not (DATA / benchmark / "dataset.json").exists():
            found[benchmark] = "not made here; a run makes it"
        elif _has_stage(settings.name, benchmark):
            found[benchmark] = "up to date"
            stages[f"{settings.name}@{benchmark}"] = benchmark
        else:
            recorded = read_made(DATA, benchmark)
            same = (
                recorded and recorded["from"] == _origin(settings) and folder_hash(DATA / benchmark) == recorded["md5"]
            )
            found[benchmark] = "up to date" if same else "changed since it was made"
    if stages:
        with _without_git() as environment:
            command = [sys.executable, "-m", "dvc", "status", "--json", *stages]
            done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True)
        if done.returncode:
            raise UserError(f"dvc status ended with status {done.returncode}, for the reason above")
        for stage, changes in json.loads(done.stdout or "{}").items():
            files = [
                name for change in changes if isinstance(change, dict) for part in change.values() for name in part
            ]
            name = stages[stage]
            changed = f"changed since it was made: {', '.join(files) or 'its command'}"
            by_hand = files == [str(DATA / name)]
            found[name] = f"{changed}, or not made by `hiper data repro {name}`" if by_hand else changed
    return found


def _has_stage(name: str, benchmark: str) -> bool:
    """Whether dvc.yaml names one for this data set; of a file that cannot be read DVC says what is wrong."""
    try:
        stages = yaml.safe_load(Path("dvc.yaml").read_text(encoding="utf-8"))["stages"]
        return benchmark in stages.get(name, {}).get("foreach", ())
    except (yaml.YAMLError, UnicodeDecodeError, AttributeError, KeyError, TypeError):
        return True


def _make_here(settings: BenchmarkSettings, configuration: Path, force: bool) -> None:
    output, made = DATA / configuration.stem, DATA / MADE.format(configuration.stem)
    origin = _origin(settings)
    recorded = None if force else read_made(DATA, output.name)
    if recorded and recorded["from"] == origin and output.is_dir() and folder_hash(output) == recorded["md5"]:
        log.info("data set %s didn't change", output.name)
        return
    made.unlink(missing_ok=True)  # while it is made nothing is known of it
    output.parent.mkdir(exist_ok=True)
    make(configuration, output)
    write_json(made, {"from": origin, "md5": folder_hash(output)})


def _origin(settings: BenchmarkSettings) -> str:
    """Of what a data set is made from."""
    return sha256_json({"settings": benchmark_digest(settings), "code": benchmark_code(settings.name)})


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
