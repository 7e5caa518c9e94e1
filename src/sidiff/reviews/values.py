"""Values of a table: missing values, ids and texts.

The rules do not depend on the program that wrote the table or the type of the column:

- Missing are the texts in ``NOTHING``, with or without blanks at their ends, and the
  numbers NaN and infinity.
- An id is a text or a whole number. Blanks at its ends are removed, leading zeros
  stay, and a whole number with an empty fraction (``1000.0``) loses it. Lists, objects,
  booleans and fractions are not ids.
- Wrappers of extended JSON (``{"$oid": ...}``) stand for their content.
"""

from __future__ import annotations

import ast
import json
import math
import warnings
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import polars as pl
from polars.datatypes import DataType

_WORDS = ("null", "nan", "none", "n/a", "#n/a")
NOTHING = sorted(
    {spelt for word in _WORDS for spelt in (word, word.upper(), word.capitalize())}
    | {"", r"\N", "NaN", "NA", "<NA>", "NaT", "undefined"}
)
"""Texts that databases, pandas, R and JavaScript print for a missing value."""

_NOTHING = frozenset(NOTHING)
# From here on, a float is not precise enough to represent every whole number.
_LARGEST = 2.0**53
_LARGEST_WHOLE: dict[DataType, float] = {pl.Float64(): _LARGEST, pl.Float32(): 2.0**24}
_WHOLE_DECIMAL = r"^-?\d+(?:\.0+)?$"
_EMPTY_FRACTION = r"^(-?(?:0|[1-9]\d*))\.0+$"
_MAY_BE_UNTIDY = r"\s|\.0"
_LISTS = ("[", "(", "{")
_LONGEST_LIST = 2**20
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def present(text: pl.Expr) -> pl.Expr:
    """Strip texts; missing values become null."""
    bare = text.str.strip_chars()
    return pl.when(~bare.is_in(NOTHING)).then(bare)


def is_id_type(dtype: DataType) -> bool:
    """Test that a column of this type can hold ids."""
    texts = (pl.String, pl.Categorical, pl.Enum, pl.Binary)
    return dtype.is_numeric() or dtype in texts


def identifier(column: pl.Expr, dtype: DataType) -> pl.Expr:
    """Convert a column of an ``is_id_type`` to ids as texts; null if not an id."""
    if dtype.is_float():
        limit = _LARGEST_WHOLE.get(dtype, 2.0**11)
        whole = (column == column.floor()) & (column.abs() < limit)
        column = pl.when(whole).then(column.cast(pl.Int64, strict=False))
    if dtype == pl.Binary:
        # A cast would fail for the whole column if one value is not UTF-8.
        text = column.map_batches(
            lambda ids: pl.Series(ids.name, map(_decoded, ids), pl.String),
            return_dtype=pl.String,
            is_elementwise=True,
        )
    else:
        text = column.cast(pl.String, strict=False)
    if dtype.is_decimal():
        text = pl.when(text.str.contains(_WHOLE_DECIMAL)).then(text)
    elif dtype.is_numeric():
        return text
    return text.map_batches(tidy_ids, return_dtype=pl.String, is_elementwise=True)


def tidy_ids(ids: pl.Series) -> pl.Series:
    """Normalise texts to ids; missing values become null."""
    # Few ids need any change, so these are found first.
    untidy = ids.str.contains(_MAY_BE_UNTIDY)
    if untidy.any():
        tidy = ids.filter(untidy).str.strip_chars().str.replace(_EMPTY_FRACTION, "$1")
        ids = ids.clone().scatter(untidy.arg_true(), tidy)
    nothing = ids.is_in(NOTHING)
    return ids.clone().scatter(nothing.arg_true(), None) if nothing.any() else ids


def id_text(value: object) -> str | None:
    """Convert a parsed value to a text for ``tidy_ids``; None if it is not an id."""
    value = unwrap(value)
    if isinstance(value, bool):
        return None
    if isinstance(value, float | Decimal):
        whole = math.isfinite(value) and value == int(value)
        exact = isinstance(value, Decimal) or abs(value) < _LARGEST
        return str(int(value)) if whole and exact else None
    return str(value) if isinstance(value, int) else _decoded(value)


def plain_text(value: object) -> str | None:
    """Convert a parsed value to one text: digits of a number, ISO 8601 of a time."""
    value = unwrap(value)
    if isinstance(value, bool):
        return None
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else None
    if isinstance(value, int | Decimal | date | time):
        return str(value)
    return _decoded(value)


def unwrap(value: object) -> Any:
    """Return the content of an object of extended JSON; other values unchanged."""
    while isinstance(value, Mapping) and len(value) == 1:
        ((key, inner),) = value.items()
        if not isinstance(key, str) or not key.startswith("$"):
            break
        value = _moment(unwrap(inner)) if key == "$date" else inner
    return value


def words(value: object) -> str | list[Any] | None:
    """Convert a value to a text or a list of texts; None if it is missing."""
    value = unwrap(value)
    value = _decoded(value) if isinstance(value, bytes) else value
    if isinstance(value, str):
        text = value.strip()
        parts = _printed_list(text)
        if parts is not None:
            return words(parts)
        return None if text in _NOTHING else value
    if isinstance(value, Mapping):
        pairs = ((name, joined(words(part))) for name, part in value.items())
        return [f"{name}: {part}" for name, part in pairs if part]
    if isinstance(value, list | tuple):
        return [words(part) for part in value]
    if isinstance(value, float):
        whole = value.is_integer() and abs(value) < _LARGEST
        return str(int(value) if whole else value) if math.isfinite(value) else None
    return str(value) if isinstance(value, int | Decimal | date | time) else None


def joined(found: str | list[Any] | None) -> str | None:
    """Join the result of ``words`` to one text with commas."""
    if isinstance(found, list):
        parts = (joined(part) for part in found)
        return ", ".join(part for part in parts if part)
    return found


def _decoded(value: object) -> str | None:
    """Return a text, or decode bytes; None for invalid Unicode and other types."""
    try:
        if isinstance(value, bytes):
            return value.decode("utf-8")
        if isinstance(value, str):
            return value if value.isascii() else value.encode("utf-8").decode()
    except UnicodeError:
        return None
    return None


def _moment(value: object) -> object:
    """Convert the content of ``$date``: milliseconds since 1970 become ISO 8601."""
    if not isinstance(value, int | float | str):
        return value
    try:
        return (_EPOCH + timedelta(milliseconds=int(value))).isoformat()
    except (ValueError, OverflowError):
        return value


def _printed_list(text: str) -> list[Any] | None:
    """Parse a list or object printed as JSON or Python; None for any other text."""
    if not text.startswith(_LISTS) or len(text) > _LONGEST_LIST:
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = _literal(text)
    if isinstance(found, Mapping):
        return [found]
    return list(found) if isinstance(found, list | tuple) else None


def _literal(text: str) -> Any:
    try:
        with warnings.catch_warnings(action="ignore"):  # of odd escapes
            return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None
