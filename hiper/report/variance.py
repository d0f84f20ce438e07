"""How noisy the algorithms' policy gradients are on the same episodes: the files of the stage `gradient_variance`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from hiper.report.study import Study
from hiper.report.table import Column, Table, joined, two_digits
from hiper.stages.gradient_noise import Estimate, Left, noise_ratio, noise_scale
from hiper.statistics import mean_and_spread

REFERENCE = "hiper"  # what the others are compared with; the first algorithm where it was not measured
NONE = "Gradient variance was not measured (variance.batches is 0)."
CAPTION = (
    "Noise scale: variance of the policy gradient over batches (trace of its covariance), divided by the squared norm "
    "of its expectation, both unbiased: how many such batches hold as much signal as noise, whatever the scale of the "
    "advantages. Small is good. Over HiPER's: above 1 the estimator is noisier than HiPER's. Agreement: cosine between "
    "the mean gradients of two halves of the batches. Cosine: between the expected gradients of the estimator and of "
    "HiPER. Advantages: their standard deviation. Explained: share of the variance of Monte-Carlo returns that the "
    "value heads explain. Brackets: 95 % jackknife intervals over batches, for these policies alone; ∞: the signal "
    "may be none."
)
LIMITS = (
    "Not measured: noise along training, where policies and value heads are others, and whether an expected gradient "
    "is right. Little noise may come with bias: where a cosine is not 1 the two estimators do not climb the same hill "
    "(other discounts, penalties, normalisation, or values that are wrong)."
)
MEASURES = ("variance", "signal", "scale", "agreement")
ENDS = {"": "value", "_low": "low", "_high": "high"}
COUNTS = ("batches", "episodes_per_batch", "critic_batches")

Measured = Mapping[str, Any]
"""The content of one file: one policy, several algorithms."""


def variance_table(study: Study) -> Table:
    """One row per algorithm, all policies together; one record per policy, algorithm and denominator of the loss."""
    files = study.gradients
    names = list(dict.fromkeys(name for one in files for name in one["algorithms"]))
    reference = REFERENCE if REFERENCE in names or not names else names[0]
    rows = pd.DataFrame([_pooled(study, files, name, reference) for name in names])
    title = study.label(reference)
    measures = tuple(f"{name}{end}" for name in MEASURES for end in ENDS)
    columns = [
        Column("Algorithm", ("label",), files=("benchmark", "model", "algorithm", "run", "denominator")),
        Column("Noise scale", _ends("scale"), _estimate, files=measures, digits=".6g"),
        Column(f"Over {title}'s", _ends("ratio"), _estimate, files=()),
        Column("Noise scale per turn", _ends("turn_scale"), _estimate, files=()),
        Column("Agreement", ("agreement",), two_digits, files=()),
        Column(f"Cosine to {title}", ("reference", "cosine"), _cosine, files=()),
        Column("Advantages", ("advantages",), two_digits, files=("advantage_std",), digits=".6g"),
        Column("Explained", ("explained",), two_digits, files=("explained_variance",)),
        Column("Policies", ("policies",), files=COUNTS),
    ]
    caption = joined(CAPTION.replace("HiPER", title), _shape(files), LIMITS)
    return Table(columns, rows, pd.DataFrame(_records(study)), caption, study.setup)


def _records(study: Study) -> Iterator[dict[str, Any]]:
    for one in study.gradients:
        shape = one["variance"]
        counts = (shape["batches"], shape["tasks"] * shape["group_size"], shape["critic_batches"])
        for name in one["algorithms"]:
            found = one["estimators"][name]
            heads = found["explained_variance"]
            for denominator in ("token", "turn"):
                measured = found[f"per_{denominator}"]
                yield {
                    **study.identity(name),
                    "run": one["run"],
                    "denominator": denominator,
                    **{f"{key}{end}": measured[key][ENDS[end]] for key in MEASURES for end in ENDS},
                    "advantage_std": found["advantage_std"],
                    "explained_variance": " ".join(f"{head}:{_six_digits(heads[head])}" for head in sorted(heads)),
                    **dict(zip(COUNTS, counts, strict=True)),
                }


def _pooled(study: Study, files: Sequence[Measured], name: str, reference: str) -> dict[str, Any]:
    having = [one for one in files if name in one["algorithms"]]
    paired = [one for one in having if reference in one["algorithms"]]
    of = [one["estimators"][name] for one in having]
    ratio = Estimate(1.0, math.nan, math.nan) if name == reference else _ratio(paired, name, reference)
    cosines = [one["alignment"][name][reference] for one in paired if name != reference]
    return {
        "label": study.label(name),
        **_columns("scale", noise_scale([_left(found["per_token"]) for found in of])),
        **_columns("ratio", ratio),
        **_columns("turn_scale", noise_scale([_left(found["per_turn"]) for found in of])),
        "agreement": _mean([found["per_token"]["agreement"]["value"] for found in of]),
        "reference": name == reference,
        "cosine": _mean(cosines),
        "advantages": _mean([found["advantage_std"] for found in of]),
        "explained": _mean([value for found in of for value in found["explained_variance"].values()]),
        "policies": len(having),
    }


def _ratio(files: Sequence[Measured], name: str, reference: str) -> Estimate:
    ours, theirs = ([_left(one["estimators"][key]["per_token"]) for one in files] for key in (name, reference))
    return noise_ratio(ours, theirs) if files else Estimate(math.nan, math.nan, math.nan)


def _left(found: Mapping[str, Any]) -> Left:
    values = [found["precision"]["value"], *found["precision"]["without"]]
    first, *without = (math.nan if value is None else float(value) for value in values)
    return Left(first, tuple(without))


def _shape(files: Sequence[Measured]) -> str:
    """What was played, in a sentence; each different measurement once."""
    shapes = []
    for one in files:
        shape = one["variance"]
        shapes.append(
            f"{shape['batches']} batches of {shape['tasks']} tasks × {shape['group_size']} episodes each, the same for "
            f"all algorithms, after {shape['critic_batches']} batches for the value heads"
        )
    return f"Played: {'; '.join(dict.fromkeys(shapes))}; by {', '.join(one['run'] for one in files)}."


def _ends(name: str) -> tuple[str, ...]:
    return tuple(f"{name}{end}" for end in ENDS)


def _columns(name: str, found: Estimate) -> dict[str, float]:
    return dict(zip(_ends(name), (found.value, found.low, found.high), strict=True))


def _estimate(value: float, low: float, high: float) -> str:
    if math.isnan(value):
        return "–"
    bounds = "" if math.isnan(low) else f" [{_short(low)}, {_short(high)}]"
    return f"{_short(value)}{bounds}"


def _cosine(reference: bool, value: float) -> str:
    return "1" if reference else two_digits(value)


def _short(value: float) -> str:
    return "∞" if math.isinf(value) else f"{value:.3g}"


def _mean(values: Sequence[float | None]) -> float:
    return mean_and_spread([value for value in values if value is not None])[0]


def _six_digits(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"
