"""Plans that are written first: how they are read, asked for, followed and demonstrated, and the phases that train
them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pipeline import run_settings
from test_prompts import builder, state
from test_streaming_rollout import AllAtOnce, Corridors

from hiper.benchmarks.experts import Decision
from hiper.config import Prompt
from hiper.errors import UserError
from hiper.learning.batches import TurnRow
from hiper.learning.guide import Guide
from hiper.plan_execute import NO_PLAN, parse_plan, parse_step, render_plan, render_step, subgoals_of
from hiper.policies.base import Request, Response
from hiper.prompts import History, State
from hiper.stages.demonstrations import ANSWERS
from hiper.stages.phases import PhasedSampling
from hiper.stages.rollout import Rollout
from hiper.trajectory import Generation, Task, Trajectory, Turn

PLAN = ("find a mug", "cool it")
TURN = Turn("seen", "prompt", "answer", True, "go", "go", "look", True, 0.0)
TASKS = [Task(f"task {number}", "train", "look") for number in range(5)]


def test_canonical_answers_are_read_as_they_were_meant() -> None:
    """A plan with its subgoals in order and no action; a step with its decision and action."""
    read = parse_plan(render_plan(PLAN))
    assert read.valid and read.switch and read.action == "" and subgoals_of(read.subgoal) == PLAN
    for switch in (True, False):
        step = parse_step(render_step(switch, "look"))
        assert (step.valid, step.switch, step.action, step.subgoal) == (True, switch, "look", None)


@pytest.mark.parametrize("text", ["", "<subgoal> ; ;</subgoal>", "<action>look</action>", "<subgoal>open"])
def test_an_answer_without_a_plan_is_malformed_and_plans_the_task(text: str) -> None:
    """Nothing of it is an action."""
    read = parse_plan(text)
    assert not read.valid and read.action == "" and subgoals_of(read.subgoal) == (NO_PLAN,)


def test_a_step_is_malformed_without_its_blocks() -> None:
    """A subgoal block is text like any other there."""
    assert parse_step("<action>look</action>").problems == ("no switch block",)
    assert parse_step("<subgoal><action>x</action></subgoal><switch>keep</switch><action>look</action>").action == "x"


@pytest.mark.parametrize("style", ["full", "compact"])
def test_prompts_ask_for_a_plan_and_then_for_its_steps(style: str) -> None:
    """The first shows no subgoal; the others the plan and the current one."""
    made = builder(style=style, interface="blueprint")
    first = made.build(replace(state(), subgoal=None))
    later = made.build(replace(state(), subgoal=PLAN[1], plan=PLAN))
    assert "lan" in first.split("\n")[0] and "ubgoal:" not in first
    assert "Plan: find a mug; cool it" in later and "ubgoal: cool it" in later


def test_the_guide_permits_a_plan_without_a_subgoal_and_steps_with_one(tokenizer: Any) -> None:
    """And nothing else."""
    guide = Guide(tokenizer, "blueprint", max_text_tokens=9, end=tokenizer.eos_token_id)

    def accepts(text: str, subgoal: str | None) -> bool:
        answer = guide.start(("look", "go to desk 1"), subgoal)
        for token in [*tokenizer.encode(text, add_special_tokens=False), guide.end]:
            permitted = answer.allowed()
            if permitted and permitted[0] >= 0 and token not in permitted:
                return False
            if answer.advance(token):
                return token == guide.end
        return False

    assert accepts(render_plan(["find a", "mug"]), None) and not accepts(render_plan(["find a"]), "find a")
    assert accepts(render_step(True, "look"), "find a") and accepts(render_step(False, "go to desk 1"), "find a")
    assert not accepts(render_step(True, "look"), None) and not accepts(render_step(True, "jump"), "find a")


class Planner:
    """Plans `plan`, then decides as `switches` says and does `a`."""

    def __init__(self, plan: str, switches: Sequence[bool]) -> None:
        self.plan, self.switches, self.asked = plan, list(switches), list[str]()

    def fits(self, prompt: str) -> bool:
        return True

    def respond(self, requests: Sequence[Request], seed: Sequence[int]) -> list[Response]:
        (request,) = requests
        self.asked.append(request.prompt)
        if request.subgoal is None:
            return [Response(f"<subgoal>{self.plan}</subgoal>")]
        return [Response(render_step(self.switches.pop(0), "a"))]


def prompt(subgoal_turns: int | None = None) -> Prompt:
    return Prompt(
        interface="blueprint",
        style="compact",
        history_length=1,
        max_tokens=100,
        system=None,
        thinking=False,
        subgoal_turns=subgoal_turns,
    )


def test_an_agent_follows_its_plan() -> None:
    """Writing it takes no step of the game and is no part of the history. SWITCH begins the next subgoal, for the
    turn's own action; after the last there is none."""
    policy = Planner("x; y", [False, True, True])
    (played,) = Rollout(Corridors(), policy, prompt()).play([Task("3", "train", "")], [0], [4])
    assert [turn.subgoal for turn in played.turns] == ["x", "x", "y", "y"] and played.won
    assert [turn.action for turn in played.turns] == ["", "a", "a", "a"] and played.turns[0].subgoal_text == "x; y"
    assert played.earned == 3.0 and "Did" not in policy.asked[1] and "Plan: x; y" in policy.asked[1]


