"""From configuration files to runs: Hydra composes, `hiper.config` validates, a digest per stage says what it reads.

An experiment file (`configs/experiment/<name>.yaml`) holds a `grid` (lists of benchmarks, models, algorithms, seeds),
overrides of any section and, under `by_benchmark` and `by_model`, overrides for one of its benchmarks or models, the
model's last. A run is one cell of the grid, named `<benchmark>-<model>-<algorithm>-seed<n>`; the warm start that the
algorithms of one benchmark, model and seed share has the algorithm `warmstart`.
"""

from __future__ import annotations

import re
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any, Literal, get_args

import yaml

from hiper.config import BenchmarkSettings, Grid, RunSettings, parse_benchmark, parse_grid, parse_run
from hiper.config.errors import nearest
from hiper.errors import UserError
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
        *("training.gradient_clip", "training.weight_decay"),
    ),
}


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


def available(group: str, root: Path) -> list[str]:
    """Names of the files in `configs/<group>/`, sorted."""
    folder = root / "configs" / group
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; run this command in the project's root, where configs/ is")
    return sorted(path.stem for path in folder.glob("*.yaml") if not leftover(path.name))


def configuration_file(group: str, name: str, root: Path) -> Path:
    """`configs/<group>/<name>.yaml`; UserError with the names there are where there is none."""
    names = available(group, root)
    if name not in names:
        raise UserError(f"{group} {name!r} is unknown{nearest(name, names)}; configs/{group}/ has: {', '.join(names)}")
    return root / "configs" / group / f"{name}.yaml"


def load_grid(experiment: str, root: Path) -> Grid:
    """The validated grid of an experiment; UserError where it names a configuration file that does not exist."""
    path = configuration_file("experiment", experiment, root)
    values = read_yaml(path).get("grid")
    if not isinstance(values, dict):
        raise UserError(
            f"{path}: grid is missing; add the lists benchmarks, models, algorithms and seeds under `grid:`"
        )
    grid = parse_grid(values, f"{path}, grid")
    for group, names in (("benchmark", grid.benchmarks), ("model", grid.models), ("algorithm", grid.algorithms)):
        for name in names:
            configuration_file(group, name, root)
    return grid


def run_names(grid: Grid) -> list[RunName]:
    """The runs of a grid, without warm starts, in the order of its lists."""
    cells = product(grid.benchmarks, grid.models, grid.algorithms, grid.seeds)
    return [RunName(benchmark, model, algorithm, seed) for benchmark, model, algorithm, seed in cells]


def compose_run(experiment: str, run: str, root: Path) -> RunSettings:
    """Compose and validate one run's settings.

    A run `…-warmstart-…` takes the grid's first algorithm: only sections that come before RL are used of it. Any
    combination of known names may be composed, also one outside the experiment's grid.
    """
    grid = load_grid(experiment, root)
    name = RunName.parse(run)
    algorithm = grid.algorithms[0] if name.algorithm == WARM_START else name.algorithm
    choices = {"benchmark": name.benchmark, "model": name.model, "algorithm": algorithm, "experiment": experiment}
    chosen = [configuration_file(group, choice, root) for group, choice in choices.items()]
    values = deepcopy(_compose(root / "configs", tuple(choices.items()), _contents(root / "configs")))
    for group in ("benchmark", "model"):
        values = _specialized(values, group, choices[group], chosen[-1], available(group, root))
    values.pop("grid", None)
    settings = parse_run(
        {**values, "experiment": experiment, "seed": name.seed}, f"run {run} of experiment {experiment}"
    )
    _require_shared_data(settings.benchmark, name.benchmark, experiment, root)
    return settings


def _contents(folder: Path) -> tuple[tuple[Path, bytes], ...]:
    found = sorted(path for path in folder.rglob("*.yaml") if path.is_file() and not leftover(path.name))
    return tuple((path, path.read_bytes()) for path in found)


@cache
def _compose(
    folder: Path, choices: tuple[tuple[str, str], ...], contents: tuple[tuple[Path, bytes], ...]
) -> dict[str, Any]:
    """What Hydra composes while the configuration files have these contents. Kept, because it takes a third of a second
    and many runs of a grid differ in their seed alone."""
    # the experiment's own `defaults` choose one engine and one way to roll out
    further = [path for path, _ in contents if path.parent in (folder / "engine", folder / "rollout")]
    for path in (folder / "config.yaml", *further, *(folder / group / f"{choice}.yaml" for group, choice in choices)):
        read_yaml(path)  # for its errors: Hydra's name neither file nor line
    from hydra import compose, initialize_config_dir
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        with initialize_config_dir(str(folder.resolve()), version_base="1.3"):
            composed = compose("config", [f"{group}={choice}" for group, choice in choices])
        values = OmegaConf.to_container(composed, resolve=True)
    except (HydraException, OmegaConfBaseException, yaml.YAMLError, ValueError) as error:
        path = folder / "experiment" / f"{dict(choices)['experiment']}.yaml"
        raise UserError(f"{path}: {_composition_problem(error)}") from None
    if not isinstance(values, dict):
        raise UserError(f"{folder}/config.yaml: must be a mapping of sections")
    return {str(key): value for key, value in values.items()}


def _specialized(values: dict[str, Any], group: str, choice: str, experiment: Path, known: list[str]) -> dict[str, Any]:
    """An experiment's settings for one of its benchmarks or models, `by_<group>: {<choice>: …}`, put over all others.
    There may be some for choices that are not in its grid: it may have been copied, or have inherited them."""
    sections = values.pop(f"by_{group}", None) or {}
    if not _sections(sections, *(sections.values() if isinstance(sections, dict) else ())):
        raise UserError(f"{experiment}, by_{group}: must map a {group}'s name to sections of settings")
    for name in sections:
        if name not in known:
            raise UserError(f"{experiment}, by_{group}: no {group} is called {name!r}{nearest(name, known)}")
    return _merged(values, sections.get(choice, {}))


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
    text = yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=True, allow_unicode=True, width=120)
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return False
    write_text(path, text)
    return True


def read_config(path: Path) -> RunSettings:
    """The validated settings of a run folder's `config.yaml`."""
    return parse_run(read_yaml(path), str(path))


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
