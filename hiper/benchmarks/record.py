"""The record of a benchmark: everything that anybody outside its package may ask it.

`hiper.plugins` lists the records by name, those of installed packages too. A record is light: whatever library the
benchmark needs is imported inside the method that needs it. `hiper.benchmarks.seeded` has most of one for benchmarks
whose tasks are made from seeds; `hiper.benchmarks.conformance.check_record` checks one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Generic, NamedTuple, TypeVar

import numpy as np

from hiper.benchmarks.base import Benchmark
from hiper.benchmarks.experts import Expert
from hiper.config.benchmark import BenchmarkSettings
from hiper.errors import UserError
from hiper.paths import expanded
from hiper.plugins import ENVIRONMENTS, known, load
from hiper.prompts.words import Words
from hiper.trajectory import Task

SettingsT = TypeVar("SettingsT", bound=BenchmarkSettings)


@dataclass(frozen=True)
class Contents:
    """What a data set's folder holds, in words; how many of its tasks' files are gone; which of the splits asked for
    have no task of the wanted types; a remark that comes behind the source."""

    words: str
    absent: int = 0
    empty: Sequence[str] = ()
    remark: str = ""


class Origin(NamedTuple):
    """Where data would come from, in words (or what is missing), and whether that is at hand."""

    words: str
    obtainable: bool


@dataclass(frozen=True)
class TokenNames:
    """How a tokenizer learned from demonstrations treats names: nothing merges across the matches of `pattern`; `names`
    stay whole, as tokens besides the learned ones where they are `added`."""

    pattern: str
    names: Sequence[str] = field(default=())
    added: bool = False


class BenchmarkRecord(ABC, Generic[SettingsT]):
    """Subclasses set the first block of attributes, and those of the second that differ."""

    name: ClassVar[str]  # as in configurations and in `hiper.plugins`
    settings: ClassVar[type[BenchmarkSettings]]
    words: ClassVar[Words]
    first_action: ClassVar[str]  # what every first state permits
    tokens: ClassVar[tuple[float, float]]  # of a turn, (prompt, response): what `hiper plan` counts with

    labels: ClassVar[Mapping[str, str]] = {}  # of task types, in the order of tables; others follow by name
    own_texts: ClassVar[Sequence[str]] = ("subgoal",)  # what an answer says in words of its own
    published: ClassVar[Path | None] = None  # numbers to show beside ours, see `hiper.report.published`
    packages: ClassVar[Sequence[str]] = ()  # whose versions results may depend on, for manifests
    variable: ClassVar[str | None] = None  # of the environment: names a folder with the data

    def __init__(self) -> None:
        needed = ("name", "settings", "words", "first_action", "tokens")
        if lacking := [one for one in needed if not hasattr(self, one)]:
            raise TypeError(f"the benchmark record {type(self).__name__} lacks {', '.join(lacking)}")

    @abstractmethod
    def make_data(self, settings: SettingsT, output: Path) -> None:
        """Make the data set, the folder `output` with `dataset.json` in it, anew, whole or not at all; equal settings
        and sources give equal bytes. UserError when no task can be had."""

    @abstractmethod
    def open(self, settings: SettingsT, data_root: Path) -> Benchmark:
        """The tasks of `data_root/<dataset>` and the environments that play them; UserError for damaged data."""

    @abstractmethod
    def expert(self, task: Task, instruction: str, random: np.random.Generator, hesitation: float) -> Expert:
        """The scripted player of one episode of `task`, whose sentence is `instruction`. `hesitation` is the chance
        that a needless command comes before the next useful one."""

    @abstractmethod
    def contents(self, settings: SettingsT, folder: Path, used: Sequence[str]) -> Contents:
        """What a data set's folder holds of the `used` splits; UserError where it is damaged."""

    @abstractmethod
    def origin(self, settings: SettingsT, root: Path) -> Origin:
        """Where a data set that is not made yet would come from; nothing is opened that takes long."""

    def token_names(self, texts: Sequence[str], size: int) -> TokenNames:
        """What a tokenizer of at most `size` tokens keeps of names in `texts`: here words and numbers stay apart."""
        return TokenNames(r" ?[a-zA-Z]+| ?\d+")


def record_of(name: str) -> BenchmarkRecord[BenchmarkSettings]:
    """The record of the benchmark called `name`; UserError for an unknown name."""
    if name not in (names := known(ENVIRONMENTS)):
        raise UserError(f"no benchmark is called {name!r}; there are {', '.join(names)}")
    record: BenchmarkRecord[BenchmarkSettings] = load(ENVIRONMENTS, name)
    return record


def make_benchmark(settings: BenchmarkSettings, data_root: Path) -> Benchmark:
    """The benchmark that the settings name, opened; its library is imported here."""
    return record_of(settings.name).open(settings, data_root)


def origin_of_files(
    source: str,
    named: Callable[[], Path | None],
    variable: str,
    root: Path,
    archives: Sequence[str] = (),
) -> Origin:
    """The origin of data from `source`: folder, archives, download, generate, or auto, the first of them that applies.
    `named` opens the folder that is named as the source: None where none is, UserError where it does not serve."""
    here = [archive for archive in archives if (root / expanded(archive, "data.archives")).exists()]
    complete = bool(here) and len(here) == len(archives)
    if source in ("auto", "folder"):
        try:
            folder = named()
        except UserError as error:
            return Origin(str(error), False)
        if folder is not None:
            return Origin(f"the folder {folder}", True)
    if source == "folder":
        return Origin(f"no folder is named: set data.folder or ${variable}", False)
    if source in ("auto", "archives") and complete:
        return Origin(f"the archives {', '.join(here)}", True)
    if source == "archives" or here:
        absent = ", ".join(archive for archive in archives if archive not in here)
        return Origin(f"archives are missing: {absent or 'none is named'}", False)
    if source == "generate":
        return Origin("generation", True)
    ways = f"set ${variable}{', or put archives into downloads/' if archives else ''}"
    otherwise = "; without network, GENERATED data take their place" if source == "auto" else ""
    return Origin(f"the official download (or {ways}{otherwise})", True)
