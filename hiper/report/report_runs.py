"""Where each cell of the report comes from: the runs behind it, and what each run was made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hiper.compose import config_text
from hiper.manifest import EVALUATION, EVALUATION_MANIFEST, read_manifest
from hiper.records import absolute, sha256_file, sha256_json
from hiper.report.report_markup import Markup, facts, grid, join, link, tag
from hiper.runs.conditions import Condition
from hiper.runs.results import Run, Study, cell_name, folder_name, group_name
from hiper.runs.run_files import read_settings

UNFINISHED = "not finished: no manifest"
INTRODUCTION = join(
    [
        "Every rate above is counted from the file evaluation.jsonl of the runs below. A row says under which "
        "condition it was played, what its episodes are called (",
        tag("code", "hiper inspect FOLDER NAME"),
        " shows one), and how many of them each run won. Folders are relative to the project; links to them work where "
        "this page lies in the experiment's folder.",
    ]
)


@dataclass(frozen=True)
class Made:
    """A run and what made it: the manifest of its training, and of its evaluation; None where there is none."""

    run: Run
    training: Mapping[str, Any] | None
    evaluation: Mapping[str, Any] | None


def provenance(study: Study, experiment: Path) -> Markup:
    """Per algorithm the episodes behind each of its cells, then every run."""
    found = _made(study, experiment)
    counts = [_algorithm(study, name, [one for one in found if one.run.algorithm == name]) for name in study.algorithms]
    return join([*counts, *(_run(one, experiment) for one in found)])


def notices(study: Study, experiment: Path) -> list[str]:
    """What makes the runs of a study hard to compare or to repeat, as sentences."""
    found = _made(study, experiment)
    trained = [one.training for one in found if one.training is not None]
    evaluated = [one.evaluation for one in found if one.evaluation is not None]
    named = [[_part(m, "git", "commit") for m in made] for made in (trained, evaluated)]
    commits, evaluation_commits = (set(filter(None, some)) for some in named)
    dirty, evaluated_dirty = (sum(bool(_part(m, "git", "dirty")) for m in made) for made in (trained, evaluated))
    return [
        sentence
        for sentence, true in (
            (study.gaps(), bool(study.gaps())),
            (f"{len(found) - len(trained)} of {len(found)} runs are not finished.", len(trained) < len(found)),
            (f"The runs come from {len(commits)} different commits.", len(commits) > 1),
            (f"The evaluations come from {len(evaluation_commits)} different commits.", len(evaluation_commits) > 1),
            (f"No commit is known of {named[0].count(None)} of {len(found)} runs.", None in named[0]),
            (f"{dirty} of {len(found)} runs were made with changes that are not committed.", dirty > 0),
            (f"{evaluated_dirty} were evaluated with changes that are not committed.", evaluated_dirty > 0),
        )
        if true
    ]


def _made(study: Study, experiment: Path) -> list[Made]:
    folders = [(run, experiment / "runs" / run.name) for run in study.runs]
    return [Made(run, read_manifest(path), read_manifest(path, EVALUATION_MANIFEST)) for run, path in folders]


def _part(manifest: Mapping[str, Any] | None, *keys: str) -> Any:
    value: Any = manifest
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _algorithm(study: Study, algorithm: str, found: Sequence[Made]) -> Markup:
    """What made each run, and won and played episodes by condition."""
    header = ["", "Episodes", *(link(f"#run-{one.run.name}", f"seed {one.run.seed}") for one in found)]
    rows = [["commit", "", *(_short(_part(one.training, "git", "commit")) for one in found)]]
    rows.append(["configuration", "", *(_short(_part(one.training, "configuration")) for one in found)])
    for condition in study.conditions:
        longest = max(len(one.run.played(condition)) for one in found)
        if longest:
            name = tag("span", condition.words, id=cell_name(study, algorithm, condition), class_="target")
            names = tag("code", f"{condition.part}:0 … {longest - 1}")
            rows.append([name, names, *(_won(one.run, condition) for one in found)])
    title = tag("h4", f"{study.label(algorithm)} on {study.benchmark}, {study.model}", id=group_name(study, algorithm))
    return join([title, grid(header, rows, class_="numbers origin")])


def _short(digest: Any) -> Markup:
    return tag("code", str(digest)[:10] if digest else "–")


def _won(run: Run, condition: Condition) -> str:
    played = run.played(condition)
    return f"{sum(episode['won'] for episode in played)} of {len(played)}" if played else "–"


def _run(made: Made, experiment: Path) -> Markup:
    run, folder, path = made.run, folder_name(experiment, made.run), experiment / "runs" / made.run.name
    pairs: list[tuple[str, str]] = [("folder", link(f"runs/{run.name}/", tag("code", folder)))]
    pairs += [("state", UNFINISHED)] if made.training is None else _origin(made.training)
    if (path / EVALUATION).exists():
        file = link(f"runs/{run.name}/{EVALUATION}", EVALUATION)
        pairs.append(("episodes", join([file, " ", tag("code", f"SHA-256 {sha256_file(path / EVALUATION)}")])))
        pairs += _evaluated(made.evaluation)
    settings = f"--config experiment={absolute(experiment).name}"
    pairs.append(("train again", tag("code", f"snakemake --cores 2 --force {folder}/manifest.json {settings}")))
    pairs.append(("evaluate again", tag("code", f"snakemake --cores 2 --force {folder}/{EVALUATION} {settings}")))
    pairs.append(("look at it", tag("code", f"hiper inspect {folder}")))
    body = [tag("h5", run.name, id=f"run-{run.name}", class_="target"), facts(pairs)]
    return tag("section", *body, *_configuration(path, made.training), class_="run")


def _origin(manifest: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What the manifest says, without the times, which differ between equal runs."""
    data = join([tag("code", _named(manifest.get("data"))), f" from source {manifest.get('data_source') or '–'}"])
    best = _mapping(manifest.get("best"))
    chosen = f"after iteration {best.get('iteration')}, by validation (success {best.get('success')})"
    return [
        ("made by", tag("code", str(manifest.get("command", "–")))),
        ("commit", _commit(manifest)),
        ("configuration", tag("code", f"SHA-256 {manifest.get('configuration', '–')}")),
        ("data", data),
        ("started from", tag("code", _named(manifest.get("inputs")))),
        ("seeds", _named(manifest.get("seeds"))),
        *([("best model", chosen)] if best else []),
        ("software", _named({"python": manifest.get("python"), **(_mapping(manifest.get("packages")))})),
    ]


