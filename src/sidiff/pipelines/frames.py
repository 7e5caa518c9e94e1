"""Stored tables to the types of the pure packages, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from sidiff.datasets import Model
from sidiff.errors import SidiffError
from sidiff.fingerprints import of_texts, short
from sidiff.reviews.sequences import Sequences
from sidiff.sids.table import SidTable
from sidiff.training.settings import TrainingParameters

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sidiff.decoding.lattice import Lattice
    from sidiff.engines import Job
    from sidiff.snapshots import SnapshotFolder

_SAMPLE = ("user", "start", "end")
MADE_OF = "sequences"
"""Column of sequences, catalogue and training samples: the sequences' fingerprint."""
INGESTED = "ingestion_fingerprint"
"""Column of the rows that an ingestion gave: its fingerprint."""


def to_sequences(sequences: pl.DataFrame, catalogue: pl.DataFrame) -> Sequences:
    """Read stored sequences, whose items are row numbers of the catalogue.

    Raises:
        SidiffError: the two were not made together; names both by the beginning of
            their fingerprints.
    """
    belongs_to, stored = (_single(frame, MADE_OF) for frame in (catalogue, sequences))
    if belongs_to is None or belongs_to != stored:
        raise SidiffError(
            f"The stored catalogue belongs to sequences {short(belongs_to)}, the "
            f"stored sequences are {short(stored)}; run kedro run --pipeline=filtering "
            "again, or choose matching --load-versions."
        )
    return Sequences.from_frame(sequences, catalogue["item_id"])


def sequences_to_frame(sequences: Sequences) -> pl.DataFrame:
    """Undo ``to_sequences``."""
    return sequences.to_frame().with_columns(_mark(sequences))


def to_samples(
    frame: pl.DataFrame, sequences: Sequences, max_history: int
) -> NDArray[np.int32]:
    """Return the samples as int32 ``[S, 3]``: user, start, end.

    Raises:
        SidiffError: they were cut from other sequences (names both by the beginning
            of their fingerprints), or a history is longer than ``max_history``.
    """
    samples = np.ascontiguousarray(frame.select(_SAMPLE).to_numpy(), dtype=np.int32)
    cut_from = _single(frame, MADE_OF)
    if cut_from != sequences.fingerprint:
        raise SidiffError(
            f"The stored training_samples were cut from sequences {short(cut_from)}, "
            f"the stored sequences are {short(sequences.fingerprint)}; run kedro run "
            "--pipeline=filtering again, or choose matching --load-versions."
        )
    longest = int((samples[:, 2] - samples[:, 1]).max(initial=0))
    if longest > max_history:
        raise SidiffError(
            f"The stored training_samples have histories of {longest} items, "
            f"filtering.max_history is {max_history}; run kedro run "
            "--pipeline=filtering again, or give the value they were cut with."
        )
    return samples


def samples_to_frame(samples: NDArray[np.int32], sequences: Sequences) -> pl.DataFrame:
    """Undo ``to_samples``."""
    return pl.DataFrame(samples, schema=list(_SAMPLE)).with_columns(_mark(sequences))


def to_embeddings(
    frame: pl.DataFrame, catalogue: pl.DataFrame, name: str = "item_vectors"
) -> NDArray[np.float32]:
    """Read stored embeddings as float32 ``[N, D]``, rows as in the catalogue."""
    stage = "embedding" if name == "item_embeddings" else "tokenization"
    _check_rows(frame, catalogue, name, stage)
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

    made_of = lattice.metadata.get("sid_table")
    if made_of != table.fingerprint:
        raise SidiffError(
            f"The stored lattice is of SID table {short(made_of)}, the stored table is "
            f"{short(table.fingerprint)}; run kedro run --pipeline=tokenization again, "
            "or choose matching --load-versions."
        )
    if not lattice.tensors:
        return None
    return Lattice.from_tensors(lattice.tensors, lattice.metadata)


def to_job(
    sequences: pl.DataFrame,
    catalogue: pl.DataFrame,
    training_samples: pl.DataFrame,
    sid_table: pl.DataFrame,
    lattice: Model,
    training: TrainingParameters,
    max_history: int,
    checkpoints: SnapshotFolder,
) -> Job:
    """Gather what a training needs.

    Raises:
        SidiffError: the tables were not made of each other.
    """
    from sidiff.engines import Job  # noqa: PLC0415 (imports torch)

    users = to_sequences(sequences, catalogue)
    table = to_sid_table(sid_table, catalogue)
    return Job(
        users,
        to_samples(training_samples, users, max_history),
        table,
        training,
        max_history,
        to_lattice(lattice, table),
        checkpoints,
    )


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
    main = _data_of(denoiser)
    for seed in seeds:
        for name, trained_on in _data_of(stored[seed]).items():
            if trained_on != main[name]:
                raise SidiffError(
                    f"The stored denoiser of seed {seed} was trained with {name} "
                    f"{trained_on}, the main one with {main[name]}; run kedro run "
                    "--pipeline=training again, or choose matching --load-versions."
                )
    return {seed: stored[seed] for seed in seeds}


