"""A few episodes of training on the report's page, turn by turn: what was seen, decided and done, and who was credited
with what."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hiper.errors import UserError
from hiper.records import read_last_rows, require
from hiper.report.report_markup import Markup, facts, grid, join, link, tag
from hiper.runs.episodes import BLOCKS, EPISODES, outcome
from hiper.runs.results import WARM_START, Run, Study, folder_name, hierarchical, label, task_label

MOST = 4  # algorithms of a study whose episodes are shown
RECENT = 64  # of a run's last so many recorded episodes
LONGEST = 1200  # characters of an observation
STRONG = 2.0  # an advantage of this size has the full colour
_KEYS: dict[str, type | tuple[type, ...]] = {
    **{"task": str, "task_type": str, "won": bool, "truncated": bool, "turns": int, "decisions": list},
    **{"iteration": int, "number": int, "updated": list, "return": (int, float), "failure": (str, type(None))},
}
ENDINGS = {"won": "won", "lost": "lost", "truncated": "out of turns", "failed": "broken"}
READING = (
    "Of each algorithm the last recorded training episode that was won, and the last that was not. In every turn: "
    "what the agent saw; what it decided (to SWITCH to a new subgoal or to KEEP the one it has, and the action); the "
    "reward; and the advantages that the update gave to the tokens of each block: blue made them more likely, orange "
    "less likely, grey carried no gradient (nothing to choose there). Values are the critic's estimates → what it was "
    "then trained towards."
)


def episodes(study: Study, experiment: Path) -> Markup:
    """For each algorithm (HiPER's first, at most MOST) the last recorded episode that was won and the last that was
    not, of the first seed that has any."""
    runs = experiment / "runs"
    trained = sorted(
        (name for name in study.algorithms if name != WARM_START),
        key=lambda name: not hierarchical(study.of(name)[0]),
    )
    chosen = [pick for algorithm in trained[:MOST] for pick in _chosen(study.of(algorithm), runs)]
    shown: list[Markup] = []
    for run, row in chosen:
        try:
            shown.append(_episode(run, row, folder_name(experiment, run), opened=not shown))
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            name = f"train:{row['iteration']}:{row['number']}"
            raise UserError(
                f"{runs / run.name / EPISODES}: {name} is damaged ({type(error).__name__}: {error}); remove the file, "
                "and the report does without it"
            ) from None
    return join(shown) if shown else tag("p", "No episode that the policy learned from was recorded.")


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


def _episode(run: Run, row: Mapping[str, Any], folder: str, *, opened: bool) -> Markup:
    ending = outcome(row["won"], row["truncated"], row["failure"])
    title = row.get("instruction") or row["task"]
    summary = tag(
        "summary",
        *(tag("span", ENDINGS[ending], class_=f"badge {ending}"), " ", tag("b", label(run.algorithm)), " – ", title),
        tag("span", f" {row['turns']} turns, return {row['return']:g}", class_="quiet"),
    )
    name = f"train:{row['iteration']}:{row['number']}"
    about = facts(
        [
            ("task", f"{row['task']} ({task_label(run.environment, row['task_type'])})"),
            ("played", f"in iteration {row['iteration']} of training"),
            ("run", link(f"#run-{run.name}", run.name)),
            ("every token", tag("code", f"hiper inspect {folder} {name} --tokens")),
        ]
    )
    header = ("", "Seen", "Decided", "Reward", "Advantages", "Values → targets")
    turns = [_turn(number, decision) for number, decision in enumerate(row["decisions"])]
    last = tag("p", tag("b", "Seen last: "), _seen(row.get("observation", "")), class_="last")
    attributes = {"open": "open"} if opened else {}
    return tag("details", summary, about, grid(header, turns, class_="turns"), last, class_="episode", **attributes)


def _turn(number: int, turn: Mapping[str, Any]) -> list[str]:
    return [
        str(number),
        tag("div", _seen(turn["observation"]), class_="seen"),
        join(list(_decided(turn))),
        tag("span", f"{turn['reward']:g}", class_="gain" if turn["reward"] > 0 else "quiet"),
        join(list(_advantages(turn)), " "),
        tag("div", *_values(turn), class_="values"),
    ]


def _seen(observation: str) -> str:
    rest = len(observation) - LONGEST
    return observation if rest <= 0 else f"{observation[:LONGEST]} … ({rest} more characters)"


def _decided(turn: Mapping[str, Any]) -> Iterator[Markup]:
    if turn["subgoal"] is not None:
        word = "SWITCH" if turn["switch"] else "KEEP"
        yield tag("div", tag("span", word, class_=f"badge {word.lower()}"), " ", turn["subgoal"], class_="subgoal")
    yield tag("code", turn["action"] or "(no action)")
    if turn["problems"]:
        yield tag("div", "malformed: " + "; ".join(map(str, turn["problems"])), class_="problem")


def _advantages(turn: Mapping[str, Any]) -> Iterator[Markup]:
    """One chip per block that the turn has; one in all, with the mean, where the credit is not by blocks."""
    advantages, spans, trained = turn["advantages"], turn["spans"], turn["token"]["trained"]
    if turn["whole_response"]:
        alike = len(set(turn["token"]["advantage"])) == 1
        yield _chip("all tokens" if alike else "tokens, mean", advantages["other"], any(trained))
        return
    for block in BLOCKS:
        if (span := spans[block]) is not None:
            yield _chip(block, advantages[block], any(trained[span[0] : span[1]]))


def _chip(name: str, advantage: float, trained: bool) -> Markup:
    if not trained:
        return tag("span", f"{name} {_signed(advantage) if advantage else '–'}", class_="chip idle")
    strength = 0.12 + 0.5 * min(1.0, abs(advantage) / STRONG)
    colour = "0, 114, 178" if advantage > 0 else "213, 94, 0"  # blue and orange of the figures
    return tag(
        "span", f"{name} {_signed(advantage)}", class_="chip", style=f"background: rgba({colour}, {strength:.2f})"
    )


def _values(turn: Mapping[str, Any]) -> Iterator[Markup]:
    for head, value in turn["values"].items():
        target = turn["targets"].get(head)
        name = "V" if head == "state" else f"V {head}"
        yield tag("div", f"{name} {_signed(value)}" + ("" if target is None else f" → {_signed(target)}"))


def _signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", "−")
