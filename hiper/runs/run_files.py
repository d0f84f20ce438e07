"""What the report reads, checked: settings, evaluation episodes and metrics of a run, and gradient measurements."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from types import NoneType
from typing import Any

from hiper.errors import UserError
from hiper.manifest import (
    EVALUATION,
    EVALUATION_MANIFEST,
    MANIFEST,
    again,
    content_hash,
    made_with,
    read_manifest,
    require_own,
)
from hiper.records import (
    MAKE_AGAIN,
    each_row,
    leftover,
    read_json,
    read_jsonl,
    require,
    sha256_file,
    sha256_json,
)
from hiper.runs.conditions import VARYING
from hiper.runs.metrics import METRICS
from hiper.yaml_files import read_yaml

BENCHMARKS = "benchmarks"  # Snakemake's measurements of the jobs, in the folder of an experiment
GRADIENTS = "variance"  # the folder of gradient measurements in that of an experiment
DEMONSTRATIONS = "demonstrations/{}/demonstrations.jsonl"  # of a benchmark, there
LARGEST = sys.float_info.max

_Types = Mapping[str, type | tuple[type, ...]]
_Rows = tuple[dict[str, Any], ...]
_GRADIENT_KEYS: _Types = {
    "algorithms": list,
    "alignment": dict,
    "estimators": dict,
    "run": str,
    "turns": list,
    "variance": dict,
}
_DEMONSTRATION_KEYS: _Types = {"task": str, "task_type": str, "turn": int}
_EPISODE_KEYS: _Types = {"task": str, "task_type": str, "split": str, "temperature": (int, float), "won": bool}


def read(folder: Path) -> tuple[Mapping[str, Any], _Rows, _Rows]:
    """(settings, episodes, metrics), each empty where its file is missing. UserError where they do not belong together:
    a copy of another run, episodes of another model or of other data."""
    settings = read_settings(folder) or {}
    if (manifest := read_manifest(folder)) is not None:
        require_own(manifest, folder)
        # official and generated games must not be mixed up: the report says which were played; a model that was only
        # copied may have been there before the data
        played = read_manifest(folder, EVALUATION_MANIFEST) or {}
        known = {key: manifest.get(key) or played.get(key) for key in ("data_source", "data")}
        settings = {**settings, **known}
    require_evaluated(folder, manifest or {})
    _require_metrics(folder / METRICS, manifest or {})
    remedy = "remove it and evaluate this run again"
    episodes = _rows(folder / EVALUATION, _EPISODE_KEYS, remedy)
    if not episodes and (folder / EVALUATION).exists():
        raise UserError(f"{folder / EVALUATION}: holds no episode; {remedy}")
    metrics = _rows(folder / METRICS, {}, f"remove {folder / MANIFEST} and train this run again")
    for number, row in enumerate(metrics, start=1):
        require(row, dict.fromkeys(row, (int, float, NoneType)), f"{folder / 'metrics.jsonl'}:{number}")
    return settings, episodes, metrics


def read_settings(folder: Path) -> dict[str, Any] | None:
    """What the results of a run were made with or, where its manifests do not say, what its config.yaml has now."""
    path = folder / "config.yaml"
    return made_with(folder) or (read_yaml(path) if path.exists() else None)


def require_evaluated(folder: Path, manifest: Mapping[str, Any]) -> None:
    """UserError unless the episodes of a run are those that its evaluation.json tells of, played by the models and with
    the data that its `manifest` tells of; what a record of an earlier version does not say is not asked."""
    evaluation = read_manifest(folder, EVALUATION_MANIFEST)
    if evaluation is None or not (folder / EVALUATION).exists():
        return
    require_own(evaluation, folder, EVALUATION_MANIFEST)
    outputs, inputs = (
        {**part} if isinstance(part := record.get(key), Mapping) else {}
        for record, key in ((manifest, "outputs"), (evaluation, "inputs"))
    )
    made = {name: _content(outputs, place) for name, place in (("last", "model"), ("best", "best"))}
    wrong = [name for name, digest in inputs.items() if made.get(name) not in (None, digest)]
    if evaluation.get("episodes") not in (None, sha256_file(folder / EVALUATION)):
        problem = f"is not the file that {EVALUATION_MANIFEST} tells of"
    elif wrong:
        problem = f"was played by another {wrong[0]} model than {MANIFEST} tells of"
    elif manifest.get("data") and evaluation.get("data") and differ(manifest["data"], evaluation["data"]):
        problem = f"was played on other data than {MANIFEST} tells of"
    else:
        return
    raise UserError(f"{folder / EVALUATION}: {problem}; remove it and evaluate this run again")


def _require_metrics(path: Path, manifest: Mapping[str, Any]) -> None:
    """UserError unless the metrics are those that the stage left; earlier versions do not tell."""
    if manifest.get("metrics") not in (None, content_hash(path)):
        problem = "is not as its stage wrote it (its checksum differs)" if path.exists() else "is missing"
        raise UserError(f"{path}: {problem}; restore it, or {again(path.parent)}")


def _content(outputs: Mapping[str, Any], place: str) -> str | None:
    """What `content_hash` gave for the folder `place` when the files were those of a manifest; None without any."""
    files = {name.removeprefix(f"{place}/"): sum for name, sum in outputs.items() if name.startswith(f"{place}/")}
    return sha256_json(files) if files else None


def differ(one: Any, other: Any) -> bool:
    """Whether two manifests tell of different data; False where they do so in different ways (earlier versions)."""
    return (
        isinstance(one, Mapping)
        and isinstance(other, Mapping)
        and any(one[key] != other[key] for key in one.keys() & other.keys())
    )


def read_gradients(experiment: Path, benchmark: str, model: str) -> _Rows:
    """What `hiper variance` measured on the policies of a benchmark and model, by name of the run; empty where it did
    not."""
    found = []
    for path in sorted((experiment / GRADIENTS).glob(f"{benchmark}-{model}-*.json")):
        if leftover(path.name):
            continue
        try:
            row = require(read_json(path, ""), _GRADIENT_KEYS, str(path))
            _require_measured(path, row, read_manifest(experiment / "runs" / path.stem) or {})
            found.append(row)
        except UserError as error:
            raise UserError(f"{error}; remove the file and run `hiper variance` again") from None
    return tuple(found)


def demonstrated(experiment: Path, benchmark: str) -> _Rows:
    """`task`, `task_type` and `turn` (from 0) of the last turn of each of the expert's demonstrations, all of which are
    won; empty where there are none, as for models that were not warm-started."""
    path = experiment / DEMONSTRATIONS.format(benchmark)
    last: dict[str, dict[str, Any]] = {}
    for number, row in enumerate(each_row(path) if path.exists() else (), start=1):
        found = require(row, _DEMONSTRATION_KEYS, where := f"{path}:{number}")
        if not 0 <= found["turn"] <= LARGEST:
            raise UserError(f"{where}: `turn` = {str(found['turn'])[:60]} is no turn; {MAKE_AGAIN}")
        if found["task"] not in last or found["turn"] > last[found["task"]]["turn"]:
            last[found["task"]] = {key: found[key] for key in _DEMONSTRATION_KEYS}
    return tuple(last.values())


def _require_measured(path: Path, row: Mapping[str, Any], manifest: Mapping[str, Any]) -> None:
    """UserError unless a measurement is that of the run it is called after, whose `manifest` this is."""
    outputs = manifest.get("outputs")
    model = _content(outputs, "model") if isinstance(outputs, Mapping) else None
    if row["run"] != path.stem:
        raise UserError(f"{path}: is of the run {row['run'][:100]}: the file is a copy, or was renamed")
    if None not in (model, row.get("model")) and row["model"] != model:
        raise UserError(f"{path}: is of another model than the run has now")
    if differ(row.get("data"), manifest.get("data")):
        raise UserError(f"{path}: is of other data than the run was made with")


def _rows(path: Path, types: _Types, remedy: str) -> _Rows:
    """Rows of a JSONL file that may not exist yet or be growing; each must have the keys of `types`, of their types,
    and no number that a float cannot hold."""
    rows = read_jsonl(path, partial_ok=True, remedy=remedy) if path.exists() else []
    try:
        for number, row in enumerate(rows, start=1):
            require(row, {**types, **{name: str for name in VARYING if name in row}}, f"{path}:{number}")
            if large := [key for key, value in row.items() if isinstance(value, int | float) and abs(value) > LARGEST]:
                raise UserError(f"{path}:{number}: `{large[0]}` is larger than any number a stage writes")
    except UserError as error:
        raise UserError(f"{error}; {remedy}") from None
    return tuple(rows)


def value_at(settings: Mapping[str, Any], key: str) -> Any:
    """The value at a dotted key, None where there is none."""
    value: Any = settings
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value
