"""The training of the autoregressive decoder, on the denoiser's samples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from sidiff.baselines.autoregressive import (
    AutoregressiveDecoder,
    AutoregressiveRanker,
    Prefixes,
    beam_search,
)
from sidiff.baselines.method import Baseline, BaselineTask, Network, TrainingInputs
from sidiff.baselines.settings import BaselinesParameters
from sidiff.decoding.keys import SidIndex
from sidiff.diffusion.denoiser import DenoiserConfig
from sidiff.diffusion.histories import Histories, SampleBatch
from sidiff.diffusion.joint import ItemTable
from sidiff.diffusion.objective import Loss
from sidiff.evaluation.metrics import expected_item_metrics
from sidiff.ranking.inputs import RankingInputs
from sidiff.ranking.ranker import Ranker
from sidiff.training.denoising import validation_samples
from sidiff.training.loop import budget_of, samples_fingerprint
from sidiff.training.trainer import SCORE_CUTOFF, Trained

PLAIN = {"mask": "per_digit", "difficulty_embedding": False}
"""Options of a denoiser that this decoder does not use. The mask vector of a digit says
which digit is predicted, and it is always one digit."""


class AutoregressiveTask(BaselineTask):
    """The decoder, its loss, and its validation by NDCG@10 of a beam."""

    def __init__(
        self,
        label: str,
        model: AutoregressiveDecoder,
        inputs: TrainingInputs,
        seed: int,
    ) -> None:
        """Prepare the data; ``seed`` chooses the validation users."""
        sequences, table = inputs.sequences, inputs.table
        self.training = inputs.training
        settings = self.training.validation
        super().__init__(
            label,
            model,
            Histories(sequences, ItemTable.of(table.codes, None, inputs.device)),
            validation_samples(sequences, inputs.max_history, settings.max_users, seed),
            settings.users_per_batch,
        )
        self.decoder = model
        self.groups = table.groups()
        index = SidIndex(self.groups.sid_codes, table.codebook_size, self.device)
        self.prefixes = Prefixes(index)
        self.beam = inputs.parameters.autoregressive.beam

    def loss(self, samples: Tensor, progress: float) -> Loss:
        """Cross-entropy of every digit, given those before it."""
        del progress
        batch = self.histories.gather(samples)
        memory = self.decoder.encode(batch.history, batch.lengths)
        codes = batch.targets[:, None]
        masked = torch.ones_like(codes, dtype=torch.bool)
        total = F.cross_entropy(
            self.decoder.logits(codes, masked, memory).flatten(0, 2),
            codes.flatten(),
            reduction="sum",
            label_smoothing=self.training.label_smoothing,
        )
        return Loss(total, torch.tensor(float(codes.numel())))

    def gain(self, batch: SampleBatch) -> float:
        """Sum of NDCG@10 over a batch, expected over the items of each SID."""
        memory = self.decoder.encode(batch.history, batch.lengths)
        rows, _ = beam_search(self.decoder, memory, self.prefixes, self.beam)
        ndcg = expected_item_metrics(
            rows.cpu().numpy(),
            self.groups.sid_of_item[batch.target_items.cpu().numpy()],
            self.groups.sizes,
            [SCORE_CUTOFF],
        )[f"ndcg_at_{SCORE_CUTOFF}"]
        return float(ndcg.sum())


def fit_autoregressive(
    inputs: TrainingInputs, seed: int, label: str = "autoregressive"
) -> tuple[AutoregressiveDecoder, Trained]:
    """Train on the denoiser's samples, with its ``d_model``, heads and validation.

    Weights, order of the samples and dropout follow from ``seed``. The model is that of
    the best epoch, in evaluation mode.
    """
    settings, training = inputs.parameters.autoregressive, inputs.training
    shape = settings.model_dump(include={"encoder_layers", "decoder_layers", "dropout"})
    config = DenoiserConfig.build(
        training.network.model_copy(update=PLAIN | shape),
        inputs.table.digits,
        inputs.table.codebook_size,
        inputs.max_history,
    )
    model = AutoregressiveDecoder(config)
    model.initialize(torch.Generator().manual_seed(seed + 2)).to(inputs.device)
    decides = {
        "parameters": settings.model_dump(),
        "training": training.model_dump(exclude={"checkpoint_seconds"}),
        "sid_table": inputs.table.fingerprint,
        "samples": samples_fingerprint(inputs.samples),
    }
    rate = {"learning_rate": settings.learning_rate}
    budget = replace(
        budget_of(training),
        optimizer=training.optimizer.model_copy(update=rate),
        batch_size=settings.batch_size,
        samples_per_pass=settings.samples_per_pass,
        epochs=settings.epochs,
        seed=seed,
        group="baselines.autoregressive",
    )
    task = AutoregressiveTask(label, model, inputs, seed)
    return model, inputs.train(task, inputs.samples, budget, decides)


class Autoregressive(Baseline):
    """The autoregressive decoder."""

    networks = "autoregressive"

    def fit(self, inputs: TrainingInputs) -> tuple[list[Network], list[dict[str, Any]]]:
        """Train a decoder with every seed."""
        label = f"Autoregressive, seed {{}} of {len(inputs.seeds)}"
        networks: list[Network] = [
            fit_autoregressive(inputs, seed, label.format(number))
            for number, seed in enumerate(inputs.seeds, 1)
        ]
        return networks, []

    def ranker(
        self,
        inputs: RankingInputs,
        parameters: BaselinesParameters,
        weights: Mapping[str, Tensor],
        config: Mapping[str, Any],
    ) -> Ranker:
        """Rank by a beam search over the prefixes of existing SIDs."""
        catalogue = inputs.catalogue
        return AutoregressiveRanker(
            AutoregressiveDecoder.from_saved(weights, config).to(catalogue.device),
            Prefixes(catalogue.index),
            catalogue,
            parameters.autoregressive.beam,
        )
