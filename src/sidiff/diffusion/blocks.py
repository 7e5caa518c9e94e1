"""Transformer blocks of the networks: packed tokens, attention, pre-LayerNorm layers.

Two things make them fast. Histories are packed: only the attention itself reads
padding. Views and beams are part of the query length of the cross-attention, so that
they share a user's keys and values.

Symbols: B batch, T tokens of a history, Q queries, V views or beams, L digits,
d d_model, H heads, n packed tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sidiff.diffusion.dropout import Dropout
from sidiff.onednn import Linear

PACKED_GRAIN = 64
"""Packed tokens are padded to a multiple of this. The CPU library builds and keeps a
kernel for each shape of a matrix product, which costs time and memory."""

INNER_NUMBERS = 2**20
"""Numbers inside a feed-forward block at a time, without gradients: 4 MiB."""


@dataclass(frozen=True, kw_only=True)
class BlockShape:
    """The shape of a network's blocks.

    Attributes:
        d_model: numbers per token, d.
        heads: attention heads, H; a divisor of d.
        d_ff: numbers per token inside the feed-forward block.
        dropout: probability of dropout in training.
    """

    d_model: int
    heads: int
    d_ff: int
    dropout: float


def attend(
    query: Tensor, keys: Tensor, values: Tensor, bias: Tensor | None, dropout: float
) -> Tensor:
    """Softmax attention, ``(B, H, Q, d / H)``, heads joined to ``(B, Q, d)``."""
    mixed = F.scaled_dot_product_attention(
        query, keys, values, attn_mask=bias, dropout_p=dropout
    )
    return mixed.transpose(1, 2).flatten(2)


class Packing(NamedTuple):
    """The places of the real tokens of a padded batch, one after the other.

    Attributes:
        batch: B.
        length: T.
        tokens: number of real tokens; others are padding to ``PACKED_GRAIN``.
        owner: user of each token ``(n,)``.
        slot: its place in the user's history ``(n,)``.
    """

    batch: int
    length: int
    tokens: int
    owner: Tensor
    slot: Tensor

    @classmethod
    def of(cls, real: Tensor) -> Packing:
        """The packing of the tokens where ``real`` ``(B, T)`` is true."""
        owner, slot = real.nonzero(as_tuple=True)
        tokens = len(owner)
        spare = (0, -tokens % PACKED_GRAIN)
        batch, length = real.shape
        return cls(batch, length, tokens, F.pad(owner, spare), F.pad(slot, spare))

    def pack(self, x: Tensor) -> Tensor:
        """Pack ``(B, T, ...)`` to ``(n, ...)``."""
        return x.flatten(0, 1)[self.owner * self.length + self.slot]

    def pad(self, x: Tensor, more: int = 0) -> Tensor:
        """Unpack ``(n, d)`` to ``(B, T + more, d)``, zero at pads."""
        length = self.length + more
        padded = x.new_zeros(self.batch * length, x.shape[1])
        place = (self.owner * length + self.slot)[: self.tokens]
        padded = padded.index_copy(0, place, x[: self.tokens])
        return padded.unflatten(0, (self.batch, length))


class SelfAttention(nn.Module):
    """Multi-head self-attention; only the output has a bias."""

    def __init__(self, shape: BlockShape) -> None:
        super().__init__()
        self.heads = shape.heads
        self.dropout = shape.dropout
        self.project = Linear(shape.d_model, 3 * shape.d_model, bias=False)
        self.output = Linear(shape.d_model, shape.d_model)

    def forward(
        self, x: Tensor, bias: Tensor | None = None, packing: Packing | None = None
    ) -> Tensor:
        """Mix tokens ``(B, Q, d)``, or ``(n, d)`` if packed.

        ``bias`` broadcasts to ``(B, H, Q, Q)``.
        """
        projected = self.project(x)
        if packing is not None:
            projected = packing.pad(projected)
        heads = projected.unflatten(2, (3, self.heads, -1)).transpose(1, 3)
        query, keys, values = heads.unbind(2)
        dropout = self.dropout if self.training else 0.0
        mixed = attend(query, keys, values, bias, dropout)
        return self.output(mixed if packing is None else packing.pack(mixed))


class CrossAttention(nn.Module):
    """Attention of decoder tokens to a ``Memory``."""

    def __init__(self, shape: BlockShape) -> None:
        super().__init__()
        self.heads = shape.heads
        self.dropout = shape.dropout
        self.query = Linear(shape.d_model, shape.d_model, bias=False)
        self.key_value = Linear(shape.d_model, 2 * shape.d_model, bias=False)
        self.output = Linear(shape.d_model, shape.d_model)

    def project_memory(self, hidden: Tensor, packing: Packing) -> tuple[Tensor, Tensor]:
        """Keys and values ``(B, H, T + 1, d / H)`` of packed hidden states.

        The last position is the sink; its key and value are zero.
        """
        pair = packing.pad(self.key_value(hidden), more=1)
        heads = pair.unflatten(2, (2, self.heads, -1)).transpose(1, 3)
        keys, values = heads.unbind(2)
        return keys, values

    def forward(self, x: Tensor, keys: Tensor, values: Tensor, bias: Tensor) -> Tensor:
        """Read the memory with queries from ``x`` ``(B, Q, d)``."""
        query = self.query(x).unflatten(2, (self.heads, -1)).transpose(1, 2)
        dropout = self.dropout if self.training else 0.0
        return self.output(attend(query, keys, values, bias, dropout))


class FeedForward(nn.Sequential):
    """Linear, exact GELU, Linear."""

    def __init__(self, shape: BlockShape) -> None:
        super().__init__(
            Linear(shape.d_model, shape.d_ff),
            nn.GELU(),
            Linear(shape.d_ff, shape.d_model),
        )
        self.rows = max(1, INNER_NUMBERS // shape.d_ff)

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens ``(..., d)``, without gradients in parts that fit the cache."""
        whole = cast(Callable[[Tensor], Tensor], super().forward)
        if torch.is_grad_enabled() or x.device.type != "cpu":
            return whole(x)
        parts = x.flatten(0, -2).split(self.rows)
        return torch.cat([whole(part) for part in parts]).view_as(x)


