"""The command line, as a person types it: in a process of its own."""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from synthetic_runs import make_experiment

from dev.parity.__main__ import conclude
from hiper.cli.command import existing, results
from hiper.errors import UserError

ROOT = Path(__file__).resolve().parent.parent.parent
HEAVY = (
    "torch",
    "transformers",
    "mlflow",
    "hydra",
    "omegaconf",
    "pydantic",
    "pandas",
    "matplotlib",
    "textworld",
    "numpy",
)
COMMANDS = [
    [],
    *(
        ["compose"],
        ["data"],
        ["data", "make"],
        ["demonstrations"],
        ["tokenizer"],
        ["warmstart"],
        ["train"],
        ["evaluate"],
    ),
    *(
        ["report"],
        ["summary"],
        ["pack"],
        ["unpack"],
        ["inspect"],
        ["play"],
        ["track"],
        ["track", "init"],
        ["track", "sync"],
        ["track", "rebuild"],
        ["track", "follow"],
    ),
    *(["data", "repro"], ["data", "status"], ["compare"], ["diff"], ["doctor"], ["run"], ["plan"], ["track", "serve"]),
]
DEV_COMMANDS = {
    "dev.parity": ((), ("hae",), ("groups",), ("alfworld",), ("webshop",)),
    "dev.bench": ((), *((name,) for name in ("hae", "alfworld", "webshop", "rollout", "train", "parser"))),
    "dev.gpu": ((),),
}


def hiper(*arguments: str | Path, folder: Path = ROOT, module: str = "hiper") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", module, *map(str, arguments)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


