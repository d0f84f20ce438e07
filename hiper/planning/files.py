"""Bytes on the disk of one run, as the stages write them."""

from __future__ import annotations

import math
from dataclasses import dataclass

from hiper.planning.shapes import Models, backbone_parameters, parameters

FLOAT = 4  # model folders and checkpoints hold float32
MOMENTS = 8  # Adam's two, float32
RECORDED_TURN, EVALUATED_TURN = 2_000, 1_500  # bytes of a turn in episodes.jsonl and in evaluation.jsonl


@dataclass(frozen=True)
class Files:
    """Bytes of one run: `model` and `records` stay, `checkpoints` are there while it goes on."""

    model: float
    checkpoints: float
    records: float

    @property
    def kept(self) -> float:
        return self.model + self.records


def saved_bytes(models: Models) -> float:
    """One model folder: whole weights, adapters merged into them, and a critic's backbone."""
    critic = backbone_parameters(models.critic_shape) if models.own_critic else 0
    return float(FLOAT * (parameters(models.shape) + critic))


def checkpoint_bytes(models: Models) -> float:
    """What is trained, with its moments."""
    return float((FLOAT + MOMENTS) * models.trained)


def checkpoint_seconds(models: Models, pcie: float, writing: float, processes: int) -> tuple[float, float]:
    """Of one checkpoint: until each process has its part in the host's memory, brought there over PCIe, and until it is
    written then; bytes a second of each."""
    part = checkpoint_bytes(models) / processes
    return part / pcie, part / writing


def waiting_seconds(copying: float, writing: float, step: float, offloaded: bool) -> float:
    """For which training waits at a checkpoint: until it is copied, and for what writing takes longer than the next
    iteration (`step`); for all of it where the optimiser's state is offloaded, which is not copied."""
    return copying + (writing if offloaded else max(0.0, writing - step))


def checkpoints_of(iterations: int, every: int, minutes: float, seconds: float) -> int:
    """How many a run of so many iterations of `seconds` writes: one every so many, at most one in so many minutes, and
    none at its end."""
    between = every * max(1, math.ceil(60.0 * minutes / (every * seconds)))
    return (iterations - 1) // between


def run_files(models: Models, *, trained: bool, folders: int, kept: int, recorded: float, evaluated: float) -> Files:
    """`trained`: by RL, with checkpoints, of which `kept` and the one being written lie on the disk, else the actor is
    all there is; `folders`: the last model, and perhaps the best; `recorded` and `evaluated`: turns in its records."""
    records = recorded * RECORDED_TURN + evaluated * EVALUATED_TURN
    if not trained:
        return Files(float(folders * FLOAT * parameters(models.shape)), 0.0, records)
    return Files(folders * saved_bytes(models), (kept + 1) * checkpoint_bytes(models), records)
