"""Line layouts of the public Amazon review data.

A layout names the keys of a review line and of a metadata line, and converts a parsed
line to a typed row. A line with a wrong id or time is malformed; a wrong rating, text
or price becomes null.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

LATEST_SECOND = 4_102_444_800
"""2100-01-01: a later time is in another unit than the layout says."""
_PRICE = re.compile(r"\s*\$?\s*(\d{1,3}(?:,\d{3})+|\d+)(\.\d+)?\s*")


class MalformedLineError(ValueError):
    """A line that cannot be converted to a row; the message is the reason."""


@dataclass(frozen=True)
class ReviewLayout:
    """Keys of a review line, its name in ``looks_like``, and the unit of its time.

    Times count from 1970 UTC, in seconds (1 tick a second) or milliseconds (1000).
    """

    looks: str
    user: str
    item: str
    timestamp: str
    ticks_per_second: int
    rating: str

    def read(self, line: Mapping[str, Any]) -> tuple[str, str, int, int, float | None]:
        """Return user id, item id, second, microsecond within it, and rating.

        Raises:
            MalformedLineError: an id or the time is missing or wrong.
        """
        return (
            _identifier(line, self.user),
            _identifier(line, self.item),
            *self._time(line),
            _number(line.get(self.rating)),
        )

    def _time(self, line: Mapping[str, Any]) -> tuple[int, int]:
        ticks = _number(line.get(self.timestamp))
        if ticks is None or not ticks.is_integer():
            raise MalformedLineError(f"no whole number in {self.timestamp}")
        seconds, rest = divmod(int(ticks), self.ticks_per_second)
        if not 0 <= seconds < LATEST_SECOND:
            raise MalformedLineError(
                f"{self.timestamp} {int(ticks)} is not a time from 1970 to 2100"
            )
        return seconds, rest * 10**6 // self.ticks_per_second


@dataclass(frozen=True)
class ItemLayout:
    """Keys of a metadata line, and its name in ``looks_like``.

    Categories are a list or a list of lists, a price is a number or a text such as
    ``"$12.99"``, features are a list, the description is a text or a list of texts.
    """

    looks: str
    item: str
    title: str = "title"
    brand: str = "brand"
    categories: str = "categories"
    price: str = "price"
    features: str = "features"
    description: str = "description"

    def read(self, line: Mapping[str, Any]) -> tuple[Any, ...]:
        """Return item id, title, brand, categories, price, features, description.

        Raises:
            MalformedLineError: the item id is missing or wrong.
        """
        return (
            _identifier(line, self.item),
            _text(line.get(self.title)),
            _text(line.get(self.brand)),
            texts(line.get(self.categories)),
            _price(line.get(self.price)),
            texts(line.get(self.features)),
            _text(line.get(self.description)),
        )


@dataclass(frozen=True)
class Layout:
    """Layouts of the review lines and the metadata lines of one version of the data."""

    reviews: ReviewLayout
    items: ItemLayout


_REVIEWS_2014 = ReviewLayout(
    looks="amazon2014 or amazon2018 reviews",
    user="reviewerID",
    item="asin",
    timestamp="unixReviewTime",
    ticks_per_second=1,
    rating="overall",
)
_REVIEWS_2023 = ReviewLayout(
    looks="amazon2023 reviews",
    user="user_id",
    item="parent_asin",
    timestamp="timestamp",
    ticks_per_second=1000,
    rating="rating",
)
_ITEMS_2014 = ItemLayout("amazon2014 metadata", item="asin", features="feature")
_ITEMS_2018 = replace(_ITEMS_2014, looks="amazon2018 metadata", categories="category")
_ITEMS_2023 = ItemLayout("amazon2023 metadata", item="parent_asin", brand="store")

LAYOUTS: Mapping[str, Layout] = {
    "amazon2014": Layout(reviews=_REVIEWS_2014, items=_ITEMS_2014),
    "amazon2018": Layout(reviews=_REVIEWS_2014, items=_ITEMS_2018),
    "amazon2023": Layout(reviews=_REVIEWS_2023, items=_ITEMS_2023),
}

# A line looks like the first of these whose keys it has.
_SIGNATURES: tuple[tuple[str, frozenset[str]], ...] = (
    (_REVIEWS_2023.looks, frozenset({"user_id", "parent_asin"})),
    (_REVIEWS_2014.looks, frozenset({"reviewerID"})),
    (_ITEMS_2023.looks, frozenset({"parent_asin"})),
    (_ITEMS_2018.looks, frozenset({"asin", "category"})),
    (_ITEMS_2014.looks, frozenset({"asin"})),
)


def looks_like(line: Mapping[str, Any]) -> str:
    """Name the layout that a line seems to have, for messages about a wrong one."""
    for name, keys in _SIGNATURES:
        if keys <= line.keys():
            return name
    return "no known layout"


def texts(value: object) -> list[str] | None:
    """Flatten a text, a list of texts or a list of lists of texts."""
    if not isinstance(value, list):
        text = _text(value)
        return None if text is None else [text]
    lists = (entry if isinstance(entry, list) else [entry] for entry in value)
    found = (_text(part) for entry in lists for part in entry)
    return [text for text in found if text is not None]


def _identifier(line: Mapping[str, Any], key: str) -> str:
    value = line.get(key)
    if not isinstance(value, str) or not value:
        raise MalformedLineError(f"no text in {key}")
    # JSON can hold half of a surrogate pair, which is not valid UTF-8.
    if not value.isascii() and _encodable(value) != value:
        raise MalformedLineError(f"{key} is not valid Unicode")
    return value


def _encodable(value: str) -> str:
    return value.encode("utf-8", errors="replace").decode()


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _text(value: object) -> str | None:
    if isinstance(value, list):
        return " ".join(texts(value) or []) or None
    if not isinstance(value, str) or not value:
        return None
    return value if value.isascii() else _encodable(value)


def _price(value: object) -> float | None:
    """Convert a number, or a text of one amount; ranges and HTML become null."""
    if isinstance(value, str):
        amount = _PRICE.fullmatch(value)
        return float("".join(amount.groups("")).replace(",", "")) if amount else None
    return _number(value)
