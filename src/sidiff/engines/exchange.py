"""The exchange between the workers of a training and the process that asked for it."""

from __future__ import annotations

import json
import logging
import os
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from sidiff.engines.job import Job
from sidiff.errors import SidiffError
from sidiff.files import whole_file
from sidiff.storage import StorageError

REFUSED = "refused"
"""Event of an error that the user must see to; starting again would not help."""

FAILED = "failed"
"""Event of an error that may pass when the workers are started again.

With it go whether it is a sentence for the user, and the error: where one worker fails,
the others lose their connection to it, of which nobody wants to read.
"""

WORKERS_FAILED = 3
"""Exit status of the launcher where workers were lost more often than they may be
started again."""

CHECKPOINTS = "SIDIFF_CHECKPOINTS"
"""Environment variable with ``Job.checkpoints_to_json``: it has credentials, and a file
would outlive a process that is killed."""


class Exchange(Protocol):
    """A place that the workers and the process that asked both reach.

    The job is there before the workers are, and the result is the last thing that the
    first of them leaves. Events are pairs of a kind and something that JSON knows.
    """

    def job(self) -> Job:
        """The job."""

    def report(self, kind: str, content: Any) -> None:
        """Leave an event."""

    def events(self) -> Iterator[tuple[str, Any]]:
        """The events since the last call on this object."""

    def finish(self, result: bytes) -> None:
        """Leave the result."""

    def result(self) -> bytes | None:
        """The result; None while there is none."""


class FolderExchange:
    """A folder of this machine."""

    def __init__(self, folder: Path, job: bytes | None = None) -> None:
        """Name the folder, and lay the job into it if this process has it.

        Raises:
            SidiffError: the disk is full or refuses.
        """
        self.folder = folder
        self._events = folder / "events.ndjson"
        self._position = 0
        if job is not None:
            self._write("job", job)

    def job(self) -> Job:
        """The job, in a process that has ``CHECKPOINTS`` in its environment."""
        content = (self.folder / "job").read_bytes()
        return Job.from_bytes(content, os.environ[CHECKPOINTS])

    def report(self, kind: str, content: Any) -> None:
        """Leave an event."""
        with self._events.open("a", encoding="utf-8") as file:
            # A worker that was killed may have left half a line behind.
            file.write("\n" + json.dumps([kind, content]) + "\n")

    def events(self) -> Iterator[tuple[str, Any]]:
        """The events since the last call on this object."""
        if not self._events.exists():
            return
        with self._events.open("rb") as file:
            file.seek(self._position)
            content = file.read()
        lines, ending, _ = content.rpartition(b"\n")
        self._position += len(lines) + len(ending)
        for line in lines.splitlines():
            try:
                kind, value = json.loads(line)
            except ValueError:
                continue
            yield kind, value

    def finish(self, result: bytes) -> None:
        """Leave the result.

        Raises:
            SidiffError: the disk is full or refuses.
        """
        self._write("result", result)

    def result(self) -> bytes | None:
        """The result; None while there is none."""
        try:
            return (self.folder / "result").read_bytes()
        except FileNotFoundError:
            return None

    def _write(self, name: str, content: bytes) -> None:
        with whole_file(self.folder / name) as part:
            part.write_bytes(content)


class LogReports(logging.Handler):
    """Passes log records to the process that asked, which shows them."""

    def __init__(self, exchange: Exchange) -> None:
        """Report to ``exchange``."""
        super().__init__()
        self._exchange = exchange

    def emit(self, record: logging.LogRecord) -> None:
        """Report a record, its values put in."""
        content = [record.levelno, record.name, record.getMessage()]
        self._exchange.report("log", content)


@contextmanager
def reported(exchange: Exchange) -> Iterator[None]:
    """Tell the process that asked what ended the block, and pass the error on.

    Errors that a user must see to are not passed on: the block ends as if its work was
    done, and nobody tries again.
    """
    try:
        yield
    except StorageError as error:  # the store may be back at the next start
        exchange.report(FAILED, [True, str(error)])
        raise
    except SidiffError as error:
        exchange.report(REFUSED, str(error))
    except Exception as error:
        exchange.report("log", [logging.DEBUG, __name__, traceback.format_exc()])
        exchange.report(FAILED, [False, f"{type(error).__name__}: {error}"])
        raise
