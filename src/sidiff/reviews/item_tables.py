"""Items from a table, whose values may be of any type.

Items are fewer than interactions, so Python reads them row by row. ``values`` has the
rules for ids and texts, ``numbers`` for prices, ``layouts`` for fields.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from sidiff.reviews import json_text
from sidiff.reviews.ingestion import ITEMS, KEPT_TEXT, REJECTED, Ingested
from sidiff.reviews.layouts import ItemLayout, MalformedLineError, texts
from sidiff.reviews.numbers import read_numbers
from sidiff.reviews.settings import ItemColumns
from sidiff.reviews.streams import FAULT, LINE, ROW
from sidiff.reviews.tables import (
    column_names,
    find_format,
    other_order,
    readable,
    scan,
)
from sidiff.reviews.text import PRICE_TEXT
from sidiff.reviews.values import id_text, identifier, is_id_type, joined, tidy_ids
from sidiff.reviews.values import words as in_words

_PRICE = "price as written"
Row = tuple[int, str | None, Mapping[str, Any] | str]
"""Number, raw text (None if it was not kept), and values by column or the fault."""


def read(path: Path, columns: ItemColumns) -> Ingested:
    """Read the items of a file.

    Returns:
        ``frame`` has the columns of ``ingestion.ITEMS``, the price as text, and every
        other column of the file as a list of texts; see ``with_prices``.

    Raises:
        SidiffError: the file cannot be read.
    """
    named = {name: name for name in ITEMS if name != "item_id"} | dict(columns.fields)
    layout = ItemLayout(looks="an item table", item=columns.item, **named)
    blocks = [pl.DataFrame(schema=dict(ITEMS) | {_PRICE: pl.String()})]
    rejected: list[tuple[str, int, str, str]] = []
    lines = 0
    with readable(path):
        for block in _blocks(path, columns.item):
            lines += len(block)
            frame, wrong = _frame(path, block, layout)
            blocks.append(frame)
            rejected += [(path.name, *reason) for reason in wrong]
    frame = pl.concat(blocks, how="diagonal")
    return Ingested(
        frame=frame.lazy(),
        rejected=pl.DataFrame(rejected, schema=REJECTED, orient="row"),
        lines=lines,
        rows=len(frame),
        set_aside=len(rejected),
    )


def with_prices(items: pl.DataFrame) -> pl.DataFrame:
    """Convert prices to numbers, and unpack columns whose values have one part.

    Prices that are not a single amount stay as text in the column ``PRICE_TEXT``.
    """
    written = items[_PRICE]
    price = read_numbers(written)
    no_amount = pl.select(pl.when(price.is_null()).then(written)).to_series()
    items = items.drop(_PRICE).with_columns(price.alias("price"))
    further = [name for name in items.columns if name not in ITEMS]
    single = [name for name in further if (items[name].list.len() <= 1).all()]
    items = items.with_columns(pl.col(single).list.first())
    if no_amount.null_count() < len(no_amount):
        items = items.with_columns(no_amount.alias(PRICE_TEXT))
    return items


def _blocks(path: Path, item: str) -> Iterator[list[Row]]:
    if find_format(path) == "json":
        for objects in json_text.objects(path):
            yield list(objects)
        return
    rows = scan(path, [], column_names(path))
    schema = rows.collect_schema()
    if find_format(path) == "parquet" and is_id_type(schema[item]):
        # The conversion of ids depends on the type of the column.
        rows = rows.with_columns(identifier(pl.col(item), schema[item]).alias(item))
    for frame in rows.collect_batches(maintain_order=True):
        block: list[Row] = []
        for row in frame.iter_rows(named=True):
            number, fault, line = row.pop(ROW), row.pop(FAULT), row.pop(LINE)
            block.append((number, line, fault or row))
        yield block


def _frame(
    path: Path, block: Sequence[Row], layout: ItemLayout
) -> tuple[pl.DataFrame, list[tuple[int, str, str]]]:
    """Return the items of a block, and number, reason and text of rejected rows."""
    values = [{} if isinstance(row, str) else row for _, _, row in block]
    ids = pl.Series([id_text(v.get(layout.item)) for v in values], dtype=pl.String)
    taken = {*ITEMS, *vars(layout).values()}
    names = dict.fromkeys(name for row in values for name in row)
    further = [name for name in names if name not in taken]
    rows: list[tuple[Any, ...]] = []
    wrong: list[tuple[int, str, str]] = []
    for (number, line, row), value, item in zip(
        block, values, tidy_ids(ids), strict=True
    ):
        if item != layout.item and item in value and _only_names(value):
            raise other_order(path, number)
        try:
            rows.append(_item(row, item, layout, further))
        except MalformedLineError as error:
            in_text = ", ".join(f"{name}: {part}" for name, part in value.items())
            text = in_text if line is None else line
            wrong.append((number, str(error), text[:KEPT_TEXT]))
    schema = dict(ITEMS) | {_PRICE: pl.String()}
    schema |= dict.fromkeys(further, pl.List(pl.String))
    return pl.DataFrame(rows, schema=schema, orient="row"), wrong


def _only_names(row: Mapping[str, Any]) -> bool:
    """Whether a row has nothing but names of columns, as a second header has."""
    return all(isinstance(value, str) and value in row for value in row.values())


def _item(
    row: Mapping[str, Any] | str,
    item: str | None,
    layout: ItemLayout,
    further: Sequence[str],
) -> tuple[Any, ...]:
    if isinstance(row, str):
        raise MalformedLineError(row)
    if item is not None and item.strip("\ufeff").casefold() == layout.item.casefold():
        raise MalformedLineError("the header again")  # of concatenated files
    plain = {name: in_words(value) for name, value in row.items()}
    price = joined(plain.get(layout.price))
    known = layout.read(plain | {layout.item: item, layout.price: None})
    return (*known, price, *(texts(plain.get(name)) for name in further))
