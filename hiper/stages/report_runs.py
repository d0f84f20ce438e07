"""Where each cell of the report comes from: the runs behind it, and what each run was made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hiper.manifest import EVALUATION, read_manifest
from hiper.records import sha256_file, sha256_json
from hiper.stages.report_markup import Markup, facts, grid, join, link, tag
from hiper.stages.results import Condition, Run, Study, folder_name, label
from hiper.yaml_files import read_yaml

UNFINISHED = "not finished: no manifest"
INTRODUCTION = (
    "Every rate above is counted from the file evaluation.jsonl of the runs below. Folders are relative to the "
    "project; links to them work where this page lies in the experiment's folder."
)


def cell_name(study: Study, algorithm: str, condition: Condition) -> str:
    """The anchor of a cell's origin."""
    return f"cell-{study.benchmark}-{study.model}-{algorithm}-{condition.split}-{condition.temperature}"


def group_name(study: Study, algorithm: str) -> str:
    """The anchor of all runs of an algorithm."""
    return f"runs-{study.benchmark}-{study.model}-{algorithm}"


def provenance(study: Study, experiment: Path) -> Markup:
    """Per algorithm the episodes behind each of its cells, then every run."""
    manifests = {run.name: read_manifest(experiment / "runs" / run.name) for run in study.runs}
    counts = [_algorithm(study, name, manifests) for name in study.algorithms]
    return join([*counts, *(_run(run, manifests[run.name], experiment) for run in study.runs)])


def notices(study: Study, experiment: Path) -> list[str]:
    """What makes the runs of a study hard to compare or to repeat, as sentences."""
    found = [read_manifest(experiment / "runs" / run.name) for run in study.runs]
    manifests = [manifest for manifest in found if manifest is not None]
    commits = {str(_part(manifest, "git", "commit")) for manifest in manifests}
    data = {str(manifest.get("data")) for manifest in manifests}
    dirty = sum(bool(_part(manifest, "git", "dirty")) for manifest in manifests)
    return [
        sentence
        for sentence, true in (
            (study.gaps(), bool(study.gaps())),
            (f"{len(found) - len(manifests)} of {len(found)} runs are not finished.", len(manifests) < len(found)),
            (f"The runs come from {len(commits)} different commits.", len(commits) > 1),
            (f"The runs were trained on {len(data)} different data sets.", len(data) > 1),
            (f"{dirty} of {len(found)} runs were made with changes that are not committed.", dirty > 0),
        )
        if true
    ]


def _part(manifest: Mapping[str, Any], *keys: str) -> Any:
    value: Any = manifest
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _algorithm(study: Study, algorithm: str, manifests: Mapping[str, Mapping[str, Any] | None]) -> Markup:
    """Won and played episodes by run and condition."""
    conditions = [c for c in study.conditions if any(run.played(c) for run in study.of(algorithm))]
    header = ["Run", "Commit", "Configuration", *(_anchored(study, algorithm, c) for c in conditions)]
    rows = []
    for run in study.of(algorithm):
        manifest = manifests[run.name] or {}
        commit, configuration = _part(manifest, "git", "commit"), manifest.get("configuration")
        rows.append(
            [
                link(f"#run-{run.name}", run.name),
                tag("code", str(commit)[:10] if commit else "–"),
                tag("code", str(configuration)[:10] if configuration else "–"),
                *(_won(run, condition) for condition in conditions),
            ]
        )
    title = tag("h4", f"{label(algorithm)} on {study.benchmark}, {study.model}", id=group_name(study, algorithm))
    return join([title, grid(header, rows, class_="numbers origin")])


def _anchored(study: Study, algorithm: str, condition: Condition) -> Markup:
    text = f"{condition.split}, T = {condition.temperature}"
    return tag("span", text, id=cell_name(study, algorithm, condition), class_="target")


def _won(run: Run, condition: Condition) -> str:
    played = run.played(condition)
    return f"{sum(episode['won'] for episode in played)} of {len(played)} won" if played else "–"


def _run(run: Run, manifest: Mapping[str, Any] | None, experiment: Path) -> Markup:
    folder = folder_name(experiment, run)
    pairs: list[tuple[str, str]] = [("folder", link(f"runs/{run.name}/", tag("code", folder)))]
    if manifest is None:
        pairs.append(("state", UNFINISHED))
    else:
        pairs += _origin(manifest)
    evaluation = experiment / "runs" / run.name / EVALUATION
    if evaluation.exists():
        file = link(f"runs/{run.name}/{EVALUATION}", EVALUATION)
        pairs.append(("episodes", join([file, " ", tag("code", f"SHA-256 {sha256_file(evaluation)}")])))
    pairs.append(("look at it", tag("code", f"hiper inspect {folder}")))
    body = [tag("h5", run.name, id=f"run-{run.name}", class_="target"), facts(pairs)]
    return tag(
        "section", *body, *_configuration(experiment / "runs" / run.name / "config.yaml", manifest), class_="run"
    )


def _origin(manifest: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What the manifest says, without the times, which differ between equal runs."""
    commit = _part(manifest, "git", "commit")
    state = " with changes that are not committed" if _part(manifest, "git", "dirty") else ""
    return [
        ("made by", tag("code", str(manifest.get("command", "–")))),
        ("commit", join([tag("code", str(commit)), state]) if commit else "none: not a git checkout"),
        ("configuration", tag("code", f"SHA-256 {manifest.get('configuration', '–')}")),
        (
            "data",
            join([tag("code", _named(manifest.get("data"))), f" from source {manifest.get('data_source') or '–'}"]),
        ),
        ("started from", tag("code", _named(manifest.get("inputs")))),
        ("seeds", _named(manifest.get("seeds"))),
        ("software", _named({"python": manifest.get("python"), **(_mapping(manifest.get("packages")))})),
    ]


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _named(values: Any) -> str:
    shown = [f"{name} {value}" for name, value in sorted(_mapping(values).items()) if value is not None]
    return ", ".join(shown) or "–"


def _configuration(path: Path, manifest: Mapping[str, Any] | None) -> Sequence[Markup]:
    """The settings in full, and whether they are still those of the manifest."""
    if not path.exists():
        return []
    changed = manifest is not None and _digest(read_yaml(path)) != manifest.get("configuration")
    note = " (changed since the run was made, in settings that its stage does not read)" if changed else ""
    return [tag("details", tag("summary", f"config.yaml{note}"), tag("pre", path.read_text(encoding="utf-8")))]


def _digest(settings: Mapping[str, Any]) -> str | None:
    """As in manifests; None for settings that no stage can have written (YAML has keys and values that JSON lacks)."""
    try:
        return sha256_json(settings)
    except (TypeError, ValueError):
        return None
