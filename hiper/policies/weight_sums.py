"""Did the sampler take the weights that it was given? Compared by sums, which need no second copy of a model.

Of each tensor the sum and the sum of squares are noted while it is handed over, in the sampler's precision, and
compared with those of the parameter that it has become: several tensors may have become one, in whatever order and with
zeros behind them. A parameter that nothing was loaded into, or something else, has other sums. Where the sampler puts
weights into other forms, as vLLM does on a CPU, their names alone are compared; where it has other names for them, how
many numbers are in vectors, the biases and norms: a sampler may lack one and say nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

Comparison = Literal["numbers", "names", "vectors"]
AT_ONCE = 1 << 24  # numbers that are summed together, in float64
TOLERANCE = 1e-6  # relative; equal numbers in another order differ by far less, other weights by far more


@dataclass(frozen=True)
class Sums:
    """Of the numbers of one tensor or of several."""

    count: int
    plain: float
    squares: float

    @classmethod
    def of(cls, tensor: Tensor, dtype: torch.dtype) -> Sums:
        plain = squares = torch.zeros((), dtype=torch.float64, device=tensor.device)
        for part in tensor.detach().flatten().split(AT_ONCE):
            numbers = part.to(dtype).double()
            plain, squares = plain + numbers.sum(), squares + numbers.square().sum()
        return cls(tensor.numel(), float(plain), float(squares))

    def __add__(self, other: Sums) -> Sums:
        return Sums(self.count + other.count, self.plain + other.plain, self.squares + other.squares)

    def become(self, found: Sums) -> bool:
        """Whether `found` may be these numbers and perhaps zeros."""
        largest = (self.count * self.squares) ** 0.5  # no sum of absolute values is larger
        alike = abs(found.plain - self.plain) <= TOLERANCE * largest
        return found.count >= self.count and alike and abs(found.squares - self.squares) <= TOLERANCE * self.squares


class Handover:
    """The weights of one update. `dtype` is the sampler's; `by`: what can be compared with its model."""

    def __init__(self, dtype: torch.dtype, by: Comparison = "numbers") -> None:
        self.dtype, self.by = dtype, by
        self.sent: dict[str, Sums] = {}
        self.vectors = 0  # numbers of the tensors with one dimension

    def noting(self, weights: Iterable[tuple[str, Tensor]]) -> Iterator[tuple[str, Tensor]]:
        """The weights, each noted as it passes."""
        for name, weight in weights:
            self.sent[name] = Sums.of(weight, self.dtype) if self.by == "numbers" else Sums(weight.numel(), 0.0, 0.0)
            self.vectors += weight.numel() if weight.dim() == 1 else 0
            yield name, weight

    def problems(self, model: nn.Module) -> list[str]:
        """What is wrong with the sampler's model, a line for each parameter, or for all. Its `packed_modules_mapping`
        says which modules are several of the sender's."""
        if self.by != "vectors":
            return self._misplaced(model)
        found = sum(parameter.numel() for parameter in model.parameters() if parameter.dim() == 1)
        told = f"{self.vectors:,} numbers of biases and norms were sent, and its model has {found:,}"
        return [told] if found < self.vectors else []

    def _misplaced(self, model: nn.Module) -> list[str]:
        merged: Mapping[str, Sequence[str]] = getattr(model, "packed_modules_mapping", None) or {}
        found, left = [], dict.fromkeys(self.sent)
        for name, parameter in model.named_parameters():
            parts = _parts(name, merged)
            for part in parts:
                left.pop(part, None)
            if missing := [part for part in parts if part not in self.sent]:
                found.append(f"{name}: nothing was sent for {', '.join(missing)}")
                continue
            first, *others = (self.sent[part] for part in parts)
            if self.by == "numbers" and not sum(others, first).become(Sums.of(parameter, self.dtype)):
                found.append(f"{name}: holds other numbers than were sent for it")
        return found + [f"{name}: was sent and has no place" for name in left]


def _parts(name: str, merged: Mapping[str, Sequence[str]]) -> list[str]:
    """The names, at the sender, of what a parameter is made of."""
    module, _, last = name.rpartition(".")
    before, dot, own = module.rpartition(".")
    return [f"{before}{dot}{one}.{last}" for one in merged.get(own, [own])]
