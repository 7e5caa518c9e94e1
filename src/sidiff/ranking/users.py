"""Lists for many users: batches of similar histories, ranked one after the other."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm.auto import tqdm

from sidiff.decoding.keys import padded_rows
from sidiff.diffusion.histories import Histories
from sidiff.ranking.ranker import Ranker, rank_alike
from sidiff.ranking.results import Cost, Results
from sidiff.reviews.sequences import Sequences, seen_items

ITEMS_PER_USER = 64
"""Seen items of a user for which a batch of ``users_per_batch`` has room."""


@dataclass(frozen=True)
class Users:
    """Users to rank for, and the form of their lists.

    Attributes:
        sequences: their items.
        histories: the same on the device where lists are made.
        samples: whom, and which part of the sequence, ``(U, 3)``: user, start, end.
        k: length of the lists.
        exclude_seen: whether to leave out all that a user had before the target, also
            what was too long ago for the history.
        per_batch: users of a batch, at most; speed and memory only.
        slots: items of the longest history there can be, where lists are to be the same
            to the last bit in any batch (``rank_alike``); None where they need not.
    """

    sequences: Sequences
    histories: Histories
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

    def excluded(self, samples: NDArray[np.int32]) -> Tensor:
        """Items not to recommend ``(B, E)``, -1 for none; no column if not wanted."""
        device = self.histories.device
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


@torch.inference_mode()
def rank_users(ranker: Ranker, users: Users, label: str | None) -> Results:
    """The list of every user by one method.

    Args:
        ranker: the method.
        users: for whom.
        label: names the progress bar; None shows none.
    """
    samples, k = users.samples, users.k
    size = len(samples)
    items = np.empty((size, k), dtype=np.int64)
    sids = np.empty_like(items)
    scores = np.empty((size, k), dtype=np.float32)
    targets = np.empty(size, dtype=np.int64)
    sums = np.zeros(4)
    began = time.perf_counter()
    bar = tqdm(
        total=size, desc=label, unit="user", disable=True if label is None else None
    )
    with bar:
        for chosen in users.batches():
            part = samples[chosen]
            batch = users.histories.gather(torch.from_numpy(part))
            excluded = users.excluded(part)
            if users.slots is None:
                lists = ranker.rank(batch, excluded, k)
            else:
                lists = rank_alike(ranker, batch, excluded, k, users.slots)
            items[chosen] = lists.items.cpu().numpy()
            scores[chosen] = lists.scores.cpu().numpy()
            sids[chosen] = lists.sids.cpu().numpy()
            targets[chosen] = batch.target_items.cpu().numpy()
            means = (
                lists.denoiser_calls,
                lists.distinct_states,
                lists.valid_share,
                0.0
                if lists.completed is None
                else float(lists.completed.sum()) / len(part),
            )
            sums += len(chosen) * np.array(means)
            bar.update(len(chosen))
    seconds = time.perf_counter() - began
    history = (samples[:, 2] - samples[:, 1]).astype(np.int64)
    cost = Cost(seconds, size / seconds, *(sums / size).tolist())
    return Results(
        items, scores, sids, samples[:, 0].astype(np.int64), targets, history, cost
    )


def batches(
    samples: NDArray[np.int32], users_per_batch: int, *, whole: bool
) -> list[NDArray[np.int64]]:
    """Rows of ``samples`` ``(U, 3)`` to rank together, users of similar length.

    Args:
        samples: user, start, end.
        users_per_batch: users of a batch, at most.
        whole: whether everything before the target counts, not only the history. Long
            sequences then share a batch with fewer others, so that a batch of them
            holds no more than one of ``ITEMS_PER_USER`` items each.

    Returns:
        Arrays of rows. Each is what ``batches`` makes of the rows from its first on, so
        some of them one after the other, given alone, are the same again.
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
