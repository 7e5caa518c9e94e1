"""Lists for many users: batches of similar histories, ranked one after the other."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm.auto import tqdm

from sidiff.decoding.keys import padded_rows
from sidiff.diffusion.histories import HistoryBatch
from sidiff.diffusion.joint import ItemTable
from sidiff.ranking.ranker import Lists, Ranker
from sidiff.ranking.results import Cost, Results
from sidiff.reviews.sequences import Sequences, seen_items

ITEMS_PER_USER = 64
"""Seen items of a user for which a batch of ``users_per_batch`` has room."""
FEWEST_USERS = 4
"""Users of a batch, as a multiple, where lists must not depend on the batch: products
of fewer rows are rounded differently, and each new shape costs the CPU a kernel."""


@dataclass(frozen=True)
class Users:
    """Users to rank for, and the form of their lists.

    Attributes:
        sequences: their items.
        items: codes of all items, on the device of the ranker.
        samples: the users and their histories, ``(U, 3)``: user, start, end.
        k: length of the lists.
        exclude_seen: whether to leave out all items of a sequence before ``end``, also
            those before ``start``.
        per_batch: users of a batch, at most; speed and memory only.
        slots: items of the longest possible history. With it a list does not depend on
            the other users of its batch, to the last bit: on one CPU, with one number
            of threads, and for networks whose widths are multiples of 16. None where
            that does not matter.
    """

    sequences: Sequences
    items: ItemTable
    samples: NDArray[np.int32]
    k: int
    exclude_seen: bool
    per_batch: int
    slots: int | None = None

    def batches(self) -> list[NDArray[np.int64]]:
        """Rows of the samples to rank together; see ``batches``."""
        return batches(self.samples, self.per_batch, whole=self.exclude_seen)

    def take(self, rows: NDArray[np.int64]) -> Users:
        """Some of the users."""
        return replace(self, samples=self.samples[rows])

    @property
    def targets(self) -> NDArray[np.int64]:
        """The item after each history ``(U,)``."""
        users, _, ends = self.samples.T.astype(np.int64)
        places = self.sequences.offsets[users] + ends
        return self.sequences.items[places].astype(np.int64)

    def histories(
        self, samples: NDArray[np.int32], width: int | None = None
    ) -> HistoryBatch:
        """The histories of samples ``(B, 3)``, as wide as the longest or ``width``."""
        users, starts, ends = samples.T.astype(np.int64)
        lengths = ends - starts
        slots = np.arange(lengths.max() if width is None else width)
        # Pads repeat the oldest item: a valid index that the lengths hide.
        inside = slots < lengths[:, None]
        first = self.sequences.offsets[users] + starts
        history = self.sequences.items[first[:, None] + slots * inside]
        device = self.items.codes.device
        items = torch.from_numpy(history.astype(np.int64)).to(device)
        counts = torch.from_numpy(lengths).to(device)
        return HistoryBatch(self.items.codes[items], counts, items)

    def excluded(self, samples: NDArray[np.int32]) -> Tensor:
        """Items not to recommend ``(B, E)``, -1 for none; E is 0 with nothing seen."""
        device = self.items.codes.device
        if not self.exclude_seen:
            return torch.empty(len(samples), 0, dtype=torch.int64, device=device)
        rows, items = seen_items(self.sequences, samples)
        return padded_rows(
            torch.from_numpy(rows).to(device),
            torch.from_numpy(items.astype(np.int64)).to(device),
            len(samples),
            int(samples[:, 2].max()),
            -1,
        )


def rank_batches(
    ranker: Ranker, users: Users
) -> Iterator[tuple[NDArray[np.int64], Lists]]:
    """Rank batch by batch; yield rows of the samples with their lists."""
    for rows in users.batches():
        samples = users.samples[rows]
        if users.slots is not None:
            size = -(-len(rows) // FEWEST_USERS) * FEWEST_USERS
            samples = np.resize(samples, (size, 3))
        batch = users.histories(samples, users.slots)
        lists = ranker.rank(batch, users.excluded(samples), users.k)
        yield rows, lists.first(len(rows))


@torch.inference_mode()
def rank_users(ranker: Ranker, users: Users, label: str | None) -> Results:
    """Rank for every user by one method.

    Args:
        ranker: the method.
        users: samples with targets.
        label: names the progress bar; None shows none.
    """
    size = len(users.samples)
    items = np.empty((size, users.k), dtype=np.int64)
    sids = np.empty_like(items)
    scores = np.empty((size, users.k), dtype=np.float32)
    sums = np.zeros(4)
    began = time.perf_counter()
    bar = tqdm(
        total=size, desc=label, unit="user", disable=True if label is None else None
    )
    with bar:
        for rows, lists in rank_batches(ranker, users):
            items[rows] = lists.items.cpu().numpy()
            scores[rows] = lists.scores.cpu().numpy()
            sids[rows] = lists.sids.cpu().numpy()
            completed = lists.completed
            means = (
                lists.denoiser_calls,
                lists.distinct_states,
                lists.valid_share,
                0.0 if completed is None else float(completed.sum()) / len(rows),
            )
            sums += len(rows) * np.array(means)
            bar.update(len(rows))
    seconds = time.perf_counter() - began
    who, starts, ends = users.samples.T.astype(np.int64)
    cost = Cost(seconds, size / seconds, *(sums / size).tolist())
    return Results(items, scores, sids, who, users.targets, ends - starts, cost)


def batches(
    samples: NDArray[np.int32], users_per_batch: int, *, whole: bool
) -> list[NDArray[np.int64]]:
    """Rows of ``samples`` ``(U, 3)`` to rank together, users of similar length.

    Args:
        samples: user, start, end.
        users_per_batch: users of a batch, at most.
        whole: whether all items before ``end`` count, not only the history. Long
            sequences then share a batch with fewer others: a batch has room for
            ``ITEMS_PER_USER`` items of each of ``users_per_batch``.

    Returns:
        Arrays of rows. Some of them, joined and given again, are cut the same way.
    """
    lengths = samples[:, 2] - (0 if whole else samples[:, 1])
    order = np.argsort(lengths, kind="stable")
    held = np.maximum(lengths[order], ITEMS_PER_USER).astype(np.int64)
    found, first = [], 0
    while first < len(order):
        size = min(users_per_batch, len(order) - first)
        if whole:
            padded = np.arange(1, size + 1) * held[first : first + size]
            size = max(1, int((padded <= users_per_batch * ITEMS_PER_USER).sum()))
        found.append(order[first : first + size])
        first += size
    return found
