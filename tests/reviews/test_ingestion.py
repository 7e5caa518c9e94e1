from __future__ import annotations

import gzip
import json
import warnings
from collections.abc import Sequence
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidiff.errors import SidiffError
from sidiff.reviews import ingestion
from sidiff.reviews import lines as lines_module
from sidiff.reviews.ingestion import (
    Ingested,
    check_rejected,
    ingest_items,
    ingest_reviews,
)

REVIEW_2014 = {"reviewerID": "A2SU", "asin": "00137", "unixReviewTime": 1252800000}
REVIEW_2014 |= {"overall": 5.0}
REVIEW_2023 = {"user_id": "AGKH", "parent_asin": "B00Y", "timestamp": 1588687728923}
ITEM_2014 = {
    "asin": "00191",
    "title": "Puzzles",
    "description": "Three Dr. Suess' Puzzles",
    "categories": [["Toys & Games", "Puzzles"], ["Toys & Games", "Jigsaw"]],
}
ITEM_2018 = {"asin": "B001", "title": "Card", "category": ["Gift Cards"]}
ITEM_2023 = {"parent_asin": "B01C", "main_category": "Beauty", "store": "Howard"}
GOOD = json.dumps(REVIEW_2014)


def write(path: Path, lines: Sequence[str | bytes]) -> Path:
    raw = [line if isinstance(line, bytes) else line.encode() for line in lines]
    path.write_bytes(b"".join(line + b"\n" for line in raw))
    return path


def review(user: str, item: str, time: int) -> str:
    return json.dumps({"reviewerID": user, "asin": item, "unixReviewTime": time})


def check(part: Ingested, max_share: float) -> None:
    check_rejected(part.rejected, part.set_aside, part.lines, max_share)


def reasons(part: Ingested) -> dict[int, str]:
    return dict(part.rejected.select("line", "reason").iter_rows())


def test_reviews_become_typed_rows_in_file_order(tmp_path: Path) -> None:
    lines = [review("u2", "b", 9), GOOD, review("u1", "a", 3)]
    part = ingest_reviews(write(tmp_path / "reviews", lines), "amazon2014")
    assert part.frame.collect().rows() == [
        ("u2", "b", 9, 0, None),
        ("A2SU", "00137", 1252800000, 0, 5.0),
        ("u1", "a", 3, 0, None),
    ]
    assert part.frame.collect_schema() == {
        "user_id": pl.String,
        "item_id": pl.String,
        "timestamp": pl.Int64,
        "microsecond": pl.Int32,
        "rating": pl.Float32,
    }
    assert (part.lines, part.duplicates, len(part.rejected)) == (3, 0, 0)


def test_python_literals_of_2014(tmp_path: Path) -> None:
    lines = [repr(ITEM_2014), repr(ITEM_2014 | {"asin": "x", "title": "\"It's\" 5'"})]
    assert lines[0].count('"') == 2  # mixed quotes: no line of JSON
    part = ingest_items(write(tmp_path / "meta", lines), "amazon2014")
    assert part.frame.collect()["title"].to_list() == ["Puzzles", "\"It's\" 5'"]
    assert part.frame.collect()["description"][0] == "Three Dr. Suess' Puzzles"
    assert part.frame.collect()["categories"][0].to_list() == [
        "Toys & Games",
        "Puzzles",
        "Toys & Games",
        "Jigsaw",
    ]


def test_other_layouts(tmp_path: Path) -> None:
    for layout, line in (("amazon2018", ITEM_2018), ("amazon2023", ITEM_2023)):
        path = write(tmp_path / layout, [json.dumps(line)])
        assert len(ingest_items(path, layout).frame.collect()) == 1
    path = write(tmp_path / "reviews", [json.dumps(REVIEW_2023)])
    times = ingest_reviews(path, "amazon2023").frame.select("timestamp", "microsecond")
    assert times.collect().row(0) == (1588687728, 923_000)


def test_gzip_is_told_by_its_content(tmp_path: Path) -> None:
    plain = write(tmp_path / "reviews.json.gz", [GOOD])
    packed = tmp_path / "reviews.json"
    two_members = gzip.compress(plain.read_bytes()) + gzip.compress(GOOD.encode())
    packed.write_bytes(two_members)
    assert len(ingest_reviews(plain, "amazon2014").frame.collect()) == 1
    assert len(ingest_reviews(packed, "amazon2014").frame.collect()) == 2


def test_blank_lines_count_in_numbers_only(tmp_path: Path) -> None:
    path = tmp_path / "reviews"
    path.write_bytes(b"\xef\xbb\xbf" + f"{GOOD}\r\n\n  \nbad\n{GOOD}".encode())
    part = ingest_reviews(path, "amazon2014")
    assert (part.lines, len(part.frame.collect())) == (3, 2)
    assert list(reasons(part)) == [4]


