"""What a backend, which samples models, gives to training and evaluation; `hiper.policies.backends` says which there
are."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from hiper.config import Decoding, RunSettings
from hiper.learning.decoder import Decoder
from hiper.policies.model_policy import ModelPolicy

Weights = Callable[[], Iterable[tuple[str, Tensor]]]


class Players(Protocol):
    """One model's policies, to be asked between `play` and `train` only: then the model's weights may change, and the
    sampler gives up what memory it can."""

    exact: bool
    """Whether the sampler's log probabilities are the trainer's."""

    def policy(self, temperature: float) -> ModelPolicy:
        """The model, sampled at this temperature; otherwise as `decoding` says."""
        ...

    def play(self) -> None: ...

    def train(self) -> None: ...

    def metrics(self) -> dict[str, float]:
        """What the sampler has measured since it was last asked."""
        ...


class Backend(Protocol):
    """Makes a process's players of models. It is made of a run's settings and the device of what trains."""

    def in_training(self, start: Path, actor: Decoder, tokenizer: Any, weights: Weights, whole: bool) -> Players:
        """The players of a model about to be trained, begun from the folder `start`: `actor` can be sampled as it is if
        it stays `whole` in training; `weights` gives whole weights, by the names of the model folder. They begin as
        after `train`."""
        ...

    def finished(self, folder: Path) -> Players:
        """The players of a finished model, ready to be asked; those of an earlier folder are not to be used any more.
        UserError where the folder is damaged."""
        ...


def at_temperature(settings: RunSettings, temperature: float) -> Decoding:
    """The run's way of decoding, at another temperature."""
    return settings.decoding.model_copy(update={"temperature": temperature})
