"""How noisy the algorithms' policy gradients are on the same episodes: the files of the stage `gradient_variance`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from hiper.report.table_formats import Table, joined
from hiper.runs.results import Study, describe
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
RECORD_COLUMNS = (
    *("benchmark", "model", "algorithm", "run", "denominator"),
    *(f"{name}{end}" for name in MEASURES for end in ("", "_low", "_high")),
    *("advantage_std", "explained_variance", "batches", "episodes_per_batch", "critic_batches"),
)

Measured = Mapping[str, Any]
"""The content of one file: one policy, several algorithms."""


def variance_table(study: Study) -> Table | None:
    """One row per algorithm, all policies together; None where nothing was measured."""
    files = study.gradients
    if not files:
        return None
    names = list(dict.fromkeys(name for one in files for name in one["algorithms"]))
    reference = REFERENCE if REFERENCE in names else names[0]
    rows = tuple(_row(study, files, name, reference) for name in names)
    title = study.label(reference)
    header = ("Algorithm", "Noise scale", f"Over {title}'s", "Noise scale per turn", "Agreement", f"Cosine to {title}")
    caption = joined(CAPTION.replace("HiPER", title), _shape(files), LIMITS, describe(study))
    return Table(caption, (*header, "Advantages", "Explained", "Policies"), rows)


def variance_records(study: Study) -> list[dict[str, str]]:
    """One record per policy, algorithm and denominator of the loss."""
    records = []
    for one in study.gradients:
        for name in one["algorithms"]:
            found, shape = one["estimators"][name], one["variance"]
            for denominator in ("per_token", "per_turn"):
                record = {"benchmark": study.benchmark, "model": study.model, "algorithm": name, "run": one["run"]}
                record |= {"denominator": denominator.removeprefix("per_")}
                for measure in MEASURES:
                    for end, key in (("", "value"), ("_low", "low"), ("_high", "high")):
                        record[f"{measure}{end}"] = _csv(found[denominator][measure][key])
                heads = found["explained_variance"]
                record["explained_variance"] = " ".join(f"{head}:{_csv(heads[head])}" for head in sorted(heads))
                record |= {"advantage_std": _csv(found["advantage_std"]), "batches": str(shape["batches"])}
                record["episodes_per_batch"] = str(shape["tasks"] * shape["group_size"])
                record["critic_batches"] = str(shape["critic_batches"])
                records.append(record)
    return records


def _row(study: Study, files: Sequence[Measured], name: str, reference: str) -> tuple[str, ...]:
    having = [one for one in files if name in one["algorithms"]]
    paired = [one for one in having if reference in one["algorithms"]]
    of = [one["estimators"][name] for one in having]
    ratio = "1" if name == reference else _shown(_ratio(paired, name, reference))
    cosines = [one["alignment"][name][reference] for one in paired if name != reference]
    heads = [value for found in of for value in found["explained_variance"].values()]
    return (
        study.label(name),
        _shown(noise_scale([_left(found["per_token"]) for found in of])),
        ratio,
        _shown(noise_scale([_left(found["per_turn"]) for found in of])),
        _mean([found["per_token"]["agreement"]["value"] for found in of]),
        "1" if name == reference else _mean(cosines),
        _mean([found["advantage_std"] for found in of]),
        _mean(heads),
        str(len(having)),
    )


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


def _shown(found: Estimate) -> str:
    if math.isnan(found.value):
        return "–"
    bounds = "" if math.isnan(found.low) else f" [{_short(found.low)}, {_short(found.high)}]"
    return f"{_short(found.value)}{bounds}"


def _short(value: float) -> str:
    return "∞" if math.isinf(value) else f"{value:.3g}"


def _mean(values: Sequence[float | None]) -> str:
    mean, _ = mean_and_spread([value for value in values if value is not None])
    return "–" if math.isnan(mean) else f"{round(mean, 2) + 0.0:.2f}".replace("-", "−")


def _csv(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"
