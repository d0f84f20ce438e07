"""Which run of an experiment is meant, where a command is given the experiment's folder."""

from __future__ import annotations

from pathlib import Path

from hiper.errors import UserError, nearest
from hiper.manifest import EVALUATION
from hiper.records import absolute, leftover


def runs_of(folder: Path) -> list[Path] | None:
    """The runs of an experiment's folder, or of its folder `runs`; None for a folder that holds no runs."""
    place = folder if folder.name == "runs" else folder / "runs"
    if (folder / "config.yaml").exists() or not place.is_dir():
        return None
    return sorted(path.parent for path in place.glob("*/config.yaml") if not leftover(path.parent.name))


def matching(runs: list[Path], wanted: str) -> list[Path]:
    """The runs whose name has every word of `wanted`, by preference as whole parts of it: `hiper seed0` is
    `…-hiper-seed0` and not `…-hiper_traced-seed0` where there are both."""
    words = wanted.split()
    whole = [run for run in runs if all(word in run.name.split("-") for word in words)]
    return whole or [run for run in runs if all(word in run.name for word in words)]


def chosen(folder: Path, wanted: str | None) -> Path:
    """The folder of the run that is meant; UserError lists the runs where several are, or none is."""
    runs = runs_of(folder)
    if runs is None:
        return folder  # whoever reads it says what is wrong with it
    if not runs:
        raise UserError(f"{folder}: no run has been started; `hiper run {absolute(folder).name}` starts all")
    found = matching(runs, wanted or "")
    if len(found) == 1:
        return found[0]
    names = "\n  ".join(run.name for run in found or runs)
    if not found:
        parts = {part for run in runs for part in run.name.split("-")}
        raise UserError(f"{folder}: no run is called like {wanted!r}{nearest(wanted or '', parts)}; it has\n  {names}")
    ask = 'which of its runs? --filter with words of a name, such as "hiper seed0"'
    raise UserError(f"{folder}: {ask}:\n  {names}")


def state(run: Path) -> str:
    """How far a run is, in a word or two."""
    if (run / EVALUATION).exists():
        return "evaluated"
    if (run / "manifest.json").exists():
        return "trained"
    return "unfinished" if (run / "metrics.jsonl").exists() else "not started"
