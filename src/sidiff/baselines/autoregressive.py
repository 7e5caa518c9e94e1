"""An autoregressive SID decoder: the denoiser's blocks, digits from left to right.

The control for masked diffusion, as in TIGER (arXiv 2305.05065). History encoder,
decoder blocks, table of code vectors and number of weights are the denoiser's. Only the
factorisation differs: digit j sees the digits before it. Its input is the vector of
digit j - 1 plus the denoiser's mask vector of digit j, which says which digit is
predicted.

It is trained with teacher forcing (``autoregressive_training``). Decoding is a beam
search over the prefixes of existing SIDs, with cached keys and values.

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
from sidiff.ranking.lists import distinct, items_of, padded_to
from sidiff.ranking.ranker import Lists


class KvCache(NamedTuple):
    """Self-attention keys and values of one layer for the digits already read.

    Attributes:
        keys: ``(B, A, H, P, d / H)``.
        values: as ``keys``.
    """

    keys: Tensor
    values: Tensor

    def take(self, parents: Tensor) -> KvCache:
        """Select the beams ``parents`` ``(B, A')`` of each user."""
        index = parents[..., None, None, None].expand(-1, -1, *self.keys.shape[2:])
        return KvCache(self.keys.gather(1, index), self.values.gather(1, index))


class CausalDecoderLayer(DecoderLayer):
    """The denoiser's decoder block with causal self-attention."""

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
            cache: of this layer; None at the first digit.
            keys: of the memory, for this layer.
            values: of the memory, for this layer.
            bias: of the memory.

        Returns:
            Tokens ``(B, A, Q, d)`` and the extended cache.
        """
        attention = self.self_attention
        heads = attention.project(self.self_norm(x))
        heads = heads.unflatten(3, (3, attention.heads, -1)).permute(3, 0, 1, 4, 2, 5)
        query, extended = heads[0], KvCache(heads[1], heads[2])
        if cache is not None:
            extended = KvCache(
                torch.cat([cache.keys, extended.keys], 3),
                torch.cat([cache.values, extended.values], 3),
            )
        new, total = query.shape[3], extended.keys.shape[3]
        visible = torch.ones(new, total, dtype=torch.bool, device=x.device)
        mixed = attend(
            query.flatten(0, 1),
            extended.keys.flatten(0, 1),
            extended.values.flatten(0, 1),
            visible.tril(total - new),
            attention.dropout if self.training else 0.0,
        )
        mixed = attention.output(mixed).view_as(x)
        return self.read(x + self.dropout(mixed), keys, values, bias), extended


class AutoregressiveDecoder(Denoiser):
    """History encoder and left-to-right SID decoder, with the denoiser's weights."""

    STORED = ("autoregressive decoder", "baselines")
    NEWEST_FIRST = True

    def __init__(self, config: DenoiserConfig) -> None:
        super().__init__(config)
        self.decoder = nn.ModuleList(
            CausalDecoderLayer(config) for _ in range(config.decoder_layers)
        )

    def logits(self, codes: Tensor, masked: Tensor, memory: Memory) -> Tensor:
        """Predict every digit from those before it: logits ``(B, V, L, K)``.

        Arguments as for the denoiser; ``masked`` is ignored.
        """
        del masked
        rows = (codes + self.first_row)[..., :-1]
        before = F.pad(F.embedding(rows, self.codes), (0, 0, 1, 0))
        x, _ = self._extend(before + self.masks, None, memory)
        return self.code_logits(x)

    def next_digit(
        self, digit: int, previous: Tensor, cache: list[KvCache] | None, memory: Memory
    ) -> tuple[Tensor, list[KvCache]]:
        """Predict one digit from the cache and the digit before it.

        Args:
            digit: its number, from 0.
            previous: code of digit ``digit - 1`` ``(B, A)``; ignored at digit 0.
            cache: of every layer; None at digit 0.
            memory: the users' histories.

        Returns:
            Logits ``(B, A, K)``, without gradient, and the cache for the next digit.
        """
        x = self.masks[digit].expand(*previous.shape, -1)
        if digit:
            x = x + self.codes[self.first_row[digit - 1] + previous]
        x, extended = self._extend(x[:, :, None], cache, memory)
        return product(x[:, :, 0], self.tables[digit]), extended

    def _extend(
        self, x: Tensor, cache: list[KvCache] | None, memory: Memory
    ) -> tuple[Tensor, list[KvCache]]:
        """Run the decoder layers on tokens ``(B, A, Q, d)``, and extend the cache."""
        x, extended = self.dropout(x), []
        layers = cast(Iterable[CausalDecoderLayer], self.decoder)
        for number, layer in enumerate(layers):
            keys, values = memory.keys[number], memory.values[number]
            before = cache[number] if cache else None
            x, layer_cache = layer.extend(x, before, keys, values, memory.bias)
            extended.append(layer_cache)
        return self.norm(x), extended


class Prefixes:
    """The prefix tree of the existing SIDs.

    Its levels are the sorted keys ``prefix * K + code`` of ``SidIndex``: the children
    of a prefix are a slice of the next level.
    """

    def __init__(self, index: SidIndex) -> None:
        """Build the tree of the SIDs in ``index``."""
        self.codebook_size = index.codebook_size
        self.levels = index.levels
        self.row_of_leaf = index.row_of_leaf
        self.starts = []
        nodes = 1
        for keys in self.levels:
            bounds = torch.arange(nodes + 1, device=keys.device) * self.codebook_size
            self.starts.append(torch.searchsorted(keys, bounds))
            nodes = len(keys)

    def reachable(self, excluded_rows: Tensor) -> list[Tensor]:
        """Mark the prefixes of 1, 2, ... digits that lead to an allowed SID.

        Args:
            excluded_rows: excluded SIDs, bool ``(B, S)``.

        Returns:
            For every number of digits, bool ``(B, prefixes)``.
        """
        marks = [~excluded_rows[:, self.row_of_leaf]]
        for keys in reversed(self.levels[1:]):
            parents = keys // self.codebook_size
            # Parents are sorted, so the last is the highest.
            shape = len(excluded_rows), int(parents[-1]) + 1
            counts = torch.zeros(shape, dtype=torch.int32, device=parents.device)
            counts.index_add_(1, parents, marks[0].int())
            marks.insert(0, counts > 0)
        return marks

    def allowed(
        self, digit: int, prefixes: Tensor, reachable: list[Tensor] | None = None
    ) -> Tensor:
        """Mark the codes of ``digit`` that lead to a SID: bool ``(B, A, K)``.

        With ``reachable``, only codes that lead to an allowed SID.
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
        """Extend prefixes by one digit; arbitrary where no SID has that code."""
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
    """Search for the ``beam`` most probable existing SIDs.

    Every prefix of the beam leads to an allowed SID, so the beam is full unless fewer
    SIDs are allowed.

    Args:
        model: in evaluation mode.
        memory: the users' encoded histories, batch size B.
        prefixes: of the existing SIDs.
        beam: prefixes kept after every digit.
        excluded_rows: excluded SIDs, bool ``(B, S)``; None for none.

    Returns:
        Rows of distinct SIDs, best first, and their summed log-probabilities, both
        ``(B, A)`` with A at most ``beam``; -1 and -inf in unused places.
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
        forbidden = ~prefixes.allowed(digit, nodes, reachable)
        log_p = logits.log_softmax(-1).masked_fill(forbidden, -torch.inf)
        candidates = (scores[..., None] + log_p).flatten(1)
        scores, flat = candidates.topk(min(beam, candidates.shape[1]), dim=1)
        # Columns without a candidate of any user are at the end.
        width = max(1, int((scores > -torch.inf).sum(1).max()))
        scores, flat = scores[:, :width], flat[:, :width]
        parents, previous = flat // size, flat % size
        nodes = prefixes.follow(digit, nodes.gather(1, parents), previous)
        cache = [layer.take(parents) for layer in cache]
    rows = prefixes.row_of_leaf[nodes]
    return rows.masked_fill(scores == -torch.inf, -1), scores


@dataclass(frozen=True)
class AutoregressiveRanker:
    """Ranker by a beam search, with a beam at least as wide as the list.

    Attributes:
        model: in evaluation mode.
        prefixes: of the existing SIDs.
        catalogue: their items, and the filter of items.
        beam: prefixes kept after every digit.
    """

    model: AutoregressiveDecoder
    prefixes: Prefixes
    catalogue: Catalogue
    beam: int

    def rank(self, batch: HistoryBatch, excluded: Tensor, k: int) -> Lists:
        """Rank items for a batch of users, as ``sidiff.ranking.ranker.Ranker`` says."""
        memory = self.model.encode(batch.history, batch.lengths)
        excluded_rows, beam = self._excluded_rows(excluded), max(self.beam, k)
        rows, scores = beam_search(
            self.model, memory, self.prefixes, beam, excluded_rows
        )
        items, item_scores = items_of(rows, scores, self.catalogue, excluded, k)
        return Lists(
            padded_to(items, k, -1),
            padded_to(item_scores, k, -torch.inf),
            distinct(rows, k),
            float(self.model.config.digits),
        )

    def _excluded_rows(self, excluded: Tensor) -> Tensor | None:
        """SIDs without an allowed item, bool ``(B, S)``; None if there are none."""
        empty = self.catalogue.sizes == 0
        if not excluded.shape[1] and not bool(empty.any()):
            return None
        excluded_rows = empty.repeat(len(excluded), 1)
        excluded_sids = self.catalogue.fully_excluded(excluded)
        user, place = (excluded_sids >= 0).nonzero(as_tuple=True)
        excluded_rows[user, excluded_sids[user, place]] = True
        return excluded_rows
