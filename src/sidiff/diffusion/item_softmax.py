"""A softmax over all items: its loss, chunk by chunk, and a gate for repeats.

The repeat gate is a learned number that is added to the logits of items in the history.

Symbols: B users, T history, P positions (one target each), N items, n of a slice, d
d_model, E additions.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from sidiff.diffusion.histories import Positions
from sidiff.diffusion.slices import slices
from sidiff.onednn import product

LOGITS_AT_ONCE = 2**22
"""Logits in memory at a time, 16 MiB: more do not fit the cache."""


class Additions(NamedTuple):
    """Numbers added to single logits, at most one per logit.

    Attributes:
        rows: ascending, ``(E,)``.
        items: ``(E,)``.
        values: ``(E,)``; a gradient flows to them.
    """

    rows: Tensor
    items: Tensor
    values: Tensor


def repeat_additions(
    gates: Tensor, positions: Positions, history: Tensor, size: int
) -> Additions:
    """The gate at each distinct item of the history before a position.

    Args:
        gates: one per position ``(P,)``.
        positions: ends of the histories.
        history: items, oldest first, ``(B, T)``.
        size: number of items.
    """
    first = positions.owner * history.shape[1]
    row, place = slices(first, positions.slot + 1)
    keys = (row * size + history.flatten()[place]).unique()
    rows = keys // size
    return Additions(rows, keys % size, gates[rows])


def gated(
    logits: Tensor, gates: Tensor, history_items: Tensor, items: Tensor, size: int
) -> Tensor:
    """Add the gate to the logits of items in each user's history, in place.

    Args:
        logits: of a slice of items ``(B, n)``.
        gates: one per user ``(B,)``.
        history_items: of the users, -1 for none, ``(B, T)``.
        items: of the slice ``(n,)``.
        size: number of items N.
    """
    # The additional last place is that of -1, no item.
    place = torch.full((size + 1,), -1, device=items.device)
    place[items] = torch.arange(len(items), device=items.device)
    column = place[history_items]
    user, slot = (column >= 0).nonzero(as_tuple=True)
    column = column[user, slot]
    # An item that occurs twice in a history is written twice with the same value.
    logits[user, column] = logits[user, column] + gates[user]
    return logits


def item_softmax_loss(
    hidden: Tensor, vectors: Tensor, targets: Tensor, additions: Additions
) -> Tensor:
    """Summed cross-entropy of ``targets`` among all items.

    A logit is the product of a hidden state and an item vector, plus its addition if
    there is one.

    Args:
        hidden: hidden states ``(P, d)``.
        vectors: ``(N, d)``.
        targets: item indices ``(P,)``.
        additions: for example of a repeat gate.
    """
    return _ItemSoftmax.apply(  # type: ignore[no-untyped-call]
        hidden, vectors, targets, *additions
    )


class _ItemSoftmax(torch.autograd.Function):
    """The loss with its gradient.

    The gradient of a chunk is computed together with its probabilities. So at most
    ``LOGITS_AT_ONCE`` of the P x N logits are in memory, and each is computed once.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        table: Tensor,
        targets: Tensor,
        rows: Tensor,
        items: Tensor,
        values: Tensor,
    ) -> Tensor:
        size = max(1, LOGITS_AT_ONCE // len(table))
        total = hidden.new_zeros(())
        for_hidden = torch.empty_like(hidden)
        # Transposed, because this product is faster in oneDNN.
        for_table = torch.zeros_like(table.t())
        for_values = torch.empty_like(values)
        bounds = torch.arange(0, len(hidden) + size, size, device=rows.device)
        edges = torch.searchsorted(rows, bounds).tolist()
        for number, start in enumerate(range(0, len(hidden), size)):
            part = hidden[start : start + size]
            target = targets[start : start + size, None]
            logits = product(part, table)
            added = slice(edges[number], edges[number + 1])
            place = (rows[added] - start) * len(table) + items[added]
            logits.view(-1).index_add_(0, place, values[added])
            p = logits.softmax(1)
            # The log of the normaliser, from the largest p, which is never 0.
            log_z = logits.amax(1) - p.amax(1).log()
            total += log_z.sum() - logits.gather(1, target).sum()
            # d loss / d logit = p - one-hot
            p.scatter_add_(1, target, p.new_full(target.shape, -1.0))
            for_values[added] = p.view(-1)[place]
            for_hidden[start : start + size] = product(p, table.t())
            for_table += product(part.t(), p.t())
        ctx.save_for_backward(for_hidden, for_table.t(), for_values)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        for_hidden, for_table, for_values = ctx.saved_tensors
        return (
            for_hidden * upstream,
            for_table * upstream,
            None,
            None,
            None,
            for_values * upstream,
        )
