"""The data stage: one benchmark configuration in, one data set out. DVC runs it (`dvc.yaml`)."""

from __future__ import annotations

from pathlib import Path

from hiper.compose import load_benchmark
from hiper.config import AlfworldSettings


def make(configuration: Path, output: Path) -> None:
    """Make the data set of a benchmark file (`configs/benchmark/<name>.yaml`) in the folder `output`, replacing it.

    The file is read as plain YAML: what Hydra would override does not concern the data. Raises UserError for a missing
    or invalid file, and when no task can be had.
    """
    settings = load_benchmark(configuration)
    if isinstance(settings, AlfworldSettings):
        from hiper.benchmarks.alfworld.sources import make_dataset

        make_dataset(settings.dataset, settings.data, settings.task_types, output)
    else:
        from hiper.benchmarks.webshop import sources

        sources.make_dataset(settings, output)
