from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from sidiff.errors import SidiffError
from sidiff.reviews import interaction_tables, own_data
from sidiff.reviews.ingestion import Ingested, ingest_items, ingest_reviews
from sidiff.reviews.kcore import k_core
from sidiff.reviews.sequences import (
    build_sequences,
    evaluation_samples,
    training_samples,
)
from sidiff.reviews.settings import InteractionColumns, ItemColumns
from sidiff.reviews.text import render_texts
from tests.settings import model

NOW = 1_800_000_000
TIME = 1_700_000_000
LOG = {"who": ["u1", "u2", "u1"], "what": ["00137", "b", "c"], "at": [TIME, 5, TIME]}
ODD_IDS = ['a,b"c', "line\nbreak", "Crème 寿司 🍣", "'; --", " padded ", "\\n", "{}"]
BARE_IDS = [text.strip() for text in ODD_IDS]
FORMATS = [
    "log.parquet",
    "log.csv",
    "log.tsv",
    "log.ndjson",
    "log.csv.gz",
    "log.json.gz",
]


def columns(**changes: Any) -> InteractionColumns:
    names = {"user": "who", "item": "what", "timestamp": "at", "time_unit": "s"}
    return InteractionColumns(**{**names, "rating": None, **changes})


def item_columns(**fields: str) -> ItemColumns:
    return ItemColumns.model_validate({"item": "sku", "fields": fields})


def write(path: Path, table: Mapping[str, Sequence[Any]]) -> Path:
    """Write a table in the format of its name, as other programs do."""
    rows = [
        dict(zip(table, row, strict=True)) for row in zip(*table.values(), strict=True)
    ]
    if path.suffix == ".parquet":
        pl.DataFrame(table, strict=False).write_parquet(path)
        return path
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "wt", encoding="utf-8", newline="") as file:
        if ".csv" in path.name or ".tsv" in path.name:
            writer = csv.DictWriter(
                file, list(table), delimiter="\t" if ".tsv" in path.name else ","
            )
            writer.writeheader()
            writer.writerows(rows)
        else:
            file.writelines(json.dumps(row) + "\n" for row in rows)
    return path


def ingest(path: Path, **changes: Any) -> Ingested:
    return own_data.ingest_interactions([path], columns(**changes), NOW)


def rows(read: Ingested) -> list[tuple[Any, ...]]:
    """User, item, second and rating of every row, in file order."""
    return read.frame.collect(engine="streaming").drop("microsecond").rows()


def times(read: Ingested) -> list[int]:
    return read.frame.collect()["timestamp"].to_list()


def reasons(read: Ingested) -> dict[int, str]:
    return dict(read.rejected.select("line", "reason").iter_rows())


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_same_rows(tmp_path: Path, name: str) -> None:
    table = LOG | {"stars": [4.5, None, 3.0], "more": ["x", "y", "z"]}
    read = ingest(write(tmp_path / name, table), rating="stars")
    assert rows(read) == [
        ("u1", "00137", TIME, 4.5),
        ("u2", "b", 5, None),
        ("u1", "c", TIME, 3.0),
    ]
    assert read.frame.collect_schema() == {
        "user_id": pl.String,
        "item_id": pl.String,
        "timestamp": pl.Int64,
        "microsecond": pl.Int32,
        "rating": pl.Float32,
    }
    assert (read.lines, read.rows, read.set_aside, read.duplicates) == (3, 3, 0, 0)


def test_several_files_of_several_formats_are_one_log(tmp_path: Path) -> None:
    paths = [write(tmp_path / name, LOG) for name in ("a.csv", "b.parquet")]
    read = own_data.ingest_interactions(paths, columns(), NOW)
    assert rows(read) == 2 * rows(ingest(paths[0]))
    assert read.lines == 6


def test_a_part_may_have_no_rows(tmp_path: Path) -> None:
    full, empty = write(tmp_path / "a.csv", LOG), tmp_path / "b.csv"
    empty.write_text("who,what,at\n")
    for paths in ([full, empty], [empty, full]):
        read = own_data.ingest_interactions(paths, columns(), NOW)
        assert rows(read) == rows(ingest(full))
        items = own_data.ingest_items(paths, ItemColumns(item="what", fields={}))
        assert items.rows == 3


