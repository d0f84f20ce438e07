"""BabyAI: missions in a grid world that is seen in part, told in words. Levels and expert are those of `minigrid`."""

import os

os.environ.setdefault(
    "PYGAME_HIDE_SUPPORT_PROMPT", "1"
)  # minigrid imports pygame to draw, which would print a greeting
