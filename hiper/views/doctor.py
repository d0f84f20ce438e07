"""`hiper doctor`: what this machine can run, what is missing and how to get it.

The findings are made here and in `hiper.views.machine`, shown by `show`. Nothing is changed or downloaded; the only
address asked is the tracking server's, where one is named.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from hiper.errors import UserError
from hiper.manifest import ask_git
from hiper.views.machine import Finding, State, examine, gpu_sizes
from hiper.views.profiles import LOCAL, SLURM, Profile

if TYPE_CHECKING:
    from rich.console import Console

DEMO = "demo"
HERE = Profile()
MARKS: dict[State, tuple[str, str]] = {
    "ok": ("ok", "green"),
    "missing": ("MISSING", "bold red"),
    "optional": ("optional", "yellow"),
}
SERVER_SECONDS, DATABASE_SECONDS = 2.0, 0.5


def diagnose(root: Path, experiment: str | None = None, profile: Profile = HERE) -> list[Finding]:
    """Everything looked at in the project at `root`; what `experiment` (default: the demo) cannot do without is
    `missing`. `profile`: where its jobs run. UserError for an experiment that does not exist."""
    return list(look(root, experiment, profile))


def look(root: Path, experiment: str | None = None, profile: Profile = HERE) -> Iterator[Finding]:
    """The same one after the other: importing torch and composing every experiment take seconds."""
    if experiment is not None:
        with suppress(ImportError):  # said below
            from hiper.layers import configuration_file

            configuration_file("experiment", experiment, root)  # for its error, before anything is shown
    yield from examine(root)
    parts: list[Callable[[], Iterator[Finding]]] = [
        lambda: _commit(root),
        lambda: _experiments(root, experiment or DEMO, experiment is not None, profile.executor),
        lambda: _cluster(root, experiment or DEMO, profile),
        lambda: _tracking(root, profile.executor),
        lambda: _folders(root),
        lambda: _leftovers(root),
    ]
    for part in parts:
        try:
            yield from part()
        except ImportError as error:  # said above, under packages, with what to do about it
            yield Finding("Project", "not looked at", "missing", f"{error}")


def able(findings: Sequence[Finding]) -> bool:
    return all(finding.state != "missing" for finding in findings)


def _commit(root: Path) -> Iterator[Finding]:
    """Nothing where git knows one, or is not installed, which is said under software."""
    state, reason = ask_git(root)
    if state is None and shutil.which("git"):
        remedy = "runs go on without; with a clone of the project's repository their manifests name the commit"
        yield Finding("Project", "commit", "optional", f"none can be recorded: {reason}", remedy)


def _experiments(root: Path, target: str, alone: bool, executor: str) -> Iterator[Finding]:
    """Each experiment's configurations, then the data sets of those that compose; `alone`: only the target's, with all
    that it lacks. The others have a line each."""
    from hiper.compose import available
    from hiper.grids import compose_grid
    from hiper.views.needs import data_needs, needs

    names = available("experiment", root)
    shared: dict[str, Finding] = {}
    folded = False
    for name in [target] if alone else names:
        lacking: State = "missing" if name == target else "optional"
        try:
            runs = compose_grid(name, root)
        except UserError as error:
            yield Finding("Experiments", name, lacking, str(error), "correct the file that the message names")
            continue
        found = list(needs(name, runs, root, "missing", executor, gpu_sizes))
        sets = {finding.name: finding for finding in data_needs(runs, root, "missing")}
        if unusable := [f"{one.name}, {one.detail}" for one in sets.values() if one.state == "missing"]:
            detail = f"its data cannot be used: {'; '.join(unusable)}"
            found.append(Finding("Experiments", name, "missing", detail, "see below"))
        reasons = [finding.detail for finding in found if finding.state == "missing"]
        if lacking == "missing":
            yield from found
        elif reasons:
            folded = True
            yield Finding("Experiments", name, lacking, _folded(reasons))
        if not reasons:
            yield Finding("Experiments", name, "ok", f"can run here: {_command(name, executor)}")
        if lacking != "missing":
            sets = {key: replace(one, state="optional") if one.state == "missing" else one for key, one in sets.items()}
        shared = shared | sets if lacking == "missing" else sets | shared
    if folded:
        yield Finding("Experiments", "NAME", "optional", "all that it lacks", "hiper doctor --experiment NAME")
    yield from shared.values()


def _folded(reasons: Sequence[str]) -> str:
    return reasons[0] + (f"; and {len(reasons) - 1} more" if len(reasons) > 1 else "")


def _command(experiment: str, executor: str) -> str:
    return f"hiper run {experiment}{'' if executor == LOCAL else ' --cluster'}"


def _cluster(root: Path, experiment: str, profile: Profile) -> Iterator[Finding]:
    """Whether Slurm has the partitions that the profile names, and GPUs enough in them."""
    from hiper.compose import WARM_START
    from hiper.grids import compose_grid
    from hiper.views import slurm

    if profile.executor != SLURM or slurm.lacking():
        return
    try:
        runs = compose_grid(experiment, root)
    except UserError:  # said above
        return
    engines = [settings.engine for name, settings in runs if name.algorithm != WARM_START]
    on_gpus = any(settings.engine.device == "cuda" for _, settings in runs)
    if refused := slurm.refusals(profile.resource, profile.resources, on_gpus, engines):
        for reason in refused:
            yield Finding("Cluster", "Slurm", "missing", reason)
    else:
        yield Finding(
            "Cluster", "Slurm", "ok", f"has the partitions that the profile names, and nodes for {experiment}"
        )
        for doubt in slurm.doubts(profile.resource, on_gpus):
            remedy = "correct the profile, unless an option that is not among its default-resources makes up for it"
            yield Finding("Cluster", "sbatch", "optional", doubt, remedy)


def _tracking(root: Path, executor: str) -> Iterator[Finding]:
    """Where MLflow's records go, and whether that answers. Training needs neither."""
    from hiper.tracking import destination

    try:
        server = destination.server()
    except UserError as error:
        yield Finding("Tracking", "MLflow", "optional", str(error), f"correct or unset {destination.ADDRESS}")
        return
    if server is not None:
        yield _server(server)
        if executor != LOCAL and urlsplit(server).hostname in ("localhost", "127.0.0.1", "::1"):
            detail = f"{server} is this machine alone: jobs on other nodes do not reach it"
            yield Finding("Tracking", "MLflow", "optional", detail, "name the host as the nodes know it")
        return
    if executor != LOCAL:
        detail = "records of jobs on nodes come at the workflow's end: no server is named"
        remedy = f"for live ones: {destination.ADDRESS}, docs/which_tool.md"
        yield Finding("Tracking", "MLflow", "optional", detail, remedy)
    databases = sorted(root.glob("results/*/tracking/mlflow.db"))
    if not databases:
        yield Finding("Tracking", "MLflow", "ok", "records go to results/<experiment>/tracking/mlflow.db")
    for path in databases:
        yield _database(path, root)


