"""The native engine: rules, texts and oddities of the game, on a small room made for it."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hiper.benchmarks.alfworld.games import GameText
from hiper.benchmarks.alfworld.goal import GoalCompiler, read_formula
from hiper.benchmarks.alfworld.native import NOTHING_HAPPENS, NativeEngine, parse_game
from hiper.benchmarks.alfworld.problem import GameSpec, player_names
from hiper.errors import UserError

PROBLEM = (Path(__file__).parents[1] / "rooms" / "quirks.pddl").read_text()
ONE_IN_PLACE = (
    "(exists (?r - receptacle) (exists (?o - object) (and {state} (objectType ?o {thing}) (receptacleType ?r {place}) "
    "(inReceptacle ?o ?r))))"
)


def spec(goal: str | None = None) -> GameSpec:
    problem = PROBLEM if goal is None else PROBLEM.split("(:goal", 1)[0] + f"(:goal (and {goal})))"
    return parse_game(GameText(problem, "put a mug in shelf."), "quirks")


def played(*commands: str, goal: str | None = None) -> tuple[NativeEngine, list[str]]:
    """An engine after these commands, every one of which must be admissible, and what it answered."""
    engine = NativeEngine()
    engine.reset(spec(goal))
    answers = []
    for command in commands:
        assert command in engine.admissible, f"{command!r} is not among {engine.admissible}"
        answers.append(engine.step(command))
    return engine, answers


def test_the_first_observation_welcomes_lists_the_room_downward_and_states_the_task() -> None:
    """Receptacles are listed by PDDL name; numbers of a class run downward along it."""
    engine = NativeEngine()
    assert engine.reset(spec()) == (
        "-= Welcome to TextWorld, ALFRED! =-\n\nYou are in the middle of a room. Looking quickly around you, you see "
        "a desk 1, a drawer 2, a drawer 1, a fridge 1, a microwave 1, a shelf 2, a shelf 1, and a sinkbasin 1.\n\n"
        "Your task is to: put a mug in shelf."
    )
    assert engine.admissible[:2] == ("go to desk 1", "go to drawer 1")
    assert engine.admissible[-3:] == ("help", "inventory", "look")
    assert not engine.won


def test_names_count_downward_per_class_and_basins_are_a_class_of_their_own() -> None:
    """Sorted ids get falling numbers; "basin" in the id makes the class a basin; ids without "_bar_" get none."""
    names = player_names(["mug_bar_b", "mug_bar_a", "sink_bar_1", "sink_bar_1_bar_sinkbasin", "agent1"])
    assert names == {
        "mug_bar_a": "mug 2",
        "mug_bar_b": "mug 1",
        "sink_bar_1": "sink 1",
        "sink_bar_1_bar_sinkbasin": "sinkbasin 1",
    }


def test_receptacles_at_the_own_place_cannot_be_gone_to_but_can_be_used() -> None:
    """shelf 2 shares the desk's place: no `go to`, yet it can be examined and things can be moved there."""
    engine, _ = played("go to desk 1", "take mug 2 from desk 1")
    assert "go to shelf 2" not in engine.admissible and "go to desk 1" not in engine.admissible
    assert "examine shelf 2" in engine.admissible and "move mug 2 to shelf 2" in engine.admissible
    assert engine.step("go to shelf 2") == NOTHING_HAPPENS


def test_only_the_held_object_can_be_examined() -> None:
    """Objects in sight cannot; the one in hand can, and its state decides the text."""
    engine, _ = played("go to desk 1")
    assert "examine mug 2" not in engine.admissible
    engine, answers = played("go to desk 1", "take mug 2 from desk 1", "examine mug 2")
    assert answers[-1] == "There's nothing special about mug 2."


def test_looking_in_mid_room_shows_nothing() -> None:
    """The introduction lists the receptacles, the command `look` from the same place lists none."""
    _, answers = played("look")
    assert answers == ["You are in the middle of a room. Looking quickly around you, you see nothing."]


