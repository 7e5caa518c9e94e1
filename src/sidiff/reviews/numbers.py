"""Numbers as people write them.

A currency's sign or letters and a stroke for no cents go. Of point and comma, the last
that stands in a text with both is the decimal mark, and the other parts thousands; one
that stands alone is the decimal mark unless it comes more than once, each time before
three digits. Before exactly three digits a single one can be either: the column
decides, in which it is the thousands' mark if some other text has it so or has the
other mark before its decimals. Where the column says nothing, or both, ``1.299`` has a
decimal point if nothing else stands in the text, and ``$1,299`` thousands if no text
says otherwise. Ranges and whatever else is no single amount are not told.
"""

from __future__ import annotations

import polars as pl

from sidiff.reviews.values import present

_MACHINE = r"^[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?$"
_CURRENCY = (
    r"(?i:\p{Sc}|usd|us\$|eur|euro|gbp|chf|sfr\.?|fr\.|jpy|cny|rmb|inr|rs\.?|cad|aud|nzd"
    r"|sek|nok|dkk|kr\.?|pln|zł|czk|kč|huf|ft|ron|lei|bgn|rub|uah"
    r"|try|tl|brl|r\$|mxn|zar|sgd|hkd|krw|ils|thb|円|元)"
)
_AMOUNT = rf"^(?:{_CURRENCY})?([+-]?)(?:{_CURRENCY})?(\d[\d.,]*)(?:{_CURRENCY})?$"
# Between digits: blanks and apostrophes part thousands in France and Switzerland.
_THOUSANDS = r"(\d)[\s\x{a0}\x{202f}'\x{2019}](\d{3}(?:\D|$))"
_BLANK_AFTER = r"([^\d\s\x{a0}\x{202f}])[\s\x{a0}\x{202f}]+"
_BLANK_BEFORE = r"[\s\x{a0}\x{202f}]+([^\d\s\x{a0}\x{202f}])"
_NO_CENTS = r"[.,](?:-|--|\x{2013}|\x{2014})"
_POINTS, _COMMAS = r"^[1-9]\d{0,2}(?:\.\d{3})+$", r"^[1-9]\d{0,2}(?:,\d{3})+$"
_POINT_LAST = r"^(?:\d+|\d{1,3}(?:,\d{3})+)?\.\d+$"
_COMMA_LAST = r"^(?:\d+|\d{1,3}(?:\.\d{3})+)?,\d+$"


def read_numbers(texts: pl.Series) -> pl.Series:
    """Read a column of numbers: f64, null where no single amount can be told."""
    frame = texts.to_frame("text").select(bare=present(pl.col("text")))
    bare = pl.col("bare")
    frame = frame.with_columns(machine=bare.str.contains(_MACHINE))
    amount = bare
    for _ in range(3):  # 1 234 567: a mark and the digit after it are read at once
        amount = amount.str.replace_all(_THOUSANDS, "${1}${2}")
    # Blanks between digits part two numbers, which are no single amount.
    amount = amount.str.replace(_NO_CENTS, "").str.strip_chars()
    for blank in (_BLANK_AFTER, _BLANK_BEFORE):
        amount = amount.str.replace_all(blank, "${1}")
    frame = frame.with_columns(
        sign=amount.str.extract(_AMOUNT, 1), digits=amount.str.extract(_AMOUNT, 2)
    )
    digits = pl.col("digits")
    points, commas = digits.str.contains(_POINTS), digits.str.contains(_COMMAS)
    point_last = digits.str.contains(_POINT_LAST) & ~points
    comma_last = digits.str.contains(_COMMA_LAST) & ~commas
    several = digits.str.count_matches(r"[.,]") > 1
    tells_point = point_last | (commas & several)
    tells_comma = comma_last | (points & several)
    told = frame.select(point=tells_point.any(), comma=tells_comma.any())
    by_point, by_comma = told.row(0)
    point, comma = tells_point, tells_comma
    doubtful = (points | commas) & ~several
    if by_comma and not by_point:
        comma = comma | doubtful
    elif by_point and not by_comma:
        point = point | doubtful
    else:
        # A bare 1.299 was printed by a machine; a price like $1,299 by a person.
        shown = commas if not by_point else pl.lit(value=False)
        point = point | (doubtful & (pl.col("machine") | shown))
    no_points = digits.str.replace_all(".", "", literal=True)
    number = (
        pl.when(digits.str.contains(r"^\d+$"))
        .then(digits)
        .when(point)
        .then(digits.str.replace_all(",", "", literal=True))
        .when(comma)
        .then(no_points.str.replace(",", ".", literal=True))
    )
    signed = pl.concat_str("sign", number).cast(pl.Float64, strict=False)
    machine = pl.when(pl.col("machine") & digits.is_null()).then(bare)
    value = pl.coalesce(signed, machine.cast(pl.Float64, strict=False))
    return frame.select(pl.when(value.is_finite()).then(value)).to_series()
