"""The manifest that lies in a folder: what it says, and whether the folder is still what it says."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hiper.errors import UserError
from hiper.manifest.contents import MANIFEST, files_of
from hiper.records import absolute, read_json, require, sha256_file
from hiper.yaml_files import read_yaml

TAKEN_FROM = "taken_from"  # key of a manifest: another experiment's, whose outputs were copied
EVALUATION = "evaluation.jsonl"
EVALUATION_MANIFEST = "evaluation.json"
MODELS = ("model", "best")  # folders of a run with weights
_MODEL_FILE = re.compile(r"\.safetensors|\.json$|\.jinja$")  # what a model is read from
_RUN = re.compile(r".+-seed([0-9]+)")


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
    listed = listed_outputs(manifest, folder)
    for name, digest in listed.items():
        path = folder / name
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


def listed_outputs(manifest: Mapping[str, Any], folder: Path) -> dict[str, str]:
    """The checksums that the manifest of `folder` has of its stage's outputs, by name, sorted; UserError where it has
    none, or a name leads out of the folder."""
    listed = require(manifest, {"outputs": dict}, str(folder / MANIFEST))["outputs"]
    for name, digest in listed.items():
        if not isinstance(digest, str) or ".." in Path(name).parts or Path(name).is_absolute():
            raise UserError(f"{folder / MANIFEST}: `outputs` is damaged at {name[:60]!r}; {again(folder)}")
    return dict(sorted(listed.items()))


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
