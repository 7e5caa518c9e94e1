"""Lists for many users: part by part, in bounded memory, resumed after a crash."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import polars as pl
from tqdm.auto import tqdm

from sidiff.serving.histories import Parts
from sidiff.serving.recommender import Recommender
from sidiff.snapshots import Snapshot, SnapshotFolder

logger = logging.getLogger(__name__)

USERS_AT_A_TIME = 8192
"""Users between two moves of the progress bar."""
_TABLE = "parquet"


class Wanted(NamedTuple):
    """The lists wanted; as the arguments of ``Recommender.recommend``."""

    k: int
    exclude_seen: bool
    allow: pl.Series | None
    deny: pl.Series | None
    decoder: str | None


def recommend_parts(
    recommender: Recommender,
    parts: Parts,
    wanted: Wanted,
    unfinished: SnapshotFolder,
    fingerprint: str,
) -> Iterator[tuple[str, pl.DataFrame]]:
    """Lists of all users, a table for every part.

    A part that an earlier run of the same work has made is taken from it.

    Args:
        recommender: makes the lists.
        parts: the users.
        wanted: what the lists are to be like.
        unfinished: where finished parts are kept until all are.
        fingerprint: of all that decides over the lists.

    Yields:
        Name of the part, and its rows as ``Lists.to_frame`` has them.
    """
    taken, unknown, popular = 0, 0, 0
    bar = tqdm(total=parts.users, desc="recommending", unit="user", disable=None)
    with bar:
        for number, users in parts:
            name = f"{fingerprint[:16]}-{number:05d}"
            kept = unfinished.read(name)
            if kept is not None and kept.metadata["fingerprint"] == fingerprint:
                taken += 1
                state = kept.metadata
                frame = pl.read_parquet(io.BytesIO(kept.arrays[_TABLE].tobytes()))
                bar.update(len(users))
            else:
                frame, state = _lists(recommender, users, wanted, bar)
                table = io.BytesIO()
                frame.write_parquet(table)
                array = np.frombuffer(table.getvalue(), dtype=np.uint8)
                unfinished.write(
                    name,
                    Snapshot({_TABLE: array}, {**state, "fingerprint": fingerprint}),
                )
            unknown, popular = unknown + state["unknown"], popular + state["popular"]
            yield f"part-{number:05d}", frame
    if taken:
        logger.info("%d parts were there from an earlier run", taken)
    if unknown:
        logger.warning(
            "%s ids in the histories are not in the catalogue and were left out",
            f"{unknown:,}",
        )
    if popular:
        logger.warning(
            "%s users have no item of the catalogue and get the most popular ones",
            f"{popular:,}",
        )


def _lists(
    recommender: Recommender, users: pl.DataFrame, wanted: Wanted, bar: tqdm
) -> tuple[pl.DataFrame, dict[str, int]]:
    frames, unknown, popular = [], 0, 0
    for some in users.iter_slices(USERS_AT_A_TIME):
        lists = recommender.lists(some["items"], **wanted._asdict())
        frames.append(lists.to_frame(some["user_id"]))
        unknown += len(lists.unknown)
        popular += int(lists.popular.sum())
        bar.update(len(some))
    return pl.concat(frames), {"unknown": unknown, "popular": popular}
