"""Where each cell of the report comes from: the runs behind it, and what each run was made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hiper.compose import config_text
from hiper.manifest import EVALUATION, EVALUATION_MANIFEST, read_manifest
from hiper.records import absolute, sha256_file, sha256_json
from hiper.report.study import Run, Study, folder_name
from hiper.runs.conditions import Condition
from hiper.runs.run_files import read_settings


@dataclass(frozen=True)
class Made:
    """A run and what made it: the manifest of its training, and of its evaluation; None where there is none."""

    run: Run
    training: Mapping[str, Any] | None
    evaluation: Mapping[str, Any] | None


def title(folder: Path, made: Sequence[Made]) -> str:
    """What the experiment is called: as its folder, unless the runs' manifests agree on another name."""
    name = absolute(folder).name
    recorded = {str(_part(one.training, "experiment") or name) for one in made if one.training is not None}
    if len(recorded) != 1 or (own := recorded.pop()) == name:
        return name
    packed = any(_part(one.evaluation, "whole_episodes") for one in made)
    return f"{own} ({'unpacked in' if packed else 'in the folder'} {name})"


def made_runs(study: Study, experiment: Path) -> list[Made]:
    folders = [(run, experiment / "runs" / run.name) for run in study.runs]
    return [Made(run, read_manifest(path), read_manifest(path, EVALUATION_MANIFEST)) for run, path in folders]


def notices(study: Study, found: Sequence[Made]) -> list[str]:
    """What makes the runs of a study hard to compare or to repeat, as sentences."""
    trained = [one.training for one in found if one.training is not None]
    evaluated = [one.evaluation for one in found if one.evaluation is not None]
    named = [[_part(m, "git", "commit") for m in made] for made in (trained, evaluated)]
    commits, evaluation_commits = (set(filter(None, some)) for some in named)
    unfinished = len(found) - len(trained)
    dirty, evaluated_dirty = (sum(bool(_part(m, "git", "dirty")) for m in made) for made in (trained, evaluated))
    return [
        sentence
        for sentence, true in (
            (study.gaps, bool(study.gaps)),
            (f"{unfinished} of {len(found)} runs {'is' if unfinished == 1 else 'are'} not finished.", unfinished > 0),
            (f"The runs come from {len(commits)} different commits.", len(commits) > 1),
            (f"The evaluations come from {len(evaluation_commits)} different commits.", len(evaluation_commits) > 1),
            (f"No commit is known of {named[0].count(None)} of {len(found)} runs.", None in named[0]),
            (f"{dirty} of {len(found)} runs {_were(dirty)} made with changes that are not committed.", dirty > 0),
            (
                f"{evaluated_dirty} {_were(evaluated_dirty)} evaluated with changes that are not committed.",
                evaluated_dirty > 0,
            ),
        )
        if true
    ]


def _were(count: int) -> str:
    return "was" if count == 1 else "were"


def _part(manifest: Mapping[str, Any] | None, *keys: str) -> Any:
    value: Any = manifest
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def cells(study: Study, algorithm: str, found: Sequence[Made]) -> dict[str, Any]:
    """What made each run of an algorithm, and won and played episodes by condition."""
    own = [one for one in found if one.run.algorithm == algorithm]
    rows = []
    for condition in study.conditions:
        if (algorithm, condition) in study.outcomes:
            counts = [_won(study, one.run, condition) for one in own]
            longest = max(played for _, played in counts)
            rows.append(
                {
                    "anchor": study.cell_anchor(algorithm, condition),
                    "words": condition.words,
                    "episodes": f"{condition.part}:0 … {longest - 1}",
                    "counts": [f"{won} of {played}" if played else "–" for won, played in counts],
                }
            )
    return {
        "title": f"{study.label(algorithm)} on {study.benchmark}, {study.model}",
        "anchor": study.runs_anchor(algorithm),
        "runs": [one.run for one in own],
        "commits": [_commit(one.training) for one in own],
        # nothing where all were evaluated by what made them
        "evaluated": [_commit(one.evaluation) for one in own]
        if any(one.evaluation and _commit(one.evaluation) != _commit(one.training) for one in own)
        else [],
        "configurations": [_short(_part(one.training, "configuration")) for one in own],
        "rows": rows,
    }


def _commit(manifest: Mapping[str, Any] | None) -> str:
    return _short(_part(manifest, "git", "commit")) + " with changes" * bool(_part(manifest, "git", "dirty"))


def _short(digest: Any) -> str:
    return str(digest)[:10] if digest else "–"


def _won(study: Study, run: Run, condition: Condition) -> tuple[int, int]:
    """(won, played)."""
    played = study.played.get((run.name, condition))
    return (0, 0) if played is None else (int(played["won"].sum()), len(played))


def card(made: Made, experiment: Path) -> dict[str, Any]:
    """What a run was made from, without the times, which differ between equal runs."""
    path = experiment / "runs" / made.run.name
    settings = read_settings(path)
    # of unpacked evidence another than the folder's
    own = str(_part(made.training, "experiment") or absolute(experiment).name)
    changed = made.training is not None and _digest(settings) != made.training.get("configuration")
    return {
        "name": made.run.name,
        "folder": folder_name(experiment, made.run),
        "experiment": own,
        "target": f"results/{own}/runs/{made.run.name}",
        "training": None if made.training is None else _facts(made.training),
        "evaluation_file": sha256_file(path / EVALUATION) if (path / EVALUATION).exists() else None,
        "evaluation": None if made.evaluation is None else _facts(made.evaluation),
        "settings": None if settings is None else config_text(settings),
        "changed": changed,
    }


def _facts(manifest: Mapping[str, Any]) -> dict[str, Any]:
    best = _mapping(manifest.get("best"))
    return {
        "command": str(manifest.get("command", "–")),
        "commit": _part(manifest, "git", "commit"),
        "dirty": bool(_part(manifest, "git", "dirty")),
        "configuration": manifest.get("configuration", "–"),
        "data": _named(manifest.get("data")),
        "source": manifest.get("data_source") or "–",
        "inputs": _named(manifest.get("inputs")),
        "seeds": _named(manifest.get("seeds")),
        "best": (best.get("iteration"), best.get("success")) if best else None,
        "software": _named({"python": manifest.get("python"), **_mapping(manifest.get("packages"))}),
    }


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _named(values: Any) -> str:
    shown = [f"{name} {value}" for name, value in sorted(_mapping(values).items()) if value is not None]
    return ", ".join(shown) or "–"


def _digest(settings: Mapping[str, Any] | None) -> str | None:
    """As in manifests; None for settings that no stage can have written (YAML has keys and values that JSON lacks)."""
    try:
        return sha256_json(settings)
    except (TypeError, ValueError):
        return None
