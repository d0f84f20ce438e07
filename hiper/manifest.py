"""What made a folder of results: code, settings, data, versions, seeds, time: `manifest.json`, written last.

It holds no absolute path (but one that a setting names), no environment variable and no host name, so that it can be
published as it is.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import platform
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import yaml

from hiper.config import RunSettings
from hiper.errors import UserError
from hiper.hardware import hardware
from hiper.plugins import ALGORITHMS, ENVIRONMENTS, load, package
from hiper.records import (
    MAKE_DATA_AGAIN,
    absolute,
    leftover,
    read_json,
    require,
    sha256_file,
    sha256_json,
    without_credentials,
    write_json,
)
from hiper.yaml_files import read_yaml

log = logging.getLogger(__name__)

MANIFEST = "manifest.json"
NO_REPOSITORY = "not a git repository"  # as git says it
INDEX = "dataset.json"  # of a data set
SHOWN = 3  # files named in a message
MADE = "{}.made.json"  # beside a data set that DVC has no stage for: what it was made from, and its hash
REWRITING = 2.0  # seconds; DVC writes dvc.lock in place, so that for a moment it is empty or cut
EVALUATION = "evaluation.jsonl"
EVALUATION_MANIFEST = "evaluation.json"
CHANGED = "{}: changed while this stage was at work; run the same command again"
MODELS = ("model", "best")  # folders of a run with weights
_MODEL_FILE = re.compile(r"\.safetensors|\.json$|\.jinja$")  # what a model is read from
_RUN = re.compile(r".+-seed([0-9]+)")
PACKAGES = (
    "dvc",
    "hydra-core",
    "mlflow",
    "numpy",
    "safetensors",
    "snakemake",
    "tokenizers",
    "torch",
    "transformers",
)


def write_manifest(
    folder: Path,
    settings: RunSettings,
    data_root: Path,
    inputs: Mapping[str, Path] | None = None,
    started: float | None = None,
    outputs: Iterable[Path] = (),
    facts: Mapping[str, Any] | None = None,
    name: str = MANIFEST,
    data: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Write `manifest.json` (or the file called `name`) into `folder` and return its content.

    `data_root` holds the data sets (`data/`), `data` is the hash of the one the stage began with: UserError when it is
    another by now. `inputs` are further files or folders the stage read, by a short name;
    `outputs` are files that the stage wrote below `folder` and that later stages read: `verify_outputs` compares them;
    `started` is `time.monotonic()` at the start of the stage, from which the wall time in seconds follows; `facts` are
    further entries.
    """
    root = absolute(data_root).parent
    values = settings.model_dump(mode="json")
    found = data_hash(data_root, settings.benchmark.dataset)
    if data not in (None, found):
        raise UserError(CHANGED.format(data_root / settings.benchmark.dataset))
    manifest = {
        "command": command(root),
        "configuration": sha256_json(values),
        "data": found,
        "data_source": data_source(data_root, settings.benchmark.dataset),
        "data_tagger": data_tagger(data_root, settings.benchmark.dataset),
        "experiment": settings.experiment,
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "folder": absolute(folder).name,
        "git": git_state(root),
        "hardware": hardware(settings.engine.device),
        "inputs": {name: content_hash(path) for name, path in sorted((inputs or {}).items())},
        "outputs": {path.relative_to(folder).as_posix(): sha256_file(path) for path in sorted(outputs)},
        "packages": package_versions(settings),
        "python": platform.python_version(),
        "seeds": {
            "run": settings.seed,
            "demonstrations": settings.demonstrations.seed,
            "data": settings.benchmark.data_seed,
        },
        "settings": values,
        "wall_time_seconds": None if started is None else round(time.monotonic() - started, 3),
        **(facts or {}),
    }
    write_json(folder / name, manifest)
    return manifest


def command(root: Path) -> str:
    """The command line of this process, its program by name only, paths relative to `root`, without credentials."""
    program, *arguments = map(without_credentials, sys.argv)
    name = Path(program).name
    shown = [argument.replace(f"{root}/", "") for argument in arguments]
    # whatever absolute path is left lies outside the project: its last part says enough
    return shlex.join([name, *(Path(part).name if Path(part).is_absolute() else part for part in shown)])


def git_state(root: Path) -> dict[str, Any] | None:
    """Commit and whether tracked files differ from it; None outside a repository, without a commit or without git.

    `dvc.lock` does not count: what it says of the data stands in manifests by itself, and DVC writes it at any time.
    """
    state, reason = ask_git(root)
    if reason and NO_REPOSITORY not in reason:
        _warn_once(f"no commit can be recorded: {reason}")
    return state


