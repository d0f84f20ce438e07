"""`hiper track serve`: MLflow's own pages for an experiment's database, for people on this machine."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing, suppress
from pathlib import Path
from urllib.request import urlopen

from hiper.errors import UserError
from hiper.records import absolute
from hiper.tracking import database
from hiper.tracking.shown import view_address
from hiper.tracking.tracker import PATIENCE

HOST = "127.0.0.1"  # whoever reaches the server can write


def serve(experiment: Path, port: int) -> int:
    """Serve until interrupted; the exit status, 0 when asked to stop. UserError without a database, or where the port
    is taken."""
    tracking, name = absolute(experiment) / "tracking", absolute(experiment).name
    if not (tracking / database.DATABASE).exists():
        there = (experiment / "runs").is_dir()  # unpacked evidence, or an experiment that was run without records
        remedy = f"`hiper track sync {experiment}` records its runs" if there else f"`hiper run {name}` makes them"
        raise UserError(f"{experiment}: no runs are recorded yet; {remedy}")
    with socket.socket() as probe:
        if probe.connect_ex((HOST, port)) == 0:
            raise UserError(
                f"port {port} is in use, perhaps by MLflow for another experiment; stop that, or choose another port: "
                f"hiper track serve {experiment} --port {port + 1}"
            )
    with database.exclusive(tracking, PATIENCE):
        address = database.prepare(tracking)
    with closing(sqlite3.connect(tracking / database.DATABASE)) as opened:
        (number,) = opened.execute(
            "SELECT experiment_id FROM experiments ORDER BY name = ? DESC, experiment_id DESC LIMIT 1", (name,)
        ).fetchone()
    print("starting MLflow; its address is shown in some seconds", flush=True)
    # one reader needs one worker, which on a busy machine is not killed for answering slowly, and none for jobs
    quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    command = [sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", address]
    process = subprocess.Popen(command, env={**os.environ, **quiet}, start_new_session=True)
    threading.Thread(target=_announce, args=(process, f"http://{HOST}:{port}", str(number)), daemon=True).start()
    asked = threading.Event()

    def stop(*_: object) -> None:
        asked.set()
        os.killpg(process.pid, signal.SIGTERM)  # MLflow does not pass it on to the process that serves

    for caught in (signal.SIGTERM, signal.SIGINT):
        signal.signal(caught, stop)
    status = process.wait()
    if asked.is_set():
        return 0
    return status if status >= 0 else 128 - status


def _announce(process: subprocess.Popen[bytes], server: str, number: str) -> None:
    while process.poll() is None:
        with suppress(OSError), urlopen(f"{server}/health", timeout=5):
            print(f"open {view_address(server, number)}   (stop with Ctrl-C)", flush=True)
            return
        time.sleep(1)
