"""Run folders of an experiment with made-up episodes and metrics, for the tests of its report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hiper.records import read_jsonl, write_jsonl, write_text

TYPES = ("pick_and_place_simple", "look_at_obj_in_light")


def add_run(
    experiment: Path, algorithm: str, seed: int, won: list[bool] | None, *, split: str = "unseen", iterations: int = 4
) -> Path:
    """A run whose evaluation wins the listed tasks: even ones are Pick, odd ones Look. `won=None`: not evaluated."""
    folder = experiment / "runs" / f"alfworld_small-tiny_1.5b-{algorithm}-seed{seed}"
    name = algorithm if algorithm in ("ppo", "ppo_turn") else "hiper"
    write_text(
        folder / "config.yaml",
        "benchmark: {name: alfworld, max_turns: 30, game_engine: native}\n"
        "prompt: {interface: plan_execute}\ndecoding: {mode: guided}\n"
        f"algorithm: {{name: {name}}}\n",
    )
    if won is not None:
        write_jsonl(folder / "evaluation.jsonl", [episode(i, win, split) for i, win in enumerate(won)])
    if algorithm == "warmstart":
        rows: list[dict[str, Any]] = [
            {"step": 1, "sft/loss": 2.0},
            {"step": 2, "sft/loss": 1.0, "sft/held_out_loss": 1.5},
        ]
    else:
        rows = [metrics(i, success=0.1 * i, switch_rate=0.5) for i in range(1, iterations + 1)]
    write_jsonl(folder / "metrics.jsonl", rows)
    return folder


def episode(number: int, won: bool, split: str) -> dict[str, Any]:
    row = {"task": f"task{number}", "task_type": TYPES[number % 2], "split": split, "temperature": 0.4, "won": won}
    return {**row, "score": float(won), "turns": 9, "switches": 3, "valid_turns": 9, "tokens": 90, "truncated": False,
            "failure": None}  # fmt: skip


def metrics(iteration: int, success: float, switch_rate: float | None) -> dict[str, Any]:
    return {
        "iteration": iteration,
        "episodes": 16 * iteration,
        "train/success": success,
        "train/turns": 9.0,
        "train/response_tokens": 10.0,
        "train/switch_rate": switch_rate,
        "train/segment_length": 2.5,
        "train/valid_rate": 1.0,
    }


def add_conditions(folder: Path, won: dict[tuple[str, str], list[bool]], temperature: float = 0.4) -> None:
    """Add unseen episodes to a run's evaluation: (protocol, checkpoint) → which of its tasks were won."""
    rows = read_jsonl(folder / "evaluation.jsonl")
    for (protocol, checkpoint), outcomes in won.items():
        place = {"protocol": protocol, "checkpoint": checkpoint, "temperature": temperature}
        rows += [{**episode(number, win, "unseen"), **place} for number, win in enumerate(outcomes)]
    write_jsonl(folder / "evaluation.jsonl", rows)


def add_demonstrations(experiment: Path, turns: dict[str, list[int]], benchmark: str = "alfworld_small") -> None:
    """Task type → turns of each of the expert's demonstrations."""
    rows = [
        {"task": f"{name}/{number}", "task_type": name, "turn": turn, "messages": [], "shorter": ""}
        for name, lengths in turns.items()
        for number, length in enumerate(lengths)
        for turn in range(length)
    ]
    write_jsonl(experiment / "demonstrations" / benchmark / "demonstrations.jsonl", rows)


def add_validations(folder: Path, success: dict[int, float]) -> None:
    """Put the success on validation tasks into the metrics of these iterations."""
    rows = read_jsonl(folder / "metrics.jsonl")
    for row in rows:
        if row["iteration"] in success:
            row |= {"validation/success": success[row["iteration"]], "validation/score": 0.5}
    write_jsonl(folder / "metrics.jsonl", rows)


def make_experiment(folder: Path) -> Path:
    """Warm start 1 and 2 of 4 tasks, HiPER 3 and 4 of 4, PPO 2 of 4 with its second seed not evaluated."""
    add_run(folder, "warmstart", 0, [True, False, False, False])
    add_run(folder, "warmstart", 1, [True, True, False, False])
    add_run(folder, "hiper", 0, [True, True, True, False])
    add_run(folder, "hiper", 1, [True, True, True, True])
    add_run(folder, "ppo_turn", 0, [True, True, False, False])
    add_run(folder, "ppo_turn", 1, None, iterations=2)
    return folder
