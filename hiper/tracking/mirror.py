"""One experiment's MLflow database: find or make its runs, add what the files have and the database lacks."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from hiper.compose import config_digest, read_config
from hiper.manifest import content_hash, read_manifest
from hiper.records import sha256_json
from hiper.tracking.readings import Metrics, columns, evaluation_metrics, flatten, run_metrics

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

DATABASE = "mlflow.db"
RUN, CONFIGURATION, CONTENT = "hiper.run", "hiper.configuration", "hiper.content"  # tags
RESULTS = "results"  # the MLflow run that shows the tables and figures
KIND = {"mlflow.experimentKind": "custom_model_development"}  # opens MLflow's pages for model training
BATCH = 1000  # metrics per request, MLflow's limit


class Mirror:
    """One experiment's database, opened; made with its experiment when it is new."""

    def __init__(self, experiment: Path) -> None:
        self.folder = experiment
        self.tracking = experiment / "tracking"
        self.tracking.mkdir(parents=True, exist_ok=True)
        with self._lock():
            self.client = _client(self.tracking / DATABASE)
            self.experiment_id = self._experiment()

    @contextmanager
    def _lock(self) -> Iterator[None]:
        """One writer at a time: finding a run and creating it must not interleave."""
        with (self.tracking / "lock").open("w") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            yield

    def _experiment(self) -> str:
        found = self.client.get_experiment_by_name(self.folder.name)
        if found is not None:
            return str(found.experiment_id)
        location = (self.tracking / "artifacts").resolve().as_uri()
        return str(self.client.create_experiment(self.folder.name, artifact_location=location, tags=KIND))

    def run(self, folder: Path) -> None:
        """Mirror one run folder: parameters, metrics, evaluation, files, tags."""
        settings = read_config(folder / "config.yaml")
        manifest = read_manifest(folder)
        metrics = {**run_metrics(folder), **evaluation_metrics(folder)}
        with self._lock():
            digest = config_digest(settings)
            run = self._current(folder.name, {CONFIGURATION: digest}, metrics if manifest else None)
            if run is None:
                tags = {CONFIGURATION: digest, "algorithm": folder.name.split("-")[-2], "seed": str(settings.seed)}
                run = self._create(folder.name, {**tags, "benchmark": settings.benchmark.dataset})
                self._log_parameters(run, flatten(settings.model_dump(mode="json")))
            self._log_metrics(run, metrics)
            for name in ("config.yaml", "manifest.json", "evaluation.jsonl"):
                if (folder / name).exists():
                    self.client.log_artifact(run.info.run_id, str(folder / name))
            if manifest and run.info.status == "RUNNING":
                for tag, value in (("hiper.commit", manifest["git"]), ("hiper.data", manifest["data"])):
                    self.client.set_tag(run.info.run_id, tag, json.dumps(value, sort_keys=True))
                self.client.set_terminated(run.info.run_id)

    def results(self) -> None:
        """Show `tables/` and `figures/` in a run of their own; new content replaces it."""
        files = sorted(path for part in ("tables", "figures") for path in (self.folder / part).glob("*.*"))
        if not files:
            return
        content = sha256_json({str(path.relative_to(self.folder)): content_hash(path) for path in files})
        with self._lock():
            if self._current(RESULTS, {CONTENT: content}, None) is not None:
                return
            run = self._create(RESULTS, {CONTENT: content})
            for path in files:
                self.client.log_artifact(run.info.run_id, str(path), path.parent.name)
                if path.suffix == ".csv":
                    self.client.log_table(run.info.run_id, columns(path), f"{path.stem}.json")
            self.client.set_terminated(run.info.run_id)

    def forget_all_but(self, names: set[str]) -> None:
        """Delete mirrored runs whose folder is gone."""
        for run in self.client.search_runs([self.experiment_id]):
            if run.data.tags.get(RUN) not in names:
                self.client.delete_run(run.info.run_id)

    def _current(self, name: str, tags: dict[str, str], complete: Metrics | None) -> Run | None:
        """The mirrored run `name`, or None where there is none or the files say otherwise now; that one is deleted."""
        for run in self.client.search_runs([self.experiment_id], f"tags.`{RUN}` = '{name}'"):
            same = all(run.data.tags.get(tag) == value for tag, value in tags.items())
            if same and (complete is None or self._logged(run).items() <= complete.items()):
                return run
            self.client.delete_run(run.info.run_id)
        return None

    def _create(self, name: str, tags: dict[str, str]) -> Run:
        return self.client.create_run(self.experiment_id, run_name=name, tags={RUN: name, **tags})

    def _logged(self, run: Run) -> Metrics:
        names = sorted(run.data.metrics)
        histories = [self.client.get_metric_history(run.info.run_id, name) for name in names]
        return {(metric.key, metric.step): metric.value for history in histories for metric in history}

    def _log_parameters(self, run: Run, values: dict[str, str]) -> None:
        from mlflow.entities import Param

        pairs = [Param(name, value) for name, value in sorted(values.items())]
        for first in range(0, len(pairs), 100):
            self.client.log_batch(run.info.run_id, params=pairs[first : first + 100])

    def _log_metrics(self, run: Run, metrics: Metrics) -> None:
        from mlflow.entities import Metric

        logged = self._logged(run)
        now = int(time.time() * 1000)
        missing = [
            Metric(name, value, now, step) for (name, step), value in metrics.items() if (name, step) not in logged
        ]
        for first in range(0, len(missing), BATCH):
            self.client.log_batch(run.info.run_id, metrics=missing[first : first + BATCH])


def _client(database: Path) -> MlflowClient:
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow import MlflowClient

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    return MlflowClient(f"sqlite:///{database.resolve()}")