@pytest.mark.parametrize("separator", [";", "|", "\t"])
def test_the_separator_is_the_one_of_the_header(tmp_path: Path, separator: str) -> None:
    path = tmp_path / "log.csv"
    line = separator.join(["u,1", "b", "7"])
    path.write_text(separator.join(["who", "what", "at"]) + f"\r\n{line}\r\n")
    assert rows(ingest(path)) == [("u,1", "b", 7, None)]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("first", [[], [""], ["", ""]])
def test_blank_lines_between_rows_are_none(
    tmp_path: Path, first: list[str], end: str
) -> None:
    path = tmp_path / "log.csv"
    lines = ["who,what,at", *first, "u,b,7", "", "", "v,c,8", ""]
    path.write_text("".join(line + end for line in lines), newline="")
    assert rows(ingest(path)) == [("u", "b", 7, None), ("v", "c", 8, None)]


@pytest.mark.parametrize("name", FORMATS)
def test_any_text_is_an_id(tmp_path: Path, name: str) -> None:
    count = len(ODD_IDS)
    table = {"who": ODD_IDS, "what": ODD_IDS[::-1], "at": [9] * count}
    found = rows(ingest(write(tmp_path / name, table)))
    assert [row[0] for row in found] == BARE_IDS
    assert [row[1] for row in found] == BARE_IDS[::-1]


@pytest.mark.parametrize(
    ("ids", "texts"),
    [
        ([7, 12345678901234567], ["7", "12345678901234567"]),
        ([7.0, 3.0], ["7", "3"]),
        (pl.Series(["x", "y"], dtype=pl.Categorical), ["x", "y"]),
    ],
)
def test_ids_that_are_no_texts(tmp_path: Path, ids: Any, texts: list[str]) -> None:
    table = {"who": ids, "what": ids, "at": [1, 2]}
    pl.DataFrame(table).write_parquet(tmp_path / "log.parquet")
    found = rows(ingest(tmp_path / "log.parquet"))
    assert [row[0] for row in found] == [row[1] for row in found] == texts


@pytest.mark.parametrize("name", FORMATS)
def test_null_and_empty_ids_are_set_aside(tmp_path: Path, name: str) -> None:
    table = {
        "who": ["u", None, "", "u", "u"],
        "what": ["i", "i", "i", None, "j"],
        "at": [1, 2, 3, 4, 5],
    }
    read = ingest(write(tmp_path / name, table))
    assert [row[:2] for row in rows(read)] == [("u", "i"), ("u", "j")]
    found = reasons(read)
    assert list(found.values()) == [
        "no text or whole number in who",
        "no text or whole number in who",
        "no text or whole number in what",
    ]
    assert list(found) == [2, 3, 4]
    assert (read.lines, read.rows, read.set_aside) == (5, 2, 3)
    assert read.rejected["file"].unique().to_list() == [name]
    shown = {
        "parquet": "who: u, what: null, at: 4",
        "csv": "who: u, what: null, at: 4",
        "tsv": "who: u, what: null, at: 4",
        "json": '{"who": "u", "what": null, "at": 4}',
    }
    kind = name.removesuffix(".gz").replace("nd", "").rpartition(".")[2]
    assert read.rejected["text"][2] == shown[kind]


def test_what_is_no_time_is_set_aside(tmp_path: Path) -> None:
    given = [
        TIME,
        NOW + 80_000,
        NOW + 90_000,
        TIME * 1000,
        -1,
        "soon",
        None,
        "9.5",
        "1e9",
    ]
    table = {"who": ["u"] * 9, "what": ["i"] * 9, "at": given}
    read = ingest(write(tmp_path / "log.csv", table))
    assert times(read) == [TIME, NOW + 80_000, 9, 10**9]
    found = reasons(read)
    assert found[3] == "at lies in the future"
    assert found[4].startswith("at is not a time from 1970 to 2100 (is ingestion")
    assert found[5] == found[4]
    assert found[6] == found[7] == "no time in at"


