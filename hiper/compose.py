"""From configuration files to runs: Hydra composes, `hiper.config` validates.

An experiment file (`configs/experiment/<name>.yaml`) holds a `grid` (lists of benchmarks, models, algorithms, seeds),
overrides of any section and, under `by_benchmark`, `by_model` and `by_algorithm`, overrides for one benchmark, model or
algorithm. Where several set the same, the algorithm's win over the model's, those over the benchmark's, and they over
all others; one may stand within another in this order, for a single cell. A run is one cell of the grid, named
`<benchmark>-<model>-<algorithm>-seed<n>`; the warm start that the algorithms of one benchmark, model and seed share has
the algorithm `warmstart`.

What an experiment sets under `algorithm` for all of them goes to those that have the setting (`gamma` to HiPER, not to
GRPO). A setting that could change nothing is an error: see `hiper.layers`, `_homeless`, `_require_own_keys` and
`hiper.grids`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import yaml

from hiper.algorithms.interface import AlgorithmSettings
from hiper.algorithms.registry import ALGORITHMS
from hiper.config import DATA_PARTS, BenchmarkSettings, Grid, RunSettings, parse_benchmark, parse_grid, parse_run
from hiper.config.algorithm import has, owner, settings_model, without_others
from hiper.config.declared import stages_read, with_earlier
from hiper.config.errors import fields_at, written
from hiper.config.model import Model
from hiper.config.run import parse_model
from hiper.declarations import Stage
from hiper.errors import UserError, nearest, shown
from hiper.layers import CHOSEN, GRID, available, configuration_file, layers, parts, require_defaults
from hiper.learning.read_outs import require_read_outs
from hiper.records import leftover, write_text
from hiper.yaml_files import read_yaml

WARM_START = "warmstart"
NAME = r"[a-z0-9_.]+"
_RUN = re.compile(rf"({NAME})-({NAME})-({NAME})-seed([0-9]+)")
_BEFORE_RL: tuple[Stage, ...] = ("data", "demonstrations", "tokenizer", "warmstart")
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
    if problems := _homeless(experiment, tuple(grid.algorithms), root, contents):
        raise UserError("\n".join(problems))
    # a warm start has the settings of the algorithm that it is composed with, and their mistakes
    algorithm = first.algorithm if name.algorithm == WARM_START else name.algorithm
    file = configuration_file("experiment", experiment, root)
    source = f"{file}, with benchmark {name.benchmark}, model {name.model} and algorithm {algorithm}"
    try:
        settings = parse_run({**values, "experiment": experiment, "seed": name.seed}, source)
    except UserError:
        _require_whole(name, root)
        raise
    require_own_name(settings.model, configuration_file("model", name.model, root))
    _require_loss(settings.training.loss)
    require_own_readers(settings)
    if name.algorithm != WARM_START:
        heads = ALGORITHMS[settings.algorithm.name].heads(settings.algorithm)
        require_read_outs(heads.values(), settings.algorithm.name)
    _require_shared_data(settings.benchmark, name.benchmark, experiment, root)
    if name.algorithm != WARM_START:
        _require_own_keys(settings, name, experiment, root)
    return settings


def _require_whole(run: RunName, root: Path) -> None:
    """UserError where the mistake is in the file of the run's model or benchmark, and not in the experiment's."""
    for group, parse, name in (("model", parse_model, run.model), ("benchmark", parse_benchmark, run.benchmark)):
        values: dict[str, Any] = {}
        for layer in layers(group, name, root):
            values = _merged(values, layer.values)
        parse(values, str(configuration_file(group, name, root)))


def require_own_name(model: Model, file: Path) -> None:
    """UserError where a model's file, or one that it inherits, calls it otherwise than the file is called: results and
    tables would have both names."""
    if model.name != file.stem:
        raise UserError(f"{file}, name = {shown(model.name)}: must be {file.stem}, as the file is called")


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
        if group == "algorithm":  # what comes now is for this one alone, so that it must have it
            own = leaves(_own("algorithm", chosen.algorithm, root))
            values["algorithm"] = without_others(values.get("algorithm"), own)
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
    read = {name for stage in _BEFORE_RL for name in stages_read(RunSettings).by[stage]}
    for key in leaves(sections):
        above = key.split(".")
        if any(".".join(above[: length + 1]) in read for length in range(len(above))):
            yield key


def require_own_readers(settings: RunSettings) -> None:
    """UserError where a package says that a stage reads a setting of its own which cannot: experiments share data sets,
    and the algorithms of a seed share all that is made before RL."""
    named = {"benchmark": {"name": settings.benchmark.name}, "algorithm": {"name": settings.algorithm.name}}
    read, ours = stages_read(RunSettings, named), stages_read(RunSettings)
    for stage in _BEFORE_RL:
        parts = tuple(f"{name}." for name in ours.by[stage])
        for key in (name for name in read.by[stage] if not f"{name}.".startswith(parts)):
            if key.startswith("algorithm."):
                raise UserError(
                    f"{key}: ReadBy({stage!r}): the algorithms of a seed share what {stage} makes; remove it"
                )
            if stage == "data":
                raise UserError(
                    f"{key}: ReadBy('data'): a data set is made of the benchmark's task_types and data alone, which no "
                    "experiment alters; put the setting into data"
                )


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


@cache
def _homeless(experiment: str, grid: tuple[str, ...], root: Path, contents: Contents) -> list[str]:
    """One line for each setting that an experiment has under `algorithm` and no algorithm has, or under `by_algorithm`
    the one that it names. `grid` is for the nearest name."""
    found = []
    for layer in [layer for layer in layers("experiment", experiment, root) if layer.group == "experiment"]:
        for place, sections in parts(layer.values):
            named = place.rpartition("by_algorithm.")[2].removesuffix(".") if "by_algorithm." in place else None
            names = grid if named is None else (named,)
            models = [model for name in names if (model := _algorithm_model(name, root)) is not None]
            own = sections.get("algorithm")
            for key in leaves(own) if models and isinstance(own, dict) else ():
                # for all alike, it may be meant for one that the grid had or will have: `grids.idle_settings` warns
                if any(has(model, key) for model in models) or (named is None and owner(key) is not None):
                    continue
                *above, last = key.split(".")
                hint = nearest(last, [name for model in models for name in fields_at(model, above)])
                who = f"{named} lacks it" if named else "no algorithm has it"
                found.append(
                    f"{layer.path}, {place}algorithm.{key}: unknown setting, {who}"
                    f"{hint or '; remove it or correct its name'}"
                )
    return found


def _algorithm_model(file: str, root: Path) -> type[AlgorithmSettings] | None:
    """The settings model behind a file of `configs/algorithm/`; None where there is none."""
    return settings_model(_own("algorithm", file, root)) if file in available("algorithm", root) else None


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
        values = _merged(values, layer.values)
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
    for key in DATA_PARTS:
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
    """The validated settings that a run was made with, also by an earlier version, which had fewer of them and gave
    every algorithm those of all."""
    filled = with_earlier(RunSettings, values)
    if "algorithm" in filled:
        filled["algorithm"] = without_others(filled["algorithm"])
    return parse_run(filled, source)
