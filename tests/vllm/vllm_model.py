"""The model that the tests of the vLLM backend make."""

from __future__ import annotations

from typing import Any

# The CPU's attention takes heads of 32, 64, … only; the long prompts of style `full` need room.
SIZES: dict[str, Any] = {"model__scratch__hidden": 64, "model__scratch__heads": 2, "prompt__max_tokens": 1200}
