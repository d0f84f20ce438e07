"""What another experiment has already made from the same is copied, because making it again would give the same bytes.

The same are the settings that the stage reads, its inputs, the data, the code, the packages and the processor, by what
manifests say of them. Copies are compared with the checksums in the other manifest, so that nothing damaged or half
written is taken, whatever happens to the other folder meanwhile. They are no links: Snakemake sets the time stamps of
what its jobs made, and would set those of the other experiment's files, too.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hiper.config import RunSettings, parse_run
from hiper.declarations import Stage
from hiper.digests import stage_digest
from hiper.errors import UserError
from hiper.manifest import (
    MANIFEST,
    TAKEN_FROM,
    again,
    listed_outputs,
    origin,
    read_manifest,
    withdraw_manifest,
    write_manifest,
)
from hiper.records import absolute, atomic_path, sha256_file

log = logging.getLogger(__name__)

SWITCH = "HIPER_REUSE"  # 0 in the environment: every experiment makes its own
SAME = ("code", "data", "data_source", "data_tagger", "inputs", "packages", "processor", "python")  # keys of manifests
SAME_HARDWARE = ("gpus", "processor")
PIECE = 1 << 20  # bytes
TOLD = ("command", "experiment", "finished", "git", "wall_time_seconds")  # keys of the other manifest


def take_over(
    folder: Path,
    stage: Stage,
    settings: RunSettings,
    data_root: Path,
    inputs: Mapping[str, Path] | None = None,
    started: float | None = None,
    data: Mapping[str, str] | None = None,
    further: Mapping[str, str] | None = None,
) -> bool:
    """Fill `folder`, whose lock the caller holds, with what another experiment beside its own made of the same; False
    where there is nothing to take.

    Its manifest then tells of this experiment, and under `taken_from` of the one that computed. `further` are files
    beside the stage's outputs, by the manifest's key that holds their checksum; other arguments as of `write_manifest`.
    """
    if os.environ.get(SWITCH) == "0" or not _repeatable(settings, stage):
        return False
    others = _elsewhere(folder, settings.experiment)
    now = origin(folder, settings, data_root, inputs, data) if others else {}
    for other in others:
        try:
            made = read_manifest(other)
            if made is None or not _alike(made, settings, stage):
                continue
            if differing := _differing(now, made):
                log.info("%s of the experiment %s: not taken over, other %s", stage, other.parents[1].name, differing)
                continue
            withdraw_manifest(folder)
            copied = _copied(made, other, folder, further or {})
        except UserError as error:
            log.warning("%s is not taken over: %s", other, error)
            continue
        facts = {TAKEN_FROM: made.get(TAKEN_FROM) or {key: made.get(key) for key in TOLD}}
        facts |= {key: made[key] for key in further or {}}
        write_manifest(folder, settings, data_root, inputs, started, copied, facts, data=data)
        log.info("%s taken over from the experiment %s; %s=0 makes it again", stage, other.parents[1].name, SWITCH)
        return True
    return False


def _repeatable(settings: RunSettings, stage: Stage) -> bool:
    """Whether making it twice gives the same bytes. Training on a GPU does not promise that, even with
    `engine.deterministic`, under which torch only warns of kernels that vary, attention's backward pass among them."""
    trains = stage == "warmstart" and settings.warm_start.method != "none"
    return not trains or settings.engine.device == "cpu"


def _elsewhere(folder: Path, experiment: str) -> list[Path]:
    """Finished folders of the same name in other experiments; none where `folder` does not lie as the workflow has it,
    `<results>/<experiment>/<kind>/<name>`."""
    kind, own = absolute(folder).parent, absolute(folder).parents[1]
    if own.name != experiment:
        return []
    found = sorted(own.parent.glob(f"*/{kind.name}/{folder.name}/{MANIFEST}"))
    return [path.parent for path in found if path.parents[2] != own]


def _alike(made: Mapping[str, Any], settings: RunSettings, stage: Stage) -> bool:
    """Whether it was made with the same settings; another version's, which this one cannot read, are not the same."""
    values = made.get("settings")
    try:
        return isinstance(values, dict) and stage_digest(settings, stage) == stage_digest(
            parse_run(values, MANIFEST), stage
        )
    except UserError:
        return False


def _differing(now: Mapping[str, Any], made: Mapping[str, Any]) -> str:
    """What else it was made of or with that is not the same here; empty where all of it is."""
    hardware = made.get("hardware")
    machine = hardware if isinstance(hardware, dict) else {}
    keys = [key.replace("_", " ") for key in SAME if now.get(key) != made.get(key)]
    if "packages" in keys:
        one, other = (found if isinstance(found := each.get("packages"), dict) else {} for each in (now, made))
        names = sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))
        keys[keys.index("packages")] = f"packages ({', '.join(names)})"
    return ", ".join(keys + [key for key in SAME_HARDWARE if now["hardware"][key] != machine.get(key)])


def _copied(made: Mapping[str, Any], other: Path, folder: Path, further: Mapping[str, str]) -> list[Path]:
    """The stage's outputs, copied from `other` with the `further` files. UserError, and no copy is left, where one of
    them cannot be read or is not what the manifest says."""
    outputs = listed_outputs(made, other)
    wanted = outputs | {file: str(made.get(key)) for key, file in further.items()}
    for inside in {Path(name).parts[0] for name in outputs if len(Path(name).parts) > 1}:
        shutil.rmtree(folder / inside, ignore_errors=True)  # what was made there before must not mix with it
    done: list[Path] = []
    try:
        for name, digest in wanted.items():
            _copy(other / name, folder / name, digest)
            done.append(folder / name)
    except BaseException:
        for path in done:
            path.unlink(missing_ok=True)
        raise
    return [folder / name for name in outputs]


def _copy(source: Path, target: Path, digest: str) -> None:
    with atomic_path(target) as temporary:
        with temporary.open("wb") as copy:
            for piece in _pieces(source):
                copy.write(piece)
        if sha256_file(temporary) != digest:
            raise UserError(f"{source}: is not as its stage wrote it (its checksum differs); {again(source.parent)}")


def _pieces(source: Path) -> Iterator[bytes]:
    """The content of a file of the other experiment; UserError where it cannot be read, or not to its end."""
    try:
        with source.open("rb") as stream:
            while piece := stream.read(PIECE):
                yield piece
    except OSError as error:
        raise UserError(f"{source}: {error.strerror}") from None
