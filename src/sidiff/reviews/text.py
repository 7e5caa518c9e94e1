"""Item texts: the sentences that the encoder reads.

Rendering follows the text of the DiffGRM release ("<Label>: <value>." per field) with
one difference: letters outside ASCII stay, where the release blanks them, because
today's encoders read them and "Lumière" is worse as "Lumi re". The release resolves
entities once and takes whatever stands between ``<`` and ``>`` away, which joins words
and eats "<5 lbs": so only Amazon's files, whose results are published, are cleaned so,
and a shop's own as ``markup`` says.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import polars as pl

from sidiff.errors import SidiffError
from sidiff.reviews.markup import unescape, without_markup
from sidiff.reviews.settings import TextFieldParameters

logger = logging.getLogger(__name__)

PRICE_TEXT = "price_text"
"""Field of a shop's own items: prices that are no single amount, as written."""
_SHOWN = 60

Cleaner = Callable[[pl.Series], pl.Series]


def render_texts(
    items: pl.DataFrame,
    item_ids: Sequence[str] | pl.Series,
    template: Sequence[TextFieldParameters],
    *,
    own: bool = False,
) -> pl.DataFrame:
    """Render one text per item id.

    Every value is cleaned (HTML entities resolved, tags removed, blanks collapsed, one
    trailing full stop dropped), the atoms of a list are joined by a comma, and
    empty values and a price of zero leave their field out. A price that is no single
    amount stands as it is written.

    Args:
        items: metadata as ``ingest_items`` returns it, fields being texts, lists of
            texts or numbers; the first row of an id counts.
        item_ids: the ids to render, in this order.
        template: fields, labels and their order; an empty label leaves the value bare.
        own: the items are a shop's own, not Amazon's; what is taken for a tag differs.

    Returns:
        ``item_id`` (str), ``text`` (str, never empty: an item about which the template
        finds nothing is given its id), ``has_metadata`` (bool: the id is in ``items``).

    Raises:
        SidiffError: ``items`` has no such field; names those that it has.
    """
    fields = list(dict.fromkeys(part.field for part in template))
    there = [name for name in items.columns if name != "item_id"]
    for name in fields:
        if name not in there:
            raise SidiffError(
                f"The items have no field {name} ({', '.join(there)}): correct "
                "embedding.text."
            )
    wanted = pl.DataFrame({"item_id": pl.Series(item_ids, dtype=pl.String)})
    known = items.unique("item_id", keep="first", maintain_order=True)
    written = [PRICE_TEXT] if "price" in fields and PRICE_TEXT in there else []
    rows = wanted.join(
        known.select("item_id", *dict.fromkeys([*fields, *written])),
        on="item_id",
        how="left",
        maintain_order="left",
    )
    if written:
        number = pl.col("price").replace(0.0, None).cast(pl.String)
        rows = rows.with_columns(price=pl.coalesce(number, PRICE_TEXT))
    clean = without_markup if own else _without_tags
    pieces = [_piece(rows[part.field], part.label, clean) for part in template]
    text = pl.select(
        pl.concat_str(pieces, separator=" ", ignore_nulls=True)
    ).to_series()
    bare = rows["item_id"].filter(text == "")
    if len(bare):
        logger.warning(
            "%s items have no text and are given their id, %s first: their semantic "
            "IDs mean nothing",
            f"{len(bare):,}",
            bare[0],
        )
    _tell_of_doubtful(text)
    return rows.select(
        "item_id",
        text=pl.when(text != "").then(text).otherwise("item_id"),
        has_metadata=pl.col("item_id").is_in(known["item_id"].implode()),
    )


def _tell_of_doubtful(texts: pl.Series) -> None:
    """Warn of texts that cannot tell items apart, or have lost letters."""
    if len(texts) > 1 and texts[0] and texts.n_unique() == 1:
        logger.warning(
            "All %s items have the same text (%s): name fields that tell them apart "
            "under embedding.text",
            f"{len(texts):,}",
            texts[0][:_SHOWN],
        )
    lost = int(texts.str.contains("\ufffd", literal=True).sum())
    if lost:
        logger.warning(
            "%s item texts have letters that were lost before (\ufffd): export the "
            "items as UTF-8",
            f"{lost:,}",
        )


def _piece(values: pl.Series, label: str, clean: Cleaner) -> pl.Series:
    """``"<label>: <value>."`` per row, null where there is no value."""
    if values.dtype == pl.Float64:
        cleaned = values.replace(0.0, None).cast(pl.String)
    elif values.dtype == pl.List:
        cleaned = _join(values, clean)
    else:
        cleaned = _clean(values, clean)
    value = pl.lit(cleaned).str.strip_suffix(".")
    # "etc.." has lost one full stop above and still ends with one.
    stop = pl.when(value.str.ends_with(".")).then(pl.lit("")).otherwise(pl.lit("."))
    prefix = pl.lit(f"{label}: " if label else "")
    return pl.select(pl.when(value != "").then(prefix + value + stop)).to_series()


def _join(lists: pl.Series, clean: Cleaner) -> pl.Series:
    """Clean the atoms of each list and join what is left by ``", "``."""
    atoms = (
        lists.to_frame("atom").with_row_index("row").explode("atom", empty_as_null=True)
    )
    atoms = atoms.with_columns(_clean(atoms["atom"], clean).alias("atom"))
    kept = pl.col("atom").filter(pl.col("atom") != "")
    # The text of a list without atoms is empty, as that of no list.
    joined = atoms.group_by("row", maintain_order=True).agg(kept.str.join(", "))
    return joined["atom"]


def _clean(values: pl.Series, clean: Cleaner) -> pl.Series:
    """Clean every atom; null stays null."""
    return (
        clean(values)
        .str.replace_all(r"[\s\p{Cc}]+", " ")
        .str.strip_chars()
        .str.strip_suffix(".")
    )


def _without_tags(values: pl.Series) -> pl.Series:
    """The release's rule for entities and tags."""
    return unescape(values).str.replace_all(r"<[^>]*>", "")
