"""Which (digit, code) may follow a partial SID, whatever digits are filled already.

The lattice lifts a prefix tree from one digit order to all. A node is a set of filled
digits with their codes, as far as some item has them; an edge fills one more digit.
Nodes number at most 2^L per distinct SID and edges L 2^(L-1), so the lattice is for
short SIDs (``MAX_DIGITS``).

Edges are one sorted array of keys ``node * L * K + digit * K + code``: the legal
continuations of a node are a slice of it, and following an edge is a binary search.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sidiff.errors import SidiffError

MAX_DIGITS = 8
"""Longer SIDs have too many subsets of digits: 2^9 nodes for every SID and beyond."""


@dataclass(frozen=True, eq=False)
class Lattice:
    """All partial SIDs that lead to an item; arrays on one device.

    Attributes:
        digits: L.
        codes_per_digit: K.
        edges: sorted keys of the edges, int64 ``[E]``.
        children: node that each edge leads to, int64 ``[E]``.
        starts: slice of ``edges`` of each node, int64 ``[nodes + 1]``.
        rows: row of the SID at complete nodes, -1 elsewhere, int64 ``[nodes]``.
        root: the node with nothing filled.
    """

    digits: int
    codes_per_digit: int
    edges: Tensor
    children: Tensor
    starts: Tensor
    rows: Tensor
    root: int

    @classmethod
    def build(cls, codes: NDArray[np.integer], codes_per_digit: int) -> Lattice:
        """Build the lattice of distinct SIDs ``codes`` ``(S, L)``, on the CPU.

        Raises:
            SidiffError: more than ``MAX_DIGITS`` digits.
        """
        size, digits = codes.shape
        if digits > MAX_DIGITS:
            raise SidiffError(
                f"Constrained decoding takes at most {MAX_DIGITS} digits, the SIDs "
                f"have {digits}; lower tokenization.digits or set "
                "evaluation.decoding.constraint to none."
            )
        columns = codes.T.astype(np.int64)
        # node[s][i]: the node of SID i restricted to the digits in bit set s.
        node = [np.zeros(size, dtype=np.int64)]
        nodes = 1
        keys, children = [], []
        for subset in range(1, 1 << digits):
            last = subset.bit_length() - 1
            below = node[subset & ~(1 << last)]
            _, first, place = np.unique(
                below * codes_per_digit + columns[last],
                return_index=True,
                return_inverse=True,
            )
            node.append(nodes + place)
            child = nodes + np.arange(len(first))
            nodes += len(first)
            for digit in range(digits):
                if subset >> digit & 1:
                    parent = node[subset & ~(1 << digit)][first]
                    symbol = digit * codes_per_digit + columns[digit][first]
                    keys.append(parent * (digits * codes_per_digit) + symbol)
                    children.append(child)
        edges = np.concatenate(keys)
        order = np.argsort(edges, kind="stable")
        edges = edges[order]
        bounds = np.arange(nodes + 1) * (digits * codes_per_digit)
        rows = np.full(nodes, -1, dtype=np.int64)
        rows[node[-1]] = np.arange(size)
        return cls(
            digits,
            codes_per_digit,
            torch.from_numpy(edges),
            torch.from_numpy(np.concatenate(children)[order]),
            torch.from_numpy(np.searchsorted(edges, bounds)),
            torch.from_numpy(rows),
            0,
        )

    def to(self, device: torch.device) -> Lattice:
        """The same lattice with its arrays on ``device``."""
        arrays = ("edges", "children", "starts", "rows")
        return replace(
            self, **{name: getattr(self, name).to(device) for name in arrays}
        )

    def allowed(self, nodes: Tensor) -> Tensor:
        """Legal continuations of ``nodes`` ``(...)``: bool ``(..., L, K)``."""
        flat = nodes.flatten()
        starts, counts = self.starts[flat], self.starts[flat + 1] - self.starts[flat]
        owner = torch.repeat_interleave(
            torch.arange(len(flat), device=flat.device), counts
        )
        ends = counts.cumsum(0)
        edge = torch.arange(len(owner), device=flat.device)
        edge = edge - (ends - counts)[owner] + starts[owner]
        symbols = self.digits * self.codes_per_digit
        mask = torch.zeros(len(flat) * symbols, dtype=torch.bool, device=flat.device)
        mask[owner * symbols + self.edges[edge] % symbols] = True
        return mask.view(*nodes.shape, self.digits, self.codes_per_digit)

    def follow(self, nodes: Tensor, digit: Tensor, code: Tensor) -> Tensor:
        """The node reached by filling ``digit`` with ``code``; all shapes equal.

        The edge must exist; where it does not, the result is meaningless.
        """
        key = (nodes * self.digits + digit) * self.codes_per_digit + code
        place = torch.searchsorted(self.edges, key).clamp(max=len(self.edges) - 1)
        return self.children[place]
