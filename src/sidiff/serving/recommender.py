"""The one way to a list: histories in, ranked items out.

    recommender = Recommender.load("data/06_models/sample/bundle")
    for item in recommender.recommend(["B0SYN7TI2T", "B0SYN6QKJK"], k=10):
        ...

Symbols: U users, B users of a batch, N items, k places of a list.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain, repeat
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch.nn.functional import cosine_similarity

from sidiff.decoding.catalogue import Catalogue
from sidiff.devices import resolve
from sidiff.errors import SidiffError
from sidiff.parameters import Device
from sidiff.ranking.settings import WITH_TRANSITIONS
from sidiff.ranking.users import batches
from sidiff.serving.bundle import Bundle, find_bundle
from sidiff.serving.lists import Lists, Paths, Shelf, UserList
from sidiff.serving.methods import Methods

USERS_PER_BATCH = 256
"""Users ranked together: memory and speed only."""
RUNNERS_UP = 5
"""Codes noted at every step of the denoising."""

Ids = Sequence[str] | pl.Series
"""Item ids, oldest first."""


class _Read(NamedTuple):
    """Histories in numbers, user by user.

    Attributes:
        items: known items ``(E,)``, int64.
        offsets: where each user's begin ``(U + 1,)``.
        unknown: ids that are not in the catalogue, user by user.
        unknown_users: whose, ascending.
    """

    items: NDArray[np.int64]
    offsets: NDArray[np.int64]
    unknown: list[str]
    unknown_users: NDArray[np.int64]

    def padded(
        self, starts: NDArray[np.int64], sizes: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """So many items from each start on, ``(B, T)``, and which are no pads.

        Pads repeat the first item: a valid index.
        """
        slots = np.arange(sizes.max())
        inside = slots < sizes[:, None]
        return self.items[starts[:, None] + slots * inside], inside


class Recommender:
    """Ranks the items of one bundle for any history.

    It keeps nothing from one call to the next and may be used by several threads at
    once. A user's list is the same to the last bit whoever else is in the call, on the
    same CPU, with the same number of torch's threads, and where the network's widths
    are multiples of 16.

    Attributes:
        shelf: ids, titles and semantic IDs of the catalogue's N items.
        decoders: names that ``decoder`` may have.
        decoder: the one that was evaluated.
        about: what the bundle says of itself.
    """

    def __init__(self, bundle: Bundle, device: Device = "auto") -> None:
        """Lay a bundle out on ``device``.

        Raises:
            SidiffError: the parts of the bundle do not fit each other, or there is no
                such device.
        """
        self._methods = Methods(bundle, resolve(device))
        self.about = dict(bundle.about)
        self.shelf = Shelf(
            bundle.items["item_id"],
            bundle.items["title"],
            bundle.table.to_frame()["sid"],
        )
        self.decoders = self._methods.names
        self.decoder = self._methods.default
        self._row_of = {item: row for row, item in enumerate(self.shelf.item_ids)}

    @classmethod
    def load(cls, folder: Path | str, device: Device = "auto") -> Recommender:
        """Read a bundle, or the latest of a folder of versions.

        Raises:
            SidiffError: there is none, or it is damaged or of another release.
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
    ) -> UserList | Lists:
        """The best ``k`` items for one user or for many.

        Ids that the catalogue does not know are left out, and named in the list. A user
        without a known item gets the most popular ones.

        Args:
            histories: a user's item ids, oldest first; or such a history for each of
                many users (a Polars series of lists will do).
            k: length of a list, 1 or more; shorter where there are no more items, and
                empty where ``allow`` and ``deny`` leave none.
            exclude_seen: whether to leave out all that is in the history.
            allow: the only items that may be recommended; None for all.
            deny: items that may not.
            decoder: one of ``decoders``; None for the one that was evaluated.
            explain: whether to note how each item is denoised.

        Returns:
            The list of the one user, or the lists of the many in their order.

        Raises:
            SidiffError: an argument is of the wrong kind.
        """
        users: Any = histories
        one = _is_one(histories)
        lists = self.lists(
            [users] if one else users,
            k,
            exclude_seen=exclude_seen,
            allow=allow,
            deny=deny,
            decoder=decoder,
            explain=explain,
        )
        return lists[0] if one else lists

    def lists(
        self,
        histories: Sequence[Ids] | pl.Series,
        k: int = 10,
        *,
        exclude_seen: bool = True,
        allow: Ids | None = None,
        deny: Ids | None = None,
        decoder: str | None = None,
        explain: bool = False,
    ) -> Lists:
        """The best ``k`` items for many users; arguments as of ``recommend``."""
        name = self.decoder if decoder is None else decoder
        if name not in self.decoders:
            raise SidiffError(
                f"This bundle has no decoder {name}; choose one of "
                f"{', '.join(self.decoders)}."
            )
        read = self._read(histories)
        k = _checked(k, len(self.shelf.item_ids))
        lists = self._empty(read, k, name, explain=explain)
        catalogue = self._restricted(allow, deny)
        if catalogue is not None:
            with torch.inference_mode():
                self._fill(lists, read, catalogue, exclude_seen=exclude_seen)
        return lists

    def rows(self, ids: Ids) -> NDArray[np.int64]:
        """Places of items in the catalogue; -1 for one that it does not know."""
        return self._rows(_texts(ids))

    def offers(self, ids: Ids) -> NDArray[np.bool_]:
        """Test of each item that it may be recommended."""
        rows = self.rows(ids)
        allowed = self._methods.catalogue.allowed_items
        if allowed is None:
            return rows >= 0
        return (rows >= 0) & allowed.cpu().numpy()[rows]

    def __contains__(self, item: str) -> bool:
        """Test that the catalogue knows an item."""
        return item in self._row_of

    def similar(self, item: str, k: int = 10) -> UserList:
        """The ``k`` items most like one item, by the cosine of the network's vectors.

        Raises:
            SidiffError: the item is not in the catalogue.
        """
        wanted = _checked(k, len(self.shelf.item_ids) - 1)
        row = self._row_of.get(item)
        if row is None:
            raise SidiffError(f"There is no item {item} in this bundle.")
        vectors = self._methods.vectors
        with torch.inference_mode():
            scores = cosine_similarity(vectors, vectors[row][None], dim=1)
            scores[row] = -torch.inf
            offered = self._methods.catalogue.allowed_items
            if offered is not None:
                scores = scores.masked_fill(~offered, -torch.inf)
            best = scores.sort(descending=True, stable=True)
            wanted = min(wanted, int((best.values > -torch.inf).sum()))
        items = best.indices[:wanted].cpu().numpy()
        values = best.values[:wanted].cpu().numpy()
        return UserList(self.shelf.items(items, values), "similar", False, ())

    def _empty(self, read: _Read, k: int, decoder: str, *, explain: bool) -> Lists:
        """Lists with nothing in them yet."""
        users = len(read.offsets) - 1
        chain = paths = None
        if decoder == WITH_TRANSITIONS:
            chain = np.zeros((users, k), dtype=np.float32)
        if explain:
            catalogue = self._methods.catalogue
            shape = users, k, catalogue.codes.shape[1]
            paths = Paths.empty(shape, min(RUNNERS_UP, catalogue.codebook_size))
        return Lists(
            self.shelf,
            np.full((users, k), -1, dtype=np.int64),
            np.full((users, k), -np.inf, dtype=np.float32),
            chain,
            decoder,
            np.diff(read.offsets) == 0,
            np.zeros(users, dtype=bool),
            read.unknown,
            read.unknown_users,
            paths,
        )

    def _fill(
        self, lists: Lists, read: _Read, catalogue: Catalogue, *, exclude_seen: bool
    ) -> None:
        """Rank for every user, and write what was found into ``lists``."""
        methods = self._methods
        k = lists.items.shape[1]
        if lists.popular.any():
            best, scores = methods.popular(k, catalogue)
            lists.items[lists.popular, : len(best)] = best.cpu().numpy()
            lists.scores[lists.popular, : len(best)] = scores.cpu().numpy()
        known = np.flatnonzero(~lists.popular)
        lengths = np.diff(read.offsets)[known]
        starts = np.maximum(lengths - methods.max_history, 0)
        samples = np.stack([known, starts, lengths], 1)
        for rows in batches(samples, USERS_PER_BATCH, whole=exclude_seen):
            chosen = known[rows]
            begins, ends = read.offsets[chosen], read.offsets[chosen + 1]
            sizes = np.minimum(ends - begins, methods.max_history)
            items, _ = read.padded(ends - sizes, sizes)
            batch = methods.batch(items, sizes)
            # All that the users had, however long ago; no column if not wanted.
            seen, inside = read.padded(begins, (ends - begins) * exclude_seen)
            seen = np.where(inside, seen, -1)
            excluded = torch.from_numpy(seen).to(methods.device)
            made = methods.rank(lists.method, batch, excluded, k, catalogue)
            lists.items[chosen] = made.items.cpu().numpy()
            lists.scores[chosen] = made.scores.cpu().numpy()
            if made.completed is not None:
                lists.filled_up[chosen] = made.completed.cpu().numpy()
            if lists.chain is not None and made.chain is not None:
                lists.chain[chosen] = made.chain.cpu().numpy()
            if lists.paths is not None:
                paths: tuple[NDArray[Any], ...] = lists.paths
                for part, found in methods.traces(batch, made.items, RUNNERS_UP):
                    for whole, some in zip(paths, found, strict=True):
                        whole[chosen[part]] = some.cpu().numpy()

    def _read(self, histories: Sequence[Ids] | pl.Series) -> _Read:
        """Look the histories' ids up."""
        ids, lengths = _flat(histories)
        rows = self._rows(ids)
        known = rows >= 0
        users = np.repeat(np.arange(len(lengths)), lengths)
        counts = np.bincount(users[known], minlength=len(lengths))
        return _Read(
            rows[known],
            np.concatenate([[0], np.cumsum(counts)]),
            [ids[place] for place in np.flatnonzero(~known)],
            users[~known],
        )

    def _rows(self, ids: list[str]) -> NDArray[np.int64]:
        found = map(self._row_of.get, ids, repeat(-1))
        return np.fromiter(found, dtype=np.int64, count=len(ids))

    def _restricted(self, allow: Ids | None, deny: Ids | None) -> Catalogue | None:
        """The catalogue without what a call rules out; None if nothing is left."""
        catalogue = self._methods.catalogue
        if allow is None and deny is None:
            return catalogue
        allowed = np.full(len(self.shelf.item_ids), allow is None)
        for ids, may in ((allow, True), (deny, False)):
            if ids is not None:
                rows = self.rows(ids)
                allowed[rows[rows >= 0]] = may
        if not allowed.any():
            return None
        return catalogue.restrict(torch.from_numpy(allowed).to(self._methods.device))


