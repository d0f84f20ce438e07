"""The unmodified `alfworld` package as the reference: which games it collects, and whether it wins them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

TASK_NUMBERS = {
    "pick_and_place_simple": 1,
    "look_at_obj_in_light": 2,
    "pick_clean_then_place_in_recep": 3,
    "pick_heat_then_place_in_recep": 4,
    "pick_cool_then_place_in_recep": 5,
    "pick_two_obj_and_place": 6,
}
TASK_TYPES = tuple(TASK_NUMBERS)


def environment(split_folder: Path, task_types: tuple[str, ...] = TASK_TYPES) -> Any:
    """AlfredTWEnv on one split's folder; its `game_files` are what it collected."""
    from alfworld.agents.environment.alfred_tw_env import AlfredTWEnv

    paths = dict.fromkeys(("data_path", "eval_id_data_path", "eval_ood_data_path"), str(split_folder))
    config = {
        "dataset": {**paths, "num_train_games": -1, "num_eval_games": -1},
        "env": {
            "goal_desc_human_anns_prob": 0,
            "task_types": [TASK_NUMBERS[name] for name in task_types],
            "domain_randomization": False,
            "expert_type": "handcoded",
        },
        "general": {"training_method": "dagger"},
        "dagger": {"training": {"max_nb_steps_per_episode": 50}},
    }
    return AlfredTWEnv(config, train_eval="eval_out_of_distribution")


def collected_ids(split_folder: Path, task_types: tuple[str, ...] = TASK_TYPES) -> list[str]:
    files = environment(split_folder, task_types).game_files
    return sorted(f"{split_folder.name}/{Path(name).parent.relative_to(split_folder).as_posix()}" for name in files)


def play(split_folder: Path, game_files: list[Path]) -> dict[Path, tuple[str, bool]]:
    """Play each file's own walkthrough; {file: (first observation, won)}. The original shuffles the files."""
    reference = environment(split_folder)
    reference.game_files = [str(path) for path in game_files]
    batch = reference.init_env(batch_size=1)
    results = {}
    for _ in game_files:
        first, info = batch.reset()
        path = Path(info["extra.gamefile"][0])
        for command in json.loads(path.read_text(encoding="utf-8"))["walkthrough"]:
            assert command in info["admissible_commands"][0], (path, command)
            _, _, _, info = batch.step([command])
        results[path] = (first[0], bool(info["won"][0]))
    batch.close()
    return results
