"""Exact selection of the best rows of a table for every user, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

ROWS_PER_CHUNK = 2**16
"""Rows scored at a time, which bounds the memory per user."""


def best_rows(
    count: int,
    score: Callable[[Tensor], Tensor],
    width: int,
    allowed: Tensor | None,
    excluded: Tensor,
) -> tuple[Tensor, Tensor]:
    """Score all rows and keep the best.

    Args:
        count: number of rows.
        score: from rows ``(n,)`` to scores ``(B, n)``, which are overwritten.
        width: rows to keep per user.
        allowed: ``(count,)`` bool; None for all rows.
        excluded: excluded rows of each user, -1 for none, ``(B, E)``.

    Returns:
        Rows and scores, best first, ties by row, ``(B, width)`` or fewer; -inf marks
        rows that are not allowed.
    """
    device = excluded.device
    best = torch.empty(len(excluded), 0, device=device)
    rows = torch.empty(len(excluded), 0, dtype=torch.int64, device=device)
    for start in range(0, count, ROWS_PER_CHUNK):
        chunk = torch.arange(start, min(start + ROWS_PER_CHUNK, count), device=device)
        scores = score(chunk)
        if allowed is not None:
            scores.masked_fill_(~allowed[chunk], -torch.inf)
        if excluded.shape[1]:
            inside = (excluded >= start) & (excluded < start + len(chunk))
            user, slot = inside.nonzero(as_tuple=True)
            scores[user, excluded[user, slot] - start] = -torch.inf
        scores, columns = best_columns(scores, width)
        best, rows = torch.cat([best, scores], 1), torch.cat([rows, chunk[columns]], 1)
        # Earlier rows come first, so ties remain in the order of rows.
        best, order = best_columns(best, width)
        rows = rows.gather(1, order)
    return rows, best


def best_columns(scores: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """The best scores of each row and their columns, best first, ties by column.

    ``topk`` takes any of equal scores, so its lists depend on their length and on the
    batch.

    Args:
        scores: ``(B, N)``.
        width: columns to keep.

    Returns:
        Scores and columns, ``(B, width)`` or fewer; columns of -inf are arbitrary.
    """
    width = min(width, scores.shape[1])
    best, columns = scores.topk(min(width + 1, scores.shape[1]), dim=1)
    if best.shape[1] > width:
        last, next_ = best[:, width - 1], best[:, width]
        tied = ((last == next_) & (next_ > -torch.inf)).nonzero()[:, 0]
        best, columns = best[:, :width], columns[:, :width]
        if len(tied):
            columns[tied] = _first_of_equals(scores[tied], last[tied], width)
            best[tied] = scores[tied].gather(1, columns[tied])
    columns, order = columns.sort(dim=1)
    best, order = best.gather(1, order).sort(dim=1, descending=True, stable=True)
    return best, columns.gather(1, order)


def _first_of_equals(scores: Tensor, last: Tensor, width: int) -> Tensor:
    """Columns above the score ``last`` ``(B,)``, then the first columns equal to it."""
    above, level = scores > last[:, None], scores == last[:, None]
    room = width - above.sum(1, keepdim=True)
    chosen = above | (level & (level.cumsum(1) <= room))
    return chosen.nonzero()[:, 1].view(len(scores), width)
