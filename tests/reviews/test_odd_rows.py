"""Rows that could be read in two ways: as their owner meant them, or set aside."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import polars as pl
import pytest

from sidiff.errors import SidiffError
from sidiff.reviews import own_data
from sidiff.reviews.ingestion import Ingested
from sidiff.reviews.settings import InteractionColumns, ItemColumns

NOW, TIME = 1_800_000_000, 1_700_000_000
PROSE = "Nice, cheap\nred, small, round\nfor flowers, fruit, and more"


def log(path: Path, unit: str = "s") -> Ingested:
    columns = InteractionColumns(
        user="customer", item="sku", timestamp="at", time_unit=unit, rating=None
    )
    return own_data.ingest_interactions([path], columns, NOW)


def items(path: Path) -> Ingested:
    return own_data.ingest_items([path], ItemColumns(item="sku", fields={}))


def reasons(found: Ingested) -> dict[int, str]:
    return dict(found.rejected.select("line", "reason").iter_rows())


def events(count: int = 12) -> list[list[str]]:
    return [[f"c{n % 4}", f"{101 + n:05}", str(TIME + n)] for n in range(count)]


def lines(path: Path, rows: list[list[str]], separator: str = ",") -> Path:
    path.write_text("".join(separator.join(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("separator", [",", "\t", ";"])
def test_prose_of_as_many_fields_as_the_header(tmp_path: Path, separator: str) -> None:
    prose = PROSE.replace(", ", f"{separator} ")
    rows = [[f"{n:05}", str(3 + n / 4), "plain"] for n in range(9)]
    rows[4][2] = rows[7][2] = prose
    with (tmp_path / "items.csv").open("w", newline="") as file:
        writer = csv.writer(file, delimiter=separator)
        writer.writerows([["sku", "price", "description"], *rows])
    found = items(tmp_path / "items.csv")
    assert found.rejected.is_empty()
    frame = found.frame.collect()
    assert frame["item_id"].to_list() == [row[0] for row in rows]
    assert frame["description"].to_list() == [row[2] for row in rows]


@pytest.mark.parametrize("separator", [",", "\t"])
def test_two_stray_marks_far_apart(tmp_path: Path, separator: str) -> None:
    rows = [[*row, "fine"] for row in events()]
    rows[3][3], rows[8][3] = '"best vase ever', 'shelf of 27"'
    path = lines(
        tmp_path / "log.tsv", [["customer", "sku", "at", "note"], *rows], separator
    )
    found = log(path)
    assert found.rows == len(rows)
    assert found.frame.collect()["item_id"].to_list() == [row[1] for row in rows]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_rows_of_nothing_are_blank(
    tmp_path: Path, encoding: str, separator: str
) -> None:
    rows = [*events(), ["", "", ""], ["cé", "00101", str(TIME)]]
    text = "".join(
        separator.join(row) + "\n" for row in [["customer", "sku", "at"], *rows]
    )
    (tmp_path / "log.csv").write_bytes(text.encode(encoding))
    found = log(tmp_path / "log.csv")
    assert (found.rows, found.set_aside) == (13, 0)


@pytest.mark.parametrize(
    "header",
    [
        "customer,sku,at",
        "CUSTOMER,Sku,AT",
        "\ufeffcustomer,sku,at",
        '"customer", sku ,at',
    ],
)
def test_a_header_within_the_file(tmp_path: Path, header: str) -> None:
    path = lines(tmp_path / "log.csv", [["customer", "sku", "at"], *events(6)])
    with path.open("a") as file:
        file.write(f"{header}\nc9,00101,{TIME}\n")
    found = log(path)
    assert (found.rows, found.set_aside) == (7, 1)


@pytest.mark.parametrize("header", ["sku,name", "SKU,Name", "\ufeffsku,name"])
def test_a_header_within_the_items(tmp_path: Path, header: str) -> None:
    path = lines(tmp_path / "items.csv", [["sku", "name"], ["1", "vase"], ["2", ""]])
    with path.open("a") as file:
        file.write(f"{header}\n3,tray\n")
    found = items(path)
    assert found.rows == 3
    assert list(reasons(found).values()) == ["the header again"]


def test_counters_are_times(tmp_path: Path) -> None:
    """A log that only numbers its events keeps its order."""
    rows = [["c", str(n), str(n)] for n in range(5)]
    found = log(lines(tmp_path / "log.csv", [["customer", "sku", "at"], *rows]))
    assert found.rows == 5


def test_a_column_without_times(tmp_path: Path) -> None:
    frame = pl.DataFrame({"customer": ["a"], "sku": ["b"], "at": [None]})
    frame.write_parquet(tmp_path / "log.parquet")
    with pytest.raises(SidiffError, match="has no value in any row: name the column"):
        log(tmp_path / "log.parquet")


def test_arrays_of_arrays(tmp_path: Path) -> None:
    (tmp_path / "items.json").write_text(json.dumps([[1, "vase"], [2, "tray"]]))
    with pytest.raises(SidiffError, match="no objects with named fields: give one"):
        items(tmp_path / "items.json")


def test_long_prices_are_counted(tmp_path: Path) -> None:
    price = "from 3 to " + "9" * 80
    rows = [["sku", "price"], ["1", "3.50"], ["2", price]]
    found = items(lines(tmp_path / "items.csv", rows))
    assert found.notes["prices_as_text"] == 1
    assert found.frame.collect()["price_text"].to_list() == [None, price]


@pytest.mark.parametrize(
    "odd", ["c1\t00101\t\\N\tfine", "guest user\t00101\t{time}\tx", ""]
)
def test_an_odd_row_between_two_stray_marks(tmp_path: Path, odd: str) -> None:
    rows = [[*row, "fine"] for row in events(60)]
    rows[9][3], rows[45][3] = '"best vase ever', 'shelf of 27"'
    path = lines(tmp_path / "log.tsv", [["customer", "sku", "at", "note"], *rows], "\t")
    text = path.read_text().splitlines()
    text.insert(30, odd.format(time=TIME))
    path.write_text("\n".join(text) + "\n")
    found = log(path)
    assert found.rows + found.set_aside == 60 + bool(odd)
    assert set(found.frame.collect()["item_id"]) == {row[1] for row in rows}


def test_pieces_of_a_text_are_no_items(tmp_path: Path) -> None:
    rows = [[f"{n:05}", "vase", "plain"] for n in range(24)]
    for n in (3, 9, 15):
        rows[n][2] = "of clay\nDishwasher safe"
    path = lines(tmp_path / "items.tsv", [["sku", "name", "text"], *rows], "\t")
    with path.open("a") as file:
        file.write("(24 rows)\n")
    found = items(path)
    assert set(reasons(found).values()) <= {
        "fewer than 3 fields",
        "fewer than 3 fields, torn by a line break",
    }
    assert found.set_aside >= 4
    assert all(item.isdigit() for item in found.frame.collect()["item_id"])


@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
def test_texts_of_several_lines_are_whole(tmp_path: Path, quoting: int) -> None:
    texts = [
        "Please note, colours may vary.\n\nSize: 20 cm, high",
        "Of clay, red\nfrom Delft, blue",
        "plain",
        'A "vase", two\nhandles, no lid',
    ]
    rows = [[str(n), texts[n % 4] + f" {n}"] for n in range(200)]
    with (tmp_path / "items.csv").open("w", newline="") as file:
        writer = csv.writer(file, quoting=quoting)  # type: ignore[arg-type]
        writer.writerows([["sku", "description"], *rows])
    found = items(tmp_path / "items.csv")
    frame = found.frame.collect()
    assert found.set_aside == 0
    assert frame["description"].to_list() == [row[1] for row in rows]


def test_items_named_like_columns(tmp_path: Path) -> None:
    rows = [["sku", "name"], ["name", "Colour"], ["colour", ""]]
    assert items(lines(tmp_path / "items.csv", rows)).rows == 2


def test_bytes_that_are_no_text_are_set_aside(tmp_path: Path) -> None:
    frame = pl.DataFrame(
        {"customer": [b"a", b"b"], "sku": [b"\xff\xfe", b"2"], "at": [TIME, TIME]}
    )
    frame.write_parquet(tmp_path / "log.parquet")
    found = log(tmp_path / "log.parquet")
    assert (found.rows, found.set_aside) == (1, 1)


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "log.parquet").mkdir()
    with pytest.raises(SidiffError, match="is a folder: name the files in it"):
        log(tmp_path / "log.parquet")


@pytest.mark.parametrize(
    ("odd", "reason"),
    [
        ("9,vase, blue,5,", "more than 4 fields"),
        ("9,vase,5,red,", "more than 4 fields"),
        ("1,9,vase,5,red", "more than 4 fields"),
        ("9,vase,red", "fewer than 4 fields"),
        ("9", "fewer than 4 fields"),
        ("# exported today", "fewer than 4 fields"),
    ],
)
def test_a_row_of_another_length_shifts_nothing(
    tmp_path: Path, odd: str, reason: str
) -> None:
    rows = [["sku", "name", "price", "colour"], ["1", "tray", "3", "red"]]
    rows += [[str(n), "vase", "5", ""] for n in range(2, 9)]
    path = lines(tmp_path / "items.csv", rows)
    with path.open("a") as file:
        file.write(odd + "\n")
    found = items(path)
    assert reasons(found) == {9: reason}
    assert found.frame.collect()["item_id"].to_list() == [row[0] for row in rows[1:]]


@pytest.mark.parametrize(
    ("first", "last", "said"),
    [
        ("# exported today\n", "", "has no column sku, it has # exported today"),
        ("sep=,\n", "", "has no column sku, it has sep="),
        ("", ",", "more than 3 fields"),
        ("", ", blue", "more than 3 fields"),
    ],
)
def test_a_file_whose_rows_do_not_match_its_header_is_refused(
    tmp_path: Path, first: str, last: str, said: str
) -> None:
    rows = "".join(f"{n},vase,5{last}\n" for n in range(9))
    (tmp_path / "items.csv").write_text(f"{first}sku,name,price\n{rows}")
    with pytest.raises(SidiffError, match=said):
        items(tmp_path / "items.csv")


def test_columns_that_change_their_places_are_refused(tmp_path: Path) -> None:
    path = lines(tmp_path / "log.csv", [["customer", "sku", "at"], *events(6)])
    with path.open("a") as file:
        file.write(f"at,customer,sku\n{TIME},c9,00101\n")
    with pytest.raises(SidiffError, match=r"another order \(row 7\): split the file"):
        log(path)
    path = lines(tmp_path / "items.csv", [["sku", "name"], ["1", "vase"]])
    with path.open("a") as file:
        file.write("name,sku\ntray,2\n")
    with pytest.raises(SidiffError, match=r"another order \(row 2\): split the file"):
        items(path)
