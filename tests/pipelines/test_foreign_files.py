"""Kinds of files that were reported of public projects, each with its right value."""

from __future__ import annotations

import hashlib
import json
import random
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from sidiff.errors import SidiffError

from .conftest import SMALL, Run
from .foreign_files import (
    EVENT,
    ITEM,
    START,
    Found,
    Row,
    bare,
    json_lines,
    objects,
    purchases,
    quoted,
    read,
    seconds,
    shelf,
)

THAI = {
    "vase": "แจกัน",
    "lamp": "โคมไฟ",
    "tray": "ถาด",
    "spoon": "ช้อน",
    "basket": "ตะกร้า",
    "blanket": "ผ้าห่ม",
    "red": "สีแดง",
    "blue": "สีน้ำเงิน",
    "green": "สีเขียว",
    "white": "สีขาว",
}


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return quoted(tmp_path / "interactions.csv", EVENT, purchases())


@pytest.fixture
def items(tmp_path: Path) -> Path:
    return quoted(tmp_path / "items.csv", ITEM, shelf())


def is_whole(found: Found, rows: int = 360, items: int = 24) -> None:
    """Nothing is lost, and every item has its row."""
    assert len(found.interactions) == found.report["reviews"]["rows"] == rows
    assert len(found.items) == found.report["metadata"]["rows"] == items
    assert found.rejected.is_empty()
    assert found.statistics["items_without_metadata"] == 0


def test_tsv_stray_quotes(tmp_path: Path, log: Path) -> None:
    notes = {100: '"best vase ever', 260: 'shelf of 27"'}
    rows = [[*row, notes.get(n, "fine")] for n, row in enumerate(purchases())]
    marked = bare(tmp_path / "log.tsv", (*EVENT, "note"), rows, "\t")
    catalogue = shelf()
    catalogue[4][1], catalogue[16][1] = '"Grandma vase', 'tray of 27"'
    found = read(marked, bare(tmp_path / "items.tsv", ITEM, catalogue, "\t"))
    is_whole(found)
    assert found.items["title"].to_list() == [row[1] for row in catalogue]
    catalogue[4][1] = '"Grandma" vase'
    found = read(log, bare(tmp_path / "one.tsv", ITEM, catalogue, "\t"))
    is_whole(found)
    assert found.items["title"][4] == '"Grandma" vase'


def test_inch_mark_in_csv(tmp_path: Path) -> None:
    catalogue = shelf()
    catalogue[5][1] = '27" tray'
    rows = [
        [*row, '2 of the 27" tray' if n == 120 else "ok"]
        for n, row in enumerate(purchases())
    ]
    found = read(
        bare(tmp_path / "log.csv", (*EVENT, "note"), rows, ","),
        bare(tmp_path / "items.csv", ITEM, catalogue, ","),
    )
    is_whole(found)
    assert found.texts["00106"].startswith('Name: 27" tray. Colour:')


def test_heavy_users(tmp_path: Path) -> None:
    draw = random.Random(1)
    rows: list[Row] = [
        [
            f"c{customer}",
            f"{101 + 10 * (k // 20) + draw.randrange(10):05}",
            START + timedelta(hours=12 * k, minutes=customer),
        ]
        for customer in range(8)
        for k in range(80)
    ]
    found = read(
        quoted(tmp_path / "log.csv", EVENT, rows),
        quoted(tmp_path / "items.csv", ITEM, shelf(40)),
    )
    is_whole(found, 640, 40)
    assert found.statistics["training_items"] == found.statistics["items"] == 40
    assert found.statistics["untrained_interactions"] == 0


