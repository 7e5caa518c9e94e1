"""Raw lines to typed frames, with an account of what was read."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import polars as pl

from sidiff.errors import SidiffError
from sidiff.parameters import IngestionParameters
from sidiff.reviews import ingestion
from sidiff.reviews.ingestion import Ingested

Report = dict[str, Any]


def ingest_reviews(
    path: Path, parameters: dict[str, Any]
) -> tuple[pl.DataFrame, pl.DataFrame, Report]:
    """Return interactions, rejected lines, and the account of the review file."""
    layout = IngestionParameters.model_validate(parameters).layout
    read = ingestion.ingest_reviews(path, layout)
    return read.frame, read.rejected, _account(path, layout, read)


def ingest_metadata(
    path: Path, parameters: dict[str, Any]
) -> tuple[pl.DataFrame, pl.DataFrame, Report]:
    """Return items, rejected lines, and the account of the metadata file."""
    layout = IngestionParameters.model_validate(parameters).layout
    read = ingestion.ingest_items(path, layout)
    return read.frame, read.rejected, _account(path, layout, read)


def check_rejected_lines(
    rejected_reviews: pl.DataFrame,
    rejected_metadata: pl.DataFrame,
    reviews: Report,
    metadata: Report,
    parameters: dict[str, Any],
    dataset: str,
) -> Report:
    """Join the two accounts, or stop at too many malformed lines.

    A node of its own because the lines set aside are stored by then.

    Raises:
        SidiffError: a file is over the threshold; says where its lines lie.
    """
    limit = IngestionParameters.model_validate(parameters).max_rejected_share
    parts = [
        Ingested(pl.DataFrame(), rejected, account["lines"], account["duplicates"])
        for rejected, account in (
            (rejected_reviews, reviews),
            (rejected_metadata, metadata),
        )
    ]
    try:
        ingestion.check_rejected(parts, limit)
    except SidiffError as error:
        raise SidiffError(
            f"{str(error).rstrip('.')}; all such lines are listed in "
            f"data/02_intermediate/{dataset}/rejected_*.parquet."
        ) from error
    return {
        "layout": reviews["layout"],
        "rejected_lines": reviews["rejected"] + metadata["rejected"],
        "reviews": reviews,
        "metadata": metadata,
    }


def _account(path: Path, layout: str, read: Ingested) -> Report:
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return {
        "file": path.name,
        "bytes": path.stat().st_size,
        "sha256": sha256,
        "layout": layout,
        "lines": read.lines,
        "rows": len(read.frame),
        "rejected": len(read.rejected),
        "duplicates": read.duplicates,
    }