def test_the_next_subgoal_begins_by_itself_where_the_budget_of_turns_is_spent() -> None:
    """After two turns with the first; the last has as many as it takes."""
    policy = Planner("x; y", [False] * 6)
    (played,) = Rollout(Corridors(), policy, prompt(2)).play([Task("6", "train", "")], [0], [4])
    assert [turn.subgoal for turn in played.turns] == ["x", "x", "x", "y", "y", "y", "y"]


def test_a_plan_that_is_given_is_followed_by_who_did_not_write_it() -> None:
    """It is the episode's first turn; whoever only plans plays no step."""
    (plan,) = Rollout(Corridors(), Planner("x; y", []), prompt()).plan([Task("2", "train", "")], [0], [4])
    assert plan is not None and plan.subgoal_text == "x; y"
    policy = Planner("never asked", [True, False])
    rollout = Rollout(Corridors(), policy, prompt())
    (played,) = rollout.play([Task("2", "train", "")], [0], [4], blueprints=[plan])
    assert played.turns[0] is plan and [turn.subgoal for turn in played.turns] == ["x", "y", "y"]


class StreamedPlanner(AllAtOnce):
    def collect(self) -> list[tuple[int, Response]]:
        answers = {True: "<subgoal>x; y</subgoal>", False: render_step(True, "a")}
        waiting, self.waiting = self.waiting, {}
        return [(ticket, Response(answers[request.subgoal is None])) for ticket, (request, _) in waiting.items()]


def test_policies_that_stream_plan_alike() -> None:
    """A plan alone, and a plan with its steps."""
    tasks = [Task("2", "train", ""), Task("3", "train", "")]
    rollout = Rollout(Corridors(), StreamedPlanner(), prompt())
    plans = rollout.plan(tasks, [0, 1], [4])
    assert [turn is not None and turn.subgoal_text for turn in plans] == ["x; y"] * 2
    assert [len(played.turns) for played in rollout.play(tasks, [0, 1], [4])] == [3, 4]


def test_experts_show_the_plan_that_they_turned_out_to_have() -> None:
    """First its subgoals, then every turn under the subgoal it found, with SWITCH where it left it."""
    decisions = [Decision(True, "x", "a"), Decision(False, "x", "b"), Decision(True, "y", "c")]
    moments = [(State("do", History(), f"seen {n}", None, ("a",)), one) for n, one in enumerate(decisions)]
    answered = ANSWERS["blueprint"](moments)
    assert answered is not None
    assert [(shown.subgoal, tuple(shown.plan), answer) for shown, answer in answered] == [
        (None, (), render_plan(["x", "y"])),
        ("x", ("x", "y"), render_step(False, "a")),
        ("x", ("x", "y"), render_step(False, "b")),
        ("x", ("x", "y"), render_step(True, "c")),
    ]
    assert ANSWERS["blueprint"]([(moments[0][0], Decision(True, "x; y", "a"))]) is None


