"""User sequences as flat arrays, their leave-last-out split and training windows.

A user's interactions in time order are positions 0..L-1 of a sequence: position L-1
is the test target, L-2 the validation target, and targets up to L-3 train. A sample
is a row ``(user, start, end)`` of positions: its history is ``items[start:end]`` and
its target ``items[end]``.

Times often tie: review times are whole days, and all items of a basket have one time.
The order of tied items decides which one is the test target. RPG, S3-Rec and DiffGRM
order them by item id; logs of events are ordered by their rows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sidiff.errors import SidiffError
from sidiff.fingerprints import add_texts
from sidiff.reviews.kcore import encode

TieBreak = Literal["item_id", "file_order"]
Windows = Literal["sliding", "prefix", "all"]
Split = Literal["validation", "test"]

# Positions at the end of a sequence that are not training targets.
_HELD_OUT = 2


@dataclass(frozen=True)
class Sequences:
    """All users' items in time order.

    Attributes:
        items: int32 ``[E]``, item indices of user 0, then user 1, ...
        offsets: int64 ``[U + 1]``; user u owns ``items[offsets[u]:offsets[u + 1]]``.
        user_ids: string ``[U]``, sorted.
        item_ids: string ``[N]``, sorted; an item index is a position in it.
    """

    items: NDArray[np.int32]
    offsets: NDArray[np.int64]
    user_ids: pl.Series
    item_ids: pl.Series

    @property
    def n_users(self) -> int:
        """Number of users U."""
        return len(self.user_ids)

    @property
    def n_items(self) -> int:
        """Number of items N."""
        return len(self.item_ids)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Sequence lengths, int64 ``[U]``."""
        return np.diff(self.offsets)

    @property
    def users(self) -> NDArray[np.int64]:
        """The user of every item, int64 ``[E]``."""
        return np.repeat(np.arange(self.n_users), self.lengths)

    @property
    def training(self) -> NDArray[np.bool_]:
        """Marks of the positions up to L-3, bool ``[E]``."""
        return np.arange(self.items.size) < (self.offsets[1:] - _HELD_OUT)[self.users]

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of the item ids and of every user's items, in order."""
        digest = hashlib.sha256()
        add_texts(digest, self.item_ids.to_list())
        digest.update(self.items.astype("<i4").tobytes())
        digest.update(self.offsets.astype("<i8").tobytes())
        return digest.hexdigest()

    def to_frame(self) -> pl.DataFrame:
        """One row per user: ``user_id`` (str) and ``items`` (list of i32)."""
        flat = pl.DataFrame({"user": self.users, "items": self.items})
        lists = flat.group_by("user", maintain_order=True).agg("items")
        return lists.select(self.user_ids.alias("user_id"), "items")

    @classmethod
    def from_frame(
        cls, frame: pl.DataFrame, item_ids: Sequence[str] | pl.Series
    ) -> Self:
        """Convert the result of ``to_frame`` back; ``item_ids`` are in index order.

        Raises:
            SidiffError: an item index lies outside the vocabulary.
        """
        vocabulary = pl.Series("item_id", item_ids, dtype=pl.String)
        items = frame["items"].explode().to_numpy().astype(np.int32)
        if items.size and not 0 <= items.min() <= items.max() < len(vocabulary):
            raise SidiffError(
                f"The sequences name item indices {items.min()}..{items.max()} but the "
                f"catalogue has {len(vocabulary):,} items: load both from one version."
            )
        lengths = frame["items"].list.len().to_numpy().astype(np.int64)
        return cls(items, _offsets(lengths), frame["user_id"], vocabulary)


def order_of_ties(layout: str) -> TieBreak:
    """Return the order of a user's interactions of the same time in a ``layout``.

    Amazon's files, whose times are whole days, are ordered by item id: the published
    rule. That rule reveals the test item, so other tables keep the order of their rows.
    """
    return "file_order" if layout == "table" else "item_id"


