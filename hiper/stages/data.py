"""The data stage: one benchmark configuration in, one data set out. DVC runs it (`dvc.yaml`)."""

from __future__ import annotations

from pathlib import Path

from hiper.benchmarks.record import record_of
from hiper.compose import load_benchmark


def make(configuration: Path, output: Path) -> None:
    """Make the data set of a benchmark file (`configs/benchmark/<name>.yaml`) in the folder `output`, replacing it.

    The file is read as plain YAML: what Hydra would override does not concern the data. Raises UserError for a missing
    or invalid file, and when no task can be had.
    """
    settings = load_benchmark(configuration)
    record_of(settings.name).make_data(settings, output)
