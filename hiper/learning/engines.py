"""What trains, by the name that a run's settings give it (`engine.name`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from hiper.config import Engine
from hiper.learning.deepspeed_engine import ShardedEngines
from hiper.learning.local_engine import LocalEngines
from hiper.learning.processes import Processes
from hiper.learning.training_engine import Engines


def _local(settings: Engine, processes: Processes) -> Engines:
    return LocalEngines(settings.device, settings.dtype == "bfloat16")


ENGINES: Mapping[str, Callable[[Engine, Processes], Engines]] = {"local": _local, "deepspeed": ShardedEngines}


def make_engines(settings: Engine, processes: Processes) -> Engines:
    """The engines that the settings name. UserError where what they need is not installed."""
    return ENGINES[settings.name](settings, processes)
