"""What the learner asks of whatever trains; `hiper.learning.engines` says which there are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol, TypeVar

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
        """What a checkpoint needs, whole and on the CPU, the same for every engine and number of processes: `weights`,
        AdamW's moments `exp_avg` and `exp_avg_sq`, and `step`, by name of the trained parameter. Empty but on the first
        process."""
        ...

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a `state`, before the first step."""
        ...


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