def _server(address: str) -> Finding:
    """MLflow's own sign of life, asked without credentials."""
    try:
        with urlopen(Request(f"{address}/health"), timeout=SERVER_SECONDS) as answer:
            answer.read(100)
        return Finding("Tracking", "MLflow", "ok", f"records go to {address}, which answers")
    except (OSError, ValueError) as error:
        detail = f"{address} does not answer: {getattr(error, 'reason', error)}"
        return Finding("Tracking", "MLflow", "optional", detail, "training goes on without; hiper track sync later")


def _database(path: Path, root: Path) -> Finding:
    from hiper.tracking import database

    name, experiment = str(path.relative_to(root)), path.parent.parent.relative_to(root)
    remedy = f"hiper track sync {experiment}"
    try:
        damage = database.inspect(path, DATABASE_SECONDS)
    except (UserError, sqlite3.Error, OSError) as error:
        return Finding("Tracking", "MLflow", "optional", str(error), remedy)
    if damage:
        return Finding("Tracking", "MLflow", "optional", f"{name}: {damage}", f"{remedy} (makes it anew)")
    return Finding("Tracking", "MLflow", "ok", f"{name} can be written")


def _folders(root: Path) -> Iterator[Finding]:
    for name in ("results", "data"):
        folder = root / name
        present = folder if folder.exists() else root
        if folder.is_symlink() and not folder.exists():
            remedy = "make the folder that it names, mount its disk, or remove the link"
            yield Finding("Folders", name, "missing", f"is a link to {os.readlink(folder)}, which is not there", remedy)
        elif os.access(present, os.W_OK | os.X_OK):
            yield Finding("Folders", name, "ok", "can be written")
        else:
            remedy = f"change the owner or permissions of {present}"
            yield Finding("Folders", name, "missing", "no permission to write", remedy)


def _leftovers(root: Path) -> Iterator[Finding]:
    """Runs that somebody is writing now, and runs that were cut short."""
    from hiper.locks import owner
    from hiper.records import leftover

    for folder in sorted(path for path in root.glob("results/*/runs/*") if path.is_dir() and not leftover(path.name)):
        name = str(folder.relative_to(root))
        if (holder := owner(folder)) is not None:
            yield Finding("Runs", name, "ok", f"being written by {holder}")
        elif any(folder.glob("checkpoints/*.pt")) and not (folder / "manifest.json").exists():
            remedy = "the command that started it goes on from its last checkpoint"
            yield Finding("Runs", name, "optional", "unfinished, with checkpoints", remedy)


def show(console: Console, findings: Iterable[Finding], subject: str) -> bool:
    """One section after the other, each as soon as it is complete, then the sentence that matters; whether it can."""
    from rich.table import Table
    from rich.text import Text

    found: list[Finding] = []
    for section, group in groupby(findings, key=lambda finding: finding.section):
        with console.status("looking …"):  # on a terminal alone
            found += (own := list(group))
        console.print(Text(f"\n{section}", "bold"))
        table = Table.grid(padding=(0, 2))
        for finding in own:
            word, style = MARKS[finding.state]
            remedy = f"\n→ {finding.remedy}" if finding.remedy else ""
            table.add_row(Text(word, style), finding.name, Text(finding.detail).append(remedy, "cyan"))
        console.print(table)
    if not able(found):
        missing = dict.fromkeys(finding.name for finding in found if finding.state == "missing")
        console.print(Text(f"\n{subject} cannot run here yet; see: {', '.join(missing)}", "bold red"))
    else:
        console.print(Text(f"\n{subject} can run here", "bold green"))
    return able(found)
