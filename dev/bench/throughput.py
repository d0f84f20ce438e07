"""A mini-batch in tokens and operations, counted: what the times measured for it say of the machine and the model."""

from __future__ import annotations

from collections.abc import Sequence

from dev.bench.measure import Comparison
from hiper.learning.batches import TurnRow
from hiper.learning.decoder import DecoderShape
from hiper.planning.shapes import ModelShape, embedding_parameters, forward_operations, product_parameters

FORWARD_AND_BACKWARD = 3.0  # in units of a forward pass


def useful_operations(shape: DecoderShape, rows: Sequence[TurnRow]) -> float:
    """Floating-point operations that training on `rows` needs: no padding, logits at response tokens alone."""
    sizes = ModelShape.of(shape)
    lengths = [len(row.tokens) for row in rows]
    parts = (forward_operations(sizes, n, n / 2, len(row.trained)) for n, row in zip(lengths, rows, strict=True))
    return FORWARD_AND_BACKWARD * sum(parts)


def throughput(
    name: str, comparison: Comparison, rows: Sequence[TurnRow], shape: DecoderShape, peak: float | None
) -> str:
    """Tokens per second of every side; with the machine's `peak` rate (operations per second) also its MFU. Both sides
    are credited with the useful work, whatever else they do."""
    tokens, operations = sum(len(row.tokens) for row in rows), useful_operations(shape, rows)
    said = []
    for side in comparison.seconds:
        seconds = comparison.spread(side).median
        reached = "" if peak is None else f" (MFU {100 * operations / seconds / peak:.1f} %)"
        said.append(f"{side} {tokens / seconds:,.0f}{reached}")
    return f"{name}: tokens per second, forward and backward, of {tokens:,}: {', '.join(said)}"


def logits_note(shapes: dict[str, DecoderShape]) -> str:
    """How much of the padded way's products the logits are: what a ratio here says about other models."""
    shares = ", ".join(f"{name} {100 * _logits_share(shape):.0f} %" for name, shape in shapes.items())
    return (
        f"Logits of all positions as a share of the products with weights: {shares}; in Qwen2.5-1.5B, whose body is "
        "large, 15 %, so that there the ratio comes nearer to that of the padding than to the largest here."
    )


def _logits_share(shape: DecoderShape) -> float:
    sizes = ModelShape.of(shape)
    return embedding_parameters(sizes) / (product_parameters(sizes) + embedding_parameters(sizes))
