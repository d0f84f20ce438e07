"""The recorded episodes of a run folder: each with a name that can be typed, found by outcome, split, task or name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hiper.errors import UserError, nearest
from hiper.manifest import MANIFEST
from hiper.paths import astray
from hiper.records import absolute, read_jsonl
from hiper.runs.episodes import EPISODES, outcome
from hiper.runs.evidence import TEXTS
from hiper.runs.labels import DEFAULT_EXPERIMENT, task_label
from hiper.runs.run_files import value_at
from hiper.trajectory import evaluated_on
from hiper.yaml_files import read_yaml

TRAIN = "train"
NOT_WON = "not-won"
OUTCOMES = ("won", "lost", "truncated", "failed")
EVALUATION = "evaluation.jsonl"
UNFINISHED = "evaluation.unfinished.jsonl"
SEVERITY = {"failed": 0, "truncated": 1, "lost": 2, "won": 3}

PACKED = "packed (`hiper pack`), without the turns; look at them where the run was made"
_KEYS = ("task", "task_type", "won", "truncated", "failure", "turns", "switches", "valid_turns")


@dataclass(frozen=True)
class Episode:
    """`name` is `train:<iteration>:<number>` or `<split>:<temperature>:<number>`, numbers from 0 in the order played
    (the split as `evaluated_on` calls it, such as `unseen.best`);
    `part` is the name without the number, `record` the episode's row, `benchmark` what it was played on."""

    name: str
    part: str
    record: Mapping[str, Any]
    benchmark: str | None

    @property
    def task_type(self) -> str:
        """As tables call it."""
        return task_label(self.benchmark, self.record["task_type"])

    @property
    def splits(self) -> tuple[str, str]:
        """What it may be looked for by: `unseen.best` is one of `unseen` too."""
        where = self.part.split(":")[0]
        return where, where.split(".")[0]

    @property
    def outcome(self) -> str:
        return outcome(self.record["won"], self.record["truncated"], self.record["failure"])

    @property
    def packed(self) -> bool:
        """Whether its turns were left out."""
        return any(text not in self.record for text in TEXTS)

    @property
    def invalid(self) -> int:
        """Turns with a malformed response."""
        return int(self.record["turns"]) - int(self.record["valid_turns"])


@dataclass(frozen=True)
class Wanted:
    """What to look for; None and False exclude nothing. The outcome `not-won` is every other than `won`. `task` is any
    part of the game's name or of the task sentence."""

    split: str | None = None
    iteration: int | None = None
    outcome: str | None = None
    task_type: str | None = None
    task: str | None = None
    invalid: bool = False

    def matches(self, episode: Episode) -> bool:
        record = episode.record
        not_won = self.outcome == NOT_WON and episode.outcome != "won"
        types = (record["task_type"].lower(), episode.task_type.lower())
        texts = (record["task"].lower(), record.get("instruction", "").lower())
        return all(
            (
                self.split in (None, *episode.splits),
                self.iteration is None or episode.part == f"{TRAIN}:{self.iteration}",
                not_won or self.outcome in (None, episode.outcome),
                self.task_type is None or self.task_type.lower() in types,
                self.task is None or any(self.task.lower() in text for text in texts),
                not self.invalid or episode.invalid > 0,
            )
        )


def load(folder: Path) -> list[Episode]:
    """All recorded episodes: training by iteration, then evaluation as played. A run that is still going on may be
    read. UserError when there is no such run or none of its episodes is recorded."""
    if not (folder / "config.yaml").exists():
        raise UserError(f"{folder}: no run (a run's folder has a config.yaml){astray(folder)}{_neighbours(folder)}")
    benchmark = value_at(read_yaml(folder / "config.yaml"), "benchmark.name")
    episodes = [*_training(folder / EPISODES, benchmark), *_evaluation(folder / EVALUATION, benchmark)]
    if not episodes:
        raise UserError(f"{folder}: no episodes to show; {'; '.join(gaps(folder)) or 'nothing has been played yet'}")
    return episodes


def gaps(folder: Path) -> list[str]:
    """What a reader must know is not there, as sentences without a full stop."""
    found = []
    if (
        not (folder / EPISODES).exists()
        and (folder / "metrics.jsonl").exists()
        and "-warmstart-" not in absolute(folder).name
    ):
        found.append(f"trained before episodes were recorded: no {EPISODES} (training again writes it)")
    elif (folder / EPISODES).exists() and not (folder / EPISODES).stat().st_size:
        found.append(f"{EPISODES} is empty: no iteration has ended yet, or tracking.episodes is 0")
    if (folder / UNFINISHED).exists():
        found.append(f"evaluation is not finished: `{_command(folder, EVALUATION)}` goes on")
    elif not (folder / MANIFEST).exists():
        cut_short, command = (folder / "metrics.jsonl").exists(), _command(folder, MANIFEST)
        found.append(f"training is not finished: `{command}` goes on" if cut_short else f"not trained yet: `{command}`")
    elif not (folder / EVALUATION).exists():
        found.append(f"not evaluated yet: `{_command(folder, EVALUATION)}`")
    return found