def ask_git(root: Path) -> tuple[dict[str, Any] | None, str]:
    """As `git_state`, and why there is none in git's own words ("" where there is)."""
    try:
        # HEAD:./ is there when the commit has this folder: the project may lie inside of another repository
        commit = git(root, "rev-parse", "HEAD", "HEAD:./").split()[0]
        changed = git(root, "status", "--porcelain", "--untracked-files=no", "--", ":/", ":(exclude)dvc.lock")
        return {"commit": commit, "dirty": bool(changed)}, ""
    except UserError as error:
        return None, str(error)


def git(root: Path, *arguments: str) -> str:
    """What git answers; UserError with its status and message when it fails or is not there."""
    environment = {**os.environ, "LC_ALL": "C"}
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=root, env=environment, capture_output=True, encoding="utf-8", errors="replace"
        )
    except OSError as error:
        raise UserError(f"git cannot be started ({error.strerror})") from None
    if done.returncode:
        raise UserError(f"git ended with status {done.returncode}: {done.stderr.strip()}")
    return done.stdout.strip()


@cache
def _warn_once(message: str) -> None:
    log.warning("%s", message)


def data_hash(data_root: Path, dataset: str) -> dict[str, str] | None:
    """What tells a data set from every other: the hash that DVC gives a folder of its content; None without data.

    It is taken of the files, whoever made them. UserError when `dvc.lock` has another, so that what it says of the data
    of a commit is true, or, for a data set that DVC has no stage for, the record of its making.
    """
    folder, lock = data_root / dataset, absolute(data_root).parent / "dvc.lock"
    locked = None
    if not (folder / INDEX).exists():
        return None
    found = folder_hash(folder)
    while lock.exists():
        settled = time.time() - lock.stat().st_mtime > REWRITING
        try:
            locked = _locked(lock, f"{data_root.name}/{dataset}")
        except (yaml.YAMLError, UnicodeDecodeError, AttributeError, TypeError) as error:
            if settled:
                message = f"is no lock file of DVC ({error}); take it from the repository again"
                raise UserError(f"{lock}: {message}") from None
            locked = None
        if locked == found or (settled and locked is None):
            break
        if settled and locked is not None:
            raise UserError(
                f"{folder}: its content is not what dvc.lock says{_differing(folder, lock.parent, locked)}; "
                f"`hiper data repro {dataset}` makes it again, `dvc checkout --force {data_root.name}/{dataset}` takes "
                "it from DVC's cache"
            )
        time.sleep(0.1)
    if locked is None and (made := read_made(data_root, dataset)) is not None and made["md5"] != found:
        raise UserError(
            f"{folder}: its content is not what {MADE.format(dataset)} beside it says; `hiper data repro {dataset}` "
            "makes it again"
        )
    return {"dvc": found}


def read_made(data_root: Path, dataset: str) -> dict[str, Any] | None:
    """The record that `hiper data repro` leaves of a data set that DVC has no stage for; None where there is none."""
    path = data_root / MADE.format(dataset)
    if not path.exists():
        return None
    remedy = f"remove it, then `hiper data repro {dataset}` makes the data set again"
    return require(read_json(path, remedy), {"from": str, "md5": str}, str(path))


def folder_hash(folder: Path) -> str:
    """DVC's hash of a folder: of its files' names and MD5 sums, without what file managers left. Files that have not
    been touched since this process last read them are not read again."""
    signature: list[tuple[str, tuple[int, ...]]] = []
    for entry in files_of(folder):
        found = entry.stat()
        signature.append((str(entry), (found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)))
    known = _HASHES.get(str(folder))
    if known is None or known[0] != signature:
        sums = {os.path.relpath(name, folder): _md5(name) for name, _ in signature}
        known = _HASHES[str(folder)] = signature, _tree_hash(sums)
    return known[1]


_HASHES: dict[str, tuple[list[tuple[str, tuple[int, ...]]], str]] = {}


def _md5(path: str | Path) -> str:
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "md5").hexdigest()


def _tree_hash(sums: Mapping[str, str]) -> str:
    listing = [{"md5": digest, "relpath": name} for name, digest in sorted(sums.items())]
    return hashlib.md5(json.dumps(listing, sort_keys=True).encode()).hexdigest() + ".dir"


