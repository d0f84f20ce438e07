"""What made a folder of results: code, settings, data, versions, seeds, time: `manifest.json`, written last.

It holds no absolute path, no environment variable and no host name, so that it can be published as it is.
"""

from __future__ import annotations

import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import yaml

from hiper.config import RunSettings
from hiper.records import read_json, sha256_file, sha256_json, write_json

FILE = "manifest.json"
PACKAGES = (
    *("alfworld", "dvc", "hydra-core", "mlflow", "numpy", "safetensors", "snakemake", "textworld", "tokenizers"),
    *("torch", "transformers"),
)


def write_manifest(
    folder: Path,
    settings: RunSettings,
    data_root: Path,
    inputs: Mapping[str, Path] | None = None,
    started: float | None = None,
) -> dict[str, Any]:
    """Write `manifest.json` into `folder` and return its content.

    `data_root` holds the data sets (`data/`); `inputs` are further files or folders the stage read, by a short name;
    `started` is `time.monotonic()` at the start of the stage, from which the wall time in seconds follows.
    """
    root = data_root.resolve().parent
    manifest = {
        "command": command(root),
        "configuration": sha256_json(settings.model_dump(mode="json")),
        "data": data_hash(data_root, settings.benchmark.dataset),
        "data_source": data_source(data_root, settings.benchmark.dataset),
        "experiment": settings.experiment,
        "git": git_state(root),
        "inputs": {name: content_hash(path) for name, path in sorted((inputs or {}).items())},
        "packages": package_versions(),
        "python": platform.python_version(),
        "seeds": {
            "run": settings.seed,
            "demonstrations": settings.demonstrations.seed,
            "data": settings.benchmark.data.generate.seed,
        },
        "wall_time_seconds": None if started is None else round(time.monotonic() - started, 3),
    }
    write_json(folder / FILE, manifest)
    return manifest


def command(root: Path) -> str:
    """The command line of this process, its program by name only and paths relative to `root`."""
    program, *arguments = sys.argv
    name = Path(program).name
    shown = [argument.replace(f"{root}/", "") for argument in arguments]
    # whatever absolute path is left lies outside the project: its last part says enough
    return shlex.join([name, *(Path(part).name if Path(part).is_absolute() else part for part in shown)])


def git_state(root: Path) -> dict[str, Any] | None:
    """Commit and whether tracked files differ from it; None outside a repository, without a commit or without git."""
    try:
        commit = _git(root, "rev-parse", "HEAD")
        return {"commit": commit, "dirty": bool(_git(root, "status", "--porcelain", "--untracked-files=no"))}
    except (OSError, subprocess.SubprocessError):
        return None


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, timeout=60, check=True)
    return done.stdout.strip()


def data_hash(data_root: Path, dataset: str) -> dict[str, str] | None:
    """DVC's hash of the data set's folder when `dvc.lock` has it, else the SHA-256 of its index; None without data."""
    lock = data_root.resolve().parent / "dvc.lock"
    if lock.exists():
        wanted = f"{data_root.name}/{dataset}"
        stages = (yaml.safe_load(lock.read_text(encoding="utf-8")) or {}).get("stages") or {}
        for stage in stages.values():
            for out in stage.get("outs", []):
                if out.get("path") == wanted and "md5" in out:
                    return {"dvc": out["md5"]}
    index = data_root / dataset / "games.json"
    return {"games.json": sha256_file(index)} if index.exists() else None


def data_source(data_root: Path, dataset: str) -> str | None:
    """Where the games came from (folder, archives, download, generate), as the data set's index says."""
    index = data_root / dataset / "games.json"
    kind = (read_json(index).get("source") or {}).get("kind") if index.exists() else None
    return None if kind is None else str(kind)


def content_hash(path: Path) -> str | None:
    """SHA-256 of a file, or of the names and contents below a folder; None when there is nothing."""
    if path.is_file():
        return sha256_file(path)
    if path.is_dir():
        files = sorted(entry for entry in path.rglob("*") if entry.is_file())
        return sha256_json({str(entry.relative_to(path)): sha256_file(entry) for entry in files})
    return None


def package_versions() -> dict[str, str | None]:
    """Installed versions of the packages that results may depend on, without importing them."""
    return {name: _version(name) for name in PACKAGES}


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest of a folder, or None while its stage has not finished."""
    path = folder / FILE
    return dict(read_json(path)) if path.exists() else None
