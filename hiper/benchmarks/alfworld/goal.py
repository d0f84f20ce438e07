"""Goals: a PDDL formula compiled once into a closure that is cheap to evaluate after every step.

Everything that no action changes is decided while compiling, so a quantifier runs only over the few entities that can
matter ("objects of type mug", "receptacles of type shelf") and looks at facts that do change.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hiper.errors import UserError

Formula = list[Any]  # nested lists of lower-case words, as read from PDDL
Fact = tuple[Any, ...]  # (predicate, entity, ...)
Fluent = Callable[[Any, Sequence[int]], bool]  # (engine state, entities) -> holds now?
Check = Callable[[Any, list[int]], bool]  # (engine state, value of each variable) -> holds now?


@dataclass(frozen=True)
class Goal:
    """A compiled goal: `reached(state)` decides it, `fluents` names the changing predicates it looks at."""

    check: Check
    variables: int
    fluents: frozenset[str]

    def reached(self, state: Any) -> bool:
        return self.check(state, [0] * self.variables)


def read_formula(text: str) -> Formula:
    """Read one parenthesised expression; raises UserError when the parentheses do not match."""
    stack: list[Formula] = [[]]
    for word in text.replace("(", " ( ").replace(")", " ) ").split():
        if word == "(":
            stack.append([])
        elif word != ")":
            stack[-1].append(word)
        elif len(stack) > 1:
            closed = stack.pop()
            stack[-1].append(closed)
        else:
            break  # the parentheses that enclose the goal itself
    if len(stack) != 1 or len(stack[0]) != 1 or not isinstance(stack[0][0], list):
        raise UserError("the goal of the PDDL problem is not one well-formed expression")
    return list(stack[0][0])


@dataclass(frozen=True)
class Slot:
    """A variable: where its value stands and which entities it ranges over."""

    index: int
    domain: tuple[int, ...]


class GoalCompiler:
    """Compiles the goals of one problem.

    `entities` maps a name to its number, `types` a type to the numbers of its members, `facts` are the initial facts
    (what is not listed is false), `fluents` the predicates whose truth the state must be asked for.
    """

    def __init__(
        self,
        entities: Mapping[str, int],
        types: Mapping[str, Sequence[int]],
        facts: set[Fact],
        fluents: Mapping[str, Fluent],
    ) -> None:
        self._entities = entities
        self._types = types
        self._facts = facts
        self._fluents = fluents
        self._used: set[str] = set()
        self._slots = 0

    def compile(self, formula: Formula) -> Goal:
        check = self._compile(formula, {})
        return Goal(check, self._slots, frozenset(self._used))

    def _compile(self, formula: Formula, scope: Mapping[str, Slot]) -> Check:
        head = formula[0] if formula else "and"
        if head in ("and", "or"):
            return self._junction([self._compile(part, scope) for part in formula[1:]], wanted=head == "or")
        if head == "imply":
            return self._compile(["or", ["not", formula[1]], formula[2]], scope)
        if head == "not":
            return _negated(self._compile(formula[1], scope))
        if head == "exists":
            return self._exists(formula[1], formula[2], scope)
        if head == "forall":
            return _negated(self._exists(formula[1], ["not", formula[2]], scope))
        return self._atom(formula, scope)

    @staticmethod
    def _junction(parts: list[Check], wanted: bool) -> Check:
        def check(state: Any, values: list[int]) -> bool:
            for part in parts:
                if part(state, values) is wanted:
                    return wanted
            return not wanted

        return check

    def _atom(self, formula: Formula, scope: Mapping[str, Slot]) -> Check:
        predicate = formula[0]
        if not isinstance(predicate, str):
            raise UserError(f"the goal holds {formula!r}, which is no PDDL condition")
        # Constants live in the code, variables in `values`: a negative place means "the constant".
        places = [scope[word].index if word in scope else -1 for word in formula[1:]]
        constants = [0 if word in scope else self._number(word) for word in formula[1:]]
        pairs = list(zip(places, constants, strict=True))
        if predicate == "=":
            (left, left_constant), (right, right_constant) = pairs
            return lambda state, values: (
                (values[left] if left >= 0 else left_constant) == (values[right] if right >= 0 else right_constant)
            )
        if predicate in self._fluents:
            self._used.add(predicate)
            fluent = self._fluents[predicate]
            if len(places) == 2 and min(places) >= 0:
                one, two = places
                return lambda state, values: fluent(state, (values[one], values[two]))
            return lambda state, values: fluent(state, [values[place] if place >= 0 else c for place, c in pairs])
        facts = self._facts
        return lambda state, values: (predicate, *[values[place] if place >= 0 else c for place, c in pairs]) in facts

    def _number(self, word: Any) -> int:
        if word not in self._entities:
            raise UserError(f"the goal names {word!r}, which the problem does not declare")
        return self._entities[word]

    def _exists(self, declared: Sequence[str], body: Formula, scope: Mapping[str, Slot]) -> Check:
        """Nested loops, smallest domain outermost, each condition tested as soon as its variables have values."""
        conditions = _conjuncts(body)
        typed, untyped = typed_names(declared)
        if untyped:
            raise UserError(f"the goal quantifies {' '.join(untyped)} without a type")
        slots: dict[str, Slot] = {}
        for variable, kind in typed.items():
            slot = Slot(self._slots, tuple(self._types.get(kind, ())))
            self._slots += 1
            own = [c for c in conditions if self._static(c) and _variables(c) == {variable}]
            slots[variable] = Slot(slot.index, self._filtered(slot, variable, own))
            conditions = [c for c in conditions if c not in own]
        inner = {**scope, **slots}
        order = sorted(slots, key=lambda variable: len(slots[variable].domain))
        tests: list[list[Check]] = [[] for _ in range(len(order) + 1)]
        for condition in conditions:
            needed = _variables(condition)
            depth = max((place for place, variable in enumerate(order, start=1) if variable in needed), default=0)
            tests[depth].append(self._compile(condition, inner))
        levels = [(slots[v].index, slots[v].domain, tests[depth]) for depth, v in enumerate(order, start=1)]
        return _search(tests[0], levels)

    def _filtered(self, slot: Slot, variable: str, conditions: list[Formula]) -> tuple[int, ...]:
        scope = {variable: slot}
        checks = [self._compile(condition, scope) for condition in conditions]
        values = [0] * (slot.index + 1)

        def fits(entity: int) -> bool:
            values[slot.index] = entity
            return all(check(None, values) for check in checks)

        return tuple(entity for entity in slot.domain if fits(entity))

    def _static(self, formula: Formula) -> bool:
        if formula[0] == "not":
            return self._static(formula[1])
        return formula[0] not in {"and", "or", "imply", "exists", "forall"} and formula[0] not in self._fluents


def _search(first: list[Check], levels: list[tuple[int, tuple[int, ...], list[Check]]]) -> Check:
    # Plain loops: this runs after most steps of every game.
    def descend(state: Any, values: list[int], depth: int) -> bool:
        if depth == len(levels):
            return True
        place, domain, tests = levels[depth]
        for entity in domain:
            values[place] = entity
            for test in tests:
                if not test(state, values):
                    break
            else:
                if descend(state, values, depth + 1):
                    return True
        return False

    def check(state: Any, values: list[int]) -> bool:
        return all(test(state, values) for test in first) and descend(state, values, 0)

    return check


def _negated(check: Check) -> Check:
    return lambda state, values: not check(state, values)


def _conjuncts(formula: Formula) -> list[Formula]:
    if not formula:
        return []
    if formula[0] == "and":
        return [part for inner in formula[1:] for part in _conjuncts(inner)]
    return [formula]


def _variables(formula: Formula) -> set[str]:
    """All variables in the formula; bound ones too, which at worst tests a condition later than possible."""
    words: set[str] = set()
    for part in formula:
        if isinstance(part, list):
            words |= _variables(part)
        elif part.startswith("?"):
            words.add(part)
    return words


def typed_names(words: Iterable[str]) -> tuple[dict[str, str], list[str]]:
    """PDDL's typed list `a b - object c - receptacle` as {name: type}, and the names left without a type."""
    result: dict[str, str] = {}
    waiting: list[str] = []
    following = iter(words)
    for word in following:
        if word == "-":
            kind = next(following, "")
            result.update(dict.fromkeys(waiting, kind))
            waiting = []
        else:
            waiting.append(word)
    return result, waiting
