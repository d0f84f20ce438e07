"""What a prompt says besides the state of the task: the rules of the answer, and the contract of a
benchmark's words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

PLAN_EXECUTE_RULES = """\
{place} You work towards the task through short subgoals: one subgoal names something that a few actions can achieve; it
is neither the whole task nor a single action. At every step you first decide whether to go on with the current subgoal
or to replace it, then you act.

Answer with exactly these three blocks and nothing else, no reasoning, no comments:
<switch>KEEP</switch> or <switch>SWITCH</switch>: KEEP while the current subgoal still fits, SWITCH when it has been
reached, has become pointless, or there is none yet.
<subgoal>...</subgoal>: after KEEP the current subgoal copied letter by letter, after SWITCH the new one.
<action>...</action>: one of the admissible actions, copied letter by letter.{acting}

The shape of an answer:
<switch>...</switch>
<subgoal>...</subgoal>
<action>...</action>
"""

REACT_RULES = """\
{place} At every step you think about what the task still needs, then you act.

Answer with exactly these two blocks and nothing else:
<think>...</think>: your reasoning about the next step.
<action>...</action>: one of the admissible actions, copied letter by letter.{acting}
"""

PLAN_RULES = """\
{place} Before you act you write a plan: the subgoals that lead to the task, in order. One subgoal names something that
a few actions can achieve; it is neither the whole task nor a single action.

Answer with exactly this block and nothing else, no reasoning, no comments:
<subgoal>...; ...; ...</subgoal>: the subgoals of the plan, a semicolon between two of them.
"""

STEP_RULES = """\
{place} You follow a plan, subgoal by subgoal. At every step you first decide whether to go on with the current subgoal
or to begin the next one of the plan, then you act.

Answer with exactly these two blocks and nothing else, no reasoning, no comments:
<switch>KEEP</switch> or <switch>SWITCH</switch>: KEEP while the current subgoal still fits, SWITCH when it has been
reached or has become pointless.
<action>...</action>: one of the admissible actions, copied letter by letter.{acting}
"""

RULES = {"plan_execute": PLAN_EXECUTE_RULES, "react": REACT_RULES, "plan": PLAN_RULES, "step": STEP_RULES}
COMPACT_RULES = {
    "plan_execute": "Decide, name the subgoal, act.\n",
    "react": "Think, act.\n",
    "plan": "Plan.\n",
    "step": "Decide, act.\n",
}


def as_it_is(observation: str, instruction: str, actions: Sequence[str] = ()) -> str:
    """A page shown in full; right for `page`, `now` and `before`."""
    return observation


def all_actions(page: str, actions: Sequence[str]) -> str:
    """Every admissible action, in compact prompts."""
    return "; ".join(actions)


@dataclass(frozen=True)
class Words:
    """How one benchmark is put into words.

    `place` opens the rules, `acting` ends the line about actions. `page` shows an observation in full prompts, `now`
    and `before` show the present one and earlier ones in compact prompts; each takes the task sentence, which has a
    field of its own and need not be said again, and the actions that are admissible. `listed` and `offered` show these
    actions in full and in compact prompts.
    """

    place: str
    acting: str = ""
    page: Callable[[str, str], str] = as_it_is
    now: Callable[[str, str, Sequence[str]], str] = as_it_is
    before: Callable[[str, str], str] = as_it_is
    read: Callable[[str, str], str] = (
        as_it_is  # an observation as reports show it to people; the task sentence likewise
    )
    listed: str = "\n "  # between two admissible actions of a full prompt
    offered: Callable[[str, Sequence[str]], str] = all_actions

    def rules(self, style: str, answer: str) -> str:
        """Of the answer that is asked for: `plan_execute`, `react`; with a blueprint its `plan`, or a `step` of it."""
        if style == "compact":
            return COMPACT_RULES[answer]
        return RULES[answer].format(place=self.place, acting=self.acting)
