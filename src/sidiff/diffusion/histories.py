"""Batches of histories, gathered from flat arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from sidiff.diffusion.joint import ItemTable
from sidiff.reviews.sequences import Sequences


@dataclass(frozen=True)
class HistoryBatch:
    """A batch of histories, the input of the networks.

    Attributes:
        history: codes of the history items, right-padded, ``(B, T, L)``.
        lengths: real items per history, ``(B,)``.
        history_items: their item indices, ``(B, T)``; pads are any item.
    """

    history: Tensor
    lengths: Tensor
    history_items: Tensor

    def part(self, rows: slice) -> HistoryBatch:
        """Some of the histories."""
        return HistoryBatch(
            self.history[rows], self.lengths[rows], self.history_items[rows]
        )


@dataclass(frozen=True)
class SampleBatch(HistoryBatch):
    """Histories and their targets.

    Attributes:
        target_items: item index of each target, ``(B,)``.
        targets: its codes, ``(B, L)``.
    """

    target_items: Tensor
    targets: Tensor


class Positions(NamedTuple):
    """All positions of a batch of sequences, sequence by sequence.

    Attributes:
        owner: row of the batch ``(n,)``.
        slot: place of the last item of the history ``(n,)``.
        targets: the next item ``(n,)``.
    """

    owner: Tensor
    slot: Tensor
    targets: Tensor

    @classmethod
    def of(cls, batch: SampleBatch) -> Positions:
        """The positions of sequences: each history followed by its target."""
        slots = torch.arange(batch.history_items.shape[1], device=batch.lengths.device)
        owner, slot = (slots < batch.lengths[:, None]).nonzero(as_tuple=True)
        following = batch.history_items.roll(-1, dims=1)
        last = (batch.lengths - 1)[:, None]
        following = following.scatter(1, last, batch.target_items[:, None])
        return cls(owner, slot, following[owner, slot])


class Histories:
    """The sequences of all users, with the codes of their items, on one device."""

    def __init__(self, sequences: Sequences, table: ItemTable) -> None:
        """Move the sequences to the device of ``table``."""
        self.table, self.device = table, table.codes.device
        device = self.device
        self.items = torch.from_numpy(sequences.items.astype(np.int64)).to(device)
        self.offsets = torch.from_numpy(sequences.offsets.astype(np.int64)).to(device)

    def gather(self, samples: Tensor) -> SampleBatch:
        """Histories and targets of ``samples`` ``(B, 3)``: user, start, end.

        The history is the user's items ``start .. end - 1``, the target item ``end``.
        """
        user, start, end = samples.to(self.device, torch.int64).unbind(1)
        first = self.offsets[user] + start
        lengths = end - start
        slots = torch.arange(int(lengths.max()), device=self.device)
        # Pads repeat the oldest item, which is a valid index.
        inside = slots < lengths[:, None]
        history_items = self.items[first[:, None] + slots * inside]
        target_items = self.items[first + lengths]
        codes = self.table.codes
        return SampleBatch(
            codes[history_items],
            lengths,
            history_items,
            target_items,
            codes[target_items],
        )


def residual_rows(known_ids: Sequence[str], item_ids: pl.Series) -> NDArray[np.int64]:
    """Rows of items in a table of residuals: 1, 2, ... in the order of ``known_ids``.

    Args:
        known_ids: ids of the items that have a residual.
        item_ids: the catalogue.

    Returns:
        ``(N,)``; 0 for an item without a residual.
    """
    known = pl.DataFrame(
        {
            "item_id": pl.Series(known_ids, dtype=pl.String),
            "row": np.arange(1, len(known_ids) + 1),
        }
    )
    items = pl.DataFrame({"item_id": item_ids.cast(pl.String)})
    rows = items.join(known, on="item_id", how="left", maintain_order="left")["row"]
    return rows.fill_null(0).to_numpy().astype(np.int64)
