"""SASRec (Kang & McAuley 2018, arXiv 1808.09781) with a full softmax.

A causal transformer reads a user's items and predicts the next one at every position.
Three things are not the original's. The loss is the cross-entropy over the whole
catalogue instead of one sampled negative, which is what makes SASRec strong (Klenitskiy
& Vasilev 2023, arXiv 2309.07602). The blocks are this project's own (pre-LayerNorm,
GELU). A learned gate says whether users take again what they had. As in the original,
the item table is both input and output, and positions are learned and counted from the
end of the sequence.

Symbols: B batch, T history, N items, d width, P positions that predict.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from sidiff.baselines.settings import SasRecSettings
from sidiff.diffusion.blocks import EncoderLayer, draw_weights
from sidiff.diffusion.dropout import Dropout
from sidiff.diffusion.histories import Histories, HistoryBatch, Positions
from sidiff.diffusion.item_softmax import gated, item_softmax_loss, repeat_additions
from sidiff.diffusion.objective import Loss
from sidiff.diffusion.stored import load_weights, read_config
from sidiff.errors import SidiffError
from sidiff.onednn import product
from sidiff.ranking.items import Slice
from sidiff.reviews.sequences import Sequences, evaluation_samples, sequence_rows
from sidiff.snapshots import SnapshotFolder
from sidiff.training.progress import Checkpoints
from sidiff.training.trainer import (
    SCORE,
    SCORE_CUTOFF,
    Budget,
    Task,
    Trained,
    Trainer,
    by_length,
)
from sidiff.training.workers import Workers


@dataclass(frozen=True)
class SasRecConfig:
    """Everything that fixes the shape and function of a SASRec."""

    items: int
    max_history: int
    width: int
    heads: int
    inner: int
    layers: int
    dropout: float


class SasRec(nn.Module):
    """Item table, positions, causal encoder blocks, final LayerNorm."""

    def __init__(self, config: SasRecConfig) -> None:
        super().__init__()
        self.config = config
        self.items = nn.Parameter(torch.empty(config.items, config.width))
        self.positions = nn.Parameter(torch.empty(config.max_history, config.width))
        self.encoder = nn.ModuleList(EncoderLayer(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width)
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
            product(last, self.items[items]), gates, had, items, size
        )

    def saved_config(self) -> dict[str, Any]:
        """The configuration as JSON-able values, for ``from_saved``."""
        return asdict(self.config)

    @classmethod
    def from_saved(
        cls, weights: Mapping[str, Tensor], config: Mapping[str, Any]
    ) -> SasRec:
        """Rebuild a SASRec, in evaluation mode, from weights and configuration.

        Raises:
            SidiffError: the weights do not belong to the configuration, or that is
                not complete.
        """
        named = ("SASRec", "baselines")
        model = cls(read_config(SasRecConfig, config, *named))
        load_weights(model, weights, *named)
        return model.eval()


class SasRecTask(Task):
    """SASRec, its loss, and its validation by NDCG@10 among all items."""

    def __init__(
        self,
        label: str,
        model: SasRec,
        sequences: Sequences,
        label_smoothing: float,
        validation: NDArray[np.int32],
        users_per_batch: int,
        device: torch.device,
    ) -> None:
        """Lay the items out; ``validation`` ``(U, 3)`` are user, start, end."""
        super().__init__(label, model, device)
        self.sasrec = model
        # It reads items and no codes.
        nothing = np.zeros((sequences.n_items, 0), dtype=np.int64)
        self.histories = Histories(sequences, nothing, None, device)
        self.label_smoothing = label_smoothing
        self.validation = torch.from_numpy(validation)
        self.users_per_batch = users_per_batch

    def loss(self, samples: Tensor, progress: float) -> Loss:
        """Cross-entropy of every next item."""
        del progress
        batch, model = self.histories.gather(samples), self.sasrec
        history, positions = batch.history_items, Positions.of(batch)
        states = model(history, batch.lengths)[positions.owner, positions.slot]
        size = len(model.items)
        gates = model.gate.expand(len(states))
        additions = repeat_additions(gates, positions, history, size)
        loss = item_softmax_loss(
            states, model.items, positions.targets, additions, self.label_smoothing
        )
        return Loss(loss, batch.lengths.sum())

    @torch.no_grad()
    def validate(self, workers: Workers) -> dict[str, float]:
        """Mean NDCG@10 of the targets."""
        del workers
        everything = torch.arange(len(self.sasrec.items), device=self.device)
        total = torch.zeros((), dtype=torch.float64)
        for part in by_length(self.validation, self.users_per_batch):
            batch = self.histories.gather(part)
            scores = self.sasrec.logits(batch)(everything)
            target = scores.gather(1, batch.target_items[:, None])
            rank = (scores > target).sum(1)
            gain = 1.0 / torch.log2(rank.double() + 2.0)
            total += gain[rank < SCORE_CUTOFF].sum().cpu()
        return {SCORE: float(total / len(self.validation))}


def fit_sasrec(
    sequences: Sequences,
    settings: SasRecSettings,
    max_history: int,
    users_per_batch: int,
    seed: int,
    device: torch.device,
    label: str = "SASRec",
    checkpoints: SnapshotFolder | None = None,
) -> tuple[SasRec, Trained]:
    """Train on targets up to position L-3, validate on L-2 by NDCG@10 of all users.

    Args:
        sequences: all users' items.
        settings: network and training.
        max_history: longest history that the network reads.
        users_per_batch: of validation; speed and memory only.
        seed: of weights, order and dropout.
        device: where it is trained; the model stays there.
        label: names the progress bar.
        checkpoints: where unfinished runs lie; None to keep none.

    Returns:
        The model of the best epoch, in evaluation mode, and how it came about.

    Raises:
        SidiffError: no user is long enough.
    """
    config = SasRecConfig(
        sequences.n_items,
        max_history,
        settings.width,
        settings.heads,
        settings.inner,
        settings.layers,
        settings.dropout,
    )
    weights = torch.Generator().manual_seed(seed + 2)
    model = SasRec(config).initialize(weights).to(device)
    samples = sequence_rows(sequences, max_history)
    if not len(samples):
        raise SidiffError(
            "There is nothing to train SASRec on: every user is too short; bring "
            "longer histories or take it out of baselines.methods."
        )
    decides = {
        "settings": settings.model_dump(),
        "max_history": max_history,
        "users_per_batch": users_per_batch,
        "seed": seed,
        "device": str(device),
        "sequences": sequences.fingerprint,
    }
    task = SasRecTask(
        label,
        model,
        sequences,
        settings.label_smoothing,
        evaluation_samples(sequences, "validation", max_history),
        users_per_batch,
        device,
    )
    budget = Budget(
        settings.optimizer,
        settings.stopping,
        settings.batch_size,
        settings.users_per_pass,
        settings.epochs,
        seed,
        "baselines.sasrec",
    )
    kept = Checkpoints(checkpoints, "SASRec", decides, math.inf)
    trained = Trainer(task, samples, budget).train(kept)
    model.load_state_dict(trained.weights)
    return model.eval(), trained
