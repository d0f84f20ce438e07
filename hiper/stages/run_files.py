"""What the report reads, checked: settings, evaluation episodes and metrics of a run, and gradient measurements."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from types import NoneType
from typing import Any

from hiper.errors import UserError
from hiper.manifest import EVALUATION, made_with, read_manifest
from hiper.records import read_json, read_jsonl, require
from hiper.stages.conditions import VARYING
from hiper.yaml_files import read_yaml

GRADIENTS = "variance"  # the folder of gradient measurements in that of an experiment
LARGEST = sys.float_info.max

_Kinds = Mapping[str, type | tuple[type, ...]]
_Rows = tuple[dict[str, Any], ...]
_GRADIENT_KEYS: _Kinds = {
    **{"algorithms": list, "alignment": dict, "estimators": dict},
    **{"run": str, "turns": list, "variance": dict},
}
_EPISODE_KEYS: _Kinds = {"task": str, "task_type": str, "split": str, "temperature": (int, float), "won": bool}


def read(folder: Path) -> tuple[Mapping[str, Any], _Rows, _Rows]:
    """(settings, episodes, metrics), each empty where its file is missing."""
    settings = read_settings(folder) or {}
    if (manifest := read_manifest(folder)) is not None:
        # official and generated games must not be mixed up: the report says which were played
        settings = {**settings, "data_source": manifest.get("data_source")}
    episodes = _rows(folder / EVALUATION, _EPISODE_KEYS)
    if not episodes and (folder / EVALUATION).exists():
        raise UserError(f"{folder / EVALUATION}: holds no episode; remove it and evaluate this run again")
    metrics = _rows(folder / "metrics.jsonl", {})
    for number, row in enumerate(metrics, start=1):
        require(row, dict.fromkeys(row, (int, float, NoneType)), f"{folder / 'metrics.jsonl'}:{number}")
    return settings, episodes, metrics


def read_settings(folder: Path) -> dict[str, Any] | None:
    """What the results of a run were made with or, where its manifests do not say, what its config.yaml has now."""
    path = folder / "config.yaml"
    return made_with(folder) or (read_yaml(path) if path.exists() else None)


def read_gradients(experiment: Path, benchmark: str, model: str) -> _Rows:
    """What `hiper variance` measured on the policies of a benchmark and model, by name of the run; empty where it did
    not."""
    found = []
    for path in sorted((experiment / GRADIENTS).glob(f"{benchmark}-{model}-*.json")):
        try:
            found.append(require(read_json(path), _GRADIENT_KEYS, str(path)))
        except UserError as error:
            raise UserError(f"{error}; remove the file and run `hiper variance` again") from None
    return tuple(found)


def _rows(path: Path, kinds: _Kinds) -> _Rows:
    """Rows of a JSONL file that may not exist yet or be growing; each must have the keys of `kinds`, of their types,
    and no number that a float cannot hold."""
    rows = read_jsonl(path, partial_ok=True) if path.exists() else []
    try:
        for number, row in enumerate(rows, start=1):
            require(row, {**kinds, **{name: str for name in VARYING.values() if name in row}}, f"{path}:{number}")
            if large := [key for key, value in row.items() if isinstance(value, int | float) and abs(value) > LARGEST]:
                raise UserError(f"{path}:{number}: `{large[0]}` is larger than any number a stage writes")
    except UserError as error:
        raise UserError(f"{error}; remove the file and run the stage that makes it again") from None
    return tuple(rows)
