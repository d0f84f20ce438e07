"""The engine `deepspeed`: weights, gradients and optimiser states sharded over processes (ZeRO 1, 2 and 3).

With engine.dtype bfloat16 the weights that the layers use are bfloat16, and the optimiser updates float32 masters. The
optimiser is torch's AdamW, as in the engine `local`. DeepSpeed is imported here alone, and only when it is chosen.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from hiper.config import Engine
from hiper.errors import UserError
from hiper.learning.decoder import Decoder
from hiper.learning.folders import load_decoder
from hiper.learning.local_engine import LocalEngine, LocalEngines
from hiper.learning.lora import merged_weights, trainable
from hiper.learning.processes import Processes
from hiper.learning.training_engine import MOMENTS, Run, TrainingEngine

T = TypeVar("T")

WEIGHTS_SHARDED = 3  # the ZeRO stage


class _Scope(nn.Module):
    """DeepSpeed gathers and frees weights around its module's forward pass; this one's is whatever it is given."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, work: Callable[[], T]) -> T:
        return work()


class ShardedEngine:
    """A flat part of all masters takes one step as a whole: a parameter that a mini-batch says nothing about (a value
    head without a target in it) moves on by its momentum, where plain torch leaves it alone."""

    every_parameter = True

    def __init__(self, engine: Any, module: nn.Module, processes: Processes) -> None:
        self.engine, self.module, self.processes = engine, module, processes
        self.named = trainable(module)
        self.pending = False  # gradients that no step has used yet

    def run(self, work: Callable[[], T]) -> T:
        result: T = self.engine(work)
        return result

    def zero_grad(self) -> None:
        """DeepSpeed's step leaves none."""

    def backward(self, loss: Tensor) -> None:
        # DeepSpeed takes the mean over processes
        self.engine.backward(loss * self.processes.size)
        self.pending = True

    def step(self) -> float:
        if not self.pending:
            return 0.0
        self.pending = False
        self.engine.step()
        return float(self.engine.get_global_grad_norm())

    def set_learning_rate(self, rate: float) -> None:
        for group in self.engine.optimizer.param_groups:
            group["lr"] = rate

    def weights(self) -> Iterator[tuple[str, Tensor]]:
        return merged_weights(self.module, self._whole)

    def _whole(self, parameter: Any) -> Tensor:
        """A trained parameter's master; a frozen one as it is, which has none."""
        from deepspeed.runtime.zero import GatheredParameters
        from deepspeed.utils import safe_get_full_fp32_param

        if parameter.requires_grad:
            master: Tensor = safe_get_full_fp32_param(parameter).detach()
            return master
        with GatheredParameters([parameter]):
            return torch.clone(parameter.detach())

    def state(self) -> dict[str, Any]:
        steps = [float(kept["step"]) for kept in self._optimizer.state.values() if "step" in kept]
        moved = self.named if steps else []
        return {
            "shapes": {name: list(getattr(parameter, "ds_shape", parameter.shape)) for name, parameter in self.named},
            "weights": {name: self._part(parameter) for name, parameter in self.named},
            "step": {name: max(steps) for name, _ in moved},
            **{key: {name: self._part(parameter, key) for name, parameter in moved} for key in MOMENTS},
        }

    def _part(self, parameter: Any, moment: str | None = None) -> Tensor:
        """What this process has of a parameter's master, or of a moment: flat, and where it lies in the host's memory
        not a copy."""
        if hasattr(parameter, "ds_id"):
            part, _ = self.engine.optimizer._get_fp32_opt_state_partition(parameter, True, moment)
        elif parameter._hp_mapping is None:
            part = torch.zeros(0)
        else:
            part = parameter._hp_mapping.get_hp_fragment(moment)
        kept: Tensor = part.detach().cpu()
        return kept

    def load(self, state: dict[str, Any]) -> None:
        if state["step"]:
            self._begin_optimizer(max(state["step"].values()))
        for name, parameter in self.named:
            weight = state["weights"][name]  # is put together when it is asked for
            self._set(parameter, weight)
            self._show(parameter, weight)
            for key in MOMENTS:
                if name in state[key]:
                    self._set(parameter, state[key][name], key)

    @property
    def _optimizer(self) -> torch.optim.Optimizer:
        """The torch optimiser below DeepSpeed's, whose parameters are flat parts of all masters."""
        optimizer: torch.optim.Optimizer = self.engine.optimizer.optimizer
        return optimizer

    def _begin_optimizer(self, step: float) -> None:
        """Give the optimiser the state that its first step would make, so that there is something to load into."""
        outer = self.engine.optimizer
        flats = getattr(outer, "fp32_partitioned_groups_flat", None)  # ZeRO 3 lends them to the optimiser one by one
        if flats is None:
            flats = [flat for group in self._optimizer.param_groups for flat in group["params"]]
        for flat in flats:
            moments = {key: torch.zeros_like(flat) for key in MOMENTS}
            self._optimizer.state[flat] = {"step": torch.tensor(step), **moments}
        if hasattr(outer, "_lazy_init_hp_params_optimizer_state"):
            outer._lazy_init_hp_params_optimizer_state()  # so that parameters find their parts of the moments

    def _set(self, parameter: Any, whole: Tensor, moment: str | None = None) -> None:
        """Write this process's part of a parameter's master, or of a moment."""
        import deepspeed.utils as tools

        if hasattr(parameter, "ds_id"):
            flat = nn.functional.pad(whole.flatten(), (0, parameter.ds_tensor.numel() * self.processes.size))
            part = flat.narrow(0, parameter.ds_tensor.numel() * self.processes.rank, parameter.ds_tensor.numel())
            if moment is None:
                tools.safe_set_local_fp32_param(parameter, part)
            else:
                tools.safe_set_local_optimizer_state(parameter, part, moment)
        elif moment is None:
            tools.safe_set_full_fp32_param(parameter, whole)
        else:
            tools.safe_set_full_optimizer_state(parameter, whole, moment)

    def _show(self, parameter: Any, whole: Tensor) -> None:
        """Let the layers use these weights."""
        from deepspeed.runtime.zero import GatheredParameters

        with torch.no_grad(), GatheredParameters([parameter], modifier_rank=0):
            if self.processes.first or not hasattr(parameter, "ds_id"):
                parameter.copy_(whole)