def test_looking_shows_what_was_moved_between_receptacles_of_one_place() -> None:
    """After moving the egg from the desk to the shelf beside it, `look` lists it "next to" them; before, nothing."""
    _, answers = played(
        "go to desk 1", "look", "take egg 1 from desk 1", "look", "move egg 1 to shelf 2", "look",
        "take egg 1 from shelf 2", "move egg 1 to desk 1", "take mug 2 from desk 1", "move mug 2 to desk 1", "look",
    )  # fmt: skip
    facing = "You are facing the desk 1, and shelf 2. Next to it, you see"
    assert answers[1] == answers[3] == f"{facing} nothing."
    assert answers[5] == f"{facing} a egg 1."
    assert answers[-1] == f"{facing} a egg 1."  # taken from the shelf: still "not in" it; the mug is back where it was


def test_an_object_in_two_receptacles_stays_in_the_second_when_taken_from_the_first() -> None:
    """The egg was in the desk and in shelf 1: in hand, it is still listed in shelf 1, where it cannot be taken."""
    engine, answers = played("go to desk 1", "take egg 1 from desk 1", "go to shelf 1")
    assert answers[-1] == "You arrive at shelf 1. On the shelf 1, you see a egg 1."
    assert "take egg 1 from shelf 1" not in engine.admissible


def test_treating_needs_no_open_door_and_hot_and_cool_exclude_each_other() -> None:
    """Heat and cool work at the closed appliance on the held object; cleaning stays."""
    engine, answers = played(
        "go to desk 1", "take mug 2 from desk 1", "go to fridge 1", "cool mug 2 with fridge 1", "examine mug 2",
        "go to microwave 1", "heat mug 2 with microwave 1", "examine mug 2", "go to sinkbasin 1",
        "clean mug 2 with sinkbasin 1", "examine mug 2",
    )  # fmt: skip
    assert "open fridge 1" not in engine.admissible
    assert answers[2] == "You arrive at fridge 1. The fridge 1 is closed."
    assert [answers[4], answers[7], answers[10]] == [
        "This is a cold mug 2.",
        "This is a hot mug 2.",
        "This is a hot and clean mug 2.",
    ]


def test_slicing_reaches_into_closed_drawers() -> None:
    """With a knife in hand, the apple in the closed drawer can be sliced though it cannot be seen."""
    _, answers = played("go to desk 1", "take knife 1 from desk 1", "go to drawer 1", "slice apple 1 with knife 1")
    assert answers[-1] == "You sliced the apple 1 with the knife 1."


def test_closed_receptacles_hide_their_contents_and_refuse_things() -> None:
    """Take and move appear with opening and vanish with closing."""
    engine, answers = played("go to drawer 2")
    assert answers == ["You arrive at drawer 2. The drawer 2 is closed."]
    assert not [command for command in engine.admissible if command.startswith("take")]
    engine, answers = played("go to drawer 2", "open drawer 2", "take apple 1 from drawer 2")
    assert answers[1] == "You open the drawer 2. The drawer 2 is open. In it, you see a apple 1."
    assert "move apple 1 to drawer 2" in engine.admissible
    engine.step("close drawer 2")
    assert "move apple 1 to drawer 2" not in engine.admissible


def test_a_receptacle_takes_only_the_classes_it_can_contain() -> None:
    """Pens go on the desk, not on the shelf beside it."""
    engine, _ = played("go to desk 1", "take pen 1 from desk 1")
    moves = [command for command in engine.admissible if command.startswith("move")]
    assert moves == ["move pen 1 to desk 1"]


def test_a_lamp_is_only_ever_turned_on_and_containers_show_what_is_in_them() -> None:
    """Using the lamp twice says "on" twice; a bowl is described by its contents."""
    _, answers = played(
        "go to desk 1", "use desklamp 1", "use desklamp 1", "take bowl 1 from desk 1", "examine bowl 1", "inventory"
    )
    assert answers[1] == answers[2] == "You turn on the desklamp 1."
    assert answers[-2:] == ["This is a normal bowl 1. In it, you see a pen 1.", "You are carrying: a bowl 1."]


