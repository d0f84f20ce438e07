"""What samples a model, by the name that a run's settings give it (`rollout.backend`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from hiper.config import RunSettings
from hiper.policies.backend import Backend
from hiper.policies.local_backend import LocalBackend
from hiper.policies.vllm_backend import VllmBackend

BACKENDS: Mapping[str, Callable[[RunSettings, str], Backend]] = {"local": LocalBackend, "vllm": VllmBackend}


def make_backend(settings: RunSettings, device: str) -> Backend:
    """The backend that the settings name; `device` is what trains."""
    return BACKENDS[settings.rollout.backend](settings, device)
