"""Sampler and trainer that differ: what is measured, what the update gets, by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from hiper.errors import UserError
from hiper.learning.batches import TurnRow
from hiper.learning.mismatch import corrected_rows, mismatch_metrics, require_agreement


def row(probabilities: list[float], chosen: list[bool]) -> TurnRow:
    count = len(probabilities)
    return TurnRow(
        tokens=np.arange(2 + count, dtype=np.int32),
        prompt_length=2,
        advantage=np.ones(count, np.float32),
        trained=np.array(chosen),
        chosen=np.array(chosen),
        logprob=np.log(np.array(probabilities, dtype=np.float32)),
        allowed=None,
    )


# the sampler's probabilities; a forced token (1.0) is not chosen and does not count
ROWS = [row([0.5, 1.0, 0.1], [True, False, True]), row([0.25], [True])]
TRAINER = [np.log(np.array([0.5, 1.0, 0.4], np.float32)), np.log(np.array([0.125], np.float32))]


def test_the_metrics_by_hand() -> None:
    """Chosen tokens: trainer 0.5, 0.4, 0.125, sampler 0.5, 0.1, 0.25, so Δ = 0, ln 4, −ln 2."""
    found = mismatch_metrics(ROWS, TRAINER, 2.0)
    assert found["rollout/logprob_difference"] == pytest.approx((0 + math.log(4) + math.log(2)) / 3, rel=1e-5)
    assert found["rollout/logprob_difference_max"] == pytest.approx(math.log(4), rel=1e-5)
    # exp(Δ) − Δ − 1: 0, 4 − ln 4 − 1, 0.5 + ln 2 − 1
    assert found["rollout/divergence"] == pytest.approx((3 - math.log(4) + math.log(2) - 0.5) / 3, rel=1e-5)
    expected = np.corrcoef([0.5, 0.4, 0.125], [0.5, 0.1, 0.25])[0, 1]
    assert found["rollout/probability_correlation"] == pytest.approx(expected, rel=1e-5)
    assert found["rollout/truncated"] == pytest.approx(1 / 3)  # the 4 alone is above 2
    assert "rollout/truncated" not in mismatch_metrics(ROWS, TRAINER, None)


def test_the_update_gets_the_trainers_log_probabilities_and_the_weights() -> None:
    """Old log probabilities become the trainer's; weights 1, 1, 2 (4 truncated) and 0.5; nothing else changes."""
    first, second = corrected_rows(ROWS, TRAINER, 2.0)
    np.testing.assert_array_equal(first.logprob, TRAINER[0])
    assert first.importance is not None and second.importance is not None
    assert first.importance.tolist() == pytest.approx([1.0, 1.0, 2.0])
    assert second.importance.tolist() == pytest.approx([0.5])
    assert first.tokens is ROWS[0].tokens and first.advantage is ROWS[0].advantage
    assert all(corrected.importance is None for corrected in corrected_rows(ROWS, TRAINER, None))


def test_a_sampler_that_plays_another_model_ends_the_run() -> None:
    """Beyond the limit, with the likely causes; at the limit, or without one, nothing happens."""
    found = mismatch_metrics(ROWS, TRAINER, None)
    require_agreement(found, None)
    require_agreement(found, found["rollout/logprob_difference"])
    with pytest.raises(UserError, match=r"0\.693 .*difference_limit allows 0\.2: .*weights.*template.*precision"):
        require_agreement(found, 0.2)


def test_probabilities_that_have_nothing_in_common_have_finite_metrics() -> None:
    """Log probabilities of −0.1 and −2000, either way round: the divergence counts exp(20) at most."""
    one, other = np.full(1, -0.1, np.float32), np.full(1, -2000.0, np.float32)
    for ours, theirs in ((one, other), (other, one)):
        found = mismatch_metrics([replace(ROWS[1], logprob=theirs)], [ours], 2.0)
        assert all(math.isfinite(value) for value in found.values())
        assert found["rollout/logprob_difference_max"] == pytest.approx(1999.9)


def test_nothing_chosen_is_no_mismatch() -> None:
    """Rows of forced tokens alone give zeros and a correlation of 1, not NaN."""
    found = mismatch_metrics([row([1.0], [False])], [np.zeros(1, np.float32)], None)
    assert found == {
        "rollout/logprob_difference": 0.0,
        "rollout/logprob_difference_max": 0.0,
        "rollout/divergence": 0.0,
        "rollout/probability_correlation": 1.0,
    }
