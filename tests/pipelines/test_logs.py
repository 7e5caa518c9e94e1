"""What the defaults make of three kinds of event logs, by the command as typed."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from .test_command_line import kedro

START = datetime(2025, 3, 3, 8, 1)
Event = tuple[str, str, datetime]


def purchases(customers: int, each: int, items: int) -> list[Event]:
    """Different items for each customer, hours apart, customer by customer."""
    draw = random.Random(5)
    return [
        (f"c{customer:03}", f"{item:05}", START + timedelta(hours=5 * place))
        for customer in range(customers)
        for place, item in enumerate(draw.sample(range(100, 100 + items), each))
    ]


def filtered(
    project: Path, name: str, events: Sequence[Event], *changes: str
) -> tuple[dict[str, Any], str]:
    """Run a log up to its statistics: those, and what the screen showed on one line."""
    folder = project / "logs" / name
    folder.mkdir(parents=True, exist_ok=True)
    log = pl.DataFrame(events, ["customer", "sku", "bought_at"], orient="row")
    log.write_csv(folder / "log.csv", datetime_format="%Y-%m-%dT%H:%M:%S")
    items = log.select("sku", name="sku").unique()
    items.write_csv(folder / "items.csv")
    raw = f"raw_reviews={folder}/log.csv,raw_metadata={folder}/items.csv"
    given = ",".join([f"dataset={name}", raw, *changes])
    done = kedro(
        project,
        "run",
        "--pipelines=ingestion,filtering",
        "--env=own",
        f"--params={given}",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    path = max(
        project.glob(
            f"data/08_reporting/{name}/data_statistics.json/*/data_statistics.json"
        )
    )
    return json.loads(path.read_text()), " ".join(done.stdout.split())


def last_items(project: Path, name: str) -> list[str]:
    folder = project / "data" / "03_primary" / name
    ids = pl.read_parquet(max(folder.glob("catalogue.parquet/*/*.parquet")))["item_id"]
    users = pl.read_parquet(max(folder.glob("sequences.parquet/*/*.parquet")))
    return ids.gather(users["items"].list.last()).to_list()


def test_the_newest_purchases_of_long_histories_are_trained_on(project: Path) -> None:
    # After every 20 purchases the shop sells ten other items.
    draw = random.Random(6)
    events = [
        (f"c{customer}", f"{10 * (n // 20) + draw.randrange(10):05}", when)
        for customer in range(8)
        for n in range(80)
        for when in [START + timedelta(hours=12 * n, minutes=customer)]
    ]
    counts, screen = filtered(project, "heavy", events)
    assert counts["training_samples"] == 8 * (77 - 2 + 1)
    assert (counts["training_items"], counts["cold_items"]) == (40, 0)
    assert (counts["trained_share"], counts["out_of_reach"]) == (78 / 80, 0)
    assert "WARNING" not in screen
    counts, screen = filtered(project, "heavy", events, "preset=release")
    assert counts["training_samples"] == 8 * 49
    assert (counts["training_items"], counts["cold_items"]) == (30, 10)
    assert (counts["trained_share"], counts["out_of_reach"]) == (51 / 80, 8 * 27)
    assert "216 of the 624 interactions that may train are in no training" in screen
    assert "216 are beyond the reach of filtering.windows=prefix" in screen
    assert "set it to sliding" in screen


def test_a_basket_keeps_the_order_of_the_file(project: Path) -> None:
    days = {f"c{n:03}": START + timedelta(days=n % 9) for n in range(60)}
    events = [(who, item, days[who]) for who, item, _ in purchases(60, 6, 24)]
    last = [item for _, item, _ in events[5::6]]
    counts, screen = filtered(project, "baskets", events)
    assert last_items(project, "baskets") == last
    assert counts["tied_share"] == 1.0
    assert "WARNING 100% of the interactions share their time with another" in screen
    assert "the order of the file in other tables" in screen


def test_events_logged_twice_are_one_event(project: Path) -> None:
    once = [
        event for n, event in enumerate(purchases(50, 6, 24)) if n < 240 or n % 6 < 2
    ]
    events = [
        (who, item, when + timedelta(seconds=later))
        for who, item, when in once
        for later in (0, 2)
    ]
    counts, screen = filtered(project, "twice", events)
    assert (counts["interactions"], counts["users"]) == (240, 40)
    assert (counts["merged_interactions"], counts["below_core"]) == (260, 20)
    assert counts["repeated_targets"] == 0.0
    assert "260 repeats within 10 s merged" in screen
    assert "WARNING" not in screen
    counts, screen = filtered(project, "twice", events, "filtering.merge_seconds=null")
    assert (counts["interactions"], counts["users"]) == (520, 50)
    assert counts["repeated_targets"] == pytest.approx(260 / 470)
    assert "WARNING 55% of all targets are the item before them" in screen
    assert "set filtering.merge_seconds" in screen
