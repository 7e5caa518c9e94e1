"""Training task of a denoiser, and the papers' objective.

``DigitTask`` trains a softmax per digit, ``sidiff.training.joint`` a posterior over
items. Both are validated by their lists.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from sidiff.devices import resolve
from sidiff.diffusion.denoiser import Denoiser, DenoiserConfig
from sidiff.diffusion.histories import Histories, residual_rows
from sidiff.diffusion.networks import Network
from sidiff.diffusion.noising import masked_digits
from sidiff.diffusion.noising.context import NoisingContext, confidence_probe
from sidiff.diffusion.noising.orders import history_counts
from sidiff.diffusion.objective import Loss, denoising_loss
from sidiff.errors import SidiffError
from sidiff.evaluation.metrics import level_means
from sidiff.ranking.inputs import RankingInputs
from sidiff.ranking.methods import method_ranker, search_model
from sidiff.ranking.users import Users, rank_users
from sidiff.reviews.sequences import Sequences, evaluation_samples, training_counts
from sidiff.sids.table import SidTable
from sidiff.snapshots import SnapshotFolder
from sidiff.training.settings import TrainingParameters
from sidiff.training.trainer import SCORE, SCORE_CUTOFF, Task
from sidiff.training.workers import Workers

NDCG_SHARE = 0.8
"""Share of NDCG@10 in the validation score; the rest is Recall@10."""


@dataclass(frozen=True)
class Job:
    """The data and settings of a denoiser's training.

    Attributes:
        sequences: all users' items; training sees only positions in ``samples``.
        samples: training windows ``(S, 3)``: user, start, end; read by ``DigitTask``.
        table: the items' SIDs.
        parameters: network, noising, loss, optimiser, validation.
        max_history: longest history that the network reads.
        checkpoints: folder of unfinished runs, cleared by the caller; None for no
            checkpoints.
    """

    sequences: Sequences
    samples: NDArray[np.int32]
    table: SidTable
    parameters: TrainingParameters
    max_history: int
    checkpoints: SnapshotFolder | None = None


class MaskingLog:
    """Counts of masked digits since the last ``rows``.

    Attributes:
        total: counts ``(L + 1 + L + 4,)``: views with 0, 1, ... L digits masked;
            views in which each digit is masked; digits whose code is not in the
            history, all and masked; digits whose code is in it, all and masked.
    """

    def __init__(self, digits: int, device: torch.device) -> None:
        """Start with zero counts."""
        self._digits = digits
        self.total = torch.zeros(2 * digits + 5, dtype=torch.int64, device=device)
        self._step = torch.zeros_like(self.total)

    def add(self, context: NoisingContext, masked: Tensor) -> None:
        """Count the views ``masked`` ``(B, V, L)`` bool of a part of a batch."""
        sizes, digits, explained = self._split(self._step)
        sizes += masked.sum(2).flatten().bincount(minlength=len(sizes))
        digits += masked.sum((0, 1))
        known = (history_counts(context) > 0).long()
        times = masked.sum(1)
        explained[:, 0] += masked.shape[1] * known.flatten().bincount(minlength=2)
        explained[:, 1].scatter_add_(0, known.flatten(), times.flatten())

    def end_step(self, workers: Workers) -> None:
        """Add the counts of all workers since the last step to the total."""
        workers.add_up([self._step])
        self.total += self._step
        self._step.zero_()

    def rows(self, epoch: int) -> list[dict[str, Any]]:
        """Rows of an epoch (epoch, of, value, share); the counts return to zero.

        The share is, for ``of`` = ``views``, that of views with ``value`` masked
        digits; for ``digit``, that of views in which digit ``value`` is masked; for
        ``in_history``, that of masked digits among those whose code is in the history
        (1) or not (0).
        """
        sizes, digits, explained = self._split(self.total)
        views = sizes.sum().clamp(min=1)
        shares = {
            "views": sizes / views,
            "digit": digits / views,
            "in_history": explained[:, 1] / explained[:, 0].clamp(min=1),
        }
        self.total.zero_()
        return [
            {"epoch": epoch, "of": of, "value": value, "share": share}
            for of, tensor in shares.items()
            for value, share in enumerate(tensor.tolist())
        ]

    def _split(self, counts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Views: sizes ``(L + 1,)``, digits ``(L,)``, in history ``(2, 2)``."""
        sizes, digits, explained = counts.split([self._digits + 1, self._digits, 4])
        return sizes, digits, explained.view(2, 2)


