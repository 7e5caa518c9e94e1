"""SASRec (Kang & McAuley 2018, arXiv 1808.09781) with a full softmax.

A causal transformer reads a user's items and predicts the next one at every position.
As in the original, the item table is both input and output, and positions are learned
and counted from the end of the sequence. There are three differences. The loss is the
cross-entropy over the whole catalogue instead of one sampled negative, which makes
SASRec strong (Klenitskiy & Vasilev 2023, arXiv 2309.07602). The blocks are those of the
denoiser (pre-LayerNorm, GELU). A learned gate is added to the logits of items in the
history.

Symbols: B batch, T history, N items, d d_model, P positions that predict.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Self, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from sidiff.baselines.method import Baseline, BaselineTask, Network, TrainingInputs
from sidiff.baselines.settings import BaselinesParameters, SasRecSettings
from sidiff.diffusion.base import StoredNetwork
from sidiff.diffusion.blocks import BlockShape, EncoderLayer, log_mask
from sidiff.diffusion.dropout import Dropout
from sidiff.diffusion.histories import Histories, HistoryBatch, Positions, SampleBatch
from sidiff.diffusion.item_softmax import gated, item_softmax_loss, repeat_additions
from sidiff.diffusion.joint import ItemTable
from sidiff.diffusion.objective import Loss
from sidiff.errors import SidiffError
from sidiff.onednn import product
from sidiff.ranking.inputs import RankingInputs
from sidiff.ranking.items import ItemRanker, Slice
from sidiff.reviews.sequences import Sequences, evaluation_samples, sequence_rows
from sidiff.training.trainer import SCORE_CUTOFF, Budget, Trained


@dataclass(frozen=True, kw_only=True)
class SasRecConfig(BlockShape):
    """Shape of a SASRec."""

    items: int
    max_history: int
    layers: int


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
        self.gate = nn.Parameter(torch.zeros(1))

    def initialize(self, generator: torch.Generator) -> Self:
        """Draw all weights: Normal(0, 0.02) for matrices and tables, zero biases."""
        super().initialize(generator)
        nn.init.zeros_(self.gate)
        return self

    def forward(self, history: Tensor, lengths: Tensor) -> Tensor:
        """Read histories.

        Args:
            history: item indices, oldest first, right-padded with any item, ``(B, T)``.
            lengths: real items, at least 1, ``(B,)``.

        Returns:
            Hidden states ``(B, T, d)``; the one at t has seen the items 0 .. t. Those
            at pads are arbitrary.
        """
        slots = torch.arange(history.shape[1], device=history.device)
        newest_first = (lengths[:, None] - 1 - slots).clamp(min=0)
        # Pads come last, so the causal mask hides them too.
        bias = log_mask(slots <= slots[:, None])
        x = self.dropout(
            F.embedding(history, self.items) + F.embedding(newest_first, self.positions)
        )
        for layer in cast(Iterable[EncoderLayer], self.encoder):
            x = layer(x, bias)
        return self.norm(x)

    @torch.no_grad()
    def logits(self, batch: HistoryBatch) -> Slice:
        """Logits of the items after each history, by slices of items."""
        history, size = batch.history_items, len(self.items)
        slots = torch.arange(history.shape[1], device=history.device)
        seen = history.masked_fill(slots >= batch.lengths[:, None], -1)
        hidden_states = self(history, batch.lengths)
        last = hidden_states[torch.arange(len(history)), batch.lengths - 1]
        gates = self.gate.expand(len(last))
        return lambda items: gated(
            product(last, self.items.index_select(0, items)), gates, seen, items, size
        )


class SasRecTask(BaselineTask):
    """SASRec, its loss, and its validation by NDCG@10 among all items."""

    def __init__(
        self,
        label: str,
        model: SasRec,
        sequences: Sequences,
        validation: NDArray[np.int32],
        users_per_batch: int,
        device: torch.device,
    ) -> None:
        """Prepare the data; ``validation`` is ``(U, 3)``: user, start, end."""
        no_codes = np.zeros((sequences.n_items, 0), dtype=np.int64)
        histories = Histories(sequences, ItemTable.of(no_codes, None, device))
        super().__init__(label, model, histories, validation, users_per_batch)
        self.sasrec = model

    def loss(self, samples: Tensor, progress: float) -> Loss:
        """Cross-entropy of every next item."""
        del progress
        batch, model = self.histories.gather(samples), self.sasrec
        history, positions = batch.history_items, Positions.of(batch)
        hidden = model(history, batch.lengths)[positions.owner, positions.slot]
        size = len(model.items)
        gates = model.gate.expand(len(hidden))
        additions = repeat_additions(gates, positions, history, size)
        loss = item_softmax_loss(hidden, model.items, positions.targets, additions)
        return Loss(loss, batch.lengths.sum())

    def gain(self, batch: SampleBatch) -> float:
        """Sum of NDCG@10 over a batch."""
        all_items = torch.arange(len(self.sasrec.items), device=self.device)
        scores = self.sasrec.logits(batch)(all_items)
        target = scores.gather(1, batch.target_items[:, None])
        rank = (scores > target).sum(1)
        gain = 1.0 / torch.log2(rank.double() + 2.0)
        return float(gain[rank < SCORE_CUTOFF].sum())


def fit_sasrec(
    inputs: TrainingInputs, settings: SasRecSettings, seed: int, label: str = "SASRec"
) -> tuple[SasRec, Trained]:
    """Train on targets up to position L-3, validate on L-2 by NDCG@10 of all users.

    Weights, order of the samples and dropout follow from ``seed``. The model is that of
    the best epoch, in evaluation mode.

    Raises:
        SidiffError: all users have too few items.
    """
    sequences, longest = inputs.sequences, inputs.max_history
    samples = sequence_rows(sequences, longest)
    if not len(samples):
        raise SidiffError(
            "There is nothing to train SASRec on: every user is too short; bring "
            "longer histories or take it out of baselines.methods."
        )
    shape = settings.model_dump(
        include={"d_model", "heads", "d_ff", "layers", "dropout"}
    )
    config = SasRecConfig(items=sequences.n_items, max_history=longest, **shape)
    model = SasRec(config)
    model.initialize(torch.Generator().manual_seed(seed + 2)).to(inputs.device)
    per_batch = inputs.parameters.users_per_batch
    decides = {"settings": settings.model_dump(), "users_per_batch": per_batch}
    validation = evaluation_samples(sequences, "validation", longest)
    task = SasRecTask(label, model, sequences, validation, per_batch, inputs.device)
    budget = Budget(
        settings.optimizer,
        settings.stopping,
        settings.batch_size,
        settings.users_per_pass,
        settings.epochs,
        seed,
        "baselines.sasrec",
    )
    return model, inputs.train(task, samples, budget, decides)


class SasRecAlone(Baseline):
    """SASRec's softmax over the items."""

    networks = "sasrec"

    def fit(self, inputs: TrainingInputs) -> tuple[list[Network], list[dict[str, Any]]]:
        """Train all candidates with the first seed, and the best one with all seeds.

        The best candidate has the highest validation NDCG@10 at item level.
        """
        seeds, candidates = inputs.seeds, inputs.parameters.sasrec.candidates()
        label = f"SASRec, setting {{}} of {len(candidates)}"
        trials = [
            fit_sasrec(inputs, settings, seeds[0], label.format(number))
            for number, settings in enumerate(candidates, 1)
        ]
        best = max(range(len(trials)), key=lambda number: trials[number][1].score)
        label = f"SASRec, seed {{}} of {len(seeds)}"
        networks: list[Network] = [trials[best]]
        networks += [
            fit_sasrec(inputs, candidates[best], seed, label.format(number))
            for number, seed in enumerate(seeds[1:], 2)
        ]
        compared = [
            {
                "method": "sasrec",
                "seed": seeds[0],
                "validation_ndcg_at_10": trained.score,
                "epoch": trained.epoch,
                "epochs_run": trained.epochs_run,
                "settings": settings.model_dump(),
            }
            for settings, (_, trained) in zip(candidates, trials, strict=True)
        ]
        return networks, compared

    def ranker(
        self,
        inputs: RankingInputs,
        parameters: BaselinesParameters,
        weights: Mapping[str, Tensor],
        config: Mapping[str, Any],
    ) -> ItemRanker:
        """Rank by the softmax."""
        network = SasRec.from_saved(weights, config).to(inputs.catalogue.device)
        return ItemRanker(network, inputs.catalogue)


class SasRecMarkov(SasRecAlone):
    """SASRec and the Markov chain in one energy."""

    def ranker(
        self,
        inputs: RankingInputs,
        parameters: BaselinesParameters,
        weights: Mapping[str, Tensor],
        config: Mapping[str, Any],
    ) -> ItemRanker:
        """Rank by the softmax with transitions."""
        alone = super().ranker(inputs, parameters, weights, config)
        transitions = inputs.transitions(parameters.sasrec_markov)
        return replace(alone, transitions=transitions)
