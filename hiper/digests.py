"""Digests of settings: of all of a run's, and of those that one stage reads, as `hiper.config` declares them."""

from __future__ import annotations

from typing import Any

from hiper.config import BenchmarkSettings, RunSettings
from hiper.config.declared import stages_read, without_later
from hiper.declarations import STAGES, Stage
from hiper.records import sha256_json

READ = stages_read(RunSettings)


def config_digest(settings: RunSettings) -> str:
    """SHA-256 of all settings: the configuration hash in manifests."""
    return sha256_json(settings.model_dump(mode="json"))


def stage_digest(settings: RunSettings, stage: Stage) -> str:
    """SHA-256 of the settings that `stage` itself reads; equal digests and equal inputs mean equal outputs."""
    if stage not in STAGES:
        raise ValueError(f"stage {stage!r} is none of {STAGES}")
    values = without_later(RunSettings, settings.model_dump(mode="json"))
    for name in READ.unread:
        section, _, key = name.rpartition(".")
        if isinstance(around := _lookup(values, section), dict):
            around.pop(key, None)
    return _digest(values, stage)


def benchmark_digest(settings: BenchmarkSettings) -> str:
    """SHA-256 of what a data set is made of: `stage_digest(…, "data")` without a run."""
    return _digest({"benchmark": settings.model_dump(mode="json")}, "data")


def _digest(values: dict[str, Any], stage: Stage) -> str:
    return sha256_json({name: _lookup(values, name) for name in READ.by[stage]})


def _lookup(values: dict[str, Any], dotted: str) -> Any:
    """The setting or section of this name; "" is all of them."""
    found: Any = values
    for key in dotted.split(".") if dotted else ():
        found = found[key]
    return found
