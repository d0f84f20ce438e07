"""The benchmarks measure what they say, on small sizes, and refuse to compare sides that compute different things."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dev.bench import alfworld, babyai, hae, parser, report, webshop, webshop_play
from dev.bench.__main__ import main
from dev.bench.measure import Budget, Comparison, Disagreement, Result, Side, Spread, Target, interleave
from dev.bench.models import Machine
from dev.bench.turn_loop import loop_credit
from hiper.benchmarks.alfworld.environment import AlfworldBenchmark
from hiper.benchmarks.base import Info
from hiper.plan_execute import parse

ROOT = Path(__file__).resolve().parents[2]
BRIEF = Budget(3, 0.1)
CPU = Machine("cpu", 1, "float32")
SMALL: dict[str, Any] = {"shapes": ["tiny"], "turns": 2, "prompt": 20.0, "limits": (48, 100), "root": ROOT}


def require_figures(result: Result, sides: int) -> None:
    """Every side has as many rounds as the others, every figure is positive and finite."""
    assert result.checks
    for comparison in result.comparisons:
        assert len(comparison.seconds) == sides
        assert {len(rounds) for rounds in comparison.seconds.values()} == {comparison.rounds}
        assert comparison.rounds == 3
        figures = [seconds for rounds in comparison.seconds.values() for seconds in rounds]
        figures += [comparison.ratio(name).median for name in comparison.ratios]
        assert all(0 < figure < math.inf for figure in figures)
    assert all(0 < target.figure < math.inf for target in result.targets)
    assert all(target.met or target.bound for target in result.targets)


def ticking(times: dict[str, float], order: list[str]) -> tuple[list[Side], Any]:
    """Sides that take the given times of a clock of their own, and that clock."""
    now = [0.0]

    def side(name: str) -> Side:
        def run(number: int) -> float:
            order.append(f"{name}{number}")
            now[0] += times[name] * (number + 1)
            return 2.0

        return Side(name, run)

    return [side(name) for name in times], lambda: now[0]


def test_sides_take_turns_and_ratios_are_paired() -> None:
    """A B A B, the first round not counted, time per unit of work, the ratio taken within each round."""
    order: list[str] = []
    sides, clock = ticking({"a": 1.0, "b": 3.0}, order)
    measured = interleave("work", "piece", sides, {"b": "a"}, Budget(3, 1e9), clock)
    assert order == ["a0", "b0", "a1", "b1", "a2", "b2", "a3", "b3"]
    # rounds 1, 2, 3 take 2, 3, 4 times the side's second, over two units of work
    assert measured.seconds == {"a": [1.0, 1.5, 2.0], "b": [3.0, 4.5, 6.0]}
    assert measured.ratio("b") == Spread(3.0, 3.0, 3.0)
    assert measured.spread("a") == Spread(1.25, 1.5, 1.75)


def test_time_over_means_three_rounds() -> None:
    """A budget of no time still gives the three rounds that quartiles need, and not more."""
    sides, clock = ticking({"a": 1.0}, [])
    assert interleave("work", "piece", sides, {}, Budget(50, 0.0), clock).rounds == 3


def test_peaks_of_memory_belong_to_their_sides() -> None:
    """A gauge is started before each run and read after it; the highest reading of all rounds counts."""
    sides, clock = ticking({"a": 1.0, "b": 3.0}, [])
    read = iter([5.0, 50.0, 7.0, 40.0, 6.0, 60.0, 1.0, 2.0])

    class Readings:
        started = 0

        def start(self) -> None:
            self.started += 1

        def peak(self) -> float:
            return next(read)

    gauge = Readings()
    measured = interleave("work", "piece", sides, {"b": "a"}, Budget(3, 1e9), clock, gauge)
    assert measured.peaks == {"a": 7.0, "b": 60.0} and gauge.started == 8


def test_hae_is_measured() -> None:
    """Both loops and the vectorised credit have figures at a small size."""
    require_figures(hae.measure(BRIEF, trajectories=6, turns=5), sides=4)


@pytest.mark.parametrize("field", ["low", "high", "switch", "low_return", "high_return", "segment_return"])
def test_hae_refuses_a_loop_that_computes_something_else(field: str) -> None:
    """An advantage or a target that is off by a billionth anywhere is no basis for a ratio."""

    def wrong(*arguments: Any) -> Any:
        levels = loop_credit(*arguments)
        rows = [list(row) for row in getattr(levels, field)]
        rows[1][0] += 1e-9
        return replace(levels, **{field: rows})

    # a turn that has all blocks, so that no mask hides the change
    with pytest.raises(Disagreement, match=r"differ by 1e-09"):
        hae.measure(BRIEF, trajectories=6, turns=5, seed=3, loop=wrong)


@pytest.fixture(scope="module")
def measured_alfworld() -> Result:
    return alfworld.measure(BRIEF, root=ROOT, count=1, steps=2)


def test_alfworld_is_measured_against_textworld(measured_alfworld: Result) -> None:
    """Steps and resets have figures, and the real TextWorld was compared with first."""
    stepping, resetting = measured_alfworld.comparisons
    require_figures(replace(measured_alfworld, comparisons=[stepping]), sides=2)
    require_figures(replace(measured_alfworld, comparisons=[resetting]), sides=4)
    assert measured_alfworld.checks[0].startswith("3 resets and steps")


class Forgetful:
    """The native engine, but one admissible command is missing."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def reset(self, task: Any) -> tuple[str, Info]:
        observation, info = self.inner.reset(task)
        return observation, replace(info, admissible_actions=info.admissible_actions[1:])

    def step(self, action: str) -> Any:
        return self.inner.step(action)

    def close(self) -> None:
        self.inner.close()


