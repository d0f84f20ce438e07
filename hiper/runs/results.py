"""What tables, figures and pages call algorithms and task types."""

from __future__ import annotations

DEFAULT_EXPERIMENT = "demo"  # what `snakemake` and `make mlflow` take where none is named
WARM_START = "warmstart"
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
}
TASK_LABELS = {
    "pick_and_place_simple": "Pick",
    "look_at_obj_in_light": "Look",
    "pick_clean_then_place_in_recep": "Clean",
    "pick_heat_then_place_in_recep": "Heat",
    "pick_cool_then_place_in_recep": "Cool",
    "pick_two_obj_and_place": "Pick2",
    **{category: category.capitalize() for category in ("beauty", "electronics", "fashion", "garden", "grocery")},
}
ZERO_SHOT = "Base model (zero-shot)"  # a warm start without training


def label(algorithm: str) -> str:
    """Of a trained algorithm; `Study.label` knows warm starts, too."""
    return ALGORITHM_LABELS.get(algorithm, algorithm)


def task_label(task_type: str) -> str:
    return TASK_LABELS.get(task_type, task_type)
