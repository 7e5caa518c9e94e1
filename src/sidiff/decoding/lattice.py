"""The lattice: valid continuations of partial SIDs, filled in any order.

The lattice extends a prefix tree from one order of digits to all. A node is a set of
filled digits with codes that some SID has; an edge fills one more digit. There are at
most 2^L nodes and L 2^(L-1) edges per distinct SID, so the lattice is for short SIDs
(``fits``). ``sidiff.decoding.inverted_index`` is for longer ones.

Edges are one sorted array of keys ``node * L * K + digit * K + code``. The valid
continuations of a node are a slice of it. Following an edge is a binary search.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sidiff.diffusion.slices import slices

MAX_EDGES = 2**25
"""Largest number of edges: 16 bytes each, half a GiB."""

MAX_DIGITS = 10
"""Largest number of digits: with 11 a lattice is a hundred times the inverted index."""

_ARRAYS = ("edges", "children", "starts", "rows", "sids")


def fits(sids: int, digits: int) -> bool:
    """Test that the lattice is small enough, whatever the codes of the SIDs.

    The limit is a million SIDs of 4 digits, or 32,768 of 8.
    """
    return digits <= MAX_DIGITS and sids * digits * 2 ** (digits - 1) <= MAX_EDGES


@dataclass(frozen=True, eq=False)
class Lattice:
    """All partial SIDs that lead to an item; arrays on one device.

    Attributes:
        digits: L.
        codebook_size: K.
        edges: sorted keys of the edges, int64 ``[E]``.
        children: node that each edge leads to, int64 ``[E]``.
        starts: slice of ``edges`` of each node, int64 ``[nodes + 1]``.
        rows: row of the SID at complete nodes, -1 elsewhere, int64 ``[nodes]``.
        sids: distinct SIDs that a node leads to, int64 ``[nodes]``.
    """

    digits: int
    codebook_size: int
    edges: Tensor
    children: Tensor
    starts: Tensor
    rows: Tensor
    sids: Tensor

    @classmethod
    def build(cls, codes: NDArray[np.integer], codebook_size: int) -> Lattice:
        """Build the lattice of distinct SIDs ``codes`` ``(S, L)`` on the CPU."""
        size, digits = codes.shape
        columns = codes.T.astype(np.int64)
        # node[s][i]: the node of SID i restricted to the digits in bit set s.
        node = [np.zeros(size, dtype=np.int64)]
        nodes = 1
        keys, children, sids = [], [], [np.array([size])]
        for subset in range(1, 1 << digits):
            last = subset.bit_length() - 1
            below = node[subset & ~(1 << last)]
            _, first, place, count = np.unique(
                below * codebook_size + columns[last],
                return_index=True,
                return_inverse=True,
                return_counts=True,
            )
            node.append(nodes + place)
            sids.append(count)
            child = nodes + np.arange(len(first))
            nodes += len(first)
            for digit in range(digits):
                if subset >> digit & 1:
                    parent = node[subset & ~(1 << digit)][first]
                    symbol = digit * codebook_size + columns[digit][first]
                    keys.append(parent * (digits * codebook_size) + symbol)
                    children.append(child)
        edges = np.concatenate(keys)
        order = np.argsort(edges, kind="stable")
        edges = edges[order]
        bounds = np.arange(nodes + 1) * (digits * codebook_size)
        rows = np.full(nodes, -1, dtype=np.int64)
        rows[node[-1]] = np.arange(size)
        return cls(
            digits,
            codebook_size,
            torch.from_numpy(edges),
            torch.from_numpy(np.concatenate(children)[order]),
            torch.from_numpy(np.searchsorted(edges, bounds)),
            torch.from_numpy(rows),
            torch.from_numpy(np.concatenate(sids)),
        )

    def to(self, device: torch.device) -> Lattice:
        """The same lattice with its arrays on ``device``."""
        return replace(
            self, **{name: getattr(self, name).to(device) for name in _ARRAYS}
        )

    def to_tensors(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Arrays and metadata from which ``from_tensors`` rebuilds this object."""
        arrays = {name: getattr(self, name).cpu().numpy() for name in _ARRAYS}
        return arrays, {"digits": self.digits, "codebook_size": self.codebook_size}

    @classmethod
    def from_tensors(
        cls, tensors: Mapping[str, NDArray[Any]], metadata: Mapping[str, Any]
    ) -> Lattice:
        """Rebuild a lattice from the results of ``to_tensors``."""
        arrays = {name: torch.from_numpy(tensors[name]) for name in _ARRAYS}
        return cls(metadata["digits"], metadata["codebook_size"], **arrays)

    def restrict(self, allowed: Tensor) -> Lattice:
        """The lattice of the SIDs ``allowed`` ``(S,)`` bool.

        The cost is linear in the edges. Nodes keep their numbers; a node without
        allowed SIDs has no edges.
        """
        sids = torch.zeros_like(self.sids)
        complete = self.rows >= 0
        sids[complete] = allowed[self.rows[complete]].to(sids.dtype)
        symbols = self.digits * self.codebook_size
        parents = self.edges // symbols
        # Along edges that fill the parent's lowest open digit, each SID below a node is
        # counted once.
        digit = self.edges % symbols // self.codebook_size
        lowest = digit == digit[self.starts[parents]]
        for _ in range(self.digits):
            counted = torch.zeros_like(sids)
            counted.index_add_(0, parents[lowest], sids[self.children[lowest]])
            sids = torch.where(complete, sids, counted)
        kept = sids[self.children] > 0
        places = torch.cat([kept.new_zeros(1, dtype=torch.int64), kept.cumsum(0)])
        return replace(
            self,
            edges=self.edges[kept],
            children=self.children[kept],
            starts=places[self.starts],
            sids=sids,
        )

    def counts(self, codes: Tensor, masked: Tensor, nodes: Tensor) -> Tensor:
        """As ``Continuations.counts``; codes and masks are unused."""
        del codes, masked
        flat = nodes.flatten()
        symbols = self.digits * self.codebook_size
        first = self.starts[flat]
        owner, edge = slices(first, self.starts[flat + 1] - first)
        place = owner * symbols + self.edges[edge] % symbols
        result = first.new_zeros(len(flat) * symbols, dtype=torch.int32)
        result[place] = self.sids[self.children[edge]].to(torch.int32)
        return result.view(*nodes.shape, self.digits, self.codebook_size)

    def follow(self, nodes: Tensor, digit: Tensor, code: Tensor) -> Tensor:
        """The node reached by filling ``digit`` with ``code``; all shapes equal.

        The result is arbitrary where the edge does not exist.
        """
        if not len(self.edges):
            return nodes
        key = (nodes * self.digits + digit) * self.codebook_size + code
        place = torch.searchsorted(self.edges, key).clamp(max=len(self.edges) - 1)
        return self.children[place]