class ShardedEngines:
    def __init__(self, settings: Engine, processes: Processes) -> None:
        self.whole_weights = settings.zero_stage < WEIGHTS_SHARDED
        self.settings, self.processes, self.home = settings, processes, settings.device
        self.dtype = torch.bfloat16 if settings.dtype == "bfloat16" else torch.float32
        self.deepspeed = _imported(settings.device)

    def loaded(self, folder: Path) -> Decoder:
        return load_decoder(folder, self.home, self.dtype, None if self.whole_weights else self._share)

    def _share(self, parameter: nn.Parameter) -> None:
        """Keep this process's part of a parameter. DeepSpeed would do that itself when it takes the model over, but by
        then every process would hold all of it."""
        self.deepspeed.zero.Init(module=nn.ParameterList([parameter]), dtype=self.dtype)

    def trained(
        self, module: nn.Module, learning_rate: float, weight_decay: float, clip: float, full_precision: bool = False
    ) -> TrainingEngine:
        parameters = [parameter for _, parameter in trainable(module)]
        if not parameters:  # an algorithm without value heads
            local = LocalEngines(self.settings.device, autocast=False)
            return LocalEngine(module, learning_rate, weight_decay, clip, local.run)
        # in the host's memory one pass over all arrays takes a quarter of the time of many
        kind = {"fused": True} if self.settings.offload_optimizer else {"foreach": True}
        optimizer = torch.optim.AdamW(parameters, lr=learning_rate, weight_decay=weight_decay, **kind)
        half = self.dtype == torch.bfloat16 and not full_precision
        if half:  # where some weights are sharded already, DeepSpeed expects the precision of all to be right
            for parameter in module.parameters():
                parameter.data = parameter.data.bfloat16()
        engine, *_ = self.deepspeed.initialize(
            model=_Scope(module), optimizer=optimizer, config=self._configuration(module, half, clip)
        )
        return ShardedEngine(engine, module, self.processes)

    def frozen(self, module: nn.Module) -> Run[Any]:
        if self.whole_weights:
            module.to(self.settings.device, self.dtype)
            return lambda work: work()
        half = self.dtype == torch.bfloat16
        engine, *_ = self.deepspeed.initialize(model=_Scope(module), config=self._configuration(module, half, 0.0))
        run: Run[Any] = engine
        return run

    def _configuration(self, module: nn.Module, half: bool, clip: float) -> dict[str, Any]:
        settings, accelerated = self.settings, self.settings.device == "cuda"
        zero: dict[str, Any] = {
            "stage": settings.zero_stage,
            "overlap_comm": accelerated and settings.zero_stage > 1,
            # biases and norms stay whole; every matrix is sharded
            "stage3_param_persistence_threshold": max(_width(p) for p in module.parameters()),
        }
        if settings.offload_optimizer:
            zero["offload_optimizer"] = {"device": "cpu", "pin_memory": accelerated}
        return {
            "train_micro_batch_size_per_gpu": 1,  # asked for, not used: losses are divided by counts of our own
            "managed_gradient_accumulation": False,  # a step has as many micro-batches as its tokens make
            "gradient_clipping": clip,
            "bf16": {"enabled": half},
            "data_types": {"grad_accum_dtype": "fp32"},
            "zero_optimization": zero,
            "zero_force_ds_cpu_optimizer": False,  # torch's AdamW runs everywhere; DeepSpeed's is compiled on the spot
        }


def _width(parameter: Any) -> int:
    """Of what it is whole, which its own shape does not say once it is sharded."""
    width: int = getattr(parameter, "ds_shape", parameter.shape)[-1]
    return width


def _imported(device: str) -> Any:
    """The library, quiet; importing it takes seconds."""
    os.environ.setdefault("DS_ACCELERATOR", device)
    try:
        import deepspeed
    except ImportError as error:
        raise UserError(
            f"engine.name=deepspeed: the package is not installed here ({error}); install it with "
            "`pip install -c envs/constraints.txt deepspeed`, or choose engine local"
        ) from None
    deepspeed.utils.logger.setLevel(logging.WARNING)
    # for processes on CPUs it would compile its own sum, for a minute, which nothing but its inference calls
    deepspeed.ops.__compatible_ops__ = {}
    return deepspeed
