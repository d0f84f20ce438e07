"""What is recorded of an episode is what the update used."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from recorded_run import KINDS, decode, make_batch

from hiper.learning.batches import turn_rows
from hiper.records import dumps
from hiper.runs.episodes import BLOCKS, Outcome, choose, training_records

BATCHES = [(algorithm, guided) for algorithm in ("hiper", "ppo_turn") for guided in (True, False)]
OUTCOMES: list[Outcome] = ["won", "lost", "truncated", "failed"]


@pytest.mark.parametrize(("algorithm", "guided"), BATCHES)
def test_recorded_advantages_are_those_that_enter_the_loss(algorithm: str, guided: bool) -> None:
    """Turn by turn and token by token, advantage, mask and log probability are those of the training rows."""
    played, update = make_batch(algorithm, guided)
    records = training_records(7, played, update, decode, len(KINDS))
    recorded = [turn for record in records for turn in record["decisions"] if "token" in turn]
    rows = turn_rows(update.trajectories, update.credit)
    assert len(recorded) == len(rows) == 3 * (len(KINDS) - 1)
    for turn, row in zip(recorded, rows, strict=True):
        assert turn["token"]["advantage"] == pytest.approx(row.advantage.tolist(), abs=1e-6)
        assert turn["token"]["logprob"] == pytest.approx(row.logprob.tolist(), abs=1e-6)
        assert turn["token"]["trained"] == row.trained.tolist()
        assert turn["token"]["forced"] == (~row.chosen).tolist()


@pytest.mark.parametrize(("algorithm", "guided"), BATCHES)
def test_values_targets_and_advantages_are_those_of_the_turn(algorithm: str, guided: bool) -> None:
    """Each stands at its trajectory and turn; a head that does not learn there has no target."""
    played, update = make_batch(algorithm, guided)
    records = training_records(1, played, update, decode, len(KINDS))
    entered = [record for record in records if record["updated"]]
    for i, record in enumerate(entered):
        for t, turn in enumerate(record["decisions"]):
            assert turn["values"] == {name: pytest.approx(v[i, t], abs=1e-6) for name, v in update.values.items()}
            for name in (*BLOCKS, "other"):
                assert turn["advantages"][name] == pytest.approx(getattr(update.credit, name)[i, t], abs=1e-6)
            for head, (target, mask) in update.credit.targets.items():
                assert turn["targets"][head] == (pytest.approx(target[i, t], abs=1e-6) if mask[i, t] else None)
    assert [record["number"] for record in entered] == [n for n, kind in enumerate(KINDS) if kind != "failed"]


@pytest.mark.parametrize(("algorithm", "guided"), BATCHES)
def test_every_token_has_its_text_and_its_fate(algorithm: str, guided: bool) -> None:
    """The texts make up the response, one entry per token in every list, and no forced token is trained."""
    played, update = make_batch(algorithm, guided)
    for record in training_records(1, played, update, decode, len(KINDS)):
        for turn in record["decisions"]:
            if "token" in turn:
                assert "".join(turn["token"]["text"]) == turn["response"]
                assert {len(entries) for entries in turn["token"].values()} == {turn["tokens"]}
                assert not any(a and b for a, b in zip(turn["token"]["trained"], turn["token"]["forced"], strict=True))


def test_a_broken_episode_keeps_its_turns_and_has_no_credit() -> None:
    """It is recorded whatever the count, with what was played before the break."""
    played, update = make_batch("hiper", guided=True)
    records = training_records(1, played, update, decode, 1)
    (broken,) = [record for record in records if record["failure"] is not None]
    assert broken["number"] == KINDS.index("failed") and broken["updated"] == []
    assert [turn["action"] for turn in broken["decisions"]] == ["go to desk 1", "look", "x"]
    assert not any("token" in turn for turn in broken["decisions"])


def test_records_are_plain_json() -> None:
    """They come back from the file as they were, and equal batches give equal bytes."""
    lines = []
    for _ in range(2):
        played, update = make_batch("hiper", guided=True)
        lines.append(dumps(records := training_records(1, played, update, decode, 6)))
        assert json.loads(lines[-1]) == records
    assert lines[0] == lines[1]


@given(st.lists(st.sampled_from(OUTCOMES), max_size=40), st.integers(0, 12))
def test_broken_episodes_and_one_of_each_outcome_are_kept(outcomes: list[Outcome], count: int) -> None:
    """As many as asked for and no more than broken ones add; the first of every outcome while there is room."""
    chosen = choose(outcomes, count)
    if not count:
        assert chosen == []
        return
    broken = {number for number, ending in enumerate(outcomes) if ending == "failed"}
    assert chosen == sorted(set(chosen)) and broken <= set(chosen)
    assert min(count, len(outcomes)) <= len(chosen) <= count + len(broken)
    firsts = {outcomes.index(ending) for ending in outcomes}
    assert len(firsts) > count or firsts <= set(chosen)
