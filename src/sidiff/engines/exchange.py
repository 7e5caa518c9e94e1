"""The exchange between the workers of a training and the process that asked for it.

An exchange is a place that both reach. The job is there before the workers are, and the
result is the last thing that the first of them leaves. Events are pairs of a kind and
something that JSON knows.
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
"""Event of an error that the user must see to; starting again would not help."""

FAILED = "failed"
"""Event of an error that may pass when the workers are started again.

With it go whether it is a sentence for the user, and the error: where one worker fails,
the others lose their connection to it, of which nobody wants to read.
"""

CHECKPOINTS = "SIDIFF_CHECKPOINTS"
"""Environment variable with ``checkpoints_to_json``: it has credentials, and a file
would outlive a process that is killed."""


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
            with atomic_file(folder / "job") as part:
                part.write_bytes(job)

    def job(self) -> Job:
        """The job, in a process that has ``CHECKPOINTS`` in its environment."""
        return from_bytes((self.folder / "job").read_bytes(), os.environ[CHECKPOINTS])

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
        with atomic_file(self.folder / "result") as part:
            part.write_bytes(result)

    def result(self) -> bytes | None:
        """The result; None while there is none."""
        try:
            return (self.folder / "result").read_bytes()
        except FileNotFoundError:
            return None


class Mailbox:
    """What a ``RayExchange`` exchanges, in an actor of the cluster."""

    def __init__(self, job: bytes, checkpoints: str) -> None:
        # Apart, since the job is large enough for Ray to lay it on a disk.
        self._held: dict[str, Any] = {"job": job, "checkpoints": checkpoints}
        self._events: list[tuple[str, Any]] = []

    def hold(self, name: str, content: bytes) -> None:
        """Keep something."""
        self._held[name] = content

    def held(self, name: str) -> Any:
        """Return what is kept; None where nothing is."""
        return self._held.get(name)

    def report(self, kind: str, content: Any) -> None:
        """Keep an event."""
        self._events.append((kind, content))

    def events(self, first: int) -> list[tuple[str, Any]]:
        """Return the events from number ``first`` on."""
        return self._events[first:]


class RayExchange:
    """An actor of a Ray cluster."""

    def __init__(self, desk: Any) -> None:
        """Talk to the actor ``desk``."""
        import ray  # noqa: PLC0415 (an extra)

        self._desk, self._get = desk, ray.get
        self._read = 0

    def job(self) -> Job:
        """The job."""
        content = self._get(self._desk.held.remote("job"))
        return from_bytes(content, self._get(self._desk.held.remote("checkpoints")))

    def report(self, kind: str, content: Any) -> None:
        """Leave an event."""
        self._get(self._desk.report.remote(kind, content))

    def events(self) -> Iterator[tuple[str, Any]]:
        """The events since the last call on this object."""
        events = self._get(self._desk.events.remote(self._read))
        self._read += len(events)
        yield from events

    def finish(self, result: bytes) -> None:
        """Leave the result."""
        self._get(self._desk.hold.remote("result", result))

    def result(self) -> bytes | None:
        """The result; None while there is none."""
        return self._get(self._desk.held.remote("result"))


Exchange = FolderExchange | RayExchange


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
