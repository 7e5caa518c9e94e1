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
from sidiff.baselines.method import Baseline, BaselineTask, Fitted, Lessons
from sidiff.baselines.settings import BaselinesParameters
from sidiff.diffusion.denoiser import DenoiserConfig
from sidiff.diffusion.histories import Histories, SampleBatch
from sidiff.diffusion.objective import Loss
from sidiff.evaluation.metrics import expected_item_metrics
from sidiff.ranking.inputs import RankingInputs
from sidiff.ranking.ranker import Ranker
from sidiff.training.denoising import validation_samples
from sidiff.training.loop import budget_of, samples_fingerprint
from sidiff.training.trainer import SCORE_CUTOFF, Trained

PLAIN = {"mask": "per_digit", "difficulty_embedding": False}
"""Parts that no counterpart of a denoiser has: a mask vector says which digit is asked
for, and always one digit is."""


class AutoregressiveTask(BaselineTask):
    """The decoder, its loss, and its validation by NDCG@10 of a beam."""

    def __init__(
        self, label: str, model: AutoregressiveDecoder, lessons: Lessons, seed: int
    ) -> None:
        """Lay the data out; ``seed`` chooses the validation users."""
        sequences, table = lessons.sequences, lessons.table
        self.training = lessons.training
        settings = self.training.validation
        super().__init__(
            label,
            model,
            Histories(sequences, table.codes, None, lessons.device),
            validation_samples(
                sequences, lessons.max_history, settings.max_users, seed
            ),
            settings.users_per_batch,
        )
        self.decoder = model
        self.groups = table.groups()
        self.prefixes = Prefixes.of(table, self.device)
        self.beam = lessons.parameters.autoregressive.beam

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
        """NDCG@10 of the targets, expected over the items of a SID, summed."""
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
    lessons: Lessons, seed: int, label: str = "autoregressive"
) -> tuple[AutoregressiveDecoder, Trained]:
    """Train on the denoiser's samples, in its network's shape, by its schedule.

    Weights, order and dropout follow from ``seed``. The model is that of the best
    epoch, in evaluation mode.
    """
    own, training = lessons.parameters.autoregressive, lessons.training
    shape = own.model_dump(include={"encoder_layers", "decoder_layers", "dropout"})
    config = DenoiserConfig.build(
        training.network.model_copy(update=PLAIN | shape),
        lessons.table.digits,
        lessons.table.codebook_size,
        lessons.max_history,
    )
    model = AutoregressiveDecoder(config)
    model.initialize(torch.Generator().manual_seed(seed + 2)).to(lessons.device)
    decides = {
        "parameters": own.model_dump(),
        "training": training.model_dump(exclude={"checkpoint_seconds"}),
        "sid_table": lessons.table.fingerprint,
        "samples": samples_fingerprint(lessons.samples),
    }
    rate = {"learning_rate": own.learning_rate}
    budget = replace(
        budget_of(training),
        optimizer=training.optimizer.model_copy(update=rate),
        batch_size=own.batch_size,
        samples_per_pass=own.samples_per_pass,
        epochs=own.epochs,
        seed=seed,
        group="baselines.autoregressive",
    )
    task = AutoregressiveTask(label, model, lessons, seed)
    return model, lessons.train(task, lessons.samples, budget, decides)


class Autoregressive(Baseline):
    """The autoregressive decoder, on the denoiser's samples."""

    networks = "autoregressive"
    title = "autoregressive decoder"

    def fit(self, lessons: Lessons) -> Fitted:
        """Train a decoder with every seed."""
        label = f"Autoregressive, seed {{}} of {len(lessons.seeds)}"
        networks = [
            fit_autoregressive(lessons, seed, label.format(number))
            for number, seed in enumerate(lessons.seeds, 1)
        ]
        return Fitted.of(networks, lessons.seeds, [])

    def ranker(
        self,
        inputs: RankingInputs,
        parameters: BaselinesParameters,
        weights: Mapping[str, Tensor],
        config: Mapping[str, Any],
    ) -> Ranker:
        """A beam over the prefixes of existing SIDs."""
        catalogue = inputs.catalogue
        return AutoregressiveRanker(
            AutoregressiveDecoder.from_saved(weights, config).to(catalogue.device),
            Prefixes(catalogue.index),
            catalogue,
            parameters.autoregressive.beam,
        )