def test_alfworld_refuses_engines_that_differ() -> None:
    """One admissible command less in the other engine and nothing is timed."""
    with alfworld.games(None, ROOT) as (settings, data_root):
        other = Forgetful(AlfworldBenchmark(settings, data_root).environment())
        with pytest.raises(Disagreement, match="reset"):
            alfworld.measure(BRIEF, root=ROOT, count=1, steps=2, original=other)


def test_babyai_is_measured_against_the_bare_package() -> None:
    """Steps and resets have figures, and missions and endings were compared first."""
    result = babyai.measure(BRIEF, root=ROOT, episodes=1, steps=3)
    require_figures(result, sides=2)
    assert [comparison.title for comparison in result.comparisons] == ["steps", "resets"]
    assert result.checks[0].startswith("36 resets and steps")


def test_babyai_refuses_endings_that_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    """A game that never wins is not timed."""
    monkeypatch.setattr(babyai.BabyaiGame, "act", lambda self, action: "nothing")
    with pytest.raises(Disagreement, match="here"):
        babyai.measure(BRIEF, root=ROOT, episodes=12, steps=60)


def test_webshop_is_measured() -> None:
    """Steps, resets and searches have figures; other processes saw the same, and the plain index found the same."""
    result = webshop.measure(BRIEF, root=ROOT)
    stepping, resetting, building, searching = result.comparisons
    require_figures(replace(result, comparisons=[stepping], targets=()), sides=2)
    require_figures(replace(result, comparisons=[searching], targets=()), sides=3)
    assert len(resetting.seconds) == len(building.seconds) == 1
    assert "3 processes" in result.checks[0] and len(result.checks) == 2
    assert {target.what.split()[0] for target in result.targets} == {"steps", "megabytes", "new"}


def test_webshop_refuses_processes_that_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    """What this process sees is compared with what others see before anything is timed."""
    monkeypatch.setattr(webshop_play, "_digest", lambda *arguments: "another shop")
    with pytest.raises(Disagreement, match="another process"):
        webshop.measure(BRIEF, root=ROOT)


def test_parser_is_measured() -> None:
    """Every shape has a figure for every length and a ratio for every doubling."""
    result = parser.measure(BRIEF, sizes=(1024, 2048, 4096))
    require_figures(result, sides=3)
    assert len(result.comparisons) == len(parser.SHAPES)
    assert all(len(comparison.ratios) == 2 for comparison in result.comparisons)


def test_parser_refuses_a_parser_that_depends_on_the_length() -> None:
    """A parser that gives up on long texts would look fast; it is found out instead."""
    with pytest.raises(Disagreement, match="2048 characters"):
        parser.measure(BRIEF, sizes=(1024, 2048), parser=lambda text, offsets: parse(text[:2000], offsets))