def _evaluated(manifest: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    """What made the episodes; evaluations of earlier versions did not record it."""
    if manifest is None:
        return [("evaluated by", f"not recorded: no {EVALUATION_MANIFEST}")]
    return [
        ("evaluated by", tag("code", str(manifest.get("command", "–")))),
        ("– commit", _commit(manifest)),
        ("– configuration", tag("code", f"SHA-256 {manifest.get('configuration', '–')}")),
        ("– models", tag("code", _named(manifest.get("inputs")))),
    ]


def _commit(manifest: Mapping[str, Any]) -> str:
    commit = _part(manifest, "git", "commit")
    state = " with changes that are not committed" if _part(manifest, "git", "dirty") else ""
    return join([tag("code", str(commit)), state]) if commit else "no commit known"


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _named(values: Any) -> str:
    shown = [f"{name} {value}" for name, value in sorted(_mapping(values).items()) if value is not None]
    return ", ".join(shown) or "–"


def _configuration(folder: Path, manifest: Mapping[str, Any] | None) -> Sequence[Markup]:
    """The settings in full, and whether they are still those of the manifest."""
    if (settings := read_settings(folder)) is None:
        return []
    changed = manifest is not None and _digest(settings) != manifest.get("configuration")
    note = " (changed since the run was made, in settings that its stage does not read)" if changed else ""
    return [tag("details", tag("summary", f"config.yaml{note}"), tag("pre", config_text(settings)))]


def _digest(settings: Mapping[str, Any]) -> str | None:
    """As in manifests; None for settings that no stage can have written (YAML has keys and values that JSON lacks)."""
    try:
        return sha256_json(settings)
    except (TypeError, ValueError):
        return None
