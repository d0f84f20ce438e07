"""An experiment as a whole: all its runs composed and told apart, and what its file sets for none of them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hiper.algorithms.registry import ALGORITHMS
from hiper.compose import WARM_START, RunName, compose_run, concerns, leaves, load_grid, run_names
from hiper.config import RunSettings
from hiper.config.algorithm import has
from hiper.config.errors import fields_at
from hiper.errors import UserError, nearest
from hiper.layers import GRID, layers, parts
from hiper.records import sha256_json
from hiper.trials import Cell, described, read_record

logger = logging.getLogger(__name__)

Run = tuple[RunName, RunSettings]

# Settings that are read only while another one switches them on, by the beginning of their names.
_SWITCHED: tuple[tuple[tuple[str, ...], str, Callable[[RunSettings], bool]], ...] = (
    (("warm_start.", "demonstrations.max_turns", "demonstrations.hesitation"), "warm_start.method: none",
     lambda run: run.warm_start.method != "none"),
    (("training.validation.",), "training.validation.tasks: 0", lambda run: run.training.validation.tasks > 0),
    (("variance.",), "variance.batches: 0", lambda run: run.variance.batches > 0),
    (("training.critic.trunk_blocks",), "training.critic.backbone: shared",
     lambda run: run.training.critic.backbone == "separate"),
    (("training.critic.pretraining.",), "training.critic.pretraining.episodes: 0",
     lambda run: run.training.critic.pretraining.episodes > 0),
    (("training.critic.bins",), "training.critic.loss: squared", lambda run: run.training.critic.loss == "hl_gauss"),
    (("training.critic.clip",), "training.critic.loss: hl_gauss", lambda run: run.training.critic.loss == "squared"),
    (("training.critic.detach",), "training.critic.backbone: separate",
     lambda run: run.training.critic.backbone == "shared"),
    (("training.clip_", "training.dual_clip"), "training.loss: dispo, gbpo or fiberpo",
     lambda run: run.training.loss not in ("dispo", "gbpo", "fiberpo")),
    (("training.dual_clip",), "training.loss: cispo", lambda run: run.training.loss != "cispo"),
    (("training.dispo.",), "training.loss other than dispo", lambda run: run.training.loss == "dispo"),
    (("training.gbpo.",), "training.loss other than gbpo", lambda run: run.training.loss == "gbpo"),
    (("prompt.subgoal_turns",), "prompt.interface other than blueprint",
     lambda run: run.prompt.interface == "blueprint"),
    (("training.fiberpo.",), "training.loss other than fiberpo", lambda run: run.training.loss == "fiberpo"),
    (("evaluation.sampled_episodes",), "evaluation.protocols without sampled",
     lambda run: "sampled" in run.evaluation.protocols),
)  # fmt: skip
_SWITCHES = (
    "warm_start.method",
    "training.validation.tasks",
    "variance.batches",
    "training.critic.pretraining.episodes",
)


def compose_grid(experiment: str, root: Path) -> list[Run]:
    """Every run of an experiment with its settings, the warm starts first.

    UserError as of `compose_run`, `require_distinct`, `require_known` and `require_chosen`; settings without effect are
    logged as warnings.
    """
    names = run_names(load_grid(experiment, root))
    composed: dict[RunName, RunSettings] = {}
    runs = []
    for name in [*dict.fromkeys(name.warm_start for name in names), *names]:
        cell = replace(name, seed=0)
        if cell not in composed:
            composed[cell] = compose_run(experiment, str(name), root)
        runs.append((name, composed[cell].model_copy(update={"seed": name.seed})))
    require_distinct(experiment, runs, root)
    require_known(experiment, runs, root)
    require_chosen(experiment, runs, root)
    for problem in (*idle_settings(experiment, runs, root), *covered_settings(experiment, runs, root)):
        logger.warning(problem)
    return runs


def require_distinct(experiment: str, runs: Iterable[Run], root: Path) -> None:
    """UserError where two algorithms or two models of an experiment are one under two names: a comparison of them would
    look like a result."""
    seen: dict[tuple[str, ...], RunName] = {}
    for name, settings in _cells(runs).items():
        values = settings.model_dump(mode="json")
        values["model"].pop("name")
        values.pop("seed")
        digest = sha256_json(values)
        for group, cell in (("algorithm", (name.benchmark, name.model)), ("model", (name.benchmark, name.algorithm))):
            other = seen.setdefault((group, *cell, digest), name)
            first, second = getattr(other, group), getattr(name, group)
            if first != second:
                raise UserError(
                    f"configs/experiment/{experiment}.yaml: {first} and {second} have the same settings (runs {other} "
                    f"and {name}){_levelled(experiment, group, first, second, root)}; list one of the two under grid, "
                    f"{group}s, or set under by_{group} what is different"
                )


def _levelled(experiment: str, group: str, first: str, second: str, root: Path) -> str:
    """What an experiment's files set for both of two algorithms, or models, whose own files differ in it."""
    own = [
        {key: value for layer in layers(group, one, root) for key, value in leaves(layer.values).items()}
        for one in (first, second)
    ]
    differing = sorted(key for key in own[0].keys() | own[1].keys() if own[0].get(key) != own[1].get(key))
    setters = {
        f"{group}.{key}": layer.path
        for layer in layers("experiment", experiment, root)
        for key in differing
        if layer.group == "experiment" and key in leaves(layer.values.get(group) or {})
    }
    told = ", ".join(f"{key} of {path}" for key, path in setters.items())
    if told:
        return f": their files differ, but {told} goes over both"
    return f", whatever configs/{group}/{first}.yaml and configs/{group}/{second}.yaml say"