@pytest.mark.parametrize(
    ("goal", "commands"),
    [
        (
            ONE_IN_PLACE.format(state="", thing="MugType", place="ShelfType"),
            "go to desk 1|take mug 2 from desk 1|move mug 2 to shelf 2",
        ),
        (
            ONE_IN_PLACE.format(state="(cleanable ?o) (isClean ?o)", thing="MugType", place="DeskType"),
            "go to desk 1|take mug 2 from desk 1|go to sinkbasin 1|clean mug 2 with sinkbasin 1|"
            "go to desk 1|move mug 2 to desk 1",
        ),
        (
            ONE_IN_PLACE.format(state="(heatable ?o) (isHot ?o)", thing="MugType", place="ShelfType"),
            "go to desk 1|take mug 2 from desk 1|go to microwave 1|heat mug 2 with microwave 1|"
            "go to shelf 1|move mug 2 to shelf 1",
        ),
        (
            ONE_IN_PLACE.format(state="(coolable ?o) (isCool ?o)", thing="MugType", place="ShelfType"),
            # The mug in the fridge is cool from the start.
            "go to fridge 1|open fridge 1|take mug 1 from fridge 1|go to shelf 1|move mug 1 to shelf 1",
        ),
        (
            "(exists (?r - receptacle) (exists (?o1 - object) (and (objectType ?o1 MugType) "
            "(receptacleType ?r ShelfType) (inReceptacle ?o1 ?r) "
            "(exists (?o2 - object) (and (not (= ?o1 ?o2)) (objectType ?o2 MugType) "
            "(receptacleType ?r ShelfType) (inReceptacle ?o2 ?r))))))",
            "go to desk 1|take mug 2 from desk 1|move mug 2 to shelf 2|go to fridge 1|open fridge 1|"
            "take mug 1 from fridge 1|go to shelf 1|move mug 1 to shelf 1|take mug 1 from shelf 1|go to desk 1|"
            "move mug 1 to shelf 2",
        ),
        (
            "(exists (?ot - object ?r - receptacle ?a - agent ?l - location) (and (objectType ?ot DeskLampType) "
            "(toggleable ?ot) (isToggled ?ot) (receptacleAtLocation ?r ?l) (atLocation ?a ?l) (inReceptacle ?ot ?r))) "
            "(exists (?o - object ?a - agent) (and (objectType ?o MugType) (holds ?a ?o)))",
            "go to desk 1|use desklamp 1|take mug 2 from desk 1",
        ),
    ],
    ids=["put", "clean", "heat", "cool", "two", "look"],
)
def test_each_kind_of_task_is_won_by_its_last_step_and_not_before(goal: str, commands: str) -> None:
    """For two objects, both must be in the same shelf; for the light, lamp, place and hand must agree."""
    steps = commands.split("|")
    engine, _ = played(*steps[:-1], goal=goal)
    assert not engine.won
    engine, _ = played(*steps, goal=goal)
    assert engine.won


def test_a_won_game_goes_on_and_can_be_undone() -> None:
    """As in the original engine, `won` describes the state, not the past."""
    engine, _ = played("go to desk 1", "take mug 2 from desk 1", "move mug 2 to shelf 2")
    assert engine.won
    engine.step("take mug 2 from shelf 2")
    assert not engine.won


@settings(max_examples=60)
@given(choices=st.lists(st.integers(0, 10_000), min_size=1, max_size=60), bad=st.text(max_size=30))
def test_walks_keep_the_list_sorted_and_bad_commands_change_nothing(choices: list[int], bad: str) -> None:
    """Whatever is done: commands sorted and unique; any inadmissible text leaves list and goal alone."""
    engine = NativeEngine()
    engine.reset(spec())
    for choice in choices:
        assert list(engine.admissible) == sorted(set(engine.admissible))
        before = (engine.admissible, engine.won)
        if bad.strip() not in engine.admissible:
            assert engine.step(bad) == NOTHING_HAPPENS
            assert (engine.admissible, engine.won) == before
        engine.step(engine.admissible[choice % len(engine.admissible)])


def test_episodes_share_a_specification_without_changing_it() -> None:
    """After any play, a reset from the same specification gives the same first state."""
    shared = spec()
    first, second = NativeEngine(), NativeEngine()
    fresh = (first.reset(shared), first.admissible)
    for command in ("go to desk 1", "use desklamp 1", "take egg 1 from desk 1", "move egg 1 to shelf 2"):
        first.step(command)
    assert (second.reset(shared), second.admissible) == fresh
    assert second.step("go to desk 1").endswith("a egg 1, a knife 1, a mug 2, and a pen 1.")


def test_stepping_before_a_reset_is_an_error() -> None:
    """There is no game to act in."""
    with pytest.raises(RuntimeError, match="before reset"):
        NativeEngine().step("look")


