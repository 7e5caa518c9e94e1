"""Decode a split of the users and score the ranked SIDs at both levels."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm.auto import tqdm

from sidiff.decoding.catalogue import Catalogue
from sidiff.decoding.decoders import DECODERS
from sidiff.decoding.ranking import rank
from sidiff.diffusion.denoiser import Denoiser
from sidiff.diffusion.histories import Histories
from sidiff.evaluation import metrics as m
from sidiff.parameters import DecodingParameters
from sidiff.reviews.sequences import Sequences
from sidiff.sids.table import SidTable


@dataclass(frozen=True)
class Ranking:
    """Ranked SIDs of a set of samples, with what they cost.

    Attributes:
        sids: rows of distinct SIDs, best first, -1 for an empty place, ``(U, k)``.
        scores: summed log-probabilities, ``(U, k)``.
        targets: row of each target's SID, ``(U,)``.
        target_items: item index of each target, ``(U,)``.
        denoiser_calls: decoder passes per batch of users.
        users_per_second: wall-clock rate of decoding.
        legal_share: share of decoded SIDs that belong to an item.
        distinct_states: share of distinct states among those denoised.
    """

    sids: NDArray[np.int64]
    scores: NDArray[np.float32]
    targets: NDArray[np.int64]
    target_items: NDArray[np.int64]
    denoiser_calls: int
    users_per_second: float
    legal_share: float
    distinct_states: float

    def take(self, rows: NDArray[np.int64]) -> Ranking:
        """The ranking of some of the users; what it cost stays as it was."""
        return replace(
            self,
            sids=self.sids[rows],
            scores=self.scores[rows],
            targets=self.targets[rows],
            target_items=self.target_items[rows],
        )

    def diagnostics(self, prefix: str) -> dict[str, float]:
        """What decoding cost and how much of it was of use."""
        return {
            f"{prefix}/denoiser_calls": float(self.denoiser_calls),
            f"{prefix}/legal_share": self.legal_share,
            f"{prefix}/distinct_states": self.distinct_states,
        }


class Ranker:
    """Ranks the SIDs of one table for users of one set of sequences."""

    def __init__(
        self, sequences: Sequences, table: SidTable, device: torch.device
    ) -> None:
        self.groups = table.groups()
        self.histories = Histories(sequences, table.codes, device)
        self.catalogue = Catalogue(self.groups.sid_codes, table.codes_per_digit, device)

    def rank(
        self,
        denoiser: Denoiser,
        samples: NDArray[np.int32],
        decoding: DecodingParameters,
        k: int,
        users_per_batch: int,
        label: str | None,
    ) -> Ranking:
        """Decode ``samples`` ``(U, 3)`` and keep the best ``k`` SIDs of each.

        Users are taken in order of history length, so that batches hardly pad.
        ``label`` names the progress bar; None shows none.
        """
        order = np.argsort(samples[:, 2] - samples[:, 1], kind="stable")
        sids = np.empty((len(samples), k), dtype=np.int64)
        scores = np.empty((len(samples), k), dtype=np.float32)
        items = np.empty(len(samples), dtype=np.int64)
        legal = distinct = 0.0
        decode = DECODERS[decoding.method]
        was_training = denoiser.training
        denoiser.eval()
        start = time.perf_counter()
        bar = tqdm(
            total=len(samples),
            desc=label,
            unit="user",
            disable=True if label is None else None,
        )
        with torch.inference_mode(), bar:
            for first in range(0, len(order), users_per_batch):
                chosen = order[first : first + users_per_batch]
                batch = self.histories.gather(torch.from_numpy(samples[chosen]))
                memory = denoiser.encode(batch.history, batch.lengths)
                decoded = decode(denoiser, memory, decoding, self.catalogue)
                ranked = rank(decoded, self.catalogue.index, k)
                width = ranked.rows.shape[1]
                sids[chosen], scores[chosen] = -1, -np.inf
                sids[chosen, :width] = ranked.rows.cpu().numpy()
                scores[chosen, :width] = ranked.scores.cpu().numpy()
                items[chosen] = batch.target_items.cpu().numpy()
                legal += ranked.legal_share * len(chosen)
                distinct += decoded.distinct_states * len(chosen)
                bar.update(len(chosen))
        denoiser.train(was_training)
        return Ranking(
            sids,
            scores,
            self.groups.sid_of_item[items],
            items,
            decoded.denoiser_calls,
            len(samples) / (time.perf_counter() - start),
            legal / len(samples),
            distinct / len(samples),
        )

    def scores(
        self, ranking: Ranking, cutoffs: Sequence[int], prefix: str
    ) -> dict[str, float]:
        """Mean metrics at both levels: ``prefix/sid/...`` and ``prefix/item/...``."""
        sizes = self.groups.sizes
        sid = m.sid_metrics(ranking.sids, ranking.targets, cutoffs)
        item = m.item_metrics(ranking.sids, ranking.targets, sizes, cutoffs)
        return m.means(sid, f"{prefix}/sid") | m.means(item, f"{prefix}/item")
