"""The joint denoiser: one energy for whole items, of which digits are marginals.

At a state y_S, with the digits S filled, the items that agree with it compete:

    E(i; y_S, h)  = sum over masked l of q_l(y_S, h) . e_l[y_l(i)]  +  u(h) . r_i
                    + gamma(h) [i in h]
    pi(i | y_S, h) = exp E(i) / sum over the items j that agree with y_S of exp E(j)

``u`` is the hidden state of a causal encoder after the history ``h``. ``q_l`` is a
linear map of ``u``, plus the correction of a decoder over the digits if some are
filled. ``r_i`` is the item's residual, a learned vector, and ``gamma`` a learned gate
for repeats. At the fully masked state the energy is the product of ``u`` and one vector
per item, plus the gate. Items that are not in the training data have no residual. In a
network of codes alone no item has one.

The causal encoder gives the hidden state after every item of a history in one pass.

Symbols: B users, T history, V views or beams, L digits, K codes, d d_model, H heads,
N items, R items with a residual, n packed tokens.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from sidiff.devices import products_in
from sidiff.diffusion.base import SidConfig, SidNetwork
from sidiff.diffusion.blocks import DecoderLayer, EncoderLayer, Packing, log_mask
from sidiff.diffusion.dropout import Dropout
from sidiff.onednn import Linear


@dataclass(frozen=True, kw_only=True)
class JointConfig(SidConfig):
    """Shape and function of a joint denoiser.

    With ``residual_dropout`` 1 no item has a residual.
    """

    residual_items: int
    residual_dropout: float

    def __post_init__(self) -> None:
        if self.residual_dropout == 1.0:
            object.__setattr__(self, "residual_items", 0)


@dataclass(frozen=True)
class ItemTable:
    """The N items as the network represents them, on its device.

    Attributes:
        codes: ``(N, L)`` int64.
        residuals: row in the network's table of residuals, 0 for none, ``(N,)`` int64.
    """

    codes: Tensor
    residuals: Tensor

    @classmethod
    def of(
        cls,
        codes: NDArray[np.integer],
        residuals: NDArray[np.int64] | None,
        device: torch.device,
    ) -> ItemTable:
        """Move the items to a device.

        Args:
            codes: ``(N, L)``.
            residuals: row of each item in a network's table of residuals, 0 for none,
                ``(N,)``; None for a network without such a table.
            device: of the tensors.
        """
        if residuals is None:
            residuals = np.zeros(len(codes), dtype=np.int64)
        return cls(
            torch.from_numpy(codes.astype(np.int64)).to(device),
            torch.from_numpy(residuals).to(device),
        )


@dataclass(frozen=True)
class JointMemory:
    """A batch of encoded histories, made once for all views and steps.

    Attributes:
        keys: per decoder layer, ``(B, H, T + 1, d / H)``; the last key is zero.
        values: as ``keys``.
        bias: added to the attention logits, ``(B, 1, 1, T + 1)``.
        users: hidden state after the last item, zero without items, ``(B, d)``.
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
        """Draw all weights: Normal(0, 0.02) for matrices and tables, zero biases.

        The maps keep lengths. Correction, gate and distances are zero at first.
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
        """Vectors of whole items ``(N, d)``, for histories and fully masked energies.

        In training residuals are dropped at random.
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
        # Pads come last, so the causal mask hides them too.
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
        """The memory of the first ``lengths`` items of each history.

        Args:
            hidden: packed hidden states ``(n, d)``.
            packing: their places.
            history: items ``(B, T)``.
            lengths: ``(B,)``.
        """
        with products_in(self.precision, hidden.device):
            keys, values = self.project_memory(hidden, packing)
        slots = torch.arange(packing.length + 1, device=hidden.device)
        real = slots < lengths[:, None]
        # A user without history attends to the zero key at the end.
        visible = real | ((slots == packing.length) & (lengths == 0)[:, None])
        last = (lengths - 1).clamp(min=0)[:, None, None]
        padded = packing.pad(hidden, more=1)
        users = padded.gather(1, last.expand(-1, 1, padded.shape[2]))[:, 0]
        users = users * (lengths > 0)[:, None]
        items = history.masked_fill(~real[:, :-1], -1)
        bias = log_mask(visible)[:, None, None]
        return JointMemory(keys, values, bias, users, items)

    def logits(self, codes: Tensor, masked: Tensor, memory: JointMemory) -> Tensor:
        """Energies of single codes; arguments as for ``Denoiser.logits``."""
        return self.code_logits(self.queries(codes, masked, memory))

    def queries(self, codes: Tensor, masked: Tensor, memory: JointMemory) -> Tensor:
        """Queries to the code vectors, ``(B, V, L, d)``; arguments as for ``logits``.

        Those of filled digits are arbitrary.
        """
        users = memory.users
        digits = torch.arange(self.config.digits, device=codes.device)
        queries = torch.einsum("bd,lcd->blc", users, self.maps)[:, None]
        queries = queries.expand(-1, codes.shape[1], -1, -1)
        if bool(masked.all()):
            return queries
        rows = torch.where(masked, len(self.codes) + digits, codes + self.first_row)
        x = F.embedding(rows, torch.cat([self.codes, self.masks]))
        with products_in(self.precision, codes.device):
            x = self.dropout(x + self.start(users)[:, None, None])
            layers = cast(Iterable[DecoderLayer], self.decoder)
            for layer, keys, values in zip(
                layers, memory.keys, memory.values, strict=True
            ):
                x = layer(x, keys, values, memory.bias)
            correction = self.correction(self.decoder_norm(x))
        # The fully masked state has no correction, so one call ranks the catalogue.
        partial = ~masked.all(2)[..., None, None]
        return queries + correction * partial

    def repeat_gate(self, users: Tensor) -> Tensor:
        """The gate for repeats ``(...)`` of hidden states ``(..., d)``."""
        return self.gate(users)[..., 0]

    def residual_vectors(self, rows: Tensor) -> Tensor:
        """Residuals of items ``(...)``: ``(..., d)``, zero for row 0."""
        return F.embedding(rows, self.residuals, padding_idx=0)
