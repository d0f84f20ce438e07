"""The data stage: one benchmark configuration in, one data set of games out. DVC runs it (`dvc.yaml`)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import Field, ValidationError

from hiper.benchmarks.alfworld.sources import make_dataset
from hiper.config import Data, Settings, TaskType
from hiper.errors import UserError


class DatasetSettings(Settings):
    """The part of a benchmark configuration that determines its games; `dvc.yaml` names the same keys."""

    dataset: str
    task_types: Annotated[list[TaskType], Field(min_length=1)]
    data: Data


def make(configuration: Path, output: Path) -> None:
    """Make the data set of a benchmark file (`configs/benchmark/<name>.yaml`) in the folder `output`, replacing it.

    The file is read as plain YAML: what Hydra would override does not concern the games. Raises UserError for a missing
    or invalid file, and when no games can be had.
    """
    settings = read_settings(configuration)
    make_dataset(settings.dataset, settings.data, settings.task_types, output)


def read_settings(configuration: Path) -> DatasetSettings:
    try:
        values: Any = yaml.safe_load(configuration.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{configuration}: no such file") from None
    except yaml.YAMLError as error:
        raise UserError(f"{configuration}: not valid YAML ({error})") from None
    if not isinstance(values, dict):
        raise UserError(f"{configuration}: expected settings with the keys {', '.join(DatasetSettings.model_fields)}")
    try:
        return DatasetSettings.model_validate(
            {key: values[key] for key in DatasetSettings.model_fields if key in values}
        )
    except ValidationError as error:
        problems = [f"  {'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()]
        raise UserError("\n".join([f"{configuration}: invalid settings", *problems])) from None
