"""What value heads learn, by hand."""

from __future__ import annotations

import math

import pytest
import torch

from hiper.learning.critic import ValueHeads
from hiper.learning.value_losses import HlGauss, Squared


def test_value_clip_takes_the_larger_error() -> None:
    """value 1.0, old 0.0, clip 0.5, target 1.2: plain (0.2)² = 0.04, clipped (0.5 − 1.2)² = 0.49."""
    loss = Squared(0.5).loss(torch.tensor([[1.0]]), torch.tensor([0.0]), torch.tensor([1.2]))
    assert float(loss) == pytest.approx(0.49)


def test_hl_gauss_by_hand() -> None:
    """Three bins from 0 to 3, σ = 1 width, target 1.5: edges lie at −1.5, −0.5, 0.5 and 1.5 deviations, so the middle
    bin has (0.6915 − 0.3085) / (0.9332 − 0.0668) = 0.4420 and each other 0.2790. Equal outputs are 1/3 each: the loss
    is ln 3, the value the middle, 1.5."""
    kind = HlGauss(3, 0.0, 3.0, 1.0)
    expected = [0.2790, 0.4420, 0.2790]
    (found,) = kind.probabilities(torch.tensor([1.5])).tolist()
    assert found == pytest.approx(expected, abs=1e-4)
    output = torch.zeros(1, 3)
    assert float(kind.value(output)) == pytest.approx(1.5)
    assert float(kind.loss(output, torch.zeros(1), torch.tensor([1.5]))) == pytest.approx(math.log(3.0))
    # softmax(ln 1, ln 2, ln 1) = ¼, ½, ¼; loss = −2 · 0.2790 ln ¼ − 0.4420 ln ½ = 0.7735 + 0.3064
    unequal = torch.tensor([[0.0, math.log(2.0), 0.0]])
    assert float(kind.loss(unequal, torch.zeros(1), torch.tensor([1.5]))) == pytest.approx(1.0799, abs=1e-3)
    # softmax(0, 0, ln 2) = ¼, ¼, ½ at 0.5, 1.5, 2.5: 0.125 + 0.375 + 1.25
    assert float(kind.value(torch.tensor([[0.0, 0.0, math.log(2.0)]]))) == pytest.approx(1.75)


def test_a_target_at_an_end_is_half_a_normal_distribution() -> None:
    """And one beyond it is the same: y = 0 and −7 with σ = 1 width have (0.8413 − ½) / (0.9987 − ½) = 0.6845 in the
    first of three bins."""
    kind = HlGauss(3, 0.0, 3.0, 1.0)
    at, beyond = kind.probabilities(torch.tensor([0.0, -7.0]))
    assert (
        torch.equal(at, beyond)
        and float(at[0]) == pytest.approx(0.6845, abs=1e-4)
        and float(at.sum()) == pytest.approx(1.0)
    )


def test_the_best_outputs_have_the_target_as_their_value() -> None:
    """Away from the ends the expectation of the target's distribution is the target, wherever in its bin it lies, and
    the loss is least there: its gradient is softmax(output) − p."""
    kind = HlGauss(51, -10.0, 10.0, 0.75)
    target = torch.tensor([-3.21, 0.0, 0.17, 6.5])
    best = kind.probabilities(target).clamp(min=1e-30).log()
    assert kind.value(best).tolist() == pytest.approx(target.tolist(), abs=2e-3)
    output = torch.zeros(4, 51, requires_grad=True)
    (gradient,) = torch.autograd.grad(kind.loss(output, torch.zeros(4), target), output)
    assert torch.allclose(gradient, 1 / 51 - kind.probabilities(target), atol=1e-6)


@pytest.mark.parametrize("width", [0, 8])
def test_heads_put_out_what_the_loss_wants(width: int) -> None:
    """One number or one for each bin; values are scalars of either, and start near 0 or the middle of the bins."""
    hidden = torch.randn(5, 16, generator=torch.Generator().manual_seed(0))
    for loss, start in ((Squared(0.5), 0.0), (HlGauss(7, 1.0, 3.0, 0.75), 2.0)):
        heads = ValueHeads(16, ["a", "b"], width, loss)
        heads.initialize(torch.Generator().manual_seed(1))
        assert heads.output("a", hidden).shape == (5, loss.outputs) and heads.value("a", hidden).shape == (5,)
        assert heads.value("b", hidden).tolist() == pytest.approx([start] * 5, abs=0.3)
