"""Whatever a raw file holds, reading it ends, in rows or in one sentence."""

from __future__ import annotations

import gzip
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sidiff.errors import SidiffError
from sidiff.reviews import own_data
from sidiff.reviews.ingestion import Ingested, ingest_items, ingest_reviews
from sidiff.reviews.settings import InteractionColumns, ItemColumns

pytestmark = pytest.mark.timeout(300)

LAYOUTS = ["amazon2014", "amazon2018", "amazon2023"]
LOG = InteractionColumns(
    user="asin", item="a b", timestamp="t'", time_unit="s", rating="price"
)
SHELF = ItemColumns(item="asin", fields={"title": "a b"})
KEYS = st.sampled_from(
    [
        *("reviewerID", "asin", "unixReviewTime", "overall", "user_id", "parent_asin"),
        *("timestamp", "title", "price", "categories", "details", "a b", "t'"),
    ]
)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["\ud83d", "1e400", "$1,000", "9" * 400, "2020-01-01", "\0"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3)
    ),
    max_leaves=6,
)
ROWS = st.dictionaries(KEYS, VALUES, max_size=7)
# What Python would act on, had it been evaluated rather than parsed.
CODE = st.text(st.sampled_from("()[]{}'\"\\,:=.*+-~ \tx1jfb#@;e_"), max_size=30)
CALLS = st.sampled_from(
    [
        "{'asin': __import__('os').system('true')}",
        "{'asin': open('trace', 'w')}",
        "{'asin': (lambda: 1)()}",
        "{'asin': f'{exec(\"1\")}'}",
        "{'asin': [x for x in range(9**9)]}",
        "{'asin': 9**9**9}",
        "(" * 90 + ")" * 90,
        "{'a':" * 90,
        "[" * 5000,
        '{"asin": ' * 5000,
        "- " * 3000 + "1",
        "1" * 5000,
    ]
)


def spoil(parts: tuple[bytes, int, bytes]) -> bytes:
    line, place, new = parts
    place %= len(line) + 1
    return line[:place] + new + line[place + len(new) :]


SPELT = ROWS.map(lambda row: json.dumps(row).encode()) | ROWS.map(
    lambda row: repr(row).encode(errors="surrogatepass")
)
LINES = (
    SPELT
    | (CODE | CALLS).map(str.encode)
    | st.binary(max_size=30)
    | st.tuples(SPELT, st.integers(0, 200), st.binary(min_size=1, max_size=2)).map(
        spoil
    )
)
FILES = st.lists(LINES, max_size=8).map(b"\n".join)
TABLES = st.builds(
    lambda header, body: header + b"\n" + body,
    st.sampled_from([b"asin,a b,t'", b"asin;a b;t';price", b"asin,a b,a b", b'"as']),
    st.lists(
        st.lists(
            st.sampled_from([b"u", b"", b'"', b'"a,b"', b'"a""\nb"', b"9", b"\xff"])
            | st.binary(max_size=6),
            max_size=5,
        ).map(b",".join),
        max_size=6,
    ).map(b"\n".join)
    | FILES,
)

watched: list[str] | None = None


def watch(event: str, arguments: tuple[object, ...]) -> None:
    if watched is not None and event.split(".", maxsplit=1)[0] in (
        *("exec", "subprocess", "socket", "ctypes", "pickle", "shutil"),
    ):
        watched.append(event)
    if watched is not None and event.startswith(("os.system", "os.exec", "os.remove")):
        watched.append(event)


# Cannot be taken back, so it looks on only when it is asked to.
sys.addaudithook(watch)


@contextmanager
def nothing_runs() -> Iterator[None]:
    global watched  # noqa: PLW0603
    watched = []
    try:
        yield
        assert watched == []
    finally:
        watched = None


def outcome(
    path: Path, read: Callable[[Path], Ingested]
) -> tuple[Ingested, pl.DataFrame] | str:
    """What reading the file gives, or the sentence that refuses it."""
    try:
        found = read(path)
        return found, found.frame.collect()
    except SidiffError as error:
        return str(error)


def survives(name: str, content: bytes, read: Callable[[Path], Ingested]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(content)
        with nothing_runs():
            result = outcome(path, read)
    if isinstance(result, str):
        assert result.endswith(".")
        assert "\n" not in result
        return
    found, rows = result
    assert len(rows) == found.rows
    assert found.lines == found.rows + found.set_aside + found.duplicates
    assert not rows["item_id"].has_nulls()
    assert (rows["item_id"] != "").all()


@pytest.fixture(scope="module", autouse=True)
def warm(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What libraries import at their first use is not what is looked for."""
    line = {"asin": "a", "a b": "i", "t'": "1", "unixReviewTime": 1, "reviewerID": "u"}
    text = json.dumps(line).encode()
    for name, content in (
        ("f.json", text),
        ("f.csv", b"asin,a b,t'\n1,2,3"),
        ("f.csv", b"asin,a b,t',price\n1,2,3,4"),
        ("f.csv", b"asin,a b,t',price\n1,caf\xe9,3,4"),
        *(("f.csv", "asin,a b".encode(f"utf-16{end}")) for end in ("", "-le", "-be")),
        ("f.csv.gz", b"\x1f\x8b"),
    ):
        path = tmp_path_factory.mktemp("warm") / name
        path.write_bytes(content)
        outcome(path, lambda path: ingest_reviews(path, "amazon2014"))
        outcome(path, lambda path: ingest_items(path, "amazon2014"))
        outcome(path, lambda path: log([path]))
        outcome(path, lambda path: own_data.ingest_items([path], SHELF))


def log(paths: list[Path], columns: InteractionColumns = LOG) -> Ingested:
    return own_data.ingest_interactions(paths, columns, 10**9)


def test_the_watch_sees_what_runs() -> None:
    with pytest.raises(AssertionError), nothing_runs():
        eval("1")  # noqa: S307


@settings(max_examples=300)
@given(FILES, st.sampled_from(LAYOUTS), st.sampled_from([ingest_reviews, ingest_items]))
@example(b"{'asin': __import__('os').system('true')}", "amazon2014", ingest_items)
def test_any_file_of_an_amazon_layout(
    content: bytes, layout: str, read: Callable[[Path, str], Ingested]
) -> None:
    survives("raw", content, lambda path: read(path, layout))


@given(FILES, st.integers(0, 200), st.binary(min_size=1, max_size=2))
def test_any_archive(content: bytes, place: int, new: bytes) -> None:
    archive = spoil((gzip.compress(content, mtime=0), place, new))
    survives("raw.gz", archive, lambda path: ingest_items(path, "amazon2014"))
    for name in ("raw.json.gz", "raw.csv.gz"):
        survives(name, archive, lambda path: own_data.ingest_items([path], SHELF))


@settings(max_examples=200)
@given(FILES)
def test_any_file_of_lines(content: bytes) -> None:
    survives("raw.ndjson", content, lambda path: log([path]))
    survives("raw.ndjson", content, lambda path: own_data.ingest_items([path], SHELF))


@settings(max_examples=200)
@given(TABLES, st.booleans())
def test_any_file_of_fields(content: bytes, rated: bool) -> None:
    columns = LOG if rated else LOG.model_copy(update={"rating": None})
    survives("raw.csv", content, lambda path: log([path], columns))
    survives("raw.csv", content, lambda path: own_data.ingest_items([path], SHELF))
