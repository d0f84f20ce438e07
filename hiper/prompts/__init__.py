"""What the agent is shown. The constant part comes first, so that prefix caches can keep it; the fields are those of
the released code (task, steps taken, recent history, observation, current subgoal, admissible actions), the words are
ours.

`full` prompts explain the format to a pretrained model; `compact` ones carry the same fields for models trained from
scratch, which learn the format from demonstrations.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from hiper.config import Prompt
from hiper.prompts.words import Words

CUT = " …"  # where an observation was too long


@dataclass
class History:
    """What has been seen and done in one episode, oldest first."""

    observations: list[str] = field(default_factory=list)
    actions: list[str] = field(default_factory=list)

    def add(self, observation: str, action: str) -> None:
        self.observations.append(observation)
        self.actions.append(action)


@dataclass(frozen=True)
class State:
    """What there is to tell in one turn."""

    instruction: str
    history: History
    observation: str
    subgoal: str | None
    admissible_actions: Sequence[str]
    plan: Sequence[str] = ()  # the subgoals of a blueprint, once there is one

    @property
    def actions(self) -> list[str]:
        return offered(self.admissible_actions)


def offered(admissible_actions: Sequence[str]) -> list[str]:
    """Without `help`, as in the released code."""
    return [action for action in admissible_actions if action != "help"]


class PromptBuilder:
    """The user messages of a benchmark that has these words."""

    def __init__(self, settings: Prompt, words: Words) -> None:
        self.settings, self.words = settings, words
        answers = ("plan", "step") if settings.interface == "blueprint" else (settings.interface,)
        self.rules = {answer: self.words.rules(settings.style, answer) for answer in answers}

    def build(self, state: State, with_history: bool = True) -> str:
        """The user message of one turn."""
        history = self._recent(state.history) if with_history else []
        return self._assembled(state, history, self._page(state))

    def fit(self, state: State, fits: Callable[[str], bool]) -> tuple[str, bool]:
        """(the longest message that `fits`, whether something was left out): first the history goes, as in the released
        code, then the end of the observation. One that never fits is returned all the same."""
        whole = self.build(state)
        if fits(whole):
            return whole, False
        bare = self.build(state, with_history=False)
        if fits(bare):
            return bare, True
        page = self._page(state)
        keep, too_many = 0, len(page)
        while too_many - keep > 1:
            middle = (keep + too_many) // 2
            if fits(self._assembled(state, [], page[:middle] + CUT)):
                keep = middle
            else:
                too_many = middle
        return self._assembled(state, [], page[:keep] + CUT), True

    def _page(self, state: State) -> str:
        if self.settings.style == "full":
            return self.words.page(state.observation, state.instruction)
        return self.words.now(state.observation, state.instruction, state.actions)

    def _recent(self, history: History) -> list[tuple[int, str, str]]:
        """The last `history_length` (step number from 1, observation, action)."""
        pairs = list(enumerate(zip(history.observations, history.actions, strict=True), start=1))
        first = max(0, len(pairs) - self.settings.history_length)
        return [(number, seen, done) for number, (seen, done) in pairs[first:]]

    def _assembled(self, state: State, history: list[tuple[int, str, str]], page: str) -> str:
        assemble = self._full if self.settings.style == "full" else self._compact
        return assemble(state, history, page)

    def _rules(self, state: State) -> str:
        planned = "step" if state.plan else "plan"
        return self.rules[planned if self.settings.interface == "blueprint" else self.settings.interface]

    def _subgoals(self, state: State) -> list[str]:
        """What there is to say of the plan and the current subgoal, which is last, next to the answer about it."""
        plan = [f"Plan: {'; '.join(state.plan)}"] if state.plan else []
        if self.settings.interface == "react" or (self.settings.interface == "blueprint" and not plan):
            return []
        return [*plan, f"{'Current s' if self.settings.style == 'full' else 'S'}ubgoal: {state.subgoal or 'None'}"]

    def _full(self, state: State, history: list[tuple[int, str, str]], page: str) -> str:
        parts = [self._rules(state), f"Your task: {state.instruction}"]
        taken = len(state.history.actions)
        if history:
            parts.append(f"Steps taken so far: {taken}. The last {len(history)} of them:")
            shown = ((n, self.words.page(seen, state.instruction), done) for n, seen, done in history)
            parts += [f"[Observation {n}: '{seen}', Action {n}: '{done}']" for n, seen, done in shown]
        elif taken:
            parts.append(f"Steps taken so far: {taken}.")
        parts.append(f"Current observation: {page}")
        parts += self._subgoals(state)
        listed = self.words.listed.join(f"'{action}'" for action in state.actions)
        parts.append(f"Admissible actions: [{listed}]")
        return "\n".join(parts)

    def _compact(self, state: State, history: list[tuple[int, str, str]], page: str) -> str:
        parts = [f"{self._rules(state)}Task: {state.instruction}"]
        parts += [f"Before: {self.words.before(seen, state.instruction)}\nDid: {done}" for _, seen, done in history]
        parts.append(f"Step: {len(state.history.actions)}\nNow: {page}")
        parts.append(f"Can: {self.words.offered(page, state.actions)}")
        parts += self._subgoals(state)
        return "\n".join(parts)