def _differing(folder: Path, root: Path, locked: str) -> str:
    """Which files those are, if DVC's cache has the list that a hash stands for."""
    try:
        listed = json.loads((root / ".dvc/cache/files/md5" / locked[:2] / locked[2:]).read_bytes())
        wanted = {str(entry["relpath"]): str(entry["md5"]) for entry in listed}
    except (OSError, ValueError, TypeError, KeyError):
        return ""
    present = {path.relative_to(folder).as_posix() for path in files_of(folder)}
    found = [f"{name} is missing" for name in sorted(wanted.keys() - present)]
    found += [f"{name} is additional" for name in sorted(present - wanted.keys())]
    found += [f"{name} differs" for name in sorted(present & wanted.keys()) if _md5(folder / name) != wanted[name]]
    more = f", and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return f" ({', '.join(found[:SHOWN])}{more})"


def require_unchanged(data: Mapping[str, str] | None, data_root: Path, dataset: str) -> None:
    """UserError when a data set is no longer the one that had the hash `data` (None: whatever it is)."""
    if data is not None and data_hash(data_root, dataset) != data:
        raise UserError(CHANGED.format(data_root / dataset))


def require_data(folder: Path, data_root: Path, dataset: str) -> dict[str, str] | None:
    """The hash of a data set that goes on being used with what lies in `folder`: UserError when its manifest tells of
    other data. Two data sets never meet in one run."""
    found = data_hash(data_root, dataset)
    recorded = (read_manifest(folder) or {}).get("data")
    earlier = {INDEX: sha256_file(data_root / dataset / INDEX)} if found else None  # how old manifests tell of data
    if recorded and found and recorded not in (found, earlier):
        raise UserError(
            f"{folder}: was made with other data than {data_root / dataset} holds now (its {MANIFEST} says "
            f"{_named(recorded)}, there is {_named(found)}); put those data back, or {again(folder)}"
        )
    return found


def _named(data: Any) -> str:
    return ", ".join(f"{name} {value}" for name, value in data.items()) if isinstance(data, Mapping) else str(data)


def _locked(lock: Path, output: str) -> str | None:
    """The hash of `output` in a `dvc.lock`; None where it has none."""
    stages = (yaml.safe_load(lock.read_text(encoding="utf-8")) or {}).get("stages") or {}
    for stage in stages.values():
        for out in stage.get("outs", []):
            if out.get("path") == output and "md5" in out:
                return str(out["md5"])
    return None


def data_source(data_root: Path, dataset: str) -> str | None:
    """Where the data came from (folder, archives, download, generate), as the data set's index says."""
    path, index = _index(data_root, dataset)
    kind = require(index.get("source") or {}, {}, f"{path}, source").get("kind")
    return None if kind is None else str(kind)


def data_tagger(data_root: Path, dataset: str) -> str | None:
    """What tagged the texts that the data were made of; None for data without."""
    _, index = _index(data_root, dataset)
    return index.get("tagger")


def _index(data_root: Path, dataset: str) -> tuple[Path, dict[str, Any]]:
    """A data set's `dataset.json` and its content, empty where there is none."""
    path = data_root / dataset / INDEX
    return path, require(read_json(path, MAKE_DATA_AGAIN), {}, str(path)) if path.exists() else {}


def files_of(folder: Path) -> list[Path]:
    """The files below a folder, sorted; links are followed, what file managers and editors left there is not taken."""
    found = []
    for path, inside, files in os.walk(folder, followlinks=True):
        inside[:] = [name for name in inside if not leftover(name) and not _leads_back(Path(path, name))]
        found += [entry for name in files if not leftover(name) and (entry := Path(path, name)).is_file()]
    return sorted(found)


def _leads_back(folder: Path) -> bool:
    """Whether it is a link to a folder that it lies in: who follows it comes by again and again."""
    return folder.is_symlink() and folder.parent.resolve().is_relative_to(folder.resolve())


def content_hash(path: Path) -> str | None:
    """SHA-256 of a file, or of the names and contents below a folder; None when there is nothing."""
    if path.is_file():
        return sha256_file(path)
    if path.is_dir():
        return sha256_json({str(entry.relative_to(path)): sha256_file(entry) for entry in files_of(path)})
    return None


def package_versions(*runs: RunSettings) -> dict[str, str | None]:
    """Installed versions of the packages that results of these runs may depend on, without importing them: also those
    that their benchmarks and algorithms come from."""
    names = {*PACKAGES}
    for run in runs:
        offered = (package(ENVIRONMENTS, run.benchmark.name), package(ALGORITHMS, run.algorithm.name))
        names |= {*load(ENVIRONMENTS, run.benchmark.name).packages, *filter(None, offered)}
    return {name: _version(name) for name in sorted(names)}


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def withdraw_manifest(folder: Path) -> None:
    """The folder's model is about to be made anew: until the new manifest is written it is not finished, and how the
    old one was evaluated says nothing any more."""
    (folder / EVALUATION).unlink(missing_ok=True)
    (folder / EVALUATION_MANIFEST).unlink(missing_ok=True)
    (folder / MANIFEST).unlink(missing_ok=True)


