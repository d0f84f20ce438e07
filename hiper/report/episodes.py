"""A few episodes of training on the report's page, turn by turn: what was seen, decided and done, and who was credited
with what."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hiper.errors import UserError
from hiper.records import read_last_rows, require
from hiper.report.study import Run, Study, folder_name
from hiper.runs.episodes import BLOCKS, EPISODES, outcome
from hiper.runs.labels import label, task_label

MOST = 4  # algorithms of a study whose episodes are shown
RECENT = 64  # of a run's last so many recorded episodes
LONGEST = 1200  # characters of an observation
STRONG = 2.0  # an advantage of this size has the full colour
_KEYS: dict[str, type | tuple[type, ...]] = {
    "task": str,
    "task_type": str,
    "won": bool,
    "truncated": bool,
    "turns": int,
    "decisions": list,
    "iteration": int,
    "number": int,
    "updated": list,
    "return": (int, float),
    "failure": (str, type(None)),
}
ENDINGS = {"won": "won", "lost": "lost", "truncated": "out of turns", "failed": "broken"}


def episodes(study: Study, experiment: Path) -> list[dict[str, Any]]:
    """For each algorithm (HiPER's first, at most MOST) the last recorded episode that was won and the last that was
    not, of the first seed that has any."""
    runs = experiment / "runs"
    trained = sorted(study.trained, key=lambda name: not study.of(name)[0].hierarchical)
    shown = []
    for run, row in (pick for algorithm in trained[:MOST] for pick in _chosen(study.of(algorithm), runs)):
        try:
            shown.append(_episode(run, row, folder_name(experiment, run)))
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            name = f"train:{row['iteration']}:{row['number']}"
            raise UserError(
                f"{runs / run.name / EPISODES}: {name} is damaged ({type(error).__name__}: {error}); remove the file, "
                "and the report does without it"
            ) from None
    return shown


def _chosen(candidates: Sequence[Run], runs: Path) -> list[tuple[Run, Mapping[str, Any]]]:
    for run in candidates:
        path = runs / run.name / EPISODES
        rows = read_last_rows(path, RECENT) if path.exists() else []
        for row in rows:
            require(row, _KEYS, f"{path}: one of the last {len(rows)} rows")
        used = [row for row in rows if row["decisions"] and "actor" in row["updated"]]
        picks = [next((row for row in reversed(used) if row["won"] is won), None) for won in (True, False)]
        if any(picks):
            return [(run, row) for row in picks if row is not None]
    return []


def _episode(run: Run, row: Mapping[str, Any], folder: str) -> dict[str, Any]:
    outcome_of = outcome(row["won"], row["truncated"], row["failure"])
    return {
        "outcome": outcome_of,
        "ending": ENDINGS[outcome_of],
        "algorithm": label(run.algorithm),
        "title": row.get("instruction") or row["task"],
        "length": f"{row['turns']} turns, return {row['return']:g}",
        "task": f"{row['task']} ({task_label(run.environment, row['task_type'])})",
        "iteration": row["iteration"],
        "run": run.name,
        "command": f"hiper inspect {folder} train:{row['iteration']}:{row['number']} --tokens",
        "turns": [_turn(decision) for decision in row["decisions"]],
        "last": _seen(row.get("observation", "")),
    }


def _turn(turn: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "seen": _seen(turn["observation"]),
        "decision": None if turn["subgoal"] is None else "SWITCH" if turn["switch"] else "KEEP",
        "subgoal": turn["subgoal"],
        "action": turn["action"] or "(no action)",
        "problems": "; ".join(map(str, turn["problems"])),
        "reward": f"{turn['reward']:g}",
        "gain": turn["reward"] > 0,
        "advantages": list(_advantages(turn)),
        "values": list(_values(turn)),
    }


def _seen(observation: str) -> str:
    rest = len(observation) - LONGEST
    return observation if rest <= 0 else f"{observation[:LONGEST]} … ({rest} more characters)"


def _advantages(turn: Mapping[str, Any]) -> Iterator[tuple[str, str | None]]:
    """(text, colour or None for idle) per block that the turn has; one in all, with the mean, where the credit is not
    by blocks."""
    advantages, spans, trained = turn["advantages"], turn["spans"], turn["token"]["trained"]
    if turn["whole_response"]:
        alike = len(set(turn["token"]["advantage"])) == 1
        yield _advantage("all tokens" if alike else "tokens, mean", advantages["other"], any(trained))
        return
    for block in BLOCKS:
        if (span := spans[block]) is not None:
            yield _advantage(block, advantages[block], any(trained[span[0] : span[1]]))


def _advantage(name: str, advantage: float, trained: bool) -> tuple[str, str | None]:
    if not trained:
        return f"{name} {_signed(advantage) if advantage else '–'}", None
    strength = 0.12 + 0.5 * min(1.0, abs(advantage) / STRONG)
    colour = "0, 114, 178" if advantage > 0 else "213, 94, 0"  # blue and orange of the figures
    return f"{name} {_signed(advantage)}", f"rgba({colour}, {strength:.2f})"


def _values(turn: Mapping[str, Any]) -> Iterator[str]:
    for head, value in turn["values"].items():
        target = turn["targets"].get(head)
        name = "V" if head == "state" else f"V {head}"
        yield f"{name} {_signed(value)}" + ("" if target is None else f" → {_signed(target)}")


def _signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", "−")
