"""The script for GPUs runs on the CPU at a tiny size, with torch alone as far as it can, and loses nothing that it has
measured when it is cut off."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from dev.gpu.__main__ import CUT, DONE, FAILED, LACKED, STOPPED, run_stage
from dev.gpu.stages import STAGES, WHOLE

ROOT = Path(__file__).resolve().parents[2]
PRINTS = """print('{"a": 1}', flush=True); """
TINY = ("--device", "cpu", "--size", "tiny", "--patience", "1000")

# What a machine has on which somebody has installed torch with numpy, and nothing else.
BARE = """\
import importlib.machinery, sys
THERE = {"torch", "torchgen", "functorch", "numpy", "sympy", "mpmath", "networkx", "jinja2", "markupsafe", "filelock"}
THERE |= {"fsspec", "typing_extensions", "setuptools", "jaraco", "more_itertools", "packaging", "backports"}
THERE |= {"hiper", "dev"}
class Bare(importlib.machinery.PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        top = name.partition(".")[0]
        known = top in THERE or top in sys.stdlib_module_names or top.startswith("_")
        return super().find_spec(name, path, target) if known else None
sys.meta_path = [Bare if finder is importlib.machinery.PathFinder else finder for finder in sys.meta_path]
"""


def stages(*names: str, **environment: str) -> list[dict[str, Any]]:
    """The lines of the script for these stages."""
    command = [sys.executable, "-m", "dev.gpu", *TINY, *names]
    there = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    done = subprocess.run(command, cwd=ROOT, env=there, capture_output=True, text=True, check=False)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == int(any(line["status"] == FAILED for line in lines)), done.stderr
    return lines


def figures_of(line: dict[str, Any]) -> list[float]:
    """All numbers of a line's figures, however deep."""
    found, ahead = [], [line["figures"]]
    while ahead:
        one = ahead.pop()
        inner = one.values() if isinstance(one, dict) else one if isinstance(one, list) else ()
        found += [float(one)] if isinstance(one, int | float) else []
        ahead += inner
    return found


def test_torch_alone_measures_all_but_what_needs_the_project(tmp_path: Path) -> None:
    """On a machine with no other package every such stage has figures, and the others name what they lack."""
    (tmp_path / "sitecustomize.py").write_text(BARE)
    paths = f"{tmp_path}{os.pathsep}{ROOT}"
    lines = stages(PYTHONPATH=paths, TORCHINDUCTOR_CACHE_DIR=str(tmp_path / "kernels"))
    assert [line["stage"] for line in lines] == list(STAGES)
    for line in lines:
        if STAGES[line["stage"]].module == WHOLE:
            assert line["status"] == LACKED and line["said"].endswith("which is not installed here")
        else:
            assert line["status"] == DONE, line
            assert all(number >= 0 for number in figures_of(line)) and figures_of(line)


def test_the_project_is_measured_whole() -> None:
    """Updates, every stage of ZeRO against plain torch, and a whole run have figures."""
    update, sharded, pipeline = stages(*(name for name, stage in STAGES.items() if stage.module == WHOLE))
    assert {line["status"] for line in (update, sharded, pipeline)} == {DONE}, (update, sharded, pipeline)
    assert set(sharded["figures"]) == {"local", "zero_3", "zero_2", "zero_1", "zero_3_offloaded"}
    assert all(figures_of(line) for line in (update, sharded)) and len(pipeline["figures"]["iterations"]) == 2


def test_a_stage_that_is_cut_off_shows_what_it_had_measured(tmp_path: Path) -> None:
    """The figures printed until then are in its line, whether the script was stopped or its time was over."""
    printed, stop = tmp_path / "printed", threading.Event()
    waits = PRINTS + f"import pathlib, time; pathlib.Path({str(printed)!r}).touch(); time.sleep(9999)"

    def stop_it() -> None:
        while not printed.exists():
            stop.wait(0.01)
        stop.set()

    threading.Thread(target=stop_it).start()
    line = run_stage([sys.executable, "-c", waits], 9999.0, stop)
    assert (line["status"], line["figures"]) == (STOPPED, {"a": 1})
    assert run_stage([sys.executable, "-c", waits], 0.0, threading.Event())["status"] == CUT


def test_a_stage_that_fails_says_why() -> None:
    """The last line of what it said is in its line."""
    line = run_stage([sys.executable, "-c", f"{PRINTS}raise ValueError('no card')"], 9999.0, threading.Event())
    assert (line["status"], line["said"], line["figures"]) == (FAILED, "ValueError: no card", {"a": 1})
