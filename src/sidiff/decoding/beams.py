"""Beams of partial SIDs, their expansion, and the merging of equal states.

A partial SID reached in two orders of digits is one state. A state of t filled digits
has at most t distinct parents, so the best ``t * beam`` candidates always contain the
best ``beam`` distinct states.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from sidiff.decoding.catalogue import Continuations
from sidiff.decoding.keys import repeats, state_keys


class Beams(NamedTuple):
    """Partial SIDs of every user, best first.

    Attributes:
        codes: ``(B, A, L)``; arbitrary where masked.
        masked: ``(B, A, L)`` bool.
        scores: ``(B, A)``; -inf marks an unused slot.
        nodes: nodes of the lattice ``(B, A)``; unused without a lattice.
    """

    codes: Tensor
    masked: Tensor
    scores: Tensor
    nodes: Tensor

    def take(self, rows: Tensor, scores: Tensor) -> Beams:
        """Select the beams ``rows`` ``(B, C)`` of each user, with new scores."""
        index = rows[..., None].expand(-1, -1, self.codes.shape[2])
        return Beams(
            self.codes.gather(1, index),
            self.masked.gather(1, index),
            scores,
            self.nodes.gather(1, rows),
        )

    def fill(self, choice: Tensor, size: int, tree: Continuations | None) -> Beams:
        """Fill one digit of each beam; ``choice`` is digit * K + code, ``(B, A)``."""
        digit, code = choice // size, choice % size
        return Beams(
            self.codes.scatter(2, digit[..., None], code[..., None]),
            self.masked.scatter(2, digit[..., None], False),
            self.scores,
            self.nodes if tree is None else tree.follow(self.nodes, digit, code),
        )

    def best_states(self, width: int, codebook_size: int) -> Beams:
        """Keep each state once, with its best score, best first."""
        again = repeats(self.keys(codebook_size))
        scores = self.scores.masked_fill(again, -torch.inf)
        scores, columns = scores.topk(min(width, scores.shape[1]), dim=1)
        return self.take(columns, scores)

    def keys(self, codebook_size: int) -> Tensor:
        """A number per state ``(B, A)``; -1 in unused slots."""
        keys = state_keys(self.codes, self.masked, codebook_size)
        return keys.masked_fill(self.scores == -torch.inf, -1)
