"""A training on its way to the processes that do it, and back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from fsspec import AbstractFileSystem
from numpy.typing import NDArray

from sidiff.decoding.lattice import Lattice
from sidiff.parameters import TrainingParameters
from sidiff.reviews.sequences import Sequences
from sidiff.sids.table import SidTable
from sidiff.snapshots import Snapshot, SnapshotFolder, decode, encode
from sidiff.training.loop import Fitted

_LATTICE = "lattice/"


@dataclass(frozen=True)
class Job:
    """Arguments of ``sidiff.training.loop.fit`` that all processes need; see there."""

    sequences: Sequences
    samples: NDArray[np.int32]
    table: SidTable
    parameters: TrainingParameters
    max_history: int
    lattice: Lattice | None
    checkpoints: SnapshotFolder | None

    def to_bytes(self) -> bytes:
        """The job as a snapshot; with it go the credentials of the checkpoints."""
        users, table, kept = self.sequences, self.table, self.checkpoints
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
            "lattice": None,
            "checkpoints": None,
        }
        if kept is not None:
            state["checkpoints"] = [kept.location.as_posix(), kept.files.to_json()]
        if self.lattice is not None:
            tensors, state["lattice"] = self.lattice.to_tensors()
            arrays |= {_LATTICE + name: array for name, array in tensors.items()}
        return encode(Snapshot(arrays, state))

    @classmethod
    def from_bytes(cls, content: bytes) -> Job:
        """Undo ``to_bytes``."""
        found = decode(content)
        arrays, state = found.arrays, found.state
        lattice = kept = None
        if state["lattice"] is not None:
            tensors = {
                name.removeprefix(_LATTICE): array
                for name, array in arrays.items()
                if name.startswith(_LATTICE)
            }
            lattice = Lattice.from_tensors(tensors, state["lattice"])
        if state["checkpoints"] is not None:
            path, files = state["checkpoints"]
            kept = SnapshotFolder(Path(path), AbstractFileSystem.from_json(files))
        sequences = Sequences(
            arrays["items"],
            arrays["offsets"],
            pl.Series(state["user_ids"], dtype=pl.String),
            pl.Series(state["item_ids"], dtype=pl.String),
        )
        table = SidTable(
            arrays["codes"],
            pl.Series(state["sid_item_ids"], dtype=pl.String),
            state["codes_per_digit"],
            arrays["generation"],
        )
        parameters = TrainingParameters.model_validate(state["parameters"])
        return cls(
            sequences,
            arrays["samples"],
            table,
            parameters,
            state["max_history"],
            lattice,
            kept,
        )


def result_to_bytes(fitted: Fitted) -> bytes:
    """What came of a job, as a snapshot."""
    weights = {name: tensor.numpy() for name, tensor in fitted.weights.items()}
    state = {
        "config": fitted.config,
        "history": fitted.history.to_dicts(),
        "masking": fitted.masking.to_dicts(),
    }
    return encode(Snapshot(weights, state))


def result_from_bytes(content: bytes) -> Fitted:
    """Undo ``result_to_bytes``."""
    found = decode(content)
    state = found.state
    return Fitted(
        {name: torch.from_numpy(array) for name, array in found.arrays.items()},
        state["config"],
        pl.DataFrame(state["history"], infer_schema_length=None),
        pl.DataFrame(state["masking"], infer_schema_length=None),
    )