def test_the_first_line_of_an_item_counts(tmp_path: Path) -> None:
    lines = [repr(ITEM_2014 | {"asin": key, "title": key * 2}) for key in "ab"]
    lines.append(repr(ITEM_2014 | {"asin": "a", "title": "again"}))
    part = ingest_items(write(tmp_path / "meta", lines), "amazon2014")
    assert part.frame.collect()["title"].to_list() == ["aa", "bb"]
    assert part.duplicates == 1


def test_malformed_lines_are_set_aside_with_number_and_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines_module, "LONGEST_LINE", 400_000)
    monkeypatch.setattr(lines_module, "_LONGEST_LITERAL", 200_000)
    lines: list[str | bytes] = [
        GOOD,
        '{"reviewerID": "u", ',
        "[1, 2]",
        b'{"reviewerID": "\xff\xfe"}',
        GOOD.replace("}", ', "more": NaN}'),
        "[" * 100_000,
        "(" * 150 + ")" * 150,
        "-" * 100_000 + "1",
        "1" + "+1" * 50_000,
        '{"a":' * 30_000,
        "{'a': " + "9" * 5_000 + "}",
        "{'a': 'x' * 3}",
        "{[]: 1}",
        "{'a': '\0'}",
        "'" + "x" * 250_000,
        "x" * 900_000,
        GOOD,
    ]
    part = ingest_reviews(write(tmp_path / "reviews", lines), "amazon2014")
    found = reasons(part)
    assert len(part.frame.collect()) == 2
    assert list(found) == list(range(2, 17))
    assert found[2].startswith("neither JSON (Expecting property name")
    assert found[3] == "not an object with named fields"
    assert found[4] == "not UTF-8 text"
    assert found[15] == "not JSON, and longer than 200,000 characters"
    assert found[16] == "longer than 400,000 bytes"
    assert part.rejected["text"].str.len_chars().max() == 200
    assert part.rejected["file"].unique().to_list() == ["reviews"]


