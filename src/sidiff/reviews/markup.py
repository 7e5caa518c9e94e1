"""Words without markup, for texts of a shop's own.

Entities are resolved until nothing changes, then what is HTML becomes a blank:
comments, scripts and styles with what is in them, closing tags, and opening tags of
names that HTML has. Any other ``<`` means less, or points somewhere, and stays. (Texts
of Amazon's files are cleaned as the DiffGRM release does it, see ``text``.)
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from html.entities import html5

import polars as pl

_MOST_ROUNDS = 8
# Of the names that HTML reads without their semicolon only the whole word: "Q&amp A",
# but not the "&not" of "Pens&notebooks".
_ENTITY = re.compile(r"&(?:#[0-9]+|#[xX][0-9a-fA-F]+|[A-Za-z][A-Za-z0-9]*);?")
_NAMES = (
    "a|abbr|acronym|address|applet|area|article|aside|audio|b|base|bdi|bdo|big|blink"
    "|blockquote|body|br|button|canvas|caption|center|cite|code|col|colgroup|data"
    "|datalist|dd|del|details|dfn|dialog|dir|div|dl|dt|em|embed|fieldset|figcaption"
    "|figure|font|footer|form|frame|frameset|h1|h2|h3|h4|h5|h6|head|header|hgroup|hr"
    "|html|i|iframe|img|input|ins|kbd|label|legend|li|link|main|map|mark|marquee|menu"
    "|meta|meter|nav|nobr|noframes|noscript|object|ol|optgroup|option|output|p|param"
    "|picture|pre|progress|q|rp|rt|ruby|s|samp|script|search|section|select|slot|small"
    "|source|span|strike|strong|style|sub|summary|sup|svg|path|table|tbody|td|template"
    "|textarea|tfoot|th|thead|time|title|tr|track|tt|u|ul|var|video|wbr|xml"
)
_BARE = (
    "allowfullscreen|async|autofocus|autoplay|checked|compact|controls|default|defer"
    "|disabled|download|formnovalidate|hidden|inert|ismap|itemscope|loop|multiple|muted"
    "|noshade|novalidate|nowrap|open|playsinline|readonly|required|reversed|selected"
    r"|(?:data|aria)-[\w-]+"
)
_ATTRIBUTE = rf"(?:[\w:@.-]+\s*=\s*(?:\"[^\"]*\"|'[^']*'|[^\s\"'<>]+)|(?:{_BARE})\b)"
# In a text without one closing tag "<S>" is a size, and "<title>" a place to fill in.
_SIZE = r"(?i)<([asqu]|title)>"
_MARKUP = (
    r"(?is)<!--.*?-->|<!\[CDATA\[|\]\]>|<!doctype[^>]*>|<\?[^>]*\?>"
    r"|<script\b[^>]*>.*?</script\s*>|<style\b[^>]*>.*?</style\s*>"
    r"|</[a-z][\w:-]*\s*>"
    rf"|<(?:{_NAMES}|[a-z]+:[a-z]\w*)(?:[\s/]+{_ATTRIBUTE})*[\s/]*>"
    # A name of somebody's own (with a hyphen, by HTML's rule) where attributes follow
    rf"|<[a-z]\w*-[\w-]+(?:[\s/]+{_ATTRIBUTE})+[\s/]*>"
    # What an export has cut off
    rf"|<(?:{_NAMES})\s+[\w:-]+\s*=[^<>]*\z|</[a-z][\w:-]*\z|<br\s*/?\z|<!--.*\z"
)


def without_markup(texts: pl.Series) -> pl.Series:
    """Resolve entities and blank the markup of texts; null stays null."""
    plain = _resolved(texts, _stable)
    closed = plain.str.contains("</", literal=True)
    kept = plain.str.replace_all(_SIZE, "\ue000${1}\ue001")
    plain = pl.select(pl.when(closed).then(plain).otherwise(kept)).to_series()
    plain = plain.str.replace_all(_MARKUP, " ")
    return plain.str.replace_all("\ue000", "<").str.replace_all("\ue001", ">")


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
        plain = _ENTITY.sub(_letter, text)
        if plain == text:
            break
        text = plain
    return text


def _letter(found: re.Match[str]) -> str:
    entity = found[0]
    whole = entity[1] == "#" or entity[1:] in html5
    return html.unescape(entity).replace("\ufffd", " ") if whole else entity
