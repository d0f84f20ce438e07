"""What a study compared, on the report's page: data, model, budget, evaluation, differing settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from pydantic import ValidationError

from hiper.compose import recorded_settings
from hiper.config import RunSettings
from hiper.config.run import Trials
from hiper.errors import UserError
from hiper.grids import unread
from hiper.report.colours import colour
from hiper.report.origin import Made, notices
from hiper.report.study import Study
from hiper.runs.run_files import value_at

IDENTITY = ("seed", "data_source", "algorithm.name")  # settings that differ anyway
NOT_READ = "–"


def compared(study: Study, made: Sequence[Made]) -> dict[str, Any]:
    """The study in facts, what to beware of, and how the algorithms' settings differ."""
    seeds = ", ".join(map(str, sorted({run.seed for run in study.runs})))
    return {
        "facts": {
            "data": study.setup,
            "model": _model(study),
            "task types": ", ".join(map(study.task_label, study.task_types)),
            "algorithms": "; ".join(map(study.label, study.algorithms)),
            "seeds": f"{seeds}; the algorithms of a seed begin from one model" if study.trained else seeds,
            "training": _budget(study),
            "evaluation": _evaluation(study),
        },
        "notices": notices(study, made),
        "labels": [study.label(algorithm) for algorithm in study.trained],
        "colours": [colour(algorithm) for algorithm in study.trained],
        "chosen": _chosen(study),
        **_differing(study),
    }


def _model(study: Study) -> str:
    """Where the model is from, or how large it is if it was made here."""
    path, sizes = (value_at(study.runs[0].settings, f"model.{key}") for key in ("path", "scratch"))
    if path is not None:
        return f"{study.model}: {path}"
    made = ", ".join(f"{key} {value}" for key, value in sizes.items()) if isinstance(sizes, Mapping) else "not known"
    return f"{study.model}, made from scratch: {made}"


def _evaluation(study: Study) -> str:
    """How many episodes were played, by protocol and model, where and at which temperatures."""
    phrases = []
    for protocol, checkpoint in dict.fromkeys(condition.block for condition in study.conditions):
        block = [condition for condition in study.conditions if condition.block == (protocol, checkpoint)]
        episodes = study.episodes["condition"].isin(block).sum()
        places = ", ".join(dict.fromkeys([c.split for c in block] + [c.decoding for c in block]))
        phrases.append(f"{protocol}, {checkpoint} models: {episodes} episodes ({places})")
    return "; ".join(phrases) or "none yet"


def _budget(study: Study) -> str:
    """Iterations and episodes of each; one phrase where all have the same."""
    phrases: dict[str, list[str]] = {}
    for algorithm in study.trained:
        settings = study.of(algorithm)[0].settings
        iterations, episodes = (value_at(settings, f"training.{key}") for key in ("iterations", "episodes"))
        if iterations is not None:
            phrase = f"{iterations * episodes} episodes in {iterations} iterations"
            before = value_at(settings, "training.critic.pretraining.episodes")
            if before and _has_critics(study, algorithm):
                phrase = (
                    f"{iterations * episodes} episodes, the first {before} for the critics, in {iterations} iterations"
                )
            if value_at(settings, "algorithm.sampling.resample"):
                phrase = f"{iterations * episodes} episodes, and as many iterations as resampling leaves"
            phrases.setdefault(phrase, []).append(study.label(algorithm))
    if len(phrases) == 1:
        return f"{next(iter(phrases))} per run"
    return "; ".join(f"{phrase} ({'; '.join(names)})" for phrase, names in phrases.items()) or "not known"


def _has_critics(study: Study, algorithm: str) -> bool:
    """Whether its runs trained any, by what they recorded."""
    recorded = [study.training[run.name] for run in study.of(algorithm) if run.name in study.training]
    return any(str(name).startswith("critic/") for rows in recorded for name in rows)


def _differing(study: Study) -> dict[str, list[list[str]]]:
    """The settings in which the trained algorithms are not alike: name, then the value of each, – where it does not
    read it. `differing`: those of the algorithms themselves, those that were tried, and those of which their readers
    have different values; `partly`: those that some have, all with one value, and others do not read."""
    settings = [_read(study.of(algorithm)[0].settings) for algorithm in study.trained]
    tried = {key for one in _trials(study) for key in one.settings}
    found: dict[str, list[list[str]]] = {"differing": [], "partly": []}
    for key in dict.fromkeys(key for one in settings for key in one if key not in IDENTITY):
        values = [one.get(key) for one in settings]
        if len({*values}) > 1 or key in tried:
            own = key.startswith("algorithm.") or key in tried or len({*values} - {None}) > 1
            found["differing" if own else "partly"].append([key, *map(_told, values)])
    return found


def _told(value: str | None) -> str:
    return NOT_READ if value is None else value


def _trials(study: Study) -> list[Trials]:
    """By which trials settings were chosen; more than one where runs do not say the same."""
    found: list[Trials] = []
    for algorithm in study.trained:
        with suppress(ValidationError):  # of a run whose settings do not say it
            said = Trials.model_validate(value_at(study.of(algorithm)[0].settings, "trials"))
            found += [said] if said not in found else []
    return found


def _chosen(study: Study) -> list[str]:
    """The same in sentences."""
    return [
        f"{' and '.join(one.settings)}: chosen for each algorithm among {one.each} trials of its own, by success on "
        f"validation tasks, with seed{'s' * (len(one.seeds) > 1)} {', '.join(map(str, one.seeds))} ({one.record})."
        for one in _trials(study)
    ]


def _read(settings: Mapping[str, Any]) -> dict[str, str]:
    """Those that a run reads. Of one that this version cannot check, all: what it read is not known."""
    values = {name: value for name, value in settings.items() if name in RunSettings.model_fields}
    flat = _flat(settings)
    try:
        checked = recorded_settings(values, "")
    except UserError:
        return flat
    return {key: value for key, value in flat.items() if unread(key, checked) is None}


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = "null" if value is None else str(value)
    return found
