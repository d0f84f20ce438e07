"""Digests of settings: of all of a run's, and of those that one stage reads, as `hiper.config` declares them."""

from __future__ import annotations

from typing import Any

from hiper.config import BenchmarkSettings, RunSettings
from hiper.config.declared import stages_read, without_later
from hiper.declarations import STAGES, Stage
from hiper.records import sha256_json

stages_read(RunSettings)  # a setting that nobody declared is an error at once
_LEFT_OUT = object()


def config_digest(settings: RunSettings) -> str:
    """SHA-256 of all settings: the configuration hash in manifests."""
    return sha256_json(settings.model_dump(mode="json"))


def stage_digest(settings: RunSettings, stage: Stage) -> str:
    """SHA-256 of the settings that `stage` itself reads; equal digests and equal inputs mean equal outputs."""
    if stage not in STAGES:
        raise ValueError(f"stage {stage!r} is none of {STAGES}")
    return _digest(settings.model_dump(mode="json"), stage)


def benchmark_digest(settings: BenchmarkSettings) -> str:
    """SHA-256 of what a data set is made of: `stage_digest(…, "data")` without a run."""
    return _digest({"benchmark": settings.model_dump(mode="json")}, "data")


def _digest(values: dict[str, Any], stage: Stage) -> str:
    """Of those of the values of a run, or of a part of it, that `stage` reads, without those that say nothing new."""
    declared = stages_read(RunSettings, values)
    values = without_later(RunSettings, values)
    for name in declared.unread:
        section, _, key = name.rpartition(".")
        if isinstance(around := _lookup(values, section), dict):
            around.pop(key, None)
    read = {name: _lookup(values, name) for name in declared.by[stage]}
    return sha256_json({name: value for name, value in read.items() if value is not _LEFT_OUT})


def _lookup(values: dict[str, Any], dotted: str) -> Any:
    """The setting or section of this name, _LEFT_OUT where there is none; "" is all of them."""
    found: Any = values
    for key in dotted.split(".") if dotted else ():
        if not isinstance(found, dict) or key not in found:
            return _LEFT_OUT
        found = found[key]
    return found
