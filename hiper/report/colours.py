"""The colour and the dash of an algorithm: by its name alone, so that every figure, page and report has the same.

The algorithms that most comparisons hold have Okabe and Ito's palette, which readers with any colour vision tell apart;
the others were chosen to stay as far from those and from each other as so many colours can under simulated
protanopia, deuteranopia and tritanopia (Machado et al. 2009), and have a dash besides. Each can be seen on white and on
the page's dark ground.
"""

from __future__ import annotations

import colorsys
import hashlib

from hiper.runs.labels import WARM_START

_COLOURS = {
    WARM_START: "#63676d",
    "hiper": "#0072b2",
    "ppo": "#d55e00",
    "grpo": "#009e73",
    "ppo_turn": "#e69f00",
    "gigpo": "#cc79a7",
    "hiper_traced": "#56b4e9",
    "vetta": "#8877ff",
    "rloo": "#885533",
    "hgpo": "#cc22cc",
    "graphhca": "#8811ff",
    "hiper_auto": "#778844",
    "hiper_no_switch": "#ff4488",
    "hiper_paper_switch": "#5599ee",
    "hiper_no_norm": "#bbaa66",
    "hiper_no_keep": "#cc1100",
    "hiper_potentials": "#9988cc",
    "hiper_groups": "#99bbbb",
    "mgrpo": "#cc0099",
    "dvao": "#aa9944",
    "adora": "#006688",
    "grpo_hicra": "#0077dd",
    "grpo_ranks": "#8855ff",
    "grpo_dapo": "#8811dd",
    "grpo_r3": "#ddaa99",
    "grpo_d3s": "#996655",
    "grpo_himac": "#77aacc",
    "archer": "#ee7711",
    "grpo_cispo": "#aa1188",
    "grpo_dispo": "#aa7799",
    "grpo_gbpo": "#88bbdd",
    "grpo_fiberpo": "#bbbb77",
}
_SOLID = 7  # the first so many; the others are dashed, in turn
_DASHES = ("dashed", "dashdot", "dotted")
_LUMINANCES = (0.14, 0.22, 0.32)  # relative: seen on white and on black


def colour(algorithm: str) -> str:
    """`#rrggbb` of an algorithm (a file in `configs/algorithm/`, or the warm start). One that is not listed here has a
    colour that follows from its name."""
    return _COLOURS.get(algorithm) or _of_name(_number(algorithm))


def dash(algorithm: str) -> str:
    """How its lines are drawn, as matplotlib calls it: a second sign beside the colour."""
    known = [*_COLOURS]
    if algorithm in known[:_SOLID]:
        return "solid"
    place = known.index(algorithm) if algorithm in known else _number(algorithm) >> 16
    return _DASHES[place % len(_DASHES)]


def _number(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")


def _of_name(number: int) -> str:
    """A hue of 360, as light as one of _LUMINANCES."""
    hue, wanted = number % 360 / 360, _LUMINANCES[number // 360 % len(_LUMINANCES)]
    low, high = 0.0, 1.0
    for _ in range(12):
        middle = (low + high) / 2
        low, high = (middle, high) if luminance(colorsys.hls_to_rgb(hue, middle, 0.6)) < wanted else (low, middle)
    return "#" + "".join(f"{round(255 * part):02x}" for part in colorsys.hls_to_rgb(hue, low, 0.6))


def luminance(rgb: tuple[float, float, float]) -> float:
    """Relative luminance in [0, 1] of a colour in sRGB (WCAG 2.1)."""
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in rgb)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
