"""Delimited text and JSON of any writer: rows come back whole, or are counted."""

from __future__ import annotations

import csv
import gzip
import io
import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from sidiff.errors import SidiffError
from sidiff.reviews import own_data
from sidiff.reviews.ingestion import Ingested
from sidiff.reviews.settings import InteractionColumns, ItemColumns
from sidiff.reviews.values import NOTHING

NOW, TIME = 1_800_000_000, 1_700_000_000
LOG = InteractionColumns(
    user="customer", item="sku", timestamp="at", time_unit="s", rating=None
)
SHELF = ItemColumns(item="sku", fields={})
NAMES = ["sku", "name", "note", "at"]

WORDS = st.text(
    st.sampled_from("abc é,;|\t\"'\\\n 寿<") | st.characters(codec="utf-8"),
    max_size=12,
).map(lambda text: text.strip().replace("\r", "").replace("\x00", ""))
TEXTS = WORDS.filter(lambda text: text not in NOTHING and text[:1] not in tuple("[({"))
TABLES = st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=8)

Dialect = dict[str, Any]
DIALECTS: list[Dialect] = [
    {"delimiter": delimiter, "quoting": quoting, "lineterminator": end}
    for delimiter in ",;|\t"
    for quoting in (csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC)
    for end in ("\n", "\r\n")
]


def table(texts: Sequence[tuple[str, str]]) -> list[list[str]]:
    return [[f"i{n}", *pair, str(TIME + n)] for n, pair in enumerate(texts)]


def items(path: Path) -> Ingested:
    return own_data.ingest_items([path], SHELF)


def log(path: Path) -> Ingested:
    return own_data.ingest_interactions([path], LOG, NOW)


