"""Embedding: texts per second of sidiff and of ``SentenceTransformer.encode``.

Both run the embedded MiniLM on the same distinct texts and threads. sidiff sorts the
texts by their tokens, fills batches of about equal length and multiplies by oneDNN, in
float32 or in bfloat16. The vectors are compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from benchmarks.common import (
    Row,
    hardware,
    medians,
    paired,
    parser,
    positive,
    publish,
    speedup,
    timed,
)
from sidiff.sids.encoder import SentenceEncoder, embed, load_encoder
from sidiff.sids.hub import PACKAGED, load_model

VOCABULARY = (
    "moisturizing shampoo conditioner organic lavender cream vitamin serum natural "
    "hydrating repair daily gentle cleanser brush set professional nail polish matte "
    "lipstick eyeliner waterproof mascara foundation powder blush oil argan coconut "
    "keratin color treatment anti aging sunscreen lotion body wash fragrance spray"
)
LONG_SHARE = 0.02
"""Texts with a description: four times as long as the others."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and publish."""
    options = parser("embedding", __doc__)
    options.add_argument("--items", type=positive, default=512, help="texts")
    options.add_argument("--words", type=positive, default=18, help="median per text")
    options.add_argument(
        "--item-texts", type=Path, help="stored item texts (Parquet) to draw from"
    )
    options.add_argument(
        "--batch", type=positive, default=32, help="texts of ours at a time"
    )
    options.add_argument(
        "--lengths", type=positive, nargs="*", default=[9, 36, 144], help="also tried"
    )
    settings = options.parse_args(arguments)
    torch.set_num_threads(settings.threads)
    machine = hardware()
    ours = load_encoder(PACKAGED, "cpu")
    lowered = load_encoder(PACKAGED, "cpu", "bfloat16")
    theirs = load_model(PACKAGED, "cpu")
    if settings.item_texts:
        stored = pl.read_parquet(settings.item_texts)["text"].unique()
        size = min(settings.items, len(stored))
        texts = stored.sample(size, seed=settings.seed).to_list()
    else:
        texts = item_texts(settings.items, settings.words, settings.seed)
    row = compare(ours, lowered, theirs, texts, settings.batch, settings.rounds)
    figures: dict[str, Any] = {
        "texts": len(texts),
        "speedup_vs_sentence_transformers": row["speedup"],
        "bfloat16_speedup_vs_sentence_transformers": row["bfloat16_speedup"],
        "largest_difference": row["largest_difference"],
        "bfloat16_least_cosine": row["bfloat16_least_cosine"],
        "embedding": [row],
        "growth": [
            {"words": words}
            | compare(
                ours,
                lowered,
                theirs,
                item_texts(len(texts) // 4 + 1, words, settings.seed),
                settings.batch,
                settings.rounds,
            )
            for words in settings.lengths
        ],
    }
    publish(settings, machine, figures)


def compare(
    ours: SentenceEncoder,
    lowered: SentenceEncoder,
    theirs: Any,
    texts: list[str],
    batch: int,
    rounds: int,
) -> Row:
    """All on the same texts; the vectors have unit length, D numbers each."""
    vectors: dict[str, NDArray[np.float32]] = {}
    frame = pl.DataFrame({"item_id": [str(row) for row in range(len(texts))]})
    frame = frame.with_columns(text=pl.Series(texts))

    def by_us(name: str, encoder: SentenceEncoder) -> None:
        embedded = embed(frame, encoder, batch, None)
        vectors[name] = embedded["embedding"].to_numpy()

    def by_them() -> None:
        vectors["theirs"] = theirs.encode(texts, show_progress_bar=False)

    seconds = paired(
        {
            "sidiff": timed(partial(by_us, "ours", ours)),
            "bfloat16": timed(partial(by_us, "lowered", lowered)),
            "sentence_transformers": timed(by_them),
        },
        rounds,
    )
    middle = medians(seconds)
    tokens = int(ours.lengths(texts).sum())
    difference = np.abs(vectors["ours"] - vectors["theirs"]).max()
    return {
        "tokens_per_text": tokens / len(texts),
        "sidiff_texts_per_second": len(texts) / middle["sidiff"],
        "sentence_transformers_texts_per_second": len(texts)
        / middle["sentence_transformers"],
        "bfloat16_texts_per_second": len(texts) / middle["bfloat16"],
        "speedup": speedup(seconds, "sidiff", "sentence_transformers"),
        "bfloat16_speedup": speedup(seconds, "bfloat16", "sentence_transformers"),
        "sidiff_tokens_per_second": tokens / middle["sidiff"],
        "largest_difference": float(difference),
        "bfloat16_least_cosine": float(
            (vectors["ours"] * vectors["lowered"]).sum(1).min()
        ),
    }


def item_texts(items: int, words: float, seed: int) -> list[str]:
    """Texts that look like an item's metadata, all different.

    Most have about ``words`` words: titles and categories of Beauty have 18 in the
    middle, one in ten has 25 or more. One in fifty is four times as long.
    """
    generator = np.random.default_rng(seed)
    known = np.array(VOCABULARY.split())
    lengths = generator.lognormal(np.log(words), 0.25, items)
    lengths[generator.random(items) < LONG_SHARE] *= 4
    texts = []
    for item, length in enumerate(lengths.astype(int)):
        title = " ".join(generator.choice(known, size=max(1, length - 2)))
        texts.append(f"Title: {title}. Price: {item / 100:.2f}.")
    return texts


if __name__ == "__main__":
    main()
