"""Table of semantic IDs: one row of codes per item, and the groups that collide.

Several items may share one SID, as in DiffGRM (arXiv 2510.21805). The decoder and the
item-level metrics use ``Groups``; ``collisions`` repairs collisions.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sidiff.errors import SidiffError
from sidiff.fingerprints import add_texts

MAX_CODES = 2**16
"""Largest number of codes per digit: codes are stored as uint16."""

_NO_GENERATION = np.zeros(0, dtype=np.int32)


@dataclass(frozen=True, eq=False)
class Groups:
    """Items grouped by semantic ID; S distinct SIDs in lexicographic order.

    Attributes:
        sid_of_item: (N,) int64, index of every item's SID in ``sid_codes``.
        sid_codes: (S, L) uint16, the distinct SIDs.
        offsets: (S + 1,) int64, bounds of the groups in ``items``.
        items: (N,) int64, item indices group by group, ascending inside a group.
    """

    sid_of_item: NDArray[np.int64]
    sid_codes: NDArray[np.uint16]
    offsets: NDArray[np.int64]
    items: NDArray[np.int64]

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Number of items of each distinct SID, (S,)."""
        return np.diff(self.offsets)

    def items_by(self, counts: NDArray[np.int64]) -> NDArray[np.int64]:
        """Order item indices by group, then by descending ``counts`` (N,) and index."""
        return np.lexsort((np.arange(len(counts)), -counts, self.sid_of_item))


