"""What the agent is shown. The constant part comes first, so that prefix caches can keep it; the fields are those of
the released code (task, steps taken, recent history, observation, current subgoal, admissible actions), the words are
ours.

`full` prompts explain the format to a pretrained model; `compact` ones carry the same fields for models trained from
scratch, which learn the format from demonstrations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from hiper.config import Prompt

PLAN_EXECUTE_RULES = """\
You act in a house described in text. You work towards the task through short subgoals: one subgoal names something
that a few actions can achieve; it is neither the whole task nor a single action. At every step you first decide whether
to go on with the current subgoal or to replace it, then you act.

Answer with exactly these three blocks and nothing else, no reasoning, no comments:
<switch>KEEP</switch> or <switch>SWITCH</switch>: KEEP while the current subgoal still fits, SWITCH when it has been
reached, has become pointless, or there is none yet.
<subgoal>...</subgoal>: after KEEP the current subgoal copied letter by letter, after SWITCH the new one.
<action>...</action>: one of the admissible actions, copied letter by letter.

The shape of an answer:
<switch>...</switch>
<subgoal>...</subgoal>
<action>...</action>
"""

REACT_RULES = """\
You act in a house described in text. At every step you think about what the task still needs, then you act.

Answer with exactly these two blocks and nothing else:
<think>...</think>: your reasoning about the next step.
<action>...</action>: one of the admissible actions, copied letter by letter.
"""

COMPACT_RULES = {"plan_execute": "Decide, name the subgoal, act.\n", "react": "Think, act.\n"}
FULL_RULES = {"plan_execute": PLAN_EXECUTE_RULES, "react": REACT_RULES}

WELCOME = "-= Welcome to TextWorld, ALFRED! =-"


@dataclass
class History:
    """What has been seen and done in one episode, oldest first."""

    observations: list[str] = field(default_factory=list)
    actions: list[str] = field(default_factory=list)

    def add(self, observation: str, action: str) -> None:
        self.observations.append(observation)
        self.actions.append(action)


def build_prompt(
    settings: Prompt,
    instruction: str,
    history: History,
    observation: str,
    subgoal: str | None,
    admissible_actions: Sequence[str],
) -> str:
    """The user message of one turn. `help` is never offered, as in the released code."""
    actions = [action for action in admissible_actions if action != "help"]
    build = _full if settings.style == "full" else _compact
    return build(settings, instruction, history, observation, subgoal, actions)


def _recent(settings: Prompt, history: History) -> list[tuple[int, str, str]]:
    """The last `history_length` (step number from 1, observation, action)."""
    pairs = list(enumerate(zip(history.observations, history.actions, strict=True), start=1))
    return [(number, seen, done) for number, (seen, done) in pairs[max(0, len(pairs) - settings.history_length) :]]


def _full(
    settings: Prompt, instruction: str, history: History, observation: str, subgoal: str | None, actions: list[str]
) -> str:
    parts = [FULL_RULES[settings.interface], f"Your task: {instruction}"]
    if history.actions:
        shown = _recent(settings, history)
        parts.append(f"Steps taken so far: {len(history.actions)}. The last {len(shown)} of them:")
        parts += [f"[Observation {n}: '{seen}', Action {n}: '{done}']" for n, seen, done in shown]
    parts.append(f"Current observation: {observation}")
    if settings.interface == "plan_execute":
        parts.append(f"Current subgoal: {subgoal or 'None'}")
    listed = "\n ".join(f"'{action}'" for action in actions)
    parts.append(f"Admissible actions: [{listed}]")
    return "\n".join(parts)


def _compact(
    settings: Prompt, instruction: str, history: History, observation: str, subgoal: str | None, actions: list[str]
) -> str:
    parts = [f"{COMPACT_RULES[settings.interface]}Task: {instruction}"]
    parts += [f"Before: {_short(seen)}\nDid: {done}" for _, seen, done in _recent(settings, history)]
    parts.append(f"Step: {len(history.actions)}\nNow: {_short(observation)}")
    parts.append(f"Can: {'; '.join(actions)}")
    if settings.interface == "plan_execute":
        # last, next to the answer that keeps or replaces it
        parts.append(f"Subgoal: {subgoal or 'None'}")
    return "\n".join(parts)


def _short(observation: str) -> str:
    """Without the welcome line and the task sentence, which has a field of its own."""
    return observation.replace(WELCOME, "").split("Your task is to:")[0].strip()
