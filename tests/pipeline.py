"""A tiny pipeline for tests: the experiment `test`, changed and made smaller where a test wants, each part by its own
stage. Folders are called as in the workflow.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from hiper.benchmarks.alfworld.settings import AlfworldSettings
from hiper.benchmarks.alfworld.sources import make_dataset
from hiper.compose import compose_run
from hiper.config import RunSettings, parse_run

ROOT = Path(__file__).resolve().parents[1]
RUN = "alfworld_test-test-hiper-seed0"
WARM = "alfworld_test-test-warmstart-seed0"

# Of a project: where the workflow puts what belongs to the experiment `test`.
GAMES = Path("data/alfworld_test")
RESULTS = Path("results/test")
RUN_FOLDER, WARM_FOLDER = (RESULTS / "runs" / name for name in (RUN, WARM))
ROWS = RESULTS / "demonstrations" / "alfworld_test" / "demonstrations.jsonl"
TOKENIZER = RESULTS / "tokenizers" / "alfworld_test-test"

# What `hiper` is called with in a project's root once the games are made; in the order of the workflow.
STAGES: dict[str, list[str]] = {
    "demonstrations": ["demonstrations", f"{WARM_FOLDER}/config.yaml", "--output", str(ROWS.parent)],
    "tokenizer": [
        *("tokenizer", f"{WARM_FOLDER}/config.yaml", "--output", str(TOKENIZER)),
        *("--demonstrations", str(ROWS)),
    ],
    "warmstart": [
        *("warmstart", str(WARM_FOLDER), "--tokenizer", str(TOKENIZER)),
        *("--demonstrations", str(ROWS)),
    ],
    "train": ["train", str(RUN_FOLDER), "--start", f"{WARM_FOLDER}/model"],
    "evaluate": ["evaluate", str(RUN_FOLDER)],
    "report": ["report", str(RESULTS)],
}

# `rollout` as configs/rollout/vllm.yaml has it, but for a share of memory that tests can have.
VLLM: dict[str, Any] = {
    "backend": "vllm",
    "memory_share": 0.4,
    "importance_cap": 2.0,
    "difference_limit": 0.2,
    "keep_prefixes": False,
    "dtype": None,
}

# Enough for demonstrations, a tokenizer and a warm start of one step that tests only want to be there.
FEW_GAMES: dict[str, Any] = {
    "benchmark__data__generate__train": 14,
    "benchmark__data__generate__valid_seen": 2,
    "benchmark__data__generate__valid_unseen": 2,
    "demonstrations__tasks": 12,
    "training__validation__tasks": 1,
    "warm_start__steps": 1,
    "warm_start__warmup_steps": 0,
    "warm_start__batch_turns": 4,
    "warm_start__held_out": 0.2,
}


def changed(values: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A copy of a configuration's values with some replaced or added; `__` stands for the dot of a key."""
    copied = copy.deepcopy(values)
    for key, value in changes.items():
        *path, last = key.split("__")
        section = copied
        for name in path:
            section = section[name]
        section[last] = value
    return copied


def run_settings(run: str = RUN, **changes: Any) -> RunSettings:
    """The settings of a run of the experiment `test`, without the MLflow mirror unless `tracking__live` is changed."""
    values = compose_run("test", run, ROOT).model_dump()
    return parse_run(changed(values, **{"tracking__live": False, **changes}), "test")


def make_games(data: Path, benchmark: AlfworldSettings) -> Path:
    """The benchmark's data set in the folder `data` of data sets; its own folder."""
    folder = data / benchmark.dataset
    make_dataset(benchmark.dataset, benchmark.data, benchmark.task_types, folder)
    return folder


def prepare(folder: Path, settings: RunSettings) -> Path:
    """`data/`, `demonstrations/`, `tokenizer/` and `warmstart/` (with its `model/`) in `folder`, which is returned."""
    from hiper.stages import demonstrations, tokenizer, warmstart

    data, rows = folder / "data", folder / "demonstrations" / "demonstrations.jsonl"
    assert isinstance(settings.benchmark, AlfworldSettings)
    make_games(data, settings.benchmark)
    demonstrations.make(settings, data, rows.parent)
    tokenizer.make(settings, rows, folder / "tokenizer", data)
    warmstart.run(settings, rows, folder / "tokenizer", folder / "warmstart", data)
    return folder