def test_milliseconds_taken_for_seconds_name_the_unit(tmp_path: Path) -> None:
    path = write(tmp_path / "log.csv", LOG | {"at": [TIME * 1000] * 3})
    with pytest.raises(SidiffError, match=r"row 1: .*time_unit s right\?"):
        ingest(path)


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
def test_seconds_taken_for_a_finer_unit_name_the_unit(
    tmp_path: Path, unit: str
) -> None:
    path = write(tmp_path / "log.csv", LOG | {"at": [TIME] * 3})
    with pytest.raises(SidiffError, match=rf"coarser unit than {unit}.*correct"):
        ingest(path, time_unit=unit)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(
    ("unit", "ticks"), [("ms", 10**3), ("us", 10**6), ("ns", 10**9)]
)
def test_finer_units_are_cut_to_seconds(
    tmp_path: Path, name: str, unit: str, ticks: int
) -> None:
    table = LOG | {"at": [TIME * ticks, TIME * ticks + ticks - 1, (TIME + 1) * ticks]}
    read = ingest(write(tmp_path / name, table), time_unit=unit)
    assert times(read) == [TIME, TIME, TIME + 1]


def test_spellings_of_a_moment(tmp_path: Path) -> None:
    given = [
        "2023-11-14T22:13:20Z",
        "2023-11-14 22:13:20",
        "2023-11-14T22:13:20.999",
        "2023-11-15T00:13:20+02:00",
        "2023-11-14T22:13",
        "2023-11-14",
        "14.11.2023",
        "2023-02-30",
    ]
    table = {"who": ["u"] * 8, "what": ["i"] * 8, "at": given}
    read = ingest(write(tmp_path / "log.csv", table), time_unit="datetime")
    assert times(read) == [TIME] * 4 + [TIME - 20, 1_699_920_000]
    assert list(reasons(read)) == [7, 8]


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        (datetime(2023, 11, 14, 22, 13, 20, 7), TIME),
        (datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC), TIME),
        (datetime(2023, 11, 15, 0, 13, 20, tzinfo=timezone(timedelta(hours=2))), TIME),
        (date(2023, 11, 14), 1_699_920_000),
    ],
)
def test_columns_of_moments(tmp_path: Path, moment: Any, expected: int) -> None:
    path = write(tmp_path / "log.parquet", LOG | {"at": [moment] * 3})
    assert times(ingest(path, time_unit="datetime")) == [expected] * 3
    with pytest.raises(SidiffError, match="time_unit to datetime"):
        ingest(path)


def test_numbers_are_no_moments(tmp_path: Path) -> None:
    with pytest.raises(SidiffError, match="time_unit to s, ms, us or ns"):
        ingest(write(tmp_path / "log.parquet", LOG), time_unit="datetime")


def test_a_wrong_rating_is_null(tmp_path: Path) -> None:
    table = {"who": list("abcd"), "what": list("abcd"), "at": [1] * 4}
    table["stars"] = ["5", "five", "inf", "nan"]
    read = ingest(write(tmp_path / "log.csv", table), rating="stars")
    assert [row[3] for row in rows(read)] == [5.0, None, None, None]


def test_damaged_lines_are_set_aside(tmp_path: Path) -> None:
    good = '{"who": "u", "what": "i", "at": 1}'
    path = tmp_path / "log.ndjson"
    path.write_bytes(
        f'{good}\n\n{{bad\n[1]\n"x"\n{good}\n'.encode()
        + b'{"who": "\xff", "what": "i", "at": 1}\n{"who": "u"}\n'
        + b"\x01\x02\n"
    )
    read = ingest(path)
    assert len(rows(read)) == 2
    assert reasons(read) == {
        3: "not JSON",
        4: "not an object with named fields",
        5: "not an object with named fields",
        7: "not UTF-8 text",
        8: "no text or whole number in what",
        9: "not JSON",
    }
    assert (read.lines, read.set_aside) == (8, 6)


