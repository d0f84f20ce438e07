"""From configuration files to runs: Hydra composes, `hiper.config` validates, a digest per stage says what it reads.

An experiment file (`configs/experiment/<name>.yaml`) holds a `grid` (lists of benchmarks, models, algorithms, seeds),
overrides of any section and, under `by_benchmark`, `by_model` and `by_algorithm`, overrides for one benchmark, model or
algorithm. Where several set the same, the algorithm's win over the model's, those over the benchmark's, and they over
all others; one may stand within another in this order, for a single cell. A run is one cell of the grid, named
`<benchmark>-<model>-<algorithm>-seed<n>`; the warm start that the algorithms of one benchmark, model and seed share has
the algorithm `warmstart`.

A setting that could change nothing is an error: see `hiper.layers`, `_require_own_keys` and `hiper.grids`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any, Literal, get_args

import yaml

from hiper.config import BenchmarkSettings, Grid, RunSettings, parse_benchmark, parse_grid, parse_run
from hiper.config.errors import nearest, written
from hiper.errors import UserError
from hiper.layers import CHOSEN, GRID, available, configuration_file, layers, parts, require_defaults
from hiper.records import leftover, sha256_json, write_text
from hiper.yaml_files import read_yaml

WARM_START = "warmstart"
NAME = r"[a-z0-9_.]+"
_RUN = re.compile(rf"({NAME})-({NAME})-({NAME})-seed([0-9]+)")

Stage = Literal["data", "demonstrations", "tokenizer", "warmstart", "train", "evaluate", "variance"]

# What each stage reads; a dotted name is a part of a section. A stage also depends on the stages before it, through
# their files, so that nothing need be listed twice.
_READS: dict[Stage, tuple[str, ...]] = {
    "data": ("benchmark.name", "benchmark.dataset", "benchmark.task_types", "benchmark.data"),
    "demonstrations": ("benchmark", "prompt", "demonstrations"),
    "tokenizer": ("model", "prompt", "decoding"),
    "warmstart": (
        *("seed", "model", "prompt", "decoding", "warm_start", "engine.device", "engine.threads", "engine.dtype"),
        *("training.gradient_clip", "training.micro_batch_tokens"),
    ),
    "train": (
        *("seed", "benchmark", "prompt", "model", "decoding", "demonstrations", "warm_start"),
        *("algorithm", "training", "engine", "rollout.backend", "rollout.importance_cap"),
    ),
    "evaluate": (
        *("seed", "benchmark", "prompt", "model", "decoding", "evaluation", "rollout.backend"),
        *("engine.device", "engine.threads", "engine.dtype"),
    ),
    "variance": (
        *("seed", "benchmark", "prompt", "model", "decoding", "algorithm", "engine", "variance"),
        *("demonstrations.tasks", "demonstrations.seed", "training.critic", "training.validation"),
        *("training.mini_batch_turns", "training.micro_batch_tokens"),
        *("training.gradient_clip", "training.weight_decay", "training.loss"),
    ),
}

# Settings that have come since the first results were made, each with what was done before there was a choice.
_SINCE: dict[str, Any] = {
    "algorithm": {"lam_boundary": 0.0, "token_weight": 1.0, "target_lambda": None, "group": {"potential_floor": 0.01}},
    "training": {
        "loss": "ppo_clip",
        "critic": {
            "trunk_blocks": "all",
            "gate": False,
            "pretraining": {"episodes": 0, "patience": 5, "tolerance": 0.01},
            "loss": "squared",
            "bins": 51,
            "bins_low": -10.0,
            "bins_high": 10.0,
            "bins_sigma": 0.75,
        },
    },
}
_DEFAULT_LOSS = "ppo_clip"  # known to exist without a look at the losses


@dataclass(frozen=True)
class RunName:
    """One cell of a grid."""

    benchmark: str
    model: str
    algorithm: str
    seed: int

    def __str__(self) -> str:
        return f"{self.benchmark}-{self.model}-{self.algorithm}-seed{self.seed}"

    @property
    def warm_start(self) -> RunName:
        return RunName(self.benchmark, self.model, WARM_START, self.seed)

    @classmethod
    def parse(cls, text: str) -> RunName:
        match = _RUN.fullmatch(text)
        if match is None:
            raise UserError(
                f"run {text!r}: must be named <benchmark>-<model>-<algorithm>-seed<n>, each part of a-z, 0-9, _ and ."
            )
        benchmark, model, algorithm, seed = match.groups()
        return cls(benchmark, model, algorithm, int(seed))


def load_grid(experiment: str, root: Path) -> Grid:
    """The validated grid of an experiment; UserError where it names a configuration file that does not exist."""
    path = configuration_file("experiment", experiment, root)
    values = layers("experiment", experiment, root)[-1].values.get("grid")  # an inherited one is another experiment's
    if not isinstance(values, dict):
        raise UserError(
            f"{path}: grid is missing; add the lists benchmarks, models, algorithms and seeds under `grid:`"
        )
    grid = parse_grid(values, f"{path}, grid")
    for group, names in (("benchmark", grid.benchmarks), ("model", grid.models), ("algorithm", grid.algorithms)):
        for name in names:
            file = configuration_file(group, name, root)
            if name == WARM_START or not re.fullmatch(NAME, name):
                why = "is what runs before RL are called" if name == WARM_START else "has others than a-z, 0-9, _ and ."
                raise UserError(f"{file}: its name becomes a part of its runs' names and {why}; rename the file")
    return grid


def run_names(grid: Grid) -> list[RunName]:
    """The runs of a grid, without warm starts, in the order of its lists."""
    cells = product(grid.benchmarks, grid.models, grid.algorithms, grid.seeds)
    return [RunName(benchmark, model, algorithm, seed) for benchmark, model, algorithm, seed in cells]


def compose_run(experiment: str, run: str, root: Path) -> RunSettings:
    """Compose and validate one run's settings.

    A run `…-warmstart-…` takes the grid's first algorithm, without the experiment's settings for it: only sections that
    come before RL are used of it. Any combination of known names may be composed, also one outside the experiment's
    grid.
    """
    grid = load_grid(experiment, root)
    name = RunName.parse(run)
    contents = _contents(root / "configs")
    first = RunName(grid.benchmarks[0], grid.models[0], grid.algorithms[0], 0)
    values = deepcopy(_values(experiment, replace(name, seed=0), first, root, contents))
    settings = parse_run(
        {**values, "experiment": experiment, "seed": name.seed}, f"run {run} of experiment {experiment}"
    )
    _require_loss(settings.training.loss)
    _require_shared_data(settings.benchmark, name.benchmark, experiment, root)
    if name.algorithm != WARM_START:
        _require_own_keys(settings, name, experiment, root)
    return settings


Contents = tuple[tuple[Path, bytes], ...]


def _contents(folder: Path) -> Contents:
    found = sorted(path for path in folder.rglob("*.yaml") if path.is_file() and not leftover(path.name))
    return tuple((path, path.read_bytes()) for path in found)


@cache
def _values(experiment: str, name: RunName, first: RunName, root: Path, contents: Contents) -> dict[str, Any]:
    """The composed settings of any of the runs that differ in their seed alone, while the configuration files have
    these contents."""
    chosen = replace(name, algorithm=first.algorithm) if name.algorithm == WARM_START else name
    values = _composed(experiment, chosen, first, root, contents)
    file = root / "configs" / "experiment" / f"{experiment}.yaml"
    for group in GRID:
        values = _specialized(values, group, getattr(name, group), file, available(group, root))
    values.pop("grid", None)
    return _resolved(values, file)


def _composed(experiment: str, name: RunName, first: RunName, root: Path, contents: Contents) -> dict[str, Any]:
    """What Hydra composes of a run's files, interpolations as they stand. Each file has a section of its own, so the
    section is taken from a composition that differs in it alone from the `first` run's: of these there are as many as
    names in the grid, not as cells. Hydra takes a tenth of a second for one."""
    values = deepcopy(_hydra(experiment, first, root, contents))
    for group in GRID:
        if (choice := getattr(name, group)) != getattr(first, group):
            other = replace(first, **{group: choice})
            values[group] = deepcopy(_hydra(experiment, other, root, contents)[group])
    return values


@cache
def _hydra(experiment: str, name: RunName, root: Path, contents: Contents) -> dict[str, Any]:
    from hydra import compose, initialize_config_dir
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    folder = root / "configs"
    require_defaults(folder / "config.yaml")
    choices = [(group, getattr(name, group)) for group in GRID]
    further = [(group, file) for group in CHOSEN for file in available(group, root)]
    for group, file in choices + further:
        layers(group, file, root)  # for its errors: Hydra's name neither file nor line
    overrides = [*(f"{group}={choice}" for group, choice in choices), f"experiment@_global_={experiment}"]
    try:
        with initialize_config_dir(str(folder.resolve()), version_base="1.3"):
            values = OmegaConf.to_container(compose("config", overrides), resolve=False)
    except (HydraException, OmegaConfBaseException, yaml.YAMLError, ValueError) as error:
        raise UserError(f"{folder}/experiment/{experiment}.yaml: {_composition_problem(error)}") from None
    if not isinstance(values, dict):
        raise UserError(f"{folder}/config.yaml: must be a mapping of sections")
    return {str(key): value for key, value in values.items()}


def _resolved(values: dict[str, Any], experiment: Path) -> dict[str, Any]:
    """`values` with what their interpolations stand for, once all overrides are in. `${HOME}`, in capitals, is no other
    setting but a variable of the environment: it stays as it is for `hiper.paths`."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        resolved = OmegaConf.to_container(OmegaConf.create(_with_variables(values)), resolve=True)
    except (OmegaConfBaseException, ValueError) as error:
        raise UserError(f"{experiment}: {_composition_problem(error)}") from None
    assert isinstance(resolved, dict)
    return {str(key): value for key, value in resolved.items()}


