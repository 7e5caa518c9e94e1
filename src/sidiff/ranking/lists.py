"""Lists of items from ranked SIDs, of a fixed length.

Symbols: B users, A ranked SIDs, E excluded items.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from sidiff.decoding.catalogue import Catalogue
from sidiff.decoding.decoders import Decoded
from sidiff.decoding.keys import among, repeats


class RankedSids(NamedTuple):
    """The existing SIDs of every user, best first.

    Attributes:
        rows: row in the table of distinct SIDs, ``(B, A)`` int64, -1 at an empty place.
        scores: ``(B, A)``, -inf at an empty place.
        valid_share: share of the decoded SIDs that belong to an item.
    """

    rows: Tensor
    scores: Tensor
    valid_share: float


def rank_sids(
    decoded: Decoded, catalogue: Catalogue, excluded_sids: Tensor
) -> RankedSids:
    """Rank the distinct decoded SIDs that have an allowed item."""
    rows = catalogue.index.rows(decoded.codes)
    live = decoded.scores > -torch.inf
    valid = live & (rows >= 0)
    good = valid & (catalogue.sizes[rows.clamp(min=0)] > 0)
    good &= ~among(rows, excluded_sids)
    fresh = good & ~repeats(rows.masked_fill(~good, -1))
    scores = decoded.scores.masked_fill(~fresh, -torch.inf)
    scores, order = scores.sort(dim=1, descending=True, stable=True)
    rows = rows.gather(1, order).masked_fill(scores == -torch.inf, -1)
    return RankedSids(rows, scores, float(valid.sum() / live.sum().clamp(min=1)))


def items_of(
    rows: Tensor, scores: Tensor, catalogue: Catalogue, excluded: Tensor, width: int
) -> tuple[Tensor, Tensor]:
    """The first ``width`` allowed items of ranked SIDs, and their scores.

    Items of one SID are ordered by training popularity, then index. Empty places, -1
    and -inf, are at the end.

    Args:
        rows: distinct SIDs, best first, -1 for none, ``(B, A)``.
        scores: of the SIDs; their items have the same.
        catalogue: the items of each SID.
        excluded: item indices, -1 for none, ``(B, E)``.
        width: length of the lists.
    """
    sizes = catalogue.sizes[rows.clamp(min=0)] * (rows >= 0)
    ends = sizes.cumsum(1)
    places = torch.arange(width + excluded.shape[1], device=rows.device)
    places = places.repeat(len(rows), 1)
    # Column of the SID at place p: the number of SIDs that end at or before p.
    column = torch.searchsorted(ends, places, right=True)
    filled = column < rows.shape[1]
    column = column.clamp(max=rows.shape[1] - 1)
    inside = places - (ends - sizes).gather(1, column)
    where = catalogue.starts[rows.gather(1, column).clamp(min=0)] + inside
    items = catalogue.items[where.clamp(0, len(catalogue.items) - 1)]
    items = items.masked_fill(~filled, -1)
    scores = scores.gather(1, column).masked_fill(~filled, -torch.inf)
    if excluded.shape[1]:
        items, scores = compact(items.masked_fill(among(items, excluded), -1), scores)
    return items[:, :width], scores[:, :width]


def sids_of(items: Tensor, catalogue: Catalogue) -> Tensor:
    """The SID of each item; -1 at an empty place."""
    return catalogue.sid_of_item[items.clamp(min=0)].masked_fill(items < 0, -1)


def compact(items: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
    """Move empty places (-1) to the ends of the lists."""
    order = (items < 0).to(torch.uint8).argsort(dim=1, stable=True)
    items = items.gather(1, order)
    return items, scores.gather(1, order).masked_fill(items < 0, -torch.inf)


def distinct(rows: Tensor, k: int) -> Tensor:
    """The first ``k`` distinct rows of each list."""
    rows = rows.masked_fill(repeats(rows), -1)
    order = (rows < 0).to(torch.uint8).argsort(dim=1, stable=True)
    return padded_to(rows.gather(1, order), k, -1)


def padded_to(values: Tensor, width: int, empty: float) -> Tensor:
    """Rows cut, or padded with ``empty``, to ``width`` columns."""
    missing = width - values.shape[1]
    return (
        F.pad(values, (0, missing), value=empty) if missing > 0 else values[:, :width]
    )
