"""Before its first job the workflow says what the experiment lacks; a dry run does not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from checkout import give_database, snakemake

pytestmark = [pytest.mark.xdist_group("workflow"), pytest.mark.timeout(3600)]


@pytest.fixture
def few(project: Path) -> Path:
    """An experiment of one run of a model that is on no machine."""
    folder = project / "configs"
    text = (folder / "experiment" / "paper.yaml").read_text()
    grid = "grid: {benchmarks: [alfworld_test], models: [nowhere], algorithms: [hiper], seeds: [0]}\n"
    text = re.sub(r"^grid:\n(?:[ #].*\n)+", grid, text, flags=re.MULTILINE)
    (folder / "experiment" / "few.yaml").write_text(text)
    (folder / "model" / "nowhere.yaml").write_text("name: nowhere\npath: Example/Nowhere\nscratch: null\nlora: null\n")
    return project


def test_what_is_missing_stops_the_workflow_before_its_first_job(few: Path, empty_database: Path) -> None:
    """With the commands that help and without a traceback; what needs none of it can be made all the same."""
    start = "results/few/runs/alfworld_test-nowhere-warmstart-seed0/manifest.json"
    planned = snakemake(few, start, "--dry-run", experiment="few")
    assert planned.returncode == 0, planned.stderr
    done = snakemake(few, start, experiment="few")
    output = done.stdout + done.stderr
    assert done.returncode != 0 and "these runs cannot be made" in output
    assert "hiper model Example/Nowhere --download" in output and "needs 4 GPUs" in output
    assert "Traceback" not in output and not (few / "results" / "few" / "logs").exists()
    give_database(few, empty_database, "few")
    database = snakemake(few, "results/few/tracking/experiment.json", experiment="few")
    assert database.returncode == 0, database.stdout + database.stderr
