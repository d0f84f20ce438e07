"""`hiper inspect`: every recorded episode can be found and read, and what is shown is what is recorded."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from recorded_run import KINDS, TYPES, make_run

from hiper.cli.main import main
from hiper.errors import UserError
from hiper.records import append_jsonl, read_jsonl, write_jsonl, write_text
from hiper.views.archive import Wanted, find, gaps, load, require_present, select
from hiper.views.inspection import show_episode
from hiper.views.terminal import console, harmless
from hiper.views.turns import answer_view, tokens_of

BRACKETED = re.compile(r"‹(.*?) ([+−]\d+\.\d\d)›")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("runs") / "alfworld_test-test-hiper-seed0")


def shown(run: Path, name: str, turn: int | None = None, tokens: bool = False) -> str:
    stream = io.StringIO()
    show_episode(console(stream), find(load(run), name), turn, tokens)
    return stream.getvalue()


def test_every_episode_has_a_name_of_its_own(run: Path) -> None:
    """Iteration or split and temperature, then the number in the order played; each name finds its row."""
    episodes = load(run)
    assert [e.name for e in episodes[:7]] == [*(f"train:1:{n}" for n in range(6)), "train:2:0"]
    assert {e.part for e in episodes} == {"train:1", "train:2", "unseen:0.4", "unseen:1"}
    assert all(find(episodes, episode.name) is episode for episode in episodes)
    rows = [*read_jsonl(run / "episodes.jsonl"), *read_jsonl(run / "evaluation.jsonl")]
    assert [episode.record for episode in episodes] == rows


@pytest.mark.parametrize("outcome", ["won", "lost", "truncated", "failed", "not-won"])
def test_an_outcome_finds_exactly_its_episodes(run: Path, outcome: str) -> None:
    """`not-won` is every other than `won`; the other names are the episodes that ended so."""
    found = {episode.name for episode in select(load(run), Wanted(outcome=outcome))}
    wanted = [n for n, kind in enumerate(KINDS) if kind == outcome or (outcome == "not-won" and kind != "won")]
    assert found == {f"{part}:{n}" for part in ("train:1", "train:2", "unseen:0.4", "unseen:1") for n in wanted}


def test_filters_narrow_each_other(run: Path) -> None:
    """Split, iteration, type (long or short), part of the task and malformed turns, alone and together."""
    episodes = load(run)

    def names(wanted: Wanted) -> list[str]:
        return [episode.name for episode in select(episodes, wanted)]

    assert sorted(names(Wanted(iteration=2))) == [f"train:2:{n}" for n in range(6)]
    assert len(names(Wanted(split="unseen"))) == 12 and len(names(Wanted(split="train"))) == 12
    assert names(Wanted(split="seen")) == []
    assert names(Wanted(task_type=TYPES[1])) == names(Wanted(task_type="Look")) != []
    assert names(Wanted(iteration=1, task="MUG 4 on")) == names(Wanted(iteration=1, task="game-4")) == ["train:1:4"]
    assert names(Wanted(split="train", invalid=True)) == ["train:1:3", "train:2:3"]
    assert names(Wanted(iteration=1, outcome="not-won")) == ["train:1:2", "train:1:1", "train:1:4", "train:1:3"]


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        (
            Wanted(split="unsen"),
            "--split unsen: nothing of it is recorded; did you mean 'unseen'?; there are train, unseen",
        ),
        (Wanted(iteration=7), "--iteration 7: nothing of it is recorded; there are 1, 2"),
        (Wanted(task_type="Lok"), "--type Lok: nothing of it is recorded; did you mean 'Look'?; there are "),
    ],
)
def test_what_was_never_played_is_an_error(run: Path, wanted: Wanted, said: str) -> None:
    """It names what there is; looking for what was played and did not happen is none."""
    with pytest.raises(UserError, match=re.escape(said)):
        require_present(load(run), wanted)
    require_present(load(run), Wanted(split="unseen", outcome="failed", task="no such task"))


def test_brackets_stand_around_exactly_the_trained_tokens(run: Path) -> None:
    """Taking the brackets and numbers away gives the response; what they hold is what carried a gradient, with its
    advantage."""
    for episode in select(load(run), Wanted(split="train")):
        for turn in episode.record["decisions"]:
            if "token" not in turn:
                continue
            tokens = tokens_of(turn)
            text = answer_view(tokens).plain.replace("\\x1b", "\x1b")
            shares = [(character, number) for part, number in BRACKETED.findall(text) for character in part]
            numbers = [f"{token.advantage:+.2f}".replace("-", "−") for token in tokens]
            # a token of these runs is a character; the end token, the last, is shown as several
            trained = [(token.text, number) for token, number in zip(tokens, numbers, strict=True) if token.trained]
            if tokens[-1].trained:
                trained[-1:] = [(character, numbers[-1]) for character in tokens[-1].text]
            assert shares == trained
            assert BRACKETED.sub(r"\1", text).removesuffix("·end·") == turn["response"]


def test_a_training_turn_shows_values_advantages_and_tokens(run: Path) -> None:
    """The three levels by their names, with the recorded numbers and the tokens each went to."""
    text = shown(run, "train:1:0", turn=1, tokens=True)
    turn = load(run)[0].record["decisions"][0]
    for name, key in (("A_switch", "switch"), ("A_high", "subgoal"), ("A_low", "action")):
        first, stop = turn["spans"][key]
        number = f"{turn['advantages'][key]:+.3f}".replace("-", "−")
        assert re.search(rf"{name} +{re.escape(number)}  {key} tokens {first}–{stop - 1}: ", text), text
    for head, value in turn["values"].items():
        assert f"V_{head} {value:+.3f}".replace("-", "−") in text
    blocks = {
        block: "".join(t.text for t in tokens_of(turn) if t.block == block) for block in ("switch", "subgoal", "")
    }
    assert blocks == {"switch": "<switch>SWITCH</switch>", "subgoal": "<subgoal>find mug</subgoal>", "": "·end·"}
    fates = [line.split()[-1] for line in text.splitlines() if re.match(r" *\d+ ", line)]
    counts = {"trained": sum(turn["token"]["trained"]), "forced": sum(turn["token"]["forced"])}
    assert {fate: fates.count(fate) for fate in counts} == counts and len(fates) == turn["tokens"]


def test_subgoals_head_their_segments(run: Path) -> None:
    """The first and the third turn begin segments, the second does not; the end says how the episode ended."""
    text = shown(run, "train:1:1")
    lines = [line for line in text.splitlines() if line.startswith(("subgoal", "turn"))]
    assert [line.split()[0] for line in lines] == ["subgoal:", "turn", "turn", "subgoal:", "turn"]
    assert text.endswith(" seen last The end.\nend  truncated after 3 turns\n")
    assert "cause: step: OSError: gone" in shown(run, "train:1:2")


def test_what_was_seen_stands_before_what_was_done(run: Path) -> None:
    """A turn reads in the order of time: seen, answered, done, then what was learned from it; the next turn follows."""
    text = shown(run, "train:1:0")
    labels = [line.split()[0] for line in text.splitlines() if re.match(r" *(turn|sees|answers|does|values) ", line)]
    assert labels == ["turn", "sees", "answers", "does", "values"] * 3
    assert re.search(r"^ +does SWITCH +go to desk 1 +reward 0 *$", text, flags=re.MULTILINE)


def test_evaluation_says_that_it_has_no_values(run: Path) -> None:
    """Its turns are shown without numbers that do not exist; who asks for tokens is told that there are none."""
    text = shown(run, "unseen:0.4:3", tokens=True)
    assert "Evaluation has no critic" in text and "A_low" not in text
    assert "--tokens has nothing to show" in text and "--tokens" not in shown(run, "train:1:0", tokens=True)
    assert "malformed" in text and "no blocks at all" in text


def test_piped_output_has_no_control_characters(run: Path) -> None:
    """Neither colours of ours nor escape sequences of a model reach the pipe; lines have at most 100 columns."""
    environment = {name: value for name, value in os.environ.items() if name != "FORCE_COLOR"}
    for rest in ([], ["train:1:3"], ["unseen:1:3", "--tokens"], ["train:1:3", "--json"]):
        command = [sys.executable, "-m", "hiper", "inspect", str(run), *rest]
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
        assert not any(ord(character) < 32 and character != "\n" for character in done.stdout)
        assert "[bold]" in done.stdout or not rest
        assert "--json" in rest or all(
            len(line) <= 100 for line in done.stdout.splitlines() if "hiper inspect" not in line
        )


def test_hostile_text_is_written_out() -> None:
    """Escape sequences, bells, direction marks and carriage returns are shown, not obeyed."""
    assert harmless("a\x1b[2Jb\a\u202ec\rd\n\ne") == "a\\x1b[2Jb\\x07\\u202ec\\rd\ne"


def test_json_prints_the_record(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As it stands in the file."""
    assert main(["inspect", str(run), "train:2:4", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == find(load(run), "train:2:4").record


def test_the_overview_counts_and_lists(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Per iteration and split: recorded, won, lost, truncated, failed, malformed; failed ones head the list."""
    assert main(["inspect", str(run), "--limit", "4"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["train:1", "6", "2", "1", "2", "1", "1", "33", "%"] in lines
    assert ["unseen:0.4", "6", "2", "1", "2", "1", "1", "33", "%"] in lines
    assert [line[0] for line in lines if line[1:2] == ["failed"]] == [
        "train:1:2",
        "train:2:2",
        "unseen:0.4:2",
        "unseen:1:2",
    ]


def test_a_temperature_may_be_spelt_in_any_way(run: Path) -> None:
    """`1.0` is `1`, `.40` is `0.4`; names without a number in the middle are left alone."""
    episodes = load(run)
    assert find(episodes, "unseen:1.0:2") is find(episodes, "unseen:1:2")
    assert find(episodes, "unseen:.40:0") is find(episodes, "unseen:0.4:0")
    with pytest.raises(UserError, match="no episode 'unseen:hot:0'"):
        find(episodes, "unseen:hot:0")


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("unseen:1.0:9", "recorded of unseen:1: unseen:1:0, unseen:1:1"),
        ("train:1:9", "recorded of train:1: train:1:0, train:1:1"),
        ("train:9:1", "a name is one of unseen:0.4, unseen:1, train:1, train:2"),
        ("nonsense", "a name is one of unseen:0.4"),
    ],
)
def test_an_unknown_episode_is_answered_with_known_ones(run: Path, name: str, wanted: str) -> None:
    """The message says what may be typed instead."""
    with pytest.raises(UserError, match=re.escape(wanted)):
        find(load(run), name)


def test_an_unknown_turn_is_answered_with_the_range(run: Path) -> None:
    """Turns are counted from 1."""
    with pytest.raises(UserError, match="no turn 4; 1 to 3"):
        shown(run, "train:1:0", turn=4)


def test_an_experiments_folder_lists_its_runs_or_shows_the_one_that_is_meant(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Words of a name choose, whole parts before pieces; where several are meant they are listed."""
    experiment = tmp_path / "results" / "mine"
    for algorithm in ("hiper", "hiper_traced"):
        for seed in (0, 1):
            make_run(experiment / "runs" / f"alfworld_test-test-{algorithm}-seed{seed}")
    assert main(["inspect", str(experiment)]) == 0
    listed = capsys.readouterr().out
    assert len(re.findall(r"alfworld_test-test-hiper(?:_traced)?-seed[01] +evaluated +unseen \d+ %", listed)) == 4
    assert main(["inspect", str(experiment), "--filter", "hiper seed1"]) == 0
    assert capsys.readouterr().out.startswith("alfworld_test-test-hiper-seed1")
    assert main(["inspect", str(experiment), "train:1:0"]) == 2
    assert "which of its runs?" in capsys.readouterr().err
    assert main(["play", "--run", str(experiment), "--filter", "grpo"]) == 2
    assert "alfworld_test-test-hiper_traced-seed0" in capsys.readouterr().err


def test_an_unknown_run_is_answered_with_its_neighbours(run: Path) -> None:
    """A folder without config.yaml is no run; those beside it are named."""
    with pytest.raises(UserError, match=f"there are: {re.escape(str(run))}"):
        load(run.parent / "nosuch")


@pytest.mark.parametrize(("experiment", "option"), [("demo", ""), ("mine", " --config experiment=mine")])
def test_an_untrained_run_is_answered_with_the_command_that_trains(
    tmp_path: Path, experiment: str, option: str
) -> None:
    """Not with the one that evaluates; that comes once it is trained."""
    folder = tmp_path / experiment / "runs" / "run"
    write_text(folder / "config.yaml", "{}\n")
    trains, evaluates = (
        f"snakemake --cores 2 {folder}/{file}{option}" for file in ("manifest.json", "evaluation.jsonl")
    )
    assert gaps(folder) == [f"not trained yet: `{trains}`"]
    append_jsonl(folder / "metrics.jsonl", {"iteration": 1, "train/success": 0.5})
    append_jsonl(folder / "episodes.jsonl", {"iteration": 1})
    assert gaps(folder) == [f"training is not finished: `{trains}` goes on"]
    write_text(folder / "manifest.json", "{}\n")
    assert gaps(folder) == [f"not evaluated yet: `{evaluates}`"]
    write_text(folder / "evaluation.unfinished.jsonl", "")
    assert gaps(folder) == [f"evaluation is not finished: `{evaluates}` goes on"]


def test_a_run_that_goes_on_can_be_read(tmp_path: Path) -> None:
    """A last line that is being written is left out; what is not there yet is said."""
    run = make_run(tmp_path / "run", iterations=1)
    (run / "evaluation.jsonl").unlink()
    with (run / "episodes.jsonl").open("a") as stream:
        stream.write('{"iteration": 2, "numb')
    assert [episode.part for episode in load(run)] == ["train:1"] * 6
    assert main(["inspect", str(run)]) == 0


def test_runs_from_before_episodes_were_recorded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Their evaluation is counted; one of its episodes is refused with what to do, and so is a run with nothing."""
    run = make_run(tmp_path / "run")
    (run / "episodes.jsonl").unlink()
    rows = read_jsonl(run / "evaluation.jsonl")
    decisions = [[True, "find mug", "look"]]
    write_jsonl(run / "evaluation.jsonl", [{**row, "decisions": decisions} for row in rows])
    append_jsonl(run / "metrics.jsonl", {"iteration": 1, "train/success": 0.5})
    assert main(["inspect", str(run)]) == 0
    assert "trained before episodes were recorded" in capsys.readouterr().out
    assert main(["inspect", str(run), "unseen:1:0"]) == 2
    assert "evaluate the run again" in capsys.readouterr().err
    (run / "evaluation.jsonl").unlink()
    with pytest.raises(UserError, match="no episodes to show; trained before episodes were recorded"):
        load(run)
