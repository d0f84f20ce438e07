"""`hiper inspect`: what a run's episodes came to, and one of them turn by turn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from hiper.errors import UserError
from hiper.records import absolute, read_jsonl
from hiper.trajectory import evaluated_on
from hiper.views.archive import OUTCOMES, PACKED, TRAIN, Episode, Wanted, gaps, load, require_present, select
from hiper.views.chosen_run import state
from hiper.views.terminal import harmless, inline
from hiper.views.turns import STYLES, Token, last_view, segment_title, signed, tokens_of, turn_view

ITERATIONS = 12  # counted one by one in the overview, the latest
NO_TOKENS = "--tokens has nothing to show: tokens are recorded only of training episodes that entered an update."


def show_runs(console: Console, folder: Path, runs: Sequence[Path]) -> None:
    """The runs of an experiment: how far each is, and its success by split, over all temperatures."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("run", overflow="fold")
    table.add_column("state")
    table.add_column("success")
    for run in runs:
        table.add_row(run.name, state(run), _success(run))
    console.print(table)
    console.print(f"One of them: hiper inspect {folder}/runs/{runs[-1].name}", soft_wrap=True)
    if len({run.name.split("-")[0] for run in runs}) == 1:
        words = " ".join(runs[-1].name.split("-")[-2:])
        console.print(f'Or by words of its name: hiper inspect {folder} --filter "{words}"', soft_wrap=True)


def _success(run: Path) -> str:
    """`unseen 49 %, seen 52 %`, of its last model by preference; empty before the evaluation."""
    path = run / "evaluation.jsonl"
    won: dict[str, list[bool]] = {}
    for row in read_jsonl(path, partial_ok=True) if path.exists() else []:
        won.setdefault(evaluated_on(row), []).append(row["won"])
    plain = {split: wins for split, wins in won.items() if "." not in split} or won
    return ", ".join(f"{split} {100 * sum(wins) / len(wins):.0f} %" for split, wins in plain.items())


def show_overview(console: Console, folder: Path, wanted: Wanted, limit: int) -> None:
    """Counts per iteration and split (left out when looking for something), then up to `limit` of the episodes wanted;
    0: all of them."""
    episodes = load(folder)
    require_present(episodes, wanted)
    found = select(episodes, wanted)
    console.print(Text(absolute(folder).name, "bold"))
    packed = any(episode.packed for episode in episodes)
    for gap in [PACKED] if packed else gaps(folder):
        console.print(Text(f"{gap}.", "yellow"))
    if wanted == Wanted():
        console.print(_counts(episodes, _rates(folder)))
    if not found:
        console.print(f"None of the {len(episodes)} recorded episodes is like that: {_present(episodes)}.")
        return
    shown = found[: limit or None]
    console.print(_listing(shown))
    console.print(
        f"{len(shown)} of {len(found)} episodes" + (" (--limit 0 shows all)" if len(shown) < len(found) else "")
    )
    if not packed:
        console.print(f"One of them, turn by turn: hiper inspect {folder} {shown[0].name}", soft_wrap=True)


def show_episode(console: Console, episode: Episode, turn: int | None, every_token: bool) -> None:
    """An episode, or one turn of it, counted from 1; with `every_token` a table of each turn's tokens as well."""
    record = episode.record
    decisions = record["decisions"]
    if decisions and not isinstance(decisions[0], Mapping):
        raise UserError(f"{episode.name} was played before turns were recorded in full; evaluate the run again")
    if turn is not None and not 1 <= turn <= len(decisions):
        raise UserError(f"{episode.name} has no turn {turn}; " + (f"1 to {len(decisions)}" if decisions else "none"))
    _show_head(console, episode)
    if every_token and not any("token" in decision for decision in decisions):
        console.print(Text(NO_TOKENS, "yellow"))
    for number, decision in enumerate(decisions):
        if turn not in (None, number + 1):
            continue
        if (title := segment_title(decision, begins=number == 0 or decision["switch"] or turn is not None)) is not None:
            console.print(title)
        console.print(turn_view(number, decision))
        if every_token and "token" in decision:
            console.print(_token_table(tokens_of(decision)))
    if turn is None:
        _show_end(console, episode)


def _show_head(console: Console, episode: Episode) -> None:
    record = episode.record
    console.print(Text(f"{episode.name}  ", "bold").append(_ending(episode)).append(f"  return {record['return']:g}"))
    console.print(f"task  {harmless(record['instruction'])}")
    console.print(f"game  {record['task']} ({episode.task_type})")
    console.print(_history(record), style="dim")


