"""The tracker `mlflow`: find or make the runs of one experiment, add what the files have and the records lack."""

from __future__ import annotations

import json
import logging
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from hiper.compose import read_config, recorded_settings
from hiper.digests import config_digest
from hiper.manifest import content_hash, made_with, read_manifest
from hiper.records import absolute, read_json, sha256_json, write_json
from hiper.tracking import database, destination
from hiper.tracking.readings import Metrics, RunFiles, columns, ended, flatten, spent
from hiper.tracking.shown import NAME, NOTE, PARENT, VIEW, description, overview, result_note
from hiper.tracking.tracker import LAST_PATIENCE, PATIENCE, RESULTS

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

log = logging.getLogger(__name__)

RUN, CONFIGURATION, CONTENT = "hiper.run", "hiper.configuration", "hiper.content"  # tags
FILES, WRITER, OWNER = "hiper.files", "hiper.writer", "hiper.mirror"  # tags, too
KIND = {"mlflow.experimentKind": "custom_model_development"}  # opens MLflow's pages for model training
BATCH = 1000  # metrics per request, MLflow's limit
UPLOADED = ("config.yaml", "manifest.json", "evaluation.jsonl")


@dataclass
class Added:
    """What a mirror has written so far."""

    runs: int = 0
    values: int = 0
    files: int = 0

    def __str__(self) -> str:
        return f"{self.runs} runs, {self.values} values of metrics, {self.files} files"


@dataclass
class _Known:
    """What this process remembers of a run: its files as read so far, and which values its record has."""

    files: RunFiles
    run_id: str | None = None
    logged: Metrics = field(default_factory=dict)


