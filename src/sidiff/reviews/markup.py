"""Removal of HTML from the texts of items from a table.

Entities are resolved until nothing changes, then HTML becomes blanks: comments, scripts
and styles with their content, and tags. A ``<`` that does not begin a complete tag
stays. (``text`` cleans the texts of Amazon's files as the DiffGRM release does.)
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable

import polars as pl

_MOST_ROUNDS = 8
# A name needs its semicolon, or "Pens&notebooks" would contain "&not".
_ENTITY = re.compile(r"&(?:#(?:[0-9]+|[xX][0-9a-fA-F]+);?|[A-Za-z][A-Za-z0-9]*;)")
_ATTRIBUTE = r"[\w:@.-]+\s*=\s*(?:\"[^\"]*\"|'[^']*'|[^\s\"'<>]+)"
_MARKUP = (
    r"(?is)<!--.*?-->|<!doctype[^>]*>"
    r"|<script\b[^>]*>.*?</script\s*>|<style\b[^>]*>.*?</style\s*>"
    rf"|</?[a-z][\w:-]*(?:\s+{_ATTRIBUTE})*\s*/?>"
)


def without_markup(texts: pl.Series) -> pl.Series:
    """Resolve entities and replace markup by blanks; null stays null."""
    return _resolved(texts, _stable).str.replace_all(_MARKUP, " ")


def unescape(texts: pl.Series) -> pl.Series:
    """Resolve HTML entities once, as the DiffGRM release does; null stays null."""
    return _resolved(texts, html.unescape)


def _resolved(texts: pl.Series, resolve: Callable[[str], str]) -> pl.Series:
    """Apply ``resolve`` to the distinct texts that may have an entity."""
    escaped = texts.filter(texts.str.contains("&", literal=True)).unique()
    if escaped.is_empty():
        return texts
    plain = pl.Series([resolve(text) for text in escaped], dtype=pl.String)
    return texts.replace(escaped, plain)


def _stable(text: str) -> str:
    """Resolve entities that were escaped more than once."""
    for _ in range(_MOST_ROUNDS):
        plain = _ENTITY.sub(lambda found: html.unescape(found[0]), text)
        if plain == text:
            break
        text = plain
    return text
