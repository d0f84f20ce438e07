"""The best model of a run: chosen by tasks nothing else plays, kept beside the last one, evaluated like it."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pipeline import run_settings

from hiper.benchmarks.record import make_benchmark
from hiper.errors import UserError
from hiper.manifest import read_manifest
from hiper.records import read_jsonl
from hiper.stages import evaluation, training
from hiper.stages.selection import Best, ModelSelection
from hiper.stages.tasks import split_train
from hiper.trajectory import Task

VALIDATED = {"training__iterations": 5, "training__validation__tasks": 6, "training__validation__every": 2}


@pytest.fixture(scope="module")
def trained(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared folder with a validated run in `run/`."""
    folder = Path(shutil.copytree(prepared, tmp_path_factory.mktemp("selection") / "prepared"))
    training.run(run_settings(**VALIDATED), folder / "warmstart" / "model", folder / "run", folder / "data")
    return folder


def rows_of(settings: Any, model: Path, best: Path, data: Path, folder: Path) -> list[dict[str, Any]]:
    """The evaluation of a run made of two model folders."""
    for source, name in ((model, "model"), (best, "best")):
        shutil.copytree(source, folder / name)
    evaluation.run(settings, folder, data)
    assert (folder / "evaluation.json").exists() and not (folder / "evaluation.unfinished.jsonl").exists()
    return read_jsonl(folder / "evaluation.jsonl")


def test_the_train_split_falls_into_disjoint_parts(trained: Path) -> None:
    """Demonstrations, RL and validation share no task and leave none out; validation takes none from demonstrations."""
    chosen = run_settings(**VALIDATED)
    benchmark = make_benchmark(chosen.benchmark, trained / "data")
    parts = split_train(chosen, benchmark)
    lists = (parts.demonstrations, parts.reinforcement, parts.validation)
    assert sorted(task.id for part in lists for task in part) == sorted(task.id for task in benchmark.tasks("train"))
    without = split_train(run_settings(training__validation__tasks=0, evaluation__checkpoints=["last"]), benchmark)
    assert without.demonstrations == parts.demonstrations and without.validation == []
    with pytest.raises(UserError, match=r"training\.validation\.tasks=30"):
        split_train(run_settings(training__validation__tasks=30), benchmark)


def test_the_best_model_is_the_earliest_of_the_most_successful() -> None:
    """Of the validated iterations (every second, and the last) the first with the highest success is kept; success on
    each task type is measured where there are several."""
    wins = iter([[True, False], [True, True], [True, True]])

    def play(tasks: Any, groups: Any, seed: Any) -> list[Any]:
        return [
            SimpleNamespace(won=won, failure=None, info={"score": 0.5}, task=task)
            for task, won in zip(tasks, next(wins), strict=True)
        ]

    tasks = [Task("a", "train", "short"), Task("b", "train", "long")]
    selection = ModelSelection(run_settings(**VALIDATED), SimpleNamespace(play=play), tasks)  # type: ignore[arg-type]
    assert [number for number in range(1, 6) if selection.due(number, last=number == 5)] == [2, 4, 5]
    measured = [selection.measure(number) for number in (2, 4, 5)]
    assert [row["validation/success"] for row in measured] == [0.5, 1.0, 1.0] and selection.best == Best(4, 1.0)
    assert (measured[0]["validation/success/short"], measured[0]["validation/success/long"]) == (1.0, 0.0)
    again = ModelSelection(run_settings(**VALIDATED), selection.rollout, [])
    again.restore(selection.state())
    assert again.best == selection.best and not again.due(5, last=True)


def test_the_best_model_wins_what_its_iteration_won(trained: Path) -> None:
    """Played again from its folder, the best model wins the share of the validation tasks that the metrics say."""
    run = trained / "run"
    rows = [row for row in read_jsonl(run / "metrics.jsonl") if "validation/success" in row]
    assert [row["iteration"] for row in rows] == [2, 4, 5]
    best = max(rows, key=lambda row: (row["validation/success"], -row["iteration"]))
    manifest = read_manifest(run)
    assert manifest is not None and "best/model.safetensors" in manifest["outputs"]
    assert manifest["best"]["iteration"] == best["iteration"]
    trainer = training.Trainer(run_settings(**VALIDATED), run / "best", trained / "again", trained / "data")
    assert trainer.selection.measure(1)["validation/success"] == pytest.approx(best["validation/success"], abs=1e-6)


def test_every_checkpoint_split_protocol_and_temperature_is_played(trained: Path, tmp_path: Path) -> None:
    """Each combination has its rows, the sample has as many as asked for, and the best model's rows are those it would
    have as a last model."""
    chosen = run_settings(
        **VALIDATED,
        evaluation__protocols=["exhaustive", "sampled"],
        evaluation__sampled_episodes=5,
        evaluation__temperatures=[0.4, 0.0],
    )
    warm, other, data = trained / "warmstart" / "model", trained / "run" / "model", trained / "data"
    rows = rows_of(chosen, warm, other, data, tmp_path / "different")
    counts: dict[tuple[Any, ...], int] = {}
    for row in rows:
        place = (row["checkpoint"], row["split"], row["protocol"], row["temperature"])
        counts[place] = counts.get(place, 0) + 1
    assert len(counts) == 16
    assert all(count == 5 for place, count in counts.items() if place[2] == "sampled")
    swapped = rows_of(chosen, other, warm, data, tmp_path / "swapped")
    same = rows_of(chosen, warm, warm, data, tmp_path / "same")
    halves = {
        name: [[{**row, "checkpoint": ""} for row in part if row["checkpoint"] == which] for which in ("last", "best")]
        for name, part in (("different", rows), ("swapped", swapped), ("same", same))
    }
    assert halves["different"] == halves["swapped"][::-1] and halves["different"][0] != halves["different"][1]
    assert halves["same"] == [halves["different"][0]] * 2
