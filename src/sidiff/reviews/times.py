"""Times of rows, from texts, dates and numbers.

Texts are ISO 8601 in every form that names a day: calendar, week or ordinal date; basic
or extended; a time with or without seconds, and a fraction after a point or comma; zone
as ``Z``, ``UTC``, ``GMT`` or an offset. A blank may replace the ``T`` (as in SQL), and
the name of the zone may follow its offset in brackets (as in java.time). Times without
a zone are UTC; the name of a zone without an offset is not accepted.

Numbers count from 1970 in one unit. A number that is a plausible time in a coarser unit
was probably written by another program and is rejected.
"""

from __future__ import annotations

from typing import NamedTuple

import polars as pl
from polars.datatypes import DataType

from sidiff.reviews.layouts import LATEST_SECOND

TICKS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
"""Ticks a second of each unit, coarsest unit first."""
PLAUSIBLE_SECOND = 631_152_000
"""1990-01-01: logs are rarely older."""

# Most texts have one of these formats; the grammar below covers the others.
_COMMON = ("%Y-%m-%dT%H:%M:%S%.f%#z", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d")
_ISO = (
    r"^(?:(?<year>\d{4})"
    r"(?:-(?<month>\d\d)-(?<day>\d\d)|(?<month_b>\d\d)(?<day_b>\d\d)"
    r"|-?W(?<week>\d\d)-?(?<weekday>[1-7])|-?(?<ordinal>\d{3})))"
    r"(?:(?:[Tt]|\s+)(?<hour>\d\d)"
    r"(?::?(?<minute>\d\d)(?::?(?<second>\d\d))?)?(?:[.,](?<fraction>\d+))?"
    r"(?:\s*(?:[Zz]|UTC|GMT|(?<sign>[+-])(?<zone_hour>\d\d)(?::?(?<zone_minute>\d\d))?)"
    r"(?:\[[\w/+-]+\])?)?)?$"
)
_DAY, _HOUR, _MINUTE = 86_400, 3600, 60
_MICRO = 10**6
_LAST_HOUR, _LAST_MINUTE, _LEAP_SECOND, _WIDEST_ZONE = 24, 59, 60, 18 * 3600


def is_moment_type(dtype: DataType) -> bool:
    """Test that a column of this type can be read as ``datetime``."""
    moment = dtype.is_temporal() and dtype not in (pl.Time, pl.Duration)
    return moment or dtype == pl.String


class Time(NamedTuple):
    """Columns of a time.

    Attributes:
        seconds: since 1970 UTC, i64, rounded down; null where there is no time.
        microseconds: fraction of the second, i32, 0 to 999,999.
        other_unit: the number is a time from 1990 to 2100 in a coarser unit.
    """

    seconds: pl.Expr
    microseconds: pl.Expr
    other_unit: pl.Expr


def moments(column: pl.Expr, dtype: DataType) -> Time:
    """Convert dates, datetimes or texts, of an ``is_moment_type``, to times."""
    if dtype == pl.String:
        total = column.map_batches(read_iso, return_dtype=pl.Int64, is_elementwise=True)
    else:
        total = column.cast(pl.Datetime("us")).to_physical()
    part = (total % _MICRO).cast(pl.Int32)
    return Time(total // _MICRO, part, pl.lit(value=False))


def ticks(column: pl.Expr, dtype: DataType, unit: str) -> Time:
    """Convert numbers, or texts of digits, in ``unit`` to times."""
    number = column.str.strip_chars() if dtype == pl.String else column
    whole = number.cast(pl.Int64, strict=False)
    size = TICKS[unit]
    rest = whole % size * _MICRO // size
    if not dtype.is_integer():
        # 1.6e9 and 1600000000.25 are times as well.
        real = number.cast(pl.Float64, strict=False)
        whole = pl.coalesce(whole, real.floor().cast(pl.Int64, strict=False))
        rest = ((whole % size + (real - real.floor())) * (_MICRO / size)).floor()
    coarser = (
        whole.is_between(PLAUSIBLE_SECOND * coarse, LATEST_SECOND * coarse)
        for coarse in TICKS.values()
        if coarse < size
    )
    other = pl.any_horizontal(pl.lit(value=False), *coarser)
    return Time(whole // size, rest.cast(pl.Int32, strict=False), other)


def read_iso(texts: pl.Series) -> pl.Series:
    """Parse ISO 8601 texts: microseconds since 1970 UTC, i64, null if invalid."""
    bare = texts.str.strip_chars()
    total = pl.Series(texts.name, [None], dtype=pl.Int64).new_from_index(0, len(texts))
    usual = bare.str.replace(" ", "T", literal=True)
    for form in _COMMON:
        left = total.is_null() & usual.is_not_null()
        if not left.any():
            return total
        read = usual.filter(left).str.to_datetime(
            form, time_unit="us", time_zone="UTC", strict=False
        )
        total = _filled(total, left, read.to_physical())
    left = total.is_null() & bare.is_not_null()
    return _filled(total, left, _read_any(bare.filter(left)))


def _filled(old: pl.Series, where: pl.Series, new: pl.Series) -> pl.Series:
    """Replace the rows of ``old`` that ``where`` marks by ``new``."""
    return old.scatter(where.arg_true(), new) if len(new) else old


def _read_any(texts: pl.Series) -> pl.Series:
    """Parse texts by the whole grammar; result as of ``read_iso``."""
    parts = texts.to_frame("text").select(pl.col("text").str.extract_groups(_ISO))
    parts = parts.unnest("text")

    def number(name: str) -> pl.Expr:
        return pl.col(name).cast(pl.Int64).fill_null(0)

    def date(form: str, *names: str) -> pl.Expr:
        text = pl.concat_str("year", *names, separator="-")
        return text.str.to_date(form, strict=False).cast(pl.Int32).cast(pl.Int64)

    day = pl.coalesce(
        date("%Y-%m-%d", "month", "day"),
        date("%Y-%m-%d", "month_b", "day_b"),
        date("%G-%V-%u", "week", "weekday"),
        date("%Y-%j", "ordinal"),
    )
    hour, minute, second = number("hour"), number("minute"), number("second")
    # A fraction belongs to the smallest part given: hours, minutes or seconds.
    unit = (
        pl.when(pl.col("minute").is_null())
        .then(_HOUR)
        .when(pl.col("second").is_null())
        .then(_MINUTE)
        .otherwise(1)
    )
    fraction = pl.concat_str(pl.lit("0."), "fraction").cast(pl.Float64).fill_null(0.0)
    # Add a little before rounding down, as binary fractions are inexact.
    within = (fraction * unit * _MICRO + 1e-3).floor().cast(pl.Int64)
    within += (_HOUR * hour + _MINUTE * minute + second) * _MICRO
    zone = _HOUR * number("zone_hour") + _MINUTE * number("zone_minute")
    ahead = pl.when(pl.col("sign") == "+").then(zone).otherwise(-zone)
    legal = (
        (hour <= _LAST_HOUR)
        & (minute <= _LAST_MINUTE)
        & (second <= _LEAP_SECOND)
        & ((hour < _LAST_HOUR) | (within == _DAY * _MICRO))
        & (zone <= _WIDEST_ZONE)
        & (number("zone_minute") <= _LAST_MINUTE)
    )
    total = (day * _DAY - ahead) * _MICRO + within
    return parts.select(pl.when(legal).then(total)).to_series()
