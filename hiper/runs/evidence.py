"""What stands behind an experiment's tables in one small file, so that a number can be checked without a run.

`pack` takes from `results/<experiment>` what tables and figures are counted from: the settings, manifests and metrics
of each run, the outcome of every evaluation episode, the measured gradients, how long the expert's demonstrations are,
and what the jobs cost; no weights, no texts of turns. `unpack` makes a folder of it that `hiper report` reads like any
other. Equal results give equal bytes.
"""

from __future__ import annotations

import hashlib
import io
import lzma
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from hiper.benchmarks.archives import building, extract
from hiper.errors import UserError
from hiper.manifest import EVALUATION, EVALUATION_MANIFEST, MANIFEST
from hiper.records import atomic_write, dumps, leftover, read_json, read_jsonl
from hiper.runs.metrics import METRICS
from hiper.runs.run_files import BENCHMARKS, DEMONSTRATIONS, GRADIENTS, demonstrated

TEXTS = ("decisions", "observation", "instruction")  # of an episode, which no table reads
ENDING = ".tar.xz"


def pack(experiment: Path, archive: Path) -> int:
    """Write the evidence of `results/<experiment>` to a `.tar.xz` and return its size in bytes. UserError where a run
    is not evaluated: its tables would have a hole that nobody could fill."""
    if not archive.name.endswith(ENDING):
        raise UserError(f"{archive}: name the file with the ending {ENDING}")
    runs = [path for path in sorted(experiment.glob("runs/*")) if path.is_dir() and not leftover(path.name)]
    if not runs:
        raise UserError(f"{experiment}: has no runs; name a folder results/<experiment>")
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in sorted(_members(experiment, runs)):
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), 0o644
            tar.addfile(member, io.BytesIO(content))
    packed = lzma.compress(stream.getvalue(), preset=9 | lzma.PRESET_EXTREME)
    with atomic_write(archive, "wb") as file:
        file.write(packed)
    return len(packed)


def unpack(archive: Path, experiment: Path) -> None:
    """Make the folder `results/<experiment>` of a packed one; UserError where the folder exists: results are not
    overwritten."""
    if experiment.exists():
        raise UserError(f"{experiment}: exists already; name a new folder")
    with building(experiment) as folder:
        extract(archive, folder)
        if not (folder / "runs").is_dir():
            raise UserError(f"{archive}: is not what `hiper pack` writes: it has no folder runs")


def _members(experiment: Path, runs: list[Path]) -> Iterator[tuple[str, bytes]]:
    for run in runs:
        if not (run / EVALUATION).exists():
            raise UserError(f"{run}: is not evaluated; finish the experiment, or move this run elsewhere")
        outcomes = _outcomes(run / EVALUATION)
        for name in ("config.yaml", MANIFEST, METRICS):
            if (path := run / name).exists():
                yield f"runs/{run.name}/{name}", path.read_bytes()
        yield f"runs/{run.name}/{EVALUATION}", outcomes
        if (path := run / EVALUATION_MANIFEST).exists():
            yield f"runs/{run.name}/{EVALUATION_MANIFEST}", _manifest(path, outcomes)
    for path in sorted((experiment / GRADIENTS).glob("*.json")):
        if not leftover(path.name):
            yield f"{GRADIENTS}/{path.name}", path.read_bytes()
    for path in sorted((experiment / BENCHMARKS).rglob("*.tsv")):
        if not leftover(path.name):
            yield path.relative_to(experiment).as_posix(), path.read_bytes()
    for path in sorted(experiment.glob(DEMONSTRATIONS.format("*"))):
        rows = demonstrated(experiment, path.parent.name)
        yield path.relative_to(experiment).as_posix(), _lines(rows)


def _outcomes(path: Path) -> bytes:
    rows = read_jsonl(path, remedy="remove it and evaluate this run again")
    return _lines({key: row[key] for key in row if key not in TEXTS} for row in rows)


def _lines(rows: Iterable[Any]) -> bytes:
    return "".join(f"{dumps(row)}\n" for row in rows).encode()


def _manifest(path: Path, outcomes: bytes) -> bytes:
    """The evaluation's manifest, its checksum now that of the outcomes; that of the whole file stays beside it."""
    manifest: dict[str, Any] = read_json(path)
    told = {"episodes": hashlib.sha256(outcomes).hexdigest(), "whole_episodes": manifest.get("episodes")}
    return (dumps(manifest | told) + "\n").encode()
