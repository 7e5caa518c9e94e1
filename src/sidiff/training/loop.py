"""The training loop: flat arrays in, best weights and a history out.

A batch is sorted by history length and cut into passes of at most
``samples_per_pass`` samples whose gradients add up: the step is that of the whole
batch, but short histories are not padded to the longest one, and memory stays bounded.
"""

from __future__ import annotations

import hashlib
import logging
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm.auto import tqdm

from sidiff.decoding.lattice import Lattice
from sidiff.devices import cpu_threads, resolve
from sidiff.diffusion.denoiser import Denoiser, DenoiserConfig, ItemTable, Memory
from sidiff.diffusion.histories import Histories, HistoryBatch, identity_rows
from sidiff.diffusion.noising import NoisingContext, masked_digits
from sidiff.diffusion.noising.probe import confidence_probe
from sidiff.diffusion.objective import Loss, denoising_loss, item_loss
from sidiff.errors import SidiffError
from sidiff.evaluation.ranker import Ranker, batches
from sidiff.onednn import linear
from sidiff.parameters import TrainingParameters
from sidiff.reviews.sequences import (
    Sequences,
    evaluation_samples,
    training_items,
)
from sidiff.sids.table import SidTable
from sidiff.snapshots import SnapshotFolder, decode, encode
from sidiff.training.masking import MaskingLog
from sidiff.training.progress import Checkpoints, Progress, cpu_weights
from sidiff.training.schedule import EarlyStopping, learning_rate
from sidiff.training.workers import ALONE, Workers

logger = logging.getLogger(__name__)

SCORE_CUTOFF = 10
_WITHOUT_EFFECT = {"checkpoint_seconds", "engine", "workers", "restarts"}
"""Parameters that do not decide what is learnt; how many workers there are decides the
rounding, and is asked of the workers themselves."""
OnEpoch = Callable[[int, dict[str, float]], None]
"""Called after every epoch (from 1) with its figures."""


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
        trainer = _Trainer(
            sequences, samples, table, parameters, max_history, lattice, workers
        )
        decides = {
            "model": "denoiser",
            "parameters": parameters.model_dump(exclude=_WITHOUT_EFFECT),
            "workers": workers.size,
            "max_history": max_history,
            "sequences": trainer.sequences,
            "sid_table": trainer.sid_table,
            "samples": samples_fingerprint(samples),
        }
        kept = Checkpoints(
            checkpoints if workers.first else None,
            "Denoiser",
            decides,
            parameters.checkpoint_seconds,
        )
        return _fit(trainer, on_epoch if workers.first else _unheard, kept)


def _unheard(epoch: int, figures: dict[str, float]) -> None:
    """What workers other than the first do with the figures of an epoch."""


