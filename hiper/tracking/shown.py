"""How MLflow's pages show an experiment: what a run is called, described and tagged with, and the view to begin with.

MLflow cuts a run's name after some twenty letters, so what tells runs apart stands first. A view is what MLflow's own
button "share" makes: a tag of the experiment that an address names.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from hiper.compose import WARM_START, RunName
from hiper.records import absolute

NOTE_LENGTH = 5000  # characters of a table in a description; MLflow refuses more than 8000 in all
ARTIFACTS = "The page report.html, all tables and figures are under Artifacts."
# tags that MLflow reads
NAME, NOTE, PARENT = "mlflow.runName", "mlflow.note.content", "mlflow.parentRunId"
SOURCE, SOURCE_TYPE, SOURCE_COMMIT = "mlflow.source.name", "mlflow.source.type", "mlflow.source.git.commit"
VIEW_KEY = "overview"
VIEW = f"mlflow.sharedViewState.{VIEW_KEY}"
ARM = "arm"  # of a comparison: what the view groups by, because MLflow cuts the names of groups by several tags
MOST_BARS = 6  # charts of success; further ones are a click away


def description(folder: Path, settings: Mapping[str, Any], manifest: Mapping[str, Any] | None) -> dict[str, str]:
    """The tags of a run: its name, what it is of, what made it, and commands to go on with."""
    run = RunName.parse(folder.name)
    experiment = absolute(folder).parent.parent.name
    stage, rest = ("warmstart", "") if run.algorithm == WARM_START else ("train", f" --start {_start(experiment, run)}")
    place = f"results/{experiment}/runs/{run}"
    found = {
        NAME: f"{run.algorithm} · {run.benchmark} · s{run.seed} · {run.model}",
        ARM: f"{run.algorithm} · {run.benchmark} · {run.model}",
        "algorithm": run.algorithm,
        "benchmark": run.benchmark,
        "model": run.model,
        "seed": str(settings["seed"]),
        "stage": stage,
        SOURCE: f"hiper {stage} {place}{rest}",
        SOURCE_TYPE: "LOCAL",
        NOTE: _note(experiment, place, run, stage),
    }
    if manifest is None:
        return found
    origin_tags = origin(manifest)
    return found | origin_tags | {"commit": origin_tags["hiper.commit"], SOURCE_COMMIT: origin_tags["hiper.commit"]}


def _start(experiment: str, run: RunName) -> str:
    return f"results/{experiment}/runs/{run.warm_start}/model"


def _note(experiment: str, place: str, run: RunName, stage: str) -> str:
    what = "The warm start" if stage == "warmstart" else run.algorithm
    return f"""{what} of {run.benchmark} with the model {run.model}, seed {run.seed}, in the experiment {experiment}.

```
hiper inspect {place}      # its episodes, turn by turn
hiper play --run {place}   # watch its model
hiper run {experiment}     # run what is missing or out of date
```

The comparison with the others: `results/{experiment}/report.html`, also under Artifacts of the run `results`.
"""


def origin(manifest: Mapping[str, Any]) -> dict[str, str]:
    """The commit (marked when files differed from it) and the data's hash, as tags that a person can copy."""
    git, data = manifest.get("git") or {}, manifest.get("data") or {}
    commit = f"{git['commit']}{'-dirty' if git.get('dirty') else ''}" if git else "unknown"
    return {"hiper.commit": commit, "hiper.data": next(iter(data.values()), "unknown")}


def overview(metrics: Collection[str], parent: str) -> str:
    """The view `VIEW_KEY`: success in evaluation as bars and in training as lines, a bar or line for each algorithm on
    a benchmark, the mean over its seeds; the last models before the best ones. `metrics`: names of those that there
    are; `parent`: the id of the run whose children the list is to show."""
    evaluated = [name for name in metrics if name.startswith("evaluation/") and name.endswith("/success")]
    evaluated.sort(key=lambda name: ("." in name.split("/")[1], name))
    trained = [name for name in ("train/success", "validation/success") if name in metrics]
    charts = [_chart("BAR", name) for name in evaluated[:MOST_BARS]] + [_chart("LINE", name) for name in trained]
    state = {
        "groupBy": {"aggregateFunction": "average", "groupByKeys": [{"mode": "tag", "groupByData": ARM}]},
        "useGroupedValuesInCharts": True,
        "runsHiddenMode": "SHOW_ALL",
        "runsExpanded": {parent: True},
        "isAccordionReordered": True,
        "compareRunSections": [{**_SHARED, "uuid": "success", "name": "Success", "display": True, "columns": 2}],
        "compareRunCharts": charts,
    }
    return json.dumps(state, sort_keys=True)


_SHARED = {"deleted": False, "isReordered": True}


def _chart(kind: str, metric: str) -> dict[str, Any]:
    line = {"selectedMetricKeys": [metric], "xAxisKey": "step", "useGlobalXaxisKey": True, "lineSmoothness": 0}
    own = line if kind == "LINE" else {}
    return {"type": kind, "uuid": metric, "metricKey": metric, "metricSectionId": "success", "deleted": False, **own}


def view_address(server: str, experiment_id: str) -> str:
    """What to open in a browser: the charts of an experiment in the view `overview`."""
    query = f"workflowType=machine_learning&compareRunsMode=CHART&viewStateShareKey={VIEW_KEY}"
    return f"{server}/#/experiments/{experiment_id}/runs?{query}"


def result_note(experiment: Path) -> str:
    """A table as the description of the run that holds the results: of all success rates or, where that is too long, of
    their interquartile means; without one that fits, where to look."""
    for name in ("success", "aggregate"):
        path = experiment / "tables" / f"{name}.md"
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        if 0 < len(text) <= NOTE_LENGTH:
            return f"{text}\n\n{ARTIFACTS}"
    return ARTIFACTS
