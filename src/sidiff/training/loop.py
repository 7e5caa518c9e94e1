"""The denoiser's training: its loss, how it is validated, what comes of it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from sidiff.decoding.catalogue import Catalogue
from sidiff.decoding.lattice import Lattice
from sidiff.devices import cpu_threads, resolve
from sidiff.diffusion.denoiser import Denoiser, DenoiserConfig, ItemTable, Memory
from sidiff.diffusion.histories import Histories, SampleBatch, identity_rows
from sidiff.diffusion.noising import NoisingContext, masked_digits
from sidiff.diffusion.noising.probe import confidence_probe
from sidiff.diffusion.objective import Loss, denoising_loss, item_loss
from sidiff.errors import SidiffError
from sidiff.evaluation.metrics import level_means
from sidiff.onednn import linear
from sidiff.parameters import TrainingParameters
from sidiff.ranking.methods import network_ranker
from sidiff.ranking.users import Users, rank_users
from sidiff.reviews.sequences import (
    Sequences,
    evaluation_samples,
    training_counts,
    training_items,
)
from sidiff.sids.table import SidTable
from sidiff.snapshots import SnapshotFolder
from sidiff.training.masking import MaskingLog
from sidiff.training.progress import Checkpoints
from sidiff.training.trainer import (
    SCORE,
    SCORE_CUTOFF,
    Budget,
    OnEpoch,
    Task,
    Trainer,
    unheard,
)
from sidiff.training.workers import ALONE, Workers

_WITHOUT_EFFECT = {"checkpoint_seconds", "engine", "workers", "restarts"}
"""Parameters that do not decide what is learnt; how many workers there are decides the
rounding, and is asked of the workers themselves."""


@dataclass(frozen=True)
class Fitted:
    """A trained denoiser.

    Attributes:
        weights: state of the best epoch, on the CPU.
        config: what ``Denoiser.from_saved`` needs, and how the weights came about.
        history: one row per epoch: loss, learning rate, validation metrics; the same
            for every run of the same settings.
        masking: what the noising hid in every epoch: epoch, of, value, share; see
            ``sidiff.training.masking.MaskingLog.rows``.
    """

    weights: dict[str, Tensor]
    config: dict[str, Any]
    history: pl.DataFrame
    masking: pl.DataFrame


def fit(
    sequences: Sequences,
    samples: NDArray[np.int32],
    table: SidTable,
    parameters: TrainingParameters,
    max_history: int,
    on_epoch: OnEpoch,
    lattice: Lattice | None = None,
    checkpoints: SnapshotFolder | None = None,
    workers: Workers = ALONE,
) -> Fitted:
    """Train a denoiser and keep the weights of its best validated epoch.

    A run that was cut off goes on from its last checkpoint and ends as if it had not
    been, to the last bit on a CPU; one that was finished is not repeated.

    Args:
        sequences: all users' items; training sees only positions in ``samples``.
        samples: training windows ``(S, 3)``: user, start, end.
        table: the items' SIDs.
        parameters: network, noising, loss, optimiser, validation.
        max_history: longest history of the network; fixes the position table.
        on_epoch: receives each epoch's figures; those of epochs before a resumption
            once more.
        lattice: of the SIDs, for validation; made anew where it is not given.
        checkpoints: where unfinished runs lie, each under its own fingerprint; None
            to keep none. They stay until the caller clears the folder.
        workers: the processes that run this at once on the same arguments; all get
            the same weights, and the first alone writes, logs and calls ``on_epoch``.

    Raises:
        SidiffError: no samples, a setting that does not fit the data, a loss that is
            no number any more, or a checkpoint that cannot be written.
    """
    if len(samples) == 0:
        raise SidiffError(
            "There are no training samples: every user is too short for "
            "filtering.min_history; lower it or bring longer histories."
        )
    with cpu_threads(parameters.threads):
        task = DenoiserTask(sequences, samples, table, parameters, max_history, lattice)
        decides = {
            "model": "denoiser",
            "parameters": parameters.model_dump(exclude=_WITHOUT_EFFECT),
            "workers": workers.size,
            "max_history": max_history,
            "sequences": sequences.fingerprint,
            "sid_table": table.fingerprint,
            "samples": samples_fingerprint(samples),
        }
        kept = Checkpoints(
            checkpoints if workers.first else None,
            "Denoiser",
            decides,
            parameters.checkpoint_seconds,
        )
        trainer = Trainer(task, samples, budget_of(parameters), workers)
        trained = trainer.train(kept, on_epoch if workers.first else unheard)
    config = task.denoiser.saved_config() | {
        "sid_table": table.fingerprint,
        "sequences": sequences.fingerprint,
        "identities": task.identified,
        "seed": parameters.seed,
        "best_epoch": trained.epoch,
        "best_score": trained.score,
        "epochs_run": trained.epochs_run,
        "parameters": sum(p.numel() for p in task.denoiser.parameters()),
    }
    return Fitted(
        trained.weights,
        config,
        pl.DataFrame(trained.rows, infer_schema_length=None),
        pl.DataFrame(trained.notes),
    )


def budget_of(parameters: TrainingParameters) -> Budget:
    """The schedule that the parameters give."""
    return Budget(
        parameters.optimizer,
        parameters.validation,
        parameters.batch_size,
        parameters.samples_per_pass,
        parameters.epochs,
        parameters.seed,
        "training",
    )


class DenoiserTask(Task):
    """The denoiser, its noising and its validation by lists."""

    def __init__(
        self,
        sequences: Sequences,
        samples: NDArray[np.int32],
        table: SidTable,
        parameters: TrainingParameters,
        max_history: int,
        lattice: Lattice | None,
    ) -> None:
        """Draw the weights and lay the data out; arguments as for ``fit``."""
        device = resolve(parameters.device)
        item_ids = sequences.item_ids
        self.identified: list[str] = []
        if parameters.network.item_identity:
            known = training_items(samples, sequences)
            self.identified = item_ids.filter(pl.Series(known)).to_list()
        config = DenoiserConfig.build(
            parameters.network,
            table.digits,
            table.codes_per_digit,
            max_history,
            len(self.identified),
        )
        weights = torch.Generator().manual_seed(parameters.seed + 2)
        self.denoiser = Denoiser(config).initialize(weights).to(device)
        self.denoiser.precision = parameters.precision
        super().__init__("Denoiser", self.denoiser, device)
        self.parameters = parameters
        self.masking = MaskingLog(table.digits, device)
        self.counts["masking"] = self.masking.total
        identities = identity_rows(self.identified, item_ids)
        self.histories = Histories(sequences, table.codes, identities, device)
        self.known_items = _known_items(self.histories.table)
        counts, size = training_counts(sequences), table.codes_per_digit
        self.groups = table.groups()
        self.catalogue = Catalogue.build(self.groups, size, counts, device, lattice)
        settings = parameters.validation
        chosen = validation_samples(
            sequences, max_history, settings.max_users, parameters.seed
        )
        per_batch = settings.users_per_batch
        self.validation = Users(
            sequences, self.histories, chosen, SCORE_CUTOFF, False, per_batch
        )
        users, _, ends = chosen.T
        targets = sequences.items[sequences.offsets[users] + ends]
        self.validation_targets = targets.astype(np.int64)

    def validate(self, workers: Workers) -> dict[str, float]:
        """Metrics at both levels, and the score that the parameters make of them."""
        parameters, users = self.parameters.validation, self.validation
        items, sids = np.zeros((2, len(users.samples), SCORE_CUTOFF), dtype=np.int64)
        # Whole batches, so that lists do not depend on how many workers there are.
        mine = [rows for _, rows in workers.share(users.batches())]
        if mine:
            rows = np.concatenate(mine)
            ranker = network_ranker(
                self.denoiser, parameters.ranking, self.catalogue, self.histories.table
            )
            ranking = rank_users(ranker, users.take(rows), None)
            items[rows], sids[rows] = ranking.items, ranking.sids
        items, sids = workers.add_up_arrays([items, sids], self.device)
        figures = level_means(
            items,
            sids,
            self.validation_targets,
            self.groups,
            [SCORE_CUTOFF],
            "validation",
        )
        level = f"validation/{parameters.level}"
        ndcg = figures[f"{level}/ndcg_at_{SCORE_CUTOFF}"]
        recall = figures[f"{level}/recall_at_{SCORE_CUTOFF}"]
        share = parameters.ndcg_weight
        return figures | {SCORE: share * ndcg + (1.0 - share) * recall}

    def end_step(self, workers: Workers) -> None:
        """Count what all workers masked."""
        self.masking.end_step(workers)

    def notes(self, epoch: int) -> list[dict[str, Any]]:
        """What was masked in the epoch."""
        return self.masking.rows(epoch)

    def loss(self, samples: Tensor, progress: float) -> Loss:
        """The denoising loss and those beside it."""
        return self._loss(self.histories.gather(samples), progress)

    def _loss(self, batch: SampleBatch, progress: float) -> Loss:
        parameters = self.parameters
        memory = self.denoiser.encode(batch.history, batch.lengths, batch.identities)
        context = NoisingContext(
            targets=batch.targets,
            history=batch.history,
            lengths=batch.lengths,
            progress=progress,
            probe=confidence_probe(
                self.denoiser, memory, batch.targets, parameters.noising
            ),
            generator=self.noise,
        )
        masked = masked_digits(context, parameters.noising)
        self.masking.add(context, masked)
        codes = batch.targets[:, None].expand_as(masked)
        logits = self.denoiser.logits(codes, masked, memory)
        loss = denoising_loss(
            logits,
            batch.targets,
            masked,
            parameters.label_smoothing,
            parameters.loss_reduction,
        )
        beside = self.parameters.auxiliary.item_weight * self._item_loss(batch, memory)
        return Loss(loss.total + beside * loss.weight, loss.weight)

    def _item_loss(self, batch: SampleBatch, memory: Memory) -> Tensor:
        """Mean loss of the softmax over items; 0 where it has no weight."""
        if not self.parameters.auxiliary.item_weight or memory.users is None:
            return torch.zeros((), device=self.device)
        vectors = self.denoiser.item_vectors(self.known_items)
        # Rows 1, 2, ... of the identity table are the known items, in order.
        targets = self.histories.table.identities[batch.target_items] - 1
        return item_loss(linear(memory.users, vectors), targets)


def _known_items(table: ItemTable) -> ItemTable:
    """The items that have an identity, in the order of their rows."""
    items = table.identities.argsort()
    items = items[table.identities[items] > 0]
    return ItemTable(table.codes[items], table.identities[items])


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


def samples_fingerprint(samples: NDArray[np.int32]) -> str:
    """SHA-256 (hex) of training windows ``(S, 3)`` in their order."""
    return hashlib.sha256(samples.astype("<i4").tobytes()).hexdigest()
