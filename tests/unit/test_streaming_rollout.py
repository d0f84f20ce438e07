"""Episodes that go on as their answers come: the same trajectories whatever the order, nobody waits for the slow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hiper.benchmarks.base import Info
from hiper.config import Prompt
from hiper.errors import UserError
from hiper.plan_execute import render
from hiper.policies.base import Request, Response, StreamingPolicy
from hiper.stages.rollout import Rollout
from hiper.trajectory import Task, Trajectory

PROMPT = Prompt(
    interface="plan_execute",
    style="compact",
    history_length=1,
    max_tokens=100,
    system=None,
    thinking=False,
    subgoal_turns=None,
)
LETTERS = ("a", "b", "c")


class Corridor:
    """Three actions a turn; what is seen names all that was done. Task `n` takes n turns."""

    def reset(self, task: Task) -> tuple[str, Info]:
        self.task, self.done = task, ""
        return self._seen()

    def step(self, action: str) -> tuple[str, float, bool, bool, Info]:
        if self.task.task_type == "damaged":
            raise UserError("damaged")
        if self.task.task_type == "broken" and self.done:
            raise RuntimeError("broken")
        self.done += action
        over = len(self.done) == int(self.task.id)
        return self._seen()[0], float(action == "a"), over, False, self._seen()[1]

    def _seen(self) -> tuple[str, Info]:
        won = bool(self.done) and len(self.done) == int(self.task.id)
        return f"so far {self.done}", Info("walk", LETTERS, won, float(won))

    def close(self) -> None:
        return


class Corridors:
    name = "alfworld"

    def environment(self) -> Corridor:
        return Corridor()

    def tasks(self, split: str) -> list[Task]:
        return []


def answer(request: Request, seed: Sequence[int]) -> Response:
    """An action drawn from the request's seed."""
    draw = np.random.default_rng(seed).integers(len(LETTERS))
    return Response(render(True, "go on", LETTERS[draw]))


class AllAtOnce:
    """Answers whatever waits, in the order of the tickets: episodes proceed in step."""

    def __init__(self) -> None:
        self.waiting: dict[int, tuple[Request, Sequence[int]]] = {}
        self.tickets = 0
        self.cancelled: list[int] = []

    def fits(self, prompt: str) -> bool:
        return True

    def respond(self, requests: Sequence[Request], seed: Sequence[int]) -> list[Response]:
        raise AssertionError("a policy that streams is not asked to answer in step")

    def submit(self, request: Request, seed: Sequence[int]) -> int:
        self.tickets += 1
        self.waiting[self.tickets] = (request, seed)
        return self.tickets

    def ready(self) -> list[int]:
        return list(self.waiting)

    def collect(self) -> list[tuple[int, Response]]:
        return [(ticket, answer(*self.waiting.pop(ticket))) for ticket in self.ready()]

    def cancel(self) -> None:
        self.cancelled += self.waiting
        self.waiting.clear()


@dataclass
class Chosen(AllAtOnce):
    """Answers some of what waits, in an order that `choose` makes up."""

    choose: Callable[[list[int]], list[int]] = field(default=list)

    def __post_init__(self) -> None:
        super().__init__()

    def ready(self) -> list[int]:
        return self.choose(super().ready())


def play(policy: StreamingPolicy, lengths: Sequence[int], kind: str = "") -> list[Trajectory]:
    tasks = [Task(str(length), "train", kind if i == 0 else "") for i, length in enumerate(lengths)]
    return Rollout(Corridors(), policy, PROMPT).play(tasks, range(len(tasks)), [4])


@settings(max_examples=50)
@given(st.data(), st.lists(st.integers(1, 6), min_size=1, max_size=6))
def test_the_order_of_answers_does_not_matter(data: st.DataObject, lengths: list[int]) -> None:
    """Whatever answers come first and however many at once, the trajectories are those of episodes in step."""

    def choose(waiting: list[int]) -> list[int]:
        order = data.draw(st.permutations(waiting))
        return order[: data.draw(st.integers(1, len(order)))]

    assert play(Chosen(choose), lengths) == play(AllAtOnce(), lengths)


def test_a_streamed_turn_has_what_a_turn_in_step_has() -> None:
    """With answers that depend on the prompt alone both loops give equal trajectories."""

    class InStep:
        def fits(self, prompt: str) -> bool:
            return True

        def respond(self, requests: Sequence[Request], seed: Sequence[int]) -> list[Response]:
            return [answer(request, list(request.prompt.encode())) for request in requests]

    class Streamed(AllAtOnce):
        def submit(self, request: Request, seed: Sequence[int]) -> int:
            return super().submit(request, list(request.prompt.encode()))

    lengths = [3, 1, 5]
    tasks = [Task(str(length), "train", "") for length in lengths]
    assert play(Streamed(), lengths) == Rollout(Corridors(), InStep(), PROMPT).play(tasks, range(3), [4])


def test_a_slow_episode_does_not_hold_the_others() -> None:
    """The first episode's only answer comes last of all, when the others are over."""
    policy = Chosen(lambda waiting: [ticket for ticket in waiting if ticket != 1] or waiting)
    asked: list[int] = []
    submit = policy.submit

    def notes(request: Request, seed: Sequence[int]) -> int:
        asked.append(seed[1])
        return submit(request, seed)

    policy.submit = notes  # type: ignore[method-assign]
    slow, *others = play(policy, [1, 5, 5])
    assert len(slow.turns) == 1 and [len(t.turns) for t in others] == [5, 5]
    assert asked == [0, 1, 2, *[1, 2] * 4]


def test_a_broken_episode_leaves_the_others_alone() -> None:
    """An environment that raises ends its own episode, as a failure with the turns so far."""
    broken, other = play(AllAtOnce(), [4, 3], "broken")
    assert broken.failure == "step: RuntimeError: broken" and len(broken.turns) == 1
    assert other.failure is None and len(other.turns) == 3


def test_nothing_goes_on_after_a_user_error() -> None:
    """A damaged game ends the rollout, and the policy is told to forget what still waits."""
    policy = Chosen(lambda waiting: waiting[:1])
    with pytest.raises(UserError):
        play(policy, [4, 3, 3], "damaged")
    assert policy.cancelled == [2, 3] and not policy.waiting
