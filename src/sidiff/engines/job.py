"""A training on its way to the processes that do it, and back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import torch
from fsspec import AbstractFileSystem
from numpy.typing import NDArray

from sidiff.decoding.lattice import Lattice
from sidiff.reviews.sequences import Sequences
from sidiff.sids.table import SidTable
from sidiff.snapshots import Snapshot, SnapshotFolder, below, decode, encode
from sidiff.training.denoising import Job
from sidiff.training.loop import Fitted
from sidiff.training.settings import TrainingParameters


def to_bytes(job: Job) -> bytes:
    """A job as a snapshot, but for ``checkpoints``."""
    users, table = job.sequences, job.table
    arrays: dict[str, NDArray[Any]] = {
        "items": users.items,
        "offsets": users.offsets,
        "samples": job.samples,
        "codes": table.codes,
        "generation": table.generation,
    }
    state: dict[str, Any] = {
        "user_ids": users.user_ids.to_list(),
        "item_ids": users.item_ids.to_list(),
        "sid_item_ids": table.item_ids.to_list(),
        "codebook_size": table.codebook_size,
        "parameters": job.parameters.model_dump(),
        "max_history": job.max_history,
        "lattice": None,
    }
    if job.lattice is not None:
        tensors, state["lattice"] = job.lattice.to_tensors()
        arrays |= {f"lattice/{name}": array for name, array in tensors.items()}
    return encode(Snapshot(arrays, state))


def checkpoints_to_json(kept: SnapshotFolder | None) -> str:
    """The place of checkpoints, with the credentials of their store.

    Apart from the rest of a job, because this must not be left on a disk.
    """
    if kept is None:
        return "null"
    return json.dumps([kept.location.as_posix(), kept.files.to_json()])


def from_bytes(content: bytes, checkpoints: str) -> Job:
    """Undo ``to_bytes`` and ``checkpoints_to_json``."""
    found = decode(content)
    arrays, state = found.arrays, found.metadata
    lattice = kept = None
    if state["lattice"] is not None:
        lattice = Lattice.from_tensors(below("lattice", arrays), state["lattice"])
    if (place := json.loads(checkpoints)) is not None:
        path, files = place
        kept = SnapshotFolder(Path(path), AbstractFileSystem.from_json(files))
    user_ids, item_ids, sid_item_ids = (
        pl.Series(state[name], dtype=pl.String)
        for name in ("user_ids", "item_ids", "sid_item_ids")
    )
    size, generation = state["codebook_size"], arrays["generation"]
    return Job(
        Sequences(arrays["items"], arrays["offsets"], user_ids, item_ids),
        arrays["samples"],
        SidTable(arrays["codes"], sid_item_ids, size, generation),
        TrainingParameters.model_validate(state["parameters"]),
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
    return Fitted(
        {name: torch.from_numpy(array) for name, array in found.arrays.items()},
        found.metadata["config"],
        pl.DataFrame(found.metadata["history"], infer_schema_length=None),
        pl.DataFrame(found.metadata["masking"], infer_schema_length=None),
    )