def test_ties_sorted_by_item_id(
    tmp_path: Path, items: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [[customer, sku, "2025-04-07"] for customer, sku, _ in purchases()]
    found = read(quoted(tmp_path / "log.csv", EVENT, rows), items)
    is_whole(found)
    assert found.statistics["tied_share"] == 1.0
    assert "share their time with another" in caplog.text
    # The last of six is the greatest for one basket of six, not for each.
    greatest = (
        found.sequences["items"].list.last() == found.sequences["items"].list.max()
    )
    expected = [
        max(row[1] for row in rows[n : n + 6]) == rows[n + 5][1]
        for n in range(0, 360, 6)
    ]
    assert greatest.sum() == sum(expected) < 20


def test_events_logged_twice(tmp_path: Path, items: Path) -> None:
    rows: list[Row] = []
    for n, (customer, sku, when) in enumerate(purchases(50)):
        if n < 240 or n % 6 < 2:
            again = when + timedelta(seconds=2)
            rows += [[customer, sku, t.isoformat()] for t in (when, again)]
    found = read(quoted(tmp_path / "log.csv", EVENT, rows), items)
    assert found.report["reviews"]["rows"] == 520
    assert found.statistics["merged_interactions"] == 260
    assert (found.statistics["interactions"], found.statistics["users"]) == (240, 40)
    assert found.statistics["repeated_targets"] == 0


@pytest.mark.parametrize("first", [0, 12_345_678_901_234_567_890_000])
def test_float_ids(tmp_path: Path, first: int) -> None:
    def spelt(sku: str) -> float | int:
        return first + int(sku) if first else float(sku)

    events = [[c, spelt(sku), t] for c, sku, t in purchases(40)]
    catalogue = [[spelt(sku), *rest] for sku, *rest in shelf()]
    found = read(
        json_lines(tmp_path / "log.ndjson", objects(EVENT, events)),
        json_lines(tmp_path / "items.ndjson", objects(ITEM, catalogue)),
    )
    is_whole(found, 240)
    assert found.catalogue["item_id"].to_list() == [
        str(first + 101 + n) for n in range(24)
    ]


@pytest.mark.parametrize("binary_id", [False, True])
def test_impala_binary_texts(tmp_path: Path, binary_id: bool) -> None:
    def written(name: str, header: Any, rows: list[Row], *binary: str) -> Path:
        frame = pl.DataFrame(rows, schema=list(header), orient="row")
        path = tmp_path / name
        frame.with_columns(pl.col(binary).cast(pl.Binary)).write_parquet(path)
        return path

    texts = ["name", "colour", "categories", *(["sku"] if binary_id else [])]
    found = read(
        written("log.parquet", EVENT, purchases(), "customer", "sku"),
        written("items.parquet", ITEM, shelf(), *texts),
    )
    is_whole(found)
    assert len(found.texts) == 24
    text = "Name: small red vase. Colour: red. Category: vase. Price: 4.0."
    assert found.texts["00101"] == text


def test_cp1252_titles(log: Path, items: Path) -> None:
    catalogue = shelf()
    for row in catalogue[::3]:
        row[1], row[3] = f"Théière brûlée {row[2]}", "Thé & Café"
    quoted(items, ITEM, catalogue)
    items.write_bytes(items.read_text(encoding="utf-8").encode("cp1252"))
    with pytest.raises(SidiffError, match=r"8 of 24 lines are malformed .*not UTF-8"):
        read(log, items)
    found = read(log, items, max_rejected_share=0.5)
    assert (len(found.items), len(found.rejected)) == (16, 8)
    assert all("\ufffd" not in text for text in found.texts.values())


@pytest.mark.parametrize("dates", [False, True])
@pytest.mark.parametrize("plain_items", [False, True])
def test_mongo_export(tmp_path: Path, dates: bool, plain_items: bool) -> None:
    def wrapped(text: str) -> dict[str, str]:
        return {"$oid": hashlib.sha256(text.encode()).hexdigest()[:24]}

    events = [
        [wrapped(c), wrapped(sku), {"$date": f"{t.isoformat()}Z"} if dates else t]
        for c, sku, t in purchases(28, 5, 16)
    ]
    catalogue = [[wrapped(sku), *rest] for sku, *rest in shelf(16)]
    log = json_lines(tmp_path / "log.json", objects(EVENT, events))
    if plain_items:
        bare_ids = [[sku["$oid"], *rest] for sku, *rest in catalogue]
        items = quoted(tmp_path / "items.csv", ITEM, bare_ids)
    else:
        items = json_lines(tmp_path / "items.json", objects(ITEM, catalogue))
    found = read(log, items)
    is_whole(found, 140, 16)
    assert wrapped("00101")["$oid"] in found.texts
    expected = [seconds(t) for _, _, t in purchases(28, 5, 16)]
    assert found.interactions["timestamp"].to_list() == expected


def test_html_in_descriptions(log: Path, items: Path) -> None:
    names = {
        "Cotton<br>cover": "Cotton cover",
        "<ul><li>Blue</li><li>Washable</li></ul>": "Blue Washable",
        "Salt &amp;amp; pepper, the cook&#39;s own": "Salt & pepper, the cook's own",
        "Weight <5 kg, height >3 cm": "Weight <5 kg, height >3 cm",
        "<p>Soft</p><p>Warm</p>": "Soft Warm",
        "Bread &amp; butter": "Bread & butter",
        "5 &lt; 6 and 7 &gt; 2": "5 < 6 and 7 > 2",
        "I <3 baskets": "I <3 baskets",
    }
    catalogue = shelf()
    for row, name in zip(catalogue, names, strict=False):
        row[1] = name
    found = read(log, quoted(items, ITEM, catalogue))
    is_whole(found)
    for n, name in enumerate(names.values()):
        assert found.texts[f"{101 + n:05}"].startswith(f"Name: {name}. Colour:")


def test_mixed_seconds_and_milliseconds(tmp_path: Path, items: Path) -> None:
    rows: list[Row] = []
    for n, (customer, sku, when) in enumerate(purchases()):
        rows.append([customer, sku, seconds(when) * (1 if n % 10 == 0 else 1000)])
    log = quoted(tmp_path / "log.csv", EVENT, rows)
    unit = {"interactions__time_unit": "ms"}
    with pytest.raises(SidiffError, match=r"36 of 360 lines .*coarser unit than ms"):
        read(log, items, **unit)
    found = read(log, items, max_rejected_share=0.1, **unit)
    assert len(found.interactions) == 324
    assert found.interactions["timestamp"].min() > 1_700_000_000
    assert found.rejected["line"].to_list() == list(range(1, 361, 10))


def test_nan_in_json(tmp_path: Path) -> None:
    rows = [
        [*row, 5.0 if n % 120 else float("nan")] for n, row in enumerate(purchases(40))
    ]
    catalogue = shelf()
    catalogue[7][4] = float("nan")
    found = read(
        json_lines(tmp_path / "log.ndjson", objects((*EVENT, "stars"), rows)),
        json_lines(tmp_path / "items.ndjson", objects(ITEM, catalogue)),
        interactions__rating="stars",
    )
    is_whole(found, 240)
    assert found.interactions["rating"].null_count() == 2
    assert found.items["price"].is_null().arg_true().to_list() == [7]


@pytest.mark.parametrize("form", ["%Y-%m-%dT%H:%MZ", "%Y-%m-%dT%H:%M+01:00"])
def test_java_time_without_seconds(tmp_path: Path, items: Path, form: str) -> None:
    rows = [
        # The second form drops seconds only where they are zero.
        [
            c,
            sku,
            t.strftime(form if n % 60 == 0 or "Z" in form else f"%FT%T{form[14:]}"),
        ]
        for n, (c, sku, t) in enumerate(purchases())
    ]
    found = read(quoted(tmp_path / "log.csv", EVENT, rows), items)
    is_whole(found)
    ahead = 0 if "Z" in form else 3600
    expected = [seconds(t) - ahead for _, _, t in purchases()]
    assert found.interactions["timestamp"].to_list() == expected


def test_late_key(tmp_path: Path, log: Path) -> None:
    lines: list[dict[str, Any]] = [{"sku": f"x{n}"} for n in range(1000)]
    lines[0] |= {"name": "old vase", "categories": "vase", "price": 3}
    lines += objects(ITEM, shelf())
    found = read(log, json_lines(tmp_path / "items.ndjson", lines))
    is_whole(found, items=1024)
    assert len(found.texts) == 24
    assert all(" Colour: " in text for text in found.texts.values())


@pytest.mark.parametrize(("indent", "customers"), [(None, 40), (1, 25)])
def test_json_array(tmp_path: Path, indent: int | None, customers: int) -> None:
    log, items = tmp_path / "log.json", tmp_path / "items.json"
    log.write_text(json.dumps(objects(EVENT, purchases(customers)), indent=indent))
    items.write_text(json.dumps(objects(ITEM, shelf())))
    is_whole(read(log, items), 6 * customers)


def own_files(log: Path, items: Path, **changes: Any) -> dict[str, Any]:
    """Parameters of a Kedro run on two files."""
    given = {name: value for name, value in SMALL.items() if name != "filtering"}
    return given | {"raw_reviews": str(log), "raw_metadata": str(items)} | changes


def stages(run: Run, given: dict[str, Any], *names: str) -> None:
    for name in names:
        run(name, given, env="own")


def translated(*, price: bool) -> list[Row]:
    """An item's name, colour and kind in Thai."""
    rows: list[Row] = []
    for sku, name, colour, kind, amount in shelf(72):
        size = {"small": "เล็ก", "medium": "กลาง", "large": "ใหญ่"}[name.split()[0]]
        title = THAI[kind] + THAI[colour] + size
        rows.append([sku, title, THAI[colour], THAI[kind], amount if price else ""])
    return rows


@pytest.mark.parametrize("price", [False, True])
def test_scripts_unknown_to_encoder(
    tmp_path: Path,
    project: Path,
    run: Run,
    caplog: pytest.LogCaptureFixture,
    price: bool,
) -> None:
    given = own_files(
        quoted(tmp_path / "log.csv", EVENT, purchases(160, 6, 72)),
        quoted(tmp_path / "items.csv", ITEM, translated(price=price)),
    )
    stages(run, given, "ingestion", "filtering", "embedding")
    said = [r.message for r in caplog.records if "does not know the words" in r.message]
    assert len(said) == 1
    assert "of 72 of 72 texts" in said[0]
    assert "set embedding.encoder to a multilingual model" in said[0]
    if price:
        stages(run, given, "tokenization")
        return
    with pytest.raises(SidiffError, match="embeddings of all 72 training items are"):
        stages(run, given, "tokenization")


def test_equal_titles(
    tmp_path: Path, project: Path, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [[sku, "vase", "white", "vase", 5] for sku, *_ in shelf(72)]
    given = own_files(
        quoted(tmp_path / "log.csv", EVENT, purchases(160, 6, 72)),
        quoted(tmp_path / "items.csv", ITEM, rows),
    )
    stages(run, given, "ingestion", "filtering", "embedding")
    assert "All 72 items have the same text (Name: vase. Colour: white." in caplog.text
    with pytest.raises(SidiffError, match="name fields that tell the items apart"):
        stages(run, given, "tokenization")


def test_few_items(
    tmp_path: Path, project: Path, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    log = quoted(tmp_path / "log.csv", EVENT, purchases(40, 5, 10))
    items = quoted(tmp_path / "items.csv", ITEM, shelf(10))
    given = own_files(log, items)
    stages(run, given, "ingestion", "filtering", "embedding")
    with pytest.raises(SidiffError, match="dimensions to less than 10"):
        stages(run, given, "tokenization")
    caplog.clear()
    caplog.set_level("INFO", logger="sidiff")
    fewer = {"whitening": {"dimensions": 8}}
    stages(run, own_files(log, items, tokenization=fewer), "tokenization")
    (said,) = [r.message for r in caplog.records if "Codes per digit" in r.message]
    assert "chosen for 10 training items (the fewest for distinct SIDs" in said
    assert "at least 39" not in said
