"""Stored tables to the types of the pure packages, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from sidiff.datasets import Model
from sidiff.errors import SidiffError
from sidiff.reviews.sequences import Sequences
from sidiff.sids.table import SidTable

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sidiff.decoding.lattice import Lattice

_SAMPLE = ("user", "start", "end")


def to_sequences(sequences: pl.DataFrame, catalogue: pl.DataFrame) -> Sequences:
    """Read stored sequences, whose items are row numbers of the catalogue."""
    return Sequences.from_frame(sequences, catalogue["item_id"])


def to_samples(
    frame: pl.DataFrame, sequences: Sequences, max_history: int
) -> NDArray[np.int32]:
    """Return the samples as int32 ``[S, 3]``: user, start, end.

    Raises:
        SidiffError: they point outside of the sequences, or a history is longer than
            ``max_history``.
    """
    samples = np.ascontiguousarray(frame.select(_SAMPLE).to_numpy(), dtype=np.int32)
    users, ends = samples[:, 0], samples[:, 2]
    if (users >= sequences.n_users).any() or (ends >= sequences.lengths[users]).any():
        raise SidiffError(
            "The stored training_samples were cut from other sequences; run kedro run "
            "--pipeline=filtering again, or choose matching --load-versions."
        )
    longest = int((ends - samples[:, 1]).max(initial=0))
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


def to_embeddings(frame: pl.DataFrame, catalogue: pl.DataFrame) -> NDArray[np.float32]:
    """Read stored embeddings as float32 ``[N, D]``, rows as in the catalogue."""
    _check_rows(frame, catalogue, "item_embeddings", "embedding")
    return np.ascontiguousarray(frame["embedding"].to_numpy(), dtype=np.float32)


def to_trained(catalogue: pl.DataFrame) -> NDArray[np.bool_]:
    """Mark the items that occur in the training samples, bool ``[N]``."""
    return catalogue["in_training"].to_numpy()


def to_held_out(catalogue: pl.DataFrame) -> NDArray[np.bool_]:
    """Mark the items held out of training by ``filtering.cold_share``, bool ``[N]``."""
    if "held_out" not in catalogue.columns:  # stored before there were any
        return np.zeros(len(catalogue), dtype=bool)
    return catalogue["held_out"].to_numpy()


def to_sid_table(frame: pl.DataFrame, catalogue: pl.DataFrame) -> SidTable:
    """Read a stored table of semantic IDs, rows as in the catalogue."""
    _check_rows(frame, catalogue, "sid_table", "tokenization")
    return SidTable.from_frame(frame)


def to_lattice(lattice: Model, table: SidTable) -> Lattice | None:
    """Read a stored lattice; None where the SIDs are too long to have one.

    Raises:
        SidiffError: it is the lattice of another SID table.
    """
    from sidiff.decoding.lattice import Lattice  # noqa: PLC0415 (imports torch)

    made_of = str(lattice.metadata["sid_table"])
    if made_of != table.fingerprint:
        raise SidiffError(
            f"The stored lattice is of SID table {made_of[:12]}, the stored table is "
            f"{table.fingerprint[:12]}; run kedro run --pipeline=tokenization again, "
            "or choose matching --load-versions."
        )
    if not lattice.tensors:
        return None
    return Lattice.from_tensors(lattice.tensors, lattice.metadata)


def join_models(models: Mapping[str, Model]) -> Model:
    """Put several networks into one stored model; their weights are KEY/NAME."""
    tensors = {
        f"{key}/{name}": tensor
        for key, model in models.items()
        for name, tensor in model.tensors.items()
    }
    return Model(tensors, {key: model.metadata for key, model in models.items()})


def split_models(joined: Model) -> dict[str, Model]:
    """Undo ``join_models``."""
    return {
        key: Model(
            {
                name.removeprefix(f"{key}/"): tensor
                for name, tensor in joined.tensors.items()
                if name.startswith(f"{key}/")
            },
            metadata,
        )
        for key, metadata in joined.metadata.items()
    }


def choose_seeds(
    denoiser: Model, further: Model, seeds: Sequence[int]
) -> dict[int, Model]:
    """The networks of ``seeds``, from the main one and the further ones.

    Raises:
        SidiffError: a seed was not trained, or one network comes of other data.
    """
    stored = {int(denoiser.metadata.get("seed", -1)): denoiser}
    others = {int(seed): model for seed, model in split_models(further).items()}
    stored = {**others, **stored}
    missing = [seed for seed in seeds if seed not in stored]
    if missing:
        raise SidiffError(
            f"No stored denoiser was trained with seed {missing[0]} of "
            "evaluation.seeds; run kedro run --pipeline=training again."
        )
    for seed in seeds:
        for name in ("sequences", "identities", "max_history"):
            if stored[seed].metadata.get(name) != denoiser.metadata.get(name):
                raise SidiffError(
                    f"The stored denoiser of seed {seed} was trained on other data "
                    "than the main one; run kedro run --pipeline=training again, or "
                    "choose matching --load-versions."
                )
    return {seed: stored[seed] for seed in seeds}


def check_trained_on(denoiser: Model, table: SidTable) -> None:
    """Refuse a denoiser that speaks another table's codes.

    One that was trained before the table was extended speaks them all.

    Raises:
        SidiffError: names both tables by the beginning of their fingerprints.
    """
    trained_on = str(denoiser.metadata.get("sid_table"))
    if trained_on not in table.fingerprints():
        raise SidiffError(
            f"The stored denoiser was trained on SID table {trained_on[:12]}, the "
            f"stored table is {table.fingerprint[:12]}; run kedro run "
            "--pipeline=training again, or choose matching --load-versions."
        )


def check_ranked_with(results: pl.DataFrame, name: str, table: SidTable) -> None:
    """Refuse rankings whose numbers are rows of another SID table.

    Raises:
        SidiffError: names both tables by the beginning of their fingerprints.
    """
    known = results["sid_table"].unique().to_list()
    if known != [table.fingerprint]:
        stage = name.removesuffix("_results").replace("decoder", "evaluation")
        raise SidiffError(
            f"The stored {name} rank SID table {str(known[0])[:12]}, the stored table "
            f"is {table.fingerprint[:12]}; run kedro run "
            f"--pipeline={stage.replace('baseline', 'baselines')} again, or choose "
            "matching --load-versions."
        )


def check_ingested(rows: int, name: str, account: Mapping[str, Any]) -> None:
    """Refuse rows that the ingestion report does not vouch for.

    The rows are stored before the report, which a run with too many malformed lines
    never gets.

    Raises:
        SidiffError: the counts differ.
    """
    if rows != account["rows"]:
        raise SidiffError(
            f"The stored {name} ({rows:,} rows) are not those of the last "
            f"accepted ingestion ({account['rows']:,} rows of {account['file']}); run "
            "kedro run --pipeline=ingestion again, or choose matching --load-versions."
        )


def _check_rows(
    frame: pl.DataFrame, catalogue: pl.DataFrame, name: str, stage: str
) -> None:
    # Stages run apart and versions can be pinned, so the two may not belong together.
    if not frame["item_id"].equals(catalogue["item_id"]):
        raise SidiffError(
            f"The stored {name} was made for another catalogue ({len(frame):,} and "
            f"{len(catalogue):,} items, or another order); run kedro run "
            f"--pipeline={stage} again, or choose matching --load-versions."
        )
