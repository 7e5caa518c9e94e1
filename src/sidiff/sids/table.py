"""The table of semantic IDs: one row of codes per item, and the groups that collide.

Nothing here repairs a collision (``collisions`` does): several items may share one SID,
as in DiffGRM (arXiv 2510.21805), and ``Groups`` is what the decoder and the item-level
metrics need to deal with them.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sidiff.errors import SidiffError
from sidiff.fingerprints import add_texts

logger = logging.getLogger(__name__)

MAX_CODES = 2**16
"""Largest number of codes per digit: codes are stored as uint16."""

_NO_GENERATION = np.zeros(0, dtype=np.int32)


@dataclass(frozen=True, eq=False)
class Groups:
    """Items gathered by semantic ID; S distinct SIDs in lexicographic order.

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
        """Item indices group by group, larger ``counts`` (N,) first, then by index."""
        return np.lexsort((np.arange(len(counts)), -counts, self.sid_of_item))


@dataclass(frozen=True, eq=False)
class SidTable:
    """The semantic ID of every item, in catalogue order.

    Attributes:
        codes: (N, L) uint16, read-only; ``codes[i, j]`` is the code of item i at
            digit j.
        item_ids: (N,) strings, unique.
        codebook_size: K; every code is below it.
        generation: (N,) int32, read-only; 0 for the items that were there when the
            quantizer was fitted, n for those that the n-th extension added. All 0
            where none is given.

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
        """Read back what ``to_frame`` wrote.

        Raises:
            SidiffError: a column is missing or a value is wrong.
        """
        if not {"item_id", "codebook_size"} <= set(frame.columns):
            raise SidiffError(
                "This SID table lacks the column item_id or codebook_size; run the "
                "tokenization pipeline again, or give a table of your own with "
                "quantizer 'table'."
            )
        sizes = frame["codebook_size"].unique().to_list()
        if len(sizes) != 1 or not isinstance(sizes[0], int):
            raise SidiffError(
                "The column codebook_size of the SID table must hold one and the "
                f"same number in every row, not {sizes[:5]}."
            )
        generation = _NO_GENERATION  # tables stored before there were extensions
        if "generation" in frame.columns:
            generation = frame["generation"].cast(pl.Int32).to_numpy()
        return cls(_code_matrix(frame), frame["item_id"], sizes[0], generation)

    def to_frame(self) -> pl.DataFrame:
        """Table as item_id, codebook_size, code_0 .. code_{L-1}, sid, generation.

        ``sid`` is the readable form, such as ``12-7-250-3``; ``codebook_size`` is
        constant and makes the stored table complete by itself.
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
        """The distinct SIDs and the items of each; computed once, then kept."""
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
        """Fingerprints of the tables that this one grew from, its own last.

        Entry g is that of the items of generation g and before. What was trained on
        any of these tables knows every code of this one.
        """
        prints = []
        for last in range(int(self.generation.max(initial=0))):
            kept = self.generation <= last
            ids = self.item_ids.filter(pl.Series(kept))
            before = SidTable(self.codes[kept], ids, self.codebook_size)
            prints.append(before.fingerprint)
        return [*prints, self.fingerprint]


def group_codes(codes: NDArray[np.uint16]) -> Groups:
    """Gather the rows of ``codes`` (N, L) that are equal."""
    # lexsort is stable and sorts by its last key first: digit 0 goes last.
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


def load_table(
    path: Path,
    item_ids: Sequence[str] | pl.Series,
    digits: int,
    codes: int | Literal["auto"],
) -> SidTable:
    """Read semantic IDs that somebody else made.

    Args:
        path: Parquet file with a column ``item_id`` and either a list column
            ``codes`` or the columns ``code_0`` .. ``code_{L-1}``, counted from 0.
        item_ids: the catalogue; the result is in this order, and further items of
            the file are left out.
        digits: L, which the file must have.
        codes: K, or "auto" for the largest code of the catalogue's items plus one.

    Raises:
        SidiffError: no such file, not Parquet, a column or an item is missing, an
            item occurs twice, or a code is out of range.
    """
    frame = read_table(path).with_columns(pl.col("item_id").cast(pl.String))
    wanted = pl.DataFrame({"item_id": pl.Series(item_ids, dtype=pl.String)})
    frame = frame.join(wanted, on="item_id", how="semi")
    missing = wanted.join(frame, on="item_id", how="anti")
    if len(missing):
        raise SidiffError(
            f"The SID table {path} lacks {len(missing):,} of {len(wanted):,} items, "
            f"{missing['item_id'][0]} first; add them."
        )
    if len(frame) > len(wanted):
        twice = frame.filter(pl.col("item_id").is_duplicated())["item_id"][0]
        raise SidiffError(f"The SID table {path} names item {twice} more than once.")
    frame = wanted.join(frame, on="item_id", how="left", maintain_order="left")
    matrix = _code_matrix(frame)
    if matrix.shape[1] != digits:
        raise SidiffError(
            f"The SID table {path} has {matrix.shape[1]} digits; "
            f"set tokenization.digits to that instead of {digits}."
        )
    if isinstance(codes, str):
        codes = max(2, int(matrix.max(initial=0)) + 1)
        logger.info("Codes per digit: %d, the largest code of %s", codes, path.name)
    return SidTable(matrix, frame["item_id"], int(codes))


def read_table(path: Path) -> pl.DataFrame:
    """Read the file that ``tokenization.table`` names; its codes are not checked yet.

    Raises:
        SidiffError: there is no such file, it is not Parquet, or names no items.
    """
    try:
        if not path.is_file():
            raise SidiffError(
                f"There is no SID table {path}; correct tokenization.table or make it."
            )
        frame = pl.read_parquet(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise SidiffError(
            f"The SID table {path} is not a Parquet file that can be read; correct "
            "tokenization.table."
        ) from error
    if "item_id" not in frame.columns:
        raise SidiffError(
            f"The SID table {path} has no column item_id, it has "
            f"{', '.join(frame.columns)}; add it."
        )
    return frame


def _code_matrix(frame: pl.DataFrame) -> NDArray[Any]:
    """The codes of a frame in either form, (N, L) int64; not yet checked."""
    if "codes" in frame.columns:
        column = frame["codes"]
        if not isinstance(column.dtype, pl.List | pl.Array):
            raise SidiffError(
                f"The column codes of a SID table must hold lists, not {column.dtype}."
            )
        lengths = column.cast(pl.List(column.dtype.inner)).list.len().unique()
        if len(lengths) != 1 or lengths[0] is None:
            raise SidiffError("Every item of a SID table needs equally many codes.")
        flat, width = column.explode(), int(lengths[0])
        columns = [flat.gather_every(width, j) for j in range(width)]
    else:
        width = sum(name.startswith("code_") for name in frame.columns)
        names = [f"code_{j}" for j in range(width)]
        if not names or not set(names) <= set(frame.columns):
            raise SidiffError(
                "A SID table needs a list column codes, or columns code_0, code_1 and "
                f"so on without a gap; this one has {', '.join(frame.columns)}."
            )
        columns = [frame[name] for name in names]
    for column in columns:
        if not column.dtype.is_integer() or column.null_count():
            raise SidiffError(
                "The codes of a SID table must be whole numbers without gaps; "
                f"{column.name} holds {column.dtype} with {column.null_count()} nulls."
            )
    return np.stack([c.cast(pl.Int64).to_numpy() for c in columns], axis=1)


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
