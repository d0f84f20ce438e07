"""`hiper play` on generated games: a person with the right commands wins, mistakes cost nothing, every end is told."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from pipeline import ROOT, make_games

from hiper.benchmarks import seeded
from hiper.benchmarks.alfworld.settings import AlfworldSettings
from hiper.benchmarks.base import Benchmark
from hiper.benchmarks.game import GameEnvironment
from hiper.benchmarks.record import make_benchmark, record_of
from hiper.benchmarks.webshop.settings import WebshopSettings
from hiper.benchmarks.webshop.sources import make_dataset as make_shop
from hiper.cli.main import main
from hiper.compose import load_benchmark
from hiper.errors import UserError
from hiper.stages.rollout import Rollout
from hiper.trajectory import Task, Turn
from hiper.views.play import Game, bare_prompt, open_benchmark, pick, play_oneself, watch_expert
from hiper.views.players import Scripted
from hiper.views.terminal import console

SETTINGS = load_benchmark(ROOT / "configs" / "benchmark" / "alfworld_test.yaml")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two unseen games of each type."""
    root = tmp_path_factory.mktemp("data")
    amounts = SETTINGS.data.generate.model_copy(update={"train": 6, "valid_seen": 6, "valid_unseen": 12})
    data = SETTINGS.data.model_copy(update={"generate": amounts})
    make_games(root, SETTINGS.model_copy(update={"data": data}))
    return root


def long(turns: int = 50) -> AlfworldSettings:
    return SETTINGS.model_copy(update={"max_turns": turns})


def game(data: Path, number: int, turns: int = 50) -> Game:
    benchmark = make_benchmark(long(turns), data)
    return pick(benchmark, benchmark.tasks("valid_unseen"), number, None)


def typing(lines: list[str], screen: io.StringIO) -> Callable[[], str]:
    """What a terminal is to a person: each line is seen as it is typed, then the input ends."""
    rest = iter(lines)

    def read() -> str:
        try:
            line = next(rest)
        except StopIteration:
            raise EOFError from None
        screen.write(f"{line}\n")
        return line

    return read


def expert_actions(chosen: Game) -> list[str]:
    """What the expert does in a game, taken from a rollout of its own."""
    turns: list[Turn] = []
    rollout = Rollout(chosen.benchmark, Scripted(record_of("alfworld"), chosen.task, 0), bare_prompt("plan_execute"))
    (played,) = rollout.play([chosen.task], [0], [0], lambda task, turn: turns.append(turn))
    assert played.won and tuple(turns) == played.turns
    return [turn.action for turn in turns]


def typed(data: Path, number: int, lines: list[str], turns: int = 50) -> str:
    stream = io.StringIO()
    play_oneself(console(stream), game(data, number, turns), turns, typing(lines, stream))
    return stream.getvalue()


@pytest.mark.parametrize("number", range(0, 12, 2))
def test_the_experts_actions_win_when_typed(data: Path, number: int) -> None:
    """In every type of game, after as many turns as the expert took."""
    actions = expert_actions(game(data, number))
    assert typed(data, number, actions).splitlines()[-1] == f"won after {len(actions)} turns"


def test_a_number_means_the_action_it_stands_at(data: Path) -> None:
    """Typing the numbers that are shown wins as well: they are read off the screen before each answer."""
    actions = expert_actions(game(data, 0))
    stream, rest = io.StringIO(), iter(actions)

    def read() -> str:
        wanted = next(rest)
        listing = stream.getvalue().rpartition(" of 50 > ")[0].rpartition(" of 50 > ")[2]
        cells = [cell.strip() for line in listing.splitlines() for cell in line.split("   ")]
        numbers = [cell.split()[0] for cell in cells if cell.split(" ", 1)[1:] == [wanted]]
        assert len(numbers) == 1, (wanted, listing)
        return numbers[0]

    play_oneself(console(stream), game(data, 0), 50, read)
    assert stream.getvalue().splitlines()[-1] == f"won after {len(actions)} turns"


def test_typing_errors_and_help_cost_no_turn(data: Path) -> None:
    """Unknown actions, numbers out of range and empty lines are asked again; the turn counter stays."""
    text = typed(data, 0, ["fly", "0", "99", "", "help", " LOOK "], turns=3)
    assert [line.split(" >")[0] for line in text.splitlines() if " >" in line] == ["turn 1 of 3"] * 6 + ["turn 2 of 3"]
    assert "“fly” is none of these" in text and "`quit`" in text
    assert text.splitlines()[-1] == "Stopped after 1 of 3 turns."


class Door(seeded.Game):
    """A game whose task no observation says."""

    def start(self, task: Task) -> str:
        self.instruction, self.admissible = "leave by the [red] door", ("open door",)
        return "You see two doors."

    def act(self, action: str) -> str:
        self.won = action in self.admissible
        return "You are outside."


@dataclass
class Doors:
    name: str = "alfworld"  # whose words nobody reads here
    task_types: tuple[str, ...] = ("red",)

    def tasks(self, split: str) -> list[Task]:
        return [Task("red/1", split, "red")]

    def environment(self) -> GameEnvironment:
        return GameEnvironment(Door(), 3, 1.0)


def test_a_task_that_the_game_does_not_tell_is_told(data: Path) -> None:
    """Once, before the first turn; where the first observation has it, it is not said again."""
    stream = io.StringIO()
    doors = Doors()
    play_oneself(console(stream), pick(doors, doors.tasks("test"), 0, None), 3, typing(["open door"], stream))
    assert stream.getvalue().splitlines()[2:4] == ["task  leave by the [red] door", "You see two doors."]
    assert stream.getvalue().endswith("won after 1 turns\n")
    assert "task  " not in typed(data, 0, ["look"])