def test_nothing_is_evaluated(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    attack = f"{{'asin': __import__('pathlib').Path({str(trace)!r}).touch() or 'x'}}"
    path = write(tmp_path / "meta", [repr(ITEM_2014), attack])
    assert list(reasons(ingest_items(path, "amazon2014"))) == [2]
    assert not trace.exists()


def test_odd_escapes_do_not_reach_the_console(tmp_path: Path) -> None:
    path = write(tmp_path / "meta", [r"{'asin': 'a', 'title': 'C:\d'}"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        part = ingest_items(path, "amazon2014")
    assert part.frame.collect()["title"].item() == r"C:\d"


def test_rows_beyond_a_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingestion, "_ROWS_PER_BLOCK", 4)
    lines = [review(f"u{number}", "i", number) for number in range(11)]
    lines.insert(5, "bad")
    part = ingest_reviews(write(tmp_path / "reviews", lines), "amazon2014")
    assert part.frame.collect()["timestamp"].to_list() == list(range(11))
    assert list(reasons(part)) == [6]


@settings(max_examples=50)
@given(
    st.fixed_dictionaries(
        {"asin": st.text(min_size=1)},
        optional={
            "title": st.text(),
            "brand": st.none() | st.text(),
            "categories": st.lists(st.lists(st.text(), max_size=3), max_size=3),
            "price": st.floats(0, 1e6) | st.integers(0, 10**6),
            "extra": st.recursive(
                st.none() | st.booleans() | st.integers() | st.text(), st.lists
            ),
        },
    )
)
def test_json_and_literal_give_the_same_row(
    tmp_path_factory: pytest.TempPathFactory, line: dict[str, object]
) -> None:
    folder = tmp_path_factory.mktemp("pair")
    rows = [
        ingest_items(write(folder / name, [spell(line)]), "amazon2014")
        .frame.collect()
        .rows()
        for name, spell in (("json", json.dumps), ("literal", repr))
    ]
    assert rows[0] == rows[1]
    assert rows[0][0][0] == line["asin"]
    assert rows[0][0][1] == (line.get("title") or None)


def test_a_truncated_archive(tmp_path: Path) -> None:
    lines = "".join(review(f"u{n}", f"i{n * 7919}", n) + "\n" for n in range(5000))
    whole = gzip.compress(lines.encode())
    for name, content in (
        ("cut", whole[: len(whole) // 2]),
        ("no_checksum", whole[:-4]),
        ("wrong_checksum", whole[:-8] + bytes(8)),
        ("flipped", whole[:2000] + bytes(100) + whole[2100:]),
        ("header_only", whole[:3]),
    ):
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(SidiffError, match=f"{name} is cut short or damaged"):
            ingest_reviews(path, "amazon2014")


def test_a_file_without_lines(tmp_path: Path) -> None:
    for name, content in (
        ("nothing", b""),
        ("blank", b"\n \n"),
        ("packed", gzip.compress(b"")),
    ):
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(SidiffError, match=f"{name} is empty"):
            ingest_items(path, "amazon2014")


def test_a_path_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(SidiffError, match="absent does not exist"):
        ingest_reviews(tmp_path / "absent", "amazon2014")
    with pytest.raises(SidiffError, match="cannot be read"):
        ingest_reviews(tmp_path, "amazon2014")


@pytest.mark.parametrize(
    ("line", "ingest", "layout", "likely"),
    [
        (REVIEW_2023, ingest_reviews, "amazon2014", "amazon2023 reviews"),
        (REVIEW_2014, ingest_reviews, "amazon2023", "amazon2014 or amazon2018 reviews"),
        (ITEM_2014, ingest_reviews, "amazon2014", "amazon2014 metadata"),
        (ITEM_2018, ingest_items, "amazon2014", "amazon2018 metadata"),
        (ITEM_2014, ingest_items, "amazon2018", "amazon2014 metadata"),
        (ITEM_2023, ingest_items, "amazon2014", "amazon2023 metadata"),
        (REVIEW_2014, ingest_items, "amazon2014", "amazon2014 or amazon2018 reviews"),
        ({"user": "u", "item": "i"}, ingest_reviews, "amazon2014", "no known layout"),
    ],
)
def test_a_wrong_layout_says_which_it_looks_like(
    tmp_path: Path, line: dict[str, object], ingest: object, layout: str, likely: str
) -> None:
    path = write(tmp_path / "raw", [json.dumps(line)] * 3)
    assert callable(ingest)
    with pytest.raises(SidiffError, match=f"looks like {likely}: set ingestion.layout"):
        ingest(path, layout)


def test_a_file_of_nothing_but_malformed_lines(tmp_path: Path) -> None:
    path = write(tmp_path / "page", ["<!DOCTYPE html>", "<html></html>"])
    with pytest.raises(SidiffError, match=r"No line of .*page .* \(line 1: neither"):
        ingest_reviews(path, "amazon2014")


def test_too_many_malformed_lines_stop_the_run(tmp_path: Path) -> None:
    good = ingest_items(write(tmp_path / "meta", [repr(ITEM_2014)] * 400), "amazon2014")
    lines = [GOOD] * 98 + ["bad", "worse"]
    part = ingest_reviews(write(tmp_path / "reviews", lines), "amazon2014")
    for read in (part, good):
        check(read, 0.02)
    check(good, 0.01)
    with pytest.raises(SidiffError) as caught:
        check(part, 0.01)
    assert str(caught.value) == (
        "reviews: 2 of 100 lines are malformed (2.00%, allowed 1.00%; first line 99: "
        "neither JSON (Expecting value) nor a Python literal): repair the file or "
        "raise ingestion.max_rejected_share."
    )


@pytest.mark.real_data
def test_real_gift_cards_of_2018(real_data: Path) -> None:
    folder = real_data / "amazon2018_gift_cards"
    reviews = ingest_reviews(folder / "Gift_Cards_5.json.gz", "amazon2018")
    items = ingest_items(folder / "meta_Gift_Cards.json.gz", "amazon2018")
    check(reviews, 0.0)
    check(items, 0.0)
    assert (reviews.lines, items.lines) == (2972, 1547)
    assert reviews.frame.collect()["user_id"].n_unique() == 458
    assert reviews.frame.collect()["item_id"].n_unique() == 148
    assert reviews.frame.collect().select("user_id", "item_id").n_unique() == 2972 - 7
    assert reviews.frame.collect()["rating"].is_between(1, 5).all()
    assert set(reviews.frame.collect()["item_id"]) <= set(
        items.frame.collect()["item_id"]
    )
    assert items.frame.collect()["price"].max() == 1250.0
    assert items.frame.collect()["price"].count() == 358
    with pytest.raises(SidiffError, match="looks like amazon2018 metadata"):
        ingest_items(folder / "meta_Gift_Cards.json.gz", "amazon2014")


@pytest.mark.real_data
def test_real_beauty_of_2014(real_data: Path) -> None:
    folder = real_data / "amazon2014_beauty"
    items = ingest_items(folder / "meta_Beauty.json.gz", "amazon2014")
    check(items, 0.0)
    assert (len(items.frame.collect()), items.duplicates) == (12_101, 0)
    assert items.frame.collect()["categories"].null_count() == 0
    assert items.frame.collect()["title"].null_count() == pytest.approx(
        0.0006 * 12_101, abs=1
    )
