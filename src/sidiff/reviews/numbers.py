"""Numbers in texts, with currencies, decimal commas and separators of thousands.

A currency before or behind the number is removed. ``1,299.50`` has a decimal point and
``1.299,50`` a decimal comma. An ambiguous text (``1.299``, ``1,299``) is read like the
others of its column. If all are ambiguous, a comma before three digits separates
thousands, and a point is decimal unless the text has a currency. Ranges and all other
texts are not a single amount.
"""

from __future__ import annotations

import polars as pl

from sidiff.reviews.values import present

_CURRENCY = r"(?i:(?:us)?\p{Sc}|usd|euros?|eur|gbp|chf|jpy)"
_POINT = r"^[+-]?(?:\d+|[1-9]\d{0,2}(?:,\d{3})+)?(?:\.\d*)?(?:[eE][+-]?\d+)?$"
_COMMA = r"^[+-]?(?:\d+|[1-9]\d{0,2}(?:\.\d{3})+)?(?:,\d+)?$"


def read_numbers(texts: pl.Series) -> pl.Series:
    """Convert a column of texts to numbers: f64, null if not a single amount."""
    text = pl.col("text")
    amount = text.str.replace(rf"^([+-]?)\s*{_CURRENCY}\s*", "$1")
    amount = amount.str.replace(rf"\s*{_CURRENCY}$", "")
    frame = texts.to_frame("text").select(text=present(text))
    frame = frame.with_columns(amount=amount).with_columns(
        point=pl.col("amount").str.contains(_POINT),
        comma=pl.col("amount").str.contains(_COMMA),
    )
    point, comma, amount = pl.col("point"), pl.col("comma"), pl.col("amount")
    any_point, any_comma = frame.select(
        point=(point & ~comma).any(), comma=(comma & ~point).any()
    ).row(0)
    ambiguous = point & comma & amount.str.contains("[.,]")
    unclear = pl.lit(value=False)
    if any_point and any_comma:
        unclear = ambiguous
    elif any_comma:
        point &= ~ambiguous
    elif not any_point:
        has_currency = amount != text
        unclear = ambiguous & has_currency & amount.str.contains(".", literal=True)
    without_points = amount.str.replace_all(".", "", literal=True)
    number = (
        pl.when(point & ~unclear)
        .then(amount.str.replace_all(",", "", literal=True))
        .when(comma & ~unclear)
        .then(without_points.str.replace(",", ".", literal=True))
        .cast(pl.Float64, strict=False)
    )
    return frame.select(pl.when(number.is_finite()).then(number)).to_series()