def test_the_turn_limit_ends_the_game(data: Path) -> None:
    """Looking around twice with two turns."""
    assert typed(data, 0, ["look", "look"], turns=2).splitlines()[-1] == "truncated after 2 turns"


def test_quit_and_the_end_of_input_stop_politely(data: Path) -> None:
    """Both end with the turns played, no traceback."""
    for lines in (["look", "quit"], ["look"]):
        assert typed(data, 0, lines).splitlines()[-1] == "Stopped after 1 of 50 turns."


def test_the_expert_can_be_watched(data: Path) -> None:
    """Its actions stand there turn by turn, below its subgoals, each behind what was seen; what was seen last is in
    line with the rest."""
    chosen, stream = game(data, 2), io.StringIO()
    watch_expert(console(stream), chosen, seed=0, pause=0.0)
    lines = stream.getvalue().splitlines()
    deeds = [match[1] for line in lines if (match := re.match(r" +does (?:SWITCH|KEEP) +(.+?)   reward ", line))]
    assert deeds == expert_actions(chosen)
    assert lines[-1] == f"won after {len(deeds)} turns" and any(line.startswith("subgoal: ") for line in lines)
    last = next(place for place, line in enumerate(lines) if line.startswith(" seen last "))
    assert all(line.startswith(" " * 11) for line in lines[last + 1 : -1])
    order = [line.split()[0] for line in lines if re.match(r" *(turn|sees|does) ", line)]
    assert order == ["turn", "sees", "does"] * len(deeds)


def test_a_game_that_breaks_says_why(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cause, after what was seen before."""

    def breaks(self: GameEnvironment, action: str) -> None:
        raise OSError("the disk is gone")

    monkeypatch.setattr(GameEnvironment, "step", breaks)
    assert typed(data, 0, ["look"]).splitlines()[-2:] == [
        "failed after 0 turns",
        "cause: step: OSError: the disk is gone",
    ]


def test_games_are_found_by_number_and_name(data: Path) -> None:
    """Numbers count from 0; of several names with the text the first is taken; others are refused."""
    benchmark: Benchmark = make_benchmark(SETTINGS, data)
    tasks: list[Task] = list(benchmark.tasks("valid_unseen"))
    assert pick(benchmark, tasks, 3, None).task == tasks[3]
    word = tasks[5].id.split("/")[1].split("-")[1].upper()
    found = pick(benchmark, tasks, 0, word)
    assert word.lower() in found.task.id.lower() and found.task == tasks[found.number]
    for number, text in ((12, None), (0, "no such thing")):
        with pytest.raises(UserError, match=r"games 0 to 11|in no name of these 12 games"):
            pick(benchmark, tasks, number, text)


def test_through_a_pipe_there_are_no_control_characters(data: Path) -> None:
    """The command as a person types it, with its input from a file, echoes what was typed and exits with 0."""
    environment = {name: value for name, value in os.environ.items() if name != "FORCE_COLOR"}
    command = [sys.executable, "-m", "hiper", "play", "alfworld_test", "--data", str(data)]
    done = subprocess.run(
        command, input="look\nquit\n", capture_output=True, text=True, check=True, env=environment, cwd=ROOT
    )
    assert "turn 1 of 6 > look" in done.stdout and done.stdout.endswith("Stopped after 1 of 6 turns.\n")
    assert not any(ord(character) < 32 and character != "\n" for character in done.stdout)


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        ([], "give either BENCHMARK"),
        (["alfworld_test", "--run", "x"], "give either BENCHMARK"),
        (["nosuch"], "benchmark 'nosuch' is unknown"),
        (
            ["alfworld_test", "--data", "nosuch"],
            "`hiper data make configs/benchmark/alfworld_test.yaml --output nosuch/",
        ),
        (["--run", "nosuch"], "nosuch/config.yaml: no such file"),
        (["--run", "x", "--expert"], "--expert plays a BENCHMARK"),
        (["alfworld_test", "--temperature", "1"], "--temperature is for a model"),
    ],
)
def test_mistakes_say_what_to_do(
    arguments: list[str], wanted: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One message, status 2."""
    monkeypatch.chdir(ROOT)
    assert main(["play", *arguments]) == 2
    assert wanted in capsys.readouterr().err


def test_a_search_is_typed_whole_or_asked_for(tmp_path: Path) -> None:
    """In a shop the search's number asks for its words; `search[…]` is taken as typed, also on a page of
    results, which takes it without offering it, but nothing else like it."""
    data = tmp_path / "data"
    settings = load_benchmark(ROOT / "configs" / "benchmark" / "webshop_test.yaml")
    assert isinstance(settings, WebshopSettings)
    make_shop(settings, data / settings.dataset)
    benchmark = open_benchmark(settings, data)
    game = Game(benchmark, benchmark.tasks("test")[0], 0)
    for turns, typed in (
        (1, ["soap", "1", "", "soap", "quit"]),
        (1, ["search[", "searching[soap]", "search[soap]", "quit"]),
        (2, ["search[soap]", "search[soap]", "quit"]),
    ):
        lines, stream = iter(typed), io.StringIO()
        play_oneself(console(stream), game, settings.max_turns, lambda lines=lines: next(lines))
        assert "Page 1 (Total results: " in stream.getvalue()
        assert ("“soap” is none of these 1 actions; `search[soap]` asks for it" in stream.getvalue()) == ("1" in typed)
        assert f"Stopped after {turns} of 6 turns." in stream.getvalue()
