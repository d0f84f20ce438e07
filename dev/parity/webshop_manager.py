"""HiPER's worker and environment manager around WebShop, as far as recordings of them show: not how this code works.

Two ways to read a model's text: `plain` (a thought and an action) and `options` (switch, subgoal and action).
"""

from __future__ import annotations

import re
from typing import Any

from dev.parity.webshop_result import ParityResult, Tally
from dev.parity.webshop_shop import RecordedShop, Recording, Types
from hiper.benchmarks.webshop.goals import goal_record
from hiper.benchmarks.webshop.pages import SEPARATOR, Page, ProductPages
from hiper.benchmarks.webshop.session import Session

WIN = 10.0
_FALLBACK = 20  # characters from the end that become the action where it has no block
_EPISODE: Types = {
    "kind": str,
    "seed": int,
    "goal_idx": int,
    "early_terminate_penalty": (int, float),
    "goal": dict,
    "reset": dict,
    "steps": list,
}
_CHINESE = re.compile("[\u4e00-\u9fff]")


def compare_managers(recording: Recording) -> ParityResult:
    """Every reset and every step is a point; the goal counts with the reset."""
    stock, nouns = recording.stock(), recording.nouns()
    shops: dict[int, RecordedShop] = {}
    tally = Tally()
    for number, episode in enumerate(recording.rows(_EPISODE)):
        seed = episode["seed"]
        if seed not in shops:
            shops[seed] = RecordedShop(stock, stock.hiper_order(seed), nouns)
        manager = _Manager(shops[seed], episode)
        where = f"trajectory {number} ({episode['kind']}, seed {seed}, goal {episode['goal_idx']})"
        tally.compare(f"{where} reset", manager.start(), {**episode["reset"], "goal": episode["goal"]})
        for turn, step in enumerate(recording.steps(number, {"raw": str}), start=1):
            tally.compare(f"{where} step {turn}", {"raw": step["raw"], **manager.step(step["raw"])}, step)
    return tally.result()


def compare_projections(recording: Recording) -> ParityResult:
    """Every text is a point: action and validity as both readings give them, the subgoal and the switch."""
    tally = Tally()
    for number, case in enumerate(recording.rows({"raw": str})):
        own = {"raw": case["raw"], "plain": project(case["raw"]), "options": project_options(case["raw"])}
        tally.compare(f"text {number} {case['raw']!r}", own, case)
    return tally.result()


class _Manager:
    """One trajectory. HiPER's environment resets itself with the purchase: what can be clicked is then said of the
    start page of another session, while the observation is still the last page of this one."""

    def __init__(self, shop: RecordedShop, episode: dict[str, Any]) -> None:
        self._goal = shop.goal(episode["goal_idx"])
        self._session = Session(shop, self._goal, "exact", ProductPages(shop.product))
        self._task = self._session.page.observation.split(SEPARATOR)[2]
        self._start = self._session.page
        self._options = episode["kind"] == "options"
        self._penalty = episode["early_terminate_penalty"]

    def start(self) -> dict[str, Any]:
        goal = {key: value for key, value in goal_record(self._goal).items() if key != "reachable"}
        info = {"available_actions": _available(self._start), "won": False}
        return {"anchor": self._anchor(self._start), "info": info, "goal": goal}

    def step(self, raw: str) -> dict[str, Any]:
        read = project_options(raw) if self._options else project(raw)
        step = self._session.step(read["action"])
        won = step.done and step.reward == 1.0
        info = {
            "available_actions": _available(self._start if step.done else step.page),
            "task_score": step.reward,
            "won": won,
            "is_action_valid": read["valid"],
            **({"switch": read["switch"]} if self._options else {}),
        }
        reward = WIN if won else self._penalty if step.done else 0.0
        return {"anchor": self._anchor(step.page), "reward": reward, "done": step.done, "info": info}

    def _anchor(self, page: Page) -> str:
        """The quoted texts after the task sentence; the page as it is where the sentence is not on it."""
        texts = page.observation.split(SEPARATOR)
        if self._task not in texts:
            return page.observation
        return SEPARATOR.join(f"'{text}'" for text in texts[texts.index(self._task) + 1 :])


def _available(page: Page) -> dict[str, Any]:
    return {"has_search_bar": page.has_search_bar, "clickables": list(page.clickables)}


def project(raw: str) -> dict[str, Any]:
    """`plain`: valid with both blocks and without Chinese characters."""
    action = _block(raw.lower(), "action")
    if action is None:
        return {"action": raw.lower()[-_FALLBACK:], "valid": 0}
    valid = _block(raw, "think") is not None and not _CHINESE.search(raw)
    return {"action": action, "valid": int(valid)}


def project_options(raw: str) -> dict[str, Any]:
    """`options`: the first block that is missing or misformed decides what is kept of the others."""
    action = _block(raw.lower(), "action")
    if action is None:
        return {"action": raw.lower()[-_FALLBACK:], "subgoal": "", "switch": "", "valid": 0}
    switch, subgoal = _block(raw, "switch"), _block(raw, "subgoal")
    if switch is None:
        return {"action": action, "subgoal": "None", "switch": "", "valid": 0}
    if switch.upper() not in ("SWITCH", "KEEP"):
        return {"action": action, "subgoal": "", "switch": "KEEP", "valid": 0}
    if subgoal is None:
        return {"action": action, "subgoal": "", "switch": switch.upper(), "valid": 0}
    return {"action": action, "subgoal": subgoal, "switch": switch.upper(), "valid": int(not _CHINESE.search(raw))}


def _block(text: str, tag: str) -> str | None:
    """What stands between the first opening and the first closing tag, wherever they are; None when one is missing."""
    start, end = text.find(f"<{tag}>"), text.find(f"</{tag}>")
    return None if start < 0 or end < 0 else text[start + len(tag) + 2 : end].strip()