def _history(record: Mapping[str, Any]) -> str:
    if "iteration" not in record:
        return "Evaluation has no critic: there are no values and advantages."
    if not record["updated"]:
        return "This episode broke before it could enter an update: there are no values and advantages."
    origin = f"Iteration {record['iteration']}, episode {record['number']}, group {record['group']}. "
    if "actor" not in record["updated"]:
        return origin + "The critic alone was trained in this iteration: no token's advantage was used."
    return (
        f"{origin}In answers, ‹text +0.41› are tokens trained with this advantage; all others carried no gradient. "
        "Values: what was estimated → what it was trained towards."
    )


def _show_end(console: Console, episode: Episode) -> None:
    record = episode.record
    if record["observation"]:
        console.print(last_view(record["observation"]))
    console.print(Text("end  ", "bold").append(_ending(episode)))
    if record["failure"] is not None:
        console.print(f"cause: {inline(record['failure'])}", style="red")


def _ending(episode: Episode) -> Text:
    turns = episode.record["turns"]
    text = f"{episode.outcome} after {turns} turn{'' if turns == 1 else 's'}"
    return Text(text, STYLES[episode.outcome])


def _counts(episodes: Sequence[Episode], rates: Mapping[str, float]) -> Table:
    """One row per training iteration (the latest) and per evaluated split and temperature."""
    parts = list(dict.fromkeys(episode.part for episode in episodes))
    iterations = [part for part in parts if part.startswith(TRAIN)]
    hidden = set(iterations[:-ITERATIONS])
    table = Table(box=None, padding=(0, 2, 0, 0), caption_justify="left")
    table.add_column("episodes of")
    for title in ("recorded", *OUTCOMES, "malformed turns", "success, all episodes"):
        table.add_column(title, justify="right")
    for part in parts:
        if part not in hidden:
            table.add_row(part, *_row([e for e in episodes if e.part == part], rates.get(part)))
    if hidden:
        table.caption = f"{len(hidden)} earlier iterations are not counted here; --iteration N lists one."
    return table


def _row(episodes: Sequence[Episode], rate: float | None) -> list[str]:
    endings = Counter(episode.outcome for episode in episodes)
    rate = endings["won"] / len(episodes) if rate is None else rate
    counts = [len(episodes), *(endings[name] for name in OUTCOMES)]
    return [*map(str, counts), str(sum(episode.invalid for episode in episodes)), f"{100 * rate:.0f} %"]


def _rates(folder: Path) -> dict[str, float]:
    """Success over all episodes of an iteration, of which a few are recorded."""
    path = folder / "metrics.jsonl"
    rows = read_jsonl(path, partial_ok=True) if path.exists() else []
    return {f"{TRAIN}:{row['iteration']}": row["train/success"] for row in rows if "train/success" in row}


def _listing(episodes: Sequence[Episode]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("episode", no_wrap=True)
    table.add_column("ended", no_wrap=True)
    for title in ("turns", "switches", "malformed"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("type", no_wrap=True)
    table.add_column("task", overflow="fold")
    for episode in episodes:
        record = episode.record
        ending = Text(episode.outcome, STYLES[episode.outcome])
        numbers = (str(record[key]) for key in ("turns", "switches"))
        text = record.get("instruction") or record["task"]
        table.add_row(episode.name, ending, *numbers, str(episode.invalid), episode.task_type, inline(text))
    return table


def _present(episodes: Sequence[Episode]) -> str:
    outcomes = Counter(episode.outcome for episode in episodes)
    types = dict.fromkeys(episode.task_type for episode in episodes)
    counts = ", ".join(f"{count} {name}" for name, count in sorted(outcomes.items()))
    return f"there are {counts}; task types {', '.join(types)}"


def _token_table(tokens: Sequence[Token]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for title in ("token", "text", "block", "advantage", "log probability", ""):
        table.add_column(title, justify="left" if title in ("text", "block", "") else "right")
    for number, token in enumerate(tokens):
        advantage = signed(token.advantage) if token.trained else "–"
        logprob = "" if token.forced else signed(token.logprob)
        style = "" if token.trained else "dim"
        table.add_row(str(number), inline(token.text), token.block, advantage, logprob, token.fate, style=style)
    return table
