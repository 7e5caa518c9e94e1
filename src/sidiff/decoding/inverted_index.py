"""Valid continuations of long SIDs: the SIDs that agree with a state, listed.

For each (digit, code) an inverted list of the SIDs that have it. A state looks at the
shortest list among its filled digits and keeps the SIDs that agree in all of them;
whatever codes these have at open digits may follow. Exact for any number of digits,
with L entries of memory per SID where the lattice has L 2^(L-1).
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
        """Number of SIDs behind each continuation, int32 ``(B, A, L, K)``.

        Args:
            codes: of the states ``(B, A, L)``.
            masked: ``(B, A, L)`` bool; a state has all digits masked or none of its
                codes without a SID.
            nodes: unused.
        """
        del nodes
        digits, size = self.codes.shape[1], self.codebook_size
        lengths = self.starts.diff()
        if bool(masked.all()):
            shape = (*masked.shape[:2], digits, size)
            return lengths.to(torch.int32).view(digits, size).expand(shape).clone()
        owner, sid = self.agreeing(codes, masked)
        first = torch.arange(digits, device=codes.device) * size
        place = owner[:, None] * (digits * size) + first + self.codes[sid]
        place = place[masked.flatten(0, 1)[owner]]
        result = torch.zeros(
            masked.numel() * size, dtype=torch.int32, device=codes.device
        )
        result.index_add_(0, place, torch.ones_like(place, dtype=torch.int32))
        return result.view(*masked.shape[:2], digits, size)

    def counts_at(
        self, codes: Tensor, masked: Tensor, nodes: Tensor, digit: Tensor
    ) -> Tensor:
        """Number of SIDs behind the codes of one open digit, int32 ``(B, A, K)``.

        Args:
            codes: of the states ``(B, A, L)``.
            masked: ``(B, A, L)`` bool; no state has all digits masked.
            nodes: unused.
            digit: ``(B, A)``.
        """
        del nodes
        size = self.codebook_size
        owner, sid = self.agreeing(codes, masked)
        place = owner * size + self.codes[sid, digit.flatten()[owner]]
        result = torch.zeros(
            digit.numel() * size, dtype=torch.int32, device=codes.device
        )
        result.index_add_(0, place, torch.ones_like(place, dtype=torch.int32))
        return result.view(*digit.shape, size)

    def agreeing(self, codes: Tensor, masked: Tensor) -> tuple[Tensor, Tensor]:
        """Pairs of a state, numbered through ``(B, A)``, and a SID that agrees with it.

        No state may have all its digits masked.
        """
        flat, open_ = codes.flatten(0, 1), masked.flatten(0, 1)
        digits = torch.arange(flat.shape[1], device=codes.device)
        symbols = flat + digits * self.codebook_size
        listed = self.starts.diff()[symbols].masked_fill(open_, len(self.codes) + 1)
        shortest, digit = listed.min(1)
        symbol = symbols.gather(1, digit[:, None])[:, 0]
        owner, entry = slices(self.starts[symbol], shortest)
        sid = self.rows[entry]
        agree = ((self.codes[sid] == flat[owner]) | open_[owner]).all(1)
        return owner[agree], sid[agree]

    def follow(self, nodes: Tensor, digit: Tensor, code: Tensor) -> Tensor:
        """States need no node; any value does."""
        del digit, code
        return nodes
