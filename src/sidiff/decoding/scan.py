"""The best rows of a table for every user, by exact scores, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

ROWS_PER_CHUNK = 2**16
"""Rows scored at a time: bounds memory at 64 Ki scores per user."""


def best_rows(
    count: int,
    score: Callable[[Tensor], Tensor],
    width: int,
    allowed: Tensor | None,
    blocked: Tensor,
) -> tuple[Tensor, Tensor]:
    """Score all rows and keep the best.

    Args:
        count: number of rows.
        score: from rows ``(n,)`` to scores ``(B, n)``.
        width: rows to keep per user.
        allowed: rows that count, ``(count,)`` bool; None for all.
        blocked: rows that a user must not get, -1 for none, ``(B, E)``.

    Returns:
        Rows, best first, and scores, ``(B, width)`` or fewer; -inf marks rows that
        are not allowed.
    """
    device = blocked.device
    best = torch.empty(len(blocked), 0, device=device)
    rows = torch.empty(len(blocked), 0, dtype=torch.int64, device=device)
    for start in range(0, count, ROWS_PER_CHUNK):
        chunk = torch.arange(start, min(start + ROWS_PER_CHUNK, count), device=device)
        scores = score(chunk)
        if allowed is not None:
            scores = scores.masked_fill(~allowed[chunk], -torch.inf)
        if blocked.shape[1]:
            # A column more takes what lies outside of this chunk.
            inside = (blocked >= start) & (blocked < start + len(chunk))
            place = torch.where(inside, blocked - start, len(chunk))
            scores = torch.nn.functional.pad(scores, (0, 1))
            scores = scores.scatter(1, place, -torch.inf)[:, :-1]
        best = torch.cat([best, scores], 1)
        rows = torch.cat([rows, chunk.expand(len(blocked), -1)], 1)
        best, kept = best.topk(min(width, best.shape[1]), dim=1)
        rows = rows.gather(1, kept)
    return rows, best