def test_rollout_is_measured() -> None:
    """Free and guided decoding and episodes have figures; greedy tokens were compared first."""
    from dev.bench import rollout

    result = rollout.measure(BRIEF, machine=CPU, batch=3, turns=2, root=ROOT)
    free, long, guided, episodes = result.comparisons
    require_figures(replace(result, comparisons=[free, long, episodes]), sides=2)
    require_figures(replace(result, comparisons=[guided]), sides=3)
    assert len(result.checks) == 4


def test_rollout_refuses_another_model() -> None:
    """With other weights in the library's model there is no ratio."""
    import torch

    from dev.bench import rollout

    def spoil(setting: rollout.Setting) -> None:
        with torch.no_grad():
            setting.library.model.model.norm.weight.mul_(1.05)

    with pytest.raises(Disagreement, match="log probabilities"):
        rollout.measure(BRIEF, machine=CPU, batch=3, turns=2, root=ROOT, alter=spoil)


def test_answers_may_part_only_where_tokens_are_equally_likely() -> None:
    """A different greedy token is accepted at a tie and refused when the other side prefers it clearly."""
    from dev.bench.library import require_same_answer
    from hiper.policies.base import Response
    from hiper.trajectory import Generation

    tokens = np.array([0, 1], np.int32)
    answer = Response("", None, Generation(tokens, tokens, np.array([-1.0, -1.0], np.float32)))
    tie = np.array([[-1.0, -1.0005], [-1.0, -1.0005]])
    assert require_same_answer("here", answer, np.array([1, 0]), tie[:, ::1], 1e-3) == 0.0
    clear = np.array([[-1.0, -0.5], [-1.0, -1.0]])
    with pytest.raises(Disagreement, match="token 0 is 0 here and 1 in generate"):
        require_same_answer("here", answer, np.array([1, 0]), clear, 1e-3)


def test_train_is_measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Packed rows, compiled and not, and both padded layouts have figures, each with its MFU against the peak that is
    given; losses and gradients were compared first."""
    from dev.bench import train

    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    result = train.measure(BRIEF, machine=CPU, peak=1e12, compiles=True, **SMALL)
    require_figures(result, sides=4)
    assert "gradients" in result.checks[0]
    (said,) = (note for note in result.notes if "tokens per second" in note)
    assert said.count("MFU") == 4 and not result.comparisons[0].peaks


@pytest.mark.parametrize(("part", "message"), [("advantage", "loss"), ("weight", "loss|gradient")])
def test_train_refuses_another_loss_or_model(part: str, message: str) -> None:
    """Other advantages or other weights on the padded side are noticed before anything is timed."""
    import torch

    from dev.bench import train

    def spoil(padded: train.Padded) -> train.Padded:
        if part == "advantage":
            first, *others = padded.rows
            return replace(padded, rows=[replace(first, advantage=first.advantage + 0.1), *others])
        with torch.no_grad():
            padded.model.model.layers[0].mlp.up_proj.weight.mul_(1.01)
        return padded

    with pytest.raises(Disagreement, match=message):
        train.measure(BRIEF, machine=CPU, **SMALL, alter=spoil)


LLAMA: dict[str, Any] = {"shape": "llama", "episodes": 2, "turns": 2, "rows": 2, "root": ROOT}


@pytest.fixture
def tiny_llama(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tiny model in the layout of SmolLM2."""
    from dev.bench import models

    monkeypatch.setitem(models.SHAPES, "llama", replace(models.SHAPES["tiny"], qkv_bias=False))


def test_smollm_is_measured(tiny_llama: None) -> None:
    """Playing in bfloat16 and training have figures, also against float32; greedy answers, losses and gradients were
    compared first."""
    from dev.bench import smollm

    result = smollm.measure(BRIEF, machine=Machine("cpu", 1, "bfloat16"), **LLAMA)
    playing, training = result.comparisons
    require_figures(replace(result, comparisons=[playing]), sides=3)
    require_figures(replace(result, comparisons=[training]), sides=4)
    assert "greedy" in result.checks[0] and "gradients" in result.checks[1] and len(result.targets) == 4
    assert "of them kept" in result.settings["played"]


