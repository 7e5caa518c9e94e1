"""The training of the autoregressive decoder, on the denoiser's samples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from sidiff.baselines.autoregressive import AutoregressiveDecoder
from sidiff.baselines.method import Baseline, Fitted, Lessons, Shop, train
from sidiff.baselines.prefix_search import AutoregressiveRanker, Prefixes, beam_search
from sidiff.baselines.settings import AutoregressiveParameters
from sidiff.diffusion.denoiser import DenoiserConfig
from sidiff.diffusion.histories import Histories
from sidiff.diffusion.objective import Loss
from sidiff.evaluation import metrics as m
from sidiff.ranking.ranker import Ranker
from sidiff.reviews.sequences import Sequences
from sidiff.sids.table import SidTable
from sidiff.snapshots import SnapshotFolder
from sidiff.training.denoising import validation_samples
from sidiff.training.loop import budget_of, samples_fingerprint
from sidiff.training.settings import TrainingParameters
from sidiff.training.trainer import (
    SCORE,
    SCORE_CUTOFF,
    Budget,
    Task,
    Trained,
    by_length,
)
from sidiff.training.workers import Workers

PLAIN = {"mask": "per_digit", "difficulty_embedding": False}
"""Parts that no counterpart of a denoiser has: a mask vector says which digit is asked
for, and always one digit is."""


class AutoregressiveTask(Task):
    """The decoder, its loss, and its validation by NDCG@10 of a beam."""

    def __init__(
        self,
        label: str,
        model: AutoregressiveDecoder,
        sequences: Sequences,
        table: SidTable,
        training: TrainingParameters,
        beam: int,
        validation: NDArray[np.int32],
        device: torch.device,
    ) -> None:
        """Lay the data out; ``validation`` ``(U, 3)`` are user, start, end."""
        super().__init__(label, model, device)
        self.decoder = model
        self.histories = Histories(sequences, table.codes, None, device)
        self.groups = table.groups()
        self.prefixes = Prefixes.of(table, device)
        self.training = training
        self.beam = beam
        self.validation = torch.from_numpy(validation)

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

    @torch.inference_mode()
    def validate(self, workers: Workers) -> dict[str, float]:
        """Mean NDCG@10 of the targets, expected over the items of a SID."""
        del workers
        total = 0.0
        for part in by_length(
            self.validation, self.training.validation.users_per_batch
        ):
            batch = self.histories.gather(part)
            memory = self.decoder.encode(batch.history, batch.lengths)
            rows, _ = beam_search(self.decoder, memory, self.prefixes, self.beam)
            ndcg = m.expected_item_metrics(
                rows.cpu().numpy(),
                self.groups.sid_of_item[batch.target_items.cpu().numpy()],
                self.groups.sizes,
                [SCORE_CUTOFF],
            )[f"ndcg_at_{SCORE_CUTOFF}"]
            total += float(ndcg.sum())
        return {SCORE: total / len(self.validation)}


def fit_autoregressive(
    sequences: Sequences,
    samples: NDArray[np.int32],
    table: SidTable,
    parameters: AutoregressiveParameters,
    training: TrainingParameters,
    max_history: int,
    seed: int,
    device: torch.device,
    label: str = "autoregressive",
    checkpoints: SnapshotFolder | None = None,
) -> tuple[AutoregressiveDecoder, Trained]:
    """Train on the denoiser's samples, in its network's shape, by its schedule.

    Args:
        sequences: all users' items.
        samples: training windows ``(S, 3)``: user, start, end.
        table: the items' SIDs.
        parameters: layers, dropout, batches, epochs, peak learning rate and beam.
        training: everything else, as for the denoiser.
        max_history: longest history of the network.
        seed: of weights, order and dropout.
        device: where it is trained; the model stays there.
        label: names the progress bar.
        checkpoints: where unfinished runs lie; None to keep none.

    Returns:
        The model of the best validated epoch, in evaluation mode, and its course.
    """
    config = DenoiserConfig.build(
        training.network.model_copy(
            update=PLAIN
            | parameters.model_dump(
                include={"encoder_layers", "decoder_layers", "dropout"}
            )
        ),
        table.digits,
        table.codes_per_digit,
        max_history,
    )
    model = AutoregressiveDecoder(config)
    model.initialize(torch.Generator().manual_seed(seed + 2)).to(device)
    decides = {
        "parameters": parameters.model_dump(),
        "training": training.model_dump(exclude={"checkpoint_seconds"}),
        "max_history": max_history,
        "seed": seed,
        "device": str(device),
        "sequences": sequences.fingerprint,
        "sid_table": table.fingerprint,
        "samples": samples_fingerprint(samples),
    }
    task = AutoregressiveTask(
        label,
        model,
        sequences,
        table,
        training,
        parameters.beam,
        validation_samples(sequences, max_history, training.validation.max_users, seed),
        device,
    )
    budget = _budget(parameters, training, seed)
    return model, train(task, samples, budget, "Autoregressive", decides, checkpoints)


def _budget(
    parameters: AutoregressiveParameters, training: TrainingParameters, seed: int
) -> Budget:
    rate = {"learning_rate": parameters.learning_rate}
    return replace(
        budget_of(training),
        optimizer=training.optimizer.model_copy(update=rate),
        batch_size=parameters.batch_size,
        samples_per_pass=parameters.samples_per_pass,
        epochs=parameters.epochs,
        seed=seed,
        group="baselines.autoregressive",
    )


class Autoregressive(Baseline):
    """The autoregressive decoder, on the denoiser's samples."""

    networks = "autoregressive"
    title = "autoregressive decoder"
    reads_sids = True

    def fit(self, lessons: Lessons) -> Fitted:
        """Train a decoder with every seed."""
        networks = [
            fit_autoregressive(
                lessons.sequences,
                lessons.samples,
                lessons.table,
                lessons.parameters.autoregressive,
                lessons.training,
                lessons.max_history,
                seed,
                lessons.device,
                f"Autoregressive, seed {number} of {len(lessons.seeds)}",
                lessons.checkpoints,
            )
            for number, seed in enumerate(lessons.seeds, 1)
        ]
        made_of = {
            "sequences": lessons.sequences.fingerprint,
            "sid_table": lessons.table.fingerprint,
        }
        return Fitted.of(networks, lessons.seeds, made_of, [])

    def ranker(
        self, shop: Shop, weights: Mapping[str, Tensor], config: Mapping[str, Any]
    ) -> Ranker:
        """A beam over the prefixes of existing SIDs."""
        device = shop.catalogue.device
        return AutoregressiveRanker(
            AutoregressiveDecoder.from_saved(weights, config).to(device),
            Prefixes.of(shop.table, device),
            shop.catalogue,
            shop.parameters.autoregressive.beam,
        )
