"""Memory of the computer that a training's processes share, beside that of its GPUs."""

from __future__ import annotations

from dataclasses import dataclass

from hiper.planning.files import FLOAT, checkpoint_bytes, saved_bytes
from hiper.planning.memory import Layout, Memory
from hiper.planning.shapes import Models, largest_weight, parameters


@dataclass(frozen=True)
class Host:
    """Bytes on the first node. `loading` is over when the others begin. What is `held` is there all the time, a copy
    for a checkpoint (`copied`) beside the passes that are `computed` on the host's own processors. Models are `saved`
    between passes: at the end, when no checkpoint is being written, and where the best one is kept beside that."""

    loading: float
    held: float
    copied: float
    saved: float
    computed: float = 0.0
    best: bool = False

    @property
    def peak(self) -> float:
        beside = self.copied if self.best else 0.0
        return max(self.loading, self.held + max(self.copied + self.computed, beside + self.saved))


def loading_bytes(models: Models, processes: int, weight_bytes: int) -> float:
    """Until one model is where it is computed with. It is read tensor by tensor: from pages of the file, which the
    processes share, and in each process one weight that is on its way, of `weight_bytes` a number. A class of the
    library is put together by each process, in float32."""
    whole = parameters(models.shape)
    library = models.shape.counted is not None
    on_its_way = FLOAT * whole if library else weight_bytes * largest_weight(models.shape)
    return float(FLOAT * whole + processes * on_its_way)


def training_host(models: Models, layout: Layout, nodes: int, on_cpu: Memory | None = None, best: bool = False) -> Host:
    """Models are read one after the other, each process keeps its part of each. Each process copies its part of a
    checkpoint, to write it while training goes on, unless it is offloaded. At the end the first process gathers the
    models; with `best` also where a validation finds the best one. `on_cpu`: what each GPU would hold, where there are
    none and the host's own processors compute."""
    processes = layout.gpus // nodes
    reading = loading_bytes(models, processes, layout.precision.weights)
    offloaded = layout.host(models.trained) / nodes
    copied = 0.0 if layout.offload else checkpoint_bytes(models) / nodes
    if on_cpu is None:
        return Host(reading, offloaded, copied, saved_bytes(models), best=best)
    weights = models.actor.whole + models.critic.whole + (parameters(models.shape) if models.reference else 0)
    return Host(
        loading=reading + processes * layout.frozen(weights),
        held=offloaded + processes * on_cpu.resident,
        copied=copied,
        saved=saved_bytes(models),
        computed=processes * max(on_cpu.training, on_cpu.generation),
        best=best,
    )