@dataclass(frozen=True, eq=False)
class SidTable:
    """The semantic ID of every item, in catalogue order.

    Attributes:
        codes: (N, L) uint16, read-only; ``codes[i, j]`` is the code of item i at
            digit j.
        item_ids: (N,) strings, unique.
        codebook_size: K; every code is below it.
        generation: (N,) int32, read-only; 0 for the items of the fit, n for those of
            the n-th extension. All 0 by default.

    Raises:
        SidiffError: the shapes disagree, an id is missing or repeated, a code is not
            in 0..K-1, or a generation is negative.
    """

    codes: NDArray[np.uint16]
    item_ids: pl.Series
    codebook_size: int
    generation: NDArray[np.int32] = field(default_factory=lambda: _NO_GENERATION)

    def __post_init__(self) -> None:
        items, generation = len(self.codes), self.generation
        if generation.size == 0:
            generation = np.zeros(items, dtype=np.int32)
        _check_codes(self.codes, self.item_ids, self.codebook_size)
        if generation.shape != (items,) or (generation < 0).any():
            raise SidiffError(
                f"A SID table needs one generation, 0 or more, per item: {items} items,"
                f" generations of shape {generation.shape}."
            )
        checked: dict[str, NDArray[Any]] = {
            "codes": np.array(self.codes, dtype=np.uint16, order="C"),
            "generation": np.array(generation, dtype=np.int32),
        }
        for name, array in checked.items():
            array.flags.writeable = False
            object.__setattr__(self, name, array)
        item_ids = self.item_ids.cast(pl.String).alias("item_id")
        object.__setattr__(self, "item_ids", item_ids)

    @classmethod
    def from_frame(cls, frame: pl.DataFrame) -> SidTable:
        """Convert the result of ``to_frame`` back.

        Raises:
            SidiffError: a column is missing or a value is wrong.
        """
        if not {"item_id", "codebook_size", "generation"} <= set(frame.columns):
            raise SidiffError(
                "This SID table lacks the column item_id, codebook_size or generation; "
                "run kedro run --pipeline=tokenization again."
            )
        sizes = frame["codebook_size"].unique()
        if len(sizes) != 1:
            raise SidiffError(
                "The column codebook_size of the SID table must have the same number "
                f"in every row, not {sizes.to_list()[:5]}."
            )
        generation = frame["generation"].cast(pl.Int32).to_numpy()
        return cls(_code_matrix(frame), frame["item_id"], sizes.item(), generation)

    def to_frame(self) -> pl.DataFrame:
        """Convert to item_id, codebook_size, code_0 .. code_{L-1}, sid, generation.

        ``sid`` is the readable form, such as ``12-7-250-3``; ``codebook_size`` is
        constant.
        """
        names = [f"code_{j}" for j in range(self.digits)]
        return pl.DataFrame(self.codes, schema=names, orient="row").select(
            self.item_ids,
            pl.lit(self.codebook_size, dtype=pl.UInt32).alias("codebook_size"),
            *names,
            pl.concat_str(names, separator="-").alias("sid"),
            pl.Series("generation", self.generation),
        )

    @property
    def digits(self) -> int:
        """L, the number of codes of a semantic ID."""
        return int(self.codes.shape[1])

    def groups(self) -> Groups:
        """Group the items by SID; the result is cached."""
        return self._groups

    @cached_property
    def _groups(self) -> Groups:
        return group_codes(self.codes)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of the item ids, their order, all codes, and K."""
        digest = hashlib.sha256()
        digest.update(f"sids {self.codes.shape} {self.codebook_size}\n".encode())
        add_texts(digest, self.item_ids.to_list())
        digest.update(self.codes.astype("<u2").tobytes())
        return digest.hexdigest()

    def fingerprints(self) -> list[str]:
        """Compute the fingerprints of this table before each extension, and of it.

        Entry g is the fingerprint of the items up to generation g. A model trained on
        any of these tables knows every code of this one.
        """
        earlier = []
        for last in range(int(self.generation.max(initial=0))):
            kept = self.generation <= last
            ids = self.item_ids.filter(pl.Series(kept))
            table = SidTable(self.codes[kept], ids, self.codebook_size)
            earlier.append(table.fingerprint)
        return [*earlier, self.fingerprint]


def group_codes(codes: NDArray[np.uint16]) -> Groups:
    """Group equal rows of ``codes`` (N, L)."""
    # lexsort is stable, and its last key is the primary one: digit 0.
    items = np.lexsort(codes.T[::-1]).astype(np.int64)
    ordered = codes[items]
    starts = np.ones(len(items), dtype=bool)
    starts[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    sid_of_item = np.empty(len(items), dtype=np.int64)
    sid_of_item[items] = np.cumsum(starts) - 1
    return Groups(
        sid_of_item=sid_of_item,
        sid_codes=ordered[starts],
        offsets=np.append(np.flatnonzero(starts), len(items)).astype(np.int64),
        items=items,
    )


def _code_matrix(frame: pl.DataFrame) -> NDArray[Any]:
    """Extract the columns code_0 to code_{L-1} of a frame, (N, L) int64."""
    names = [name for name in frame.columns if name.startswith("code_")]
    expected = [f"code_{j}" for j in range(len(names))]
    if not names or names != expected:
        raise SidiffError(
            "A SID table needs columns code_0, code_1 and so on without a gap; this "
            f"one has {', '.join(frame.columns)}."
        )
    return frame.select(pl.col(names).cast(pl.Int64)).to_numpy()


def _check_codes(codes: NDArray[Any], item_ids: pl.Series, codebook_size: int) -> None:
    if codes.ndim != 2 or codes.shape[1] < 1 or len(codes) != len(item_ids):  # noqa: PLR2004
        raise SidiffError(
            f"A SID table needs one row of codes per item: {len(item_ids)} items, "
            f"codes of shape {codes.shape}."
        )
    if not 1 <= codebook_size <= MAX_CODES:
        raise SidiffError(
            f"codes per digit must lie in 1..{MAX_CODES}, not {codebook_size}."
        )
    if item_ids.null_count() or item_ids.n_unique() != len(item_ids):
        raise SidiffError("The item ids of a SID table must be unique and present.")
    wrong = (codes < 0) | (codes >= codebook_size)
    if wrong.any():
        row, digit = np.argwhere(wrong)[0]
        raise SidiffError(
            f"Item {item_ids[int(row)]} has code {codes[row, digit]} at digit {digit}, "
            f"which is not in 0..{codebook_size - 1}."
        )
