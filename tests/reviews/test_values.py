"""Ids, times, numbers and words: one rule each, whatever wrote them."""

from __future__ import annotations

import csv
import io
import json
import tempfile
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidiff.errors import SidiffError
from sidiff.reviews import own_data
from sidiff.reviews.ingestion import Ingested
from sidiff.reviews.matching import check_matching
from sidiff.reviews.numbers import read_numbers
from sidiff.reviews.settings import InteractionColumns, ItemColumns, TextFieldParameters
from sidiff.reviews.text import render_texts
from sidiff.reviews.times import read_iso
from sidiff.reviews.values import NOTHING, words

NOW, TIME = 1_800_000_000, 1_700_000_000
LONG = 12_345_678_901_234_567_890_123


def log(path: Path, unit: str = "s", rating: str | None = None) -> Ingested:
    columns = InteractionColumns.model_validate(
        {"user": "u", "item": "i", "timestamp": "t", "time_unit": unit}
        | {"rating": rating}
    )
    return own_data.ingest_interactions([path], columns, NOW)


def shelf(path: Path) -> Ingested:
    return own_data.ingest_items([path], ItemColumns(item="i", fields={}))


def spelt(folder: Path, form: str, ids: list[Any]) -> Path:
    """A table whose ids have the type or the spelling of ``form``."""
    table: dict[str, Any] = {"u": ["x"] * len(ids), "t": [TIME] * len(ids)}
    columns = {
        "int": lambda: pl.Series(ids, dtype=pl.Int64),
        "float": lambda: pl.Series(ids, dtype=pl.Float64),
        "decimal": lambda: pl.Series(map(Decimal, ids), dtype=pl.Decimal(38, 2)),
        "text": lambda: pl.Series(map(str, ids)),
        "binary": lambda: pl.Series(map(str, ids)).cast(pl.Binary),
        "category": lambda: pl.Series(map(str, ids), dtype=pl.Categorical),
        "padded": lambda: pl.Series([f" {name}\t" for name in ids]),
    }
    if form in columns:
        path = folder / f"{form}.parquet"
        pl.DataFrame(table | {"i": columns[form]()}).write_parquet(path)
        return path
    written = {
        "json int": lambda name: name,
        "json float": float,
        "json text": str,
        "json oid": lambda name: {"$oid": str(name)},
        "json long": lambda name: {"$numberLong": str(name)},
        "csv": str,
        "csv float": lambda name: f"{name}.0",
        "csv padded": lambda name: f"  {name} ",
    }[form]
    values = [written(name) for name in ids]
    if form.startswith("json"):
        path = folder / f"{form}.ndjson"
        rows = [{"u": "x", "t": TIME, "i": value} for value in values]
        path.write_text("\n".join(map(json.dumps, rows)))
        return path
    path = folder / f"{form}.csv"
    text = io.StringIO()
    csv.writer(text).writerows([["u", "t", "i"], *(["x", TIME, v] for v in values)])
    path.write_text(text.getvalue())
    return path


FORMS = [
    *("int", "float", "decimal", "text", "binary", "category", "padded"),
    *("json int", "json float", "json text", "json oid", "json long"),
    *("csv", "csv float", "csv padded"),
]
NUMBERS = st.lists(st.integers(-(2**53) + 1, 2**53 - 1), min_size=1, max_size=5)