class Mirror:
    """One experiment's records in MLflow (see `hiper.tracking.tracker.Tracker`)."""

    title = "MLflow"
    server_variable = destination.ADDRESS
    message_of = staticmethod(destination.message_of)

    def __init__(self, experiment: Path, patience: float = PATIENCE) -> None:
        self.folder, self.patience = experiment, patience
        self.tracking = experiment / "tracking"
        self.server = destination.server()
        self.added = Added()
        self.token = uuid.uuid4().hex
        self.known: dict[str, _Known] = {}
        self.tracking.mkdir(parents=True, exist_ok=True)
        connect = destination.client_class()
        with self.exclusive():
            address = self.server or database.prepare(self.tracking)
            self.owner = self._owner() if self.server else None
            self.client: MlflowClient = connect(address)
            self.experiment_id = self._experiment()
            self.opened = self._file()

    @classmethod
    @contextmanager
    def afresh(cls, experiment: Path) -> Iterator[None]:
        """The old database comes back if the new one is not completed; on a server, only runs that were mirrored from
        this folder are deleted. For a process that has not opened the database yet."""
        if destination.server() is not None:
            cls(experiment, LAST_PATIENCE).forget_all_but(set())
            yield
            return
        tracking, old = experiment / "tracking", experiment / ".tracking.old"
        tracking.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(old, ignore_errors=True)
        with database.exclusive(tracking, PATIENCE):
            database.set_aside(tracking, old)
        try:
            yield
        except BaseException:
            with database.exclusive(tracking, PATIENCE):
                database.remove(tracking)
                database.put_back(old, tracking)
            raise
        shutil.rmtree(old, ignore_errors=True)

    def exclusive(self) -> AbstractContextManager[None]:
        """One writer at a time: finding a run and creating it must not interleave."""
        return database.exclusive(self.tracking, self.patience)

    @property
    def place(self) -> str:
        """Where the records are, for people; without credentials."""
        return self.server or str(self.tracking / database.DATABASE)

    def current(self) -> bool:
        """Is the database still the file that was opened? Someone may have deleted it or put another in its place."""
        return self.server is not None or self._file() == self.opened

    def _file(self) -> tuple[int, int] | None:
        path = self.tracking / database.DATABASE
        if self.server or not path.exists():
            return None
        found = path.stat()
        return found.st_dev, found.st_ino

    def _owner(self) -> str:
        """What tells our runs on a server from those of another folder with an experiment of the same name. Of several
        computers that begin at once, which need not see each other's locks, the first decides."""
        path = self.tracking / "mirror.json"
        if not path.exists():
            proposed = path.with_name(f".{self.token}.json")
            write_json(proposed, {"mirror": uuid.uuid4().hex})
            try:
                os.link(proposed, path)
            except FileExistsError:
                pass
            finally:
                proposed.unlink()
        return str(read_json(path)["mirror"])

    def _experiment(self) -> str:
        found = self.client.get_experiment_by_name(absolute(self.folder).name)
        if found is None:
            location = None if self.server else (self.tracking / database.ARTIFACTS).resolve().as_uri()
            name = absolute(self.folder).name
            return str(self.client.create_experiment(name, artifact_location=location, tags=KIND))
        if found.lifecycle_stage == "deleted":
            self.client.restore_experiment(found.experiment_id)
            log.warning("the experiment %s had been deleted on %s: restored", found.name, self.place)
        return str(found.experiment_id)

    def run(self, folder: Path) -> None:
        """Mirror one run folder: parameters, metrics, evaluation, files, tags."""
        made = made_with(folder)
        path = folder / "config.yaml"
        settings = read_config(path) if made is None else recorded_settings(made, f"{folder}, its manifest")
        manifest = read_manifest(folder)
        described = description(folder, settings.model_dump(mode="json"), manifest)
        known = self.known.setdefault(folder.name, _Known(RunFiles(folder)))
        metrics = known.files.read()
        with self.exclusive():
            digest = config_digest(settings)
            complete = metrics if manifest else None
            run = self._current(folder.name, {CONFIGURATION: digest}, lambda run: self._fits(run, known, complete))
            if run is None:
                began = None if manifest is None else ended(folder) - spent(manifest)
                parent = {PARENT: self._parent().info.run_id}
                run = self._create(folder.name, {CONFIGURATION: digest, **described, **parent}, began)
                known.logged = {}
                self._log_parameters(run, flatten(settings.model_dump(mode="json")))
            self._set(run, described)
            self._log_metrics(run, known, metrics)
            self._log_files(run, known)
            if manifest and run.info.status == "RUNNING":
                self.client.set_terminated(run.info.run_id, end_time=ended(folder))

    def results(self) -> None:
        """Show `report.html`, `tables/` and `figures/` in a run of their own; new content replaces it."""
        parts = ("report.html", "tables/*.*", "figures/*.*")
        files = sorted(path for part in parts for path in self.folder.glob(part))
        if not files:
            with self.exclusive():
                if next(self._ours(), None) is not None:
                    self._adopt(self._parent())
            return
        content = sha256_json({str(path.relative_to(self.folder)): content_hash(path) for path in files})
        with self.exclusive():
            run = (
                self._current(RESULTS, {}, lambda run: run.data.tags.get(CONTENT) in (None, content)) or self._parent()
            )
            self._adopt(run)
            if run.data.tags.get(CONTENT) and run.info.status == "FINISHED":
                return
            self._set(run, {CONTENT: content, NOTE: result_note(self.folder)})
            for path in files:
                place = None if path.parent == self.folder else path.parent.name
                self.client.log_artifact(run.info.run_id, str(path), place)
                if path.suffix == ".csv":
                    self.client.log_table(run.info.run_id, columns(path), f"{path.stem}.json")
            self.added.files += len(files)
            self.client.set_terminated(run.info.run_id)

    def _parent(self) -> Run:
        """The run `results`, under which MLflow shows all others; it goes on until there are results."""
        note = {NOTE: result_note(self.folder)}
        return self._current(RESULTS, {}, lambda run: True) or self._create(RESULTS, {NAME: RESULTS, **note})

    def _adopt(self, parent: Run) -> None:
        """Put all other runs under this one, and offer a view of what they came to."""
        runs = [run for run in self._ours() if run.info.run_id != parent.info.run_id]
        for run in runs:
            self._set(run, {PARENT: parent.info.run_id})
        shown = overview({name for run in runs for name in run.data.metrics}, parent.info.run_id)
        if self.client.get_experiment(self.experiment_id).tags.get(VIEW) != shown:
            self.client.set_experiment_tag(self.experiment_id, VIEW, shown)

    def _set(self, run: Run, tags: dict[str, str]) -> None:
        """Set those tags that are not so yet; the one of MLflow's own for a run's name is its name."""
        for name, value in tags.items():
            if run.data.tags.get(name) != value:
                self.client.set_tag(run.info.run_id, name, value)

    def forget_all_but(self, names: set[str]) -> None:
        """Delete our mirrored runs whose folder is gone (all of them, for no names); other people's stay."""
        with self.exclusive():
            for run in list(self._ours()):
                if run.data.tags[RUN] not in names:
                    self.client.delete_run(run.info.run_id)

    def _ours(self, name: str | None = None) -> Iterator[Run]:
        """The runs of this experiment that this folder's mirror made."""
        clauses = [] if name is None else [f"tags.`{RUN}` = '{name}'"]
        clauses += [f"tags.`{OWNER}` = '{self.owner}'"] if self.owner else []
        page = None
        while True:
            found = self.client.search_runs([self.experiment_id], " and ".join(clauses), page_token=page)
            yield from (run for run in found if RUN in run.data.tags)
            page = found.token
            if not page:
                return

    def _current(self, name: str, tags: dict[str, str], fits: Callable[[Run], bool]) -> Run | None:
        """The mirrored run `name`, or None where there is none or the files say otherwise now; all others of that name
        are deleted."""
        current = None
        for run in list(self._ours(name)):
            if current is None and all(run.data.tags.get(tag) == value for tag, value in tags.items()) and fits(run):
                current = run
            else:
                self.client.delete_run(run.info.run_id)
        return current

    def _create(self, name: str, tags: dict[str, str], began: int | None = None) -> Run:
        owned = {OWNER: self.owner} if self.owner else {}
        every = {RUN: name, **tags, **owned}
        run = self.client.create_run(self.experiment_id, start_time=began, tags=every)
        self.added.runs += 1
        return run

    def _fits(self, run: Run, known: _Known, complete: Metrics | None) -> bool:
        """Learn every value the record has; False if a finished run has other ones.

        What is remembered holds while the run's tag says that nobody else has written since.
        """
        if known.run_id != run.info.run_id or run.data.tags.get(WRITER) != self.token:
            names = sorted(run.data.metrics)
            histories = [self.client.get_metric_history(run.info.run_id, name) for name in names]
            known.logged = {(metric.key, metric.step): metric.value for history in histories for metric in history}
        return complete is None or known.logged.items() <= complete.items()

    def _log_parameters(self, run: Run, values: dict[str, str]) -> None:
        from mlflow.entities import Param

        pairs = [Param(name, value) for name, value in sorted(values.items())]
        for first in range(0, len(pairs), 100):
            self.client.log_batch(run.info.run_id, params=pairs[first : first + 100])

    def _log_metrics(self, run: Run, known: _Known, metrics: Metrics) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        missing = [
            Metric(name, value, now, step)
            for (name, step), value in metrics.items()
            if (name, step) not in known.logged
        ]
        if missing and run.data.tags.get(WRITER) != self.token:
            self.client.set_tag(run.info.run_id, WRITER, self.token)
        known.run_id = None  # a request that fails may have been carried out: read the record again then
        for first in range(0, len(missing), BATCH):
            batch = missing[first : first + BATCH]
            self.client.log_batch(run.info.run_id, metrics=batch)
            known.logged.update({(metric.key, metric.step): metric.value for metric in batch})
            self.added.values += len(batch)
        known.run_id = run.info.run_id

    def _log_files(self, run: Run, known: _Known) -> None:
        """Upload what the record does not have in this form; the run's tag says what it has."""
        had = json.loads(run.data.tags.get(FILES, "{}"))
        have = known.files.hashes(UPLOADED)
        changed = [name for name, content in have.items() if had.get(name) != content]
        for name in changed:
            self.client.log_artifact(run.info.run_id, str(known.files.folder / name))
        if changed:
            self.client.set_tag(run.info.run_id, FILES, json.dumps(have, sort_keys=True))
            self.added.files += len(changed)
