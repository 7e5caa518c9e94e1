from __future__ import annotations

from typing import Any

import pytest

from sidiff.reviews.layouts import (
    LAYOUTS,
    MalformedLineError,
    looks_like,
)

REVIEW_2014 = {
    "reviewerID": "A2SUAM1J3GNN3B",
    "asin": "0000013714",
    "reviewerName": "Synthetic",
    "helpful": [2, 3],
    "overall": 5.0,
    "unixReviewTime": 1252800000,
    "reviewTime": "09 13, 2009",
}
REVIEW_2023 = {
    "rating": 4.0,
    "asin": "B00YQ6X8EO",
    "parent_asin": "B00YQ6X8EX",
    "user_id": "AGKHLEW2SOWHNMFQIJGBECAF7INQ",
    "timestamp": 1588687728923,
}
ITEM_2014 = {
    "asin": "0000191639",
    "description": "Three Dr. Suess' Puzzles",
    "title": "Puzzles",
    "price": 37,
    "salesRank": {"Toys & Games": 612379},
    "brand": "Dr. Seuss",
    "categories": [["Toys & Games", "Puzzles"], ["Toys & Games", "Jigsaw"]],
}
ITEM_2018 = {
    "asin": "B001BKEWF2",
    "title": "Serendipity 3 $100.00 Gift Card",
    "category": ["Gift Cards", "Gift Cards"],
    "feature": ["Paper"],
    "description": ["For one.", "", "Not online."],
    "brand": "Serendipity 3",
    "price": "$1,100.00",
}
ITEM_2023 = {
    "parent_asin": "B01CUPMQZE",
    "title": "Howard LC0008",
    "store": "Howard Products",
    "categories": ["Beauty", "Hair"],
    "features": ["Cleans", "Shines"],
    "description": [],
    "price": 21.99,
    "main_category": "All Beauty",
}


def test_reviews_of_every_layout() -> None:
    row = ("A2SUAM1J3GNN3B", "0000013714", 1252800000, 0, 5.0)
    assert LAYOUTS["amazon2014"].reviews.read(REVIEW_2014) == row
    assert LAYOUTS["amazon2018"].reviews.read(REVIEW_2014) == row
    assert LAYOUTS["amazon2023"].reviews.read(REVIEW_2023) == (
        "AGKHLEW2SOWHNMFQIJGBECAF7INQ",
        "B00YQ6X8EX",
        1588687728,
        923_000,
        4.0,
    )


def test_metadata_of_every_layout() -> None:
    assert LAYOUTS["amazon2014"].items.read(ITEM_2014) == (
        "0000191639",
        "Puzzles",
        "Dr. Seuss",
        ["Toys & Games", "Puzzles", "Toys & Games", "Jigsaw"],
        37.0,
        None,
        "Three Dr. Suess' Puzzles",
    )
    assert LAYOUTS["amazon2018"].items.read(ITEM_2018) == (
        "B001BKEWF2",
        "Serendipity 3 $100.00 Gift Card",
        "Serendipity 3",
        ["Gift Cards", "Gift Cards"],
        1100.0,
        ["Paper"],
        "For one. Not online.",
    )
    assert LAYOUTS["amazon2023"].items.read(ITEM_2023) == (
        "B01CUPMQZE",
        "Howard LC0008",
        "Howard Products",
        ["Beauty", "Hair"],
        21.99,
        ["Cleans", "Shines"],
        None,
    )


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"reviewerID": None}, "no text in reviewerID"),
        ({"reviewerID": ""}, "no text in reviewerID"),
        ({"asin": 13714}, "no text in asin"),
        ({"asin": "B\ud83d"}, "asin is not valid Unicode"),
        ({"unixReviewTime": None}, "no whole number in unixReviewTime"),
        ({"unixReviewTime": True}, "no whole number in unixReviewTime"),
        ({"unixReviewTime": 1.5}, "no whole number in unixReviewTime"),
        ({"unixReviewTime": float("nan")}, "no whole number in unixReviewTime"),
        ({"unixReviewTime": [1]}, "no whole number in unixReviewTime"),
        ({"unixReviewTime": 1252800000000}, "not a time from 1970 to 2100"),
        ({"unixReviewTime": -1}, "not a time from 1970 to 2100"),
    ],
)
def test_a_review_needs_ids_and_a_time(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(MalformedLineError, match=reason):
        LAYOUTS["amazon2014"].reviews.read(REVIEW_2014 | change)


@pytest.mark.parametrize("time", [1252800000, 1252800000.0, "1252800000"])
def test_spellings_of_a_time(time: object) -> None:
    line = REVIEW_2014 | {"unixReviewTime": time}
    assert LAYOUTS["amazon2014"].reviews.read(line)[2] == 1252800000


@pytest.mark.parametrize("rating", [None, "five", True, 10**400, [5]])
def test_a_wrong_rating_is_null(rating: object) -> None:
    line = REVIEW_2014 | {"overall": rating}
    assert LAYOUTS["amazon2014"].reviews.read(line)[4] is None


@pytest.mark.parametrize(
    ("price", "expected"),
    [
        ("$12.99", 12.99),
        ("12.99", 12.99),
        (" $1,234,567.80\n", 1234567.8),
        ("$5", 5.0),
        (5, 5.0),
        ("$12.99 - $15.99", None),
        ("from 12.99", None),
        (".a-box-inner{background-color:#fff}", None),
        ("$1,2", None),
        ("", None),
        ("None", None),
        (float("inf"), None),
        (None, None),
        ([1.0], None),
    ],
)
def test_prices(price: object, expected: float | None) -> None:
    assert LAYOUTS["amazon2018"].items.read(ITEM_2018 | {"price": price})[4] == expected


def test_odd_descriptive_values_do_not_cost_the_line() -> None:
    line = {
        "asin": "B0",
        "title": "half a pair \ud83d",
        "brand": 7,
        "categories": "Beauty",
        "feature": [None, 3, "soft", ["deep"]],
        "description": {"text": "x"},
    }
    assert LAYOUTS["amazon2014"].items.read(line) == (
        "B0",
        "half a pair ?",
        None,
        ["Beauty"],
        None,
        ["soft", "deep"],
        None,
    )


def test_lines_are_recognised_by_their_keys() -> None:
    assert looks_like(REVIEW_2014) == "amazon2014 or amazon2018 reviews"
    assert looks_like(REVIEW_2023) == "amazon2023 reviews"
    assert looks_like(ITEM_2014) == "amazon2014 metadata"
    assert looks_like(ITEM_2018) == "amazon2018 metadata"
    assert looks_like(ITEM_2023) == "amazon2023 metadata"
    assert looks_like({"user": "a", "item": "b"}) == "no known layout"