def test_help_imports_nothing_heavy() -> None:
    """`hiper --help` answers at once because the libraries come with the command that needs them."""
    code = f"""
import sys
from hiper.cli.main import main
try:
    main(["--help"])
except SystemExit as end:
    assert end.code == 0
print([name for name in {HEAVY!r} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_has_help(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Each command, and each family of commands, describes itself."""
    from hiper.cli.main import main

    with pytest.raises(SystemExit) as end:
        main([*command, "--help"])
    assert end.value.code == 0
    assert f"usage: {' '.join(['hiper', *command])}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("module", "command"), [(module, command) for module, commands in DEV_COMMANDS.items() for command in commands]
)
def test_every_command_for_developers_has_help(
    module: str, command: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    """The packages of `dev` describe themselves and each of their commands."""
    main = importlib.import_module(f"{module}.__main__").main
    with pytest.raises(SystemExit) as end:
        main([*command, "--help"])
    assert end.value.code == 0
    assert f"usage: {' '.join(['python -m', module, *command])}" in capsys.readouterr().out


def test_a_missing_recording_is_one_message_without_traceback() -> None:
    """`dev` treats a person's mistakes as `hiper` does."""
    done = hiper("hae", "nosuch.json", module="dev.parity")
    assert (done.returncode, done.stdout) == (2, "") and "nosuch.json: no such file" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (["compose", "nosuch", "a-b-c-seed0", "--output", "x.yaml"], "experiment 'nosuch' is unknown"),
        (["compose", "demo", "nonsense", "--output", "x.yaml"], "<benchmark>-<model>-<algorithm>-seed<n>"),
        (["train", "nosuch", "--start", "nosuch/model"], "nosuch/config.yaml: no such file"),
        (["evaluate", "nosuch"], "nosuch/config.yaml: no such file"),
        (["summary", "nosuch"], "nosuch: no such file"),
        (["track", "sync", "nosuch"], "nosuch: no such file"),
    ],
)
def test_a_mistake_is_one_message_without_traceback(arguments: list[str], wanted: str) -> None:
    """Status 2, the message on stderr, nothing on stdout."""
    done = hiper(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("hiper: ") and wanted in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (["trian"], "did you mean 'train'?; there are run, "),
        (["run", "dmo"], "did you mean 'demo'?"),
        (["run", "demo", "--dryrun"], "hiper run: error: unrecognized arguments: --dryrun; did you mean '--dry-run'?"),
        (["run", "demo", "trein"], "did you mean 'train'?"),
        (["summary", "hipr"], "did you mean 'hiper'?"),
        (["evaluate", "configz/model"], "did you mean 'configs/model'?"),
    ],
)
def test_a_mistyped_name_is_answered_with_the_nearest(
    arguments: list[str], wanted: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Commands, experiments, stages and paths alike; status 2."""
    from hiper.cli.main import main

    monkeypatch.chdir(ROOT)
    try:
        status: object = main(arguments)
    except SystemExit as end:  # argparse's own
        status = end.code
    assert status == 2 and wanted in capsys.readouterr().err


def test_an_experiment_is_known_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing else lies there; an experiment that is not there is answered with the nearest."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results" / "mine" / "runs").mkdir(parents=True)
    assert results("mine") == Path("results/mine") and results("runs/mine") == Path("runs/mine")
    with pytest.raises(UserError, match="did you mean 'mine'"):
        existing(results("mime"))
    (tmp_path / "mine").mkdir()
    assert results("mine") == Path("mine")


def test_hiper_alone_shows_its_help_and_tells_its_version(capsys: pytest.CaptureFixture[str]) -> None:
    """Neither is an error."""
    from hiper.cli.main import main

    assert main([]) == 0
    assert "usage: hiper" in capsys.readouterr().out
    with pytest.raises(SystemExit) as end:
        main(["--version"])
    assert end.value.code == 0 and re.match(r"hiper \d+\.\d+", capsys.readouterr().out)


def test_a_terminal_without_utf_8_shows_what_it_can(tmp_path: Path) -> None:
    """In a locale such as en_US.ISO-8859-1 a minus or an arrow becomes a question mark; the command succeeds."""
    environment = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    command = [sys.executable, "-m", "hiper", "summary", str(make_experiment(tmp_path / "results" / "test"))]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert "±".encode("latin-1") in done.stdout and "−".encode() not in done.stdout


def test_compose_writes_the_configuration_of_a_run(tmp_path: Path) -> None:
    """The file that every stage reads."""
    target = tmp_path / "runs" / "config.yaml"
    done = hiper("compose", "test", "alfworld_test-test-warmstart-seed7", "--output", target)
    assert done.returncode == 0, done.stderr
    assert "seed: 7\n" in target.read_text()


def test_compose_needs_the_project_root(tmp_path: Path) -> None:
    """Elsewhere the message says where to go."""
    done = hiper("compose", "test", "alfworld_test-test-hiper-seed0", "--output", "x.yaml", folder=tmp_path)
    assert done.returncode == 2 and "project's root" in done.stderr


class Comparison:
    def __init__(self, matched: int, total: int) -> None:
        self.matched, self.total = matched, total
        self.mismatches = [f"case {number}" for number in range(total - matched)]


@pytest.mark.parametrize(("matched", "total", "status"), [(3, 3, 0), (2, 3, 1), (0, 0, 1)])
def test_parity_ends_with_the_count(matched: int, total: int, status: int, capsys: pytest.CaptureFixture[str]) -> None:
    """The last line is `matched/total match`; an empty recording does not pass."""
    assert conclude(Comparison(matched, total)) == status
    assert capsys.readouterr().out.splitlines()[-1] == f"{matched}/{total} match"


def test_parity_shows_at_most_twenty_mismatches(capsys: pytest.CaptureFixture[str]) -> None:
    """25 mismatches: 20 lines, one that counts the other 5, the result."""
    assert conclude(Comparison(0, 25)) == 1
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 22 and "5 more" in lines[20]


def test_a_recording_of_the_original_matches(shared_data: Path) -> None:
    """The command of the acceptance test, on the recording at hand."""
    done = hiper("hae", shared_data / "golden" / "hae.json", module="dev.parity")
    cases = len(json.loads((shared_data / "golden" / "hae.json").read_text())["cases"])
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, f"{cases}/{cases} match")
