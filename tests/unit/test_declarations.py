"""What settings say of the stages that read them, and what was done before there was a choice."""

from __future__ import annotations

from typing import Annotated, Any

import pytest

from hiper.config import RolloutSettings, RunSettings
from hiper.config.declared import stages_read, with_earlier, without_later
from hiper.config.errors import SettingsByName
from hiper.declarations import Before, ReadBy, Unread
from hiper.fields import Count, Settings


class Whole(Settings):
    plain: Count
    further: Annotated[Count, ReadBy("evaluate")]
    idle: Annotated[Count, Unread("it is only shown")]


class Mixed(Settings):
    said: Annotated[Count, ReadBy("train")]
    idle: Annotated[Count, Unread("it is only shown")]


class Run(Settings):
    whole: Annotated[Whole, ReadBy("train")]
    mixed: Mixed
    some: Annotated[Whole, ReadBy("data", parts=("plain",)), ReadBy("variance")]


class Common(Settings):
    name: str


class Own(Common):
    shown: Annotated[Count, Unread("it is only shown")]
    further: Annotated[Count, ReadBy("evaluate")]


class Named(Settings):
    algorithm: Annotated[Common, ReadBy("train"), SettingsByName(lambda section: section and Own)]


def test_a_setting_that_nobody_declared_is_an_error_that_names_it() -> None:
    """A new setting of a section whose settings speak for themselves cannot escape the digests."""

    class Rollout(RolloutSettings):
        warm: Count

    class Grown(RunSettings):
        rollout: Rollout  # type: ignore[assignment]
        another: Count

    with pytest.raises(TypeError, match=r"^rollout\.warm, another: no stage is said to read this; add ReadBy"):
        stages_read(Grown)


def test_sections_are_read_whole_or_setting_by_setting() -> None:
    """A section's stages read it by its name, whatever is in it; other stages read the settings that name them."""
    read = stages_read(Run)
    assert set(read.by["train"]) == {"whole", "mixed.said"}
    assert set(read.by["evaluate"]) == {"whole.further", "some.further"}
    assert set(read.by["data"]) == {"some.plain"}
    assert set(read.by["variance"]) == {"some"}
    assert set(read.unread) == {"whole.idle", "mixed.idle", "some.idle"}


def test_settings_of_another_package_may_say_who_reads_them() -> None:
    """Besides those that read the section that they are in; only where the section names their owner."""

    read = stages_read(Named, {"algorithm": {"name": "own"}})
    assert (read.by["train"], read.by["evaluate"]) == (("algorithm",), ("algorithm.further",))
    assert read.unread == ("algorithm.shown",) and stages_read(Named).unread == ()


def test_every_setting_of_a_run_is_declared() -> None:
    """Those that no stage reads are few, and known."""
    known = {"experiment", "tracking", "trials", "rollout.memory_share", "training.checkpoint_minutes"}
    assert set(stages_read(RunSettings).unread) == known


@pytest.mark.parametrize(
    ("recorded", "filled"),
    [
        ({}, {}),
        ({"section": {}}, {"section": {"young": 3}}),
        ({"section": {"young": 4, "old": 1}}, {"section": {"young": 4, "old": 1}}),
        ({"section": None}, {"section": None}),
    ],
)
def test_older_results_lack_settings_in_the_sections_that_they_have(
    recorded: dict[str, Any], filled: dict[str, Any]
) -> None:
    """What was done before there was a choice is filled in, and nothing that was recorded is altered."""

    class Section(Settings):
        old: Count
        young: Annotated[Count, Before(3)]

    class Recorded(Settings):
        section: Section | None

    assert with_earlier(Recorded, recorded) == filled


def test_a_setting_that_came_later_leaves_earlier_digests_as_they_are() -> None:
    """As long as it does what was done before, also within a section that is younger than the first results; any other
    value stays, so that different settings never look alike."""

    class Section(Settings):
        old: Count
        young: Annotated[Count, Before(3)]

    class Later(Settings):
        section: Annotated[Section, Before({"old": 1})]
        plain: Section

    assert without_later(Later, {"section": {"old": 1, "young": 3}, "plain": {"old": 1, "young": 3}}) == {
        "plain": {"old": 1}
    }
    other = {"section": {"old": 1, "young": 4}, "plain": {"old": 1, "young": 4}}
    assert without_later(Later, other) == other