def _is_one(histories: object) -> bool:
    """Test that this is one user's history, and not those of several."""
    if isinstance(histories, str | bytes) or not isinstance(
        histories, Sequence | pl.Series | np.ndarray
    ):
        raise SidiffError(
            "A history is a list of item ids, and several are a list of such lists; "
            f"a {type(histories).__name__} was given."
        )
    if isinstance(histories, pl.Series):
        return histories.dtype not in (pl.List, pl.Array)
    return not len(histories) or isinstance(histories[0], str)


def _flat(
    histories: Sequence[Ids] | pl.Series,
) -> tuple[list[str], NDArray[np.int64]]:
    """All ids, user by user, and how many each user has."""
    if isinstance(histories, pl.Series):
        if histories.dtype == pl.Array:
            histories = histories.arr.to_list()
        lengths = histories.list.len().to_numpy()
        return _texts(histories.explode(empty_as_null=False)), lengths.astype(np.int64)
    for history in histories:
        if isinstance(history, str) or not hasattr(history, "__len__"):
            raise SidiffError(
                "Every history must be a list of item ids, and one of them is a "
                f"{type(history).__name__}."
            )
    lengths = np.fromiter(map(len, histories), dtype=np.int64, count=len(histories))
    return _texts(list(chain.from_iterable(histories))), lengths


def _texts(ids: Ids) -> list[str]:
    if isinstance(ids, str | bytes) or not isinstance(ids, Iterable):
        raise SidiffError(
            f"Item ids come as a list of texts, and a {type(ids).__name__} was given."
        )
    texts = ids.to_list() if isinstance(ids, pl.Series) else list(ids)
    kinds = set(map(type, texts))
    if not all(issubclass(kind, str) for kind in kinds):
        raise SidiffError("Every item id must be a text, and one is not.")
    return texts if kinds <= {str} else [str(text) for text in texts]


def _checked(k: int, most: int) -> int:
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
        raise SidiffError(f"k must be a whole number from 1, and is {k}.")
    return min(int(k), most)
