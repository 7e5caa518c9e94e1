"""A training on its way to the processes that do it, and back."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from fsspec import AbstractFileSystem
from numpy.typing import NDArray

from sidiff.decoding.lattice import Lattice
from sidiff.reviews.sequences import Sequences
from sidiff.sids.table import SidTable
from sidiff.snapshots import Snapshot, SnapshotFolder, decode, encode
from sidiff.training.loop import Fitted, fit
from sidiff.training.settings import TrainingParameters
from sidiff.training.trainer import OnEpoch
from sidiff.training.workers import ALONE, Workers

_LATTICE = "lattice/"


@dataclass(frozen=True)
class Job:
    """Arguments of ``sidiff.training.loop.fit`` that all processes share; see there."""

    sequences: Sequences
    samples: NDArray[np.int32]
    table: SidTable
    parameters: TrainingParameters
    max_history: int
    lattice: Lattice | None = None
    checkpoints: SnapshotFolder | None = None

    def run(self, on_epoch: OnEpoch, workers: Workers = ALONE) -> Fitted:
        """Do it, in this process, as one of ``workers``."""
        return fit(
            self.sequences,
            self.samples,
            self.table,
            self.parameters,
            self.max_history,
            on_epoch,
            self.lattice,
            self.checkpoints,
            workers,
        )

    def to_bytes(self) -> bytes:
        """The job as a snapshot, but for ``checkpoints``."""
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
            "codebook_size": table.codebook_size,
            "parameters": self.parameters.model_dump(),
            "max_history": self.max_history,
            "lattice": None,
        }
        if self.lattice is not None:
            tensors, state["lattice"] = self.lattice.to_tensors()
            arrays |= {_LATTICE + name: array for name, array in tensors.items()}
        return encode(Snapshot(arrays, state))

    def checkpoints_to_json(self) -> str:
        """The place of the checkpoints, with the credentials of their store.

        Apart from the rest, because this must not be left on a disk.
        """
        if self.checkpoints is None:
            return "null"
        kept = self.checkpoints
        return json.dumps([kept.location.as_posix(), kept.files.to_json()])

    @classmethod
    def from_bytes(cls, content: bytes, checkpoints: str) -> Job:
        """Undo ``to_bytes`` and ``checkpoints_to_json``."""
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
        place = json.loads(checkpoints)
        if place is not None:
            path, files = place
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
            state["codebook_size"],
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
    """The result of a job as a snapshot."""
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
