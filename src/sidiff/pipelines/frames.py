"""Conversion between stored tables and the types of the pure packages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from sidiff.datasets import Model
from sidiff.errors import SidiffError
from sidiff.fingerprints import short
from sidiff.reviews.sequences import Sequences
from sidiff.sids.table import SidTable
from sidiff.snapshots import SnapshotFolder, below
from sidiff.training.settings import TrainingParameters

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sidiff.decoding.lattice import Lattice
    from sidiff.training.denoising import Job

_SAMPLE = ("user", "start", "end")


def to_sequences(sequences: pl.DataFrame, catalogue: pl.DataFrame) -> Sequences:
    """Read stored sequences, whose items are row numbers of the catalogue."""
    return Sequences.from_frame(sequences, catalogue["item_id"])


def to_samples(frame: pl.DataFrame, max_history: int) -> NDArray[np.int32]:
    """Return the samples as int32 ``[S, 3]``: user, start, end.

    Raises:
        SidiffError: a history is longer than ``max_history``.
    """
    samples = np.ascontiguousarray(frame.select(_SAMPLE).to_numpy(), dtype=np.int32)
    longest = int((samples[:, 2] - samples[:, 1]).max(initial=0))
    if longest > max_history:
        raise SidiffError(
            f"The stored training_samples have histories of {longest} items, "
            f"filtering.max_history is {max_history}; run kedro run "
            "--pipeline=filtering again, or give the value they were cut with."
        )
    return samples


def samples_to_frame(samples: NDArray[np.int32]) -> pl.DataFrame:
    """Undo ``to_samples``."""
    return pl.DataFrame(samples, schema=list(_SAMPLE))


def to_embeddings(frame: pl.DataFrame) -> NDArray[np.float32]:
    """Read stored embeddings as float32 ``[N, D]``, rows as in the catalogue."""
    return np.ascontiguousarray(frame["embedding"].to_numpy(), dtype=np.float32)


def to_trained(catalogue: pl.DataFrame) -> NDArray[np.bool_]:
    """Mark the items that occur in the training samples, bool ``[N]``."""
    return catalogue["in_training"].to_numpy()


def to_lattice(lattice: Model) -> Lattice | None:
    """Read a stored lattice; None if the SIDs are too long for a lattice."""
    from sidiff.decoding.lattice import Lattice  # noqa: PLC0415 (imports torch)

    if not lattice.tensors:
        return None
    return Lattice.from_tensors(lattice.tensors, lattice.metadata)


def to_job(
    sequences: pl.DataFrame,
    catalogue: pl.DataFrame,
    training_samples: pl.DataFrame,
    sid_table: pl.DataFrame,
    training: TrainingParameters,
    max_history: int,
    checkpoints: SnapshotFolder,
) -> Job:
    """Read the data of a denoiser's training."""
    from sidiff.training.denoising import Job  # noqa: PLC0415 (imports torch)

    return Job(
        to_sequences(sequences, catalogue),
        to_samples(training_samples, max_history),
        SidTable.from_frame(sid_table),
        training,
        max_history,
        checkpoints,
    )


def join_models(models: Mapping[str, Model]) -> Model:
    """Join several networks in one stored model, their weights as ``KEY/NAME``."""
    tensors = {
        f"{key}/{name}": tensor
        for key, model in models.items()
        for name, tensor in model.tensors.items()
    }
    return Model(tensors, {key: model.metadata for key, model in models.items()})


def split_models(joined: Model) -> dict[str, Model]:
    """Undo ``join_models``."""
    return {
        key: Model(below(key, joined.tensors), metadata)
        for key, metadata in joined.metadata.items()
    }


def choose_seeds(
    denoiser: Model, further: Model, seeds: Sequence[int]
) -> dict[int, Model]:
    """The networks of ``seeds``, among the main denoiser and the further ones.

    Raises:
        SidiffError: a seed was not trained.
    """
    stored = {int(seed): model for seed, model in split_models(further).items()}
    stored[int(denoiser.metadata.get("seed", -1))] = denoiser
    missing = [seed for seed in seeds if seed not in stored]
    if missing:
        raise SidiffError(
            f"No stored denoiser was trained with seed {missing[0]} of "
            "evaluation.seeds; run kedro run --pipeline=training again."
        )
    return {seed: stored[seed] for seed in seeds}


def check_trained_on(denoiser: Model, table: SidTable) -> None:
    """Check that a denoiser was trained on this SID table, or before its extension.

    Raises:
        SidiffError: with the short fingerprints of both tables.
    """
    trained_on = denoiser.metadata.get("sid_table")
    if trained_on not in table.fingerprints():
        raise SidiffError(
            f"The stored denoiser was trained on SID table {short(trained_on)}, the "
            f"stored table is {short(table.fingerprint)}; run kedro run "
            "--pipeline=training again, or choose matching --load-versions."
        )


def check_ranked(results: pl.DataFrame, name: str) -> None:
    """Check that stored rankings have users.

    Raises:
        SidiffError: with the name of their stage.
    """
    stage = name.removesuffix("_results").replace("decoder", "evaluation")
    stage = stage.replace("baseline", "baselines")
    if not len(results):
        raise SidiffError(
            f"The stored {name} are empty; run kedro run --pipeline={stage} again."
        )
