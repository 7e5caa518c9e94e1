"""SASRec among the baselines: its loss, its training, its settings tried.

Symbols: as in ``sidiff.baselines.sasrec``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sidiff.baselines.method import Baseline, Fitted, Lessons, Shop
from sidiff.baselines.sasrec import SasRec, SasRecConfig
from sidiff.baselines.settings import SasRecSettings
from sidiff.diffusion.histories import Histories, Positions
from sidiff.diffusion.item_softmax import item_softmax_loss, repeat_additions
from sidiff.diffusion.objective import Loss
from sidiff.errors import SidiffError
from sidiff.ranking.items import ItemRanker
from sidiff.ranking.markov import Transitions
from sidiff.ranking.ranker import Ranker
from sidiff.reviews.sequences import Sequences, evaluation_samples, sequence_rows
from sidiff.training.trainer import (
    SCORE,
    SCORE_CUTOFF,
    Budget,
    Task,
    Trained,
    by_length,
)
from sidiff.training.workers import Workers


class SasRecTask(Task):
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
        """Lay the items out; ``validation`` ``(U, 3)`` are user, start, end."""
        super().__init__(label, model, device)
        self.sasrec = model
        # It reads items and no codes.
        nothing = np.zeros((sequences.n_items, 0), dtype=np.int64)
        self.histories = Histories(sequences, nothing, None, device)
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
        loss = item_softmax_loss(states, model.items, positions.targets, additions)
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
    lessons: Lessons, settings: SasRecSettings, seed: int, label: str = "SASRec"
) -> tuple[SasRec, Trained]:
    """Train on targets up to position L-3, validate on L-2 by NDCG@10 of all users.

    Args:
        lessons: the data.
        settings: network and training.
        seed: of weights, order and dropout.
        label: names the progress bar.

    Returns:
        The model of the best epoch, in evaluation mode, and how it came about.

    Raises:
        SidiffError: no user is long enough.
    """
    sequences, longest = lessons.sequences, lessons.max_history
    samples = sequence_rows(sequences, longest)
    if not len(samples):
        raise SidiffError(
            "There is nothing to train SASRec on: every user is too short; bring "
            "longer histories or take it out of baselines.methods."
        )
    shape = settings.model_dump(
        include={"d_model", "heads", "d_ff", "layers", "dropout"}
    )
    model = SasRec(SasRecConfig(sequences.n_items, longest, **shape))
    model.initialize(torch.Generator().manual_seed(seed + 2)).to(lessons.device)
    decides = {
        "settings": settings.model_dump(),
        "max_history": longest,
        "users_per_batch": lessons.parameters.users_per_batch,
        "seed": seed,
        "device": str(lessons.device),
        "sequences": sequences.fingerprint,
    }
    task = SasRecTask(
        label,
        model,
        sequences,
        evaluation_samples(sequences, "validation", longest),
        lessons.parameters.users_per_batch,
        lessons.device,
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
    return model, lessons.train(task, samples, budget, decides)


class SasRecAlone(Baseline):
    """SASRec's softmax over the items."""

    networks = "sasrec"
    title = "SASRec"

    def fit(self, lessons: Lessons) -> Fitted:
        """Try every candidate with the first seed, train the best one with all seeds.

        The candidate with the highest validation NDCG@10 at item level wins; the test
        split is not looked at.
        """
        seeds, candidates = lessons.seeds, lessons.parameters.sasrec.candidates()
        found = [
            fit_sasrec(
                lessons,
                settings,
                seeds[0],
                f"SASRec, setting {number} of {len(candidates)}",
            )
            for number, settings in enumerate(candidates, 1)
        ]
        best = max(range(len(found)), key=lambda number: found[number][1].score)
        networks = [found[best]] + [
            fit_sasrec(
                lessons,
                candidates[best],
                seed,
                f"SASRec, seed {number} of {len(seeds)}",
            )
            for number, seed in enumerate(seeds[1:], 2)
        ]
        tried = [
            {
                "method": "sasrec",
                "seed": seeds[0],
                "validation_ndcg_at_10": trained.score,
                "epoch": trained.epoch,
                "epochs_run": trained.epochs_run,
                "settings": settings.model_dump(),
            }
            for settings, (_, trained) in zip(candidates, found, strict=True)
        ]
        return Fitted.of(networks, seeds, tried)

    def ranker(
        self, shop: Shop, weights: Mapping[str, Tensor], config: Mapping[str, Any]
    ) -> Ranker:
        """SASRec's softmax, and the transitions beside it."""
        network = SasRec.from_saved(weights, config).to(shop.catalogue.device)
        return ItemRanker(network, shop.catalogue, self.transitions(shop))

    def transitions(self, shop: Shop) -> Transitions | None:
        """The chain's part of an item's energy."""
        del shop
        return None


class SasRecMarkov(SasRecAlone):
    """SASRec and the Markov chain in one energy."""

    def transitions(self, shop: Shop) -> Transitions:
        """The chain's part of an item's energy."""
        return Transitions(shop.chain, shop.parameters.sasrec_markov)
