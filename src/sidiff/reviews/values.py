"""Values of somebody's table: nothing, an id, a number or words.

One rule each, whatever wrote the table and whatever type its column has there:

- Nothing: an empty text and the words of ``NOTHING``, between blanks or not; NaN and
  infinity where they are numbers.
- An id is a text or a whole number. Blanks at its ends go, zeros at its beginning
  stay, and a whole number with an empty fraction (``1000.0``) is that number. Lists,
  objects, booleans, fractions, numbers that were cut to their first digits
  (``1.2346e+22``) and texts with letters that were lost (U+FFFD) are none.
- Extended JSON's wrappers (``{"$oid": ...}``) stand for what is in them.
"""

from __future__ import annotations

import ast
import json
import math
import re
import warnings
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import polars as pl
from polars.datatypes import DataType

_WORDS = ("null", "nan", "none", "n/a", "#n/a", "(null)")
NOTHING = sorted(
    {spelt for word in _WORDS for spelt in (word, word.upper(), word.capitalize())}
    | {"", r"\N", "NaN", "NA", "<NA>", "NaT", "undefined", "[NULL]", "-", "#N/A N/A"}
    | {"#REF!", "#VALUE!", "#NAME?", "#DIV/0!", "#NULL!", "#NUM!", "[object Object]"}
)
"""Texts that databases, pandas, R, Java and JavaScript print where nothing is."""

_NOTHING = frozenset(NOTHING)
# Whole numbers from here on may stand for several that a float cannot tell apart.
_LARGEST = 2.0**53
_LARGEST_WHOLE: dict[DataType, float] = {pl.Float64(): _LARGEST, pl.Float32(): 2.0**24}
_NUMBER_AS_TEXT = r"^-?\d+\.0+$"
_EMPTY_FRACTION = r"^(-?(?:0|[1-9]\d*))\.0+$"
_CUT_NUMBER = r"^-?\d([.,]\d+)?[eE]\+\d+$|^-?\d[.,]\d+[eE]\d\d+$|\x{fffd}"
_WRAPPED_ID = (
    r'^(?:\{\s*"\$oid"\s*:\s*"([^"]+)"\s*\}|ObjectId\(["\x{27}]?(\w+)["\x{27}]?\))$'
)
_NOT_TIDY = r"\s|\.0|[eE]\+|[.,]\d+[eE]|\x{fffd}|^\{|^Obj"
_SEVERAL = ("[", "(", "{", "array(")
_LONGEST_LIST = 2**20
_QUOTED = r"'[^']*'|\"[^\"]*\""
# numpy prints no commas, and Python would take the texts of such a list for one.
_NUMPY_LIST = re.compile(rf"\[\s*(?:{_QUOTED})(?:\s+(?:{_QUOTED}))+\s*\]")
_NUMPY_ARRAY = re.compile(r"array\((\[.*\])(?:,\s*dtype=[^()]*)?\)", re.DOTALL)
# A text, or a word that stands for nothing where Python has no such name
_TEXT_OR_NOTHING = re.compile(rf"({_QUOTED})|(?<!\w)-?(?:nan|NaN|inf|null|NULL)(?!\w)")
# Java's and PostgreSQL's lists, whose texts need no marks: [red vase, lamp], {a,"b, c"}
_JAVA_LIST = re.compile(r"\[([^\[\]{}\"]*)\]")
_POSTGRES_LIST = re.compile(
    r'\{((?:"(?:[^"\\]|\\.)*"|[^\s,"{}\\]+)(?:,(?:"(?:[^"\\]|\\.)*"|[^\s,"{}\\]+))*)\}'
)
_POSTGRES_PART = re.compile(r'"((?:[^"\\]|\\.)*)"|([^,]+)')
_LONGEST_NUMBERS = 16
"""Fractions in a list of more are a vector, and no words."""
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
        text = pl.when(text.str.contains(_NUMBER_AS_TEXT + r"|^-?\d+$")).then(text)
    elif dtype.is_numeric():
        return text
    return text.map_batches(tidy_ids, return_dtype=pl.String, is_elementwise=True)


