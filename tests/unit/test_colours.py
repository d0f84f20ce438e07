"""The colours of algorithms."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np

from hiper.report.colours import colour, dash, luminance

OFTEN = ("warmstart", "hiper", "ppo", "grpo", "ppo_turn", "gigpo", "hiper_traced")
# what is seen of linear red, green and blue without one kind of cones: Machado, Oliveira, Fernandes 2009, severity 1
VISION = (
    np.eye(3),
    [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
)


def rgb(name: str) -> tuple[float, float, float]:
    text = colour(name)
    return (int(text[1:3], 16) / 255, int(text[3:5], 16) / 255, int(text[5:7], 16) / 255)


def seen(name: str) -> np.ndarray:
    """In OKLab, `[vision, 3]`."""
    part = np.array(rgb(name))
    linear = np.where(part <= 0.04045, part / 12.92, ((part + 0.055) / 1.055) ** 2.4)
    cones = np.clip(np.array(VISION) @ linear, 0, 1) @ np.array(
        [
            [0.41222147, 0.21190350, 0.08830246],
            [0.53633254, 0.68069955, 0.28171884],
            [0.05144599, 0.10739696, 0.62997870],
        ]
    )
    return np.cbrt(cones) @ np.array(
        [
            [0.21045426, 1.97799850, 0.02590404],
            [0.79361779, -2.42859221, 0.78277177],
            [-0.00407205, 0.45059371, -0.80867577],
        ]
    )


def test_readers_with_any_colour_vision_tell_algorithms_apart() -> None:
    """Those of most comparisons by their colours alone (0.02 can be told apart side by side), any two by colour or
    dash; and each can be seen on white and on the page's dark ground."""
    files = (Path(__file__).parents[2] / "configs" / "algorithm").glob("*.yaml")
    names = ["warmstart", *(path.stem for path in files)]
    assert set(OFTEN) <= set(names)
    for one, other in combinations(names, 2):
        apart = np.linalg.norm(seen(one) - seen(other), axis=-1).min()
        by_dash = not {one, other} <= {*OFTEN} and dash(one) != dash(other)
        assert apart > (0.07 if {one, other} <= {*OFTEN} else 0.04) or by_dash, (one, other)
    for name in (*names, "of_an_installed_package", "another", "x"):
        assert 1.05 / (luminance(rgb(name)) + 0.05) > 1.9 and (luminance(rgb(name)) + 0.05) / 0.06 > 2.5, name


def test_an_algorithm_that_is_not_listed_has_a_colour_by_its_name() -> None:
    """The same in every process and report, and others for other names."""
    assert (colour("of_an_installed_package"), dash("of_an_installed_package")) == ("#b5712d", "dashed")
    assert len({colour(f"variant_{number}") for number in range(20)}) == 20
