"""The settings that an algorithm declares are those that it reads."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from credit_arrays import make_turns, settings_of
from pipeline import RUN, run_settings
from pydantic import BaseModel

from hiper import plugins
from hiper.algorithms.interface import EVERY_TOKEN, Algorithm, AlgorithmSettings
from hiper.algorithms.registry import ALGORITHMS
from hiper.compose import require_own_readers
from hiper.config import RunSettings, parse_run
from hiper.digests import stage_digest
from hiper.errors import UserError
from hiper.manifest import package_versions

PIPELINE = {"name", "group_size"}  # read by the pipeline, which needs them of every algorithm
SAMPLING = ("sampling.", "off_policy.")  # sections of theirs that the pipeline reads, too
# In every form of an algorithm together, all of its settings are read.
FORMS: dict[str, list[dict[str, Any]]] = {
    "hiper": [{"switch_advantage": form} for form in ("return", "paper", "none")],
    "hgpo": [{"group": {"base_group": wanted}} for wanted in (True, False)],
}


class Recorder:
    """Settings that note which of them were looked at."""

    def __init__(self, settings: BaseModel, read: set[str], section: str = "") -> None:
        self._settings, self._read, self._section = settings, read, section

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._settings, name)
        if isinstance(value, BaseModel):
            return Recorder(value, self._read, f"{self._section}{name}.")
        self._read.add(self._section + name)
        return value


def declared(settings: BaseModel, section: str = "") -> Iterator[str]:
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        yield from declared(value, f"{section}{name}.") if isinstance(value, BaseModel) else (section + name,)


def settings_read(name: str, settings: Any) -> set[str]:
    """Dotted names of the settings that are looked at when credit is assigned to a batch of two episodes."""
    read = set[str]()
    recorder: Any = Recorder(settings, read)
    algorithm = ALGORITHMS[name]
    turns = make_turns([3, 2], group=[0, 0], switch=[[True, False, True], [True, True, False]])
    heads, previous = algorithm.heads(recorder), algorithm.previous(recorder)
    algorithm.bootstraps(recorder)
    algorithm.unexplained(turns, {}, recorder)
    shape = (2, turns.present.shape[1] + 1)
    values = {head: np.zeros(shape + (1,) * (where == EVERY_TOKEN)) for head, where in heads.items()}
    algorithm.credit(turns, values | {f"{head}_previous": values[head] for head in previous}, recorder)
    return read


@pytest.mark.parametrize("name", plugins.BUILT_IN[plugins.ALGORITHMS])
def test_an_algorithm_declares_what_it_reads_and_nothing_else(name: str) -> None:
    """But for what the pipeline reads; what it says is idle it does not read."""
    found = set[str]()
    for form in FORMS.get(name, [{}]):
        settings = settings_of(name, **form)
        read = settings_read(name, settings)
        own = {key for key in declared(settings) if key not in PIPELINE and not key.startswith(SAMPLING)}
        assert read <= own
        if not FORMS.get(name) or settings.idle():
            assert read == own - set(settings.idle())
        found |= read
    assert found == own


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of packages whose entry points are found."""
    monkeypatch.syspath_prepend(tmp_path)
    for lookup in (plugins.known, plugins.load):
        lookup.cache_clear()
    yield tmp_path
    for lookup in (plugins.known, plugins.load):
        lookup.cache_clear()


def offer(folder: Path, package: str, name: str, value: str, group: str = plugins.ALGORITHMS) -> None:
    (folder / f"{package}-1.0.dist-info").mkdir()
    (folder / f"{package}-1.0.dist-info" / "METADATA").write_text(f"Name: {package}\nVersion: 1.0\n")
    (folder / f"{package}-1.0.dist-info" / "entry_points.txt").write_text(f"[{group}]\n{name} = {value}\n")


def test_an_installed_algorithm_is_one_of_them(installed: Path) -> None:
    """Under the name of its entry point."""
    offer(installed, "further", "flat", "hiper.algorithms.ppo_turn:ALGORITHM")
    assert "flat" in list(ALGORITHMS) and ALGORITHMS["flat"] is ALGORITHMS["ppo_turn"]


