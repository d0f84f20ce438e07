"""Memory of the computer that a training's processes share, beside that of its GPUs."""

from __future__ import annotations

from dataclasses import dataclass

from hiper.planning.files import FLOAT, checkpoint_bytes, saved_bytes
from hiper.planning.memory import Layout
from hiper.planning.shapes import Models, parameters


@dataclass(frozen=True)
class Host:
    """Bytes on the first node. `loading` is over when the others begin; `written` comes on top of `offloaded`."""

    loading: float
    offloaded: float
    written: float

    @property
    def peak(self) -> float:
        return max(self.loading, self.offloaded + self.written)


def loading_bytes(models: Models, processes: int, sharded: bool) -> float:
    """Until the models are on the GPUs. Each process that shards reads all of them, in float32, before it gives any
    away, even a critic of which it keeps some blocks; a single one gives each away as it comes. A model in reading is
    there twice: the file's pages, which the processes share, and its weights."""
    one = FLOAT * parameters(models.shape)
    held = 1 + models.own_critic + models.reference if sharded else 1
    return float(processes * held * one + one)


def training_host(models: Models, layout: Layout, nodes: int, sharded: bool) -> Host:
    """A checkpoint, and at the end the model, are gathered by the first process; written as they are, without a
    second copy."""
    return Host(
        loading=loading_bytes(models, layout.gpus // nodes, sharded),
        offloaded=layout.host(models.trained) / nodes,
        written=max(checkpoint_bytes(models), saved_bytes(models)),
    )
