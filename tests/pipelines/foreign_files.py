"""A shop's two tables in other people's writing, and what is read of them."""

from __future__ import annotations

import csv
import io
import json
import random
from collections.abc import Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl

from sidiff.configuration import GROUPS
from sidiff.pipelines.embedding.nodes import render_item_texts
from sidiff.pipelines.filtering import nodes as filtering
from sidiff.pipelines.ingestion import nodes as ingestion
from sidiff.presets import PresetConfigLoader
from sidiff.settings import CONFIG_LOADER_ARGS
from tests.settings import CONF

EVENT = ("customer", "sku", "bought_at")
ITEM = ("sku", "name", "colour", "categories", "price")
COLOURS = ("red", "blue", "green", "white")
KINDS = ("vase", "lamp", "tray", "spoon", "basket", "blanket")
START = datetime(2025, 3, 3, 8, 1)

Row = list[Any]


def seconds(moment: datetime) -> int:
    """Since 1970, the moment being UTC."""
    return int((moment - datetime(1970, 1, 1)).total_seconds())


def shelf(count: int = 24) -> list[Row]:
    """Rows of ``ITEM``."""
    rows = []
    for n in range(count):
        kind, colour = KINDS[n % 6], COLOURS[n // 6 % 4]
        name = f"{('small', 'medium', 'large')[n // 24]} {colour} {kind}"
        rows.append([f"{101 + n:05}", name, colour, kind, 4 + n / 4])
    return rows


def purchases(customers: int = 60, each: int = 6, count: int = 24) -> list[Row]:
    """Rows of ``EVENT`` by customer and time, no item twice."""
    draw = random.Random(3)
    rows = []
    for customer in range(customers):
        when = START + timedelta(minutes=97 * customer)
        for n in draw.sample(range(count), each):
            when += timedelta(hours=draw.randint(1, 40))
            rows.append([f"c{customer}", f"{101 + n:05}", when])
    return rows


def _written(value: Any) -> Any:
    whole = isinstance(value, datetime)
    return value.isoformat(timespec="minutes") if whole else value


def quoted(path: Path, header: Sequence[str], rows: Iterable[Row]) -> Path:
    """Write a CSV as Python does."""
    text = io.StringIO()
    csv.writer(text).writerows([header, *([_written(v) for v in r] for r in rows)])
    path.write_text(text.getvalue(), encoding="utf-8", newline="")
    return path


def bare(path: Path, header: Sequence[str], rows: Iterable[Row], mark: str) -> Path:
    """Write delimited text without quoting, as database clients do."""
    lines = [mark.join(str(_written(value)) for value in row) for row in rows]
    path.write_text("\n".join([mark.join(header), *lines, ""]), encoding="utf-8")
    return path


def objects(header: Sequence[str], rows: Iterable[Row]) -> list[dict[str, Any]]:
    return [dict(zip(header, map(_written, row), strict=True)) for row in rows]


def json_lines(path: Path, rows: Iterable[dict[str, Any]]) -> Path:
    lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_text("".join(lines), encoding="utf-8")
    return path


@cache
def _own() -> dict[str, Any]:
    return PresetConfigLoader(str(CONF), env="own", **CONFIG_LOADER_ARGS)["parameters"]


@dataclass(frozen=True)
class Found:
    """What the stages up to the item texts make of two files.

    Attributes:
        report: ``ingestion_report``.
        statistics: ``data_statistics``.
        interactions: rows that are read.
        items: rows that are read.
        rejected: rows set aside, of both files.
        sequences: of users.
        catalogue: the items that are left.
        texts: of these, by id.
    """

    report: dict[str, Any]
    statistics: dict[str, Any]
    interactions: pl.DataFrame
    items: pl.DataFrame
    rejected: pl.DataFrame
    sequences: pl.DataFrame
    catalogue: pl.DataFrame
    texts: dict[str, str]


def read(log: Path, items: Path, **changes: Any) -> Found:
    """Run the nodes of ingestion, filtering and rendering with conf/own.

    ``changes`` are of the group ``ingestion``, a dot being two underscores.
    """
    parameters = deepcopy(_own())
    for name, value in changes.items():
        *path, last = name.split("__")
        place = parameters["ingestion"]
        for part in path:
            place = place[part]
        assert last in place, name
        place[last] = value
    given, rules, embedding = (
        GROUPS[name].model_validate(parameters[name])
        for name in ("ingestion", "filtering", "embedding")
    )
    interactions, wrong_events, reviews = ingestion.ingest_reviews([log], given)
    shelf, wrong_items, metadata = ingestion.ingest_metadata([items], given)
    for summary in (reviews, metadata):
        counted = ("rows", "rejected", "duplicates")
        assert summary["lines"] == sum(summary[name] for name in counted)
    report = ingestion.check_rejected_lines(
        wrong_events, wrong_items, reviews, metadata, given, "data", "own"
    )
    core, core_summary = filtering.filter_k_core(interactions, report, rules)
    made = filtering.build_sequences(core, shelf, report, rules)
    sequences, samples, catalogue, order = made
    statistics = filtering.describe_data(
        sequences, samples, catalogue, core_summary, order, report, rules
    )
    texts = render_item_texts(shelf, catalogue, embedding, "table")
    return Found(
        report=report,
        statistics=statistics,
        interactions=interactions.collect(),
        items=shelf,
        rejected=pl.concat([wrong_events, wrong_items]),
        sequences=sequences,
        catalogue=catalogue,
        texts=dict(texts.select("item_id", "text").iter_rows()),
    )
