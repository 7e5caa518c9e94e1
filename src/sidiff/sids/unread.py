"""Check for texts whose words are not in the vocabulary of the encoder."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sidiff.sids.encoder import SentenceEncoder

logger = logging.getLogger(__name__)

_MULTILINGUAL = "sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2"
# A text with this share of unknown words, or more, is counted.
_UNKNOWN_SHARE = 0.5
_SHOWN = 60


def count_unread(
    texts: pl.Series, labels: Sequence[str], encoder: SentenceEncoder
) -> int:
    """Count texts of which half the words are unknown to the encoder, and warn.

    Args:
        texts: item texts of ``reviews.text``, (n,).
        labels: labels of the template, which are not counted as words.
        encoder: an encoder with a vocabulary.
    """
    bare = texts.filter(texts.str.contains(r"[^\x00-\x7F]"))
    for label in filter(None, labels):
        bare = bare.str.replace_all(rf"(^|\. ){re.escape(label)}: ", "${1}")
    if bare.is_empty():
        return 0
    unread = unknown_share(bare.to_list(), encoder) >= _UNKNOWN_SHARE
    count = int(unread.sum())
    if count:
        logger.warning(
            "The encoder %s does not know the words of %s of %s texts, such as %s, and "
            "cannot tell such items apart: set embedding.encoder to a multilingual "
            "model, such as %s",
            encoder.name,
            f"{count:,}",
            f"{len(texts):,}",
            bare.filter(pl.Series(unread))[0][:_SHOWN],
            _MULTILINGUAL,
        )
    return count


def unknown_share(
    texts: Sequence[str], encoder: SentenceEncoder
) -> NDArray[np.float64]:
    """Compute the share of unknown words of each text, (n,).

    It is zero for models without a tokenizer or a token for unknown words.
    """
    tokenizer, tokens = encoder.tokenizer, encoder.tokens(texts)
    unknown = getattr(tokenizer, "unk_token_id", None)
    if unknown is None or tokens is None:
        return np.zeros(len(texts))
    distinct = sorted(set().union(*tokens))
    names = tokenizer.convert_ids_to_tokens(distinct)
    pairs = zip(distinct, names, strict=True)
    words = {token for token, name in pairs if any(map(str.isalpha, name))}
    words = words - set(tokenizer.all_special_ids) | {unknown}
    counts = [sum(token in words for token in row) for row in tokens]
    unknown_counts = [row.count(unknown) for row in tokens]
    return np.array(unknown_counts) / np.maximum(counts, 1)
