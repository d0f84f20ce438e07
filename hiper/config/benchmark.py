"""What the settings of every benchmark have. Each benchmark's package derives its own from them, and its record (see
`hiper.benchmarks.record`) names them, so that a configuration is validated by the model of the benchmark it names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Generic, TypeVar

from pydantic import BeforeValidator, Field, SerializeAsAny, model_validator
from pydantic_core import PydanticKnownError

from hiper.config.errors import SettingsByName
from hiper.fields import Count, CountOrZero, Distinct, Positive, Settings
from hiper.plugins import ENVIRONMENTS, known, load

SplitName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
DataSplit = TypeVar("DataSplit", bound=str)


class Splits(Settings, Generic[DataSplit]):
    """Which of the data's splits each stage uses; those of `evaluation` by the name they have in tables."""

    train: DataSplit
    evaluation: Annotated[dict[SplitName, DataSplit], Field(min_length=1)]

    @model_validator(mode="after")
    def apart(self) -> Splits[DataSplit]:
        used = [self.train, *self.evaluation.values()]
        if len(set(used)) < len(used):
            raise ValueError(
                "splits.train and all of splits.evaluation must be different splits of the data: a shared one leaks "
                "training tasks"
            )
        if "train" in self.evaluation:
            raise ValueError("splits.evaluation must not call a split 'train', which is the name of the training split")
        return self

    def named(self, name: str) -> DataSplit:
        """The data's split behind "train" or a name of `evaluation`; KeyError for another."""
        return self.train if name == "train" else self.evaluation[name]


class BenchmarkSettings(Settings):
    """What is played and what the data set is made of. A benchmark narrows `name`, `task_types`, `splits` and `data` to
    its own and adds what else it has. Whatever its data set depends on stands in `task_types` or `data`: these are in
    the digest of the data, and no experiment may alter them (`hiper.config.run.DATA_PARTS`)."""

    name: str
    dataset: str  # the folder `data/<dataset>`; equal to the configuration file's name
    task_types: Sequence[str]
    max_turns: Count
    success_reward: Positive
    splits: Splits[Any]
    data: Any

    @property
    def data_seed(self) -> int | None:
        """The seed that tasks are made from, for manifests; None for data that are not drawn."""
        return None

    def split_size(self, split: str) -> int:
        """Tasks of a split of the data that evaluation plays, as the settings have it or the official data do."""
        raise NotImplementedError(f"{type(self).__name__} does not say how many tasks a split has")

    def empty_splits(self) -> Iterator[tuple[str, str]]:
        """(data split, setting that is 0) of the splits that would be empty."""
        return iter(())


class Seeded(Settings):
    """Tasks made from seeds: how many in each split of the data."""

    seed: CountOrZero
    tasks: Annotated[dict[SplitName, CountOrZero], Field(min_length=1)]


class SeededSplits(Splits[str]):
    """Any names; they must be those of `Seeded.tasks`."""


class SeededSettings(BenchmarkSettings):
    """A benchmark whose data are tasks made from seeds (see `hiper.benchmarks.seeded`)."""

    task_types: Annotated[list[str], Field(min_length=1), Distinct]
    splits: SeededSplits
    data: Seeded

    @model_validator(mode="after")
    def splits_exist(self) -> SeededSettings:
        for split in (self.splits.train, *self.splits.evaluation.values()):
            if split not in self.data.tasks:
                raise ValueError(f"splits: data.tasks makes no split {split!r}, only {', '.join(self.data.tasks)}")
        return self

    @property
    def data_seed(self) -> int:
        return self.data.seed

    def split_size(self, split: str) -> int:
        return self.data.tasks[split]

    def empty_splits(self) -> Iterator[tuple[str, str]]:
        return ((split, f"data.tasks.{split}") for split, count in self.data.tasks.items() if count == 0)


def settings_model(section: Any) -> type[BenchmarkSettings] | None:
    """The model of the benchmark that a section names; None where it names none that is known."""
    name = section.get("name") if isinstance(section, Mapping) else None
    return load(ENVIRONMENTS, name).settings if isinstance(name, str) and name in known(ENVIRONMENTS) else None


def _validated(section: Any) -> Any:
    """By the model of the benchmark that it names; errors as pydantic's own of a tagged union."""
    if not isinstance(section, Mapping):
        return section  # for the message that it must be a section
    if (model := settings_model(section)) is not None:
        return model.model_validate(section)
    if not (name := section.get("name")):
        raise PydanticKnownError("union_tag_not_found", {"discriminator": "'name'"})
    expected = ", ".join(map(repr, known(ENVIRONMENTS)))
    raise PydanticKnownError(
        "union_tag_invalid", {"discriminator": "'name'", "tag": str(name), "expected_tags": expected}
    )


BenchmarkSection = Annotated[
    SerializeAsAny[BenchmarkSettings], BeforeValidator(_validated), SettingsByName(settings_model)
]
