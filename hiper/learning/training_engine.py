"""What the learner asks of whatever trains; `hiper.learning.engines` says which there are."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor, nn

from hiper.learning.decoder import Decoder
from hiper.learning.processes import Processes

T = TypeVar("T")
Run = Callable[[Callable[[], T]], T]

MOMENTS = ("exp_avg", "exp_avg_sq")  # what AdamW keeps of each parameter


class TrainingEngine(Protocol):
    """A module in training with its AdamW optimiser, wherever the parts of both lie; its frozen parameters stay as they
    are.

    With several processes every call is made by all of them, and `run` and `backward` equally often; a process that has
    nothing to do takes part with a loss of weight zero. Losses are divided by counts over all processes, so gradients
    are summed over processes, not averaged.
    """

    every_parameter: bool
    """Whether each parameter must take part in each step, if only with weight zero."""

    def run(self, work: Callable[[], T]) -> T:
        """`work()`, which may use the module's layers: in the precision of training, with weights where they are
        needed."""
        ...

    def zero_grad(self) -> None: ...

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of `loss`, which came out of `run`."""
        ...

    def step(self) -> float:
        """Clip the gradients' norm, update the weights; returns the norm before clipping."""
        ...

    def set_learning_rate(self, rate: float) -> None: ...

    def weights(self) -> Iterator[tuple[str, Tensor]]:
        """Name and whole value of every parameter, in the precision in which the optimiser keeps it; adapters merged
        (`hiper.learning.lora`)."""
        ...

    def state(self) -> dict[str, Any]:
        """What a checkpoint needs of this process, on the CPU: `weights`, AdamW's moments `exp_avg` and `exp_avg_sq`,
        and `step`, by name of the trained parameter. Where each process has a part, flat, `shapes` says what the parts
        of all processes make, one after the other and cut off at its end."""
        ...

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a state that `whole` has put together, before the first step. Any engine and number of processes
        goes on from any."""
        ...


class Joined(Mapping[str, Tensor]):
    """Whole tensors, each put together of the processes' `parts` when it is asked for."""

    def __init__(self, parts: Sequence[Mapping[str, Tensor]], shapes: Mapping[str, Sequence[int]]) -> None:
        self.parts, self.shapes = parts, shapes

    def __getitem__(self, name: str) -> Tensor:
        flat = torch.cat([part[name] for part in self.parts])
        return flat[: math.prod(self.shapes[name])].view(list(self.shapes[name]))

    def __contains__(self, name: object) -> bool:
        return name in self.parts[0]

    def __iter__(self) -> Iterator[str]:
        return iter(self.parts[0])

    def __len__(self) -> int:
        return len(self.parts[0])


def whole(states: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The whole of what the processes' engines gave as their `state`, in the processes' order."""
    first = states[0]
    if "shapes" not in first:
        return first
    shapes = first["shapes"]
    return {"step": first["step"]} | {
        key: Joined([state[key] for state in states], shapes) for key in ("weights", *MOMENTS)
    }


class Engines(Protocol):
    """How modules are put into training on this machine."""

    processes: Processes
    home: str
    """The device of modules that are yet to be taken over."""
    whole_weights: bool
    """Whether a module in training keeps whole weights on every process, so that it can be sampled as it is."""

    def loaded(self, folder: Path) -> Decoder:
        """The model of a folder, to be taken over by `trained` or `frozen`: in their precision, and of weights that are
        sharded this process's part alone, so that the whole of it is nowhere."""
        ...

    def trained(
        self, module: nn.Module, learning_rate: float, weight_decay: float, clip: float, full_precision: bool = False
    ) -> TrainingEngine:
        """Take over `module`; `full_precision`: keep its weights and products in float32 whatever the settings say."""
        ...

    def frozen(self, module: nn.Module) -> Run[Any]:
        """Take over a module that is only read; what is returned is as `TrainingEngine.run`."""
        ...
