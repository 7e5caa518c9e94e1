"""Item texts for the sentence encoder.

A text has "<Label>: <value>." for every field, as in the DiffGRM release. Unlike the
release, letters outside ASCII stay, because encoders know them.

The release resolves entities once and removes everything between ``<`` and ``>``. That
joins words and removes "<5 lbs", so only Amazon's files, which have published results,
are cleaned that way. ``markup`` cleans the texts of other tables.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import polars as pl

from sidiff.errors import SidiffError
from sidiff.reviews.markup import unescape, without_markup
from sidiff.reviews.settings import TextFieldParameters

logger = logging.getLogger(__name__)

PRICE_TEXT = "price_text"
"""Field of items from a table: prices that are not a single amount, as written."""
_SHOWN = 60

Cleaner = Callable[[pl.Series], pl.Series]


def render_texts(
    items: pl.DataFrame,
    item_ids: Sequence[str] | pl.Series,
    template: Sequence[TextFieldParameters],
    *,
    own: bool = False,
) -> pl.DataFrame:
    """Render one text per item id.

    Every value is cleaned: HTML entities are resolved, tags are removed, blanks are
    collapsed, and one trailing full stop is dropped. The elements of a list are joined
    by commas. A field with an empty value or a price of zero is left out. A price that
    is not a single amount stays as it is written.

    Args:
        items: metadata as ``ingest_items`` returns it, fields being texts, lists of
            texts or numbers; the first row of an id counts.
        item_ids: the ids to render, in this order.
        template: fields and labels in order; without a label the value stands alone.
        own: the items are from a table and cleaned by ``markup``.

    Returns:
        ``item_id`` (str), ``text`` (str, the id if all fields are empty) and
        ``has_metadata`` (bool: the id is in ``items``).

    Raises:
        SidiffError: ``items`` lacks a field; lists the present ones.
    """
    fields = list(dict.fromkeys(part.field for part in template))
    _check_fields(fields, items)
    rows = pl.DataFrame({"item_id": pl.Series(item_ids, dtype=pl.String)})
    known = items.unique("item_id", keep="first", maintain_order=True)
    written = [PRICE_TEXT] if "price" in fields and PRICE_TEXT in items else []
    rows = rows.join(
        known.select("item_id", *dict.fromkeys([*fields, *written])),
        on="item_id",
        how="left",
        maintain_order="left",
    )
    if written:
        number = pl.col("price").replace(0.0, None).cast(pl.String)
        rows = rows.with_columns(price=pl.coalesce(number, PRICE_TEXT))
    clean = without_markup if own else _without_tags
    pieces = [_piece(rows[part.field], part.label, clean) for part in template]
    text = pl.select(
        pl.concat_str(pieces, separator=" ", ignore_nulls=True)
    ).to_series()
    _warn_about(rows["item_id"], text)
    return rows.select(
        "item_id",
        text=pl.when(text != "").then(text).otherwise("item_id"),
        has_metadata=pl.col("item_id").is_in(known["item_id"].implode()),
    )


def _check_fields(fields: Sequence[str], items: pl.DataFrame) -> None:
    present = [name for name in items.columns if name != "item_id"]
    for name in fields:
        if name not in present:
            raise SidiffError(
                f"The items have no field {name} ({', '.join(present)}): correct "
                "embedding.text."
            )


def _warn_about(item_ids: pl.Series, texts: pl.Series) -> None:
    """Warn about texts that are empty, all equal or damaged."""
    bare = item_ids.filter(texts == "")
    if len(bare):
        logger.warning(
            "%s items have no text and are given their id, %s first: their semantic "
            "IDs mean nothing",
            f"{len(bare):,}",
            bare[0],
        )
    if len(texts) > 1 and texts[0] and texts.n_unique() == 1:
        logger.warning(
            "All %s items have the same text (%s): name fields that tell them apart "
            "under embedding.text",
            f"{len(texts):,}",
            texts[0][:_SHOWN],
        )
    damaged = int(texts.str.contains("\ufffd", literal=True).sum())
    if damaged:
        logger.warning(
            "%s item texts have replacement characters (\ufffd): export the items as "
            "UTF-8",
            f"{damaged:,}",
        )


def _piece(values: pl.Series, label: str, clean: Cleaner) -> pl.Series:
    """Render ``"<label>: <value>."`` per row, null if there is no value."""
    if values.dtype == pl.Float64:
        cleaned = values.replace(0.0, None).cast(pl.String)
    elif values.dtype == pl.List:
        cleaned = _join(values, clean)
    else:
        cleaned = _clean(values, clean)
    value = pl.lit(cleaned).str.strip_suffix(".")
    # "etc.." still ends with a full stop after one was removed.
    stop = pl.when(value.str.ends_with(".")).then(pl.lit("")).otherwise(pl.lit("."))
    prefix = pl.lit(f"{label}: " if label else "")
    return pl.select(pl.when(value != "").then(prefix + value + stop)).to_series()


def _join(lists: pl.Series, clean: Cleaner) -> pl.Series:
    """Clean the elements of each list and join those that are not empty."""
    atoms = (
        lists.to_frame("atom").with_row_index("row").explode("atom", empty_as_null=True)
    )
    atoms = atoms.with_columns(_clean(atoms["atom"], clean).alias("atom"))
    kept = pl.col("atom").filter(pl.col("atom") != "")
    # A list without elements becomes an empty text, like a missing list.
    joined = atoms.group_by("row", maintain_order=True).agg(kept.str.join(", "))
    return joined["atom"]


def _clean(values: pl.Series, clean: Cleaner) -> pl.Series:
    """Clean every value; null stays null."""
    return (
        clean(values)
        .str.replace_all(r"[\s\p{Cc}]+", " ")
        .str.strip_chars()
        .str.strip_suffix(".")
    )


def _without_tags(values: pl.Series) -> pl.Series:
    """Clean texts by the release's rule for entities and tags."""
    return unescape(values).str.replace_all(r"<[^>]*>", "")
