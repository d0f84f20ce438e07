"""Which algorithms a report sets against each other."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pandas as pd

from hiper.compose import available
from hiper.report.measures import comparisons
from hiper.report.study import Run, Study
from hiper.runs.labels import ALGORITHM_LABELS, WARM_START

ROOT = Path(__file__).resolve().parent.parent.parent


def _run(algorithm: str, formula: str) -> Run:
    settings = {"algorithm": {"name": formula}}
    return Run(f"b-m-{algorithm}-seed0", "b", "m", algorithm, 0, settings)


def test_every_variant_with_a_hierarchy_meets_every_flat_algorithm() -> None:
    """After each has met the warm start; then variants meet HiPER, and flat algorithms GRPO and PPO, each pair once."""
    names = {WARM_START: "hiper", "gigpo": "gigpo", "hiper": "hiper", "hiper_no_norm": "hiper", "ppo": "ppo"}
    names |= {"hiper_potentials": "hiper_potentials", "grpo": "grpo"}
    study = Study("b", "m", tuple(_run(*item) for item in names.items()), pd.DataFrame(), pd.DataFrame())
    assert comparisons(study) == [
        *((name, WARM_START) for name in ("gigpo", "hiper", "hiper_no_norm", "ppo", "hiper_potentials", "grpo")),
        *product(("hiper", "hiper_no_norm", "hiper_potentials"), ("gigpo", "ppo", "grpo")),
        *(("hiper_no_norm", "hiper"), ("hiper_potentials", "hiper")),
        *(("gigpo", "grpo"), ("ppo", "grpo"), ("gigpo", "ppo")),
    ]


def test_every_algorithm_file_has_a_label() -> None:
    """A table names methods as papers do; labels differ."""
    assert {*available("algorithm", ROOT), WARM_START} == ALGORITHM_LABELS.keys()
    assert len(set(ALGORITHM_LABELS.values())) == len(ALGORITHM_LABELS)
