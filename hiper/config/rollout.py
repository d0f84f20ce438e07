"""Settings of what samples. Each has its readers (`hiper.declarations`), and its default in every file of
`configs/rollout/`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from hiper.declarations import Before, ReadBy, Unread
from hiper.errors import shown
from hiper.fields import Positive, Settings


def _share(value: Any) -> Any:
    """One message for both; pydantic has one for each."""
    if value is None or value == "auto" or (type(value) is float and 0.0 < value < 1.0):
        return value
    raise ValueError(f"{shown(value)} must be 'auto' or a number between 0 and 1")


Share = Annotated[float | Literal["auto"] | None, BeforeValidator(_share)]


class RolloutSettings(Settings):
    """What samples in training and evaluation: `local`, the decoder that trains, or `vllm` in the same process."""

    backend: Annotated[Literal["local", "vllm"], ReadBy("train", "evaluate")]
    # of a GPU's memory, for vLLM's weights and cache; it sleeps while the trainer works. auto: what the episodes need
    # (hiper/planning/sampler.py), without sleep where the card has room for both
    memory_share: Annotated[Share, Unread("another share changes results by rounding alone")]
    # of the weights that correct its arithmetic; None: do not
    importance_cap: Annotated[Annotated[float, Field(ge=1.0)] | None, ReadBy("train")]
    # mean |Δ log π| between sampler and trainer that ends a run; None: none does
    difference_limit: Annotated[Positive | None, ReadBy("train"), Before(None)]
    # read what prompts begin with once: the rules that all share, and what an episode's last prompt began with
    keep_prefixes: Annotated[bool, ReadBy("train", "evaluate"), Before(False)]
    # of a copy of the weights that samples; None: the trainer's own
    dtype: Annotated[Literal["bfloat16"] | None, ReadBy("train", "evaluate"), Before(None)]

    @model_validator(mode="after")
    def fits_backend(self) -> RolloutSettings:
        if self.backend == "local" and (self.memory_share is not None or self.importance_cap is not None):
            raise ValueError(
                "backend local samples with the trainer's own model: memory_share and importance_cap are for backend "
                "vllm and must be null (configs/rollout/local.yaml)"
            )
        if self.backend == "vllm" and (self.keep_prefixes or self.dtype is not None):
            raise ValueError(
                "backend vllm keeps prefixes and has a copy of the weights by itself: keep_prefixes must be false and "
                "dtype null (configs/rollout/vllm.yaml)"
            )
        if self.backend == "vllm" and self.memory_share is None:
            raise ValueError(
                "backend vllm needs memory_share, its part of each GPU's memory (configs/rollout/vllm.yaml)"
            )
        return self
