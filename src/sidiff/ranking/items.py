"""Exact rankings by energies of whole items, with or without transitions.

The softmax over the catalogue is summed up slice by slice, in bounded memory.

Symbols: B users, N items, n items of a slice, E excluded items.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from sidiff.decoding.catalogue import Catalogue
from sidiff.decoding.keys import among, repeats
from sidiff.decoding.posterior import Posterior
from sidiff.decoding.scan import best_columns, best_rows
from sidiff.diffusion.histories import HistoryBatch
from sidiff.ranking.lists import distinct, padded_to, sids_of
from sidiff.ranking.markov import Followers, Transitions
from sidiff.ranking.ranker import Lists

Slice = Callable[[Tensor], Tensor]
"""Items ``(n,)`` to their logits for each user of a batch, ``(B, n)``."""


class ItemScorer(Protocol):
    """A model that gives every item a logit."""

    def logits(self, batch: HistoryBatch) -> Slice:
        """Encode the histories of a batch; return the logits of any slice of items."""


@dataclass(frozen=True)
class PosteriorItems:
    """A joint denoiser's energies with all digits masked, by one network call."""

    posterior: Posterior

    def logits(self, batch: HistoryBatch) -> Slice:
        """Energies of the items after each history."""
        memory = self.posterior.encode(batch)
        return lambda items: self.posterior.energies(memory, items)


@dataclass(frozen=True)
class Popularity:
    """Log of add-one smoothed training occurrences ``counts`` ``(N,)``."""

    counts: Tensor

    def logits(self, batch: HistoryBatch) -> Slice:
        """The same for every user."""
        logits = (self.counts.double() + 1.0).log()
        return lambda items: logits[items].repeat(len(batch.lengths), 1)


@dataclass(frozen=True)
class ItemRanker:
    """``p(i | h) ~ exp(logit(i)) (1 + q(i | h) / scale) ** weight``, ranked.

    ``q`` is a Markov chain's probability of the item after the history ``h``.
    Transitions are a term of the energy, as in EPIC (arXiv 2609.03522), but counted
    instead of learned. An item that is no follower keeps the model's odds. Scores are
    log-probabilities.

    Attributes:
        scorer: gives the logits.
        catalogue: the items, and which of them may be recommended.
        transitions: the chain with its weight and scale; None for the softmax alone.
    """

    scorer: ItemScorer
    catalogue: Catalogue
    transitions: Transitions | None = None

    def rank(self, batch: HistoryBatch, excluded: Tensor, k: int) -> Lists:
        """Rank items for a batch of users, as ``Ranker`` says.

        A SID has the rank of its best item. Where many items share a SID, the best
        ``k`` SIDs need more than the best ``k`` items.
        """
        logits, followers = self.scorer.logits(batch), None
        if self.transitions is not None:
            followers = self.transitions.after(batch.history_items, batch.lengths)
        width = k
        while True:
            items, scores = self._best(logits, followers, width, excluded)
            rows = sids_of(items, self.catalogue)
            found = ((rows >= 0) & ~repeats(rows)).sum(1)
            enough = (found >= k) | (items[:, -1] < 0)
            if items.shape[1] < width or bool(enough.all()):
                break
            width *= 4
        items, scores = padded_to(items, k, -1), padded_to(scores, k, -torch.inf)
        share = None
        if followers is not None:
            share = -torch.expm1(-followers.value_of(items))
        return Lists(items, scores, distinct(rows, k), transitions=share)

    def _best(
        self, logits: Slice, followers: Followers | None, width: int, excluded: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The best ``width`` items of every user that may be recommended, exactly.

        The softmax alone orders the items that are no followers, so the best items are
        among its best and the followers.

        Returns:
            Item indices ``(B, width)`` and log-probabilities; -1 and -inf at empty
            places. Fewer columns where the catalogue is smaller.
        """
        # Items are places in the order of popularity here: ties go by popularity.
        by_popularity = self.catalogue.by_popularity
        size = len(by_popularity)
        place_of = self.catalogue.place_of_item
        place_of = torch.cat([place_of, place_of.new_tensor([size, -1])])
        allowed = self.catalogue.allowed_items
        if allowed is not None:
            allowed = allowed[by_popularity]
        excluded = place_of[excluded]
        others = excluded.new_empty(len(excluded), 0)
        if followers is not None:
            others = place_of[followers.items]
        totals: list[Tensor] = []
        followed = torch.zeros(others.shape, device=excluded.device)

        def score(places: Tensor) -> Tensor:
            """Logits of a slice; keeps their logsumexp and the followers' logits."""
            part = logits(by_popularity[places])
            totals.append(part.logsumexp(1))
            column = others - places[0]
            inside = (column >= 0) & (column < len(places))
            found = part.gather(1, column.clamp(0, len(places) - 1))
            followed.copy_(torch.where(inside, found, followed))
            return part

        places, best = best_rows(size, score, width, allowed, excluded)
        total = torch.stack(totals, 1).logsumexp(1, keepdim=True)
        scores = best - total
        if followers is not None:
            grown = _growth(followed - total, followers.values)
            scores = scores + followers.value_of(by_popularity[places]) - grown
            invalid = (others == size) | among(others, torch.cat([excluded, places], 1))
            if allowed is not None:
                invalid |= ~allowed[others.clamp(max=size - 1)]
            more = followed - total + followers.values - grown
            more = more.masked_fill(invalid, -torch.inf)
            width = places.shape[1]
            places, order = torch.cat([places, others], 1).sort(dim=1)
            scores = torch.cat([scores, more], 1).gather(1, order)
            scores, columns = best_columns(scores, width)
            places = places.gather(1, columns)
        items = by_popularity[places.clamp(max=size - 1)]
        return items.masked_fill(scores == -torch.inf, -1), scores


def _growth(log_p: Tensor, added: Tensor) -> Tensor:
    """Growth of the log-normaliser by energies added to the followers.

    Args:
        log_p: log-probabilities of the followers without them ``(B, F)``.
        added: the energies ``(B, F)``, 0 at empty places.

    Returns:
        ``(B, 1)``.
    """
    log_p, added = log_p.double(), added.double()
    top = F.pad(added, (0, 1)).amax(1, keepdim=True)
    more = log_p.exp() * ((added - top).exp() - (-top).exp())
    # Summed in the order of the columns, so that empty columns change no bit.
    users = torch.arange(len(more), device=more.device)[:, None].expand_as(more)
    total = more.new_zeros(len(more)).index_add_(0, users.flatten(), more.flatten())
    return (top + ((-top).exp() + total[:, None]).log()).float()
