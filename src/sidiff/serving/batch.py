"""Lists for many users in bounded memory, part by part; a crashed run resumes."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl
from tqdm.auto import tqdm

from sidiff.serving.histories import Parts
from sidiff.serving.lists import POPULAR, UserList
from sidiff.serving.recommender import ListOptions, Recommender
from sidiff.snapshots import Snapshot, SnapshotFolder

logger = logging.getLogger(__name__)

USERS_AT_A_TIME = 1024
"""Users between two updates of the progress bar."""
_TABLE = "parquet"
_COLUMNS = {
    "user_id": pl.String,
    "rank": pl.Int32,
    "item_id": pl.String,
    "score": pl.Float32,
    "semantic_id": pl.String,
    "method": pl.String,
}


def recommend_parts(
    recommender: Recommender,
    parts: Parts,
    options: ListOptions,
    unfinished: SnapshotFolder,
    fingerprint: str,
) -> Iterator[tuple[str, pl.DataFrame]]:
    """Yield the name and the lists of every part, as of ``lists_frame``.

    Finished parts are kept in ``unfinished`` until the run has ended. A later run reads
    them again if they have its ``fingerprint``, of everything that lists depend on.
    """
    reused, unknown, popular = 0, 0, 0
    bar = tqdm(total=parts.users, desc="recommending", unit="user", disable=None)
    with bar:
        for number, users in parts:
            name = f"{fingerprint[:16]}-{number:05d}"
            kept = unfinished.read(name)
            if kept is not None and kept.metadata["fingerprint"] == fingerprint:
                reused += 1
                state = kept.metadata
                frame = pl.read_parquet(io.BytesIO(kept.arrays[_TABLE].tobytes()))
                bar.update(len(users))
            else:
                frame, state = _recommend(recommender, users, options, bar)
                table = io.BytesIO()
                frame.write_parquet(table)
                array = np.frombuffer(table.getvalue(), dtype=np.uint8)
                state["fingerprint"] = fingerprint
                unfinished.write(name, Snapshot({_TABLE: array}, state))
            unknown, popular = unknown + state["unknown"], popular + state["popular"]
            yield f"part-{number:05d}", frame
    if reused:
        logger.info("%d parts are those of an earlier run", reused)
    if unknown:
        logger.warning(
            "%s ids in the histories are not in the catalogue and were ignored",
            f"{unknown:,}",
        )
    if popular:
        logger.warning(
            "%s users have no item of the catalogue and get the most popular ones",
            f"{popular:,}",
        )


def lists_frame(user_ids: pl.Series, lists: list[UserList]) -> pl.DataFrame:
    """Rows of user_id, rank (from 1), item_id, score, semantic_id, method."""
    rows = [
        (user, rank, item.item_id, item.score, item.semantic_id, found.method)
        for user, found in zip(user_ids, lists, strict=True)
        for rank, item in enumerate(found, 1)
    ]
    return pl.DataFrame(rows, schema=_COLUMNS, orient="row")


def _recommend(
    recommender: Recommender, users: pl.DataFrame, options: ListOptions, bar: tqdm
) -> tuple[pl.DataFrame, dict[str, Any]]:
    """The rows of a part, and its numbers of unknown ids and of popular lists."""
    frames, unknown, popular = [], 0, 0
    for some in users.iter_slices(USERS_AT_A_TIME):
        lists = recommender.lists(some["items"], options)
        frames.append(lists_frame(some["user_id"], lists))
        unknown += sum(len(found.unknown) for found in lists)
        popular += sum(found.method == POPULAR for found in lists)
        bar.update(len(some))
    return pl.concat(frames), {"unknown": unknown, "popular": popular}
