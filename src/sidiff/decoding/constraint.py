"""Only steps behind which there is an item that the user may get."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from sidiff.decoding.beams import Beams
from sidiff.decoding.catalogue import Catalogue, Continuations
from sidiff.decoding.settings import DecodingParameters


@dataclass(frozen=True, eq=False)
class Constraint:
    """The SIDs that a batch of users may get.

    Attributes:
        tree: how many SIDs are behind every step.
        codes: the distinct SIDs ``(S, L)``.
        excluded: rows of SIDs that a user must not get, -1 for none, ``(B, E)``;
            subtracted from the number of SIDs behind each step.
    """

    tree: Continuations
    codes: Tensor
    excluded: Tensor

    @classmethod
    def build(
        cls, parameters: DecodingParameters, catalogue: Catalogue, excluded: Tensor
    ) -> Constraint | None:
        """The constraint that the parameters ask for."""
        if parameters.constraint == "none":
            return None
        return cls(catalogue.continuations, catalogue.codes, excluded)

    def take(self, users: Tensor) -> Constraint:
        """The constraint of the users in rows ``users`` ``(C,)``."""
        return replace(self, excluded=self.excluded[users])

    def valid_steps(self, beams: Beams) -> Tensor:
        """Steps that lead to an item, bool ``(B, A, L, K)``."""
        counts = self.tree.counts(beams.codes, beams.masked, beams.nodes)
        if not self.excluded.shape[1]:
            return counts > 0
        digits, size = counts.shape[2:]
        below, codes = self._excluded_below(beams)
        symbols = torch.arange(digits, device=codes.device) * size + codes
        symbols = symbols.flatten(1)[:, None].expand(-1, below.shape[1], -1)
        less = below[..., None].expand(*below.shape, digits).flatten(2)
        left = counts.flatten(2).scatter_add(2, symbols, -less.to(counts.dtype))
        return left.view_as(counts) > 0

    def valid_codes(self, beams: Beams, digit: Tensor) -> Tensor:
        """Codes of one open digit of each state, ``(B, A)``, that lead to an item.

        Returns:
            bool ``(B, A, K)``.
        """
        counts = self.tree.counts_at(beams.codes, beams.masked, beams.nodes, digit)
        if not self.excluded.shape[1]:
            return counts > 0
        below, codes = self._excluded_below(beams)
        wanted = digit[..., None].expand(-1, -1, codes.shape[1])  # (B, A, E)
        code = codes.transpose(1, 2).gather(1, wanted)
        return counts.scatter_add(2, code, -below.to(counts.dtype)) > 0

    def _excluded_below(self, beams: Beams) -> tuple[Tensor, Tensor]:
        """Excluded SIDs that each state leads to ``(B, A, E)``, and their codes."""
        codes = self.codes[self.excluded.clamp(min=0)]  # (B, E, L)
        same = codes[:, None] == beams.codes[:, :, None]  # (B, A, E, L)
        agrees = (same | beams.masked[:, :, None]).all(3)
        return agrees & (self.excluded >= 0)[:, None], codes
