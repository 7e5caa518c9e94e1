"""Only steps behind which there is an item that the user may get."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from sidiff.decoding.beams import Beams
from sidiff.decoding.catalogue import Continuations


@dataclass(frozen=True, eq=False)
class Constraint:
    """The SIDs that a batch of users may get.

    Attributes:
        tree: how many SIDs are behind every step; None where every step is valid.
        codes: the distinct SIDs ``(S, L)``.
        excluded: rows of SIDs that a user must not get, -1 for none, ``(B, E)``;
            subtracted from the number of SIDs behind each step.
    """

    tree: Continuations | None
    codes: Tensor
    excluded: Tensor

    def take(self, users: Tensor) -> Constraint:
        """The constraint of the users in rows ``users`` ``(C,)``."""
        return replace(self, excluded=self.excluded[users])

    def valid_steps(self, beams: Beams) -> Tensor:
        """Steps that lead to an item, bool ``(B, A, L, K)``, or all open digits."""
        if self.tree is None:
            return beams.masked[..., None]
        left = self.tree.counts(beams.codes, beams.masked, beams.nodes)
        if self.excluded.shape[1]:
            digits, size = left.shape[2:]
            below, codes = self._excluded_below(beams)
            symbols = torch.arange(digits, device=codes.device) * size + codes
            symbols = symbols.flatten(1)[:, None].expand(-1, below.shape[1], -1)
            less = below[..., None].expand(*below.shape, digits).flatten(2)
            flat = left.flatten(2).scatter_add(2, symbols, -less.to(left.dtype))
            left = flat.view_as(left)
        return left > 0

    def valid_codes(self, beams: Beams, digit: Tensor, log_p: Tensor) -> Tensor:
        """``log_p`` of one open digit's codes, -inf where they lead to no item.

        Args:
            beams: the states.
            digit: of each state ``(B, A)``.
            log_p: of its codes ``(B, A, K)``.
        """
        if self.tree is None:
            return log_p
        left = self.tree.counts_at(beams.codes, beams.masked, beams.nodes, digit)
        if self.excluded.shape[1]:
            below, codes = self._excluded_below(beams)
            wanted = digit[..., None].expand(-1, -1, codes.shape[1])  # (B, A, E)
            code = codes.transpose(1, 2).gather(1, wanted)
            left = left.scatter_add(2, code, -below.to(left.dtype))
        return log_p.masked_fill(left <= 0, -torch.inf)

    def _excluded_below(self, beams: Beams) -> tuple[Tensor, Tensor]:
        """Excluded SIDs that each state leads to ``(B, A, E)``, and their codes."""
        codes = self.codes[self.excluded.clamp(min=0)]  # (B, E, L)
        same = codes[:, None] == beams.codes[:, :, None]  # (B, A, E, L)
        agrees = (same | beams.masked[:, :, None]).all(3)
        return agrees & (self.excluded >= 0)[:, None], codes