class DenoiserTask(Task):
    """A denoiser with its noising, and its validation by lists.

    Attributes:
        network: the network in training.
        samples: training samples ``(S, 3)``: user, start, end.
        known_items: ids of the items with a residual, in the order of its rows.
        masking: counts of masked digits in the current epoch.
    """

    network: Network

    def __init__(
        self,
        job: Job,
        network: Network,
        samples: NDArray[np.int32],
        residual_items: NDArray[np.bool_] | None,
    ) -> None:
        """Initialise the weights and prepare the data.

        Args:
            job: data and settings.
            network: the network, not initialised.
            samples: training samples ``(S, 3)``.
            residual_items: items that have a residual ``(N,)``; None for none.

        Raises:
            SidiffError: there are no samples.
        """
        sequences, table, parameters = job.sequences, job.table, job.parameters
        if len(samples) == 0:
            raise SidiffError(
                "There are no training samples: every user is too short for "
                "filtering.min_history; lower it or bring longer histories."
            )
        device = resolve(parameters.device)
        weights = torch.Generator().manual_seed(parameters.seed + 2)
        network.initialize(weights).to(device)
        network.precision = parameters.precision
        super().__init__("Denoiser", network, device)
        self.network = network
        self.parameters = parameters
        self.samples = samples
        self.masking = MaskingLog(table.digits, device)
        self.counts["masking"] = self.masking.total
        self.known_items: list[str] = []
        if residual_items is not None:
            known = sequences.item_ids.filter(pl.Series(residual_items))
            self.known_items = known.to_list()
        rows = residual_rows(self.known_items, sequences.item_ids)
        inputs = RankingInputs.build(table, training_counts(sequences), device, rows)
        self.histories = Histories(sequences, inputs.items)
        self.groups, self.catalogue = table.groups(), inputs.catalogue
        validation = parameters.validation
        chosen = validation_samples(
            sequences, job.max_history, validation.max_users, parameters.seed
        )
        self.validation = Users(
            sequences,
            inputs.items,
            chosen,
            SCORE_CUTOFF,
            exclude_seen=False,
            per_batch=validation.users_per_batch,
        )

    def validate(self, workers: Workers) -> dict[str, float]:
        """Metrics at both levels, and the score at ``validation.level``."""
        parameters, users = self.parameters.validation, self.validation
        items, sids = np.zeros((2, len(users.samples), SCORE_CUTOFF), dtype=np.int64)
        # Whole batches, so that lists do not depend on the number of workers.
        share = [rows for _, rows in workers.share(users.batches())]
        if share:
            rows = np.concatenate(share)
            model = search_model(self.network, self.histories.table)
            ranker = method_ranker(model, parameters.ranking, self.catalogue)
            ranking = rank_users(ranker, users.take(rows), None)
            items[rows], sids[rows] = ranking.items, ranking.sids
        lists = [torch.from_numpy(part).to(self.device) for part in (items, sids)]
        workers.add_up(lists)
        items, sids = (part.cpu().numpy() for part in lists)
        figures = level_means(
            items,
            sids,
            users.targets,
            self.groups,
            [SCORE_CUTOFF],
            "validation",
        )
        level = f"validation/{parameters.level}"
        ndcg = figures[f"{level}/ndcg_at_{SCORE_CUTOFF}"]
        recall = figures[f"{level}/recall_at_{SCORE_CUTOFF}"]
        return figures | {SCORE: NDCG_SHARE * ndcg + (1.0 - NDCG_SHARE) * recall}

    def mask(
        self,
        targets: Tensor,
        history: Tensor,
        lengths: Tensor,
        memory: Any,
        progress: float,
    ) -> Tensor:
        """Mask digits of a part of a batch, and count them: ``(B, V, L)`` bool.

        ``memory`` is the input of the confidence probe; the other arguments are those
        of ``NoisingContext``.
        """
        probe = confidence_probe(self.network, memory, targets)
        context = NoisingContext(targets, history, lengths, progress, probe, self.noise)
        masked = masked_digits(context, self.parameters.noising)
        self.masking.add(context, masked)
        return masked

    def end_step(self, workers: Workers) -> None:
        """Add the masking counts of all workers."""
        self.masking.end_step(workers)

    def notes(self, epoch: int) -> list[dict[str, Any]]:
        """The masking of the epoch."""
        return self.masking.rows(epoch)


class DigitTask(DenoiserTask):
    """The papers' network and its objective: a softmax per masked digit."""

    def __init__(self, job: Job) -> None:
        """Initialise the weights and prepare the data."""
        digits, size = job.table.digits, job.table.codebook_size
        config = DenoiserConfig.build(
            job.parameters.network, digits, size, job.max_history
        )
        self.denoiser = Denoiser(config)
        super().__init__(job, self.denoiser, job.samples, None)

    def loss(self, samples: Tensor, progress: float) -> Loss:
        """Cross-entropy of the digits that the noising masks."""
        denoiser, parameters = self.denoiser, self.parameters
        batch = self.histories.gather(samples)
        memory = denoiser.encode(batch.history, batch.lengths)
        probed = memory
        if parameters.noising.probe_kv == "raw":
            probed = denoiser.unprojected(memory)
        masked = self.mask(
            batch.targets, batch.history, batch.lengths, probed, progress
        )
        codes = batch.targets[:, None].expand_as(masked)
        return denoising_loss(
            denoiser.logits(codes, masked, memory),
            batch.targets,
            masked,
            parameters.label_smoothing,
            parameters.loss_reduction,
        )


def validation_samples(
    sequences: Sequences, max_history: int, max_users: int, seed: int
) -> NDArray[np.int32]:
    """The validation split, or a fixed random part of it (``max_users`` > 0)."""
    samples = evaluation_samples(sequences, "validation", max_history)
    if max_users == 0 or max_users >= len(samples):
        return samples
    generator = np.random.default_rng(seed)
    chosen = generator.choice(len(samples), max_users, replace=False)
    return samples[np.sort(chosen)]
