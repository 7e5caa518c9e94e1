"""Texts that the packaged encoder, whose words are English ones, cannot read."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from sidiff.sids.encoder import SentenceEncoder, load_encoder
from sidiff.sids.hub import PACKAGED
from sidiff.sids.unread import count_unread, unknown_share

LABELS = ["Name", "", "Price"]


@pytest.fixture(scope="module")
def encoder() -> SentenceEncoder:
    return load_encoder(PACKAGED, "cpu")


@pytest.mark.parametrize(
    "text",
    [
        "Name: red vase. Price: 5.0.",
        "Name: Théière brûlée à 5 €. Crème.",
        "Name: ваза. ваза.",
        "Price: 5.0.",
        "Name: 27″ ½.",
    ],
)
def test_what_is_read_is_not_counted(
    encoder: SentenceEncoder, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert count_unread(pl.Series([text]), LABELS, encoder) == 0
    assert not caplog.text


@pytest.mark.parametrize(
    "text",
    [
        "Name: แจกันสีแดง. Price: 5.0.",  # numbers and labels are no words of an item
        "Name: แจกัน แดง vase.",
        "ያማረ ቤት",
    ],
)
def test_what_is_not_read_is_counted(
    encoder: SentenceEncoder, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    texts = pl.Series([text, "Name: red vase.", text])
    assert count_unread(texts, LABELS, encoder) == 2
    (said,) = (record.message for record in caplog.records)
    assert "does not know the words of 2 of 3 texts, such as" in said
    assert "set embedding.encoder to a multilingual model" in said


def test_share_of_unknown_words(encoder: SentenceEncoder) -> None:
    shares = unknown_share(["red vase", "red ያማረ", "ያማረ", "5.0", ""], encoder)
    np.testing.assert_allclose(shares, [0, 0.5, 1, 0, 0])
