"""Runs Snakemake in forked children: importing it takes two seconds, a fork none, and the tests call it often.

Reads one JSON request per line: `argv`, the `folder` to work in, the `environment`, and the files `output` and `errors`
for what it says. Answers with the exit status. Each child imports the package `hiper` itself, from its PYTHONPATH.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import hydra  # noqa: F401 (what the package imports, to have it in the children)
import pydantic  # noqa: F401
import snakemake.cli

OWN = [path for path in sys.path if path and path not in os.environ.get("PYTHONPATH", "").split(os.pathsep)]


def child(request: dict[str, Any]) -> None:
    """Ends with SystemExit, as the command does."""
    os.setsid()
    os.chdir(request["folder"])
    for number, name in ((1, "output"), (2, "errors")):
        os.dup2(os.open(request[name], os.O_CREAT | os.O_TRUNC | os.O_WRONLY), number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.path[:] = [*filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep)), *OWN]
    sys.argv = ["snakemake", *request["argv"]]
    snakemake.cli.main()


for line in sys.stdin:
    if (process := os.fork()) == 0:
        child(json.loads(line))
    print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), flush=True)