def test_rows_of_too_many_and_too_few_fields_are_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_bytes(
        b"\xef\xbb\xbfwho,what,at\nu,i,1\nu,i\nu,i,1,2\n\nu,i,1,,\n\xff,i,1\nu,j,2\n"
    )
    read = ingest(path)
    assert [row[1] for row in rows(read)] == ["i", "j"]
    assert reasons(read) == {
        2: "fewer than 3 fields",
        3: "more than 3 fields",
        5: "more than 3 fields",
        6: "not UTF-8 text",
    }
    assert read.lines == 6


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("log.csv", b""),
        ("log.csv", b"who,what,at\n"),
        ("log.csv", b'who,what,at\nu,i,"1\n'),
        (
            "log.csv.gz",
            gzip.compress(b"who,what,at\n" + b"u,i,1\n" * 9999, mtime=0)[:-20],
        ),
        ("log.ndjson", b""),
        ("log.ndjson", b"<html>\n</html>\n"),
        ("log.ndjson.gz", gzip.compress(b'{"who": "u"}', mtime=0)[:9]),
        ("log.parquet", b""),
        ("log.parquet", b"PAR1" + bytes(99) + b"PAR1"),
        ("log.xlsx", b"PK"),
        ("log.parquet.gz", b""),
    ],
)
def test_a_file_that_is_no_table_is_one_sentence(
    tmp_path: Path, name: str, content: bytes
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SidiffError, match=name) as interactions:
        ingest(tmp_path / name)
    with pytest.raises(SidiffError, match=name) as items:
        own_data.ingest_items([tmp_path / name], ItemColumns(item="who", fields={}))
    for error in (interactions, items):
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", FORMATS)
def test_a_missing_column_is_named_with_those_there_are(
    tmp_path: Path, name: str
) -> None:
    path = write(tmp_path / name, LOG)
    for change in ("user", "item", "timestamp", "rating"):
        with pytest.raises(
            SidiffError, match="has no column customer, it has who, what, at: correct"
        ):
            ingest(path, **{change: "customer"})
    for wrong in (ItemColumns(item="customer", fields={}), item_columns(title="who")):
        with pytest.raises(SidiffError, match="it has who, what, at: correct"):
            own_data.ingest_items([path], wrong)


def test_an_id_of_another_kind_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "log.parquet", LOG | {"who": [[1], [2], [3]]})
    with pytest.raises(SidiffError, match=r"Column who .*name a column of texts"):
        ingest(path)


def test_no_more_rejected_rows_are_kept_than_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (own_data, interaction_tables):
        monkeypatch.setattr(module, "KEPT_ROWS", 10)
    table = {"who": ["u", *[""] * 50], "what": ["i"] * 51, "at": [1] * 51}
    paths = [write(tmp_path / name, table) for name in ("a.csv", "b.csv")]
    read = own_data.ingest_interactions(paths, columns(), NOW)
    assert (read.set_aside, read.rows, len(read.rejected)) == (100, 2, 10)


def test_nothing_of_the_log_is_held(tmp_path: Path) -> None:
    path = write(tmp_path / "log.csv", LOG)
    read = ingest(path)
    path.unlink()
    with pytest.raises(FileNotFoundError):
        read.frame.collect()


def test_a_history_of_one_item_is_neither_trained_on_nor_tested(
    tmp_path: Path,
) -> None:
    table = {
        "who": ["once", *["same"] * 5, *["many"] * 5],
        "what": ["a", *["a"] * 5, *"abcde"],
        "at": list(range(11)),
    }
    log = ingest(write(tmp_path / "log.csv", table)).frame
    sequences, _ = build_sequences(k_core(log, 1, 1, None).frame, "item_id")
    assert sequences.user_ids.to_list() == ["many", "once", "same"]
    assert sequences.lengths.tolist() == [5, 1, 5]
    assert set(training_samples(sequences, "prefix", 1, 50)[:, 0].tolist()) == {0, 2}
    for split in ("validation", "test"):
        assert evaluation_samples(sequences, split, 50)[:, 0].tolist() == [0, 2]


@pytest.mark.parametrize("name", ["i.parquet", "i.csv", "i.ndjson", "i.jsonl.gz"])
def test_an_item_keeps_every_column(tmp_path: Path, name: str) -> None:
    table = {
        "sku": ["a", "b"],
        "product": ["Soap", None],
        "price": [9.5, None],
        "colour": ["blue", None],
        "size": [42, 7],
        "item_id": ["not", "this"],
    }
    read = own_data.ingest_items(
        [write(tmp_path / name, table)], item_columns(title="product")
    )
    frame = read.frame.collect()
    assert frame.columns == [
        *("item_id", "title", "brand", "categories", "price", "features"),
        *("description", "colour", "size"),
    ]
    assert frame.select("item_id", "title", "price", "colour", "size").rows() == [
        ("a", "Soap", 9.5, "blue", "42"),
        ("b", None, None, None, "7"),
    ]
    assert frame.schema["categories"] == pl.List(pl.String)