def _fit(trainer: _Trainer, on_epoch: OnEpoch, kept: Checkpoints) -> Fitted:
    parameters, progress = trainer.parameters, trainer.progress
    stopping = progress.stopping
    kept.resume(progress)
    trainer.agree()
    for row in progress.rows:
        on_epoch(row["epoch"], {k: v for k, v in row.items() if k != "epoch"})
    size = len(trainer.samples)
    with tqdm(
        total=size * parameters.epochs,
        initial=size * progress.epochs + progress.batch * parameters.batch_size,
        desc="Training",
        unit=" samples",
        unit_scale=True,
        disable=None if trainer.workers.first else True,
    ) as bar:
        while not progress.finished:
            epoch = progress.epochs + 1
            began = time.perf_counter()
            left = max(0, size - progress.batch * parameters.batch_size)
            figures = trainer.epoch(bar, kept)
            if not math.isfinite(figures["train/loss"]):
                raise SidiffError(
                    f"The training diverged: in epoch {epoch} the loss is "
                    f"{figures['train/loss']}; lower training.optimizer.learning_rate "
                    f"({parameters.optimizer.learning_rate}) or raise "
                    "training.optimizer.warmup_steps."
                )
            rate = left / (time.perf_counter() - began)
            bar.set_postfix_str(f"epoch {epoch}, loss {figures['train/loss']:.3f}")
            if stopping.due(epoch, parameters.epochs):
                figures |= trainer.validate()
                trainer.log(
                    "Epoch %d of %d: loss %.3f, validation NDCG@%d %.4f (SID), "
                    "%.4f (item), %.0f samples/s",
                    epoch,
                    parameters.epochs,
                    figures["train/loss"],
                    SCORE_CUTOFF,
                    figures[f"validation/sid/ndcg_at_{SCORE_CUTOFF}"],
                    figures[f"validation/item/ndcg_at_{SCORE_CUTOFF}"],
                    rate,
                )
                if stopping.update(epoch, figures["validation/score"]):
                    progress.best = cpu_weights(trainer.denoiser)
            progress.end_epoch({"epoch": epoch} | figures, trainer.masking.rows(epoch))
            progress.finished = epoch == parameters.epochs or stopping.exhausted
            kept.write(progress)
            on_epoch(epoch, figures | {"train/samples_per_second": rate})
    config = trainer.denoiser.saved_config() | {
        "sid_table": trainer.sid_table,
        "sequences": trainer.sequences,
        "identities": trainer.identified,
        "seed": parameters.seed,
        "best_epoch": stopping.best_epoch,
        "best_score": stopping.best_score,
        "epochs_run": progress.epochs,
        "parameters": sum(p.numel() for p in trainer.denoiser.parameters()),
    }
    return Fitted(
        progress.best,
        config,
        pl.DataFrame(progress.rows, infer_schema_length=None),
        pl.DataFrame(progress.notes),
    )


