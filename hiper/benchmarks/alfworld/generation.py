"""Making ALFWorld games out of the room layouts in the `alfworld` package, for machines without the official data.

Six task types in equal numbers, the real split of seen and unseen rooms, ALFWorld's own on-disk format (without
`initial_state.pddl`, a second copy of the problem that nothing reads). A game follows from the seed, its split and its
number; its walkthrough is played in the native engine before anything is written; no two games of a data set are equal.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np

from hiper.benchmarks.alfworld.drawing import Limits, draw_scene, pick, quests
from hiper.benchmarks.alfworld.games import GAME_FILE, TRAJECTORY_FILE, Game, GameText
from hiper.benchmarks.alfworld.native import NativeEngine, parse_game
from hiper.benchmarks.alfworld.rooms import SPLIT_ROOMS, load_room, logic_file
from hiper.benchmarks.alfworld.scenes import LAMP, Scene, problem, sentence, walkthrough
from hiper.benchmarks.alfworld.settings import Generation
from hiper.errors import UserError

SMALLEST_ROOM = 3  # receptacles: where the object is, what treats it, where it goes
_ATTEMPTS = 200  # per game, before the settings are called too narrow


def generate_games(root: Path, task_types: Sequence[str], settings: Generation) -> list[Game]:
    """Write `settings.train`, `.valid_seen`, `.valid_unseen` games under `root/<split>/`; returns them sorted by id.

    Task types take turns, so their numbers differ by one at most. Raises UserError when the settings leave too few
    different games, RuntimeError when a game's own walkthrough does not win it.
    """
    if settings.receptacles is not None and settings.receptacles < SMALLEST_ROOM:
        raise UserError(f"data.generate.receptacles = {settings.receptacles}: a room needs at least {SMALLEST_ROOM}")
    limits = Limits(settings.receptacles, settings.objects)
    seen: set[tuple[object, ...]] = set()
    games = []
    for split_number, split in enumerate(SPLIT_ROOMS):
        for number in range(getattr(settings, split)):
            random = np.random.default_rng([settings.seed, split_number, number])
            scene = _new_scene(random, split, task_types[number % len(task_types)], limits, seen)
            games.append(_write(root, split, number, scene, int(random.integers(2**31))))
    return sorted(games, key=lambda game: game.id)


def _new_scene(
    random: np.random.Generator, split: str, task_type: str, limits: Limits, seen: set[tuple[object, ...]]
) -> Scene:
    rooms = _rooms_for(split, task_type)
    if not rooms:
        raise UserError(f"task type {task_type} fits no room of split {split}; remove it from task_types")
    for _ in range(_ATTEMPTS):
        room = load_room(pick(random, rooms))
        scene = draw_scene(random, room, pick(random, quests(room, task_type)), limits)
        if scene is not None and scene.signature() not in seen:
            seen.add(scene.signature())
            return scene
    raise UserError(
        f"no new game of type {task_type} for split {split} in {_ATTEMPTS} attempts: ask for fewer games "
        "(data.generate.train, valid_seen, valid_unseen) or allow more receptacles or objects per room"
    )


@cache
def _rooms_for(split: str, task_type: str) -> tuple[int, ...]:
    return tuple(number for number in SPLIT_ROOMS[split] if quests(load_room(number), task_type))


def _write(root: Path, split: str, number: int, scene: Scene, scene_seed: int) -> Game:
    """Write one game's files after its walkthrough has won it in the native engine."""
    trial = f"trial_{number:05d}"
    folder = root / split / scene.folder / trial
    text, commands = problem(scene, f"plan_{trial}"), walkthrough(scene)
    _verify(GameText(text, sentence(scene) + "."), commands, f"{split}/{scene.folder}/{trial}")
    folder.mkdir(parents=True)
    game = {
        "pddl_domain": _domain(),
        "grammar": logic_file("alfred.twl2").replace("UNKNOWN GOAL", sentence(scene)),
        "pddl_problem": text,
        "solvable": True,
        "walkthrough": commands,
    }
    (folder / GAME_FILE).write_text(json.dumps(game), encoding="utf-8")
    (folder / TRAJECTORY_FILE).write_text(json.dumps(_trajectory(trial, scene, scene_seed)), encoding="utf-8")
    return Game(f"{split}/{scene.folder}/{trial}", split, scene.task_type, folder)


def _verify(text: GameText, commands: Sequence[str], source: str) -> None:
    """Play the walkthrough: each command must be admissible and the last one, no earlier one, must win."""
    engine = NativeEngine()
    engine.reset(parse_game(text, source))
    for command in commands:
        if engine.won or command not in engine.admissible:
            raise RuntimeError(f"{source}: {command!r} of the walkthrough {commands} is not admissible, or too late")
        engine.step(command)
    if not engine.won:
        raise RuntimeError(f"{source}: the walkthrough {commands} does not win the game")


@cache
def _domain() -> str:
    """The installed PDDL domain without its comments: more than half of a text that every game's file repeats."""
    lines = (line.split(";")[0].rstrip() for line in logic_file("alfred.pddl").splitlines())
    return "\n".join(line for line in lines if line) + "\n"


def _trajectory(trial: str, scene: Scene, scene_seed: int) -> dict[str, object]:
    """`traj_data.json` with the fields that ALFWorld reads; nothing was recorded, so `plan` and `images` are empty."""
    look = scene.parent == LAMP
    parameters = {
        "object_target": scene.target,
        "parent_target": "" if look else scene.parent,
        "toggle_target": LAMP if look else "",
        "mrecep_target": "",
        "object_sliced": False,
    }
    return {
        "task_id": trial,
        "task_type": scene.task_type,
        "pddl_params": parameters,
        "scene": {"floor_plan": f"FloorPlan{scene.room}", "scene_num": scene.room, "random_seed": scene_seed},
        "turk_annotations": {"anns": [{"task_desc": sentence(scene) + "."}]},
        "plan": {"high_pddl": [], "low_actions": []},
        "images": [],
    }
