"""Batches of histories gathered from flat arrays, without per-sample objects."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sidiff.reviews.sequences import Sequences


@dataclass(frozen=True)
class HistoryBatch:
    """A batch of samples ready for the denoiser.

    Attributes:
        history: codes of the history items, right-padded, ``(B, T, L)``.
        lengths: real items per history, ``(B,)``.
        target_items: item index of each target, ``(B,)``.
        targets: its codes, ``(B, L)``.
    """

    history: Tensor
    lengths: Tensor
    target_items: Tensor
    targets: Tensor


class Histories:
    """All users' items and the SID table on one device; samples are index triples."""

    def __init__(
        self, sequences: Sequences, codes: NDArray[np.integer], device: torch.device
    ) -> None:
        self.device = device
        self.items = torch.from_numpy(sequences.items.astype(np.int64)).to(device)
        self.offsets = torch.from_numpy(sequences.offsets.astype(np.int64)).to(device)
        self.codes = torch.from_numpy(codes.astype(np.int64)).to(device)

    def gather(self, samples: Tensor) -> HistoryBatch:
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
        return HistoryBatch(
            self.codes[history_items], lengths, target_items, self.codes[target_items]
        )
