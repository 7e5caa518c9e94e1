"""Reading of raw files, with a summary of each."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from time import time
from typing import Any

import polars as pl

from sidiff.errors import SidiffError
from sidiff.fingerprints import of_file, of_values
from sidiff.reviews import ingestion as layouts
from sidiff.reviews import own_data
from sidiff.reviews.ingestion import Ingested
from sidiff.reviews.settings import IngestionParameters

Report = dict[str, Any]


def ingest_reviews(
    paths: list[Path], ingestion: IngestionParameters
) -> tuple[pl.LazyFrame, pl.DataFrame, Report]:
    """Return interactions, rejected rows, and the summary of the review files."""
    if ingestion.layout == "table":
        read = own_data.ingest_interactions(paths, ingestion.interactions, int(time()))
    else:
        read = layouts.join(
            [layouts.ingest_reviews(path, ingestion.layout) for path in paths]
        )
    summary = _summary(paths, ingestion, read)
    return read.frame, read.rejected, summary


def ingest_metadata(
    paths: list[Path], ingestion: IngestionParameters
) -> tuple[pl.DataFrame, pl.DataFrame, Report]:
    """Return items, rejected rows, and the summary of the metadata files."""
    if ingestion.layout == "table":
        read = own_data.ingest_items(paths, ingestion.items)
    else:
        read = layouts.first_of_each_item(
            [layouts.ingest_items(path, ingestion.layout) for path in paths]
        )
    summary = _summary(paths, ingestion, read)
    return read.frame.collect(), read.rejected, summary


def check_rejected_lines(
    rejected_reviews: pl.DataFrame,
    rejected_metadata: pl.DataFrame,
    reviews: Report,
    metadata: Report,
    ingestion: IngestionParameters,
    storage: str,
    dataset: str,
) -> Report:
    """Join the two summaries, and check the share of malformed rows.

    It is a separate node, so that the rejected rows are stored before it fails.

    Raises:
        SidiffError: too many rows of a file are rejected.
    """
    limit = ingestion.max_rejected_share
    try:
        for rejected, summary in (
            (rejected_reviews, reviews),
            (rejected_metadata, metadata),
        ):
            layouts.check_rejected(
                rejected, summary["rejected"], summary["lines"], limit
            )
    except SidiffError as error:
        raise SidiffError(
            f"{str(error).rstrip('.')}; such lines are listed in "
            f"{storage}/02_intermediate/{dataset}/rejected_*.parquet."
        ) from error
    return {
        "layout": reviews["layout"],
        "rejected_lines": reviews["rejected"] + metadata["rejected"],
        "reviews": reviews,
        "metadata": metadata,
    }


def _summary(
    paths: Sequence[Path], ingestion: IngestionParameters, read: Ingested
) -> Report:
    digests = [of_file(path) for path in paths]
    several = hashlib.sha256(" ".join(digests).encode()).hexdigest()
    more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
    summary = {
        "file": paths[0].name + more,
        "bytes": sum(path.stat().st_size for path in paths),
        "sha256": several if more else digests[0],
        "layout": ingestion.layout,
        "lines": read.lines,
        "rows": read.rows,
        "rejected": read.set_aside,
        "duplicates": read.duplicates,
        **read.notes,
    }
    columns = ingestion.model_dump(include={"interactions", "items"})
    return summary | {"fingerprint": of_values([summary, columns])}
