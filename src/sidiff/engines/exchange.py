"""Exchange of job, events and result between a training's workers and their caller.

The caller puts the job there before it starts the workers. The first worker puts the
result there when it has finished. An event is a pair of a kind and a JSON value.
"""

from __future__ import annotations

import json
import logging
import os
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sidiff.engines.job import from_bytes
from sidiff.errors import SidiffError
from sidiff.files import atomic_file
from sidiff.storage import StorageError
from sidiff.training.denoising import Job

REFUSED = "refused"
"""Event of an error that only the user can solve: the message."""

FAILED = "failed"
"""Event of an error after which the workers may be started again.

Its value: whether the message is written for the user, and the message. When one worker
fails, the others report that they lost their connection to it, which explains nothing.
"""

CHECKPOINTS = "SIDIFF_CHECKPOINTS"
"""Environment variable with ``checkpoints_to_json``. It holds credentials, which a file
would keep after the process was killed."""


class FolderExchange:
    """An exchange in a folder of this machine."""

    def __init__(self, folder: Path, job: bytes | None = None) -> None:
        """Open an exchange; the caller of the workers gives the job.

        Raises:
            SidiffError: the disk is full or refuses.
        """
        self.folder = folder
        self._events = folder / "events.ndjson"
        self._position = 0
        if job is not None:
            with atomic_file(folder / "job") as part:
                part.write_bytes(job)

    def job(self) -> Job:
        """The job; its checkpoints are read from the environment (``CHECKPOINTS``)."""
        return from_bytes((self.folder / "job").read_bytes(), os.environ[CHECKPOINTS])

    def report(self, kind: str, content: Any) -> None:
        """Add an event."""
        with self._events.open("a", encoding="utf-8") as file:
            # A worker that was killed may have written half a line.
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
        """Store the result.

        Raises:
            SidiffError: the disk is full or refuses.
        """
        with atomic_file(self.folder / "result") as part:
            part.write_bytes(result)

    def result(self) -> bytes | None:
        """The result; None before it is stored."""
        try:
            return (self.folder / "result").read_bytes()
        except FileNotFoundError:
            return None


class Mailbox:
    """The actor of the cluster that stores the contents of a ``RayExchange``."""

    def __init__(self, job: bytes, checkpoints: str) -> None:
        # Ray may write the job to a disk, the credentials of the checkpoints not.
        self._contents: dict[str, Any] = {"job": job, "checkpoints": checkpoints}
        self._events: list[tuple[str, Any]] = []

    def put(self, name: str, content: bytes) -> None:
        """Store a content."""
        self._contents[name] = content

    def get(self, name: str) -> Any:
        """Return a content; None if it is not there."""
        return self._contents.get(name)

    def report(self, kind: str, content: Any) -> None:
        """Add an event."""
        self._events.append((kind, content))

    def events(self, first: int) -> list[tuple[str, Any]]:
        """Return the events from number ``first`` on."""
        return self._events[first:]


class RayExchange:
    """An exchange in an actor of a Ray cluster."""

    def __init__(self, mailbox: Any) -> None:
        """Open the exchange of the actor ``mailbox``."""
        import ray  # noqa: PLC0415 (an extra)

        self._mailbox, self._wait = mailbox, ray.get
        self._events_read = 0

    def job(self) -> Job:
        """The job."""
        content = self._wait(self._mailbox.get.remote("job"))
        return from_bytes(content, self._wait(self._mailbox.get.remote("checkpoints")))

    def report(self, kind: str, content: Any) -> None:
        """Add an event."""
        self._wait(self._mailbox.report.remote(kind, content))

    def events(self) -> Iterator[tuple[str, Any]]:
        """The events since the last call on this object."""
        events = self._wait(self._mailbox.events.remote(self._events_read))
        self._events_read += len(events)
        yield from events

    def finish(self, result: bytes) -> None:
        """Store the result."""
        self._wait(self._mailbox.put.remote("result", result))

    def result(self) -> bytes | None:
        """The result; None before it is stored."""
        return self._wait(self._mailbox.get.remote("result"))


Exchange = FolderExchange | RayExchange


class LogReports(logging.Handler):
    """Handler that sends log records to the caller of the workers."""

    def __init__(self, exchange: Exchange) -> None:
        """Report to ``exchange``."""
        super().__init__()
        self._exchange = exchange

    def emit(self, record: logging.LogRecord) -> None:
        """Report a record with its message formatted."""
        content = [record.levelno, record.name, record.getMessage()]
        self._exchange.report("log", content)


@contextmanager
def reported(exchange: Exchange) -> Iterator[None]:
    """Report an error of the block to the caller of the workers, and raise it again.

    An error that only the user can solve is not raised again: the worker then ends
    normally, so that it is not started again.
    """
    try:
        yield
    except StorageError as error:  # the store may be reachable at the next start
        exchange.report(FAILED, [True, str(error)])
        raise
    except SidiffError as error:
        exchange.report(REFUSED, str(error))
    except Exception as error:
        exchange.report("log", [logging.DEBUG, __name__, traceback.format_exc()])
        exchange.report(FAILED, [False, f"{type(error).__name__}: {error}"])
        raise