def build_sequences(
    interactions: pl.LazyFrame,
    tie_break: TieBreak,
    further_items: pl.Series | None = None,
) -> tuple[Sequences, float]:
    """Sort every user's interactions by time.

    Args:
        interactions: ``user_id`` and ``item_id`` (str), ``timestamp`` (i64, seconds),
            ``microsecond`` (i32, of that second), in file order. Read several times, a
            column at a time.
        tie_break: order of interactions with equal times: by item id, or by row.
        further_items: ids to add to the item vocabulary, in any order.

    Returns:
        The sequences over sorted user and item vocabularies, and the share of the
        interactions whose user has another interaction at the same time.
    """
    users, user_ids = encode(interactions, "user_id")
    items, item_ids = encode(interactions, "item_id", further_items)
    moment = pl.col("timestamp") * 10**6 + pl.col("microsecond")
    times = interactions.select(moment).collect(engine="streaming").to_series()
    # The sort is stable: rows with equal keys keep the order of the file.
    keys = [times.to_numpy(), users]
    if tie_break == "item_id":
        keys.insert(0, items)
    order = np.lexsort(keys)
    offsets = _offsets(np.bincount(users))
    sequences = Sequences(items[order], offsets, user_ids, item_ids)
    return sequences, _tied_share(times.to_numpy()[order], offsets)


def _tied_share(times: NDArray[np.int64], offsets: NDArray[np.int64]) -> float:
    if not times.size:
        return 0.0
    tied = times[1:] == times[:-1]
    tied[offsets[1:-1] - 1] = False  # neighbours of two users
    either = np.zeros(times.size, dtype=bool)
    either[1:] |= tied
    either[:-1] |= tied
    return float(either.mean())


def draw_held_out(item_ids: pl.Series, share: float, seed: int) -> NDArray[np.bool_]:
    """Draw the items to hold out of training: bool ``[N]``.

    A hash of the id and the seed decides about each item alone. So ``share`` is met in
    expectation, and items that are added later do not change the draw of the others.
    """
    texts = (f"{seed} {item_id}".encode() for item_id in item_ids.to_list())
    hashes = (hashlib.sha256(text).digest()[:8] for text in texts)
    numbers = np.frombuffer(b"".join(hashes), dtype=">u8")
    return np.asarray(numbers < share * 2.0**64)


def hold_out(sequences: Sequences, held_out: NDArray[np.bool_]) -> Sequences:
    """Remove ``held_out`` items, bool ``[N]``, from the training part.

    Validation and test targets stay, and so do all users: one whose sequence becomes
    too short has no training sample, but at least one item of history at the test.
    """
    stays = ~(sequences.training & held_out[sequences.items])
    lengths = np.bincount(sequences.users[stays], minlength=sequences.n_users)
    return replace(sequences, items=sequences.items[stays], offsets=_offsets(lengths))


def training_samples(
    sequences: Sequences, windows: Windows, min_history: int, max_history: int
) -> NDArray[np.int32]:
    """List the training samples.

    ``sliding``: one sample for every target t = min_history..L-3; its history is the
    newest ``max_history`` items before it, as at the test. ``prefix`` (the DiffGRM
    release): only histories that start at position 0, so no target is beyond position
    ``max_history``. ``all``: every contiguous window.

    Returns:
        int32 ``[S, 3]`` with columns user, start, end, sorted by user, end, start; a
        history has ``min_history`` to ``max_history`` items.

    Raises:
        SidiffError: no user is long enough for a single sample.
    """
    last_end = sequences.lengths - _HELD_OUT - 1
    if windows == "prefix":
        last_end = np.minimum(last_end, max_history)
    per_user = np.maximum(last_end - min_history + 1, 0)
    users = np.repeat(np.arange(sequences.n_users), per_user)
    ends = min_history + _count_up(per_user)
    starts = np.maximum(ends - max_history, 0)
    if windows == "all":
        first_start = starts
        per_end = ends - min_history - first_start + 1
        users, ends = np.repeat(users, per_end), np.repeat(ends, per_end)
        starts = np.repeat(first_start, per_end) + _count_up(per_end)
    if not ends.size:
        longest = int(sequences.lengths.max(initial=0))
        raise SidiffError(
            f"No training sample: a user needs {min_history + _HELD_OUT + 1} "
            f"interactions for filtering.min_history={min_history}, the longest has "
            f"{longest}; lower filtering.min_history or give more reviews."
        )
    # Column by column: there may be hundreds of millions.
    samples = np.empty((ends.size, 3), dtype=np.int32)
    for column, values in enumerate((users, starts, ends)):
        samples[:, column] = values
    return samples


