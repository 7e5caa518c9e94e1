"""The joint denoiser: one energy for whole items, of which digits are marginals.

At a partial SID with the digits S filled, the items that agree with it compete:

    E(i; x_S, h)  = sum over masked l of q_l(x_S, h) . e_l[c_l(i)]  +  u . r_i
                    + gamma(h) [i in h]
    pi(i | x_S, h) = exp E(i) / sum over the items j that agree with x_S of exp E(j)

``u`` is the state of a causal encoder after the history ``h``, ``q_l`` a linear map of
it plus what a decoder over the digits adds once some are filled, ``r_i`` what the codes
leave out of an item, ``gamma`` a gate that learns whether people buy again. Fully
masked, the energy is a product of ``u`` and one vector per item. An item that was not
there in training has no residual and lives by its codes; a network of codes alone gives
no item one, and holds no item's number.

The causal encoder gives a state after every item of a history in one pass, each as if
the history ended there.

Symbols: B users, T history, P rows (states), V views or beams, L digits, K codes,
d d_model, H heads, N items, R items with a residual.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sidiff.devices import products_in
from sidiff.diffusion.base import SidConfig, SidNetwork
from sidiff.diffusion.blocks import DecoderLayer, EncoderLayer, Packing, log_mask
from sidiff.diffusion.dropout import Dropout
from sidiff.onednn import Linear


@dataclass(frozen=True)
class JointConfig(SidConfig):
    """Everything that fixes the shape and function of a joint denoiser.

    No item has a residual where training would always drop it.
    """

    residual_items: int
    residual_dropout: float

    def __post_init__(self) -> None:
        if self.residual_dropout == 1.0:
            object.__setattr__(self, "residual_items", 0)


@dataclass(frozen=True)
class ItemTable:
    """The items as a network knows them: N rows, on its device.

    Attributes:
        codes: ``(N, L)`` int64.
        residuals: row in the network's table of residuals, 0 for none, ``(N,)`` int64.
    """

    codes: Tensor
    residuals: Tensor


@dataclass(frozen=True)
class JointMemory:
    """A batch of encoded histories, made once and read by every view and step.

    Attributes:
        keys: per decoder layer, ``(B, H, T + 1, d / H)``; the last key is zero.
        values: as ``keys``.
        bias: added to the attention logits, ``(B, 1, 1, T + 1)``.
        users: hidden state after the last item, zero without one, ``(B, d)``.
        history_items: items of the histories, -1 for none, ``(B, T)``.
    """

    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]
    bias: Tensor
    users: Tensor
    history_items: Tensor

    def take(self, rows: Tensor) -> JointMemory:
        """The memories of the users ``rows`` ``(C,)``."""
        return JointMemory(
            tuple(keys[rows] for keys in self.keys),
            tuple(values[rows] for values in self.values),
            self.bias[rows],
            self.users[rows],
            self.history_items[rows],
        )


class JointDenoiser(SidNetwork):
    """Causal history encoder, digit decoder and item energies."""

    CONFIG = JointConfig
    STORED = ("denoiser", "training")

    config: JointConfig

    def __init__(self, config: JointConfig) -> None:
        super().__init__(config)
        width = config.d_model
        self.maps = nn.Parameter(torch.empty(config.digits, width, width))
        self.residuals = nn.Parameter(torch.empty(config.residual_items + 1, width))
        # Bias of the attention by how far back a history item lies.
        self.distances = nn.Parameter(
            torch.empty(config.encoder_layers, config.heads, config.max_history)
        )
        self.encoder = nn.ModuleList(
            EncoderLayer(config) for _ in range(config.encoder_layers)
        )
        self.norm = nn.LayerNorm(width)
        self.gate = Linear(width, 1)
        self.masks = nn.Parameter(torch.empty(config.digits, width))
        self.start = Linear(width, width, bias=False)
        self.decoder = nn.ModuleList(
            DecoderLayer(config) for _ in range(config.decoder_layers)
        )
        self.decoder_norm = nn.LayerNorm(width)
        self.correction = Linear(width, width, bias=False)
        self.dropout = Dropout(config.dropout)

    def initialize(self, generator: torch.Generator) -> Self:
        """Draw all weights; the decoder adds nothing at first, the gate is open.

        Normal(0, 0.02) for matrices and tables, zero biases; the maps keep lengths.
        """
        super().initialize(generator)
        with torch.no_grad():
            scale = self.config.d_model**-0.5
            self.maps.normal_(0.0, scale, generator=generator)
            for zero in (self.correction.weight, self.gate.weight, self.distances):
                zero.zero_()
            self.residuals[0].zero_()
        return self

    def item_vectors(self, items: ItemTable) -> Tensor:
        """Vectors of whole items ``(N, d)``, as histories hold them and states ask.

        In training some of the residuals are left out by chance.
        """
        mapped = torch.bmm(self.tables, self.maps).flatten(0, 1)
        rows, share = items.residuals, self.config.residual_dropout
        if self.training and share:
            dropped = torch.rand(rows.shape, device=rows.device) < share
            rows = rows.masked_fill(dropped, 0)
        of_codes = F.embedding_bag(items.codes + self.first_row, mapped, mode="sum")
        return of_codes + self.residual_vectors(rows)

    def hidden_states(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Packing]:
        """The hidden state after every item of each history.

        Args:
            x: item vectors of the histories, right-padded, ``(B, T, d)``.
            lengths: real items ``(B,)``.

        Returns:
            Packed hidden states ``(n, d)``, history by history, and their places.
        """
        slots = torch.arange(x.shape[1], device=x.device)
        packing = Packing.of(slots < lengths[:, None])
        behind = slots[:, None] - slots
        # Pads come last, so what keeps the future out keeps them out as well.
        causal = log_mask(behind >= 0)
        packed = self.dropout(packing.pack(x))
        with products_in(self.precision, x.device):
            layers = cast(Iterable[EncoderLayer], self.encoder)
            for layer, bias in zip(layers, self.distances, strict=True):
                far = bias[:, behind.clamp(min=0)] + causal
                packed = layer(packed, far[None], packing)
            return self.norm(packed), packing

    def memory(
        self, hidden: Tensor, packing: Packing, history: Tensor, lengths: Tensor
    ) -> JointMemory:
        """The memory of histories, or of the beginnings of longer ones.

        Args:
            hidden: packed hidden states ``(n, d)``.
            packing: their places.
            history: items ``(B, T)``.
            lengths: how many of them are read ``(B,)``.
        """
        with products_in(self.precision, hidden.device):
            keys, values = self.project_memory(hidden, packing)
        slots = torch.arange(packing.length + 1, device=hidden.device)
        real = slots < lengths[:, None]
        # Who has no history looks at the zero key behind it.
        open_ = real | ((slots == packing.length) & (lengths == 0)[:, None])
        last = (lengths - 1).clamp(min=0)[:, None, None]
        padded = packing.pad(hidden, more=1)
        users = padded.gather(1, last.expand(-1, 1, padded.shape[2]))[:, 0]
        users = users * (lengths > 0)[:, None]
        items = history.masked_fill(~real[:, :-1], -1)
        bias = log_mask(open_)[:, None, None]
        return JointMemory(keys, values, bias, users, items)

    def logits(self, codes: Tensor, masked: Tensor, memory: JointMemory) -> Tensor:
        """Energies of single codes at partial SIDs, as ``Denoiser.logits``."""
        return self.code_logits(self.queries(codes, masked, memory))

    def queries(self, codes: Tensor, masked: Tensor, memory: JointMemory) -> Tensor:
        """Queries to the code vectors, ``(B, V, L, d)``; arguments as of ``logits``.

        Those of filled digits carry no meaning.
        """
        users = memory.users
        digits = torch.arange(self.config.digits, device=codes.device)
        asked = torch.einsum("bd,lcd->blc", users, self.maps)[:, None]
        asked = asked.expand(-1, codes.shape[1], -1, -1)
        if bool(masked.all()):
            return asked
        rows = torch.where(masked, len(self.codes) + digits, codes + self.first_row)
        x = F.embedding(rows, torch.cat([self.codes, self.masks]))
        with products_in(self.precision, codes.device):
            x = self.dropout(x + self.start(users)[:, None, None])
            layers = cast(Iterable[DecoderLayer], self.decoder)
            for layer, keys, values in zip(
                layers, memory.keys, memory.values, strict=True
            ):
                x = layer(x, keys, values, memory.bias)
            added = self.correction(self.decoder_norm(x))
        # Fully masked, the state alone decides: one call ranks the whole catalogue.
        partial = ~masked.all(2)[..., None, None]
        return asked + added * partial

    def repeat_gate(self, users: Tensor) -> Tensor:
        """Energy of items that a user had, ``(..., d)`` to ``(...)``."""
        return self.gate(users)[..., 0]

    def residual_vectors(self, rows: Tensor) -> Tensor:
        """Residuals of items ``(...)``: ``(..., d)``, zero for row 0."""
        return F.embedding(rows, self.residuals, padding_idx=0)
