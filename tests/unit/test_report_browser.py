"""The report's page in a real browser, on synthetic run folders: what is cut off, what can be looked at, what is
executed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import MISSING, Browser, chromium, program
from synthetic_runs import TYPES, add_run, episode

from hiper.records import read_jsonl, write_jsonl
from hiper.report.figures import Drawn
from hiper.report.page import write_page
from hiper.report.study import load_studies

pytestmark = pytest.mark.skipif(program() is None, reason=MISSING)

HOSTILE = "</script></div><script>hacked = 1</script><img src=x onerror='hacked = 1'>\" onclick=\"hacked = 1 & <b>"
LONG = [f"a_task_type_with_a_long_name_{number}" for number in range(5)]
OVERFLOWING = """(() => {
  const width = document.documentElement.clientWidth;
  const cut = document.documentElement.scrollWidth > innerWidth ? ["the page"] : [];
  for (const one of document.querySelectorAll("main *")) {
    const place = one.getBoundingClientRect();
    if (place.width && (place.right > width + 1 || place.left < -1)) cut.push(one.outerHTML);
  }
  for (const one of document.querySelectorAll(".wide")) {
    if (one.scrollWidth > one.clientWidth + 1) cut.push(one.className);
  }
  return cut;
})()"""
OPEN_ALL = "(() => { for (const one of document.querySelectorAll('details')) one.open = true; })()"


def decision(switch: bool, text: str, **credit: Any) -> dict[str, Any]:
    return {
        "observation": f"You see {text}.",
        "response": "?",
        "switch": switch,
        "subgoal": f"find {text}",
        "subgoal_text": f"find {text}",
        "action": f"take {text}",
        "valid": True,
        "problems": [],
        "reward": 0.0,
        **credit,
    }


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six runs with scores, task types of long names and two splits; HiPER's first seed has turns, a hostile episode
    and one of training. Of the unseen tasks HiPER wins 0, 1, 3, 4 and PPO 0, 2, 4, of either seed."""
    folder = tmp_path_factory.mktemp("pages") / "results" / "demo"
    wins = {"warmstart": (), "hiper": (0, 1, 3, 4), "ppo_turn": (0, 2, 4)}
    for algorithm, won in wins.items():
        for seed in (0, 1):
            run = add_run(folder, algorithm, seed, [])
            rows = [episode(number, number in won, split) for split in ("seen", "unseen") for number in range(8)]
            types = (*LONG, *TYPES, LONG[0])
            write_jsonl(
                run / "evaluation.jsonl",
                [
                    row
                    | {"task_type": types[number % 8], "score": 0.5, "decisions": [decision(True, f"a mug {number}")]}
                    for number, row in enumerate(rows)
                ],
            )
    run = folder / "runs" / "alfworld_small-tiny_1.5b-hiper-seed0"
    rows = read_jsonl(run / "evaluation.jsonl")
    turns = [decision(True, "a desk"), decision(False, "a desk"), decision(True, HOSTILE)]
    rows[8] |= {"decisions": turns, "instruction": HOSTILE, "observation": HOSTILE}
    write_jsonl(run / "evaluation.jsonl", rows)
    credit = {
        "values": {"high": 0.25},
        "targets": {"high": 0.75},
        "advantages": {"switch": 1.5, "subgoal": 0.0, "action": -0.5, "other": 0.0},
        "whole_response": False,
        "spans": {"switch": [0, 1], "subgoal": [1, 2], "action": [2, 3]},
        "token": {"text": ["SWITCH", "mug", "take"], "trained": [1, 0, 1], "advantage": [1.5, 0.0, -0.5]},
    }
    trained = {**rows[0], "task": "t", "return": 1.0, "iteration": 3, "number": 1, "updated": ["critic", "actor"]}
    write_jsonl(run / "episodes.jsonl", [trained | {"decisions": [decision(True, "a mug", **credit)]}])
    write_page(
        load_studies(folder), folder, [Drawn("success", (), (("", '<svg xmlns="http://www.w3.org/2000/svg"/>'),))]
    )
    return folder / "report.html"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with chromium(tmp_path_factory.mktemp("profile")) as found:
        yield found


def listed(browser: Browser) -> list[str]:
    """The episodes of the list, a line each."""
    found: list[str] = browser.evaluate(
        "[...document.querySelectorAll('.episode > summary')].map((one) => one.textContent.replace(/\\s+/g, ' '))"
    )
    return found


def test_nothing_is_cut_off_between_400_and_2000_pixels(browser: Browser, page: Path) -> None:
    """With all that can be opened open; every value of the widest table, its intervals among them, is visible."""
    browser.size(2000)
    browser.open(page)
    browser.evaluate(OPEN_ALL)
    browser.wait("document.querySelectorAll('.turn').length > 8")
    for width in (400, 620, 900, 1150, 1400, 2000):
        browser.size(width)
        assert browser.evaluate(OVERFLOWING) == [], width
        hidden = (
            "[...document.querySelectorAll('#tables td')].filter((one) => one.textContent && !one.offsetWidth).length"
        )
        assert browser.evaluate(hidden) == 0, width


