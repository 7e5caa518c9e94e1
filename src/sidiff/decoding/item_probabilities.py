"""Probabilities of whole items: the network's softmax, mixed with training's counts.

Only for networks with item identities, and without any denoising.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from sidiff.decoding.catalogue import Catalogue
from sidiff.decoding.keys import among
from sidiff.decoding.scan import ROWS_PER_CHUNK, best_columns, best_rows
from sidiff.decoding.transitions import Followers
from sidiff.diffusion.denoiser import Memory
from sidiff.onednn import linear

NUMBERS_AT_ONCE = 2**24
"""Numbers gathered from item vectors at a time (64 MiB)."""


@dataclass(frozen=True)
class ItemProbabilities:
    """``p(item) = (1 - share) softmax(user, item vectors) + share p(item followed)``.

    Attributes:
        users: what each user asks of the item vectors, ``(B, d)``.
        vectors: of all items, ``(N, d)``.
        catalogue: the items; those with equal scores go by training popularity.
        followers: what followed the users' last items in training; None for the
            network alone.
        share: of the followers, at least 0 and below 1.
    """

    users: Tensor
    vectors: Tensor
    catalogue: Catalogue
    followers: Followers | None
    share: float

    @classmethod
    def of(
        cls,
        memory: Memory,
        catalogue: Catalogue,
        followers: Followers | None,
        share: float,
    ) -> ItemProbabilities | None:
        """Those of a batch of users; None where the network has no item identities."""
        if memory.users is None or catalogue.item_vectors is None:
            return None
        followers = followers if share else None
        vectors = catalogue.item_vectors
        return cls(memory.users, vectors, catalogue, followers, share)

    def log_p(self, items: Tensor) -> Tensor:
        """Of some items ``(B, M)``; what stands where there is none has no meaning."""
        chosen = items.clamp(0, len(self.vectors) - 1)
        rows = max(
            1, NUMBERS_AT_ONCE // max(1, chosen[0].numel() * self.users.shape[1])
        )
        logits = [
            torch.bmm(self.vectors[part], asked[:, :, None])[..., 0]
            for part, asked in zip(
                chosen.split(rows), self.users.split(rows), strict=True
            )
        ]
        return self._mixed(torch.cat(logits) - self._log_total, items)

    def best(self, width: int, seen: Tensor) -> tuple[Tensor, Tensor]:
        """The best ``width`` items of every user that may be recommended, exactly.

        Among items that never followed, the network alone decides; so the best of the
        mixture are among the network's best and the followers. Equally good ones go
        by training popularity, then index.

        Args:
            width: items wanted.
            seen: item indices that a user must not get, -1 for none, ``(B, E)``.

        Returns:
            Item indices ``(B, width)``, -1 where there are no more, and their
            log-probabilities, -inf there; fewer columns where the catalogue is smaller.
        """
        # Inside, an item is its place among the most popular, by which ties go.
        size, by_popularity = len(self.vectors), self.catalogue.by_popularity
        place_of = self.catalogue.place_of_item
        place_of = torch.cat([place_of, place_of.new_tensor([size, -1])])
        allowed = self.catalogue.allowed_items
        if allowed is not None:
            allowed = allowed[by_popularity]
        seen = place_of[seen]
        others = torch.empty(len(self.users), 0, dtype=torch.int64, device=seen.device)
        if self.followers is not None:
            others = place_of[self.followers.items]
        totals: list[Tensor] = []
        followed = torch.zeros(others.shape, device=seen.device)

        def score(places: Tensor) -> Tensor:
            """All that is asked of these items' logits, while they are at hand."""
            logits = linear(self.users, self.vectors[by_popularity[places]])
            totals.append(logits.logsumexp(1))
            column = others - places[0]
            inside = (column >= 0) & (column < len(places))
            found = logits.gather(1, column.clamp(0, len(places) - 1))
            followed.copy_(torch.where(inside, found, followed))
            return logits

        places, logits = best_rows(size, score, width, allowed, seen)
        total = torch.stack(totals, 1).logsumexp(1, keepdim=True)
        scores = self._mixed(logits - total, by_popularity[places])
        scores = scores.masked_fill(logits == -torch.inf, -torch.inf)
        if self.followers is not None:
            barred = (others == size) | among(others, torch.cat([seen, places], 1))
            if allowed is not None:
                barred |= ~allowed[others.clamp(max=size - 1)]
            more = self._mixed(followed - total, self.followers.items)
            more = more.masked_fill(barred, -torch.inf)
            width = places.shape[1]
            places, order = torch.cat([places, others], 1).sort(dim=1)
            scores = torch.cat([scores, more], 1).gather(1, order)
            scores, columns = best_columns(scores, width)
            places = places.gather(1, columns)
        items = by_popularity[places.clamp(max=size - 1)]
        return items.masked_fill(scores == -torch.inf, -1), scores

    def _mixed(self, log_p: Tensor, items: Tensor) -> Tensor:
        if self.followers is None:
            return log_p
        followed = (self.share * self.followers.share_of(items)).log()
        alone = log_p + math.log1p(-self.share)
        # torch.logaddexp rounds an element by its place in the tensor.
        most, distance = torch.maximum(alone, followed), (alone - followed).abs()
        return most + (-distance).exp().log1p()

    @cached_property
    def _log_total(self) -> Tensor:
        """Log of the softmax's denominator, ``(B, 1)``."""
        parts = [
            linear(self.users, rows).logsumexp(1)
            for rows in self.vectors.split(ROWS_PER_CHUNK)
        ]
        return torch.stack(parts, 1).logsumexp(1, keepdim=True)