def read_manifest(folder: Path, name: str = MANIFEST) -> dict[str, Any] | None:
    """The manifest of a folder (or the one called `name`), or None while its stage has not finished."""
    path = folder / name
    if not path.exists():
        return None
    try:
        return require(read_json(path, ""), {}, str(path))
    except UserError as error:
        raise UserError(f"{error}; {again(folder, name)}") from None


def made_with(folder: Path) -> dict[str, Any] | None:
    """The settings that the results of a run folder were made with, those of its evaluation where it has one: its
    config.yaml may have been edited since, for stages that have not run yet. None while the run is not finished, and
    for manifests of earlier versions, which do not say."""
    if (training := read_manifest(folder)) is None:
        return None
    found = (read_manifest(folder, EVALUATION_MANIFEST) or training).get("settings")
    return found if isinstance(found, dict) else None


def verify_outputs(folder: Path) -> None:
    """UserError unless the manifest of `folder` is its own, and the files that it lists as its stage's outputs are as
    they were written, with nothing else in its model folders that a model is read from.

    Does nothing for a folder without a manifest (a model from elsewhere) or with one that lists no outputs.
    """
    manifest = read_manifest(folder) or {}
    require_own(manifest, folder)
    _require_experiment(manifest, folder)
    if "outputs" not in manifest:
        return
    listed = require(manifest, {"outputs": dict}, str(folder / MANIFEST))["outputs"]
    for name, digest in sorted(listed.items()):
        path = folder / name
        if not isinstance(digest, str) or ".." in Path(name).parts or Path(name).is_absolute():
            raise UserError(f"{folder / MANIFEST}: `outputs` is damaged at {name[:60]!r}; {again(folder)}")
        if not path.is_file():
            raise UserError(f"{path}: is missing, but {MANIFEST} lists it; {again(folder)}")
        if sha256_file(path) != digest:
            raise UserError(f"{path}: is not as its stage wrote it (its checksum differs); {again(folder)}")
    for place in MODELS:
        own = any(name.startswith(f"{place}/") for name in listed)
        for path in files_of(folder / place):
            if _MODEL_FILE.search(path.name) and path.relative_to(folder).as_posix() not in listed:
                foreign = path if own else folder / place  # half of a folder would be no model
                raise UserError(f"{foreign}: is not of this run, its {MANIFEST} does not list it; move it elsewhere")


def require_own(manifest: Mapping[str, Any], folder: Path, name: str = MANIFEST) -> None:
    """UserError when a manifest in the folder of a run tells of another run: a copy under another name would pass for
    a run of its own."""
    here, recorded = absolute(folder).name, manifest.get("folder") or _run_of(manifest.get("command"))
    seed = (manifest.get("seeds") or {}).get("run") if isinstance(manifest.get("seeds"), Mapping) else None
    if not (match := _RUN.fullmatch(here)):
        return
    if isinstance(recorded, str) and _RUN.fullmatch(recorded) and recorded != here:
        problem = f"of the run {recorded}"
    elif isinstance(seed, int) and seed != int(match[1]):
        problem = f"of a run with seed {seed}"
    else:
        return
    raise UserError(
        f"{folder / name}: is {problem}: the folder is a copy, or was renamed. Give it its own name again or move it "
        f"out of {folder.parent}, and make the run {here} by its stage"
    )


def _require_experiment(manifest: Mapping[str, Any], folder: Path) -> None:
    """UserError when a run was made in one experiment and goes on under the settings of another, as after `cp -r
    results/one results/another`: who only reads a copied run may."""
    made = manifest.get("experiment")
    now = read_yaml(folder / "config.yaml").get("experiment") if (folder / "config.yaml").exists() else None
    if made is not None and now is not None and made != now:
        raise UserError(
            f"{folder}: was made in the experiment {made}, and its config.yaml is of the experiment {now}: go on with "
            f"it there, or {again(folder)}"
        )


def _run_of(command: Any) -> str | None:
    """The run that a recorded command was about, as `hiper train FOLDER …` names it; manifests of earlier versions have
    no other word of it."""
    parts = command.split() if isinstance(command, str) else []
    return Path(parts[2]).name if len(parts) > 2 else None


def again(folder: Path, name: str = MANIFEST) -> str:
    """What to do about a folder that cannot be used as it is."""
    return f"remove {folder / name} and run the stage that makes this folder again"
