"""The SID table: groups against a dictionary, round trips, and every refusal."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from sidiff.errors import SidiffError
from sidiff.sids.table import SidTable

CODES = np.array([[2, 0], [0, 1], [2, 0], [1, 2], [0, 1], [2, 0]])
IDS = pl.Series(list("abcdef"))
FRAME = SidTable(CODES, IDS, 3).to_frame()


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


@pytest.mark.parametrize("generation", [[0, 1], [0, 0, 0, 0, 0, -1]])
def test_wrong_generations_are_refused(generation: list[int]) -> None:
    with pytest.raises(SidiffError, match="one generation, 0 or more, per item"):
        SidTable(CODES, IDS, 3, np.array(generation))


def test_ten_digits_keep_their_order() -> None:
    codes = np.arange(22).reshape(2, 11)
    frame = table_of(codes, 22).to_frame()
    assert (SidTable.from_frame(frame).codes == codes).all()


def test_fingerprint_sees_codes_order_names_and_size() -> None:
    fingerprints = {
        SidTable(CODES, IDS, 3).fingerprint,
        SidTable(CODES, IDS, 4).fingerprint,
        SidTable(CODES[::-1], IDS, 3).fingerprint,
        SidTable(CODES, IDS.reverse(), 3).fingerprint,
        SidTable(CODES.reshape(3, 4), IDS[:3], 3).fingerprint,
    }
    assert len(fingerprints) == 5
    assert SidTable(CODES.copy(), IDS.clone(), 3).fingerprint in fingerprints


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


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (FRAME.drop("codebook_size"), "lacks the column"),
        (FRAME.with_columns(codebook_size=pl.Series(CODES[:, 0])), "the same number"),
        (FRAME.with_columns(code_0=pl.col("code_0") + 1), "Item a has code 3 at"),
        (FRAME.drop("code_0"), "without a gap"),
    ],
)
def test_stored_tables_must_be_complete(frame: pl.DataFrame, words: str) -> None:
    with pytest.raises(SidiffError, match=words):
        SidTable.from_frame(frame)
