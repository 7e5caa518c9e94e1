"""The denoiser: history encoder, bidirectional SID decoder, one shared code table.

Notable choices, all of DiffGRM (arXiv 2510.21805, section 3, and its release):

- one table of code vectors serves history input, decoder input and output head;
- a history item is one token: its digits' vectors through a two-layer MLP;
- the decoder knows a digit by its table slice or mask vector, not by a position;
- encoder and decoder share their final LayerNorm.

Three things are done differently, with the same function. The first MLP layer is
applied to the code table rather than to every history item (an item is then a sum
of ``L`` rows). Views and beams are folded into the query length, so that a user's
keys and values exist once, however many views or beams read them. Histories are packed:
only attention itself sees padding.

Beyond the papers, items may have an identity: a learned vector beside their codes, in
the history and in a softmax over whole items (as SASRec has, arXiv 1808.09781). What
the codes leave out of an item, the identity can hold; an item that was not there in
training has the zero vector and is known by its codes alone.

Symbols: B batch, T history, V views or beams, L digits, K codes, d width, H heads,
R items with an identity.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal, NamedTuple, Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sidiff.devices import products_in
from sidiff.diffusion.dropout import Dropout
from sidiff.diffusion.stored import load_weights, read_config
from sidiff.onednn import Linear
from sidiff.parameters import NetworkParameters, Precision

INITIAL_STD = 0.02

PACKED_GRAIN = 64
"""Packed tokens come in multiples of this. A matrix product of a new shape costs the
CPU a newly made kernel, which it keeps: time and memory for every other length."""

INNER_NUMBERS = 2**20
"""Numbers inside a feed-forward block at a time, where nothing keeps them: 4 MiB."""


@dataclass(frozen=True)
class DenoiserConfig:
    """Everything that fixes the shape and function of a denoiser."""

    digits: int
    codes_per_digit: int
    max_history: int
    width: int
    heads: int
    inner: int
    encoder_layers: int
    decoder_layers: int
    dropout: float
    cross_pad: Literal["sink", "mask"]
    positions: Literal["oldest", "newest"] = "oldest"
    identity_dropout: float = 0.0
    identified_items: int = 0

    @classmethod
    def build(
        cls,
        network: NetworkParameters,
        digits: int,
        codes_per_digit: int,
        max_history: int,
        identified_items: int,
    ) -> DenoiserConfig:
        """Join the network's parameters with the shape of SIDs, histories, items.

        ``identified_items`` is R, the number of items that may have an identity; the
        network has none where ``network.item_identity`` is off.
        """
        return cls(
            digits,
            codes_per_digit,
            max_history,
            identified_items=identified_items if network.item_identity else 0,
            **network.model_dump(exclude={"item_identity"}),
        )


@dataclass(frozen=True)
class Memory:
    """A batch of encoded histories, made once and read by every view and step.

    Attributes:
        states: encoder output, zero at pads, ``(B, T, d)``.
        keys: per decoder layer, ``(B, H, T + 1, d / H)``; the last key is the sink.
        values: as ``keys``.
        bias: added to the attention logits, ``(B, 1, 1, T + 1)``.
        users: what is asked of the item vectors, ``(B, d)``; None without identities.
    """

    states: Tensor
    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]
    bias: Tensor
    users: Tensor | None = None

    def take(self, rows: Tensor) -> Memory:
        """The memories of the users ``rows`` ``(C,)``."""
        return Memory(
            self.states[rows],
            tuple(keys[rows] for keys in self.keys),
            tuple(values[rows] for values in self.values),
            self.bias[rows],
            None if self.users is None else self.users[rows],
        )


@dataclass(frozen=True)
class ItemTable:
    """What the network may know of items: N rows, on its device.

    Attributes:
        codes: ``(N, L)`` int64.
        identities: row in the network's identity table, 0 for none, ``(N,)`` int64.
    """

    codes: Tensor
    identities: Tensor


class DenoisingModel(Protocol):
    """What a decoder or a noising strategy may ask of the network."""

    config: DenoiserConfig

    def encode(
        self, history: Tensor, lengths: Tensor, identities: Tensor | None = None
    ) -> Memory:
        """Encode histories ``(B, T, L)`` of ``lengths`` ``(B,)``."""

    def item_vectors(self, items: ItemTable) -> Tensor:
        """Vectors ``(N, d)`` whose product with ``Memory.users`` scores whole items."""

    def logits(
        self,
        codes: Tensor,
        masked: Tensor,
        memory: Memory,
        wanted: Tensor | None = None,
    ) -> Tensor:
        """Logits ``(B, V, L, K)`` of masked, or wanted, digits."""


def _attend(
    query: Tensor, keys: Tensor, values: Tensor, bias: Tensor | None, dropout: float
) -> Tensor:
    """Softmax attention, ``(B, H, Q, d / H)``, heads joined to ``(B, Q, d)``."""
    mixed = F.scaled_dot_product_attention(
        query, keys, values, attn_mask=bias, dropout_p=dropout
    )
    return mixed.transpose(1, 2).flatten(2)


class Packing(NamedTuple):
    """The real tokens of a padded batch, one after the other.

    Attributes:
        batch: B.
        length: T.
        tokens: how many are real; those after them are nobody's.
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
        """Pack where ``real`` ``(B, T)`` bool says so."""
        owner, slot = real.nonzero(as_tuple=True)
        tokens = len(owner)
        spare = (0, -tokens % PACKED_GRAIN)
        batch, length = real.shape
        return cls(batch, length, tokens, F.pad(owner, spare), F.pad(slot, spare))

    def pack(self, x: Tensor) -> Tensor:
        """``(B, T, ...)`` to ``(n, ...)``."""
        return x.flatten(0, 1)[self.owner * self.length + self.slot]

    def pad(self, x: Tensor, more: int = 0) -> Tensor:
        """``(n, d)`` to ``(B, T + more, d)``, zero at pads."""
        length = self.length + more
        padded = x.new_zeros(self.batch * length, x.shape[1])
        place = (self.owner * length + self.slot)[: self.tokens]
        padded = padded.index_copy(0, place, x[: self.tokens])
        return padded.unflatten(0, (self.batch, length))


