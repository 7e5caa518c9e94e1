"""The inverted index: valid continuations of long partial SIDs.

Each (digit, code) has an inverted list of its SIDs. The shortest list of a state's
filled digits is scanned for the SIDs that agree with the state. The codes of these SIDs
at open digits are its valid continuations. The index has L entries per SID, the lattice
L 2^(L-1).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sidiff.diffusion.slices import slices


@dataclass(frozen=True, eq=False)
class InvertedIndex:
    """Inverted lists of the distinct SIDs on one device.

    Attributes:
        codes: the SIDs ``(S, L)`` int64.
        codebook_size: K.
        rows: SIDs list by list, int64 ``[S * L]``.
        starts: bounds of the list of symbol ``digit * K + code``, ``[L * K + 1]``.
    """

    codes: Tensor
    codebook_size: int
    rows: Tensor
    starts: Tensor

    @classmethod
    def build(
        cls, codes: Tensor, codebook_size: int, allowed: Tensor | None = None
    ) -> InvertedIndex:
        """List the SIDs ``codes`` ``(S, L)``, or those ``allowed`` ``(S,)`` bool."""
        size, digits = codes.shape
        sids = torch.arange(size, device=codes.device)
        if allowed is not None:
            sids = sids[allowed]
        first = torch.arange(digits, device=codes.device) * codebook_size
        symbols = (codes[sids] + first).flatten()
        order = symbols.argsort(stable=True)
        counts = symbols.bincount(minlength=digits * codebook_size)
        starts = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        return cls(codes, codebook_size, sids[order // digits], starts)

    def counts(self, codes: Tensor, masked: Tensor, nodes: Tensor) -> Tensor:
        """As ``Continuations.counts``; nodes are unused.

        Either all states of a call are fully masked, or none is.
        """
        del nodes
        digits, size = self.codes.shape[1], self.codebook_size
        shape = (*masked.shape, size)
        if bool(masked.all()):
            lengths = self.starts.diff().to(torch.int32)
            return lengths.view(digits, size).expand(shape)
        owner, sid = self.agreeing(codes, masked)
        first = torch.arange(digits, device=codes.device) * size
        place = owner[:, None] * (digits * size) + first + self.codes[sid]
        place = place[masked.flatten(0, 1)[owner]]
        counts = torch.zeros(
            masked.numel() * size, dtype=torch.int32, device=codes.device
        )
        counts.index_add_(0, place, torch.ones_like(place, dtype=torch.int32))
        return counts.view(shape)

    def agreeing(self, codes: Tensor, masked: Tensor) -> tuple[Tensor, Tensor]:
        """Pairs of a state, numbered through ``(B, A)``, and a SID that agrees with it.

        Fully masked states are left out.
        """
        flat, open_ = codes.flatten(0, 1), masked.flatten(0, 1)
        digits = torch.arange(flat.shape[1], device=codes.device)
        symbols = flat + digits * self.codebook_size
        listed = self.starts.diff()[symbols].masked_fill(open_, len(self.codes) + 1)
        shortest, digit = listed.min(1)
        shortest = shortest.masked_fill(open_.all(1), 0)
        symbol = symbols.gather(1, digit[:, None])[:, 0]
        owner, entry = slices(self.starts[symbol], shortest)
        sid = self.rows[entry]
        agree = ((self.codes[sid] == flat[owner]) | open_[owner]).all(1)
        return owner[agree], sid[agree]

    def follow(self, nodes: Tensor, digit: Tensor, code: Tensor) -> Tensor:
        """Return ``nodes``, which are unused."""
        del digit, code
        return nodes
