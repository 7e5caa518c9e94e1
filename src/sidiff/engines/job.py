"""Jobs and results of a training as bytes, for the worker processes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import torch
from fsspec import AbstractFileSystem
from numpy.typing import NDArray

from sidiff.reviews.sequences import Sequences
from sidiff.sids.table import SidTable
from sidiff.snapshots import Snapshot, SnapshotFolder, decode, encode
from sidiff.training.denoising import Job
from sidiff.training.loop import Fitted
from sidiff.training.settings import TrainingParameters


def to_bytes(job: Job) -> bytes:
    """Encode a job as a snapshot, without its ``checkpoints``."""
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
    }
    return encode(Snapshot(arrays, state))


def checkpoints_to_json(folder: SnapshotFolder | None) -> str:
    """Encode the folder of the checkpoints, with the credentials of its store.

    These must not reach a disk, so they are not part of ``to_bytes``.
    """
    if folder is None:
        return "null"
    return json.dumps([folder.location.as_posix(), folder.files.to_json()])


def from_bytes(content: bytes, checkpoints: str) -> Job:
    """Undo ``to_bytes`` and ``checkpoints_to_json``."""
    snapshot = decode(content)
    arrays, state = snapshot.arrays, snapshot.metadata
    folder = None
    if (location := json.loads(checkpoints)) is not None:
        path, files = location
        folder = SnapshotFolder(Path(path), AbstractFileSystem.from_json(files))
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
        folder,
    )


def result_to_bytes(fitted: Fitted) -> bytes:
    """Encode the result of a job as a snapshot."""
    weights = {name: tensor.numpy() for name, tensor in fitted.weights.items()}
    state = {
        "config": fitted.config,
        "history": fitted.history.to_dicts(),
        "masking": fitted.masking.to_dicts(),
    }
    return encode(Snapshot(weights, state))


def result_from_bytes(content: bytes) -> Fitted:
    """Undo ``result_to_bytes``."""
    snapshot = decode(content)
    return Fitted(
        {name: torch.from_numpy(array) for name, array in snapshot.arrays.items()},
        snapshot.metadata["config"],
        pl.DataFrame(snapshot.metadata["history"], infer_schema_length=None),
        pl.DataFrame(snapshot.metadata["masking"], infer_schema_length=None),
    )