def read(name: str, content: bytes) -> tuple[Ingested, dict[str, tuple[str, str]]]:
    """Items by id: name and note."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(content)
        found = items(path)
    frame = found.frame.collect()
    rows = frame.select(
        pl.col("item_id", *(name for name in ("name", "note") if name in frame.columns))
    )
    return found, {row[0]: tuple(row[1:]) for row in rows.iter_rows()}


def come_back(name: str, content: bytes, rows: Sequence[Sequence[str]]) -> None:
    """Every row as it was written."""
    found, texts = read(name, content)
    assert found.set_aside == 0, found.rejected
    assert texts == {row[0]: (row[1], row[2]) for row in rows}
    adds_up(found)


def are_counted(name: str, content: bytes, rows: Sequence[Sequence[str]]) -> None:
    """Every row that is there is as it was written; the others are set aside."""
    try:
        found, texts = read(name, content)
    except SidiffError:
        return
    wanted = {row[0]: (row[1], row[2]) for row in rows}
    missing = wanted.keys() - texts.keys()
    assert {name: texts[name] for name in wanted if name in texts} == {
        name: wanted[name] for name in wanted if name not in missing
    }
    assert found.set_aside >= len(missing)
    adds_up(found)


def adds_up(found: Ingested) -> None:
    assert found.lines == (found.rows + found.set_aside + found.duplicates)


def written(rows: Sequence[Sequence[str]], **dialect: Any) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, **dialect)
    writer.writerows([NAMES, *rows])
    return text.getvalue().encode()


def raw(rows: Sequence[Sequence[str]], separator: str = "\t") -> bytes:
    """As awk, Hive and database clients write it."""
    lines = [separator.join(row) for row in [NAMES, *rows]]
    return ("\n".join(lines) + "\n").encode()


@settings(max_examples=150, deadline=None)
@given(TABLES, st.sampled_from(DIALECTS))
@example([('27"', 'a "b" c')], DIALECTS[0])
@example([("line\nbreak", "x\ny\nz")], DIALECTS[0])
@example([('"', '""'), ("\\", '\\"')], DIALECTS[4])
def test_the_csv_module(texts: list[tuple[str, str]], dialect: Dialect) -> None:
    rows = table(texts)
    come_back("items.csv", written(rows, **dialect), rows)


@settings(max_examples=60, deadline=None)
@given(TABLES, st.sampled_from(",;|\t"), st.booleans())
def test_the_csv_module_with_escapes(
    texts: list[tuple[str, str]], delimiter: str, quoted: bool
) -> None:
    """A backslash before whatever has a meaning; two of them are one only if told."""
    assume(not any("\\" in text or "\n" in text for pair in texts for text in pair))
    quoting = csv.QUOTE_ALL if quoted else csv.QUOTE_NONE
    rows = table(texts)
    content = written(
        rows,
        delimiter=delimiter,
        quoting=quoting,
        escapechar="\\",
        doublequote=False,
        lineterminator="\n",
    )
    come_back("items.csv", content, rows)


@settings(max_examples=60, deadline=None)
@given(TABLES, st.sampled_from(",;|\t"), st.sampled_from([0, 1]))
def test_pandas(texts: list[tuple[str, str]], separator: str, quoting: int) -> None:
    rows = table(texts)
    frame = pd.DataFrame(rows, columns=NAMES)
    content = frame.to_csv(
        sep=separator, index=False, quoting=quoting, lineterminator="\n"
    )
    come_back("items.csv", content.encode(), rows)
    lines = frame.to_json(orient="records", lines=True)
    come_back("items.jsonl", lines.encode(), rows)
    come_back("items.json", frame.to_json(orient="records").encode(), rows)
    indented = frame.to_json(orient="records", indent=2)
    come_back("items.json", indented.encode(), rows)


@settings(max_examples=60, deadline=None)
@given(
    TABLES,
    st.sampled_from(",;|\t"),
    st.sampled_from(["necessary", "always", "non_numeric"]),
)
def test_polars(texts: list[tuple[str, str]], separator: str, quoting: Any) -> None:
    rows = table(texts)
    frame = pl.DataFrame(rows, schema=NAMES, orient="row")
    content = frame.write_csv(separator=separator, quote_style=quoting)
    come_back("items.csv", content.encode(), rows)
    come_back("items.ndjson", frame.write_ndjson().encode(), rows)
    parquet = io.BytesIO()
    frame.write_parquet(parquet)
    come_back("items.parquet", parquet.getvalue(), rows)


MARKED = (
    st.text(st.sampled_from('ab é"'), min_size=1, max_size=8)
    .map(str.strip)
    .filter(lambda text: text and not (text[0] == text[-1] == '"'))
)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(MARKED, MARKED), min_size=1, max_size=8),
    st.sampled_from("\t;|,"),
)
@example([('"best vase ever', "x"), ("y", 'shelf of 27"')], "\t")
@example([('"Grandma" vase', "x")], "\t")
def test_raw_text_with_stray_marks(
    texts: list[tuple[str, str]], separator: str
) -> None:
    """Only marks around a whole field cannot be told from quoting."""
    rows = table(texts)
    try:
        found, back = read("items.tsv", raw(rows, separator))
    except SidiffError as error:
        # The one line that there is may have been cut off.
        assert len(rows) == 1 and separator != "\t"  # noqa: PT018
        assert "does not end" in str(error)  # noqa: PT017
        return
    adds_up(found)
    assert len(back) == found.rows
    assert len(back) + found.set_aside == len(rows)
    assert found.set_aside <= 1
    for name, pair in back.items():
        assert list(pair) == rows[int(name[1:])][1:3]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(TEXTS, TEXTS).filter(
            lambda pair: not any(letter in "".join(pair) for letter in '\t"\\')
        ),
        min_size=2,
        max_size=8,
    )
)
def test_raw_text_with_line_breaks(texts: list[tuple[str, str]]) -> None:
    """What a line break has torn is set aside, and no half of it is an item."""
    rows = table(texts)
    are_counted("items.tsv", raw(rows), rows)


def test_a_row_torn_twice_is_no_row_that_lacks_its_last_field() -> None:
    rows = table([("0", "0"), ("0", "0"), ("0", "0"), ("0", "0\n0\n0")])
    are_counted("items.tsv", raw(rows), rows)


STRAY: list[tuple[str, Callable[[int], str]]] = [
    ("one begins, one ends", lambda n: {3: '"best', 17: '27"'}.get(n, "fine")),
    ("next to each other", lambda n: {3: '"best', 4: '27"'}.get(n, "fine")),
    ("only one begins", lambda n: '"best' if n == 3 else "fine"),
    ("a word", lambda n: '"Grandma" vase' if n == 3 else "fine"),
    ("inches", lambda n: f'{n}" tray'),
    ("doubled inches", lambda n: f'{n}"" tray'),
    ("all begin", lambda n: f'"vase {n}'),
]


@pytest.mark.parametrize("separator", ["\t", ",", ";", "|", "\x01"])
@pytest.mark.parametrize(("kind", "note"), STRAY, ids=[kind for kind, _ in STRAY])
def test_a_stray_mark_swallows_nothing(
    tmp_path: Path, separator: str, kind: str, note: Callable[[int], str]
) -> None:
    header = separator.join(["customer", "sku", "at", "note"])
    lines = [
        separator.join([f"c{n % 5}", f"i{n % 7}", str(TIME + n), note(n)])
        for n in range(40)
    ]
    path = tmp_path / "log.txt"
    path.write_text("\n".join([header, *lines]) + "\n")
    found = log(path)
    assert (found.lines, found.rows, found.set_aside) == (40, 40, 0)
    shelf = tmp_path / "items.txt"
    rows = [separator.join([f"i{n}", note(n), "x"]) for n in range(40)]
    shelf.write_text("\n".join([separator.join(["sku", "name", "z"]), *rows]) + "\n")
    read_items = items(shelf)
    assert read_items.frame.collect()["name"].to_list() == [note(n) for n in range(40)]


def test_a_cut_last_line_may_have_more_fields(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text(f'customer,sku,at\nc,i,{TIME}\nd,j,{TIME},x,"cut')
    found = log(path)
    assert (found.lines, found.rows, found.set_aside) == (2, 1, 1)
    assert found.rejected["reason"].to_list() == ["a quoted field that does not end"]


def test_quotes_that_are_not_doubled(tmp_path: Path) -> None:
    path = tmp_path / "items.csv"
    path.write_text('"sku","name","z"\n"1","27" tray","x"\n"2","a, b","x"\n')
    assert items(path).frame.collect()["name"].to_list() == ['27" tray', "a, b"]


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("1\tsmall\\\tvase\t9", "small\tvase"),
        ("1\tsmall\\\nvase\t9", "small\nvase"),
        ("1\t\\N\t9", None),
        ("1\tNULL\t9", None),
    ],
)
def test_mysql_escapes(tmp_path: Path, line: str, name: str | None) -> None:
    path = tmp_path / "items.tsv"
    path.write_text(f"sku\tname\tz\n{line}\n2\tb\t9\n")
    frame = items(path).frame.collect()
    assert frame["item_id"].to_list() == ["1", "2"]
    assert frame["name"].to_list() == [name, "b"]


@pytest.mark.parametrize(
    "header",
    [
        "customer, sku , at",
        '"customer","sku","at"',
        ' customer,"sku",at ',
        '"customer" , "sku" , "at"',
        "\ufeffcustomer,sku,at",
    ],
)
def test_names_in_the_header(tmp_path: Path, header: str) -> None:
    path = tmp_path / "log.csv"
    path.write_text(f"{header}\nc,i,{TIME}\n", encoding="utf-8")
    assert log(path).frame.collect().row(0) == ("c", "i", TIME, 0, None)


def test_a_quoted_name_with_the_separator(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text(f'"note; long, very",customer,sku,at\n"a, b",c,i,{TIME}\n')
    assert log(path).frame.collect().row(0) == ("c", "i", TIME, 0, None)


@pytest.mark.parametrize("quote", ["", '"'])
def test_a_header_inside_the_file_is_set_aside(tmp_path: Path, quote: str) -> None:
    header = ",".join(f"{quote}{name}{quote}" for name in ("customer", "sku", "at"))
    path = tmp_path / "log.csv"
    path.write_text(f"{header}\nc,i,{TIME}\n{header}\nd,j,{TIME}\n{header}\n")
    found = log(path)
    assert (found.lines, found.rows, found.set_aside) == (4, 2, 2)
    shelf = items(path)
    assert (shelf.lines, shelf.rows, shelf.set_aside) == (4, 2, 2)


def test_a_line_without_end_is_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text(f"customer,sku,at\nc,i,{TIME}\nd,{'j' * 2**25},{TIME}\n")
    found = log(path)
    assert (found.lines, found.rows) == (2, 1)
    assert found.rejected["reason"].to_list() == ["longer than 16,777,216 bytes"]


ACCENTS = "sku;name;at\n" + "".join(
    f"{n};Théière brûlée à 5 € “belle” ½ {n};9\n" for n in range(9)
)


@pytest.mark.parametrize(
    "encoding",
    ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"],
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("packed", [False, True])
def test_encodings_are_told(
    tmp_path: Path, encoding: str, end: str, packed: bool
) -> None:
    content = ACCENTS.replace("\n", end).encode(encoding)
    path = tmp_path / ("items.csv.gz" if packed else "items.csv")
    path.write_bytes(gzip.compress(content) if packed else content)
    found = items(path)
    assert found.frame.collect()["name"].to_list() == [
        f"Théière brûlée à 5 € “belle” ½ {n}" for n in range(9)
    ]
    assert found.set_aside == 0


@pytest.mark.parametrize(
    ("encoding", "word"),
    [
        ("cp1252", "Théière"),
        ("latin-1", "Théière"),
        ("cp850", "Théière"),
        ("mac_roman", "Théière"),
        ("cp1250", "Żółta"),
        ("cp1251", "ваза"),
        ("shift-jis", "日本語"),
        ("gb18030", "日本語"),
    ],
)
def test_lines_of_other_encodings_are_set_aside(
    tmp_path: Path, encoding: str, word: str
) -> None:
    path = tmp_path / "items.csv"
    path.write_bytes(f"sku,name\n1,{word} {word}\n2,plain\n".encode(encoding))
    found = items(path)
    assert (found.rows, found.set_aside) == (1, 1)
    assert found.rejected["reason"].to_list() == ["not UTF-8 text"]


def test_bytes_of_two_encodings_are_set_aside_line_by_line(tmp_path: Path) -> None:
    path = tmp_path / "items.csv"
    path.write_bytes("sku,name\n1,Thé\n2,Café\n".encode() + "3,Thé\n".encode("cp1252"))
    found = items(path)
    assert found.frame.collect()["name"].to_list() == ["Thé", "Café"]
    assert found.rejected.select("line", "text").row(0) == (3, "3,Th\ufffd")


OBJECTS = [
    {"customer": f"c{n}", "sku": f"i{n}", "at": TIME + n, "note": "}{,\n[" * n}
    for n in range(5)
]
JSON_FORMS = {
    "lines": "\n".join(map(json.dumps, OBJECTS)),
    "commas": ",\n".join(map(json.dumps, OBJECTS)),
    "one line": "".join(map(json.dumps, OBJECTS)),
    "two a line": json.dumps(OBJECTS[0])
    + "\n"
    + " ".join(map(json.dumps, OBJECTS[1:3]))
    + "\n"
    + "".join(map(json.dumps, OBJECTS[3:])),
    "array": json.dumps(OBJECTS),
    "array of lines": "[\n" + ",\n".join(map(json.dumps, OBJECTS)) + "\n]\n",
    "indented array": json.dumps(OBJECTS, indent=2),
    "indented objects": "\n".join(json.dumps(row, indent=2) for row in OBJECTS),
    "arrays": json.dumps(OBJECTS[:2]) + "\n" + json.dumps(OBJECTS[2:]),
}


@pytest.mark.parametrize("form", JSON_FORMS)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_objects_of_any_form(tmp_path: Path, form: str, encoding: str) -> None:
    path = tmp_path / "log.json"
    path.write_bytes(JSON_FORMS[form].encode(encoding))
    found = log(path)
    rows = [(f"c{n}", f"i{n}", TIME + n, 0, None) for n in range(5)]
    assert found.frame.collect().rows() == rows
    assert (found.lines, found.set_aside) == (5, 0)
    assert items(path).frame.collect()["item_id"].to_list() == [r[1] for r in rows]


@pytest.mark.parametrize("indent", [None, 1])
def test_an_array_larger_than_what_is_looked_at(
    tmp_path: Path, indent: int | None
) -> None:
    rows = [{"sku": f"i{n}", "name": "x" * 3000, "tags": ["a", {}]} for n in range(99)]
    rows[50]["name"] = "y" * 2**18
    path = tmp_path / "items.json"
    path.write_text(json.dumps(rows, indent=indent))
    frame = items(path).frame.collect()
    assert frame["item_id"].to_list() == [f"i{n}" for n in range(99)]
    assert frame["name"].str.len_chars().sum() == 98 * 3000 + 2**18


@pytest.mark.parametrize(
    ("text", "objects"),
    [
        ('[{"sku":"a"},{"sku":b},{"sku":"c"}]', 1),
        ('[{"sku":"a"},\n{"sku":"b"},\n{"sku":"c', 2),
        ('{\n"sku": "a"\n}\n{\n"sku": "b"\n', 1),
        ('[{"sku":' + "[" * 99_999, 0),
    ],
)
def test_a_damaged_document_is_refused(tmp_path: Path, text: str, objects: int) -> None:
    path = tmp_path / "items.json"
    path.write_text(text)
    with pytest.raises(SidiffError, match=f"is damaged after {objects} objects"):
        items(path)


def test_a_key_that_comes_late(tmp_path: Path) -> None:
    path = tmp_path / "items.ndjson"
    rows: list[dict[str, Any]] = [{"sku": f"x{n}"} for n in range(6000)]
    rows[-1] |= {"colour": "red", "customer": "c", "at": TIME}
    path.write_text("\n".join(map(json.dumps, rows)))
    assert items(path).frame.collect()["colour"].drop_nulls().to_list() == ["red"]
    found = log(path)
    assert (found.rows, found.set_aside) == (1, 5999)
    assert found.rejected["text"][0] == '{"sku": "x0"}'


def test_nan_is_nothing(tmp_path: Path) -> None:
    path = tmp_path / "log.ndjson"
    path.write_text(
        f'{{"customer":"c","sku":"i","at":{TIME},"stars":NaN}}\n'
        f'{{"customer":"c","sku":"j","at":{TIME},"stars":-Infinity}}\n'
        f'{{"customer":NaN,"sku":"j","at":{TIME},"stars":4}}\n'
    )
    rated = LOG.model_copy(update={"rating": "stars"})
    found = own_data.ingest_interactions([path], rated, NOW)
    assert found.frame.collect()["rating"].to_list() == [None, None]
    assert found.set_aside == 1
    assert found.rejected["text"][0].startswith('{"customer":NaN')