def _data_of(denoiser: Model) -> dict[str, str]:
    """What a denoiser was trained on, by the beginning of its fingerprints."""
    data = denoiser.metadata
    return {
        "sequences": short(data.get("sequences")),
        "items": short(of_texts(data.get("known_items", []))),
        "histories of at most": str(data.get("max_history")),
    }


def check_trained_on(denoiser: Model, table: SidTable) -> None:
    """Refuse a denoiser that speaks another table's codes.

    One that was trained before the table was extended speaks them all.

    Raises:
        SidiffError: names both tables by the beginning of their fingerprints.
    """
    trained_on = denoiser.metadata.get("sid_table")
    if trained_on not in table.fingerprints():
        raise SidiffError(
            f"The stored denoiser was trained on SID table {short(trained_on)}, the "
            f"stored table is {short(table.fingerprint)}; run kedro run "
            "--pipeline=training again, or choose matching --load-versions."
        )


def check_ranked_with(
    results: pl.DataFrame, name: str, table: SidTable, catalogue: pl.DataFrame
) -> None:
    """Refuse rankings of another SID table, or of the users of other sequences.

    Raises:
        SidiffError: names both by the beginning of their fingerprints.
    """
    stage = name.removesuffix("_results").replace("decoder", "evaluation")
    stage = stage.replace("baseline", "baselines")
    if not len(results):
        raise SidiffError(
            f"The stored {name} are empty; run kedro run --pipeline={stage} again."
        )
    for what, column, now in (
        ("SID table", "sid_table", table.fingerprint),
        ("the users of sequences", MADE_OF, _single(catalogue, MADE_OF)),
    ):
        known = _single(results, column)
        if known != now:
            raise SidiffError(
                f"The stored {name} rank {what} {short(known)}, stored now is "
                f"{short(now)}; run kedro run --pipeline={stage} again, or choose "
                "matching --load-versions."
            )


def with_fingerprint(rows: pl.LazyFrame, account: Mapping[str, Any]) -> pl.LazyFrame:
    """Mark the rows of a raw file, so that ``check_ingested`` knows them again."""
    return rows.with_columns(pl.lit(account["fingerprint"]).alias(INGESTED))


def check_ingested(rows: pl.LazyFrame, name: str, account: Mapping[str, Any]) -> None:
    """Refuse rows that the ingestion report does not vouch for.

    The rows are stored before the report, which a run with too many malformed lines
    never gets.

    Raises:
        SidiffError: they are of another ingestion; names both by the beginning of
            their fingerprints.
    """
    known: list[str] = []
    if INGESTED in rows.collect_schema():
        known = rows.select(INGESTED).head(1).collect()[INGESTED].to_list()
    vouched = account.get("fingerprint")
    if known != [vouched]:
        raise SidiffError(
            f"The stored {name} are of ingestion {short(known[0] if known else None)}, "
            f"the last accepted ingestion is {short(vouched)} (of {account['file']}); "
            "run kedro run --pipeline=ingestion again, or choose matching "
            "--load-versions."
        )


def _mark(sequences: Sequences) -> pl.Expr:
    # One byte a row: there may be hundreds of millions.
    name = sequences.fingerprint
    return pl.lit(name, pl.Enum([name])).alias(MADE_OF)


def _single(frame: pl.DataFrame, column: str) -> str | None:
    """The one fingerprint in a column; None where there is none."""
    if column not in frame.columns or not len(frame):
        return None
    prints = frame[column].unique().cast(pl.String).to_list()
    return str(prints[0]) if len(prints) == 1 else "of several kinds"


def _check_rows(
    frame: pl.DataFrame, catalogue: pl.DataFrame, name: str, stage: str
) -> None:
    # Stages run apart and versions can be pinned, so the two may not belong together.
    if not frame["item_id"].equals(catalogue["item_id"]):
        made_for, stored = (
            of_texts(f["item_id"].to_list()) for f in (frame, catalogue)
        )
        raise SidiffError(
            f"The stored {name} was made for catalogue {short(made_for)} of "
            f"{len(frame):,} items, the stored catalogue is {short(stored)} of "
            f"{len(catalogue):,}; run kedro run --pipeline={stage} again, or choose "
            "matching --load-versions."
        )
