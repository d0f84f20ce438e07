"""The processes that train one run together, and what they tell each other.

Every process holds all episodes of an iteration (tokens and numbers, no hidden states), so all of them choose the same
mini-batches and micro-batches and deal these out without asking; what is added up or gathered here is small and travels
through the main memory.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from hiper.config import Engine
from hiper.errors import UserError
from hiper.learning.batches import micro_batches

T = TypeVar("T")

PATIENCE = timedelta(hours=2)  # for the slowest process's episodes; one that ends is noticed by torchrun at once


@dataclass(frozen=True)
class Processes:
    """Process `rank` of `size`; `group` is torch's, None where this process trains alone."""

    rank: int = 0
    size: int = 1
    group: Any = None

    @property
    def first(self) -> bool:
        """Whether this process writes the run's files."""
        return self.rank == 0

    def dealt(self, work: Sequence[T]) -> list[T | None]:
        """This process's share of what all have in the same order; all shares are equally long, some end with None."""
        mine: list[T | None] = list(work[self.rank :: self.size])
        return mine + [None] * (-(-len(work) // self.size) - len(mine))

    def block(self, count: int) -> range:
        """This process's share of `count` things that are in an order to be kept: the blocks of all, one after the
        other, are the whole."""
        return range(self.rank * count // self.size, (self.rank + 1) * count // self.size)

    def budget(self, lengths: npt.NDArray[np.int64], limit: int) -> int:
        """Tokens of a micro-batch of rows of these lengths: at most `limit`. Where several processes share them, the
        fewest that fill no more rounds of one micro-batch each: nobody then waits long for the others, and the last
        round is as full as the first."""
        if self.size == 1 or not len(lengths) or lengths.max() >= limit:
            return limit
        rounds = -(-len(micro_batches(lengths, limit)) // self.size)
        low, high = max(int(lengths.max()), -(-int(lengths.sum()) // (rounds * self.size))), limit
        while low < high:
            middle = (low + high) // 2
            if len(micro_batches(lengths, middle)) <= rounds * self.size:
                high = middle
            else:
                low = middle + 1
        return low

    def gathered(self, mine: Sequence[T]) -> list[T]:
        """Everybody's items, process by process."""
        if self.group is None:
            return list(mine)
        import torch.distributed as distributed

        parts: list[list[T]] = [[]] * self.size
        distributed.all_gather_object(parts, list(mine), group=self.group)
        return [item for part in parts for item in part]

    def summed(self, numbers: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """The sum of everybody's array; all have the same shape."""
        if self.group is None:
            return numbers
        import torch
        import torch.distributed as distributed

        total = torch.from_numpy(np.array(numbers, dtype=np.float64))
        distributed.all_reduce(total, group=self.group)
        return total.numpy()

    def any(self, mine: bool) -> bool:
        """Whether it holds of anybody."""
        return bool(self.summed(np.array([float(mine)]))[0])

    def wait(self) -> None:
        """Until all have come here."""
        if self.group is not None:
            import torch.distributed as distributed

            distributed.barrier(group=self.group)


@contextmanager
def joined(engine: Engine) -> Iterator[Processes]:
    """Find the other processes of this run, as torchrun describes them, and part from them at the end.

    UserError where the number of processes is not the one that the engine's settings say.
    """
    size = int(os.environ.get("WORLD_SIZE") or 1)
    if size != engine.processes:
        raise UserError(f"{size} processes were started, but {_wanted(engine)}")
    if engine.name == "local":
        yield Processes()
        return
    _require_devices(engine)
    import torch.distributed as distributed

    rank = int(os.environ.get("RANK") or 0)
    backend = "nccl" if engine.device == "cuda" else "gloo"
    place = int(os.environ.get("LOCAL_RANK") or 0)
    os.environ["LOCAL_RANK"] = str(place)  # DeepSpeed reads it too
    if engine.device == "cuda":
        import torch

        torch.cuda.set_device(place)
    alone: dict[str, Any] = {"store": distributed.HashStore(), "rank": 0, "world_size": 1} if size == 1 else {}
    distributed.init_process_group(backend, timeout=PATIENCE, **alone)
    if rank:
        logging.getLogger("hiper").setLevel(logging.WARNING)  # the first process speaks for all
    try:
        yield Processes(rank, size, distributed.new_group(backend="gloo", timeout=PATIENCE) if size > 1 else None)
    finally:
        distributed.destroy_process_group()


def _wanted(engine: Engine) -> str:
    if engine.name == "local":
        return "engine local trains in one; start `hiper train` without torchrun, or choose engine deepspeed"
    nodes = "--standalone" if engine.nodes == 1 else f"--nnodes {engine.nodes} --rdzv-backend c10d --rdzv-endpoint HOST"
    return (
        f"engine.gpus={engine.gpus} on engine.nodes={engine.nodes} are {engine.processes}; start `torchrun {nodes} "
        f"--nproc-per-node {engine.gpus} --no-python -- hiper train …`, or change engine.gpus and engine.nodes"
    )


def _require_devices(engine: Engine) -> None:
    """UserError where a process on this node would have no GPU of its own."""
    if engine.device != "cuda":
        return
    import torch

    if (there := torch.cuda.device_count()) < engine.gpus:
        raise UserError(
            f"engine.gpus={engine.gpus}: torch sees {there} GPU{'' if there == 1 else 's'} on this node; lower "
            "engine.gpus, or ask the scheduler for more (nvidia-smi and CUDA_VISIBLE_DEVICES say what there is)"
        )
