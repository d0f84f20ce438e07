"""What tables, figures and pages call algorithms and task types."""

from __future__ import annotations

from collections.abc import Mapping

from hiper.benchmarks.record import record_of
from hiper.compose import WARM_START as WARM_START
from hiper.plugins import ENVIRONMENTS, known

DEFAULT_EXPERIMENT = "demo"  # what `snakemake` and `make mlflow` take where none is named
ALGORITHM_LABELS = {
    WARM_START: "Warm start (SFT)",
    "hiper": "HiPER",
    "hiper_traced": "HiPER, traced",
    "hiper_auto": "HiPER, traced by explained variance",
    "hiper_no_switch": "HiPER, no switch head",
    "hiper_paper_switch": "HiPER, paper's switch advantage",
    "hiper_no_norm": "HiPER, not normalised",
    "hiper_no_keep": "HiPER, no keep penalty",
    "hiper_potentials": "HiPER, potentials",
    "ppo": "PPO",
    "ppo_turn": "PPO (turn-level)",
    "vetta": "VETTA",
    "rloo": "RLOO",
    "grpo": "GRPO",
    "gigpo": "GiGPO",
    "hgpo": "HGPO",
    "graphhca": "GraphHCA",
    "grpo_hicra": "HICRA",
    "grpo_ranks": "GRPO, by rank",
    "adora": "ADORA",
    "dvao": "DVAO",
    "mgrpo": "M-GRPO",
    "grpo_dapo": "DAPO's sampling",
    "grpo_r3": "R³'s replay",
    "grpo_d3s": "D³S's choice",
    "grpo_himac": "HiMAC",
    "grpo_cispo": "CISPO's loss",
    "grpo_dispo": "DISPO's loss",
    "grpo_gbpo": "GBPO's loss",
    "grpo_fiberpo": "FiberPO's loss",
    "archer": "ArCHer",
    "hiper_groups": "HiPER, without a critic",
}
ZERO_SHOT = "Base model (zero-shot)"  # a warm start without training


def label(algorithm: str) -> str:
    """Of a trained algorithm; `Study.label` knows warm starts, too."""
    return ALGORITHM_LABELS.get(algorithm, algorithm)


def task_labels(benchmark: str | None) -> Mapping[str, str]:
    """Of the task types of a benchmark, in the order of tables; none for one that is not installed any more."""
    return record_of(benchmark).labels if benchmark in known(ENVIRONMENTS) else {}


def task_label(benchmark: str | None, task_type: str) -> str:
    return task_labels(benchmark).get(task_type, task_type)