def _command(folder: Path, file: str) -> str:
    """What makes this file of the run. Not the stage's own command: Snakemake would not count what that has made."""
    experiment = absolute(folder).parent.parent.name
    command = f"snakemake --cores 2 {folder / file}"
    return command if experiment == DEFAULT_EXPERIMENT else f"{command} --config experiment={experiment}"


def select(episodes: Iterable[Episode], wanted: Wanted) -> list[Episode]:
    """The episodes that match, broken ones first, then out of turns, lost, won; otherwise in the order played."""
    return sorted(filter(wanted.matches, episodes), key=lambda episode: SEVERITY[episode.outcome])


def require_present(episodes: Sequence[Episode], wanted: Wanted) -> None:
    """UserError for a split, iteration or task type of which nothing is recorded, with those there are."""
    iterations = [episode.part.split(":")[1] for episode in episodes if episode.part.startswith(f"{TRAIN}:")]
    for option, asked, alone, there in (
        ("--split", wanted.split, Wanted(split=wanted.split), [name for one in episodes for name in one.splits]),
        ("--iteration", wanted.iteration, Wanted(iteration=wanted.iteration), iterations),
        ("--type", wanted.task_type, Wanted(task_type=wanted.task_type), [one.task_type for one in episodes]),
    ):
        if not any(map(alone.matches, episodes)):
            known = list(dict.fromkeys(there))
            hint = nearest(str(asked), known)
            raise UserError(f"{option} {asked}: nothing of it is recorded{hint}; there are {_few(known) or 'none'}")


def find(episodes: Sequence[Episode], name: str) -> Episode:
    """The episode of that name, whose temperature may be spelt in any way (`1.0` is `1`); UserError says which names
    there are."""
    for episode in episodes:
        if episode.name in (name, _respelt(name)):
            if episode.packed:
                raise UserError(f"{name}: {PACKED}")
            return episode
    part, _, _ = _respelt(name).rpartition(":")
    near = [episode.name for episode in episodes if episode.part == part]
    if near:
        raise UserError(f"no episode {name!r}; recorded of {part}: {_few(near)}")
    parts = dict.fromkeys(episode.part for episode in episodes)
    parts = sorted(parts, key=lambda part: part.startswith(f"{TRAIN}:"))  # there are many iterations
    raise UserError(f"no episode {name!r}; a name is one of {_few(parts)}, then a colon and the episode's number")


def _respelt(name: str) -> str:
    """The name with its temperature or iteration, if that is a number, as names have it."""
    parts = name.split(":")
    try:
        parts[1:2] = [f"{float(text):g}" for text in parts[1:2]]
    except ValueError:
        return name
    return ":".join(parts)


def _training(path: Path, benchmark: str | None) -> list[Episode]:
    parts = ((f"{TRAIN}:{row['iteration']}", row) for row in _rows(path, ("iteration", "number")))
    return [Episode(f"{part}:{row['number']}", part, row, benchmark) for part, row in parts]


def _evaluation(path: Path, benchmark: str | None) -> list[Episode]:
    counts: dict[str, int] = {}
    episodes = []
    for row in _rows(path, ("split", "temperature")):
        part = f"{evaluated_on(row)}:{row['temperature']:g}"
        number = counts.get(part, 0)
        counts[part] = number + 1
        episodes.append(Episode(f"{part}:{number}", part, row, benchmark))
    return episodes


def _rows(path: Path, keys: tuple[str, ...]) -> list[dict[str, Any]]:
    rows = read_jsonl(path, partial_ok=True) if path.exists() else []
    for number, row in enumerate(rows, start=1):
        if missing := [key for key in (*keys, *_KEYS) if key not in row]:
            raise UserError(f"{path}:{number}: no {', '.join(missing)}; run the stage that wrote it again")
    return rows


def _neighbours(folder: Path) -> str:
    """Runs that were perhaps meant: those beside the folder, else all there are."""
    beside = folder.parent.glob("*/config.yaml") if len(folder.parts) > 1 else ()  # a name alone is no run
    found = sorted(path.parent for path in beside)
    found = found or sorted(path.parent for path in Path("results").glob("*/runs/*/config.yaml"))
    if found:
        return f"; there are: {_few([*map(str, found)])}"
    return "; `make demo` makes some" if Path("configs").is_dir() else ""


def _few(names: Sequence[str], most: int = 12) -> str:
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown}, … ({len(names)} in all)"
