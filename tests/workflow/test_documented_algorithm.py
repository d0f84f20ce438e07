"""docs/guide.md, followed to the letter."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from checkout import ROOT, snakemake

pytestmark = [pytest.mark.xdist_group("workflow"), pytest.mark.timeout(3600)]

RUN = "results/test/runs/alfworld_test-test-reinforce-seed0"


def test_the_algorithm_of_the_guide_trains(finished: Path, tmp_path: Path) -> None:
    """Its module, its line in the registry and its configuration, as printed, are all that a new algorithm needs."""
    part = (ROOT / "docs" / "guide.md").read_text().split("## Add an algorithm")[1]
    module, line, settings = re.findall(r"```(?:python|yaml)\n(.*?)```", part, flags=re.DOTALL)
    project = tmp_path / "project"
    shutil.copytree(finished, project)
    registry = project / "hiper" / "algorithms" / "registry.py"
    (project / "hiper" / "algorithms" / "reinforce.py").write_text(module)
    (project / "configs" / "algorithm" / "reinforce.yaml").write_text(settings)
    text = registry.read_text().replace("from hiper.algorithms import ", "from hiper.algorithms import reinforce, ")
    registry.write_text(text.replace("= {\n", f"= {{\n{line}"))
    done = snakemake(project, f"{RUN}/evaluation.jsonl")
    assert done.returncode == 0, done.stdout + done.stderr
    row = json.loads((project / RUN / "metrics.jsonl").read_text().splitlines()[-1])
    assert row["policy/norm"] > 0 and not any(name.startswith("critic/") for name in row)