def require_known(experiment: str, runs: Iterable[Run], root: Path) -> None:
    """UserError for a key that is no setting among those for a benchmark, model or algorithm that the grid lacks: no
    run would be refused for it. Those of algorithms have been looked at by `compose_run`."""
    layer = layers("experiment", experiment, root)[-1]
    cells = _cells(runs)
    for place, sections in parts(layer.values):
        if any(concerns(place, name) for name in cells):
            continue
        for key in leaves(sections):
            names = key.split(".")
            if names[0] in ("benchmark", "algorithm") or names[0].startswith("by_"):  # of several forms; its own place
                continue
            for depth, name in enumerate(names):
                if (known := fields_at(RunSettings, names[:depth])) and name not in known:
                    raise UserError(f"{layer.path}, {place}{key}: unknown setting{nearest(name, known)}")


def require_chosen(experiment: str, runs: Sequence[Run], root: Path) -> None:
    """UserError where an experiment says that its settings were chosen by trials, and a run has others than those that
    the record calls chosen, or a seed that they were chosen with."""
    said = runs[0][1].trials
    if said is None:
        return
    found = read_record(root / said.record)
    file = f"configs/experiment/{experiment}.yaml"
    if (wanted := {"record": said.record, **described(found)}) != said.model_dump():
        raise UserError(f"{file}, trials: {said.record} says {wanted}; put in again what `hiper choose` prints")
    chosen: dict[Cell, dict[str, Any]] = {one.cell: {**one.settings} for one in found if one.chosen}
    for name, settings in runs:
        if name.seed in said.seeds:
            raise UserError(
                f"{file}, grid.seeds: {name.seed} is a seed of the trials in {said.record}, by which settings were "
                "chosen: its results would look better than others'; take another"
            )
        if name.algorithm == WARM_START:
            continue
        cell = (name.benchmark, name.model, name.algorithm)
        if cell not in chosen:
            raise UserError(
                f"{file}: {said.record} has no trials of {'-'.join(cell)}, so that it would be compared with others "
                "that had some; run them and `hiper choose` again, or take it out of the grid"
            )
        values = leaves(settings.model_dump(mode="json"))
        for key, value in chosen[cell].items():
            if values.get(key) != value:
                raise UserError(
                    f"{file}: {key} = {values.get(key)} in the run {name}, but the trials in {said.record} chose "
                    f"{value}; put in again what `hiper choose` prints, or remove `trials`"
                )


