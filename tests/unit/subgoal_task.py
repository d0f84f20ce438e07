"""A task with subgoals that is small enough to count: every episode with its probability, exact gradients and values.

Three turns, two subgoals, two actions. Work gets on by one step with probability 0.8 when action 1 is taken; the
episode earns 1 if two steps are done at its end. The policy is a softmax in every decision: SWITCH or KEEP (a logit for
each amount of work done and subgoal in force), the subgoal (for each amount), the action (for each amount and subgoal).

    python tests/unit/subgoal_task.py

prints what docs/method.md shows: bias and variance of HiPER's policy gradient by λ_b and critic, without sampling.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any

import numpy as np
from credit_arrays import make_turns, settings_of

from hiper.algorithms import hiper
from hiper.algorithms.interface import Floats, Turns

TURNS, WANTED, SUCCEEDS = 3, 2, 0.8
NONE = 2  # no subgoal yet
REFERENCE = 4  # the policy of docs/method.md: it wins every other episode
SHAPES = {"switch": (WANTED + 1, NONE + 1), "subgoal": (WANTED + 1,), "action": (WANTED + 1, 2)}
SIZES = [int(np.prod(shape)) for shape in SHAPES.values()]

Values = Mapping[str, Floats]
"""By head `[trajectory, turn + 1]`, as `hiper.credit` takes them."""


@dataclass(frozen=True)
class Step:
    """One turn of one episode: work `done` before it, subgoal in force before and after, choices, and whether the
    subgoal was chosen here."""

    done: int
    before: int
    switch: int
    subgoal: int
    action: int
    starts: bool
    advances: int


def episodes(turn: int = 0, done: int = 0, before: int = NONE) -> Iterator[tuple[Step, ...]]:
    """Every course that an episode can take from here."""
    if turn == TURNS:
        yield ()
        return
    for switch, action in product((0, 1), repeat=2):
        starts = bool(switch) or turn == 0
        for subgoal, advances in product((0, 1) if starts else (before,), (0, 1) if action else (0,)):
            step = Step(done, before, switch, subgoal, action, starts, advances)
            for rest in episodes(turn + 1, min(done + advances, WANTED), subgoal):
                yield (step, *rest)


def sigmoid(logit: Any) -> Any:
    return 1.0 / (1.0 + np.exp(-logit))


def policy_value(parameters: Any, gamma: float) -> Any:
    """J = E Σ γ^t r_t by dynamic programming; complex parameters give its derivatives."""
    switch, subgoal, action = (
        sigmoid(part).reshape(shape)
        for part, shape in zip(np.split(parameters, np.cumsum(SIZES)[:-1]), SHAPES.values(), strict=True)
    )

    def to_go(turn: int, done: int, before: int) -> Any:
        if turn == TURNS:
            return float(done == WANTED)
        values = []
        for aim in (0, 1):
            advances = SUCCEEDS * action[done, aim]
            further = to_go(turn + 1, min(done + 1, WANTED), aim)
            values.append(advances * further + (1 - advances) * to_go(turn + 1, done, aim))
        chosen = subgoal[done] * values[1] + (1 - subgoal[done]) * values[0]
        if before == NONE:
            return chosen
        return switch[done, before] * chosen + (1 - switch[done, before]) * values[before]

    return gamma ** (TURNS - 1) * to_go(0, 0, NONE)


class SubgoalTask:
    """All episodes of one policy. `parameters` [p] are its logits in the order of SHAPES."""

    def __init__(self, seed: int, gamma: float = 1.0) -> None:
        self.gamma = gamma
        self.parameters = np.random.default_rng(seed).normal(size=sum(SIZES))
        self.paths = list(episodes())
        count = len(self.paths)
        columns = {
            name: np.array([[getattr(step, name) for step in path] for path in self.paths])
            for name in Step.__annotations__
        }
        self.done, self.before, self.starts = columns["done"], columns["before"], columns["starts"]
        self.subgoal, self.action = columns["subgoal"], columns["action"]
        last = self.done[:, -1] + columns["advances"][:, -1]
        reward = np.zeros(self.done.shape)
        reward[:, -1] = last >= WANTED
        self.turns: Turns = make_turns([TURNS] * count, reward=reward, switch=columns["switch"].astype(bool))
        self.returns = reward[:, -1:] * gamma ** np.arange(TURNS - 1, -1, -1)
        self.scores, chances = self._scores(columns)
        moves = np.where(columns["action"] == 1, np.where(columns["advances"] == 1, SUCCEEDS, 1 - SUCCEEDS), 1.0)
        self.probability: Floats = (chances * moves).prod(axis=1)

    def _scores(self, columns: Mapping[str, Any]) -> tuple[dict[str, Floats], Floats]:
        """∇ log π of each decision `[episode, turn, parameter]`, 0 where there was none, and the chance of all."""
        places = {"switch": (self.done, self.before), "subgoal": (self.done,), "action": (self.done, self.subgoal)}
        made = {"switch": np.ones_like(self.starts), "subgoal": self.starts, "action": np.ones_like(self.starts)}
        offset, scores, chances = 0, {}, np.ones(self.done.shape)
        for (name, shape), size in zip(SHAPES.items(), SIZES, strict=True):
            number = offset + np.ravel_multi_index(places[name], shape)
            probability, chosen = sigmoid(self.parameters[number]), columns[name]
            scores[name] = np.zeros((*self.done.shape, sum(SIZES)))
            score = np.where(made[name], chosen - probability, 0.0)
            np.put_along_axis(scores[name], number[:, :, None], score[:, :, None], axis=2)
            chances *= np.where(made[name], np.where(chosen == 1, probability, 1 - probability), 1.0)
            offset += size
        return scores, chances

    @cached_property
    def gradient(self) -> Floats:
        """∇J [parameter], by complex steps through the dynamic programme: it knows nothing of episodes or scores."""
        tiny = 1e-30
        steps = self.parameters + 1j * tiny * np.eye(len(self.parameters))
        return np.array([policy_value(step, self.gamma).imag / tiny for step in steps])

    def expectation(self, per_episode: Any) -> Any:
        return np.tensordot(self.probability, per_episode, axes=1)

    def given(self, *known: Any, where: Any = True) -> Floats:
        """E[G_t | turn, known] at every turn of every episode `[episode, turn]`; over the turns in `where`."""
        keys = np.ravel_multi_index(
            (np.broadcast_to(np.arange(TURNS), self.done.shape), *known), (TURNS, *(4 for _ in known))
        )
        weight = (self.probability[:, None] * np.broadcast_to(where, self.done.shape)).ravel()
        total = np.bincount(keys.ravel(), weight, minlength=keys.max() + 1)
        mean = np.bincount(keys.ravel(), weight * self.returns.ravel(), minlength=keys.max() + 1)
        return np.asarray((mean / np.maximum(total, 1e-300))[keys])

    def exact_values(self) -> dict[str, Floats]:
        """The critics that the published method's theorem asks for."""
        return _behind_last_turn(
            low=self.given(self.done, self.subgoal),
            high=self.given(self.done, where=self.starts),
            switch=self.given(self.done, self.before),
        )

    def constant_values(self) -> dict[str, Floats]:
        """Critics that have learned the mean return and nothing else."""
        mean = np.full(self.done.shape, self.expectation(self.returns[:, 0]))
        return _behind_last_turn(low=mean, high=mean, switch=mean)

    def wrong_values(self, seed: int) -> dict[str, Floats]:
        """Critics that say anything, of what each may know: the state and, the low one, the subgoal just chosen."""
        rng = np.random.default_rng(seed)
        tables = {name: rng.normal(size=(TURNS, WANTED + 1, NONE + 1, NONE + 1)) for name in ("low", "high", "switch")}
        turn = np.arange(TURNS)
        return _behind_last_turn(
            low=tables["low"][turn, self.done, self.before, self.subgoal],
            high=tables["high"][turn, self.done, self.before, NONE],
            switch=tables["switch"][turn, self.done, self.before, NONE],
        )

    def advantages(self, values: Values, **settings: Any) -> dict[str, Floats]:
        """HiPER's, by block `[episode, turn]`, not normalised."""
        credit = hiper.credit(self.turns, values, settings_of("hiper", gamma=self.gamma, **settings))
        return {name: getattr(credit, name) for name in SHAPES}

    def exact_advantages(self) -> dict[str, Floats]:
        """Expected return of what was chosen less that of the choice, by block."""
        baseline = {head: values[:, :-1] for head, values in self.exact_values().items()}
        return {
            "switch": self.given(self.done, self.before, self.turns.switch.astype(int)) - baseline["switch"],
            "subgoal": np.where(self.starts, self.given(self.done, self.subgoal) - baseline["high"], 0.0),
            "action": self.given(self.done, self.subgoal, self.action) - baseline["low"],
        }

    def gradients(self, advantages: Mapping[str, Floats]) -> Floats:
        """What each episode gives for ∇J, [episode, parameter]: Σ_t γ^t Σ ∇ log π · advantage, over a turn's blocks."""
        parts = sum(self.scores[name] * advantage[:, :, None] for name, advantage in advantages.items())
        return np.tensordot(parts, self.gamma ** np.arange(TURNS), axes=(1, 0))

    def bias(self, gradients: Floats) -> float:
        """|E[gradient] − ∇J| / |∇J|."""
        return float(np.linalg.norm(self.expectation(gradients) - self.gradient) / np.linalg.norm(self.gradient))

    def variance(self, gradients: Floats) -> float:
        """Of one episode's gradient: the trace of its covariance, divided by |∇J|²."""
        around = gradients - self.expectation(gradients)
        return float(self.expectation((around**2).sum(axis=1)) / (self.gradient**2).sum())

    def unexplained(self, values: Values) -> float:
        """λ_b of `auto` in a batch so large that it holds every episode by its probability."""
        weight = self.probability[:, None] * self.starts

        def spread(numbers: Floats) -> float:
            mean = (weight * numbers).sum() / weight.sum()
            return float((weight * (numbers - mean) ** 2).sum())

        return min(1.0, spread(self.returns - values["high"][:, :-1]) / spread(self.returns))

    def errors(self, advantages: Mapping[str, Floats]) -> dict[str, float]:
        """By block the root mean square of what its advantages differ by from the exact ones, where it is chosen."""
        found = {}
        for name, exact in self.exact_advantages().items():
            chosen = self.starts if name == "subgoal" else np.ones_like(self.starts)
            weight = self.probability[:, None] * chosen
            found[name] = float(np.sqrt((weight * (advantages[name] - exact) ** 2).sum() / weight.sum()))
        return found


