"""A beam over the prefixes of existing SIDs, for the autoregressive decoder.

The keys and values of the digits already chosen are kept and moved along with their
beams.

Symbols: B batch, A beams, K codes, E excluded items, S distinct SIDs.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sidiff.baselines.autoregressive import AutoregressiveDecoder, Past
from sidiff.decoding.catalogue import Catalogue
from sidiff.decoding.keys import SidIndex
from sidiff.diffusion.denoiser import Memory
from sidiff.diffusion.histories import HistoryBatch
from sidiff.diffusion.slices import slices
from sidiff.ranking.lists import distinct, fit, items_of
from sidiff.ranking.ranker import Lists
from sidiff.sids.table import SidTable


class Prefixes:
    """The prefix tree of the existing SIDs, for any number of digits.

    Made of the sorted keys ``prefix * K + code`` of ``SidIndex``: the children of a
    prefix are a slice of the next level.
    """

    def __init__(self, index: SidIndex) -> None:
        """Take the prefixes of the SIDs in ``index``."""
        self.codebook_size = index.codebook_size
        self.levels = index.levels
        self.row_of_leaf = index.row_of_leaf
        self.starts = []
        nodes = 1
        for keys in self.levels:
            bounds = torch.arange(nodes + 1, device=keys.device) * self.codebook_size
            self.starts.append(torch.searchsorted(keys, bounds))
            nodes = len(keys)

    @classmethod
    def of(cls, table: SidTable, device: torch.device) -> Prefixes:
        """The prefixes of a table's distinct SIDs, on ``device``."""
        sids = table.groups().sid_codes
        return cls(SidIndex(sids, table.codebook_size, device))

    def reachable(self, excluded_rows: Tensor) -> list[Tensor]:
        """Prefixes of 1, 2, ... digits that lead to a SID that a user may get.

        Args:
            excluded_rows: SIDs that a user may not get, bool ``(B, S)``.

        Returns:
            Of every number of digits, bool ``(B, prefixes)``.
        """
        found = [~excluded_rows[:, self.row_of_leaf]]
        for keys in reversed(self.levels[1:]):
            parents = keys // self.codebook_size
            # Sorted and without gaps: the last is the highest.
            counts = torch.zeros(
                len(excluded_rows),
                int(parents[-1]) + 1,
                dtype=torch.int32,
                device=excluded_rows.device,
            )
            counts.index_add_(1, parents, found[0].int())
            found.insert(0, counts > 0)
        return found

    def allowed(
        self, digit: int, prefixes: Tensor, reachable: list[Tensor] | None = None
    ) -> Tensor:
        """Codes of ``digit`` that lead to a SID: bool ``(B, A, K)``.

        With ``reachable``, to one that the user may get.
        """
        starts, flat = self.starts[digit], prefixes.flatten()
        counts = starts[flat + 1] - starts[flat]
        owner, edge = slices(starts[flat], counts)
        size = self.codebook_size
        mask = torch.zeros(len(flat), size, dtype=torch.bool, device=flat.device)
        codes = self.levels[digit][edge] % size
        if reachable is None:
            mask[owner, codes] = True
        else:
            mask[owner, codes] = reachable[digit][owner // prefixes.shape[1], edge]
        return mask.view(*prefixes.shape, size)

    def follow(self, digit: int, prefixes: Tensor, codes: Tensor) -> Tensor:
        """The prefixes with one digit more; meaningless where none is such."""
        keys = self.levels[digit]
        place = torch.searchsorted(keys, prefixes * self.codebook_size + codes)
        return place.clamp(max=len(keys) - 1)


@torch.inference_mode()
def beam_search(
    model: AutoregressiveDecoder,
    memory: Memory,
    prefixes: Prefixes,
    beam: int,
    excluded_rows: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The ``beam`` likeliest existing SIDs, as far as the search sees them.

    Every prefix kept leads to a SID that the user may get, so as many are found as
    the beam holds or there are.

    Args:
        model: in evaluation mode.
        memory: the users' encoded histories, batch size B.
        prefixes: of the existing SIDs.
        beam: prefixes kept after every digit.
        excluded_rows: SIDs that a user may not get, bool ``(B, S)``; None: none.

    Returns:
        Rows of distinct SIDs, best first, and their summed log-probabilities, both
        ``(B, A)`` with A at most ``beam``; -1 and -inf where a user has fewer.
    """
    batch, device = memory.bias.shape[0], memory.bias.device
    size = prefixes.codebook_size
    scores = torch.zeros(batch, 1, device=device)
    nodes = torch.zeros(batch, 1, dtype=torch.int64, device=device)
    previous = torch.zeros_like(nodes)
    past: list[Past] | None = None
    reachable = None if excluded_rows is None else prefixes.reachable(excluded_rows)
    for digit in range(len(prefixes.levels)):
        logits, past = model.next_digit(digit, previous, past, memory)
        log_p = logits.log_softmax(-1)
        log_p = log_p.masked_fill(
            ~prefixes.allowed(digit, nodes, reachable), -torch.inf
        )
        candidates = (scores[..., None] + log_p).flatten(1)
        scores, flat = candidates.topk(min(beam, candidates.shape[1]), dim=1)
        # The best come first, so what no user needs is a tail.
        width = max(1, int((scores > -torch.inf).sum(1).max()))
        scores, flat = scores[:, :width], flat[:, :width]
        parents, previous = flat // size, flat % size
        nodes = prefixes.follow(digit, nodes.gather(1, parents), previous)
        past = [layer.take(parents) for layer in past]
    rows = prefixes.row_of_leaf[nodes]
    return rows.masked_fill(scores == -torch.inf, -1), scores


@dataclass(frozen=True)
class AutoregressiveRanker:
    """A beam over the prefixes of existing SIDs, at least as wide as the list.

    Attributes:
        model: in evaluation mode.
        prefixes: of the existing SIDs.
        catalogue: their items, and which of them may be recommended.
        beam: prefixes kept after every digit.
    """

    model: AutoregressiveDecoder
    prefixes: Prefixes
    catalogue: Catalogue
    beam: int

    def rank(self, batch: HistoryBatch, excluded: Tensor, k: int) -> Lists:
        """Rank items for a batch of users, as ``sidiff.ranking.ranker.Ranker`` says."""
        memory = self.model.encode(batch.history, batch.lengths)
        excluded_rows = self._excluded_rows(excluded)
        beam = max(self.beam, k)
        rows, scores = beam_search(
            self.model, memory, self.prefixes, beam, excluded_rows
        )
        items, found = items_of(rows, scores, self.catalogue, excluded, k)
        return Lists(
            fit(items, k, -1),
            fit(found, k, -torch.inf),
            distinct(rows, k),
            float(self.model.config.digits),
        )

    def _excluded_rows(self, excluded: Tensor) -> Tensor | None:
        """SIDs without an item that the user may get, bool ``(B, S)``; None: none."""
        empty = self.catalogue.sizes == 0
        if not excluded.shape[1] and not bool(empty.any()):
            return None
        excluded_rows = empty.repeat(len(excluded), 1)
        excluded_sids = self.catalogue.exhausted(excluded)
        user, place = (excluded_sids >= 0).nonzero(as_tuple=True)
        excluded_rows[user, excluded_sids[user, place]] = True
        return excluded_rows
