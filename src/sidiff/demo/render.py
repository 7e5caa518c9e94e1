"""Lists and denoising steps as HTML."""

from __future__ import annotations

from html import escape

import polars as pl

from sidiff.serving.item_ids import ItemNames
from sidiff.serving.lists import POPULAR, Item, UserList

WORDS, TITLES = 4, 1
"""Number of words and of titles shown for a code."""
STYLE = """
.sidiff table { width: 100%; border-collapse: collapse; font-size: .9em }
.sidiff th { text-align: left; font-weight: 600; border-bottom: 1px solid #8888 }
.sidiff td, .sidiff th { padding: .3em .6em !important; border: 0 !important }
.sidiff td { vertical-align: top; border-top: 1px solid #8883 !important }
.sidiff .bar { display: inline-block; height: .7em; background: #4a7ab5 }
.sidiff .code { font-family: monospace; font-weight: 600 }
.sidiff .open { color: #8888 }
.sidiff .quiet { opacity: .65; font-size: .9em }
"""


def reason(item: Item, found: UserList) -> str:
    """Why an item is in a list, in words."""
    if found.method == POPULAR:
        return "most popular: no item of the history is known"
    if item.transitions is not None:
        return f"transitions in training add {item.transitions:.0%} of its odds"
    return f"found by {found.method}"


def list_table(found: UserList) -> str:
    """A list as a table."""
    rows = "".join(
        f"<tr><td>{place}</td><td>{_title(item)}<br>"
        f"<span class=quiet>{escape(reason(item, found))}</span></td>"
        f"<td class=code>{escape(item.semantic_id)}</td><td>{item.score:.3f}</td></tr>"
        for place, item in enumerate(found, 1)
    )
    notes = []
    if found.unknown:
        notes.append(f"Not in the catalogue: {escape(', '.join(found.unknown))}.")
    if found.filled_up:
        notes.append("The search found too few items; one-pass scores filled up.")
    if not len(found):
        notes.append("There is no item left to recommend.")
    return (
        "<div class=sidiff><table><tr><th></th><th>Item</th><th>Semantic ID</th>"
        f"<th>Score</th></tr>{rows}</table><p class=quiet>{' '.join(notes)}</p></div>"
    )


def steps_table(item: Item, names: ItemNames) -> str:
    """The denoising of an item as a table, one row per step."""
    if item.steps is None:
        return "<div class=sidiff>The network was not used for this list.</div>"
    digits = len(item.steps)
    counts = _title_counts(names.titles)
    filled: dict[int, int] = {}
    rows = []
    for number, step in enumerate(item.steps, 1):
        filled[step.digit] = step.code
        state = "-".join(
            str(filled[digit]) if digit in filled else "<span class=open>?</span>"
            for digit in range(digits)
        )
        others = "".join(
            f"<div><span class=bar style='width:{60 * one.probability:.1f}px'></span> "
            f"{one.probability:.0%} <span class=code>{one.code}</span> "
            f"{_meaning(names, counts, step.digit, one.code)}</div>"
            for one in step.likeliest
            if one.code != step.code
        )
        rows.append(
            f"<tr><td>{number}</td><td class=code>{state}</td>"
            f"<td>digit {step.digit + 1}: <span class=code>{step.code}</span>, "
            f"{step.probability:.0%}<br>"
            f"{_meaning(names, counts, step.digit, step.code)}</td>"
            f"<td>{others}</td></tr>"
        )
    return (
        f"<div class=sidiff><p>{_title(item)}</p><table><tr><th>Step</th>"
        "<th>Semantic ID</th><th>Filled</th><th>Runners-up</th></tr>"
        f"{''.join(rows)}</table></div>"
    )


def _title(item: Item) -> str:
    return escape(item.title or item.item_id)


def _meaning(names: ItemNames, counts: pl.DataFrame, digit: int, code: int) -> str:
    """Typical words of the items with a code, their number and some titles."""
    codes = names.semantic_ids.str.split("-").list.get(digit)
    titles = names.titles.filter(codes == str(code))
    some = "; ".join(titles.drop_nulls().head(TITLES))
    words = ", ".join(_typical_words(titles, len(codes), counts)) or "no typical word"
    return (
        f"<i>{escape(words)}</i> <span class=quiet>{len(titles):,} items, such as "
        f"{escape(some)}</span>"
    )


def _typical_words(titles: pl.Series, items: int, counts: pl.DataFrame) -> pl.Series:
    """Words that are more frequent in ``titles`` than in the titles of all ``items``.

    A word ranks by the number of titles with it, times the log of the ratio of its
    frequencies here and in the catalogue; ``counts`` are those of the catalogue.
    """
    ratio = pl.col("count") / len(titles) * items / pl.col("count_all")
    return (
        _title_counts(titles)
        .join(counts, on="word", suffix="_all")
        .with_columns(rank=pl.col("count") * ratio.log())
        .filter(pl.col("rank") > 0)
        .sort(["rank", "word"], descending=[True, False])["word"]
        .head(WORDS)
    )


def _title_counts(titles: pl.Series) -> pl.DataFrame:
    """The number of titles with each word of three letters or more."""
    words = titles.rename("word").str.to_lowercase().str.extract_all(r"\w{3,}")
    return words.list.unique().explode().drop_nulls().value_counts()