@settings(max_examples=60, deadline=None)
@given(NUMBERS, st.sampled_from(FORMS), st.sampled_from(FORMS))
def test_ids_are_the_same_in_any_two_tables(
    ids: list[int], one: str, other: str
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        found = log(spelt(folder, one, ids)).frame.collect()["item_id"].to_list()
        items = shelf(spelt(folder, other, ids))
    expected = [str(number) for number in ids]
    assert found == expected
    assert items.frame.collect()["item_id"].to_list() == list(dict.fromkeys(expected))


@pytest.mark.parametrize("form", ["text", "json text", "csv", "json int"])
def test_all_digits_and_zeros_of_an_id_stay(tmp_path: Path, form: str) -> None:
    ids: list[Any] = [LONG, LONG + 1]
    if form != "json int":
        ids += ["00137", "0", "-0.50", "1e5", "1.2.0"]
    path = spelt(tmp_path, form, ids)
    expected = [str(name) for name in ids]
    assert log(path).frame.collect()["item_id"].to_list() == expected
    assert shelf(path).frame.collect()["item_id"].to_list() == expected


@pytest.mark.parametrize(
    "value",
    [
        *(None, True, False, [1], [], {}, {"a": 1}, {"$oid": None}, {"a": 1, "b": 2}),
        *(1.5, 1e300, float("nan"), float("inf"), 2.0**60, "", "  "),
        *NOTHING,
    ],
)
def test_what_is_no_id_is_set_aside(tmp_path: Path, value: Any) -> None:
    rows = [{"u": "x", "i": "a", "t": TIME}, {"u": "x", "i": value, "t": TIME}]
    path = tmp_path / "log.ndjson"
    path.write_text("\n".join(map(json.dumps, rows)))
    for found in (log(path), shelf(path)):
        assert (found.lines, found.rows, found.set_aside) == (2, 1, 1)
        assert found.rejected["text"][0] == json.dumps(rows[1])
    users = [row | {"u": value, "i": "a"} if n else row for n, row in enumerate(rows)]
    path.write_text("\n".join(map(json.dumps, users)))
    assert log(path).set_aside == 1


def test_floats_that_stand_for_several_ids_are_none(tmp_path: Path) -> None:
    for dtype, whole in ((pl.Float64, 2.0**53), (pl.Float32, 2.0**24)):
        path = tmp_path / "log.parquet"
        ids = pl.Series([whole - 1, whole], dtype=dtype)
        pl.DataFrame({"u": ids, "i": ids, "t": [TIME] * 2}).write_parquet(path)
        assert (log(path).rows, log(path).set_aside) == (1, 1)


def microseconds(moment: datetime) -> int:
    """Since 1970, exactly: a float of so many digits would round."""
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


@settings(max_examples=300, deadline=None)
@given(
    st.datetimes(datetime(1970, 1, 2), datetime(2099, 1, 1)),
    st.sampled_from(["calendar", "basic", "week", "ordinal"]),
    st.sampled_from(["T", "t", " "]),
    st.sampled_from(["", "h", "hm", "hms", "hms.", "hms,", "hm."]),
    st.one_of(
        st.sampled_from(["", "Z", "z", " UTC", "UTC", " GMT", "Z[Etc/UTC]"]),
        st.integers(-14 * 60, 14 * 60),
    ),
    st.sampled_from(["hh", "hhmm", "hh:mm"]),
)
def test_iso_times_of_any_form(
    moment: datetime, day: str, t: str, clock: str, zone: str | int, offset: str
) -> None:
    moment = moment.replace(microsecond=0)
    basic = day == "basic"
    if day == "week":
        year, week, weekday = moment.isocalendar()
        text = f"{year:04}-W{week:02}-{weekday}"
    else:
        form = {"calendar": "%Y-%m-%d", "basic": "%Y%m%d", "ordinal": "%Y-%j"}[day]
        text = moment.strftime(form)
    colon = "" if basic else ":"
    parts = [f"{moment.hour:02}", f"{moment.minute:02}", f"{moment.second:02}"]
    kept = len(clock.rstrip(".,"))
    moment = moment.replace(
        hour=moment.hour if kept else 0,
        minute=moment.minute if kept > 1 else 0,
        second=moment.second if kept > 2 else 0,
    )
    if kept:
        text += t + colon.join(parts[:kept])
        if clock[-1] in ".,":
            text += clock[-1] + ("25" if kept > 2 else "5")
            moment += timedelta(seconds=0.25 if kept > 2 else 30)
        if isinstance(zone, int):
            minutes = zone - zone % 60 if offset == "hh" else zone
            ahead, sign = abs(minutes), "-" if minutes < 0 else "+"
            text += (
                sign
                + {
                    "hh": f"{ahead // 60:02}",
                    "hhmm": f"{ahead // 60:02}{ahead % 60:02}",
                    "hh:mm": f"{ahead // 60:02}:{ahead % 60:02}",
                }[offset]
            )
            moment -= timedelta(minutes=minutes)
        else:
            text += zone
    expected = microseconds(moment.replace(tzinfo=UTC))
    assert read_iso(pl.Series([text, f" {text} ", None])).to_list() == [
        *(expected, expected, None)
    ]


def test_a_zone_without_its_offset_is_no_time() -> None:
    texts = ["2025-03-04T08:01[Europe/Berlin]", "2025-03-04T08:01+01:00[Europe/Berlin]"]
    moment = datetime(2025, 3, 4, 7, 1, tzinfo=UTC)
    assert read_iso(pl.Series(texts)).to_list() == [None, microseconds(moment)]


@settings(max_examples=100, deadline=None)
@given(st.datetimes(datetime(1971, 1, 1), datetime(2099, 1, 1)), st.integers(-840, 840))
def test_what_python_prints_of_a_moment(moment: datetime, minutes: int) -> None:
    zoned = moment.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    texts = [zoned.isoformat(), str(zoned), zoned.isoformat(timespec="milliseconds")]
    exact = microseconds(zoned)
    assert read_iso(pl.Series(texts)).to_list() == [
        *(exact, exact, exact - exact % 1000)
    ]


@given(st.integers(0, 999_999_999), st.sampled_from(["parquet", "csv", "ndjson"]))
@settings(max_examples=30, deadline=None)
def test_a_log_keeps_the_order_within_a_second(
    tmp_path_factory: pytest.TempPathFactory, nanosecond: int, kind: str
) -> None:
    folder = tmp_path_factory.mktemp("log")
    micro = nanosecond // 1000
    moment = datetime.fromtimestamp(TIME, UTC).replace(microsecond=micro)
    in_unit: dict[str, tuple[Any, int]] = {
        "s": (TIME + micro / 10**6, micro),
        "ms": (TIME * 10**3 + micro // 10**3, micro - micro % 10**3),
        "us": (TIME * 10**6 + micro, micro),
        "ns": (TIME * 10**9 + nanosecond, micro),
        "datetime": (moment.isoformat(), micro),
    }
    for unit, (value, expected) in in_unit.items():
        path = folder / f"{unit}.{kind}"
        frame = pl.DataFrame({"u": ["a"], "i": ["b"], "t": [value]})
        getattr(frame, f"write_{kind}")(path)
        row = log(path, unit).frame.collect().row(0, named=True)
        assert row["timestamp"] == TIME
        # A number with a point holds about seven digits of a second
        assert abs(row["microsecond"] - expected) <= (unit == "s")


@pytest.mark.parametrize(
    "text",
    [
        *("2025-02-30", "2025-13-01", "2025-366", "2025-W54-1", "2025-03-03T24:01"),
        *("2025-03-03T10:60", "2025-03-03T25", "03/04/2025", "2025", "2025-03", "now"),
        *("2025-03-03T10:00+25:00", "2025-03-03T10:00+01:75", "1700000000", ""),
    ],
)
def test_what_is_no_iso_time(text: str) -> None:
    assert read_iso(pl.Series([text])).to_list() == [None]


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
@pytest.mark.parametrize("other", ["s", "ms", "us"])
def test_times_of_a_coarser_unit_are_set_aside(
    tmp_path: Path, unit: str, other: str
) -> None:
    ticks = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
    if ticks[other] >= ticks[unit]:
        return
    times = [TIME * ticks[unit] + n for n in range(8)]
    times[3] = TIME * ticks[other]
    for name in ("log.parquet", "log.csv", "log.ndjson"):
        path = tmp_path / name
        frame = pl.DataFrame({"u": ["a"] * 8, "i": ["b"] * 8, "t": times})
        getattr(frame, f"write_{name[4:]}")(path)
        found = log(path, unit)
        assert (found.rows, found.set_aside) == (7, 1)
        assert found.rejected["reason"][0] == (
            f"t is a time in a coarser unit than {unit}"
        )


def test_times_of_before_1990_and_of_the_future_are_told(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    times = ["1989-12-31", "1990-01-01", "2020-01-01", "2050-01-01"]
    path.write_text("u,i,t\n" + "".join(f"a,b,{time}\n" for time in times))
    found = log(path, "datetime")
    assert (found.rows, found.set_aside) == (3, 1)
    assert found.notes["before_1990"] == 1
    assert found.notes["reasons"] == {"t lies in the future": 1}


def test_mongo_dates(tmp_path: Path) -> None:
    path = tmp_path / "log.json"
    dates: list[Any] = [
        {"$date": "2023-11-14T22:13:20Z"},
        {"$date": TIME * 1000},
        {"$date": {"$numberLong": str(TIME * 1000)}},
    ]
    rows = [{"u": {"$oid": "a"}, "i": "b", "t": moment} for moment in dates]
    path.write_text("\n".join(map(json.dumps, rows)))
    assert log(path, "datetime").frame.collect()["timestamp"].to_list() == [TIME] * 3


def test_ratings_with_commas_and_without_sense(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    stars = ["4,5", "3", "many", "NULL", ""]
    path.write_text("u;i;t;s\n" + "".join(f"a;b;{TIME};{star}\n" for star in stars))
    found = log(path, rating="s")
    ratings = found.frame.collect()["rating"].to_list()
    assert ratings == [4.5, 3.0, None, None, None]
    assert found.notes["ratings_not_read"] == 1


@pytest.mark.parametrize(
    ("texts", "numbers"),
    [
        (["5,25 €", "€ 7", "1.299,00", "4.0"], [5.25, 7.0, 1299.0, 4.0]),
        (["$12.99", "US$ 5", "$1,299.00"], [12.99, 5.0, 1299.0]),
        (["12", "4.5", "1.299", "1e3", "-2"], [12.0, 4.5, 1.299, 1000.0, -2.0]),
        (["4,5", "1.299"], [4.5, 1299.0]),
        (["4.5", "1,299"], [4.5, 1299.0]),
        (["1.234.567", "0,125"], [1234567.0, 0.125]),
        (["$12.99 - $20", "free", "3 lbs", "1.2.3", "NaN", "inf"], [None] * 6),
        (["5 10", "12.99 5", "12.99\n20", "2 5.00", "1 2 3 4"], [None] * 5),
        (["1 299,00", "5,-", "12 kr", "1.299 €"], [None] * 4),
        (["$1,299", "12"], [1299.0, 12.0]),
        (["4,5", "4.5", "1.299"], [4.5, 4.5, None]),
        ([None, "", "NULL", "N/A"], [None] * 4),
    ],
)
def test_numbers_as_people_write_them(
    texts: list[str | None], numbers: list[float | None]
) -> None:
    assert read_numbers(pl.Series(texts, dtype=pl.String)).to_list() == numbers


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1))
def test_numbers_as_machines_print_them(numbers: list[float]) -> None:
    texts = pl.Series([repr(number) for number in numbers])
    assert read_numbers(texts).to_list() == numbers


def render(folder: Path, rows: list[dict[str, Any]], *fields: str) -> list[str]:
    path = folder / "items.ndjson"
    lines = [json.dumps({"i": str(n)} | row) for n, row in enumerate(rows)]
    path.write_text("\n".join(lines))
    frame = shelf(path).frame.collect()
    template = [TextFieldParameters(field=field, label="") for field in fields]
    found = render_texts(frame, frame["item_id"], template, own=True)
    texts: list[str] = found["text"].to_list()
    return texts


def test_a_price_that_is_no_amount_stays_as_it_is(tmp_path: Path) -> None:
    rows = [{"price": "$12.99 - $20"}, {"price": "5,25 €"}, {"price": None}]
    assert render(tmp_path, rows, "price") == ["$12.99 - $20.", "5.25.", "2"]
    assert shelf(tmp_path / "items.ndjson").notes["prices_as_text"] == 1


def test_a_price_of_several_parts_keeps_them(tmp_path: Path) -> None:
    amount = {"value": 5.5, "currency": "EUR"}
    rows: list[dict[str, Any]] = [{"price": [12.99]}, {"price": [1, 2]}]
    rows += [{"price": amount}, {"price": "N/A"}]
    rendered = ["12.99.", "1, 2.", "value: 5.5, currency: EUR.", "3"]
    assert render(tmp_path, rows, "price") == rendered
    assert shelf(tmp_path / "items.ndjson").notes["prices_as_text"] == 2


@pytest.mark.parametrize(
    ("text", "rendered"),
    [
        ("Cotton<br>cover", "Cotton cover"),
        ("<ul><li>Blue</li><li>Washable</li></ul>", "Blue Washable"),
        ('<p class="x>y">Soft</p><P>Warm</P>', "Soft Warm"),
        ("Salt &amp;amp; pepper, the cook&#39;s own", "Salt & pepper, the cook's own"),
        ("&lt;b&gt;bold&lt;/b&gt; move", "bold move"),
        ("Weight <5 kg, height >3 cm", "Weight <5 kg, height >3 cm"),
        ("for bags <5 lbs", "for bags <5 lbs"),
        ("5 &lt; 6 and 7 &gt; 2", "5 < 6 and 7 > 2"),
        ("I <3 baskets", "I <3 baskets"),
        ("sizes <M and >XL", "sizes <M and >XL"),
        ("a <b and c> d", "a <b and c> d"),
        ("one<!-- two -->three", "one three"),
        ("<style>a{}</style>x<script>alert('1>0')</script>", "x"),
        ("<img src=a.png alt='A > B'/>tray", "tray"),
        ("Bread &amp; butter", "Bread & butter"),
        ("Brush&#8482 of Pens&notebooks", "Brush™ of Pens&notebooks"),
    ],
)
def test_markup_goes_and_what_means_less_stays(
    tmp_path: Path, text: str, rendered: str
) -> None:
    assert render(tmp_path, [{"title": text}], "title") == [f"{rendered}."]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("['a', 'b']", ["a", "b"]),
        ('["a", "b, c"]', ["a", "b, c"]),
        ("[['a', 'b'], ['c']]", [["a", "b"], ["c"]]),
        ("('a', 'b')", ["a", "b"]),
        ("[]", []),
        ("[NEW] vase", "[NEW] vase"),
        ("[red vase, b]", "[red vase, b]"),
        ("(5)", "(5)"),
        ("[8.5, 9]", ["8.5", "9"]),
        ('[27" tray, b]', '[27" tray, b]'),
        ("[a] and [b]", "[a] and [b]"),
        ("{'a': 'b'}", [["a: b"]]),
        ({"a": ["x", "y"], "b": None}, ["a: x, y"]),
        ("plain", "plain"),
        ("None", None),
        (b"red", "red"),
        (b"\xff\x00", None),
        (date(2025, 3, 3), "2025-03-03"),
        (float("nan"), None),
    ],
)
def test_lists_printed_as_text_are_lists(value: Any, expected: Any) -> None:
    assert words(value) == expected


def test_ids_that_do_not_match_are_shown() -> None:
    bought = pl.Series(["137", "138", "139"])
    described = pl.Series(["00137", "00138", "139"])
    with pytest.raises(SidiffError, match=r"Only 1 of 3 .*'00137'.*'137'"):
        check_matching(bought, described, 0.5)
    check_matching(bought, described, 0.3)
    check_matching(bought, described, 0.0)
    check_matching(bought.clear(), described, 1.0)


def test_equal_texts_and_lost_letters_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    render(tmp_path, [{"title": "vase"}] * 3, "title")
    assert "All 3 items have the same text (vase.)" in caplog.text
    render(tmp_path, [{"title": "Th\ufffd"}, {"title": "b"}], "title")
    assert "1 item texts have replacement characters" in caplog.text
