"""Is this WebShop the original? Every kind of recording of it, told by its content, compared point by point."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dev.parity.recordings import read_recording
from dev.parity.webshop_goals import compare_goal_list, compare_hiper_goals, compare_reward_cases
from dev.parity.webshop_manager import compare_managers, compare_projections
from dev.parity.webshop_result import ParityResult, Tally
from dev.parity.webshop_search import (
    compare_analyzer_characters,
    compare_analyzer_tokens,
    compare_search,
)
from dev.parity.webshop_shop import RecordedShop, Recording, Types, is_noun_lists
from hiper.benchmarks.webshop.pages import Page, ProductPages
from hiper.benchmarks.webshop.session import Session
from hiper.errors import UserError

Comparison = Callable[[Recording], ParityResult]

_EPISODE: Types = {"name": str, "goal_idx": int, "reset": dict, "steps": list}


@dataclass(frozen=True)
class Kind:
    """A kind of recording: a list (`rows`) or an object with these keys, and what it is compared with."""

    name: str
    rows: bool
    keys: frozenset[str]
    compare: Comparison


def compare_recording(path: Path, data: Path | None) -> ParityResult:
    """Compare one recording (.json, plain or gzipped, under any name) with what this code does in its place.

    `data`: the folder with the product files that it was made with, or the parent of it; None looks in $WEBSHOP_DATA
    and in `data/webshop` and `../../data/webshop` beside the file, then in the project's own places. Title nouns come
    from the recording, or from the recording of them beside it, in which itself there is nothing to compare. Raises
    UserError when the file is of no known kind, is malformed, or when what it needs is missing.
    """
    content = read_recording(path)
    if is_noun_lists(content):
        return ParityResult(0, 0, [])
    sample = _sample(content, path)
    for kind in KINDS:
        if kind.rows == isinstance(content, list) and kind.keys <= sample.keys():
            return kind.compare(Recording(path, content, data))
    known = ", ".join(kind.name for kind in KINDS)
    raise UserError(f"{path}: is none of the recordings of WebShop that are known here: {known}")


def _sample(content: Any, path: Path) -> dict[str, Any]:
    """The object whose keys tell the kind; of a list, the first."""
    first = content[0] if isinstance(content, list) and content else content
    if not isinstance(first, dict):
        raise UserError(f"{path}: expected a list of objects or an object, found {type(first).__name__}")
    return first


def compare_episodes(recording: Recording) -> ParityResult:
    """Episodes of WebShop itself: every reset and every step is a point; an action that raises must raise the same."""
    shop = RecordedShop(stock := recording.stock(), stock.original_order, recording.nouns())
    pages = ProductPages(shop.product)
    tally = Tally()
    for number, episode in enumerate(recording.rows(_EPISODE)):
        where = f"episode {number} ({episode['name']}, goal {episode['goal_idx']})"
        goal = shop.goal(episode["goal_idx"])
        session = Session(shop, goal, "exact", pages)
        start = {"instruction_text": f"Instruction: {goal.instruction}", "info": None, **page_record(session.page)}
        tally.compare(f"{where} reset", start, episode["reset"])
        for turn, step in enumerate(recording.steps(number, {"action": str}), start=1):
            own = {"action": step["action"], **_played(session, step["action"])}
            tally.compare(f"{where} step {turn} {step['action']!r}", own, step)
    return tally.result()


def _played(session: Session, action: str) -> dict[str, Any]:
    try:
        step = session.step(action)
    except (TypeError, IndexError) as error:
        return {"error": f"{type(error).__name__}: {error}"}
    return {"reward": step.reward, "done": step.done, "info": None, **page_record(step.page)}


def page_record(page: Page) -> dict[str, Any]:
    """A page in the recordings' form."""
    available = {"has_search_bar": page.has_search_bar, "clickables": list(page.clickables)}
    return {"obs": page.observation, "available": available}


def _with_data(compare: Callable[[Any, Path], ParityResult]) -> Comparison:
    """For what needs the content and the folder with the product files only."""
    return lambda recording: compare(recording.content, recording.folder())


KINDS = (
    Kind("episodes of WebShop", True, frozenset({"name", "goal_idx", "reset", "steps"}), compare_episodes),
    Kind("episodes of HiPER", True, frozenset({"kind", "seed", "goal", "reset", "steps"}), compare_managers),
    Kind("texts read by HiPER", True, frozenset({"raw", "plain", "options"}), compare_projections),
    Kind("purchases", True, frozenset({"tag", "goal_nouns", "product_nouns"}), _with_data(compare_reward_cases)),
    Kind("goals of WebShop", False, frozenset({"goals", "product_prices"}), _with_data(compare_goal_list)),
    Kind("goals of HiPER by seed", False, frozenset({"seeds"}), _with_data(compare_hiper_goals)),
    Kind("searches", False, frozenset({"k1", "b", "results"}), _with_data(compare_search)),
    Kind("terms of texts", False, frozenset({"queries", "docs_first60"}), _with_data(compare_analyzer_tokens)),
    Kind("terms of characters", False, frozenset({"porter", "chars"}), _with_data(compare_analyzer_characters)),
)
