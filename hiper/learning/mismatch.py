"""When sampler and trainer are two programs: how far their log probabilities of the same tokens lie apart, and the
correction for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch

from hiper.errors import UserError
from hiper.learning.batches import TurnRow
from hiper.learning.losses import LARGEST_LOG_RATIO, truncated_importance

Logprobs = npt.NDArray[np.float32]


def corrected_rows(rows: Sequence[TurnRow], trainer: Sequence[Logprobs], cap: float | None) -> list[TurnRow]:
    """The rows with the trainer's log probabilities [response] as the old ones, so that PPO's ratio is 1 before the
    first step; with a `cap`, each token weighed by its truncated importance."""
    return [
        replace(row, logprob=ours, importance=None if cap is None else _importance(ours, row.logprob, cap))
        for row, ours in zip(rows, trainer, strict=True)
    ]


def mismatch_metrics(rows: Sequence[TurnRow], trainer: Sequence[Logprobs], cap: float | None) -> dict[str, float]:
    """Over the tokens that the sampler chose: mean and largest |Δ log π|, Δ = trainer − sampler; `divergence`, the k3
    estimate E[exp(Δ) − Δ − 1] of KL(sampler ‖ trainer); the correlation of both probabilities (1 where they do not
    vary); with a `cap`, the share of weights that it truncates. All 0 (correlation 1) where nothing was chosen."""
    ours = np.concatenate([all_[row.chosen] for all_, row in zip(trainer, rows, strict=True)]).astype(np.float64)
    theirs = np.concatenate([row.logprob[row.chosen] for row in rows]).astype(np.float64)
    difference = ours - theirs if len(ours) else np.zeros(1)
    bounded = difference.clip(-LARGEST_LOG_RATIO, LARGEST_LOG_RATIO)
    found = {
        "rollout/logprob_difference": float(np.abs(difference).mean()),
        "rollout/logprob_difference_max": float(np.abs(difference).max()),
        "rollout/divergence": float((np.exp(bounded) - bounded - 1.0).mean()),
        "rollout/probability_correlation": _correlation(np.exp(ours), np.exp(theirs)),
    }
    if cap is not None:
        found["rollout/truncated"] = float((np.exp(bounded) > cap).mean())
    return found


def require_agreement(found: Mapping[str, float], limit: float | None) -> None:
    """UserError where sampler and trainer differ by more than rounding explains, with what to look at; `found` are the
    `mismatch_metrics`."""
    difference = found["rollout/logprob_difference"]
    if limit is None or difference <= limit:
        return
    raise UserError(
        f"the sampler's log probabilities are {difference:.3g} from the trainer's on average, and "
        f"rollout.difference_limit allows {limit:g}: they do not play the same model. The usual causes: the sampler "
        "did not take the new weights (its log says so at VLLM_LOGGING_LEVEL=INFO); it reads the prompt with another "
        "chat template or tokenizer; it computes in another precision than engine.dtype. Where only the precision "
        "differs and that is wanted, raise the limit"
    )


def _importance(trainer: Logprobs, sampler: Logprobs, cap: float) -> Logprobs:
    weights: Logprobs = truncated_importance(torch.as_tensor(trainer), torch.as_tensor(sampler), cap).numpy()
    return weights


def _correlation(one: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> float:
    if len(one) < 2 or one.std() == 0 or other.std() == 0:
        return 1.0
    return float(np.corrcoef(one, other)[0, 1])
