"""Real servers: uvicorn in a process of its own, which must do without Kedro."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ..serving.conftest import bundle, folder, recommender, shop

__all__ = ["bundle", "folder", "recommender", "shop"]

SERVE = """
import sys
for name in ("kedro", "kedro_mlflow", "mlflow"):
    sys.modules[name] = None
from sidiff.__main__ import main
main(sys.argv[1:])
"""


class Server:
    """A running ``sidiff serve``.

    Attributes:
        url: where it listens.
        process: it.
        log: what it has written so far.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process, self.log = process, ""
        assert process.stderr is not None
        for line in process.stderr:
            self.log += line
            found = re.search(r"Listening on (http://\S+),", line)
            if found:
                self.url = found.group(1)
                return
        raise AssertionError(self.log)


@contextmanager
def serving(path: Path, *options: str, **environment: str) -> Iterator[Server]:
    process = subprocess.Popen(  # noqa: S603
        [sys.executable, "-c", SERVE, "serve", str(path), "--port", "0", *options],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
    )
    try:
        yield Server(process)
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)


@pytest.fixture(scope="session")
def server(folder: Path) -> Iterator[Server]:
    with serving(folder) as running:
        yield running
