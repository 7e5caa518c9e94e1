"""Values of somebody's table: nothing, an id or words.

One rule each, whatever wrote the table and whatever type its column has there:

- Nothing: an empty text and the words of ``NOTHING``, between blanks or not; NaN and
  infinity where they are numbers.
- An id is a text or a whole number. Blanks at its ends go, zeros at its beginning
  stay, and a whole number with an empty fraction (``1000.0``) is that number. Lists,
  objects, booleans and fractions are none.
- Extended JSON's wrappers (``{"$oid": ...}``) stand for their content.
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
"""Texts that databases, pandas, R and JavaScript print where nothing is."""

_NOTHING = frozenset(NOTHING)
# Whole numbers from here on may stand for several that a float cannot tell apart.
_LARGEST = 2.0**53
_LARGEST_WHOLE: dict[DataType, float] = {pl.Float64(): _LARGEST, pl.Float32(): 2.0**24}
_WHOLE_DECIMAL = r"^-?\d+(?:\.0+)?$"
_EMPTY_FRACTION = r"^(-?(?:0|[1-9]\d*))\.0+$"
_MAY_BE_UNTIDY = r"\s|\.0"
_LISTS = ("[", "(", "{")
_LONGEST_LIST = 2**20
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def present(text: pl.Expr) -> pl.Expr:
    """Texts without the blanks at their ends; null where they say nothing."""
    bare = text.str.strip_chars()
    return pl.when(~bare.is_in(NOTHING)).then(bare)


def is_id_type(dtype: DataType) -> bool:
    """Test that a column of this type can hold ids."""
    texts = (pl.String, pl.Categorical, pl.Enum, pl.Binary)
    return dtype.is_numeric() or dtype in texts


def identifier(column: pl.Expr, dtype: DataType) -> pl.Expr:
    """Ids as texts, null where there is none; ``dtype`` as in ``is_id_type``."""
    if dtype.is_float():
        limit = _LARGEST_WHOLE.get(dtype, 2.0**11)
        whole = (column == column.floor()) & (column.abs() < limit)
        column = pl.when(whole).then(column.cast(pl.Int64, strict=False))
    if dtype == pl.Binary:
        # One text that is none would be an error of the whole column.
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
    """Bring texts that are to be ids into the one form that they have everywhere."""
    # One look at each finds the few that need more.
    untidy = ids.str.contains(_MAY_BE_UNTIDY)
    if untidy.any():
        tidy = ids.filter(untidy).str.strip_chars().str.replace(_EMPTY_FRACTION, "$1")
        ids = ids.clone().scatter(untidy.arg_true(), tidy)
    nothing = ids.is_in(NOTHING)
    return ids.clone().scatter(nothing.arg_true(), None) if nothing.any() else ids


def id_text(value: object) -> str | None:
    """A parsed value as the text that ``tidy_ids`` takes; None where it is no id."""
    value = unwrap(value)
    if isinstance(value, bool):
        return None
    if isinstance(value, float | Decimal):
        whole = math.isfinite(value) and value == int(value)
        exact = isinstance(value, Decimal) or abs(value) < _LARGEST
        return str(int(value)) if whole and exact else None
    return str(value) if isinstance(value, int) else _decoded(value)


def plain_text(value: object) -> str | None:
    """A parsed value as one text: of a number its digits, of a moment ISO 8601."""
    value = unwrap(value)
    if isinstance(value, bool):
        return None
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else None
    if isinstance(value, int | Decimal | date | time):
        return str(value)
    return _decoded(value)


def unwrap(value: object) -> Any:
    """The content of an object of extended JSON; whatever else as it is."""
    while isinstance(value, Mapping) and len(value) == 1:
        ((key, inner),) = value.items()
        if not isinstance(key, str) or not key.startswith("$"):
            break
        value = _moment(unwrap(inner)) if key == "$date" else inner
    return value


def words(value: object) -> str | list[Any] | None:
    """A value as a text or as a list of texts; None where it says nothing in words."""
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
    """``words`` as one text: of a list its parts, between commas."""
    if isinstance(found, list):
        parts = (joined(part) for part in found)
        return ", ".join(part for part in parts if part)
    return found


def _decoded(value: object) -> str | None:
    """A text, or bytes that are one; None for half a surrogate pair and all else."""
    try:
        if isinstance(value, bytes):
            return value.decode("utf-8")
        if isinstance(value, str):
            return value if value.isascii() else value.encode("utf-8").decode()
    except UnicodeError:
        return None
    return None


def _moment(value: object) -> object:
    """The content of ``$date``: a text, or milliseconds since 1970 as a text."""
    if not isinstance(value, int | float | str):
        return value
    try:
        return (_EPOCH + timedelta(milliseconds=int(value))).isoformat()
    except (ValueError, OverflowError):
        return value


def _printed_list(text: str) -> list[Any] | None:
    """A list or object printed by JSON or Python; None for any other text."""
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
