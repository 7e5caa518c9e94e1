"""Rank items for users of a split, and score the rankings at both levels."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm.auto import tqdm

from sidiff.decoding.catalogue import Catalogue
from sidiff.decoding.keys import padded_rows
from sidiff.decoding.lattice import Lattice
from sidiff.decoding.ranking import rank_items
from sidiff.decoding.transitions import Followers, Transitions
from sidiff.diffusion.denoiser import Denoiser
from sidiff.diffusion.histories import Histories, HistoryBatch
from sidiff.evaluation import metrics as m
from sidiff.evaluation.results import Cost, Results
from sidiff.parameters import DecodingParameters, TransitionParameters
from sidiff.reviews.sequences import Sequences, seen_items, training_counts
from sidiff.reviews.transitions import transition_counts
from sidiff.sids.table import SidTable

ITEMS_PER_USER = 64
"""Seen items of a user for which a batch of ``users_per_batch`` has room."""


class Ranker:
    """Ranks the items of one catalogue for users of one set of sequences."""

    def __init__(
        self,
        sequences: Sequences,
        table: SidTable,
        identities: NDArray[np.int64],
        device: torch.device,
        lattice: Lattice | None = None,
        allowed: NDArray[np.bool_] | None = None,
    ) -> None:
        """Lay everything out on ``device``.

        Args:
            sequences: the users' items.
            table: the items' SIDs.
            identities: identity row of each item, 0 for none, ``(N,)``.
            device: where decoding happens.
            lattice: the lattice of the table's SIDs, where it was built before.
            allowed: items that may be recommended, ``(N,)``; None for all.
        """
        self.sequences = sequences
        self.groups = table.groups()
        self.histories = Histories(sequences, table.codes, identities, device)
        self.catalogue = Catalogue(
            self.groups,
            table.codes_per_digit,
            training_counts(sequences),
            device,
            lattice,
        )
        self._transitions: tuple[int, Transitions] | None = None
        if allowed is not None:
            self.catalogue = self.catalogue.restrict(
                torch.from_numpy(allowed).to(device)
            )

    def rank(
        self,
        denoiser: Denoiser,
        samples: NDArray[np.int32],
        decoding: DecodingParameters,
        k: int,
        users_per_batch: int,
        label: str | None,
        *,
        exclude_seen: bool = False,
    ) -> Results:
        """Rank the best ``k`` items for each of ``samples`` ``(U, 3)``.

        ``label`` names the progress bar; None shows none. ``exclude_seen`` leaves all
        that a user had before the target out of the list, also what was too long ago
        for the history.
        """
        size = len(samples)
        items = np.empty((size, k), dtype=np.int64)
        scores = np.empty((size, k), dtype=np.float32)
        sids = np.empty((size, k), dtype=np.int64)
        targets = np.empty(size, dtype=np.int64)
        completed = np.empty(size, dtype=bool)
        calls = legal = distinct = 0.0
        was_training = denoiser.training
        denoiser.eval()
        began = time.perf_counter()
        bar = tqdm(
            total=size, desc=label, unit="user", disable=True if label is None else None
        )
        with torch.inference_mode(), bar:
            self.catalogue.item_vectors = (
                denoiser.item_vectors(self.histories.table)
                if denoiser.config.identified_items
                else None
            )
            for chosen in batches(samples, users_per_batch, whole=exclude_seen):
                batch = self.histories.gather(torch.from_numpy(samples[chosen]))
                memory = denoiser.encode(batch.history, batch.lengths, batch.identities)
                ranked = rank_items(
                    denoiser,
                    memory,
                    decoding,
                    self.catalogue,
                    self._seen(samples[chosen], exclude=exclude_seen),
                    k,
                    self._followers(batch, denoiser, decoding.transitions),
                )
                items[chosen] = ranked.items.cpu().numpy()
                scores[chosen] = ranked.scores.cpu().numpy()
                sids[chosen] = ranked.sids.cpu().numpy()
                targets[chosen] = batch.target_items.cpu().numpy()
                completed[chosen] = ranked.completed.cpu().numpy()
                calls += ranked.denoiser_calls * len(chosen)
                legal += ranked.legal_share * len(chosen)
                distinct += ranked.distinct_states * len(chosen)
                bar.update(len(chosen))
        denoiser.train(was_training)
        seconds = time.perf_counter() - began
        cost = Cost(
            seconds=seconds,
            users_per_second=size / seconds,
            denoiser_calls=calls / size,
            distinct_states=distinct / size,
            legal_share=legal / size,
            completed_share=float(completed.mean()),
        )
        history = (samples[:, 2] - samples[:, 1]).astype(np.int64)
        users = samples[:, 0].astype(np.int64)
        return Results(items, scores, sids, users, targets, history, cost)

    def _seen(self, samples: NDArray[np.int32], *, exclude: bool) -> Tensor:
        """Items not to recommend ``(B, E)``, -1 for none; no column if not wanted."""
        device = self.histories.device
        if not exclude:
            return torch.empty(len(samples), 0, dtype=torch.int64, device=device)
        rows, items = seen_items(self.sequences, samples)
        return padded_rows(
            torch.from_numpy(rows).to(device),
            torch.from_numpy(items.astype(np.int64)).to(device),
            len(samples),
            int(samples[:, 2].max()),
            -1,
        )

    def _followers(
        self, batch: HistoryBatch, denoiser: Denoiser, parameters: TransitionParameters
    ) -> Followers | None:
        """What followed the users' last items; None where nothing asks for it."""
        if not (parameters.share and denoiser.config.identified_items):
            return None
        kept = parameters.successors
        if self._transitions is None or self._transitions[0] != kept:
            counts = transition_counts(self.sequences)
            device = self.histories.device
            self._transitions = kept, Transitions.of(counts, kept, device)
        return self._transitions[1].after(
            batch.history_items, batch.lengths, parameters
        )

    def scores(
        self,
        items: NDArray[np.int64],
        sids: NDArray[np.int64],
        targets: NDArray[np.int64],
        cutoffs: Sequence[int],
        prefix: str,
    ) -> dict[str, float]:
        """Mean metrics at both levels: ``prefix/sid/...`` and ``prefix/item/...``.

        ``items`` and ``sids`` ``(U, k)`` are what was ranked, as in ``Results``, and
        ``targets`` ``(U,)`` the items that were chosen.
        ``prefix/item_expected`` is the expectation of the item level where the items
        of one SID come in random order instead of by popularity; it follows from the
        ranked SIDs alone, so it knows nothing of rescoring.
        """
        target_sids = self.groups.sid_of_item[targets]
        sizes = self.groups.sizes
        sid = m.sid_metrics(sids, target_sids, cutoffs)
        item = m.sid_metrics(items, targets, cutoffs)
        expected = m.item_metrics(sids, target_sids, sizes, cutoffs)
        return (
            m.means(sid, f"{prefix}/sid")
            | m.means(item, f"{prefix}/item")
            | m.means(expected, f"{prefix}/item_expected")
        )


def batches(
    samples: NDArray[np.int32], users_per_batch: int, *, whole: bool
) -> list[NDArray[np.int64]]:
    """Rows of ``samples`` ``(U, 3)`` to rank together, users of similar length.

    Args:
        samples: user, start, end.
        users_per_batch: users of a batch, at most.
        whole: whether everything before the target counts, not only the history. Long
            sequences then share a batch with fewer others, so that a batch of them
            holds no more than one of ``ITEMS_PER_USER`` items each.

    Returns:
        Arrays of rows. Each is what ``batches`` makes of the rows from its first on, so
        some of them one after the other, given alone, are the same again.
    """
    lengths = samples[:, 2] - (0 if whole else samples[:, 1])
    order = np.argsort(lengths, kind="stable")
    held = np.maximum(lengths[order], ITEMS_PER_USER).astype(np.int64)
    found, first = [], 0
    while first < len(order):
        size = min(users_per_batch, len(order) - first)
        if whole:
            padded = np.arange(1, size + 1) * held[first : first + size]
            size = max(1, int((padded <= users_per_batch * ITEMS_PER_USER).sum()))
        found.append(order[first : first + size])
        first += size
    return found