class Game:
    """Group g's member m writes the plan `g m`; a plan earns (5 g + 3 m) % 4, whoever executes it."""

    def __init__(self) -> None:
        self.executed: list[tuple[list[str], bool]] = []

    def plan(self, tasks: Sequence[Task], groups: Sequence[int], seed: Sequence[int]) -> list[Turn | None]:
        return [
            replace(TURN, subgoal_text=f"{g} {n % 2}", reward=(5.0 * g + 3 * (n % 2)) % 4) for n, g in enumerate(groups)
        ]

    def play(
        self,
        tasks: Sequence[Task],
        groups: Sequence[int],
        seed: Sequence[int],
        blueprints: Sequence[Turn | None] | None = None,
        greedy: bool = False,
    ) -> list[Trajectory]:
        assert blueprints is not None
        plans = [plan for plan in blueprints if plan is not None]
        self.executed.append(([str(plan.subgoal_text) for plan in plans], greedy))
        played = zip(tasks, groups, plans, strict=True)
        return [Trajectory(task, group, (plan, TURN), False, True, False) for task, group, plan in played]


def sampling(game: Game, iterations: int = 4) -> PhasedSampling:
    settings = run_settings(
        "alfworld_test-test-grpo-seed0",
        prompt__interface="blueprint",
        training__iterations=iterations,
        training__episodes=4,
        algorithm__group_size=2,
        algorithm__sampling__phases=True,
    )
    return PhasedSampling(settings, TASKS, game.play, game.plan)


def test_plans_and_their_executions_take_turns() -> None:
    """First each plan once, greedily: of 0 and 3, of 1 and 0 the best are `0 1` and `1 0`. Then all episodes of a group
    follow its best, sampled, on the same tasks. Then new plans."""
    game = Game()
    phased = sampling(game)
    first, second, third = (phased.sample(iteration, 0) for iteration in range(3))
    assert game.executed[:2] == [(["0 0", "0 1", "1 0", "1 1"], True), (["0 1", "0 1", "1 0", "1 0"], False)]
    assert [one.task for one in second.played] == [one.task for one in first.played] and game.executed[2][1]
    assert [one.metrics["train/planning"] for one in (first, second, third)] == [1.0, 0.0, 1.0]
    assert [[len(one.turns) for one in sampled.own] for sampled in (first, second)] == [[2] * 4, [1] * 4]  # plans once
    flags = np.ones(1, bool)
    row = TurnRow(np.zeros(2, np.int32), 1, np.ones(1, np.float32), flags, flags, np.zeros(1, np.float32), None)
    for sampled, wanted in ((first, [True, False]), (second, [False, True])):
        found = phased.learned([row] * 8, sampled)
        assert [bool(one.trained.all()) for one in found] == wanted * 4 and all(one.chosen.all() for one in found)


def test_a_run_between_two_phases_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    """With the best plans, as tensors and plain values."""
    whole = sampling(Game())
    whole.sample(0, 0)
    tokens = np.arange(2, dtype=np.int32)
    made = Generation(tokens, tokens, np.zeros(2, np.float32), ((1,), ()))
    whole.best = [(task, replace(plan, generation=made)) for task, plan in whole.best]
    torch.save(whole.state(), tmp_path / "state.pt")
    resumed = sampling(Game())
    resumed.restore(torch.load(tmp_path / "state.pt", weights_only=True))
    assert str(resumed.best) == str(whole.best)
    assert str(resumed.sample(1, 0).played) == str(whole.sample(1, 0).played) and not resumed.best


def test_phases_need_plans_and_draw_for_themselves() -> None:
    """Another interface is an error that says so, and so are other episodes in a group's place."""
    for changes, wanted in (
        ({}, "there are no plans that could learn"),
        ({"prompt__interface": "blueprint", "algorithm__sampling__resample": 1}, "resample, replay.successes"),
    ):
        with pytest.raises(UserError, match=wanted):
            run_settings("alfworld_test-test-grpo-seed0", algorithm__sampling__phases=True, **changes)