def test_manifests_have_the_version_of_an_algorithms_package(installed: Path) -> None:
    """And of no other package that offers something."""
    for number, name in enumerate(("flat", "other")):
        offer(installed, f"further{number}", name, "hiper.algorithms.ppo_turn:ALGORITHM")
    values = run_settings(f"{RUN.rpartition('-hiper-')[0]}-ppo_turn-seed0").model_dump()
    values["algorithm"]["name"] = "flat"
    versions = package_versions(parse_run(values, "test"))
    assert versions["further0"] == "1.0" and "further1" not in versions


MODULE = """
from dataclasses import replace
from typing import Annotated

from hiper.algorithms.ppo_turn import ALGORITHM as ORIGINAL
from hiper.declarations import ReadBy, Unread


class Settings(ORIGINAL.settings):
    shown: Annotated[int, Unread("no result reads it")]
    further: Annotated[int, ReadBy("{stage}")]


ALGORITHM = replace(ORIGINAL, settings=Settings)
"""


def test_a_package_says_who_reads_its_settings(installed: Path) -> None:
    """What it says is in the digests; a stage whose result other algorithms share cannot read one."""
    for stage in ("evaluate", "warmstart"):
        (installed / f"read_by_{stage}.py").write_text(MODULE.format(stage=stage))
        offer(installed, f"package_{stage}", f"for_{stage}", f"read_by_{stage}:ALGORITHM")
    values = run_settings(f"{RUN.rpartition('-hiper-')[0]}-ppo_turn-seed0").model_dump(mode="json")

    def settings(stage: str, shown: int, further: int) -> RunSettings:
        own = {"name": f"for_{stage}", "shown": shown, "further": further}
        return parse_run(values | {"algorithm": values["algorithm"] | own}, "test")

    def digests(*numbers: int) -> list[str]:
        return [stage_digest(settings("evaluate", *numbers), stage) for stage in ("train", "evaluate")]

    first = digests(0, 0)
    assert digests(1, 0) == first
    assert all(one != other for one, other in zip(digests(0, 1), first, strict=True))
    require_own_readers(settings("evaluate", 0, 0))
    with pytest.raises(UserError, match=r"^algorithm\.further: ReadBy\('warmstart'\): the algorithms of a seed share"):
        require_own_readers(settings("warmstart", 0, 0))


@pytest.mark.parametrize(
    ("group", "name", "value", "wanted"),
    [
        (plugins.ALGORITHMS, "mine", "hiper.algorithms.hiper:credit", "mine.*credit, which must be an instance of"),
        (plugins.ALGORITHMS, "mine", "no_such_package:ALGORITHM", "fails: ModuleNotFoundError: No module named 'no_s"),
        (plugins.ALGORITHMS, "mine", "broken_module:ALGORITHM", "fails: RuntimeError: at import; correct or uninstall"),
        (plugins.ALGORITHMS, "hiper", "mine:ALGORITHM", "'hiper' is offered twice"),
        (plugins.ENVIRONMENTS, "maze", "hiper.benchmarks.seeded:SeededRecord", "must be an instance of hiper.bench"),
    ],
)
def test_an_entry_point_that_cannot_be_meant_is_an_error(
    installed: Path, group: str, name: str, value: str, wanted: str
) -> None:
    """What it stands for is named, whatever its module does when it is imported."""
    (installed / "broken_module.py").write_text('raise RuntimeError("at import")\n')
    offer(installed, "further", name, value, group)
    with pytest.raises(UserError, match=wanted):
        plugins.load(group, name)


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"heads": {"value": "prompt"}}, "Algorithm: heads is {'value': 'prompt'}, and must be a function"),
        ({"settings": print}, "must be a class of AlgorithmSettings"),
        ({"credit": None}, "Algorithm: credit is None, and must be a function"),
    ],
)
def test_a_part_of_another_kind_is_said_when_the_algorithm_is_made(parts: dict[str, Any], said: str) -> None:
    """Not by a traceback when a run first asks for it."""
    with pytest.raises(UserError, match=re.escape(said)):
        Algorithm(**({"settings": AlgorithmSettings, "credit": print} | parts))
