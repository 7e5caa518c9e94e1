"""Lists and denoising steps as HTML."""

from __future__ import annotations

from html import escape

from sidiff.serving.item_ids import ItemNames
from sidiff.serving.lists import POPULAR, Item, UserList

TITLES = 2
"""Titles shown as examples of a code."""
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
            f"{_items_with(names, step.digit, one.code)}</div>"
            for one in step.likeliest
            if one.code != step.code
        )
        rows.append(
            f"<tr><td>{number}</td><td class=code>{state}</td>"
            f"<td>digit {step.digit + 1}: <span class=code>{step.code}</span>, "
            f"{step.probability:.0%}<br>{_items_with(names, step.digit, step.code)}"
            f"</td><td>{others}</td></tr>"
        )
    return (
        f"<div class=sidiff><p>{_title(item)}</p><table><tr><th>Step</th>"
        "<th>Semantic ID</th><th>Filled</th><th>Runners-up</th></tr>"
        f"{''.join(rows)}</table></div>"
    )


def _title(item: Item) -> str:
    return escape(item.title or item.item_id)


def _items_with(names: ItemNames, digit: int, code: int) -> str:
    """The number of items with a code, and some of their titles."""
    codes = names.semantic_ids.str.split("-").list.get(digit)
    titles = names.titles.filter(codes == str(code))
    some = "; ".join(titles.drop_nulls().head(TITLES))
    return f"<span class=quiet>{len(titles):,} items, such as {escape(some)}</span>"
