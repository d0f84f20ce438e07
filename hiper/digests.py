"""Digests of settings: of all of a run's, and of those that one stage reads, as `hiper.config` declares them."""

from __future__ import annotations

from typing import Any

from hiper.config import BenchmarkSettings, RunSettings
from hiper.config.declared import stages_read, without_later
from hiper.declarations import STAGES, Stage
from hiper.records import sha256_json

READ = stages_read(RunSettings)
_LEFT_OUT = object()


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
    return _digest({"benchmark": without_later(type(settings), settings.model_dump(mode="json"))}, "data")


def _digest(values: dict[str, Any], stage: Stage) -> str:
    """Of what `stage` reads; what was left out of `values` is left out here, too."""
    read = {name: _lookup(values, name) for name in READ.by[stage]}
    return sha256_json({name: value for name, value in read.items() if value is not _LEFT_OUT})


def _lookup(values: dict[str, Any], dotted: str) -> Any:
    """The setting or section of this name, or _LEFT_OUT; "" is all of them."""
    found: Any = values
    for key in dotted.split(".") if dotted else ():
        if key not in found:
            return _LEFT_OUT
        found = found[key]
    return found