def test_the_page_is_light_or_dark_as_the_reader_likes_it(browser: Browser, page: Path) -> None:
    """Text on its ground has a contrast of 7 at least, quiet text of 4.5."""
    contrast = """((name) => {
      const light = (text) => { const part = text.match(/[0-9.]+/g).slice(0, 3).map((one) => one / 255)
        .map((one) => one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4);
        return 0.2126 * part[0] + 0.7152 * part[1] + 0.0722 * part[2] + 0.05; };
      const [ink, paper] = [light(getComputedStyle(document.querySelector(name)).color),
        light(getComputedStyle(document.body).backgroundColor)];
      return [paper, Math.max(ink, paper) / Math.min(ink, paper)]; })"""
    browser.size(900)
    browser.open(page)
    for dark in (False, True):
        browser.size(900, dark=dark)
        ground, text = browser.evaluate(f"{contrast}('h1')")
        assert (ground < 0.1) == dark and text > 7
        for quiet in ("dt", "main a", "figcaption"):
            assert browser.evaluate(f"{contrast}('{quiet}')")[1] > 4.5, quiet


def test_an_address_opens_an_episode_turn_by_turn(browser: Browser, page: Path) -> None:
    """KEEP and SWITCH with their subgoals; of an episode of training also what every token got, and the values."""
    run = "alfworld_small-tiny_1.5b-hiper-seed0"
    browser.open(page, f"#episodes?open={run}/unseen:0.4:0")
    browser.wait("document.querySelectorAll('.episode[open] .turn').length === 4")  # the last is what was seen last
    decisions = "[...document.querySelectorAll('.episode[open] .did .badge')].map((one) => one.textContent)"
    assert browser.evaluate(decisions) == ["SWITCH", "KEEP", "SWITCH"]
    browser.open(page, f"#episodes?open={run}/train:3:1")
    text = browser.wait("document.querySelector('.episode[open] .turn')?.textContent")
    assert all(told in text for told in ("switch +1.50", "subgoal –", "action −0.50", "V high +0.25 → +0.75"))
    tokens = "[...document.querySelectorAll('.tokens span')].map((one) => [one.textContent, one.className, one.title])"
    assert browser.evaluate(tokens) == [
        ["SWITCH", "", "advantage +1.50"], ["mug", "idle", "no gradient"], ["take", "", "advantage −0.50"],
    ]  # fmt: skip


def test_the_navigation_marks_the_section_that_is_looked_at(browser: Browser, page: Path) -> None:
    """Also when the list of episodes has pushed what follows it down since; its heading is below the navigation."""
    for width in (400, 1400):
        browser.size(width)
        browser.open(page, "#episodes")
        browser.wait("document.querySelector('nav a.here')?.textContent === 'Episodes'")
        shown = "document.querySelector('#episodes h2').getBoundingClientRect().bottom"
        assert browser.evaluate(f"{shown} > document.querySelector('nav').getBoundingClientRect().bottom + 20")


def test_episodes_are_found_by_what_they_are(browser: Browser, page: Path) -> None:
    """By algorithm, type, outcome and words of the task, and the same task won by one and lost by another."""
    place = "place=unseen%2C+T+%3D+0.4"
    browser.open(page, f"#episodes?{place}")
    assert len(listed(browser)) == 48
    browser.open(page, f"#episodes?{place}&algorithm=hiper&outcome=won&seed=1")
    assert len(listed(browser)) == 4 and all("HiPER seed 1" in line for line in listed(browser))
    browser.open(page, f"#episodes?{place}&outcome=here&algorithm=hiper&other=ppo_turn")
    assert browser.evaluate("document.getElementById('found').textContent") == "4 pairs of episodes"
    assert [line[-5:] for line in listed(browser)[2:]] == ["task3", "task3"] and "PPO" in listed(browser)[0]
    link = "document.querySelector('.forest a[href*=\"other=ppo_turn\"]').click()"
    browser.open(page)
    browser.evaluate(link)
    browser.wait("document.getElementById('found').textContent === '4 pairs of episodes'")
    browser.evaluate("(() => { const one = document.querySelector('[name=words]'); one.value = 'task3'; "
                     "one.dispatchEvent(new Event('input', { bubbles: true })); })()")  # fmt: skip
    assert len(listed(browser)) == 2 and "words=task3" in browser.evaluate("location.hash")


def test_hostile_texts_are_neither_markup_nor_executed(browser: Browser, page: Path) -> None:
    """With every episode open."""
    browser.open(page, "#episodes?place=unseen%2C+T+%3D+0.4")
    before = browser.evaluate("document.querySelectorAll('script, img').length")
    browser.evaluate(OPEN_ALL)
    browser.wait("document.querySelectorAll('.side').length === 48")
    assert HOSTILE in browser.evaluate("document.getElementById('list').textContent")
    assert browser.evaluate("[typeof hacked, document.querySelectorAll('script, img').length]") == ["undefined", before]