def sequence_rows(sequences: Sequences, max_history: int) -> NDArray[np.int32]:
    """List training rows in which every item after a user's first is a target once.

    A long sequence is cut into rows of ``max_history`` targets from its end; the oldest
    row has the remaining targets.

    Returns:
        int32 ``[S, 3]``: user, start, end, sorted by user, the newest row first; inputs
        ``start .. end - 1`` predict ``start + 1 .. end``, and ``end`` is at most
        position L-3. Users without a training target are left out.
    """
    targets = np.maximum(sequences.lengths - 3, 0)
    rows = -(-targets // max_history)
    users = np.repeat(np.arange(sequences.n_users), rows)
    return _samples(users, targets[users] - _count_up(rows) * max_history, max_history)


def evaluation_samples(
    sequences: Sequences, split: Split, max_history: int
) -> NDArray[np.int32]:
    """List one sample per user, whose target is L-2 (validation) or L-1 (test).

    Returns:
        int32 ``[U', 3]`` with columns user, start, end, a history being the last
        ``max_history`` items. Users whose history would be empty are left out.
    """
    ends = sequences.lengths - (1 if split == "test" else _HELD_OUT)
    users = np.flatnonzero(ends >= 1)
    return _samples(users, ends[users], max_history)


def _samples(
    users: NDArray[np.int64], ends: NDArray[np.int64], max_history: int
) -> NDArray[np.int32]:
    starts = np.maximum(ends - max_history, 0)
    return np.stack([users, starts, ends], axis=1).astype(np.int32)


def seen_items(
    sequences: Sequences, samples: NDArray[np.int32]
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """List all items of each sample's user before the target.

    Returns:
        Row of the sample, ascending, and item index, both ``[sum of ends]``; repeated
        items are repeated.
    """
    users, _, ends = samples.T.astype(np.int64)
    places = np.repeat(sequences.offsets[users], ends) + _count_up(ends)
    return np.repeat(np.arange(len(samples)), ends), sequences.items[places]


def training_part(
    sequences: Sequences,
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Return items and users of all interactions at positions up to L-3, in order."""
    seen = sequences.training
    return sequences.items[seen], sequences.users[seen]


def training_counts(sequences: Sequences) -> NDArray[np.int64]:
    """Count each item's occurrences at positions up to L-3: int64 ``[N]``."""
    items, _ = training_part(sequences)
    return np.bincount(items, minlength=sequences.n_items)


def trained_places(
    samples: NDArray[np.int32], sequences: Sequences
) -> NDArray[np.bool_]:
    """Mark the interactions in any sample, as history or target: bool ``[E]``."""
    user, start, end = samples.T.astype(np.int64)
    first = sequences.offsets[user] + start
    last = sequences.offsets[user] + end
    # Windows overlap heavily: mark starts and ends on the flat axis and sum up once.
    edges = np.bincount(first, minlength=sequences.items.size + 1)
    edges -= np.bincount(last + 1, minlength=sequences.items.size + 1)
    return np.asarray(np.cumsum(edges[:-1]) > 0)


def training_items(
    samples: NDArray[np.int32], sequences: Sequences
) -> NDArray[np.bool_]:
    """Mark the items in any training sample: bool ``[N]``.

    Whitening and quantizer are fitted on these items.
    """
    marked = np.zeros(sequences.n_items, dtype=bool)
    marked[sequences.items[trained_places(samples, sequences)]] = True
    return marked


def _offsets(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.insert(np.cumsum(lengths), 0, 0)


def _count_up(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """0..c-1 for each count c, one after the other: int64 ``[sum(counts)]``."""
    ends = np.cumsum(counts, dtype=np.int64)
    total = int(ends[-1]) if ends.size else 0
    return np.arange(total) - np.repeat(ends - counts, counts)