class SelfAttention(nn.Module):
    """Multi-head self-attention: projections without bias, output with bias."""

    def __init__(self, config: DenoiserConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.dropout = config.dropout
        self.project = Linear(config.width, 3 * config.width, bias=False)
        self.output = Linear(config.width, config.width)

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
        mixed = _attend(query, keys, values, bias, dropout)
        return self.output(mixed if packing is None else packing.pack(mixed))


class CrossAttention(nn.Module):
    """Attention of decoder tokens to a ``Memory``."""

    def __init__(self, config: DenoiserConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.dropout = config.dropout
        self.query = Linear(config.width, config.width, bias=False)
        self.key_value = Linear(config.width, 2 * config.width, bias=False)
        self.output = Linear(config.width, config.width)

    def project_memory(self, states: Tensor, packing: Packing) -> tuple[Tensor, Tensor]:
        """Keys and values ``(B, H, T + 1, d / H)`` of packed encoder states.

        Those of the sink, the last one, are zero.
        """
        pair = packing.pad(self.key_value(states), more=1)
        heads = pair.unflatten(2, (2, self.heads, -1)).transpose(1, 3)
        keys, values = heads.unbind(2)
        return keys, values

    def forward(self, x: Tensor, keys: Tensor, values: Tensor, bias: Tensor) -> Tensor:
        """Read the memory with queries from ``x`` ``(B, Q, d)``."""
        query = self.query(x).unflatten(2, (self.heads, -1)).transpose(1, 2)
        dropout = self.dropout if self.training else 0.0
        return self.output(_attend(query, keys, values, bias, dropout))


class FeedForward(nn.Sequential):
    """Linear, exact GELU, Linear."""

    def __init__(self, config: DenoiserConfig) -> None:
        super().__init__(
            Linear(config.width, config.inner),
            nn.GELU(),
            Linear(config.inner, config.width),
        )
        self.rows = max(1, INNER_NUMBERS // config.inner)

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens ``(..., d)``, each by itself.

        Without gradients, when what is in between need not be kept, the CPU goes
        through them in parts that stay in its cache.
        """
        whole = cast(Callable[[Tensor], Tensor], super().forward)
        if torch.is_grad_enabled() or x.device.type != "cpu":
            return whole(x)
        parts = x.flatten(0, -2).split(self.rows)
        return torch.cat([whole(part) for part in parts]).view_as(x)


class EncoderLayer(nn.Module):
    """Pre-LayerNorm block over history tokens."""

    def __init__(self, config: DenoiserConfig) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(config.width)
        self.attention = SelfAttention(config)
        self.feed_forward_norm = nn.LayerNorm(config.width)
        self.feed_forward = FeedForward(config)
        self.dropout = Dropout(config.dropout)

    def forward(
        self, x: Tensor, bias: Tensor, packing: Packing | None = None
    ) -> Tensor:
        """Tokens ``(B, T, d)``, packed ``(n, d)``; ``bias`` hides pads as keys."""
        x = x + self.dropout(self.attention(self.attention_norm(x), bias, packing))
        return x + self.dropout(self.feed_forward(self.feed_forward_norm(x)))


class DecoderLayer(nn.Module):
    """Pre-LayerNorm block: digits among themselves, digits to history, feed-forward."""

    def __init__(self, config: DenoiserConfig) -> None:
        super().__init__()
        self.self_norm = nn.LayerNorm(config.width)
        self.self_attention = SelfAttention(config)
        self.cross_norm = nn.LayerNorm(config.width)
        self.cross_attention = CrossAttention(config)
        self.feed_forward_norm = nn.LayerNorm(config.width)
        self.feed_forward = FeedForward(config)
        self.dropout = Dropout(config.dropout)

    def forward(self, x: Tensor, keys: Tensor, values: Tensor, bias: Tensor) -> Tensor:
        """Digit tokens ``x`` ``(B, V, L, d)``."""
        return self.read(self.mix(x), keys, values, bias)

    def mix(self, x: Tensor) -> Tensor:
        """The self-attention: digits of a view among themselves."""
        views = self.self_norm(x).flatten(0, 1)
        return x + self.dropout(self.self_attention(views)).view_as(x)

    def read(self, x: Tensor, keys: Tensor, values: Tensor, bias: Tensor) -> Tensor:
        """What follows it, each token by itself: digits to history, feed-forward."""
        queries = self.cross_norm(x).flatten(1, 2)
        read = self.cross_attention(queries, keys, values, bias)
        x = x + self.dropout(read).view_as(x)
        return x + self.dropout(self.feed_forward(self.feed_forward_norm(x)))


class Denoiser(nn.Module):
    """History encoder and bidirectional SID decoder (DiffGRM, section 3).

    Attributes:
        config: its shape and function.
        precision: of the products in encoder and decoder. What leads to logits is
            always float32, whose 24 bits tell codes and items apart that are close.
    """

    STORED: ClassVar[tuple[str, str]] = ("denoiser", "training")
    """What it is stored as, and the pipeline that trains it: for messages."""

    def __init__(self, config: DenoiserConfig) -> None:
        super().__init__()
        self.config = config
        self.precision: Precision = "float32"
        rows = config.digits * config.codes_per_digit
        self.codes = nn.Parameter(torch.empty(rows, config.width))
        self.masks = nn.Parameter(torch.empty(config.digits, config.width))
        self.positions = nn.Parameter(torch.empty(config.max_history, config.width))
        self.item_in = Linear(config.digits * config.width, config.width)
        self.item_out = Linear(config.width, config.width)
        self.encoder = nn.ModuleList(
            EncoderLayer(config) for _ in range(config.encoder_layers)
        )
        self.decoder = nn.ModuleList(
            DecoderLayer(config) for _ in range(config.decoder_layers)
        )
        self.norm = nn.LayerNorm(config.width)
        self.dropout = Dropout(config.dropout)
        if config.identified_items:
            rows = config.identified_items + 1  # row 0: no identity, always zero
            self.identities = nn.Parameter(torch.empty(rows, config.width))
        first_row = torch.arange(config.digits) * config.codes_per_digit
        self.register_buffer("first_row", first_row, persistent=False)
        self.first_row: Tensor

    def initialize(self, generator: torch.Generator) -> Denoiser:
        """Draw all weights: Normal(0, 0.02) for matrices and tables, zero biases."""
        draw_weights(self, generator)
        if self.config.identified_items:
            nn.init.zeros_(self.identities[0].detach())
        return self

    def encode(
        self,
        history: Tensor,
        lengths: Tensor,
        identities: Tensor | None = None,
        masked: Tensor | None = None,
    ) -> Memory:
        """Encode a batch of histories.

        Args:
            history: codes of each item, oldest first, right-padded with any valid
                code, ``(B, T, L)`` int64, ``T <= max_history``.
            lengths: number of real items, ``(B,)``; 0 is a user without history.
            identities: identity row of each item, 0 for none, ``(B, T)``; read only
                by a network with identities.
            masked: history digits to leave out, ``(B, T, L)`` bool; an item with one
                loses its identity too.

        Returns:
            The memory that ``logits`` reads.
        """
        with products_in(self.precision, history.device):
            return self._encode(history, lengths, identities, masked)

    def _encode(
        self,
        history: Tensor,
        lengths: Tensor,
        identities: Tensor | None,
        masked: Tensor | None,
    ) -> Memory:
        length = history.shape[1]
        slots = torch.arange(length, device=history.device)
        real = slots < lengths[:, None]
        # A user without history looks at one pad, so that no softmax is empty;
        # the pad's state is zeroed below like any other.
        visible = real | ((slots == 0) & (lengths == 0)[:, None])
        bias = _log_mask(visible, self.codes.dtype)[:, None, None]
        packing = Packing.of(real)
        left_out = None if masked is None else packing.pack(masked)
        place = packing.slot
        if self.config.positions == "newest":
            place = (lengths[packing.owner] - 1 - place).clamp(min=0)
        x = self._items(packing.pack(history), left_out) + self.positions[place]
        if self.config.identified_items and identities is not None:
            rows = packing.pack(identities)
            if left_out is not None:
                rows = rows.masked_fill(left_out.any(1), 0)
            x = x + self._identities(rows)
        x = self.dropout(x)
        for layer in self.encoder:
            x = layer(x, bias, packing)
        x = self.norm(x)
        states = packing.pad(x)
        keys, values = [], []
        for layer in cast(Iterable[DecoderLayer], self.decoder):
            key, value = layer.cross_attention.project_memory(x, packing)
            keys.append(key)
            values.append(value)
        users = None
        if self.config.identified_items:
            last = (lengths - 1).clamp(min=0)[:, None, None]
            last = last.expand(-1, 1, self.config.width)
            # Without any item there is no state to take; such users ask for zeros.
            taken = states if history.shape[1] else F.pad(states, (0, 0, 0, 1))
            users = taken.gather(1, last)[:, 0]
        return Memory(
            states, tuple(keys), tuple(values), self._memory_bias(real, lengths), users
        )

    def logits(
        self,
        codes: Tensor,
        masked: Tensor,
        memory: Memory,
        wanted: Tensor | None = None,
    ) -> Tensor:
        """Predict masked digits of partial SIDs.

        Args:
            codes: ``(B, V, L)`` int64; values at masked digits are ignored.
            masked: ``(B, V, L)`` bool.
            memory: the users' histories, batch size B.
            wanted: the digits asked for ``(B, V, L)`` bool; None: all masked ones.

        Returns:
            Logits ``(B, V, L, K)``; those of digits not asked for carry no meaning.
        """
        config = self.config
        with products_in(self.precision, codes.device):
            asked = masked if wanted is None else wanted
            x = self._decode(codes, masked, memory, asked)
        tokens = x.unflatten(1, codes.shape[1:]).flatten(0, 1).transpose(0, 1)
        tables = self.codes.view(config.digits, config.codes_per_digit, -1)
        logits = torch.bmm(tokens, tables.transpose(1, 2))
        return logits.transpose(0, 1).unflatten(0, codes.shape[:2])

    def _decode(
        self, codes: Tensor, masked: Tensor, memory: Memory, asked: Tensor
    ) -> Tensor:
        """Normed states of digits ``(B, V * L, d)``; anything where not asked for."""
        digits = torch.arange(self.config.digits, device=codes.device)
        rows = torch.where(masked, len(self.codes) + digits, codes + self.first_row)
        x = self.dropout(F.embedding(rows, torch.cat([self.codes, self.masks])))
        layers = cast(list[DecoderLayer], list(self.decoder))
        for layer, keys, values in zip(layers, memory.keys, memory.values, strict=True):
            if layer is not layers[-1]:
                x = layer(x, keys, values, memory.bias)
        # Of the last layer's outputs only those asked for are needed.
        x, place = _asked_first(layers[-1].mix(x), asked)
        x = layers[-1].read(x, memory.keys[-1], memory.values[-1], memory.bias)
        place = place[..., None].expand(-1, -1, x.shape[3])
        return self.norm(x)[:, 0].gather(1, place)

    def unprojected(self, memory: Memory) -> Memory:
        """The memory as the released OCN probe sees it: raw states as K and V.

        The release skips the key/value projection in its probe, so its difficulty
        order is that of another network; kept for comparison (``probe_kv: raw``).
        """
        raw = memory.states.unflatten(2, (self.config.heads, -1)).transpose(1, 2)
        padded = (F.pad(raw, (0, 0, 0, 1)),) * self.config.decoder_layers
        return Memory(memory.states, padded, padded, memory.bias, memory.users)

    def history_logits(self, states: Tensor) -> Tensor:
        """Logits ``(n, L, K)`` of the codes of history items, by states ``(n, d)``."""
        return F.linear(states, self.codes).unflatten(1, (self.config.digits, -1))

    def item_vectors(self, items: ItemTable) -> Tensor:
        """Vectors of whole items: those of the history input, codes and identity.

        Returns:
            ``(N, d)``; their product with ``Memory.users`` gives the items' logits.
        """
        return self._items(items.codes, None) + self._identities(items.identities)

    def _identities(self, rows: Tensor) -> Tensor:
        """Identity vectors ``(..., d)``; in training some are left out by chance."""
        share = self.config.identity_dropout
        if self.training and share:
            dropped = torch.rand(rows.shape, device=rows.device) < share
            rows = rows.masked_fill(dropped, 0)
        return F.embedding(rows, self.identities, padding_idx=0)

    def _items(self, codes: Tensor, masked: Tensor | None) -> Tensor:
        """Vectors ``(n, d)`` of items ``(n, L)``: the MLP over concatenated codes.

        The first layer is linear in each digit's vector, hence applied to the
        table of L x K vectors (and the L mask vectors) instead of to every item.
        """
        config = self.config
        tables = self.codes.view(config.digits, config.codes_per_digit, -1)
        blocks = self.item_in.weight.view(config.width, config.digits, -1)
        rows = codes + self.first_row
        if masked is not None:
            tables = torch.cat([tables, self.masks[:, None]], 1)
            shift = torch.arange(config.digits, device=rows.device)
            last = config.codes_per_digit - codes
            rows = rows + shift + last * masked
        projected = torch.bmm(tables, blocks.permute(1, 2, 0)).flatten(0, 1)
        summed = F.embedding_bag(rows, projected, mode="sum")
        return self.item_out(F.relu(summed + self.item_in.bias))

    def _memory_bias(self, real: Tensor, lengths: Tensor) -> Tensor:
        """Attention bias over T keys and the sink, ``(B, 1, 1, T + 1)``.

        The release pads every history to ``max_history`` and does not mask the
        pads: each has a zero key and value and so adds exp(0) to the softmax's
        denominator. One zero key with logit log(number of pads) is the same.
        """
        pads = (self.config.max_history - lengths).to(self.codes.dtype)
        if self.config.cross_pad == "mask":
            pads = (lengths == 0).to(self.codes.dtype)
        bias = torch.cat([_log_mask(real, self.codes.dtype), pads.log()[:, None]], 1)
        return bias[:, None, None]

    def saved_config(self) -> dict[str, Any]:
        """The configuration as JSON-able values, for ``from_saved``."""
        return asdict(self.config)

    @classmethod
    def from_saved(
        cls, weights: Mapping[str, Tensor], config: Mapping[str, Any]
    ) -> Denoiser:
        """Rebuild a denoiser, in evaluation mode, from weights and configuration.

        Raises:
            SidiffError: the weights do not belong to the configuration, or that is
                not complete.
        """
        denoiser = cls(read_config(DenoiserConfig, config, *cls.STORED))
        load_weights(denoiser, weights, *cls.STORED)
        return denoiser.eval()


def _asked_first(x: Tensor, asked: Tensor) -> tuple[Tensor, Tensor]:
    """The tokens asked for, and no more others than make the batch rectangular.

    Args:
        x: ``(B, V, L, d)``.
        asked: ``(B, V, L)`` bool.

    Returns:
        Tokens ``(B, 1, n, d)``, n the most asked for of one user, and where each of
        the V * L tokens is among them ``(B, V * L)``; anywhere, if it is not.
    """
    asked = asked.flatten(1)
    count = max(1, int(asked.sum(1).max()))
    order = asked.to(torch.uint8).argsort(dim=1, descending=True, stable=True)
    chosen = order[:, :count, None].expand(-1, -1, x.shape[3])
    place = order.argsort(1).clamp(max=count - 1)
    return x.flatten(1, 2).gather(1, chosen)[:, None], place


def draw_weights(model: nn.Module, generator: torch.Generator) -> None:
    """Draw all weights: Normal(0, 0.02) for matrices and tables, zero biases."""
    for name, parameter in model.named_parameters():
        if parameter.dim() > 1:
            nn.init.normal_(parameter, 0.0, INITIAL_STD, generator=generator)
        elif name.endswith("bias"):
            nn.init.zeros_(parameter)
        else:
            nn.init.ones_(parameter)


def _log_mask(visible: Tensor, dtype: torch.dtype) -> Tensor:
    """0 where visible, -inf elsewhere."""
    zeros = torch.zeros(visible.shape, dtype=dtype, device=visible.device)
    return zeros.masked_fill(~visible, -torch.inf)
