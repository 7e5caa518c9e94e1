"""From histories to each user's ranked items: decode, list, rescore, fill up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from sidiff.decoding import one_pass
from sidiff.decoding.catalogue import Catalogue
from sidiff.decoding.decoders import DECODERS
from sidiff.decoding.item_probabilities import ItemProbabilities
from sidiff.decoding.keys import among, repeats
from sidiff.decoding.rescoring import rescore
from sidiff.decoding.results import Decoded
from sidiff.decoding.transitions import Followers
from sidiff.diffusion.denoiser import DenoisingModel, Memory
from sidiff.errors import SidiffError
from sidiff.parameters import DecodingParameters


class RankedSids(NamedTuple):
    """The existing SIDs of every user, best first.

    Attributes:
        rows: row in the table of distinct SIDs, ``(B, A)`` int64; -1 where there are
            no more.
        scores: ``(B, A)``; -inf there.
        legal_share: share of the decoded SIDs that belong to an item.
    """

    rows: Tensor
    scores: Tensor
    legal_share: float


@dataclass(frozen=True)
class RankedItems:
    """Items of every user, best first, and their SIDs.

    Attributes:
        items: item indices ``(B, k)`` int64; -1 where there are no more.
        scores: ``(B, k)``; -inf there.
        sids: rows of distinct SIDs, best first, ``(B, k)``; -1 likewise.
        denoiser_calls: decoder passes made, mean over the users.
        distinct_states: share of distinct states among those denoised.
        legal_share: share of decoded SIDs that belong to an item.
        completed: users for whom the search found fewer than k items and one-pass
            scores filled the list up, ``(B,)`` bool.
    """

    items: Tensor
    scores: Tensor
    sids: Tensor
    denoiser_calls: float
    distinct_states: float
    legal_share: float
    completed: Tensor


def rank_sids(decoded: Decoded, catalogue: Catalogue, blocked: Tensor) -> RankedSids:
    """Drop repeats and SIDs without an item that the user may get."""
    rows = catalogue.index.rows(decoded.codes)
    live = decoded.scores > -torch.inf
    legal = live & (rows >= 0)
    good = legal & (catalogue.sizes[rows.clamp(min=0)] > 0)
    good &= ~among(rows, blocked)
    fresh = good & ~repeats(rows.masked_fill(~good, -1))
    scores = decoded.scores.masked_fill(~fresh, -torch.inf)
    scores, order = scores.sort(dim=1, descending=True, stable=True)
    rows = rows.gather(1, order).masked_fill(scores == -torch.inf, -1)
    return RankedSids(rows, scores, float(legal.sum() / live.sum().clamp(min=1)))


@torch.inference_mode()
def rank_items(
    denoiser: DenoisingModel,
    memory: Memory,
    parameters: DecodingParameters,
    catalogue: Catalogue,
    seen: Tensor,
    k: int,
    followers: Followers | None = None,
) -> RankedItems:
    """The best ``k`` items of every user.

    Items of one SID follow each other by training popularity, then index, unless
    rescoring tells them apart. Under ``constraint: items`` a list that the search left
    short is filled up with the best other items of one-pass scoring: it has k items
    whenever so many may be recommended to the user.

    Args:
        denoiser: the trained network.
        memory: the users' encoded histories, batch size B.
        parameters: decoder, its settings, rescoring.
        catalogue: the existing SIDs and the items that may be recommended.
        seen: item indices not to recommend to a user, -1 for none, ``(B, E)``.
        k: length of the lists.
        followers: what followed the users' last items in training, where
            ``parameters.transitions`` gives it a share.

    Raises:
        SidiffError: the method is ``item_vectors`` and the network has none.
    """
    blocked = catalogue.exhausted(seen)
    settings = parameters.rescoring
    width = max(k, settings.items)
    probabilities = ItemProbabilities.of(
        memory, catalogue, followers, parameters.transitions.share
    )
    if parameters.method == "item_vectors":
        if probabilities is None:
            raise SidiffError(
                "decoding.method item_vectors needs a network trained with "
                "training.network.item_identity: true."
            )
        items, scores, rows = _best_items(probabilities, catalogue, seen, width, k)
        calls, distinct, legal = 0.0, 1.0, 1.0
    else:
        wide = max(parameters.beam, width if parameters.method == "one_pass" else 0)
        decoded = DECODERS[parameters.method](
            denoiser,
            memory,
            parameters.model_copy(update={"beam": wide}),
            catalogue,
            blocked,
        )
        ranked = rank_sids(decoded, catalogue, blocked)
        items, scores = _unseen_items(ranked, catalogue, seen, width)
        rows, legal = ranked.rows, ranked.legal_share
        calls, distinct = decoded.denoiser_calls, decoded.distinct_states
    items, scores = _fit(items, width, -1), _fit(scores, width, -torch.inf)
    completed = (items[:, :k] < 0).any(1)
    # Rescoring is of M items even where the search found fewer. Item vectors leave out
    # no item that may be recommended.
    short = (items < 0).any(1)
    fills = parameters.constraint == "items" and parameters.method != "item_vectors"
    if fills and bool(short.any()):
        more = _one_pass(
            denoiser,
            memory.take(short.nonzero()[:, 0]),
            parameters,
            catalogue,
            blocked[short],
            k + width,
        )
        extra, below = _unseen_items(more, catalogue, seen[short], k + width)
        items, scores = _append(items, scores, extra, below, short)
        items, scores = items[:, :width], scores[:, :width]
        rows = _append_rows(rows, more.rows, short)
    else:
        completed &= fills
    if settings.items:
        scores = rescore(
            denoiser,
            memory,
            items,
            scores,
            settings,
            catalogue,
            probabilities,
            parameters.seed,
        )
        scores, order = scores.sort(dim=1, descending=True, stable=True)
        items = items.gather(1, order)
        calls += settings.orders * denoiser.config.digits
        rows = torch.cat([_sids_of(items, catalogue), rows], 1)
    return RankedItems(
        items[:, :k],
        scores[:, :k],
        _distinct(rows, k),
        calls,
        distinct,
        legal,
        completed,
    )


def _best_items(
    probabilities: ItemProbabilities,
    catalogue: Catalogue,
    seen: Tensor,
    width: int,
    k: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """At least ``width`` items, their scores, their SIDs, of which ``k`` are distinct.

    Fewer only where the user may get no more. Where many items share a SID, the best
    ``k`` SIDs need more than the best ``k`` items.
    """
    while True:
        items, scores = probabilities.best(width, seen)
        rows = _sids_of(items, catalogue)
        distinct = ((rows >= 0) & ~repeats(rows)).sum(1)
        enough = (distinct >= k) | (items[:, -1] < 0)
        if items.shape[1] < width or bool(enough.all()):
            return items, scores, rows
        width *= 4


def _sids_of(items: Tensor, catalogue: Catalogue) -> Tensor:
    return catalogue.sid_of_item[items.clamp(min=0)].masked_fill(items < 0, -1)


def _unseen_items(
    ranked: RankedSids, catalogue: Catalogue, seen: Tensor, width: int
) -> tuple[Tensor, Tensor]:
    """The first ``width`` items of ranked SIDs that the user has not seen."""
    items, scores = catalogue.expand(ranked.rows, ranked.scores, width + seen.shape[1])
    if seen.shape[1]:
        items, scores = _compact(items.masked_fill(among(items, seen), -1), scores)
    return items[:, :width], scores[:, :width]


def _one_pass(
    denoiser: DenoisingModel,
    memory: Memory,
    parameters: DecodingParameters,
    catalogue: Catalogue,
    blocked: Tensor,
    width: int,
) -> RankedSids:
    wide = parameters.model_copy(update={"beam": width})
    decoded = one_pass.decode(denoiser, memory, wide, catalogue, blocked)
    return rank_sids(decoded, catalogue, blocked)


def _append(
    items: Tensor, scores: Tensor, extra: Tensor, below: Tensor, users: Tensor
) -> tuple[Tensor, Tensor]:
    """Lists with the ``extra`` items of some users at their ends, none twice.

    One-pass scores are of another kind; they are shifted to stay below the list's.
    """
    width = extra.shape[1]
    items, scores = F.pad(items, (0, width), value=-1), _padded(scores, width)
    own, score = items[users], scores[users]
    lowest = score.masked_fill(own < 0, torch.inf).amin(1, keepdim=True)
    lowest = torch.where(lowest == torch.inf, below[:, :1], lowest)
    shifted = below - (below[:, :1] - lowest).clamp(min=0.0)
    own = torch.cat([own, extra.masked_fill(among(extra, own), -1)], 1)
    score = torch.cat([score, shifted], 1)
    own, score = _compact(own, score)
    items[users], scores[users] = (
        own[:, : items.shape[1]],
        score[:, : scores.shape[1]],
    )
    return items, scores


def _append_rows(rows: Tensor, extra: Tensor, users: Tensor) -> Tensor:
    joined = F.pad(rows, (0, extra.shape[1]), value=-1)
    joined[users] = torch.cat([rows[users], extra], 1)
    return joined


def _compact(items: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
    """Move empty places (-1) to the ends of the lists."""
    order = (items < 0).to(torch.uint8).argsort(dim=1, stable=True)
    items = items.gather(1, order)
    return items, scores.gather(1, order).masked_fill(items < 0, -torch.inf)


def _distinct(rows: Tensor, k: int) -> Tensor:
    """The first ``k`` distinct rows of each list."""
    rows = rows.masked_fill(repeats(rows), -1)
    order = (rows < 0).to(torch.uint8).argsort(dim=1, stable=True)
    return _fit(rows.gather(1, order), k, -1)


def _fit(values: Tensor, width: int, empty: float) -> Tensor:
    """Exactly ``width`` columns."""
    missing = width - values.shape[1]
    return (
        F.pad(values, (0, missing), value=empty) if missing > 0 else values[:, :width]
    )


def _padded(scores: Tensor, width: int) -> Tensor:
    return F.pad(scores, (0, width), value=-torch.inf)
