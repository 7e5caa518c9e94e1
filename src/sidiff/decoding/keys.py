"""Integer keys of SIDs, for any number of digits and codes, and operations on keys."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

LARGEST_KEY = 2**62


def state_keys(codes: Tensor, masked: Tensor, codebook_size: int) -> Tensor:
    """A non-negative integer per partial SID, equal for equal states only.

    Args:
        codes: ``(B, A, L)`` int64; ignored where masked.
        masked: ``(B, A, L)`` bool.
        codebook_size: K.

    Returns:
        Keys ``(B, A)`` int64, comparable within one call only.
    """
    symbols = torch.where(masked, codebook_size, codes)
    radix = codebook_size + 1
    keys, size = symbols[..., 0], radix
    for digit in range(1, symbols.shape[2]):
        if size * radix > LARGEST_KEY:
            # Too many digits for one integer: replace the prefixes by their numbers.
            values, keys = keys.unique(return_inverse=True)
            size = len(values)
        keys = keys * radix + symbols[..., digit]
        size *= radix
    return keys


def repeats(keys: Tensor) -> Tensor:
    """Mark the keys ``(B, A)`` that occur further left in their row."""
    ordered, position = keys.sort(dim=1, stable=True)
    repeated = torch.zeros_like(ordered, dtype=torch.bool)
    repeated[:, 1:] = ordered[:, 1:] == ordered[:, :-1]
    return torch.zeros_like(repeated).scatter(1, position, repeated)


def among(values: Tensor, others: Tensor) -> Tensor:
    """Mark the values ``(B, A)`` that the same row of ``others`` ``(B, E)`` has."""
    if not others.shape[1]:
        return torch.zeros_like(values, dtype=torch.bool)
    ordered = others.sort(dim=1).values
    place = torch.searchsorted(ordered, values.contiguous())
    return ordered.gather(1, place.clamp(max=others.shape[1] - 1)) == values


def distinct_columns(keys: Tensor) -> tuple[Tensor, Tensor]:
    """The distinct keys of each row ``(B, A)``.

    Returns:
        Columns of the distinct keys ``(B, D)``, padded with column 0, and the place of
        each key among them ``(B, A)``.
    """
    ordered, column = keys.sort(dim=1, stable=True)
    new = torch.ones_like(ordered, dtype=torch.bool)
    new[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    rank = new.cumsum(1) - 1
    count = int(rank[:, -1].max()) + 1
    # Repeated keys are written to an additional column, which is cut off.
    first = keys.new_zeros(len(keys), count + 1)
    first.scatter_(1, torch.where(new, rank, count), column)
    return first[:, :count], torch.zeros_like(rank).scatter(1, column, rank)


def padded_rows(
    row: Tensor, values: Tensor, batch: int, width: int, empty: float
) -> Tensor:
    """The first ``width`` values of each row, padded with ``empty``.

    Args:
        row: of each value, sorted ``(n,)``.
        values: ``(n,)``.
        batch: number of rows.
        width: number of columns.
        empty: value of pads.
    """
    counts = torch.bincount(row, minlength=batch)
    place = torch.arange(len(row), device=row.device)
    place = place - (counts.cumsum(0) - counts)[row]
    fits = place < width
    table = torch.full((batch, width), empty, dtype=values.dtype, device=row.device)
    table[row[fits], place[fits]] = values[fits]
    return table


class SidIndex:
    """Index from complete SIDs to their rows in a table of distinct SIDs.

    It is a prefix tree with one sorted array per digit: the children of prefix ``p``
    are the keys ``p * K + code``. A look-up is one binary search per digit.
    """

    def __init__(
        self, codes: NDArray[np.integer], codebook_size: int, device: torch.device
    ) -> None:
        """Index distinct SIDs ``codes`` ``(S, L)``."""
        self.codebook_size = codebook_size
        self.levels: list[Tensor] = []
        prefix = np.zeros(len(codes), dtype=np.int64)
        for column in codes.T.astype(np.int64):
            keys, prefix = np.unique(
                prefix * codebook_size + column, return_inverse=True
            )
            self.levels.append(torch.from_numpy(keys).to(device))
        row_of_leaf = np.empty(len(codes), dtype=np.int64)
        row_of_leaf[prefix] = np.arange(len(codes))
        self.row_of_leaf = torch.from_numpy(row_of_leaf).to(device)

    def rows(self, codes: Tensor) -> Tensor:
        """Row of each SID ``(..., L)`` in the table; -1 for an unknown SID."""
        prefix = torch.zeros_like(codes[..., 0])
        known = torch.ones_like(prefix, dtype=torch.bool)
        for digit, keys in enumerate(self.levels):
            key = prefix * self.codebook_size + codes[..., digit]
            prefix = torch.searchsorted(keys, key).clamp(max=len(keys) - 1)
            known &= keys[prefix] == key
        return torch.where(known, self.row_of_leaf[prefix], -1)
