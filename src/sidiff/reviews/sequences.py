"""User sequences as flat arrays, their leave-last-out split and training windows.

A user's interactions in time order are positions 0..L-1 of a sequence: position L-1
is the test target, L-2 the validation target, and targets up to L-3 train. A sample
is a row ``(user, start, end)`` of positions, never a copy of the items: its history
is ``items[start:end]`` and its target ``items[end]``.

Times often tie: review times are whole days, and a basket is one moment. What orders
such neighbours decides who is whose test item. Ties by item id are the rule that RPG,
S3-Rec and DiffGRM share; the order of the file is what a log of events knows.
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

# Positions at the end of a sequence that are no training target.
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
        """SHA-256 (hex) of the items' ids and of what every user had, in order."""
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
        """Undo ``to_frame``, with the vocabulary of items in index order.

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
    """Order of a user's interactions of the same time in files of ``layout``.

    The item id in Amazon's files, whose times are whole days: the published rule. That
    gives the last item away to every method, so tables of one's own keep their order.
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
        tie_break: what orders interactions of equal time: the item id, or the row's
            place in ``interactions``.
        further_items: ids that the item vocabulary has as well, in any order, with or
            without interactions.

    Returns:
        The sequences over sorted user and item vocabularies, and the share of the
        interactions whose user has another one at the same time.
    """
    users, user_ids = encode(interactions, "user_id")
    items, item_ids = encode(interactions, "item_id", further_items)
    moment = pl.col("timestamp") * 10**6 + pl.col("microsecond")
    times = interactions.select(moment).collect(engine="streaming").to_series()
    # A stable sort keeps the file order among what the keys leave tied.
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
    """Draw the items that training must not see: bool ``[N]``.

    Each id is drawn by itself, from a hash of it and the seed. So ``share`` is met in
    expectation, and items that join the catalogue later change nobody's lot.
    """
    spelt = (f"{seed} {item_id}".encode() for item_id in item_ids.to_list())
    hashes = (hashlib.sha256(text).digest()[:8] for text in spelt)
    numbers = np.frombuffer(b"".join(hashes), dtype=">u8")
    return np.asarray(numbers < share * 2.0**64)


def hold_out(sequences: Sequences, held_out: NDArray[np.bool_]) -> Sequences:
    """Take items out of the training part of every sequence.

    The last two positions, validation and test target, stay as they are. Every user
    stays: one who becomes too short has no training sample, and a history of one item
    or more at the test. ``held_out`` marks the items, bool ``[N]``.
    """
    stays = ~(sequences.training & held_out[sequences.items])
    lengths = np.bincount(sequences.users[stays], minlength=sequences.n_users)
    return replace(sequences, items=sequences.items[stays], offsets=_offsets(lengths))


def training_samples(
    sequences: Sequences, windows: Windows, min_history: int, max_history: int
) -> NDArray[np.int32]:
    """List the training samples.

    ``sliding`` makes one sample of every target t = min_history..L-3, whose history is
    the newest ``max_history`` items before it, as at the test. ``prefix`` is the
    released rule: only histories that start at position 0, so no target beyond position
    ``max_history``. ``all`` takes every contiguous window.

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
    """Training rows in which every item but a user's first is a target once.

    A long sequence is cut from its end on, into rows of ``max_history`` targets; the
    oldest row has the rest.

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
    """List what each sample's user had before the target, however long ago.

    Returns:
        Row of the sample, ascending, and item index, both ``[sum of ends]``. An item
        that a user had several times is listed several times.
    """
    users, _, ends = samples.T.astype(np.int64)
    places = np.repeat(sequences.offsets[users], ends) + _count_up(ends)
    return np.repeat(np.arange(len(samples)), ends), sequences.items[places]


def training_part(
    sequences: Sequences,
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Items and users of all interactions at positions up to L-3, in order."""
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
    # Windows overlap heavily: open and close them on the flat axis and sum up once.
    edges = np.bincount(first, minlength=sequences.items.size + 1)
    edges -= np.bincount(last + 1, minlength=sequences.items.size + 1)
    return np.asarray(np.cumsum(edges[:-1]) > 0)


def training_items(
    samples: NDArray[np.int32], sequences: Sequences
) -> NDArray[np.bool_]:
    """Mark the items anywhere in the training samples: bool ``[N]``.

    These are the items on which whitening and quantizer are fitted. An item of a
    user too short for a sample, or beyond the reach of ``prefix``, is not among them.
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
