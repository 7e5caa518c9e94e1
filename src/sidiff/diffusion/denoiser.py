"""The denoiser: history encoder, bidirectional SID decoder, one shared code table.

DiffGRM's network (arXiv 2510.21805, section 3, and its release):

- one table of code vectors serves history input, decoder input and output head;
- a history item is one token: its digits' vectors through a two-layer MLP;
- code and mask vectors differ from digit to digit, so there is no position embedding;
- encoder and decoder share their final LayerNorm.

Options for MDGR's network (arXiv 2601.19501, section 4.3):

- ``history_tokens: codes``: one token per code of the history, its vector plus the
  embeddings of the item's and of the code's position;
- ``mask: shared``: one mask vector for all digits (Eq. 13); an embedding of the digit's
  position is added to every decoder input token;
- ``difficulty_embedding``: row d_k of a table, k the number of masked digits, is added
  to every decoder input token (4.3.1).

Symbols: B batch, T history items, V views or beams, L digits, K codes, d d_model, H
heads, S history tokens: T, or T * L with one per code.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sidiff.devices import products_in
from sidiff.diffusion.base import SidConfig, SidNetwork
from sidiff.diffusion.blocks import (
    DecoderLayer,
    EncoderLayer,
    Packing,
    log_mask,
    required_first,
)
from sidiff.diffusion.dropout import Dropout
from sidiff.onednn import Linear


@dataclass(frozen=True, kw_only=True)
class DenoiserConfig(SidConfig):
    """Shape and function of a denoiser."""

    cross_pad: Literal["sink", "mask"]
    history_tokens: Literal["items", "codes"] = "items"
    mask: Literal["per_digit", "shared"] = "per_digit"
    difficulty_embedding: bool = False

    @property
    def tokens_per_item(self) -> int:
        """Tokens of one history item: 1, or one per code."""
        return self.digits if self.history_tokens == "codes" else 1


@dataclass(frozen=True)
class Memory:
    """A batch of encoded histories, made once for all views and steps.

    Attributes:
        hidden_states: encoder output, zero at pads, ``(B, S, d)``.
        keys: per decoder layer, ``(B, H, S + 1, d / H)``; the last key is the sink.
        values: as ``keys``.
        bias: added to the attention logits, ``(B, 1, 1, S + 1)``.
    """

    hidden_states: Tensor
    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]
    bias: Tensor

    def take(self, rows: Tensor) -> Memory:
        """The memories of the users ``rows`` ``(C,)``."""
        return Memory(
            self.hidden_states[rows],
            tuple(keys[rows] for keys in self.keys),
            tuple(values[rows] for values in self.values),
            self.bias[rows],
        )


class DenoisingModel(Protocol):
    """A model that decoders can search with."""

    @property
    def config(self) -> SidConfig:
        """The shape of SIDs and of the network."""

    def logits(self, codes: Tensor, masked: Tensor, memory: Any) -> Tensor:
        """Logits ``(B, V, L, K)`` of masked digits; the model defines its memory."""


class Denoiser(SidNetwork):
    """History encoder and bidirectional SID decoder; unused parts have no weights."""

    CONFIG = DenoiserConfig
    STORED = ("denoiser", "training")
    NEWEST_FIRST: ClassVar[bool] = False
    """Positions are counted from the newest item of the history, not the oldest."""

    config: DenoiserConfig

    def __init__(self, config: DenoiserConfig) -> None:
        super().__init__(config)
        masks = config.digits if config.mask == "per_digit" else 1
        self.masks = nn.Parameter(torch.empty(masks, config.d_model))
        self.positions = nn.Parameter(torch.empty(config.max_history, config.d_model))
        if config.history_tokens == "items":
            self.item_in = Linear(config.digits * config.d_model, config.d_model)
            self.item_out = Linear(config.d_model, config.d_model)
        per_digit = (config.digits, config.d_model)
        if config.history_tokens == "codes" or config.mask == "shared":
            self.sid_positions = nn.Parameter(torch.empty(per_digit))
        if config.difficulty_embedding:
            self.difficulties = nn.Parameter(torch.empty(per_digit))
        self.encoder = nn.ModuleList(
            EncoderLayer(config) for _ in range(config.encoder_layers)
        )
        self.decoder = nn.ModuleList(
            DecoderLayer(config) for _ in range(config.decoder_layers)
        )
        self.norm = nn.LayerNorm(config.d_model)
        self.dropout = Dropout(config.dropout)

    def encode(self, history: Tensor, lengths: Tensor) -> Memory:
        """Encode a batch of histories.

        Args:
            history: codes of each item, oldest first, right-padded with any valid
                code, ``(B, T, L)`` int64, ``T <= max_history``.
            lengths: number of real items, ``(B,)``; 0 is a user without history.

        Returns:
            The memory for ``logits``.
        """
        each = self.config.tokens_per_item
        slots = torch.arange(each * history.shape[1], device=history.device)
        real = slots < each * lengths[:, None]
        # A user without history attends to one pad, so that no softmax is empty;
        # the pad's hidden state is zeroed below like any other.
        visible = real | ((slots == 0) & (lengths == 0)[:, None])
        bias = log_mask(visible)[:, None, None]
        packing = Packing.of(real)
        place = packing.slot // each
        if self.NEWEST_FIRST:
            place = (lengths[packing.owner] - 1 - place).clamp(min=0)
        with products_in(self.precision, history.device):
            x = self._tokens(history, packing) + self.positions[place]
            x = self.dropout(x)
            for layer in self.encoder:
                x = layer(x, bias, packing)
            x = self.norm(x)
            keys, values = self.project_memory(x, packing)
        return Memory(packing.pad(x), keys, values, self._memory_bias(real, lengths))

    def logits(self, codes: Tensor, masked: Tensor, memory: Memory) -> Tensor:
        """Predict masked digits of partial SIDs.

        Args:
            codes: ``(B, V, L)`` int64; values at masked digits are ignored.
            masked: ``(B, V, L)`` bool.
            memory: the users' histories, batch size B.

        Returns:
            Logits ``(B, V, L, K)``; those of filled digits are arbitrary.
        """
        *layers, last = cast(list[DecoderLayer], list(self.decoder))
        with products_in(self.precision, codes.device):
            x = self.dropout(self._inputs(codes, masked))
            for layer, keys, values in zip(
                layers, memory.keys, memory.values, strict=False
            ):
                x = layer(x, keys, values, memory.bias)
            # The last layer computes only the outputs of masked digits.
            x, place = required_first(last.mix(x), masked)
            x = last.read(x, memory.keys[-1], memory.values[-1], memory.bias)
            place = place[..., None].expand(-1, -1, x.shape[3])
            x = self.norm(x)[:, 0].gather(1, place)
        return self.code_logits(x.unflatten(1, codes.shape[1:]))

    def _inputs(self, codes: Tensor, masked: Tensor) -> Tensor:
        """Decoder input tokens ``(B, V, L, d)`` of partial SIDs ``(B, V, L)``."""
        shared = self.config.mask == "shared"
        digits = torch.arange(self.config.digits, device=codes.device)
        mask = len(self.codes) + (torch.zeros_like(digits) if shared else digits)
        rows = torch.where(masked, mask, codes + self.first_row)
        x = F.embedding(rows, torch.cat([self.codes, self.masks]))
        if shared:
            x = x + self.sid_positions
        if self.config.difficulty_embedding:
            # Row k for k masked digits; a complete SID has a row of zeros.
            table = F.pad(self.difficulties, (0, 0, 1, 0))
            x = x + F.embedding(masked.sum(2), table)[:, :, None]
        return x

    def unprojected(self, memory: Memory) -> Memory:
        """The memory of the OCN probe of DiffGRM's release (``probe_kv: raw``).

        That probe omits the key/value projection: keys and values are hidden states.
        """
        raw = memory.hidden_states.unflatten(2, (self.config.heads, -1)).transpose(1, 2)
        padded = (F.pad(raw, (0, 0, 0, 1)),) * self.config.decoder_layers
        return Memory(memory.hidden_states, padded, padded, memory.bias)

    def _tokens(self, history: Tensor, packing: Packing) -> Tensor:
        """Packed history tokens ``(n, d)`` without the positions of their items.

        The MLP's first layer is linear in each digit's vector, so it is applied to the
        table of L x K vectors instead of every item.
        """
        config = self.config
        if config.history_tokens == "codes":
            digit = packing.slot % config.digits
            rows = packing.pack(history.flatten(1)) + self.first_row[digit]
            return F.embedding(rows, self.codes) + self.sid_positions[digit]
        blocks = self.item_in.weight.view(config.d_model, config.digits, -1)
        projected = torch.bmm(self.tables, blocks.permute(1, 2, 0)).flatten(0, 1)
        codes = packing.pack(history) + self.first_row
        summed = F.embedding_bag(codes, projected, mode="sum")
        return self.item_out(F.relu(summed + self.item_in.bias))

    def _memory_bias(self, real: Tensor, lengths: Tensor) -> Tensor:
        """Attention bias over S keys and the sink, ``(B, 1, 1, S + 1)``.

        DiffGRM's release pads every history to ``max_history`` and does not mask the
        pads: each has a zero key and value, and adds exp(0) to the denominator of the
        softmax. One zero key with the logit log(number of pads) is equivalent.
        """
        pads = (self.config.max_history - lengths) * self.config.tokens_per_item
        if self.config.cross_pad == "mask":
            pads = lengths == 0
        bias = torch.cat([log_mask(real), pads.float().log()[:, None]], 1)
        return bias[:, None, None]