@pytest.mark.parametrize(
    ("problem", "message"),
    [
        ("nonsense", "not a PDDL problem"),
        (PROBLEM.replace("(atLocation agent1 loc_bar_0)", ""), "one location"),
        (PROBLEM.replace("Mug_bar_a Mug_bar_b", "Mug_bar_a", 1), "mug_bar_b"),
        (PROBLEM.split("(:goal", 1)[0] + "(:goal (and (isHot nobody_bar_1))))", "nobody_bar_1"),
        (PROBLEM.split("(:goal", 1)[0] + "(:goal (and (exists (?o) (isHot ?o)))))", "without a type"),
        (PROBLEM.split("(:goal", 1)[0] + "(:goal (and (isHot", "well-formed"),
    ],
)
def test_a_broken_problem_is_refused_by_name(problem: str, message: str) -> None:
    """The error names the game and what is wrong with it."""
    with pytest.raises(UserError, match=rf"(?s)some game.*{message}"):
        parse_game(GameText(problem, "x"), "some game")


# Goals in general: compared with the plain definition of the connectives over a tiny world.

ENTITIES = {"a": 0, "b": 1, "c": 2}
TYPES = {"thing": (0, 1), "place": (2,)}
STATIC = {("red", 0), ("near", 0, 2)}
TERMS = st.sampled_from(["?x", "?y", "a", "b", "c"])
ATOMS = st.one_of(
    st.tuples(st.sampled_from(["red", "warm"]), TERMS).map(list),
    st.tuples(st.sampled_from(["near", "in", "="]), TERMS, TERMS).map(list),
)
FORMULAS = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.tuples(st.sampled_from(["and", "or"]), inner, inner).map(list),
        inner.map(lambda formula: ["not", formula]),
        st.tuples(st.just("imply"), inner, inner).map(list),
        st.tuples(
            st.sampled_from(["exists", "forall"]),
            st.sampled_from([["?x", "-", "thing"], ["?y", "-", "place"], ["?x", "?y", "-", "thing"]]),
            inner,
        ).map(list),
    ),
    max_leaves=8,
)


def truth(formula: list[Any], facts: set[tuple[Any, ...]], scope: dict[str, int]) -> bool:
    """The textbook meaning of a formula."""
    head, *rest = formula
    if head == "and":
        return all(truth(part, facts, scope) for part in rest)
    if head == "or":
        return any(truth(part, facts, scope) for part in rest)
    if head == "not":
        return not truth(rest[0], facts, scope)
    if head == "imply":
        return not truth(rest[0], facts, scope) or truth(rest[1], facts, scope)
    if head in ("exists", "forall"):
        *variables, _, kind = rest[0]
        bindings = itertools.product(TYPES[kind], repeat=len(variables))
        answers = [truth(rest[1], facts, {**scope, **dict(zip(variables, b, strict=True))}) for b in bindings]
        return any(answers) if head == "exists" else all(answers)
    values = [scope[word] if word in scope else ENTITIES[word] for word in rest]
    return values[0] == values[1] if head == "=" else (head, *values) in facts


@settings(max_examples=300)
@given(formula=FORMULAS, moving=st.sets(st.sampled_from([("warm", 0), ("warm", 1), ("in", 0, 2), ("in", 1, 2)])))
def test_compiled_goals_mean_what_the_formula_says(formula: list[Any], moving: set[tuple[Any, ...]]) -> None:
    """Compiling decides part of a goal early and reorders the rest; the verdict must not depend on that."""
    closed = ["exists", ["?x", "-", "thing"], ["forall", ["?y", "-", "place"], formula]]
    fluents = {
        name: (lambda state, entities, name=name: (name, *entities) in state)  # type: ignore[misc]
        for name in ("warm", "in")
    }
    goal = GoalCompiler(ENTITIES, TYPES, set(STATIC), fluents).compile(closed)
    assert goal.reached(moving) == truth(closed, STATIC | moving, {})


def test_formulas_are_read_up_to_the_parenthesis_that_closes_the_goal() -> None:
    """What encloses the goal in the file is left over and ignored."""
    assert read_formula("(and (a ?x) (not (b)))\n ) )") == ["and", ["a", "?x"], ["not", ["b"]]]
