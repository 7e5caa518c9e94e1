"""Recommendations by the network of a bundle.

    recommender = Recommender.load("data/06_models/sample/bundle")
    for item in recommender.recommend(["B0SYN7TI2T", "B0SYN6QKJK"], k=10):
        ...

Symbols: B users of a batch, N items, k places of a list.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cosine_similarity

from sidiff.decoding.catalogue import Catalogue
from sidiff.decoding.decoders import DECODERS
from sidiff.decoding.posterior import Posterior
from sidiff.decoding.trace import trace
from sidiff.devices import resolve
from sidiff.diffusion.histories import HistoryBatch
from sidiff.errors import SidiffError
from sidiff.parameters import Device
from sidiff.ranking.methods import method_ranker, search_model
from sidiff.ranking.ranker import Lists
from sidiff.ranking.settings import BY_ITEMS, RankingParameters, TransitionParameters
from sidiff.ranking.users import Users, rank_batches
from sidiff.reviews.sequences import Sequences
from sidiff.serving.bundle import Bundle, find_bundle
from sidiff.serving.item_ids import Ids, ItemNames, is_one_history
from sidiff.serving.lists import POPULAR, Item, Step, UserList, steps_of

USERS_PER_BATCH = 256
"""Users of a batch; affects memory and speed only."""
RUNNERS_UP = 5
"""Likeliest codes shown at each denoising step."""
SIDS_TRACED = 2048
"""Semantic IDs traced at a time, but at least one user's; bounds memory."""

Ranked = tuple[tuple[Item, ...], bool]
"""The items of a list, and whether one-pass scores filled it up."""


@dataclass(frozen=True)
class ListOptions:
    """Options of lists; see ``Recommender.recommend``."""

    k: int = 10
    exclude_seen: bool = True
    allow: Ids | None = None
    deny: Ids | None = None
    decoder: str | None = None
    explain: bool = False


