"""An autoregressive SID decoder: the denoiser's blocks, digits from left to right.

The control that masked diffusion must beat (TIGER, arXiv 2305.05065, generates SIDs
so): same history encoder, same decoder blocks, same table of code vectors, same number
of weights. The one difference is the factorisation: digit j sees the digits before it
and no others. Its input is the vector of digit j - 1 plus the denoiser's mask vector of
digit j, which here says which digit is predicted.

Trained with teacher forcing (``autoregressive_training``); decoded by a beam over the
prefixes of existing SIDs, with the keys and values of the digits already chosen.

Symbols: B batch, A beams, L digits, K codes, P digits already read, Q digits read now,
H heads, d d_model, E excluded items, S distinct SIDs.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sidiff.decoding.catalogue import Catalogue
from sidiff.decoding.keys import SidIndex
from sidiff.diffusion.blocks import DecoderLayer, attend
from sidiff.diffusion.denoiser import Denoiser, DenoiserConfig, Memory
from sidiff.diffusion.histories import HistoryBatch
from sidiff.diffusion.slices import slices
from sidiff.onednn import product
from sidiff.ranking.lists import distinct, fit, items_of
from sidiff.ranking.ranker import Lists
from sidiff.sids.table import SidTable


class KvCache(NamedTuple):
    """Self-attention of one layer over the digits already read.

    Attributes:
        keys: ``(B, A, H, P, d / H)``.
        values: as ``keys``.
    """

    keys: Tensor
    values: Tensor

    def take(self, parents: Tensor) -> KvCache:
        """The cache of the beams ``parents`` ``(B, A')`` of each user."""
        index = parents[..., None, None, None].expand(-1, -1, *self.keys.shape[2:])
        return KvCache(self.keys.gather(1, index), self.values.gather(1, index))


class CausalDecoderLayer(DecoderLayer):
    """The denoiser's decoder block, whose digits look back only."""

    def extend(
        self,
        x: Tensor,
        cache: KvCache | None,
        keys: Tensor,
        values: Tensor,
        bias: Tensor,
    ) -> tuple[Tensor, KvCache]:
        """Read Q digits after P earlier ones.

        Args:
            x: tokens ``(B, A, Q, d)``.
            cache: this layer's earlier digits; None where there are none.
            keys: of the memory, as ``values`` and ``bias``.
            values: of the memory.
            bias: of the memory.

        Returns:
            Tokens ``(B, A, Q, d)`` and the cache with them added.
        """
        attention = self.self_attention
        heads = attention.project(self.self_norm(x))
        heads = heads.unflatten(3, (3, attention.heads, -1)).permute(3, 0, 1, 4, 2, 5)
        query, now = heads[0], KvCache(heads[1], heads[2])
        if cache is not None:
            now = KvCache(
                torch.cat([cache.keys, now.keys], 3),
                torch.cat([cache.values, now.values], 3),
            )
        new, known = query.shape[3], now.keys.shape[3]
        visible = torch.ones(new, known, dtype=torch.bool, device=x.device)
        mixed = attend(
            query.flatten(0, 1),
            now.keys.flatten(0, 1),
            now.values.flatten(0, 1),
            visible.tril(known - new),
            attention.dropout if self.training else 0.0,
        )
        mixed = attention.output(mixed).view_as(x)
        return self.read(x + self.dropout(mixed), keys, values, bias), now


class AutoregressiveDecoder(Denoiser):
    """History encoder and left-to-right SID decoder, with the denoiser's weights."""

    STORED = ("autoregressive decoder", "baselines")
    # The last item has the same place in every history.
    NEWEST_FIRST = True

    def __init__(self, config: DenoiserConfig) -> None:
        super().__init__(config)
        self.decoder = nn.ModuleList(
            CausalDecoderLayer(config) for _ in range(config.decoder_layers)
        )

    def logits(self, codes: Tensor, masked: Tensor, memory: Memory) -> Tensor:
        """Predict every digit from those before it, all at once, ``(B, V, L, K)``.

        Arguments as of the denoiser; ``masked`` is not read, because the digits before
        a predicted one count as filled.
        """
        del masked
        rows = (codes + self.first_row)[..., :-1]
        before = F.pad(F.embedding(rows, self.codes), (0, 0, 1, 0))
        x, _ = self._extend(before + self.masks, None, memory)
        return self.code_logits(x)

    def next_digit(
        self, digit: int, previous: Tensor, cache: list[KvCache] | None, memory: Memory
    ) -> tuple[Tensor, list[KvCache]]:
        """Predict one digit, reading only the digit before it.

        Args:
            digit: which, from 0.
            previous: code of digit ``digit - 1`` ``(B, A)``; not read at digit 0.
            cache: every layer's earlier digits; None at digit 0.
            memory: the users' histories.

        Returns:
            Logits ``(B, A, K)``, without gradient, and the cache that the next digit
            needs.
        """
        x = self.masks[digit].expand(*previous.shape, -1)
        if digit:
            x = x + self.codes[self.first_row[digit - 1] + previous]
        x, now = self._extend(x[:, :, None], cache, memory)
        return product(x[:, :, 0], self.tables[digit]), now

    def _extend(
        self, x: Tensor, cache: list[KvCache] | None, memory: Memory
    ) -> tuple[Tensor, list[KvCache]]:
        x, now = self.dropout(x), []
        layers = cast(Iterable[CausalDecoderLayer], self.decoder)
        for number, layer in enumerate(layers):
            keys, values = memory.keys[number], memory.values[number]
            before = cache[number] if cache else None
            x, kept = layer.extend(x, before, keys, values, memory.bias)
            now.append(kept)
        return self.norm(x), now


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
            shape = len(excluded_rows), int(parents[-1]) + 1
            counts = torch.zeros(shape, dtype=torch.int32, device=parents.device)
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
    cache: list[KvCache] | None = None
    reachable = None if excluded_rows is None else prefixes.reachable(excluded_rows)
    for digit in range(len(prefixes.levels)):
        logits, cache = model.next_digit(digit, previous, cache, memory)
        barred = ~prefixes.allowed(digit, nodes, reachable)
        log_p = logits.log_softmax(-1).masked_fill(barred, -torch.inf)
        candidates = (scores[..., None] + log_p).flatten(1)
        scores, flat = candidates.topk(min(beam, candidates.shape[1]), dim=1)
        # The best come first, so what no user needs is a tail.
        width = max(1, int((scores > -torch.inf).sum(1).max()))
        scores, flat = scores[:, :width], flat[:, :width]
        parents, previous = flat // size, flat % size
        nodes = prefixes.follow(digit, nodes.gather(1, parents), previous)
        cache = [layer.take(parents) for layer in cache]
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
        barred, beam = self._excluded_rows(excluded), max(self.beam, k)
        rows, scores = beam_search(self.model, memory, self.prefixes, beam, barred)
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
        excluded_sids = self.catalogue.fully_excluded(excluded)
        user, place = (excluded_sids >= 0).nonzero(as_tuple=True)
        excluded_rows[user, excluded_sids[user, place]] = True
        return excluded_rows