class EncoderLayer(nn.Module):
    """Pre-LayerNorm block over history tokens."""

    def __init__(self, shape: BlockShape) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(shape.d_model)
        self.attention = SelfAttention(shape)
        self.feed_forward_norm = nn.LayerNorm(shape.d_model)
        self.feed_forward = FeedForward(shape)
        self.dropout = Dropout(shape.dropout)

    def forward(
        self, x: Tensor, bias: Tensor, packing: Packing | None = None
    ) -> Tensor:
        """Map tokens ``(B, T, d)``, or ``(n, d)`` if packed; ``bias`` hides pads."""
        x = x + self.dropout(self.attention(self.attention_norm(x), bias, packing))
        return x + self.dropout(self.feed_forward(self.feed_forward_norm(x)))


class DecoderLayer(nn.Module):
    """Pre-LayerNorm block: self-attention, cross-attention, feed-forward."""

    def __init__(self, shape: BlockShape) -> None:
        super().__init__()
        self.self_norm = nn.LayerNorm(shape.d_model)
        self.self_attention = SelfAttention(shape)
        self.cross_norm = nn.LayerNorm(shape.d_model)
        self.cross_attention = CrossAttention(shape)
        self.feed_forward_norm = nn.LayerNorm(shape.d_model)
        self.feed_forward = FeedForward(shape)
        self.dropout = Dropout(shape.dropout)

    def forward(self, x: Tensor, keys: Tensor, values: Tensor, bias: Tensor) -> Tensor:
        """Map digit tokens ``x`` ``(B, V, L, d)``."""
        return self.read(self.mix(x), keys, values, bias)

    def mix(self, x: Tensor) -> Tensor:
        """The self-attention of the digits of each view."""
        views = self.self_norm(x).flatten(0, 1)
        return x + self.dropout(self.self_attention(views)).view_as(x)

    def read(self, x: Tensor, keys: Tensor, values: Tensor, bias: Tensor) -> Tensor:
        """Cross-attention to the history, and feed-forward."""
        queries = self.cross_norm(x).flatten(1, 2)
        read = self.cross_attention(queries, keys, values, bias)
        x = x + self.dropout(read).view_as(x)
        return x + self.dropout(self.feed_forward(self.feed_forward_norm(x)))


def log_mask(visible: Tensor) -> Tensor:
    """0 where visible, -inf elsewhere."""
    return torch.zeros_like(visible, dtype=torch.float32).masked_fill(
        ~visible, -torch.inf
    )


def required_first(x: Tensor, required: Tensor) -> tuple[Tensor, Tensor]:
    """The required tokens of each user, padded with other tokens.

    Args:
        x: ``(B, V, L, d)``.
        required: required tokens ``(B, V, L)`` bool.

    Returns:
        Tokens ``(B, 1, n, d)``, n the largest number of required tokens of a user, and
        the place of each token among them ``(B, V * L)``, arbitrary for other tokens.
    """
    required = required.flatten(1)
    count = max(1, int(required.sum(1).max()))
    order = required.to(torch.uint8).argsort(dim=1, descending=True, stable=True)
    chosen = order[:, :count, None].expand(-1, -1, x.shape[3])
    place = order.argsort(1).clamp(max=count - 1)
    return x.flatten(1, 2).gather(1, chosen)[:, None], place
