"""The SID table: groups against a dictionary, round trips, and every refusal."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from sidiff.errors import SidiffError
from sidiff.sids.table import SidTable, load_table

CODES = np.array([[2, 0], [0, 1], [2, 0], [1, 2], [0, 1], [2, 0]])
IDS = pl.Series(list("abcdef"))


def table_of(codes: NDArray[np.integer], size: int = 3) -> SidTable:
    ids = pl.Series([f"item{i}" for i in range(len(codes))], dtype=pl.String)
    return SidTable(codes, ids, size)


@given(
    hnp.arrays(
        np.uint16,
        st.tuples(st.integers(1, 30), st.integers(1, 4)),
        elements=st.integers(0, 2),
    )
)
def test_groups_are_what_a_dictionary_finds(codes: NDArray[np.uint16]) -> None:
    naive = defaultdict(list)
    for item, sid in enumerate(codes.tolist()):
        naive[tuple(sid)].append(item)

    groups = table_of(codes).groups()

    assert [tuple(sid) for sid in groups.sid_codes.tolist()] == sorted(naive)
    for row, sid in enumerate(sorted(naive)):
        start, end = groups.offsets[row : row + 2]
        assert groups.items[start:end].tolist() == naive[sid]
        assert groups.sizes[row] == len(naive[sid])
    assert (groups.sid_codes[groups.sid_of_item] == codes).all()


def test_groups_have_no_limit_on_digits() -> None:
    codes = np.full((3, 64), 65535)
    codes[1, 63] = 0
    assert table_of(codes, 65536).groups().sid_of_item.tolist() == [1, 0, 1]


def test_frame_and_back() -> None:
    table = SidTable(CODES, IDS, 7)
    frame = table.to_frame()
    assert frame.columns == [
        *("item_id", "codebook_size", "code_0", "code_1"),
        *("sid", "generation"),
    ]
    assert frame["sid"].to_list()[:2] == ["2-0", "0-1"]

    again = SidTable.from_frame(frame)

    assert (again.codes == CODES).all()
    assert again.codes.dtype == np.uint16
    assert again.item_ids.to_list() == IDS.to_list()
    assert (again.codebook_size, again.digits) == (7, 2)
    assert again.fingerprint == table.fingerprint


def test_generations_and_the_tables_before() -> None:
    generation = np.array([0, 2, 0, 1, 0, 1])
    table = SidTable(CODES, IDS, 3, generation)

    again = SidTable.from_frame(table.to_frame())

    assert again.generation.tolist() == generation.tolist()
    assert again.fingerprints() == [
        SidTable(
            CODES[generation <= last], IDS.filter(generation <= last), 3
        ).fingerprint
        for last in range(3)
    ]
    assert (
        again.fingerprints()[-1]
        == table.fingerprint
        == SidTable(CODES, IDS, 3).fingerprint
    )


def test_tables_without_generations_are_of_the_first() -> None:
    frame = SidTable(CODES, IDS, 3).to_frame().drop("generation")
    table = SidTable.from_frame(frame)
    assert table.generation.tolist() == [0] * 6
    assert table.fingerprints() == [table.fingerprint]


@pytest.mark.parametrize("generation", [[0, 1], [0, 0, 0, 0, 0, -1]])
def test_wrong_generations_are_refused(generation: list[int]) -> None:
    with pytest.raises(SidiffError, match="one generation, 0 or more, per item"):
        SidTable(CODES, IDS, 3, np.array(generation))


def test_ten_digits_keep_their_order() -> None:
    codes = np.arange(22).reshape(2, 11)
    frame = table_of(codes, 22).to_frame()
    assert (SidTable.from_frame(frame).codes == codes).all()


def test_fingerprint_sees_codes_order_names_and_size() -> None:
    prints = {
        SidTable(CODES, IDS, 3).fingerprint,
        SidTable(CODES, IDS, 4).fingerprint,
        SidTable(CODES[::-1], IDS, 3).fingerprint,
        SidTable(CODES, IDS.reverse(), 3).fingerprint,
        SidTable(CODES.reshape(3, 4), IDS[:3], 3).fingerprint,
    }
    assert len(prints) == 5
    assert SidTable(CODES.copy(), IDS.clone(), 3).fingerprint in prints


def test_codes_cannot_be_changed_afterwards() -> None:
    source = CODES.copy()
    table = SidTable(source, IDS, 3)
    source[:] = 0
    assert (table.codes == CODES).all()
    with pytest.raises(ValueError, match="read-only"):
        table.codes[0, 0] = 1


@pytest.mark.parametrize(
    ("codes", "ids", "size", "words"),
    [
        (CODES, IDS, 2, "Item a has code 2 at digit 0"),
        (CODES - 1, IDS, 3, "Item a has code -1 at digit 1"),
        (CODES, IDS[:5], 3, "one row of codes per item"),
        (CODES, pl.Series(["a", "a", "c", "d", "e", "f"]), 3, "unique"),
        (CODES, pl.Series(["a", None, "c", "d", "e", "f"]), 3, "unique"),
        (CODES, IDS, 65537, "codes per digit"),
    ],
)
def test_wrong_tables_are_refused(
    codes: NDArray[np.integer], ids: pl.Series, size: int, words: str
) -> None:
    with pytest.raises(SidiffError, match=words):
        SidTable(codes, ids, size)


def lists(codes: NDArray[np.integer], ids: pl.Series) -> pl.DataFrame:
    return pl.DataFrame({"item_id": ids, "codes": codes.tolist()})


def columns(codes: NDArray[np.integer], ids: pl.Series) -> pl.DataFrame:
    digits = {f"code_{j}": codes[:, j] for j in range(codes.shape[1])}
    return pl.DataFrame({"item_id": ids, **digits})


@pytest.mark.parametrize("form", [lists, columns])
def test_a_table_of_ones_own(tmp_path: Path, form: type) -> None:
    path = tmp_path / "sids.parquet"
    form(CODES, IDS).sample(fraction=1.0, shuffle=True, seed=3).write_parquet(path)

    table = load_table(path, ["f", "b", "d"], digits=2, codes="auto")

    assert table.codes.tolist() == [[2, 0], [0, 1], [1, 2]]
    assert table.item_ids.to_list() == ["f", "b", "d"]
    assert table.codebook_size == 3
    assert load_table(path, ["f", "b"], digits=2, codes=9).codebook_size == 9


def test_own_table_may_name_items_by_numbers(tmp_path: Path) -> None:
    path = tmp_path / "sids.parquet"
    columns(CODES, pl.Series(range(6))).write_parquet(path)
    assert load_table(path, ["5", "3"], 2, 3).codes.tolist() == [[2, 0], [1, 2]]


def ragged() -> pl.DataFrame:
    return pl.DataFrame({"item_id": IDS, "codes": [[1, 2]] * 5 + [[1]]})


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (lists(CODES[:4], IDS[:4]), "lacks 2 of 6 items, e first"),
        (pl.concat([lists(CODES, IDS)] * 2), "item a more than once"),
        (columns(CODES[:, :1], IDS), "has 1 digits; set tokenization.digits"),
        (columns(CODES + 1, IDS), "Item a has code 3 at digit 0"),
        (columns(CODES, IDS).drop("code_0"), "without a gap"),
        (columns(CODES, IDS).drop("item_id"), "no column item_id"),
        (columns(CODES, IDS).cast({"code_1": pl.Float64}), "whole numbers"),
        (columns(CODES, IDS).with_columns(code_1=pl.lit(None, pl.Int8)), "whole"),
        (columns(CODES, IDS).with_columns(codes=pl.lit(1)), "must hold lists"),
        (ragged(), "equally many codes"),
        (ragged().with_columns(codes=pl.lit(None, pl.List(pl.Int8))), "equally many"),
    ],
)
def test_wrong_tables_of_ones_own_are_refused(
    tmp_path: Path, frame: pl.DataFrame, words: str
) -> None:
    path = tmp_path / "sids.parquet"
    frame.write_parquet(path)
    with pytest.raises(SidiffError, match=words):
        load_table(path, IDS.to_list(), digits=2, codes=3)


def test_a_file_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(SidiffError, match="There is no SID table"):
        load_table(tmp_path / "sids.parquet", ["a"], 2, 3)
    (tmp_path / "sids.parquet").write_text("item_id,code_0\n")
    with pytest.raises(SidiffError, match="not a Parquet file"):
        load_table(tmp_path / "sids.parquet", ["a"], 2, 3)


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (columns(CODES, IDS), "lacks the column"),
        (columns(CODES, IDS).with_columns(codebook_size=CODES[:, 0]), "one and the"),
    ],
)
def test_stored_tables_must_be_complete(frame: pl.DataFrame, words: str) -> None:
    with pytest.raises(SidiffError, match=words):
        SidTable.from_frame(frame)