class Recommender:
    """A ranker of the items of one bundle for any history.

    Calls change no state, so threads may share a recommender.

    Attributes:
        about: the manifest of the bundle.
        names: ids, titles and semantic IDs of the items.
        decoders: names of the methods.
        decoder: name of the default method, that of the evaluation.
    """

    def __init__(self, bundle: Bundle, device: Device = "auto") -> None:
        """Move a bundle to ``device``.

        Raises:
            SidiffError: the parts of the bundle do not match, or the device is missing.
        """
        target, settings = resolve(device), bundle.ranking
        self.about = dict(bundle.about)
        self.names = ItemNames(
            bundle.items["item_id"],
            bundle.items["title"],
            bundle.table.to_frame()["sid"],
        )
        network = bundle.denoiser().to(target)
        self._inputs = inputs = bundle.ranking_inputs(target)
        self._max_history = network.config.max_history
        with torch.inference_mode():
            model = self._model, self._encode = search_model(network, inputs.items)
        self.decoders: tuple[str, ...] = tuple(DECODERS)
        if isinstance(self._model, Posterior):
            self.decoders = (*BY_ITEMS, *DECODERS)
            self._vectors = self._model.vectors
        else:
            rows = inputs.items.codes + network.first_row
            self._vectors = network.codes[rows].flatten(1)
        parameters = RankingParameters.model_validate(settings["ranking"])
        self.decoder = parameters.method
        added = TransitionParameters.model_validate(settings["transitions"])
        self._rankers = {
            name: method_ranker(
                model,
                parameters.model_copy(update={"method": name}),
                inputs.catalogue,
                inputs.transitions(added),
            )
            for name in self.decoders
        }

    @classmethod
    def load(cls, folder: Path | str, device: Device = "auto") -> Recommender:
        """Read the bundle at a path, see ``find_bundle``.

        Raises:
            SidiffError: there is none, it is damaged, or it is of another release.
        """
        return cls(Bundle.read(find_bundle(folder)), device)

    def recommend(
        self,
        histories: Ids | Sequence[Ids],
        k: int = 10,
        exclude_seen: bool = True,
        allow: Ids | None = None,
        deny: Ids | None = None,
        decoder: str | None = None,
        explain: bool = False,
    ) -> UserList | list[UserList]:
        """The best ``k`` items for one user or for many.

        Ids outside the catalogue are ignored and reported in the list. A user without a
        known item gets the most popular items.

        Args:
            histories: a user's item ids, oldest first; or a list, or a Polars series,
                of such histories.
            k: length of a list, 1 or more; shorter where fewer items are allowed.
            exclude_seen: whether to leave out the items of the history.
            allow: the only items that may be recommended; None for all.
            deny: items that may not be recommended.
            decoder: one of ``decoders``; None for ``self.decoder``.
            explain: whether to add the steps of each item's denoising.

        Returns:
            The ``UserList`` of one user, or one for each user in their order.

        Raises:
            SidiffError: an argument is of the wrong kind.
        """
        options = ListOptions(k, exclude_seen, allow, deny, decoder, explain)
        users: Any = histories
        if is_one_history(histories):
            return self.lists([users], options)[0]
        return self.lists(users, options)

    def lists(
        self, histories: Sequence[Ids] | pl.Series, options: ListOptions
    ) -> list[UserList]:
        """The lists of many users; see ``recommend``."""
        name = self.decoder if options.decoder is None else options.decoder
        if name not in self.decoders:
            raise SidiffError(
                f"This bundle has no decoder {name}; choose one of "
                f"{', '.join(self.decoders)}."
            )
        sequences, unknown = self.names.read(histories)
        k = _valid_k(options.k, len(self.names.rows))
        options = replace(options, decoder=name, k=k)
        catalogue = self._restricted(options.allow, options.deny)
        lengths = sequences.lengths.tolist()
        ranked: dict[int, Ranked] = dict.fromkeys(range(len(lengths)), ((), False))
        if catalogue is not None:
            with torch.inference_mode():
                ranked = dict(self._rank(sequences, catalogue, options))
        return [
            UserList(
                items=ranked[user][0],
                method=name if length else POPULAR,
                filled_up=ranked[user][1],
                unknown=unknown.get(user, ()),
            )
            for user, length in enumerate(lengths)
        ]

    def offers(self, ids: Ids) -> NDArray[np.bool_]:
        """Test for each item that it may be recommended."""
        items = self.names.indices(ids)
        allowed = self._inputs.catalogue.allowed_items
        if allowed is None:
            return items >= 0
        return (items >= 0) & allowed.cpu().numpy()[items]

    def __contains__(self, item: str) -> bool:
        """Test that an item is in the catalogue."""
        return bool(self.names.indices([item])[0] >= 0)

    def similar(self, item: str, k: int = 10) -> UserList:
        """The ``k`` items with the largest cosine to one item.

        Vectors are the item vectors of the network. A network without these has the
        concatenated embeddings of the item's codes.

        Raises:
            SidiffError: the item is not in the catalogue.
        """
        k = _valid_k(k, len(self.names.rows) - 1)
        if item not in self:
            raise SidiffError(f"There is no item {item} in this bundle.")
        (row,) = self.names.indices([item]).tolist()
        with torch.inference_mode():
            vectors = self._vectors
            scores = cosine_similarity(vectors, vectors[row][None], dim=1)
            scores[row] = -torch.inf
            offered = self._inputs.catalogue.allowed_items
            if offered is not None:
                scores = scores.masked_fill(~offered, -torch.inf)
            best = scores.sort(descending=True, stable=True)
            k = min(k, int((best.values > -torch.inf).sum()))
        places = zip(best.indices[:k].tolist(), best.values[:k].tolist(), strict=True)
        names = self.names.rows
        items = tuple(Item(*names[int(index)], score) for index, score in places)
        return UserList(items, "similar", False, ())

    def _rank(
        self, sequences: Sequences, catalogue: Catalogue, options: ListOptions
    ) -> Iterator[tuple[int, Ranked]]:
        """Rank for every user; yield the user's row and list."""
        lengths, k = sequences.lengths, options.k
        if not lengths.all():
            empty = torch.zeros((1, 0), dtype=torch.int64, device=catalogue.device)
            batch = HistoryBatch(empty, empty.sum(1), empty)
            popular = replace(self._inputs.popular, catalogue=catalogue)
            (items,) = self._items(popular.rank(batch, empty, k))
            for user in np.flatnonzero(lengths == 0).tolist():
                yield user, (items, False)
        known = np.flatnonzero(lengths)
        starts = np.maximum(lengths[known] - self._max_history, 0)
        users = Users(
            sequences,
            self._inputs.items,
            np.stack([known, starts, lengths[known]], 1),
            k,
            options.exclude_seen,
            USERS_PER_BATCH,
            self._max_history,
        )
        ranker = replace(self._rankers[str(options.decoder)], catalogue=catalogue)
        for rows, lists in rank_batches(ranker, users):
            steps = None
            if options.explain:
                batch = users.histories(users.samples[rows])
                steps = self._steps(batch, lists.items)
            filled_up = [False] * len(rows)
            if lists.completed is not None:
                filled_up = lists.completed.tolist()
            ranked = zip(self._items(lists, steps), filled_up, strict=True)
            yield from zip(known[rows].tolist(), ranked, strict=True)

    def _items(
        self, lists: Lists, steps: list[list[tuple[Step, ...]]] | None = None
    ) -> list[tuple[Item, ...]]:
        """The items of each list of a batch."""
        no_values: list[Any] = [[None] * lists.items.shape[1]] * len(lists.items)
        shares = lists.transitions
        columns: tuple[list[list[Any]], ...] = (
            lists.items.tolist(),
            lists.scores.float().tolist(),
            no_values if shares is None else shares.tolist(),
            no_values if steps is None else steps,
        )
        names = self.names.rows
        return [
            tuple(
                Item(*names[item], *others)
                for item, *others in zip(*user, strict=True)
                if item >= 0
            )
            for user in zip(*columns, strict=True)
        ]

    def _steps(
        self, batch: HistoryBatch, items: Tensor
    ) -> list[list[tuple[Step, ...]]]:
        """The denoising steps of all items of lists ``(B, k)``, in pieces."""
        steps: list[list[tuple[Step, ...]]] = []
        size = max(1, SIDS_TRACED // items.shape[1])
        for start in range(0, len(items), size):
            part = slice(start, start + size)
            sids = self._inputs.items.codes[items[part].clamp(min=0)]
            memory = self._encode(batch.part(part))
            steps += steps_of(trace(self._model, memory, sids, RUNNERS_UP))
        return steps

    def _restricted(self, allow: Ids | None, deny: Ids | None) -> Catalogue | None:
        """The catalogue of the items that a call allows; None if no item is allowed."""
        catalogue = self._inputs.catalogue
        if allow is None and deny is None:
            return catalogue
        allowed = np.full(len(self.names.rows), allow is None)
        for ids, value in ((allow, True), (deny, False)):
            if ids is not None:
                items = self.names.indices(ids)
                allowed[items[items >= 0]] = value
        if catalogue.allowed_items is not None:
            allowed &= catalogue.allowed_items.cpu().numpy()
        if not allowed.any():
            return None
        return catalogue.restrict(torch.from_numpy(allowed).to(catalogue.device))


def _valid_k(k: int, most: int) -> int:
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
        raise SidiffError(f"k must be a whole number from 1, and is {k}.")
    return min(int(k), most)