def idle_settings(experiment: str, runs: Sequence[Run], root: Path) -> Iterator[str]:
    """What an experiment's own file sets and none of its runs reads, one line for each reason. What it inherits, or has
    for others than those in its grid, may well have no effect."""
    layer = layers("experiment", experiment, root)[-1]
    cells = _cells(runs)
    found: dict[str, list[str]] = {}
    for place, sections in parts(layer.values):
        concerned = {name: settings for name, settings in cells.items() if concerns(place, name)}
        for key in leaves({group: value for group, value in sections.items() if isinstance(value, dict)}):
            reasons = {unread(key, settings) for settings in concerned.values()}
            if concerned and None not in reasons:
                reason = sorted(str(reason) for reason in reasons)[0]
                found.setdefault(reason, []).append(f"{place}{key}")
    for reason, keys in found.items():
        algorithms = ", ".join(dict.fromkeys(name.algorithm for name in cells))
        yield f"{layer.path}: {', '.join(keys)}: without effect, {reason.format(algorithms=algorithms)}"


def covered_settings(experiment: str, runs: Sequence[Run], root: Path) -> Iterator[str]:
    """What an experiment's own file sets and, for some of its runs, a setting that it inherits goes over: those for one
    benchmark, model or algorithm win over those for all, whichever file has them. One line for each pair of places."""
    setters = [
        (_precedence(place), number, layer.path, place, leaves(sections))
        for number, layer in enumerate(layers("experiment", experiment, root))
        if layer.group == "experiment"
        for place, sections in parts(layer.values)
    ]
    own = setters[-1][1]
    found: dict[tuple[str, Path, str], dict[str, None]] = {}
    for name in _cells(runs):
        winning: dict[str, tuple[Any, ...]] = {}
        for setter in sorted((one for one in setters if concerns(one[3], name)), key=lambda one: one[:2]):
            winning |= dict.fromkeys(setter[4], setter)
        for _, number, _, place, values in setters:
            for key, value in values.items() if number == own and concerns(place, name) else ():
                _, winner, path, over, others = winning[key]
                if winner != own and others[key] != value and not key.startswith(("by_", "grid.")):
                    found.setdefault((place, path, over), {})[key] = None
    file = root / "configs" / "experiment" / f"{experiment}.yaml"
    for (place, path, over), keys in found.items():
        yield (
            f"{file}: {', '.join(f'{place}{key}' for key in keys)}: without effect for the runs of {over.rstrip('.')}, "
            f"whose values in {path} go over it; set them under {over.rstrip('.')} here, too"
        )


def _precedence(place: str) -> tuple[int, ...]:
    """Of settings at a place (see `layers.parts`): the innermost condition counts most."""
    return tuple(GRID.index(condition.partition(".")[0]) for condition in reversed(place.split("by_")[1:]))


def _cells(runs: Iterable[Run]) -> dict[RunName, RunSettings]:
    """What is trained, once for all seeds."""
    return {replace(name, seed=0): settings for name, settings in runs if name.algorithm != WARM_START}


def unread(key: str, settings: RunSettings) -> str | None:
    """Why a run does not read the setting of this dotted name; None where it does."""
    algorithm = settings.algorithm
    if key.startswith("training.critic.") and not ALGORITHMS[algorithm.name].heads(algorithm):
        return "none of the algorithms ({algorithms}) has a critic"
    section, _, own = key.partition(".")
    if section == "algorithm" and (own in algorithm.idle() or not has(type(algorithm), own)):
        return "none of the algorithms ({algorithms}) reads it"
    for beginnings, switch, on in _SWITCHED:
        if key.startswith(beginnings) and key not in _SWITCHES and not on(settings):
            return f"because of {switch}"
    return None
