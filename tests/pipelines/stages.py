"""Kedro commands, one after the other, each in a process and a folder of its own.

``python -m tests.pipelines.stages`` reads from its input, as JSON, a list of commands:
``{"folder": ..., "arguments": [...], "environment": {...}, "kill": ...}``. It writes
one line of JSON for each: ``{"code": ..., "output": ...}``. ``kill`` is a text; a
process that prints it is killed.

What every command imports is imported once and inherited by fork: half of the seconds
of a small stage go into it. Everything else, file systems and their caches first of
all, begins anew in each process.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from contextlib import suppress

import kedro_mlflow.framework.hooks
import kedro_viz.integrations.kedro.hooks
import mlflow.tracking
import s3fs
import torch
from kedro.framework.cli.cli import main

import sidiff.cli
import sidiff.datasets.whole
import sidiff.evaluation.run
import sidiff.settings
import sidiff.training.loop

PRELOADED = (kedro_mlflow, kedro_viz, mlflow, s3fs, sidiff, torch)


def run(
    folder: str, arguments: list[str], environment: dict[str, str], kill: str | None
) -> dict[str, int | str]:
    """Run one command to its end, or until it prints ``kill``."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        _command(folder, arguments, environment, write)
    os.close(write)
    lines = []
    with os.fdopen(read, errors="replace") as output:
        for line in output:
            lines.append(line)
            if kill and kill in line:
                os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    return {"code": code, "output": "".join(lines)}


def _command(
    folder: str, arguments: list[str], environment: dict[str, str], output: int
) -> None:
    code = 1
    try:
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.chdir(folder)
        os.environ.update(environment)
        sys.argv = ["kedro", *arguments]
        try:
            main()
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else int(bool(ended.code))
        else:
            code = 0
    finally:
        with suppress(ValueError, OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    for command in json.load(sys.stdin):
        sys.stdout.write(json.dumps(run(**command)) + "\n")
        sys.stdout.flush()
