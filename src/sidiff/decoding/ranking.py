"""From decoded SIDs to each user's ranked, distinct, existing SIDs."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from sidiff.decoding.keys import SidIndex, repeats
from sidiff.decoding.results import Decoded


class RankedSids(NamedTuple):
    """The best existing SIDs per user, best first.

    Attributes:
        rows: row in the table of distinct SIDs, ``(B, k)`` int64; -1 where fewer
            than k were found.
        scores: summed log-probabilities ``(B, k)``; -inf where fewer were found.
        legal_share: share of the decoded SIDs that belong to an item.
    """

    rows: Tensor
    scores: Tensor
    legal_share: float


def rank(decoded: Decoded, index: SidIndex, k: int) -> RankedSids:
    """Drop SIDs without an item and repeats, keep the best ``k`` per user."""
    rows = index.rows(decoded.codes)
    live = decoded.scores > -torch.inf
    legal = live & (rows >= 0)
    fresh = legal & ~repeats(rows)
    scores = decoded.scores.masked_fill(~fresh, -torch.inf)
    scores, kept = scores.sort(dim=1, descending=True, stable=True)
    scores, kept = scores[:, :k], kept[:, :k]
    rows = rows.gather(1, kept).masked_fill(scores == -torch.inf, -1)
    return RankedSids(rows, scores, float(legal.sum() / live.sum()))