def test_smollm_refuses_another_model(tiny_llama: None) -> None:
    """With other weights in the library's model there is no ratio."""
    import torch

    from dev.bench import smollm

    def spoil(model: Any) -> None:
        with torch.no_grad():
            model.model.norm.weight.mul_(1.05)

    with pytest.raises(Disagreement, match="log probabilities"):
        smollm.measure(BRIEF, machine=CPU, **LLAMA, alter=spoil)


def test_bfloat16_runs_on_both_sides() -> None:
    """The precision of GPUs computes the same loss and gradients, to its own tolerance."""
    from dev.bench import train

    machine = Machine("cpu", 1, "bfloat16")
    assert train.measure(BRIEF, machine=machine, **SMALL).checks


def test_json_holds_every_figure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`python -m dev.bench hae --json` writes rounds, medians, targets and machine.

    The last printed line is for programs."""
    file = tmp_path / "hae.json"
    sizes = ["--trajectories", "4", "--turns", "3", "--rounds", "3", "--seconds", "0.1"]
    assert main(["hae", *sizes, "--json", str(file)]) == 0
    written = json.loads(file.read_text())
    assert {"benchmark", "machine", "settings", "same_result", "comparisons", "targets"} <= written.keys()
    (comparison,) = written["comparisons"]
    ours = comparison["seconds"][hae.OURS]
    assert len(ours["rounds"]) == 3 and ours["quartiles"][0] <= ours["median"] <= ours["quartiles"][1]
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("bench=hae ratio[") and "targets=" in last


def result_of(met: bool) -> Result:
    comparison = Comparison("work", "piece", {"a": [1.0] * 3, "b": [2.0] * 3}, {"b": ("b", "a")})
    target = Target("times a", "at least 3", 2.0, met, "" if met else "the laws of nature")
    return Result("hae", {}, ["all of it"], [comparison], [target])


@pytest.mark.parametrize(
    ("met", "options", "status"), [(False, [], 0), (False, ["--check"], 1), (True, ["--check"], 0)]
)
def test_a_missed_target_fails_only_when_asked(
    met: bool, options: list[str], status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A slow machine is no failure; with --check it is. Either way the miss and what bounds it are said."""
    monkeypatch.setattr(hae, "measure", lambda budget, **sizes: result_of(met))
    assert main(["hae", *options]) == status
    printed = capsys.readouterr().out
    assert ("target met" if met else "target missed") in printed
    assert ("bounded by the laws of nature" in printed) is not met
    assert report.summary(result_of(met)).endswith("targets=met" if met else "targets=missed")


def test_disagreement_prints_no_ratio(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """When the sides differ the command says where, shows no figure and exits with status 1."""

    def differs(budget: Budget, **sizes: Any) -> Result:
        raise Disagreement("low advantages: the sides differ by 1")

    monkeypatch.setattr(hae, "measure", differs)
    assert main(["hae"]) == 1
    out, err = capsys.readouterr()
    assert out == "" and "low advantages" in err


def test_useful_operations_leave_padding_and_prompt_logits_out() -> None:
    """Per token 2 · products + 4 · layers · hidden · half its row; answered ones 2 · vocabulary · hidden; thrice."""
    from dev.bench.models import SHAPES
    from dev.bench.throughput import useful_operations
    from dev.bench.train import make_rows

    shape = SHAPES["tiny"]
    products = 2 * (4 * 96 * 96 + 3 * 96 * 256)
    rows = make_rows(2, 1200, 20.0, 0)
    by_hand = sum(
        len(row.tokens) * (2 * products + 4 * 2 * 96 * len(row.tokens) / 2) + 2 * len(row.trained) * 1200 * 96
        for row in rows
    )
    assert useful_operations(shape, rows) == pytest.approx(3 * by_hand)


def test_cards_are_known_by_the_names_that_drivers_give() -> None:
    """The kind decides; others, and the CPU, are unknown."""
    from hiper.planning.hardware import CARDS, card_called

    assert card_called("NVIDIA H100 80GB HBM3") == CARDS["h100"] and card_called("NVIDIA H200") == CARDS["h200"]
    found = card_called("NVIDIA A100-SXM4-80GB")
    assert found is not None and found.flops == CARDS["a100"].flops
    assert card_called("NVIDIA GeForce RTX 3090") is None and card_called("") is None
