"""What iterations play and learn from: groups that are resampled, within the budget of episodes, and replayed ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pipeline import run_settings

from hiper.algorithms.sampling import Choose, Replay, agrees, largest, most_varied
from hiper.config import RunSettings
from hiper.errors import UserError
from hiper.learning.batches import TurnRow
from hiper.stages.choosing import chosen_rows, relaxed
from hiper.stages.replay import Memory, replayed_rows
from hiper.stages.sampling import EpisodeSampling
from hiper.stages.tasks import all_draws, draw_tasks
from hiper.trajectory import Generation, Task, TokenSpan, Trajectory, Turn

TURN = Turn("seen", "prompt", "answer", True, "go", "go", "look", True, 0.0)
TASKS = [Task(f"task {number}", "train", "look") for number in range(5)]


def settings_with(iterations: int, groups: int, **sampling: object) -> RunSettings:
    return run_settings(
        "alfworld_test-test-grpo-seed0",
        training__iterations=iterations,
        training__episodes=2 * groups,
        algorithm__group_size=2,
        **{f"algorithm__sampling__{key}": value for key, value in sampling.items()},
    )


def episode(task: Task, group: int, reward: float, won: bool = False, failure: str | None = None) -> Trajectory:
    return Trajectory(task, group, (replace(TURN, reward=reward),), won, True, False, failure=failure)


class Scripted:
    """Plays groups of two that agree or do not, as `agreeing` says of each group in the order in which they come, then
    none that agrees."""

    def __init__(self, agreeing: Sequence[bool]) -> None:
        self.agreeing, self.seeds = list(agreeing), list[tuple[int, ...]]()

    def __call__(self, tasks: Sequence[Task], groups: Sequence[int], seed: Sequence[int]) -> list[Trajectory]:
        self.seeds.append(tuple(seed))
        assert len({*groups}) * 2 == len(groups)
        earned = {}
        for group in dict.fromkeys(groups):
            earned[group] = 0.0 if self.agreeing and self.agreeing.pop(0) else 1.0
        members = enumerate(zip(tasks, groups, strict=True))
        return [episode(task, group, earned[group] * (number % 2)) for number, (task, group) in members]


@pytest.mark.parametrize(
    ("returns", "found"), [([0, 0, 0], True), ([1, 1], True), ([1], True), ([], True), ([0, 0, 1], False)]
)
def test_a_group_agrees_when_comparing_its_episodes_says_nothing(returns: list[float], found: bool) -> None:
    """All won, all lost, or fewer than two that did not break."""
    assert agrees(returns) == found


def test_groups_that_agree_give_their_places_to_others() -> None:
    """Of groups 0 to 3 the second and the last agree. The first round brings 4, which agrees, and 5, which takes the
    first place; the second brings 6. Thirteen groups are left of a budget of twenty."""
    play = Scripted([False, True, False, True, True, False, False])
    sampling = EpisodeSampling(settings_with(5, 4, resample=3), TASKS, play)
    sampled = sampling.sample(0, 0)
    assert [one.group for one in sampled.trajectories[::2]] == [0, 5, 2, 6]
    assert [one.group for one in sampled.played[::2]] == [*range(7)] and sampling.resampled == 3
    assert len({*play.seeds}) == 3 and sampled.metrics == {"train/resampled": 3.0}
    assert sampling.draws(1, 0) == range(7, 11) and sampling.skipped(0) == 0.75
    assert [one.task for one in sampled.played] == draw_tasks(TASKS, sampling.settings, range(7))[0]


def test_groups_that_still_agree_stay() -> None:
    """After the last round, so that every update has as many episodes as others have."""
    sampling = EpisodeSampling(settings_with(5, 2, resample=1), TASKS, Scripted([True] * 9))
    sampled = sampling.sample(0, 0)
    assert [one.group for one in sampled.trajectories] == [0, 0, 1, 1] and len(sampled.played) == 8


@given(
    iterations=st.integers(1, 6),
    groups=st.integers(1, 4),
    rounds=st.integers(0, 3),
    agreeing=st.lists(st.booleans(), max_size=40),
)
def test_whoever_resamples_plays_as_many_episodes(
    iterations: int, groups: int, rounds: int, agreeing: list[bool]
) -> None:
    """The draws of all iterations, resampled ones among them, are those of the budget, each once; the place in the
    schedule never goes back, nor beyond its end."""
    settings = settings_with(iterations, groups, resample=rounds)
    play = Scripted(agreeing)
    sampling, iteration, played, place = EpisodeSampling(settings, TASKS, play), 0, 0, 0.0
    while sampling.draws(iteration, 0):
        assert sampling.draws(iteration, 0).start == played // 2
        assert place <= iteration + sampling.skipped(0) < iterations
        place = iteration + sampling.skipped(0)
        played += len(sampling.sample(iteration, 0).played)
        iteration += 1
    assert played == iterations * groups * 2 == 2 * all_draws(settings) and iteration <= iterations
    assert rounds or iteration == iterations


def test_it_goes_on_where_a_checkpoint_left_it() -> None:
    """With the same draws and random numbers, whatever was resampled before."""
    settings = settings_with(5, 2, resample=2)
    whole = EpisodeSampling(settings, TASKS, Scripted([True, False, False, True]))
    whole.sample(0, 0)
    resumed = EpisodeSampling(settings, TASKS, play := Scripted([True]))
    resumed.restore(whole.state())
    whole.play = again = Scripted([True])
    assert resumed.sample(1, 0).played == whole.sample(1, 0).played and play.seeds == again.seeds


def test_episodes_that_broke_are_no_part_of_their_group() -> None:
    """What is left of it agrees; where nothing is left at all, that is an error."""

    def breaks(tasks: Sequence[Task], groups: Sequence[int], seed: Sequence[int]) -> list[Trajectory]:
        found = Scripted([])(tasks, groups, seed)
        return [replace(one, failure="step: OSError") if one.group == 0 else one for one in found]

    sampling = EpisodeSampling(settings_with(5, 2, resample=1), TASKS, breaks)
    sampled = sampling.sample(0, 0)
    assert [one.group for one in sampled.trajectories] == [2, 2, 1, 1] and len(sampled.played) == 6
    with pytest.raises(UserError, match="iteration 2: every episode broke"):
        EpisodeSampling(settings_with(5, 1), TASKS, breaks).sample(1, 0)


def group(task: Task, number: int, *won: bool) -> list[Trajectory]:
    return [episode(task, number, float(one), one) for one in won]


def test_groups_of_one_outcome_get_the_newest_episodes_of_the_other() -> None:
    """Of their own task and under their own number; of older ones only as many are kept as would ever join, and the
    oldest of all go first."""
    memory = Memory(Replay(successes=2, failures=1, capacity=4, weight=1.0))
    memory.remember(
        [episode(TASKS[0], 0, reward, True) for reward in (1.0, 2.0, 3.0)] + group(TASKS[1], 1, False, True)
    )
    assert [(one.task, one.earned) for one in memory.episodes] == [
        *((TASKS[0], 2.0), (TASKS[0], 3.0), (TASKS[1], 0.0), (TASKS[1], 1.0))
    ]
    batch = [*group(TASKS[0], 0, False, False), *group(TASKS[1], 1, True, True), *group(TASKS[1], 2, True, False)]
    joining = memory.joining([*batch, *group(TASKS[2], 3, False), *group(TASKS[0], 4, True)])
    assert [(one.task, one.group, one.earned, one.won) for one in joining] == [
        *((TASKS[0], 0, 2.0, True), (TASKS[0], 0, 3.0, True), (TASKS[1], 1, 0.0, False))
    ]
    memory.remember(group(TASKS[2], 0, True))
    assert [one.earned for one in memory.episodes] == [3.0, 0.0, 1.0, 1.0]


def test_a_memory_comes_back_from_a_checkpoint_as_it_was(tmp_path: Path) -> None:
    """Read as nothing but tensors and plain values; texts that no update reads and old hidden states are not in it."""
    tokens = np.arange(3, dtype=np.int32)
    made = Generation(tokens, tokens[:2], np.float32([-1, -2]), ((1, 2), ()), features=np.ones((2, 4), np.float32))
    spans = {"switch_span": TokenSpan(0, 1), "subgoal_span": TokenSpan(1, 2)}
    turn = replace(TURN, reward=1.0, generation=made, **spans)
    memory = Memory(Replay(successes=1, failures=1, capacity=9, weight=1.0))
    memory.remember([replace(episode(TASKS[0], 0, 1.0, True), turns=(turn, TURN)), *group(TASKS[1], 1, False)])
    torch.save(memory.state(), tmp_path / "state.pt")
    again = Memory(memory.settings)
    again.restore(torch.load(tmp_path / "state.pt", weights_only=True, mmap=True))
    assert str(again.episodes) == str(memory.episodes) and again.episodes[0].turns[0].prompt == ""
    kept = again.episodes[0].turns[0].generation
    assert kept is not None and kept.logprobs.dtype == np.float32 and kept.features is None


def test_replayed_turns_count_by_their_weight_and_keep_their_policys_log_probabilities() -> None:
    """So that the ratios of the loss are between the policy now and the one that played them."""
    floats, flags = np.float32([1.0, -2.0]), np.ones(2, bool)
    row = TurnRow(np.arange(4, dtype=np.int32), 2, floats, flags, flags, np.float32([-3.0, -4.0]), None)
    (plain,), (weighed,) = (replayed_rows([row], 0.5, weighed) for weighed in (False, True))
    np.testing.assert_array_equal(plain.advantage, np.float32([0.5, -1.0]))
    np.testing.assert_array_equal(plain.logprob, row.logprob)
    assert plain.importance is None and weighed.importance is not None and (weighed.importance == 1.0).all()


def test_a_failed_group_learns_from_a_success_that_it_had_before() -> None:
    """The same task twice: won by one of two at first, then lost by both, to whom the winner comes back."""
    play = Scripted([False, True])
    won = [replace(one, won=one.earned > 0) for one in play(TASKS[:1] * 2, [0, 0], [0])]
    sampling = EpisodeSampling(settings_with(2, 1, replay__successes=1), TASKS[:1], lambda *_: won)
    assert not sampling.sample(0, 0).replayed
    sampling.play = play
    sampled = sampling.sample(1, 0)
    assert [one.earned for one in sampled.replayed] == [1.0] and sampled.metrics == {"train/replayed": 1.0}
    assert len(sampled.played) == 2


def test_the_most_varied_are_the_highest_and_the_lowest() -> None:
    """Of 0, 5, 6, 9: two of them are 0 and 9, three 0, 6 and 9 (variance 14, and 0, 5 and 9 have 13.6)."""
    values = np.array([5.0, 9.0, 0.0, 6.0])
    assert [*np.flatnonzero(most_varied(values, 2))] == [1, 2]
    assert [*np.flatnonzero(most_varied(values, 3))] == [1, 2, 3]
    assert most_varied(values, 4).all() and most_varied(np.zeros(4), 2).sum() == 2


@given(values=st.lists(st.integers(-5, 5), min_size=2, max_size=7), keep=st.integers(1, 7))
def test_no_other_choice_varies_more(values: list[int], keep: int) -> None:
    """Of all subsets of that size."""
    keep, array = min(keep, len(values)), np.array(values, dtype=float)
    best = max(np.var(part) for part in combinations(values, keep))
    assert np.var(array[most_varied(array, keep)]) == pytest.approx(best)


def test_the_largest_are_a_share_of_all() -> None:
    """Rounded, one at least, the first of equal ones."""
    assert [*np.flatnonzero(largest(np.array([1.0, 3.0, 2.0, 3.0]), 0.5))] == [1, 3]
    assert [*np.flatnonzero(largest(np.ones(3), 0.1))] == [0]


def test_tokens_of_varied_episodes_are_chosen_by_advantage_times_entropy() -> None:
    """Advantages 3, 1, 0 and −3, of one turn each: half of the group are the first and the last. Of their four tokens
    the half with the largest |A| · H: 3 · 2 and 3 · 1.5. The others keep all but their policy gradient."""
    trajectories = [episode(TASKS[0], 0, 0.0) for _ in range(4)]
    flags = np.ones(2, bool)

    def row(advantage: float) -> TurnRow:
        logprob = np.zeros(2, np.float32)
        return TurnRow(np.arange(4, dtype=np.int32), 2, np.full(2, advantage, np.float32), flags, flags, logprob, None)

    entropy = np.float32([[2.0, 0.5], [9.0, 9.0], [9.0, 9.0], [1.0, 1.5]])
    rows = [row(value) for value in (3.0, 1.0, 0.0, -3.0)]
    found = chosen_rows(rows, trajectories, Choose(episodes=0.5, tokens=0.5), lambda rows: [*entropy])
    assert [one.trained.tolist() for one in found] == [[True, False], [False, False], [False, False], [False, True]]
    assert all(one.chosen.all() for one in found)
    found = chosen_rows(rows, trajectories, Choose(episodes=0.5, tokens=1.0), lambda rows: [])
    assert [bool(one.trained.all()) for one in found] == [True, False, False, True]


def test_shares_rise_linearly_to_all() -> None:
    """Half of the way from 0.2 and 0.6."""
    half = relaxed(Choose(episodes=0.2, tokens=0.6), 0.5)
    assert (half.episodes, half.tokens) == (pytest.approx(0.6), pytest.approx(0.8))
    assert relaxed(Choose(episodes=0.2, tokens=0.6), 1.0) == Choose(episodes=1.0, tokens=1.0)