class _Trainer:
    """Network, optimiser and data of one run."""

    def __init__(
        self,
        sequences: Sequences,
        samples: NDArray[np.int32],
        table: SidTable,
        parameters: TrainingParameters,
        max_history: int,
        lattice: Lattice | None,
        workers: Workers = ALONE,
    ) -> None:
        self.parameters = parameters
        self.workers = workers
        self.device = resolve(parameters.device)
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
        order = torch.Generator().manual_seed(parameters.seed)
        self.noise = torch.Generator(self.device)
        weights = torch.Generator().manual_seed(parameters.seed + 2)
        self.denoiser = Denoiser(config).initialize(weights).to(self.device)
        self.denoiser.train()
        self.denoiser.precision = parameters.precision
        self.optimizer = torch.optim.AdamW(
            self.denoiser.parameters(),
            lr=parameters.optimizer.learning_rate,
            weight_decay=parameters.optimizer.weight_decay,
            fused=True,
        )
        self.masking = MaskingLog(table.digits, self.device)
        self.progress = Progress(
            self.denoiser,
            self.optimizer,
            EarlyStopping(parameters.validation),
            order,
            self.device,
            {"masking": self.masking.total},
        )
        self.samples = torch.from_numpy(samples)
        self.sid_table = table.fingerprint
        self.sequences = sequences.fingerprint
        identities = identity_rows(self.identified, item_ids)
        self.histories = Histories(sequences, table.codes, identities, self.device)
        self.known_items = _known_items(self.histories.table)
        self.ranker = Ranker(sequences, table, identities, self.device, lattice)
        self.validation_samples = validation_samples(
            sequences,
            max_history,
            parameters.validation.max_users,
            parameters.seed,
        )
        users, _, ends = self.validation_samples.T
        targets = sequences.items[sequences.offsets[users] + ends]
        self.validation_targets = targets.astype(np.int64)
        steps_per_epoch = -(-len(samples) // parameters.batch_size)
        self.total_steps = steps_per_epoch * parameters.epochs

    def agree(self) -> None:
        """Let every worker begin where the first one does."""
        if self.workers.size == 1:
            return
        content = encode(self.progress.snapshot()) if self.workers.first else b""
        content = self.workers.from_first(content, self.device)
        if not self.workers.first:
            self.progress.restore(decode(content))

    def log(self, message: str, *values: Any) -> None:
        """Log a line, once for all workers."""
        if self.workers.first:
            logger.info(message, *values)

    def epoch(self, bar: tqdm, kept: Checkpoints) -> dict[str, float]:
        """The rest of a pass over the samples in a fresh random order."""
        progress, schedule = self.progress, self.parameters.optimizer
        for batch in progress.batches(self.samples, self.parameters.batch_size):
            rate = learning_rate(progress.step, self.total_steps, schedule)
            loss = self._optimize(batch, rate)
            progress.advance(loss.total, loss.weight)
            bar.update(len(batch))
            kept.write_if_due(progress)
        # Of the last step, which may have been taken before a crash.
        rate = learning_rate(progress.step - 1, self.total_steps, schedule)
        total, weight = progress.sums
        return {"train/loss": float(total / weight), "train/learning_rate": rate}

    def validate(self) -> dict[str, float]:
        """Validation metrics and the score that selects the checkpoint."""
        parameters = self.parameters.validation
        samples = self.validation_samples
        items, sids = np.zeros((2, len(samples), SCORE_CUTOFF), dtype=np.int64)
        # Whole batches, so that lists do not depend on how many workers there are.
        together = batches(samples, parameters.users_per_batch, whole=False)
        mine = [rows for _, rows in self.workers.share(together)]
        if mine:
            rows = np.concatenate(mine)
            ranking = self.ranker.rank(
                self.denoiser,
                samples[rows],
                parameters.decoding,
                SCORE_CUTOFF,
                parameters.users_per_batch,
                None,
            )
            items[rows], sids[rows] = ranking.items, ranking.sids
        items, sids = self.workers.add_up_arrays([items, sids], self.device)
        targets = self.validation_targets
        figures = self.ranker.scores(items, sids, targets, [SCORE_CUTOFF], "validation")
        level = f"validation/{parameters.level}"
        ndcg = figures[f"{level}/ndcg_at_{SCORE_CUTOFF}"]
        recall = figures[f"{level}/recall_at_{SCORE_CUTOFF}"]
        share = parameters.ndcg_weight
        figures["validation/score"] = share * ndcg + (1.0 - share) * recall
        return figures

    def _optimize(self, batch: Tensor, rate: float) -> Loss:
        """One optimiser step on ``batch`` ``(B, 3)``."""
        total = torch.zeros((), device=self.device)
        weight = torch.zeros((), device=self.device)
        parts = list(by_length(batch, self.parameters.samples_per_pass))
        for number, part in self.workers.share(parts):
            self._seed_draws(number)
            loss = self._loss(self.histories.gather(part))
            loss.total.backward()
            total += loss.total.detach()
            weight += loss.weight
        self.workers.add_up_gradients(list(self.denoiser.parameters()))
        self.workers.add_up([total, weight])
        self.masking.end_step(self.workers)
        gradients = [p.grad for p in self.denoiser.parameters() if p.grad is not None]
        torch._foreach_div_(gradients, weight)
        torch.nn.utils.clip_grad_norm_(
            self.denoiser.parameters(), self.parameters.optimizer.max_gradient_norm
        )
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return Loss(total, weight)

    def _seed_draws(self, part: int) -> None:
        """Let noise and dropout follow from seed, step and part of the batch alone.

        So they are the same whichever worker has the part, and after a resumption.
        """
        source = np.random.SeedSequence(
            [self.parameters.seed, self.progress.step, part]
        )
        noise, dropout = source.generate_state(2, np.uint64).tolist()
        self.noise.manual_seed(noise)
        if self.device.type == "cuda":
            torch.cuda.manual_seed(dropout)
        else:
            # Not torch.manual_seed, which sees to every kind of device each time.
            torch.default_generator.manual_seed(dropout)

    def _loss(self, batch: HistoryBatch) -> Loss:
        parameters = self.parameters
        memory = self.denoiser.encode(batch.history, batch.lengths, batch.identities)
        context = NoisingContext(
            targets=batch.targets,
            history=batch.history,
            lengths=batch.lengths,
            progress=self.progress.step / self.total_steps,
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

    def _item_loss(self, batch: HistoryBatch, memory: Memory) -> Tensor:
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


def by_length(batch: Tensor, samples_per_pass: int) -> Iterator[Tensor]:
    """Cut a batch ``(B, 3)`` into parts of similar history length."""
    lengths = batch[:, 2] - batch[:, 1]
    yield from batch[lengths.argsort(dim=0, stable=True)].split(samples_per_pass)


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
