"""Item ids of requests to item indices, and item indices to names.

Symbols: U users, N items.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import chain, repeat

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sidiff.errors import SidiffError
from sidiff.reviews.sequences import Sequences

Ids = Sequence[str] | pl.Series
"""Item ids, oldest first."""


class ItemNames:
    """The ids, titles and semantic IDs of a catalogue.

    Attributes:
        item_ids: ``(N,)``.
        titles: ``(N,)``, null where unknown.
        semantic_ids: ``(N,)``, as ``12-7-250-3``.
        rows: id, title and semantic ID of each item.
    """

    def __init__(
        self, item_ids: pl.Series, titles: pl.Series, semantic_ids: pl.Series
    ) -> None:
        self.item_ids, self.titles, self.semantic_ids = item_ids, titles, semantic_ids
        self.rows: list[tuple[str, str | None, str]] = list(
            zip(item_ids, titles, semantic_ids, strict=True)
        )
        self._index_of = {item: index for index, item in enumerate(item_ids)}

    def indices(self, ids: Ids) -> NDArray[np.int64]:
        """Indices of items; -1 for an id outside the catalogue.

        Raises:
            SidiffError: an id is no text.
        """
        texts = _texts(ids)
        found = map(self._index_of.get, texts, repeat(-1))
        return np.fromiter(found, dtype=np.int64, count=len(texts))

    def read(
        self, histories: Sequence[Ids] | pl.Series
    ) -> tuple[Sequences, dict[int, tuple[str, ...]]]:
        """Look up the items of histories.

        Returns:
            The known items of all users, and the unknown ids by row.

        Raises:
            SidiffError: a history is no list of texts.
        """
        ids, lengths = _flat(histories)
        items = self.indices(ids)
        known = items >= 0
        users = np.repeat(np.arange(len(lengths)), lengths)
        unknown = defaultdict[int, list[str]](list)
        for place in np.flatnonzero(~known).tolist():
            unknown[int(users[place])].append(ids[place])
        counts = np.bincount(users[known], minlength=len(lengths))
        sequences = Sequences(
            items[known].astype(np.int32),
            np.concatenate([[0], np.cumsum(counts)]),
            pl.Series(np.arange(len(lengths))).cast(pl.String),
            self.item_ids,
        )
        return sequences, {user: tuple(texts) for user, texts in unknown.items()}


def is_one_history(histories: object) -> bool:
    """Test that ``histories`` is the history of one user and no list of histories.

    Raises:
        SidiffError: it is neither.
    """
    if isinstance(histories, str | bytes) or not isinstance(
        histories, Sequence | pl.Series | np.ndarray
    ):
        raise SidiffError(
            "A history is a list of item ids, and histories are a list of such lists; "
            f"a {type(histories).__name__} was given."
        )
    if isinstance(histories, pl.Series):
        return histories.dtype not in (pl.List, pl.Array)
    return not len(histories) or isinstance(histories[0], str)


def _flat(
    histories: Sequence[Ids] | pl.Series,
) -> tuple[list[str], NDArray[np.int64]]:
    """The ids of all users, and the number of ids of each."""
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
            f"Item ids must be a list of texts, and a {type(ids).__name__} was given."
        )
    texts = ids.to_list() if isinstance(ids, pl.Series) else list(ids)
    kinds = set(map(type, texts))
    if not all(issubclass(kind, str) for kind in kinds):
        raise SidiffError("Every item id must be a text, and one is not.")
    return texts if kinds <= {str} else [str(text) for text in texts]
