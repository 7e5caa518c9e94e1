from __future__ import annotations

import html
import re
from collections.abc import Sequence

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidiff.reviews.settings import TextFieldParameters
from sidiff.reviews.text import render_texts

SCHEMA = {
    "item_id": pl.String,
    "title": pl.String,
    "brand": pl.String,
    "categories": pl.List(pl.String),
    "price": pl.Float64,
    "features": pl.List(pl.String),
    "description": pl.String,
}
TEXTS = st.text(
    st.sampled_from("ab.é &<>;\n\t\u00a0") | st.characters(codec="utf-8"), max_size=12
) | st.sampled_from(
    ["&amp;", "&lt;b&gt;x", "a<br />b", "etc...", ".", "&#233;t&eacute;"]
)


def template(*fields: str) -> list[TextFieldParameters]:
    return [
        TextFieldParameters.model_validate({"field": field, "label": field.title()})
        for field in fields
    ]


def catalogue(*rows: dict[str, object]) -> pl.DataFrame:
    return pl.DataFrame(
        [{name: row.get(name) for name in SCHEMA} for row in rows], schema=SCHEMA
    )


def render(row: dict[str, object], *fields: str) -> str:
    items = catalogue({"item_id": "ID"} | row)
    text: str = render_texts(items, ["ID"], template(*fields))["text"].item()
    return text


def clean(atom: str) -> str:
    """The release's rules for an atom, except that letters are not blanked."""
    atom = re.sub(r"<[^>]*>", "", html.unescape(atom))
    return re.sub(r"[\s\x00-\x1f\x7f-\x9f]+", " ", atom).strip().removesuffix(".")


def reference(label: str, value: str | Sequence[str]) -> str:
    atoms = [value] if isinstance(value, str) else value
    joined = ", ".join(cleaned for atom in atoms if (cleaned := clean(atom)))
    joined = joined.removesuffix(".")
    if not joined:
        return ""
    return f"{label}: {joined}" + ("" if joined.endswith(".") else ".")


def test_all_fields_in_the_order_of_the_template() -> None:
    row = {
        "title": "Repair Shampoo.",
        "price": 9.5,
        "brand": "Velora &amp; Co",
        "categories": ["Beauty", "Hair Care"],
        "features": ["8 oz.", "vegan"],
        "description": "For <b>dry</b>\n\thair",
    }
    fields = ("title", "price", "brand", "categories", "features", "description")
    assert render(row, *fields) == (
        "Title: Repair Shampoo. Price: 9.5. Brand: Velora & Co. "
        "Categories: Beauty, Hair Care. Features: 8 oz, vegan. "
        "Description: For dry hair."
    )
    assert render(row, "price", "title") == "Price: 9.5. Title: Repair Shampoo."


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"title": "Soap", "description": ""}, "Title: Soap."),
        ({"title": "Soap", "description": None}, "Title: Soap."),
        ({"title": "Soap", "description": " <br/> "}, "Title: Soap."),
        ({"title": "Soap", "categories": []}, "Title: Soap."),
        ({"title": "Soap", "categories": ["", "."]}, "Title: Soap."),
        ({"title": "Soap", "price": 0.0}, "Title: Soap."),
        ({"title": "Crème brûlée"}, "Title: Crème brûlée."),
        ({"title": "Why?"}, "Title: Why?."),
    ],
)
def test_what_is_empty_is_left_out(row: dict[str, object], expected: str) -> None:
    assert render(row, "title", "categories", "price", "description") == expected


@given(TEXTS, st.lists(TEXTS, max_size=3))
def test_cleaning_equals_the_rules_spelled_out(title: str, parts: list[str]) -> None:
    pieces = [reference("Title", title), reference("Categories", parts)]
    expected = " ".join(piece for piece in pieces if piece) or "ID"
    assert render({"title": title, "categories": parts}, "title", "categories") == (
        expected
    )


@given(st.decimals("0.01", "99999.99", places=2))
def test_prices_read_as_python_writes_them(price: float) -> None:
    assert render({"price": float(price)}, "price") == f"Price: {float(price)}."


def test_rows_follow_the_ids_asked_for() -> None:
    items = catalogue(
        {"item_id": "a", "title": "First"},
        {"item_id": "b", "title": "Second"},
        {"item_id": "a", "title": "Again"},
        {"item_id": "c"},
    )
    found = render_texts(items, ["c", "b", "x", "a"], template("title"))
    assert found.rows() == [
        ("c", "c", True),
        ("b", "Title: Second.", True),
        ("x", "x", False),
        ("a", "Title: First.", True),
    ]
    assert found.schema == {
        "item_id": pl.String,
        "text": pl.String,
        "has_metadata": pl.Boolean,
    }


def test_no_item_and_no_metadata() -> None:
    nothing = catalogue()
    assert render_texts(nothing, [], template("title")).height == 0
    assert render_texts(nothing, ["a"], template("title"))["text"].to_list() == ["a"]


def test_a_field_may_stand_twice_and_without_label() -> None:
    items = catalogue({"item_id": "a", "title": "Soap"})
    bare = TextFieldParameters(field="title", label="")
    found = render_texts(items, ["a"], [bare, *template("title")])
    assert found["text"].item() == "Soap. Title: Soap."
