"""Lists for many users, in batches of histories of similar length."""

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
"""Excluded items per user that a full batch has room for."""
FEWEST_USERS = 4
"""Batch sizes are multiples of it where lists must not depend on the batch.

Products of fewer rows are rounded differently, and each new shape costs the CPU a
kernel."""


@dataclass(frozen=True)
class Users:
    """Users to rank for, and options of their lists.

    Attributes:
        sequences: their items.
        items: codes of all items, on the device of the ranker.
        samples: the users and their histories, ``(U, 3)``: user, start, end.
        k: length of the lists.
        exclude_seen: whether to leave out all items of a sequence before ``end``, also
            those before ``start``.
        per_batch: largest number of users of a batch; affects speed and memory only.
        slots: width of every batch of histories; None for the longest of the batch.
            With it a list does not depend on the other users of its batch, to the last
            bit: on one CPU, with one number of threads, and for networks whose widths
            are multiples of 16.
    """

    sequences: Sequences
    items: ItemTable
    samples: NDArray[np.int32]
    k: int
    exclude_seen: bool
    per_batch: int
    slots: int | None = None

    def batches(self) -> list[NDArray[np.int64]]:
        """Rows of the samples to rank together, users of similar length.

        With ``exclude_seen`` all items before ``end`` count, not only the history. A
        batch then has room for ``ITEMS_PER_USER`` items of each of ``per_batch`` users,
        so that users with long sequences share a batch with fewer others. The joined
        rows of some batches are cut into the same batches again.
        """
        whole, samples = self.exclude_seen, self.samples
        lengths = samples[:, 2] - (0 if whole else samples[:, 1])
        order = np.argsort(lengths, kind="stable")
        widths = np.maximum(lengths[order], ITEMS_PER_USER).astype(np.int64)
        found, first = [], 0
        while first < len(order):
            size = min(self.per_batch, len(order) - first)
            if whole:
                padded = np.arange(1, size + 1) * widths[first : first + size]
                size = max(1, int((padded <= self.per_batch * ITEMS_PER_USER).sum()))
            found.append(order[first : first + size])
            first += size
        return found

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
        """Items to leave out ``(B, E)``, -1 for none."""
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
    """Rank batch by batch; yield the batch's rows of the samples and its lists."""
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
    """Rank for every user; ``label`` is of the progress bar, None for no bar."""
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
    user, starts, ends = users.samples.T.astype(np.int64)
    cost = Cost(seconds, size / seconds, *(sums / size).tolist())
    return Results(items, scores, sids, user, users.targets, ends - starts, cost)