def _behind_last_turn(**values: Floats) -> dict[str, Floats]:
    """A column for bootstraps, which no episode here has."""
    return {name: np.pad(array, ((0, 0), (0, 1))) for name, array in values.items()}


CRITICS: dict[str, Callable[[SubgoalTask], Values]] = {
    "exact": SubgoalTask.exact_values,
    "constant": SubgoalTask.constant_values,
    "wrong": lambda task: task.wrong_values(1),
}
ESTIMATORS: dict[str, dict[str, float]] = {
    "λ_b = 0 (`hiper`)": {"lam_seg": 0.95, "lam_boundary": 0.0},
    "λ_b = 0.5": {"lam_seg": 0.95, "lam_boundary": 0.5},
    "λ_b = 1 (`hiper_traced`)": {"lam_seg": 0.95, "lam_boundary": 1.0},
    "λ_b = λ_seg = 1": {"lam_seg": 1.0, "lam_boundary": 1.0},
}


def table(task: SubgoalTask) -> list[str]:
    """Rows of Markdown: by critic and estimator bias and variance of the gradient, errors of the advantages."""
    rows = [_row("–", "exact advantages", task, task.exact_advantages())]
    for critic, values_of in CRITICS.items():
        values = values_of(task)
        rows += [_row(critic, name, task, task.advantages(values, **given)) for name, given in ESTIMATORS.items()]
    return rows


def _row(critic: str, name: str, task: SubgoalTask, advantages: Mapping[str, Floats]) -> str:
    gradients, errors = task.gradients(advantages), task.errors(advantages)
    shown = [f"{100 * task.bias(gradients):.1f} %", f"{task.variance(gradients):.1f}"]
    shown += [f"{errors[level]:.2f}" for level in ("action", "subgoal", "switch")]
    return f"| {critic} | {name} | {' | '.join(shown)} |"


if __name__ == "__main__":
    print("\n".join(table(SubgoalTask(seed=REFERENCE))))
