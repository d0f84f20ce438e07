"""`manifest.json`, as a stage writes it last."""

from __future__ import annotations

import platform
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hiper.config import RunSettings
from hiper.errors import UserError
from hiper.hardware import hardware
from hiper.manifest.contents import MANIFEST, content_hash
from hiper.manifest.datasets import CHANGED, data_hash, data_source, data_tagger
from hiper.manifest.surroundings import bfloat16_units, code_hash, command, git_state, package_versions
from hiper.records import absolute, sha256_file, sha256_json, write_json


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
    manifest = {
        **origin(folder, settings, data_root, inputs, data),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "outputs": {path.relative_to(folder).as_posix(): sha256_file(path) for path in sorted(outputs)},
        "wall_time_seconds": None if started is None else round(time.monotonic() - started, 3),
        **(facts or {}),
    }
    write_json(folder / name, manifest)
    return manifest


def origin(
    folder: Path,
    settings: RunSettings,
    data_root: Path,
    inputs: Mapping[str, Path] | None = None,
    data: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """What a manifest says of what makes the results in `folder`, known before they are there; as `write_manifest`."""
    root = absolute(data_root).parent
    values = settings.model_dump(mode="json")
    found = data_hash(data_root, settings.benchmark.dataset)
    if data not in (None, found):
        raise UserError(CHANGED.format(data_root / settings.benchmark.dataset))
    return {
        "code": code_hash(settings.benchmark.name),
        "command": command(root),
        "configuration": sha256_json(values),
        "data": found,
        "data_source": data_source(data_root, settings.benchmark.dataset),
        "data_tagger": data_tagger(data_root, settings.benchmark.dataset),
        "experiment": settings.experiment,
        "folder": absolute(folder).name,
        "git": git_state(root),
        "hardware": hardware(settings.engine.device),
        "inputs": {name: content_hash(path) for name, path in sorted((inputs or {}).items())},
        "packages": package_versions(settings),
        "python": platform.python_version(),
        "seeds": {
            "run": settings.seed,
            "demonstrations": settings.demonstrations.seed,
            "data": settings.benchmark.data_seed,
        },
        "settings": values,
        **({"processor": {"bfloat16": bfloat16_units()}} if _bfloat16_on_cpu(settings) else {}),
    }


def _bfloat16_on_cpu(settings: RunSettings) -> bool:
    return settings.engine.device == "cpu" and "bfloat16" in (settings.engine.dtype, settings.rollout.dtype)
