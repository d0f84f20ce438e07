"""Bytes on the disk of one run, as the stages write them."""

from __future__ import annotations

from dataclasses import dataclass

from hiper.planning.shapes import ModelShape, backbone_parameters, parameters

FLOAT = 4  # model folders and checkpoints hold float32
MOMENTS = 8  # Adam's two, float32
HOST_COPIES = 3  # of a checkpoint in the host's memory while it is written: tensors, their serialised form, its bytes
RECORDED_TURN, EVALUATED_TURN = 2_000, 1_500  # bytes of a turn in episodes.jsonl and in evaluation.jsonl


@dataclass(frozen=True)
class Files:
    """Bytes of one run: `model` and `records` stay, `checkpoints` are there while it goes on; `host`: of the memory,
    while a checkpoint is written."""

    model: float
    checkpoints: float
    records: float
    host: float

    @property
    def kept(self) -> float:
        return self.model + self.records


def run_files(
    shape: ModelShape, *, trained: bool, own_critic: bool, models: int, kept: int, recorded: float, evaluated: float
) -> Files:
    """`trained`: by RL, with checkpoints, of which `kept` and the one being written lie on the disk; `models`: folders
    of the actor (the last, and perhaps the best); `recorded` and `evaluated`: turns in its records."""
    actor, critic = parameters(shape), backbone_parameters(shape) if own_critic and trained else 0
    state = (FLOAT + MOMENTS) * (actor + critic) if trained else 0.0
    records = recorded * RECORDED_TURN + evaluated * EVALUATED_TURN
    return Files(float(FLOAT * models * (actor + critic)), (kept + 1) * state, records, HOST_COPIES * state)
