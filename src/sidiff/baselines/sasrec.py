"""SASRec (Kang & McAuley 2018, arXiv 1808.09781) with a full softmax.

A causal transformer reads a user's items and predicts the next one at every position.
Three things are not the original's. The loss is the cross-entropy over the whole
catalogue instead of one sampled negative, which is what makes SASRec strong (Klenitskiy
& Vasilev 2023, arXiv 2309.07602). The blocks are this project's own (pre-LayerNorm,
GELU). A learned gate says whether users take again what they had. As in the original,
the item table is both input and output, and positions are learned and counted from the
end of the sequence.

Symbols: B batch, T history, N items, d d_model, P positions that predict.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sidiff.diffusion.blocks import EncoderLayer, draw_weights
from sidiff.diffusion.dropout import Dropout
from sidiff.diffusion.histories import HistoryBatch
from sidiff.diffusion.item_softmax import gated
from sidiff.diffusion.stored import StoredNetwork
from sidiff.onednn import product
from sidiff.ranking.items import Slice


@dataclass(frozen=True)
class SasRecConfig:
    """Everything that fixes the shape and function of a SASRec."""

    items: int
    max_history: int
    d_model: int
    heads: int
    d_ff: int
    layers: int
    dropout: float


class SasRec(StoredNetwork):
    """Item table, positions, causal encoder blocks, final LayerNorm."""

    CONFIG = SasRecConfig
    STORED = ("SASRec", "baselines")

    config: SasRecConfig

    def __init__(self, config: SasRecConfig) -> None:
        super().__init__()
        self.config = config
        self.items = nn.Parameter(torch.empty(config.items, config.d_model))
        self.positions = nn.Parameter(torch.empty(config.max_history, config.d_model))
        self.encoder = nn.ModuleList(EncoderLayer(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.d_model)
        self.dropout = Dropout(config.dropout)
        # Ours: whether users take again what they had is learned, as by the denoiser.
        self.gate = nn.Parameter(torch.zeros(1))

    def initialize(self, generator: torch.Generator) -> SasRec:
        """Draw all weights: Normal(0, 0.02) for matrices and tables, zero biases."""
        draw_weights(self, generator)
        nn.init.zeros_(self.gate)
        return self

    def forward(self, history: Tensor, lengths: Tensor) -> Tensor:
        """Read histories.

        Args:
            history: item indices, oldest first, right-padded with any item, ``(B, T)``.
            lengths: real items, at least 1, ``(B,)``.

        Returns:
            States ``(B, T, d)``; the one at t has seen the items 0 .. t. Those at pads
            carry no meaning.
        """
        slots = torch.arange(history.shape[1], device=history.device)
        newest_first = (lengths[:, None] - 1 - slots).clamp(min=0)
        # Pads come last, so what keeps the future out keeps them out as well.
        future = slots > slots[:, None]
        bias = torch.zeros_like(future, dtype=self.items.dtype)
        bias = bias.masked_fill(future, -torch.inf)
        x = self.dropout(
            F.embedding(history, self.items) + F.embedding(newest_first, self.positions)
        )
        for layer in cast(Iterable[EncoderLayer], self.encoder):
            x = layer(x, bias)
        return self.norm(x)

    @torch.no_grad()
    def logits(self, batch: HistoryBatch) -> Slice:
        """Products of the last state of each history with the items' vectors, gated."""
        history, size = batch.history_items, len(self.items)
        slots = torch.arange(history.shape[1], device=history.device)
        had = history.masked_fill(slots >= batch.lengths[:, None], -1)
        states = self(history, batch.lengths)
        last = states[torch.arange(len(states)), batch.lengths - 1]
        gates = self.gate.expand(len(last))
        return lambda items: gated(
            product(last, self.items.index_select(0, items)), gates, had, items, size
        )
