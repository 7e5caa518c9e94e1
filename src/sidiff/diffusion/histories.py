"""Batches of histories gathered from flat arrays, without per-sample objects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from sidiff.diffusion.denoiser import ItemTable
from sidiff.reviews.sequences import Sequences


@dataclass(frozen=True)
class HistoryBatch:
    """A batch of histories ready for any network.

    Attributes:
        history: codes of the history items, right-padded, ``(B, T, L)``.
        lengths: real items per history, ``(B,)``.
        history_items: their item indices, ``(B, T)``; pads are any item.
        identities: their identity rows, ``(B, T)``.
    """

    history: Tensor
    lengths: Tensor
    history_items: Tensor
    identities: Tensor


@dataclass(frozen=True)
class SampleBatch(HistoryBatch):
    """Histories and what came after them.

    Attributes:
        target_items: item index of each target, ``(B,)``.
        targets: its codes, ``(B, L)``.
    """

    target_items: Tensor
    targets: Tensor


class Histories:
    """All users' items and the SID table on one device; samples are index triples."""

    def __init__(
        self,
        sequences: Sequences,
        codes: NDArray[np.integer],
        identities: NDArray[np.int64],
        device: torch.device,
    ) -> None:
        """Lay the data out on ``device``.

        Args:
            sequences: the users' items.
            codes: ``(N, L)``.
            identities: identity row of each item, 0 for none, ``(N,)``.
            device: where batches are made.
        """
        self.device = device
        self.items = torch.from_numpy(sequences.items.astype(np.int64)).to(device)
        self.offsets = torch.from_numpy(sequences.offsets.astype(np.int64)).to(device)
        self.table = ItemTable(
            torch.from_numpy(codes.astype(np.int64)).to(device),
            torch.from_numpy(identities).to(device),
        )

    def gather(self, samples: Tensor) -> SampleBatch:
        """Histories and targets of ``samples`` ``(B, 3)``: user, start, end.

        The history is the user's items ``start .. end - 1``, the target item ``end``.
        """
        user, start, end = samples.to(self.device, torch.int64).unbind(1)
        first = self.offsets[user] + start
        lengths = end - start
        slots = torch.arange(int(lengths.max()), device=self.device)
        # Pads repeat the oldest item: a valid index that the lengths hide.
        inside = slots < lengths[:, None]
        history_items = self.items[first[:, None] + slots * inside]
        target_items = self.items[first + lengths]
        codes, identities = self.table.codes, self.table.identities
        return SampleBatch(
            codes[history_items],
            lengths,
            history_items,
            identities[history_items],
            target_items,
            codes[target_items],
        )


def identity_rows(identified: Sequence[str], item_ids: pl.Series) -> NDArray[np.int64]:
    """Rows of items in an identity table: 1, 2, ... in the order of ``identified``.

    Args:
        identified: ids of the items that have an identity.
        item_ids: the catalogue.

    Returns:
        ``(N,)``; 0 for an item that has none.
    """
    known = pl.DataFrame(
        {
            "item_id": pl.Series(identified, dtype=pl.String),
            "row": np.arange(1, len(identified) + 1),
        }
    )
    wanted = pl.DataFrame({"item_id": item_ids.cast(pl.String)})
    rows = wanted.join(known, on="item_id", how="left", maintain_order="left")["row"]
    return rows.fill_null(0).to_numpy().astype(np.int64)
