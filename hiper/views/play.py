"""`hiper play`: one game, played by a person, the scripted expert or a trained model, shown turn by turn."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.text import Text

from hiper.benchmarks.base import Benchmark
from hiper.benchmarks.record import make_benchmark, record_of
from hiper.config import BenchmarkSettings, Prompt, RunSettings
from hiper.errors import UserError
from hiper.manifest import read_manifest, require_data, verify_outputs
from hiper.policies.base import Policy
from hiper.runs.episodes import outcome, turn_record
from hiper.runs.labels import task_label
from hiper.stages.rollout import Rollout
from hiper.trajectory import Task, Trajectory, Turn
from hiper.views.players import Person, Quit, Scripted
from hiper.views.terminal import harmless, inline, seen
from hiper.views.turns import STYLES, last_view, segment_title, turn_view


@dataclass(frozen=True)
class Game:
    """A task of a benchmark and its number, from 0, among those of its split."""

    benchmark: Benchmark
    task: Task
    number: int


class Watched:
    """Shows each turn as soon as it has been played, `pause` seconds apart."""

    def __init__(self, console: Console, pause: float) -> None:
        self.console, self.pause, self.turns = console, pause, 0

    def __call__(self, task: Task, turn: Turn) -> None:
        if self.turns:
            time.sleep(self.pause)
        record = turn_record(turn)
        if (title := segment_title(record, begins=self.turns == 0 or turn.switch)) is not None:
            self.console.print(title)
        self.console.print(turn_view(self.turns, record))
        self.turns += 1


def open_benchmark(settings: BenchmarkSettings, data_root: Path) -> Benchmark:
    """The benchmark, or a UserError with the command that makes its games."""
    folder = data_root / settings.dataset
    if not (folder / "dataset.json").exists():
        command = f"hiper data repro {settings.dataset}"
        if data_root != Path("data"):
            command = f"hiper data make configs/benchmark/{settings.dataset}.yaml --output {folder}"
        raise UserError(f"{folder}: no games there yet; make them with `{command}`")
    return make_benchmark(settings, data_root)


def pick(benchmark: Benchmark, tasks: Sequence[Task], number: int, text: str | None) -> Game:
    """Game number `number` of `tasks` or, where `text` is given, the first whose name has it; UserError for neither."""
    if text is not None:
        found = [place for place, task in enumerate(tasks) if text.lower() in task.id.lower()]
        if not found:
            raise UserError(f"--task {text}: in no name of these {len(tasks)} games, which are like {tasks[0].id}")
        number = found[0]
    if not 0 <= number < len(tasks):
        raise UserError(f"--number {number}: there are games 0 to {len(tasks) - 1}")
    return Game(benchmark, tasks[number], number)


def play_oneself(console: Console, game: Game, max_turns: int, read: Callable[[], str]) -> None:
    """A person plays; `read` gives a line or raises EOFError."""
    _show_task(console, game, f"at most {max_turns} turns; `help` explains")
    person = Person(console, read, max_turns)
    try:
        played = _play(game, person, bare_prompt("react"), 0, None)
    except Quit:
        console.print(f"Stopped after {person.asked - 1} of {max_turns} turns.")
        return
    if played.info["observation"]:
        console.print(Text(seen(played.info["observation"])))
    _show_end(console, played)


def watch_expert(console: Console, game: Game, seed: int, pause: float) -> None:
    """The scripted expert plays."""
    _show_task(console, game, f"played by the scripted expert, seed {seed}")
    expert = Scripted(record_of(game.benchmark.name), game.task, seed)
    _show_watched(console, _play(game, expert, bare_prompt("plan_execute"), seed, Watched(console, pause)))


def watch_model(
    console: Console, game: Game, policy: Policy, prompt: Prompt, seed: int, pause: float, remark: str
) -> None:
    """A model plays; sampling draws from `seed` alone, so the same call shows the same game."""
    _show_task(console, game, f"{remark}, seed {seed}")
    _show_watched(console, _play(game, policy, prompt, seed, Watched(console, pause)))


def model_of(folder: Path, settings: RunSettings, temperature: float, data_root: Path) -> Policy:
    """The policy of a run's model folder; UserError while the run is not finished, where the model is damaged, or the
    data are not those that it learned from."""
    if read_manifest(folder) is None:
        raise UserError(f"{folder}: no manifest.json yet; the run is not finished, or its model is being made anew")
    verify_outputs(folder)
    require_data(folder, data_root, settings.benchmark.dataset)
    from hiper.learning import torch_setup  # after the check: these imports take seconds
    from hiper.learning.folders import load_decoder
    from hiper.policies.local_backend import LocalPlayers
    from hiper.policies.tokenizer_files import load_tokenizer

    device = torch_setup.prepare(settings.engine)
    decoder, tokenizer = load_decoder(folder / "model", device), load_tokenizer(folder / "model")
    return LocalPlayers(settings, decoder, tokenizer, device).policy(temperature)


def _play(
    game: Game, policy: Policy, prompt: Prompt, seed: int, watch: Callable[[Task, Turn], None] | None
) -> Trajectory:
    rollout = Rollout(game.benchmark, policy, prompt)
    try:
        return rollout.play([game.task], [0], [seed], watch)[0]
    finally:
        rollout.close()


def bare_prompt(name: str) -> Prompt:
    """For players that read the observation and no prompt: only how their answers are parsed matters."""
    unused = {"history_length": 0, "max_tokens": 1, "system": None, "thinking": False, "subgoal_turns": None}
    return Prompt.model_validate({"interface": name, "style": "compact", **unused})


def _show_task(console: Console, game: Game, remark: str) -> None:
    console.print(Text(f"game {game.number}  {game.task.id}", "bold"))
    console.print(f"task type {task_label(game.benchmark.name, game.task.task_type)}; {remark}", style="dim")
    with closing(game.benchmark.environment()) as environment:
        observation, info = environment.reset(game.task)
    if info.instruction not in observation:
        console.print(Text(f"task  {harmless(info.instruction)}"))


def _show_watched(console: Console, played: Trajectory) -> None:
    if played.info["observation"]:
        console.print(last_view(played.info["observation"]))
    _show_end(console, played)


def _show_end(console: Console, played: Trajectory) -> None:
    ending = outcome(played.won, played.truncated, played.failure)
    console.print(Text(f"{ending} after {len(played.turns)} turns", STYLES[ending]))
    if played.failure is not None:
        console.print(f"cause: {inline(played.failure)}", style="red")
