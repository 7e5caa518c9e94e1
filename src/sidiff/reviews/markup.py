"""Words without markup, for texts of a shop's own.

Entities are resolved until nothing changes, then what is HTML becomes a blank:
comments, scripts and styles with what is in them, closing tags, and opening tags of
names that HTML has. Any other ``<`` means less, or points somewhere, and stays. (Texts
of Amazon's files are cleaned as the DiffGRM release does it, see ``text``.)
"""

from __future__ import annotations

import html

import polars as pl

_MOST_ROUNDS = 8
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
_BARE = "nowrap|noshade|disabled|checked|selected|compact|controls|hidden|readonly"
_ATTRIBUTE = rf"(?:[\w:@.-]+\s*=\s*(?:\"[^\"]*\"|'[^']*'|[^\s\"'<>]+)|(?:{_BARE})\b)"
_MARKUP = (
    r"(?is)<!--.*?-->|<!\[CDATA\[|\]\]>|<!doctype[^>]*>|<\?[^>]*\?>"
    r"|<script\b[^>]*>.*?</script\s*>|<style\b[^>]*>.*?</style\s*>"
    r"|</[a-z][\w:-]*\s*>"
    rf"|<(?:{_NAMES}|[a-z]+:[a-z]\w*)(?:[\s/]+{_ATTRIBUTE})*[\s/]*>"
)


def without_markup(texts: pl.Series) -> pl.Series:
    """Resolve entities and blank the markup of texts; null stays null."""
    return unescape(texts, _MOST_ROUNDS).str.replace_all(_MARKUP, " ")


def unescape(texts: pl.Series, rounds: int = 1) -> pl.Series:
    """Resolve HTML entities; only the distinct texts that have one pass Python.

    Args:
        texts: null stays null.
        rounds: how often at most; an entity may have been escaped more than once.
    """
    escaped = texts.filter(texts.str.contains("&", literal=True)).unique()
    if escaped.is_empty():
        return texts
    plain = pl.Series([_unescape(text, rounds) for text in escaped], dtype=pl.String)
    return texts.replace(escaped, plain)


def _unescape(text: str, rounds: int) -> str:
    for _ in range(rounds):
        plain = html.unescape(text)
        if plain == text:
            break
        text = plain
    return text
