"""Settings of the model."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from hiper.fields import Count, PathText, Positive, Settings, Width


class Scratch(Settings):
    """A Qwen2-layout model made here, with a byte-level BPE learned from the demonstrations."""

    vocabulary: Annotated[int, Field(ge=300, le=1 << 20)]
    hidden: Width
    layers: Annotated[int, Field(ge=1, le=1000)]
    heads: Width
    intermediate: Width

    @model_validator(mode="after")
    def heads_fit(self) -> Scratch:
        if self.hidden % self.heads or (self.hidden // self.heads) % 2:
            raise ValueError(
                f"hidden = {self.hidden} must be an even multiple of heads = {self.heads}: each head needs an even "
                "size for its rotary embedding"
            )
        return self


class Lora(Settings):
    """Low-rank adapters (Hu et al. 2021) on every linear layer of the decoder, trained in place of its weights."""

    rank: Count
    alpha: Positive  # what an adapter adds is multiplied by alpha / rank


class Model(Settings):
    name: str
    path: PathText | None  # Hugging Face name or local folder; None: made from scratch
    scratch: Scratch | None
    lora: Lora | None  # None: every weight is trained

    @model_validator(mode="after")
    def one_origin(self) -> Model:
        if (self.path is None) == (self.scratch is None):
            raise ValueError(
                "give exactly one of model.path (a pretrained model) and model.scratch (sizes of a new one); the "
                "other is null"
            )
        return self