def test_values_of_any_kind_become_words(tmp_path: Path) -> None:
    table = {
        "sku": [1, 2],
        "tags": [["new", "red"], []],
        "details": [{"Pack": "2", "Colour": "red"}, None],
        "since": [date(2020, 1, 2), None],
        "sizes": [[8.5, 9.0], None],
        "image": [b"\xff", b"\x00"],
        "vegan": [True, False],
        "weight": [1.5, 2.0],
        "price": [Decimal("3.50"), None],
        "categories": ["Beauty", "Hair"],
    }
    pl.DataFrame(table).write_parquet(tmp_path / "items.parquet")
    frame = own_data.ingest_items(
        [tmp_path / "items.parquet"], item_columns()
    ).frame.collect()
    assert frame.row(0, named=True) == {
        "item_id": "1",
        "title": None,
        "brand": None,
        "categories": ["Beauty"],
        "price": 3.5,
        "features": None,
        "description": None,
        "tags": ["new", "red"],
        "details": ["Pack: 2", "Colour: red"],
        "since": "2020-01-02",
        "sizes": ["8.5", "9"],
        "image": None,
        "vegan": "True",
        "weight": "1.5",
    }
    assert frame["weight"].to_list() == ["1.5", "2"]


def test_own_columns_are_fields_of_the_text(tmp_path: Path) -> None:
    table = {"sku": ["a", "b"], "name": ["Soap", ""], "tags": [["x", "y"], []]}
    read = own_data.ingest_items(
        [write(tmp_path / "items.ndjson", table)], item_columns()
    )
    template = model(
        "embedding",
        {"text": [{"field": name, "label": name} for name in ("name", "tags")]},
    ).text
    found = render_texts(read.frame.collect(), ["a", "b", "none"], template)
    assert found.rows() == [
        ("a", "name: Soap. tags: x, y.", True),
        ("b", "b", True),
        ("none", "none", False),
    ]
    with pytest.raises(SidiffError, match=r"no field colour \(title, .*, name, tags\)"):
        render_texts(
            read.frame.collect(),
            ["a"],
            model("embedding", {"text": [{"field": "colour", "label": ""}]}).text,
        )


def test_the_first_row_of_an_item_counts_and_one_without_id_is_set_aside(
    tmp_path: Path,
) -> None:
    table = {"sku": ["a", None, "b", "a"], "title": ["1", "2", "3", "4"]}
    paths = [write(tmp_path / name, table) for name in ("a.csv", "b.ndjson")]
    read = own_data.ingest_items(paths, item_columns())
    assert read.frame.collect()["title"].to_list() == ["1", "3"]
    assert (read.lines, read.rows, read.duplicates, read.set_aside) == (8, 2, 4, 2)
    assert reasons(read) == {2: "no text in sku"}


@pytest.mark.parametrize("name", ["i.parquet", "i.csv", "i.ndjson"])
def test_a_megabyte_of_title_and_odd_ids(tmp_path: Path, name: str) -> None:
    title = 'Crème, "brûlée"\n' * 70_000
    assert len(title.encode()) > 2**20
    table = {"sku": ODD_IDS, "title": [title] * len(ODD_IDS)}
    read = own_data.ingest_items([write(tmp_path / name, table)], item_columns())
    frame = read.frame.collect()
    assert frame["item_id"].to_list() == BARE_IDS
    assert frame["title"].to_list() == table["title"]
    assert read.set_aside == 0


@pytest.mark.real_data
def test_the_amazon_layouts_are_such_tables(real_data: Path) -> None:
    folder = real_data / "amazon2018_gift_cards"
    log, shelf = folder / "Gift_Cards_5.json.gz", folder / "meta_Gift_Cards.json.gz"
    preset = ingest_reviews(log, "amazon2018")
    mapped = ingest(
        log,
        user="reviewerID",
        item="asin",
        timestamp="unixReviewTime",
        rating="overall",
    )
    assert mapped.frame.collect().equals(preset.frame.collect())
    assert mapped.lines == preset.lines
    names = {"categories": "category", "features": "feature"}
    items = own_data.ingest_items([shelf], ItemColumns(item="asin", fields=names))
    expected = ingest_items(shelf, "amazon2018")
    frame = expected.frame.collect()
    assert items.frame.collect().select(frame.columns).equals(frame)
    assert (items.lines, items.duplicates) == (expected.lines, expected.duplicates)
