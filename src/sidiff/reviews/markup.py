"""Words without markup, for texts of a shop's own.

Entities are resolved until nothing changes, then HTML becomes blanks: comments, scripts
and styles with their content, and tags. A ``<`` that begins no whole tag means less, or
points somewhere, and stays. (Texts of Amazon's files are cleaned as the DiffGRM release
does it, see ``text``.)
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable

import polars as pl

_MOST_ROUNDS = 8
# A name needs its semicolon: HTML also reads the "&not" of "Pens&notebooks".
_ENTITY = re.compile(r"&(?:#(?:[0-9]+|[xX][0-9a-fA-F]+);?|[A-Za-z][A-Za-z0-9]*;)")
_ATTRIBUTE = r"[\w:@.-]+\s*=\s*(?:\"[^\"]*\"|'[^']*'|[^\s\"'<>]+)"
_MARKUP = (
    r"(?is)<!--.*?-->|<!doctype[^>]*>"
    r"|<script\b[^>]*>.*?</script\s*>|<style\b[^>]*>.*?</style\s*>"
    rf"|</?[a-z][\w:-]*(?:\s+{_ATTRIBUTE})*\s*/?>"
)


def without_markup(texts: pl.Series) -> pl.Series:
    """Resolve entities and blank the markup of texts; null stays null."""
    return _resolved(texts, _stable).str.replace_all(_MARKUP, " ")


def unescape(texts: pl.Series) -> pl.Series:
    """Resolve HTML entities once, as the DiffGRM release does; null stays null."""
    return _resolved(texts, html.unescape)


def _resolved(texts: pl.Series, resolve: Callable[[str], str]) -> pl.Series:
    """Only the distinct texts that may have an entity pass Python."""
    escaped = texts.filter(texts.str.contains("&", literal=True)).unique()
    if escaped.is_empty():
        return texts
    plain = pl.Series([resolve(text) for text in escaped], dtype=pl.String)
    return texts.replace(escaped, plain)


def _stable(text: str) -> str:
    """An entity may have been escaped more than once."""
    for _ in range(_MOST_ROUNDS):
        plain = _ENTITY.sub(lambda found: html.unescape(found[0]), text)
        if plain == text:
            break
        text = plain
    return text
