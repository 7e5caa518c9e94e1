"""A training on disk: its arguments, what its workers report, and what came of it."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from sidiff.decoding.lattice import Lattice
from sidiff.parameters import TrainingParameters
from sidiff.reviews.sequences import Sequences
from sidiff.sids.table import SidTable
from sidiff.snapshots import Snapshot, SnapshotFolder
from sidiff.training.loop import Fitted

REFUSED = "refused"
"""Event of an error that the user must see to; starting again would not help."""

_JOB, _RESULT = "job", "result"
_LATTICE = "lattice/"


@dataclass(frozen=True)
class Job:
    """Arguments of ``sidiff.training.loop.fit`` that other processes need.

    Attributes:
        sequences: see ``fit``.
        samples: see ``fit``.
        table: see ``fit``.
        parameters: see ``fit``.
        max_history: see ``fit``.
        lattice: see ``fit``.
        checkpoints: folder of the checkpoints; None to keep none.
    """

    sequences: Sequences
    samples: NDArray[np.int32]
    table: SidTable
    parameters: TrainingParameters
    max_history: int
    lattice: Lattice | None
    checkpoints: Path | None

    def write(self, folder: Path) -> None:
        """Store the job in ``folder``.

        Raises:
            SidiffError: the disk is full or refuses.
        """
        users, table = self.sequences, self.table
        arrays: dict[str, NDArray[Any]] = {
            "items": users.items,
            "offsets": users.offsets,
            "samples": self.samples,
            "codes": table.codes,
            "generation": table.generation,
        }
        state: dict[str, Any] = {
            "user_ids": users.user_ids.to_list(),
            "item_ids": users.item_ids.to_list(),
            "sid_item_ids": table.item_ids.to_list(),
            "codes_per_digit": table.codes_per_digit,
            "parameters": self.parameters.model_dump(),
            "max_history": self.max_history,
            "checkpoints": None if self.checkpoints is None else str(self.checkpoints),
            "lattice": None,
        }
        if self.lattice is not None:
            tensors, state["lattice"] = self.lattice.to_tensors()
            arrays |= {_LATTICE + name: array for name, array in tensors.items()}
        SnapshotFolder(folder).write(_JOB, Snapshot(arrays, state))

    @classmethod
    def read(cls, folder: Path) -> Job:
        """Read what ``write`` stored."""
        found = SnapshotFolder(folder).read(_JOB)
        if found is None:
            raise FileNotFoundError(f"{folder} holds no training job")
        arrays, state = found.arrays, found.state
        lattice = None
        if state["lattice"] is not None:
            tensors = {
                name.removeprefix(_LATTICE): array
                for name, array in arrays.items()
                if name.startswith(_LATTICE)
            }
            lattice = Lattice.from_tensors(tensors, state["lattice"])
        return cls(
            Sequences(
                arrays["items"],
                arrays["offsets"],
                pl.Series(state["user_ids"], dtype=pl.String),
                pl.Series(state["item_ids"], dtype=pl.String),
            ),
            arrays["samples"],
            SidTable(
                arrays["codes"],
                pl.Series(state["sid_item_ids"], dtype=pl.String),
                state["codes_per_digit"],
                arrays["generation"],
            ),
            TrainingParameters.model_validate(state["parameters"]),
            state["max_history"],
            lattice,
            None if state["checkpoints"] is None else Path(state["checkpoints"]),
        )


def write_result(folder: Path, fitted: Fitted) -> None:
    """Store what came of a job.

    Raises:
        SidiffError: the disk is full or refuses.
    """
    weights = {name: tensor.numpy() for name, tensor in fitted.weights.items()}
    state = {
        "config": fitted.config,
        "history": fitted.history.to_dicts(),
        "masking": fitted.masking.to_dicts(),
    }
    SnapshotFolder(folder).write(_RESULT, Snapshot(weights, state))


def read_result(folder: Path) -> Fitted | None:
    """Read what ``write_result`` stored; None where the job did not end."""
    found = SnapshotFolder(folder).read(_RESULT)
    if found is None:
        return None
    state = found.state
    return Fitted(
        {name: torch.from_numpy(array) for name, array in found.arrays.items()},
        state["config"],
        pl.DataFrame(state["history"], infer_schema_length=None),
        pl.DataFrame(state["masking"], infer_schema_length=None),
    )


class Events:
    """Lines of JSON that workers append and the process that asked reads."""

    def __init__(self, folder: Path) -> None:
        """Name the folder of the job; the file is made by the first line."""
        self._file = folder / "events.ndjson"
        self._position = 0

    def write(self, kind: str, content: Any) -> None:
        """Append an event."""
        with self._file.open("a", encoding="utf-8") as file:
            # A worker that was killed may have left half a line behind.
            file.write("\n" + json.dumps([kind, content]) + "\n")

    def read(self) -> Iterator[tuple[str, Any]]:
        """The whole events that came since the last call."""
        if not self._file.exists():
            return
        with self._file.open("rb") as file:
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


class LogEvents(logging.Handler):
    """Sends log records to the process that asked, which shows them."""

    def __init__(self, events: Events) -> None:
        """Write to ``events``."""
        super().__init__()
        self._events = events

    def emit(self, record: logging.LogRecord) -> None:
        """Append a record, its values put in."""
        content = [record.levelno, record.name, record.getMessage()]
        self._events.write("log", content)
