"""What a decoder's layer computes between its matrix products: norms, rotary embeddings, the gate of the MLP.

Each part is a pure function of tensors. torch's compiler makes one kernel of it where eager torch starts one for every
operation, each of which reads and writes all rows (`engine.compile`). Modules are never compiled, so gradients,
recomputed activations, adapters and DeepSpeed's hooks are what they are without it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from hiper.errors import UserError

P = ParamSpec("P")
R = TypeVar("R")

# Kernels of one function: for each precision, with and without gradients, for each width. Beyond that something is
# wrong, and torch ends the run.
MOST_KERNELS = 64
_FUNCTIONS: list[Callable[..., Any]] = []
_compiled: dict[Callable[..., Any], Callable[..., Any]] = {}  # empty: everything is eager


def _fused(function: Callable[P, R]) -> Callable[P, R]:
    """The function, compiled where this process compiles. Its tensors of several dimensions have one row per token,
    of which there may be any number; a single row is computed eagerly, because it would have kernels of its own."""
    _FUNCTIONS.append(function)

    @wraps(function)
    def called(*arguments: P.args, **named: P.kwargs) -> R:
        made = _compiled.get(function)
        tensors = [one for one in arguments if isinstance(one, Tensor) and one.dim() > 1] if made else []
        if made is None or len(tensors[0]) < 2:
            return function(*arguments, **named)
        for tensor in tensors:
            torch._dynamo.maybe_mark_dynamic(tensor, 0)
        result: R = made(*arguments, **named)
        return result

    return called


@_fused
def rms_norm(x: Tensor, weight: Tensor, epsilon: float | None) -> Tensor:
    """x [tokens, …, size], weight [size]."""
    return F.rms_norm(x, weight.shape, weight, epsilon)


@_fused
def add_and_norm(x: Tensor, update: Tensor, weight: Tensor, epsilon: float | None) -> tuple[Tensor, Tensor]:
    """The sum of both, which is the residual stream from here on, and its norm; all [tokens, size]."""
    total = x + update
    return total, F.rms_norm(total, weight.shape, weight, epsilon)


@_fused
def rotate(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Rotary embedding of x [tokens, heads, size], computed in float32, in the precision of `x`; the angles' cosines
    and sines are [tokens, 1, size / 2]."""
    half = x.shape[-1] // 2
    first, second = x[..., :half], x[..., half:]
    return torch.cat((first * cosine - second * sine, second * cosine + first * sine), dim=-1).to(x.dtype)


@_fused
def gated(gate: Tensor, up: Tensor) -> Tensor:
    """SwiGLU: what the MLP's output matrix gets of its two inner products [tokens, intermediate]."""
    return F.silu(gate) * up


def compile_functions(device: str, repeatable: bool) -> None:
    """Compile them in this process from now on, each when it is first needed; `repeatable`: without choosing kernels by
    their speed. UserError where the compiler does not work here, found by a try of the smallest of them."""
    options = {
        # within this process: a pool of compiling processes would be hit by the signals that a cluster sends to a job
        "compile_threads": 1,
        "deterministic": repeatable,
    }
    made = {
        function: torch.compile(function, fullgraph=True, recompile_limit=MOST_KERNELS, options=dict(options))
        for function in _FUNCTIONS
    }
    compute_eagerly()
    tried = made[gated.__wrapped__]  # type: ignore[attr-defined]
    try:
        tried(*torch.ones(2, 2, 8, device=device))
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(
            f"engine.compile: torch cannot compile on this machine ({reason}); it needs a C++ compiler and, for "
            "GPUs, Python's headers (on Debian and Ubuntu: apt install g++ python3-dev), or set engine.compile to false"
        ) from error
    _compiled.update(made)


def compute_eagerly() -> None:
    """The opposite of `compile_functions`, and how a process begins."""
    _compiled.clear()
