"""From scores of items, or from ranked SIDs, to the ranked lists that all methods give.

Every user's list has the same number of places. With ``exclude_seen`` what a user
had before cannot be recommended, whatever the method; a SID all of whose items were
seen cannot either.

Symbols: B batch, U users, N items, S distinct SIDs, A ranked SIDs, k places of a list.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm.auto import tqdm

from sidiff.decoding.keys import padded_rows, slices
from sidiff.decoding.scan import best_columns
from sidiff.diffusion.histories import Histories, HistoryBatch
from sidiff.evaluation.ranker import batches
from sidiff.evaluation.results import Cost, Results
from sidiff.reviews.sequences import Sequences, seen_items
from sidiff.sids.table import Groups


class Lists(NamedTuple):
    """Ranked lists of a batch of users, best first, -1 for an empty place.

    Attributes:
        items: item indices ``(B, k)``.
        scores: their scores ``(B, k)``, -inf at an empty place.
        sids: rows of distinct SIDs ``(B, k)``.
    """

    items: Tensor
    scores: Tensor
    sids: Tensor


RankBatch = Callable[[HistoryBatch, Tensor | None], Lists]
"""Lists of a batch; the items to leave out, bool ``(B, N)``, are given if any are."""


class SidItems:
    """The items of every distinct SID, most popular in training first."""

    def __init__(
        self, groups: Groups, counts: NDArray[np.int64], device: torch.device
    ) -> None:
        """Sort the items.

        Args:
            groups: distinct SIDs and their items.
            counts: training occurrences per item ``(N,)``; ties go by item index.
            device: where lists are made.
        """
        self.items = torch.from_numpy(groups.items_by(counts)).to(device)
        self.offsets = torch.from_numpy(groups.offsets).to(device)
        self.sid_of_item = torch.from_numpy(groups.sid_of_item).to(device)

    @property
    def n_sids(self) -> int:
        """Number of distinct SIDs S."""
        return len(self.offsets) - 1

    def gone(self, seen: Tensor | None) -> Tensor | None:
        """SIDs of which every item is ``seen`` ``(B, N)``: bool ``(B, S)``."""
        if seen is None:
            return None
        left = torch.zeros(
            len(seen), self.n_sids, dtype=torch.int32, device=seen.device
        )
        return left.index_add_(1, self.sid_of_item, (~seen).int()) == 0

    def lists_from_scores(self, scores: Tensor, k: int, seen: Tensor | None) -> Lists:
        """The best items, and the best SIDs by their best item.

        Args:
            scores: of all items ``(B, N)``.
            k: places.
            seen: items that may not be recommended, bool ``(B, N)``; None: all may.
        """
        if seen is not None:
            scores = scores.masked_fill(seen, -torch.inf)
        of_sids = scores.new_full((len(scores), self.n_sids), -torch.inf)
        of_sids.scatter_reduce_(1, self.sid_of_item.expand_as(scores), scores, "amax")
        items = best(scores, k)
        found = scores.gather(1, items.clamp(min=0))
        found = found.masked_fill(items < 0, -torch.inf)
        return Lists(items, found, best(of_sids, k))

    def lists_from_sids(
        self, sids: Tensor, scores: Tensor, k: int, seen: Tensor | None
    ) -> Lists:
        """Items of ranked SIDs, one SID after the other.

        Args:
            sids: distinct rows, best first, -1 for none, ``(B, A)``.
            scores: of the SIDs ``(B, A)``, which their items take over.
            k: places.
            seen: as for ``lists_from_scores``; a SID without another item is left out.
        """
        batch, width = sids.shape
        flat = sids.flatten()
        first = self.offsets[flat.clamp(min=0)]
        sizes = self.offsets[flat.clamp(min=0) + 1] - first
        sizes = sizes.masked_fill(flat < 0, 0)
        owner, place = slices(first, sizes)
        items = self.items[place]
        if seen is not None:
            kept = ~seen[owner // width, items]
            owner, items = owner[kept], items[kept]
        used = torch.unique_consecutive(owner)
        return Lists(
            padded_rows(owner // width, items, batch, k, -1),
            padded_rows(owner // width, scores.flatten()[owner], batch, k, -torch.inf),
            padded_rows(used // width, flat[used], batch, k, -1),
        )


def best(scores: Tensor, k: int) -> Tensor:
    """Columns of the ``k`` best scores of each row, best first, ``(B, k)``.

    Equal scores go by column; -1 stands where a row has fewer than ``k`` scores above
    -inf.
    """
    values, columns = best_columns(scores, k)
    columns = columns.masked_fill(values == -torch.inf, -1)
    return torch.nn.functional.pad(columns, (0, k - columns.shape[1]), value=-1)


def rank_users(
    sequences: Sequences,
    samples: NDArray[np.int32],
    rank_batch: RankBatch,
    *,
    k: int,
    exclude_seen: bool,
    users_per_batch: int,
    device: torch.device,
    label: str,
    denoiser_calls: int = 0,
    allowed: NDArray[np.bool_] | None = None,
) -> Results:
    """Rank for every sample, users of similar history length together.

    Args:
        sequences: all users' items.
        samples: ``(U, 3)``: user, start, end.
        rank_batch: the method; its batches hold items instead of codes, ``(B, T, 1)``.
        k: places of each list.
        exclude_seen: whether what a user had before the target is left out.
        users_per_batch: speed and memory only.
        device: where batches are made.
        label: names the progress bar.
        denoiser_calls: passes that the method makes per batch, for the record.
        allowed: items that may be recommended ``(N,)``; None for all.
    """
    histories = item_histories(sequences, device)
    denied = None if allowed is None else ~torch.from_numpy(allowed).to(device)
    items = np.empty((len(samples), k), dtype=np.int64)
    sids = np.empty_like(items)
    scores = np.empty(items.shape, dtype=np.float32)
    targets = np.empty(len(samples), dtype=np.int64)
    start = time.perf_counter()
    with (
        torch.inference_mode(),
        tqdm(total=len(samples), desc=label, unit="user", disable=None) as bar,
    ):
        for chosen in batches(samples, users_per_batch, whole=False):
            batch = histories.gather(torch.from_numpy(samples[chosen]))
            seen = None
            if exclude_seen:
                seen = _seen(sequences, samples[chosen]).to(device)
            if denied is not None:
                seen = denied.expand(len(chosen), -1) if seen is None else seen | denied
            lists = rank_batch(batch, seen)
            items[chosen] = lists.items.cpu().numpy()
            sids[chosen] = lists.sids.cpu().numpy()
            scores[chosen] = lists.scores.cpu().numpy()
            targets[chosen] = batch.target_items.cpu().numpy()
            bar.update(len(chosen))
    seconds = time.perf_counter() - start
    return Results(
        items=items,
        scores=scores,
        sids=sids,
        users=samples[:, 0].astype(np.int64),
        targets=targets,
        history=(samples[:, 2] - samples[:, 1]).astype(np.int64),
        cost=Cost(seconds, len(samples) / seconds, float(denoiser_calls)),
    )


def item_histories(sequences: Sequences, device: torch.device) -> Histories:
    """Histories whose codes ``(B, T, 1)`` are the items themselves."""
    items = np.arange(sequences.n_items)
    return Histories(sequences, items[:, None], np.zeros_like(items), device)


def _seen(sequences: Sequences, samples: NDArray[np.int32]) -> Tensor:
    """Which items each user had before the target, bool ``(B, N)``."""
    seen = np.zeros((len(samples), sequences.n_items), dtype=bool)
    seen[seen_items(sequences, samples)] = True
    return torch.from_numpy(seen)
