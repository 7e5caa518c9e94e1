"""An autoregressive SID decoder: the denoiser's blocks, digits from left to right.

The control that masked diffusion must beat (TIGER, arXiv 2305.05065, generates SIDs
so): same history encoder, same decoder blocks, same table of code vectors, same number
of weights. The one difference is the factorisation: digit j sees the digits before it
and no others. Its input is the vector of digit j - 1 plus the denoiser's mask vector of
digit j, which here says which digit is asked for.

Trained with teacher forcing (``autoregressive_training``); decoded by a beam over the
prefixes of existing SIDs (``prefix_search``).

Symbols: B batch, A beams, L digits, K codes, P digits already read, Q digits read now,
H heads, d d_model.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sidiff.diffusion.blocks import DecoderLayer
from sidiff.diffusion.denoiser import Denoiser, DenoiserConfig, Memory
from sidiff.onednn import product


class Past(NamedTuple):
    """Self-attention of one layer over the digits already read.

    Attributes:
        keys: ``(B, A, H, P, d / H)``.
        values: as ``keys``.
    """

    keys: Tensor
    values: Tensor

    def take(self, parents: Tensor) -> Past:
        """The past of the beams ``parents`` ``(B, A')`` of each user."""
        index = parents[..., None, None, None].expand(-1, -1, *self.keys.shape[2:])
        return Past(self.keys.gather(1, index), self.values.gather(1, index))


class CausalDecoderLayer(DecoderLayer):
    """The denoiser's decoder block, whose digits look back only."""

    def extend(
        self,
        x: Tensor,
        past: Past | None,
        keys: Tensor,
        values: Tensor,
        bias: Tensor,
    ) -> tuple[Tensor, Past]:
        """Read Q digits after P earlier ones.

        Args:
            x: tokens ``(B, A, Q, d)``.
            past: this layer's earlier digits; None where there are none.
            keys: of the memory, as ``values`` and ``bias``.
            values: of the memory.
            bias: of the memory.

        Returns:
            Tokens ``(B, A, Q, d)`` and the past with them added.
        """
        attention = self.self_attention
        heads = attention.project(self.self_norm(x))
        heads = heads.unflatten(3, (3, attention.heads, -1)).permute(3, 0, 1, 4, 2, 5)
        query, now = heads[0], Past(heads[1], heads[2])
        if past is not None:
            now = Past(
                torch.cat([past.keys, now.keys], 3),
                torch.cat([past.values, now.values], 3),
            )
        new, known = query.shape[3], now.keys.shape[3]
        visible = torch.ones(new, known, dtype=torch.bool, device=x.device)
        mixed = F.scaled_dot_product_attention(
            query.flatten(0, 1),
            now.keys.flatten(0, 1),
            now.values.flatten(0, 1),
            attn_mask=visible.tril(known - new),
            dropout_p=attention.dropout if self.training else 0.0,
        )
        mixed = attention.output(mixed.transpose(1, 2).flatten(2)).view_as(x)
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
        """Predict every digit from those before it, all at once.

        Args:
            codes: ``(B, V, L)`` int64; digit j is read by later digits only.
            masked: not read: the digits before a predicted one count as filled.
            memory: the users' histories, batch size B.

        Returns:
            Logits ``(B, V, L, K)``.
        """
        del masked
        rows = (codes + self.first_row)[..., :-1]
        before = F.pad(F.embedding(rows, self.codes), (0, 0, 1, 0))
        x, _ = self._extend(before + self.masks, None, memory)
        tables = self.codes.view(self.config.digits, self.config.codebook_size, -1)
        tokens = x.flatten(0, 1).transpose(0, 1)
        logits = torch.bmm(tokens, tables.transpose(1, 2))
        return logits.transpose(0, 1).unflatten(0, codes.shape[:2])

    def next_digit(
        self,
        digit: int,
        previous: Tensor,
        past: list[Past] | None,
        memory: Memory,
    ) -> tuple[Tensor, list[Past]]:
        """Predict one digit, reading only the digit before it.

        Args:
            digit: which, from 0.
            previous: code of digit ``digit - 1`` ``(B, A)``; not read at digit 0.
            past: every layer's earlier digits; None at digit 0.
            memory: the users' histories.

        Returns:
            Logits ``(B, A, K)``, without gradient, and the past that the next digit
            needs.
        """
        x = self.masks[digit].expand(*previous.shape, -1)
        if digit:
            x = x + self.codes[self.first_row[digit - 1] + previous]
        x, now = self._extend(x[:, :, None], past, memory)
        size = self.config.codebook_size
        table = self.codes[digit * size : (digit + 1) * size]
        return product(x[:, :, 0], table), now

    def _extend(
        self, x: Tensor, past: list[Past] | None, memory: Memory
    ) -> tuple[Tensor, list[Past]]:
        x = self.dropout(x)
        now = []
        for number, layer in enumerate(
            cast(Iterable[CausalDecoderLayer], self.decoder)
        ):
            x, kept = layer.extend(
                x,
                past[number] if past else None,
                memory.keys[number],
                memory.values[number],
                memory.bias,
            )
            now.append(kept)
        return self.norm(x), now
