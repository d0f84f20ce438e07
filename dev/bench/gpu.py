"""Evidence for a card: the train step and the rollout of a model as large as the paper's, with random weights.

The same two comparisons as `python -m dev.bench train` and `… rollout`, in one run: bfloat16, packed rows with logits
at response tokens against padded batches with full logits, and `LocalPolicy` against `generate`. On a GPU each side's
peak memory beyond the weights is measured too, and for a card whose peak rate is known (or given) the MFU. The train
step is timed with `engine.compile` as well, which is on by itself on GPUs.
"""

from __future__ import annotations

import gc
from pathlib import Path

import torch

from dev.bench import rollout, train
from dev.bench.measure import Budget, Result
from dev.bench.models import Machine


def measure(
    budget: Budget,
    *,
    machine: Machine,
    shape: str = "1.5b",
    turns: int = 32,
    batch: int = 64,
    prompt: float = 780.0,
    peak: float | None = None,
    compiles: bool = False,
    seed: int = 0,
    root: Path = Path(),
    limits: tuple[int, int] = (train.PROMPT_LIMIT, train.RESPONSE_LIMIT),
) -> Result:
    """`turns` in the mini-batch, `batch` prompts at once; `peak`: the device's operations per second, where the table
    does not have it. There are no targets: figures of one card say nothing about another."""
    half = Budget(budget.rounds, budget.seconds / 2)
    trained = train.measure(
        half,
        machine=machine,
        shapes=[shape],
        turns=turns,
        prompt=prompt,
        seed=seed,
        root=root,
        limits=limits,
        peak=peak,
        compiles=compiles,
    )
    machine.prepare()
    _free(machine)
    played = rollout.measure(half, machine=machine, shape=shape, batch=batch, turns=2, seed=seed, root=root)
    return Result(
        "gpu",
        {"card": machine.card or "none", **trained.settings, **played.settings},
        [*trained.checks, *played.checks],
        [*trained.comparisons, *played.comparisons],
        notes=trained.notes,
    )


def _free(machine: Machine) -> None:
    """Give the training's two models back before two others are made."""
    gc.collect()
    if machine.device == "cuda":
        torch.cuda.empty_cache()