def tidy_ids(ids: pl.Series) -> pl.Series:
    """Bring texts that are to be ids into the one form that they have everywhere."""
    # One look at each finds the few that need more.
    odd = ids.str.contains(_NOT_TIDY)
    if odd.any():
        tidy = ids.filter(odd).str.strip_chars().str.replace(_EMPTY_FRACTION, "$1")
        tidy = tidy.str.replace(_WRAPPED_ID, "$1$2")
        lost = tidy.str.contains(_CUT_NUMBER)
        kept = pl.select(pl.when(~lost).then(tidy)).to_series()
        ids = ids.clone().scatter(odd.arg_true(), kept)
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
    if isinstance(value, int):
        return str(value)
    return _decoded(value)


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
        if key == "$date":
            inner = _moment(unwrap(inner))
        value = inner
    return value


def words(value: object) -> str | list[Any] | None:
    """A value as a text or as a list of texts; None where it says nothing in words."""
    value = unwrap(value)
    if isinstance(value, bytes):
        text = _decoded(value) or ""
        value = text if all(c.isprintable() or c.isspace() for c in text) else None
    if isinstance(value, str):
        text = value.strip()
        value = None if text in _NOTHING else value
        several = _list_as_text(text) if value else None
        return value if several is None else words(several)
    if isinstance(value, Mapping):
        pairs = ((name, _joined(words(part))) for name, part in value.items())
        return [f"{name}: {part}" for name, part in pairs if part]
    if isinstance(value, list | tuple):
        vector = len(value) > _LONGEST_NUMBERS
        return [words(v) for v in value if not (vector and isinstance(v, float))]
    if isinstance(value, float):
        whole = value.is_integer() and abs(value) < _LARGEST
        return str(int(value) if whole else value) if math.isfinite(value) else None
    return str(value) if isinstance(value, int | Decimal | date | time) else None


def _joined(found: str | list[Any] | None) -> str | None:
    """Words as one text, of a list its parts."""
    if isinstance(found, list):
        parts = (_joined(part) for part in found)
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


def _list_as_text(text: str) -> list[Any] | None:
    """A list that a program printed; None for any other text."""
    if not text.startswith(_SEVERAL) or len(text) > _LONGEST_LIST:
        return None
    array = _NUMPY_ARRAY.fullmatch(text)
    text = array[1] if array else text
    if _NUMPY_LIST.fullmatch(text):
        return [part[1:-1] for part in re.findall(_QUOTED, text)]
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = _literal(_TEXT_OR_NOTHING.sub(lambda part: part[1] or "None", text))
    if found is None:
        found = _bare_parts(text)
    if isinstance(found, Mapping):
        return [found]
    if isinstance(found, set):
        found = _literal(f"[{text[1:-1]}]")  # in the order in which it was printed
    return list(found) if isinstance(found, list | tuple) else None


def _literal(text: str) -> Any:
    try:
        with warnings.catch_warnings(action="ignore"):  # of odd escapes
            return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None


def _bare_parts(text: str) -> list[str] | None:
    """Parts of a list whose texts need no marks; None for any other text."""
    if java := _JAVA_LIST.fullmatch(text):
        inside = java[1].strip()
        marked = inside[:1] == inside[-1:] == "'"
        parts = inside[1:-1].split("', '") if marked else inside.split(", ")
        whole = all(part.count("(") == part.count(")") for part in parts)
        return parts if whole and (marked or len(parts) > 1) else None
    if postgres := _POSTGRES_LIST.fullmatch(text):
        found = _POSTGRES_PART.findall(postgres[1])
        return [bare or re.sub(r"\\(.)", r"\1", quoted) for quoted, bare in found]
    return None
