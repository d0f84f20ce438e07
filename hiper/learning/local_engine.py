"""The engine `local`: plain torch in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from hiper.learning.decoder import Decoder
from hiper.learning.folders import load_decoder
from hiper.learning.lora import merged_weights, trainable
from hiper.learning.processes import Processes
from hiper.learning.training_engine import MOMENTS, Run

T = TypeVar("T")


class LocalEngine:
    every_parameter = False

    def __init__(
        self, module: nn.Module, learning_rate: float, weight_decay: float, clip: float, run: Run[Any]
    ) -> None:
        self.module, self.clip, self.run = module, clip, run
        self.named = trainable(module)
        self.parameters = [parameter for _, parameter in self.named]
        self.optimizer = torch.optim.AdamW(
            [{"params": self.parameters}],  # a group, because it may be empty: an algorithm without value heads
            lr=learning_rate,
            weight_decay=weight_decay,
            foreach=True,
        )

    def zero_grad(self) -> None:
        self.optimizer.zero_grad(set_to_none=True)

    def backward(self, loss: Tensor) -> None:
        loss.backward()

    def step(self) -> float:
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, self.clip)
        self.optimizer.step()
        return float(norm)

    def set_learning_rate(self, rate: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = rate

    def weights(self) -> Iterator[tuple[str, Tensor]]:
        return merged_weights(self.module)

    def state(self) -> dict[str, Any]:
        named = {name: self.optimizer.state.get(p, {}) for name, p in self.named}
        moments = {key: {name: kept[key].cpu() for name, kept in named.items() if kept} for key in MOMENTS}
        return {
            "weights": {name: parameter.detach().cpu() for name, parameter in self.named},
            "step": {name: float(kept["step"]) for name, kept in named.items() if kept},
            **moments,
        }

    def load(self, state: dict[str, Any]) -> None:
        for name, parameter in self.named:
            parameter.data.copy_(state["weights"][name])
            if name in state["step"]:
                moments = {key: state[key][name].to(parameter.device, copy=True) for key in MOMENTS}
                self.optimizer.state[parameter] = {"step": torch.tensor(state["step"][name]), **moments}


class LocalEngines:
    processes = Processes()
    whole_weights = True

    def __init__(self, device: str, autocast: bool) -> None:
        self.home = device
        self.device, self.autocast = torch.device(device).type, autocast

    def run(self, work: Callable[[], T]) -> T:
        with torch.autocast(self.device, dtype=torch.bfloat16, enabled=self.autocast):
            return work()

    def loaded(self, folder: Path) -> Decoder:
        return load_decoder(folder, self.home)

    def trained(
        self, module: nn.Module, learning_rate: float, weight_decay: float, clip: float, full_precision: bool = False
    ) -> LocalEngine:
        return LocalEngine(module, learning_rate, weight_decay, clip, self.run)

    def frozen(self, module: nn.Module) -> Run[Any]:
        return self.run
