"""Low-rank adapters (LoRA, Hu et al. 2021) for the linear modules in a decoder's layers: W x + (alpha / rank) B A x and
a frozen W.

An adapted module keeps the parameter names of the plain one and adds two beside each adapted weight; `merged_weights`
gives the plain module's, so that what is saved or sent to a sampler knows nothing of adapters.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hiper.config import Lora
from hiper.errors import UserError
from hiper.learning.decoder import Decoder
from hiper.randomness import seed_number

Whole = Callable[[Tensor], Tensor]
ADAPTER = (".lora_a", ".lora_b")  # how the names of adapters' parameters end


class LoraLinear(nn.Module):
    """A frozen linear layer with an adapter: `lora_a` [rank, in], `lora_b` [out, rank]."""

    def __init__(self, plain: nn.Linear, settings: Lora) -> None:
        super().__init__()
        self.scale = settings.alpha / settings.rank
        like = {"device": plain.weight.device, "dtype": plain.weight.dtype}
        self.lora_a = nn.Parameter(torch.zeros(settings.rank, plain.in_features, **like))
        self.lora_b = nn.Parameter(torch.zeros(plain.out_features, settings.rank, **like))
        self.weight, self.bias = plain.weight, plain.bias

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias) + F.linear(F.linear(x, self.lora_a), self.lora_b) * self.scale


def adapt(decoder: Decoder, settings: Lora | None, seed: Sequence[int]) -> None:
    """Freeze the decoder and give its layers' linear modules adapters, which change nothing yet: A is drawn uniformly
    from ±1/√in (as Kaiming initialisation with a = √5, the reference implementation's), B is zero. None: nothing."""
    if settings is None:
        return
    generator = torch.Generator().manual_seed(seed_number(seed))
    decoder.requires_grad_(False)
    adapted_any = False
    for parent in [*decoder.model.layers.modules()]:
        for name, plain in [*parent.named_children()]:
            if isinstance(plain, nn.Linear):
                adapted = LoraLinear(plain, settings)
                limit = 1 / math.sqrt(plain.in_features)
                drawn = torch.empty(adapted.lora_a.shape).uniform_(-limit, limit, generator=generator)
                adapted.lora_a.data.copy_(drawn)
                setattr(parent, name, adapted)
                adapted_any = True
    if not adapted_any:
        raise UserError("model.lora: the model's layers have no linear modules that adapters fit; set it to null")


def trainable(module: nn.Module) -> list[tuple[str, nn.Parameter]]:
    """Name and parameter of everything that is not frozen."""
    return [(name, parameter) for name, parameter in module.named_parameters() if parameter.requires_grad]


def merged_weights(module: nn.Module, whole: Whole = Tensor.detach) -> Iterator[tuple[str, Tensor]]:
    """Name and value of every parameter of the plain module, adapters added to their weights in float32. `whole` gives
    the whole value of a parameter of which only a part may lie here."""
    for name, parameter in module.named_parameters():
        if name.endswith(ADAPTER):
            continue
        owner = module.get_submodule(name.rpartition(".")[0])
        value = whole(parameter)
        if isinstance(owner, LoraLinear) and parameter is owner.weight:
            value = value.float() + owner.scale * (whole(owner.lora_b).float() @ whole(owner.lora_a).float())
        yield name, value