def _with_variables(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _with_variables(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_with_variables(one) for one in value]
    return re.sub(r"(?<!\\)\$\{(?=[A-Z_][A-Z0-9_]*\})", r"\\${", value) if isinstance(value, str) else value


def _specialized(values: dict[str, Any], group: str, choice: str, experiment: Path, known: list[str]) -> dict[str, Any]:
    """An experiment's settings for one benchmark, model or algorithm, `by_<group>: {<choice>: …}`, put over all others.
    There may be some for choices that are not in its grid: it may have been copied, or have inherited them."""
    sections = values.pop(f"by_{group}", None) or {}
    if not _sections(sections, *(sections.values() if isinstance(sections, dict) else ())):
        raise UserError(f"{experiment}, by_{group}: must map a {group}'s name to sections of settings")
    for name, own in sections.items():
        if name not in known:
            raise UserError(f"{experiment}, by_{group}: no {group} is called {name!r}{nearest(str(name), known)}")
        if group == "algorithm" and (shared := next(_shared_before_rl(own), None)):
            raise UserError(
                f"{experiment}, by_algorithm.{name}.{shared}: the algorithms of a seed share what is made before RL, "
                f"so it cannot be another for one of them; set {shared} for all"
            )
    return _merged(values, sections.get(choice, {}))


def _shared_before_rl(sections: dict[str, Any]) -> Iterator[str]:
    """Those of the settings that are read by a stage whose result all algorithms share."""
    read = {name for stage in ("data", "demonstrations", "tokenizer", "warmstart") for name in _READS[stage]}
    for key in leaves(sections):
        above = key.split(".")
        if any(".".join(above[: length + 1]) in read for length in range(len(above))):
            yield key


def leaves(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """The settings of sections within sections, by their dotted names."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= leaves(value, f"{prefix}{key}.") if isinstance(value, dict) and value else {f"{prefix}{key}": value}
    return found


def _merged(values: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """`over` put over `values`, section by section; lists are replaced."""
    both = {key: _merged(values[key], over[key]) for key in over if _sections(values.get(key), over[key])}
    return {**values, **over, **both}


def _sections(*values: Any) -> bool:
    return all(isinstance(value, dict) for value in values)


def _composition_problem(error: Exception) -> str:
    """The first lines of Hydra's message, which go on about Hydra's own search path, and the key if it knows one."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    key = getattr(error, "full_key", None)
    where = f" at {key}" if key else ""
    return (
        f"does not go together with configs/config.yaml{where}: {' '.join(lines[:2])[:300]}; correct key or `defaults`"
    )


def _require_own_keys(settings: RunSettings, name: RunName, experiment: str, root: Path) -> None:
    """A variant (`hiper_no_norm`, whose `name` is `hiper`) is what it sets differently from its algorithm's own file,
    so an experiment must not set that for all algorithms alike: the variant would silently be no variant."""
    base = settings.algorithm.name
    if base == name.algorithm or base not in available("algorithm", root):
        return
    variant, plain = (leaves(_own("algorithm", file, root)) for file in (name.algorithm, base))
    composed = leaves(settings.algorithm.model_dump(mode="json"))
    for key, value in variant.items():
        if value == plain.get(key) or composed.get(key) == value:
            continue
        own = f"by_algorithm.{name.algorithm}."
        found = _setters(experiment, f"algorithm.{key}", name, root)
        if found and not any(f".{own}" in f".{place}" for _, place in found):
            path, place = found[-1]
            remedy = f"{{{key.replace('.', ': {')}: {written(value)}{'}' * (key.count('.') + 1)}"
            raise UserError(
                f"{path}, {place}algorithm.{key}: experiment {experiment} overrides {key} = {written(value)} of "
                f"configs/algorithm/{name.algorithm}.yaml, which is what {name.algorithm} differs from {base} in; "
                f"remove one of the two, or add to configs/experiment/{experiment}.yaml: "
                f"by_algorithm: {{{name.algorithm}: {{algorithm: {remedy}}}}}"
            )


def _own(group: str, name: str, root: Path) -> dict[str, Any]:
    """The section that a file of `configs/<group>/` gives, with what it inherits."""
    values: dict[str, Any] = {}
    for layer in layers(group, name, root):
        section = layer.values
        for key in reversed(layer.group.split("/")[1:]):
            section = {key: section}
        values = _merged(values, section)
    return values


def _setters(experiment: str, key: str, name: RunName, root: Path) -> list[tuple[Path, str]]:
    """Where an experiment and those that it inherits set `key` for a run: file and place (see `layers.parts`)."""
    return [
        (layer.path, place)
        for layer in layers("experiment", experiment, root)
        if layer.group == "experiment"
        for place, sections in parts(layer.values)
        if key in leaves(sections) and concerns(place, name)
    ]


def concerns(place: str, name: RunName) -> bool:
    """Whether settings at this place (see `hiper.layers.parts`) are for the run."""
    conditions = place.split("by_")[1:]
    return all(
        getattr(name, group) == choice.removesuffix(".")
        for group, _, choice in (condition.partition(".") for condition in conditions)
    )


def _require_loss(name: str) -> None:
    """UserError for a token loss that does not exist: before the first job, not when training comes to it. The losses
    bring torch, which takes a second to import."""
    if name != _DEFAULT_LOSS:
        from hiper.learning.losses import token_loss

        token_loss(name)


def _require_shared_data(composed: BenchmarkSettings, benchmark: str, experiment: str, root: Path) -> None:
    """Experiments share data sets, so an experiment must not alter what its benchmark's games are made of."""
    own = load_benchmark(root / "configs" / "benchmark" / f"{benchmark}.yaml")
    if own.dataset != benchmark:
        raise UserError(
            f"configs/benchmark/{benchmark}.yaml: dataset = {own.dataset!r}: must be {benchmark!r}, the file's name"
        )
    for key in ("name", "dataset", "task_types", "data"):
        if getattr(composed, key) != getattr(own, key):
            raise UserError(
                f"configs/experiment/{experiment}.yaml: overrides benchmark.{key}, but experiments share the games in "
                f"data/{benchmark}; make a new file in configs/benchmark/ with the value instead"
            )


def load_benchmark(path: Path) -> BenchmarkSettings:
    """A benchmark file on its own, validated; what `dvc repro` makes games from."""
    return parse_benchmark(read_yaml(path), str(path))


def write_config(settings: RunSettings, path: Path) -> bool:
    """Write settings as sorted YAML; a file that already says the same keeps its time stamp. True when written."""
    text = config_text(settings.model_dump(mode="json"))
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return False
    write_text(path, text)
    return True


def config_text(values: Mapping[str, Any]) -> str:
    """Settings as they stand in a `config.yaml`."""
    return yaml.safe_dump(dict(values), sort_keys=True, allow_unicode=True, width=120)


def read_config(path: Path) -> RunSettings:
    """The validated settings of a run folder's `config.yaml`."""
    return recorded_settings(read_yaml(path), str(path))


def recorded_settings(values: Mapping[str, Any], source: str) -> RunSettings:
    """The validated settings that a run was made with, also by an earlier version, which had fewer of them."""
    return parse_run(_filled(dict(values), {name: _SINCE[name] for name in _SINCE if name in values}), source)


def _filled(values: dict[str, Any], absent: Mapping[str, Any]) -> dict[str, Any]:
    """`values` with what they lack of `absent`."""
    for key, value in absent.items():
        if isinstance(value, dict) and isinstance(values.get(key), dict):
            values = {**values, key: _filled(values[key], value)}
        else:
            values = {key: value, **values}
    return values


def config_digest(settings: RunSettings) -> str:
    """SHA-256 of all settings: the configuration hash in manifests."""
    return sha256_json(settings.model_dump(mode="json"))


def stage_digest(settings: RunSettings, stage: Stage) -> str:
    """SHA-256 of the settings that `stage` itself reads; equal digests and equal inputs mean equal outputs."""
    if stage not in get_args(Stage):
        raise ValueError(f"stage {stage!r} is none of {get_args(Stage)}")
    values = settings.model_dump(mode="json")
    return sha256_json({name: _lookup(values, name) for name in _READS[stage]})


def benchmark_digest(settings: BenchmarkSettings) -> str:
    """SHA-256 of what a data set is made of: `stage_digest(…, "data")` without a run."""
    values = {"benchmark": settings.model_dump(mode="json")}
    return sha256_json({name: _lookup(values, name) for name in _READS["data"]})


def _lookup(values: dict[str, Any], dotted: str) -> Any:
    found: Any = values
    for key in dotted.split("."):
        found = found[key]
    return found
