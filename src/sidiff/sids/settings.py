"""Settings of item texts, their embeddings and semantic IDs."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from sidiff.parameters import (
    Codes,
    Count,
    Device,
    Parameters,
    Precision,
    Seed,
    Share,
    Text,
)
from sidiff.reviews.settings import TextFieldParameters


class EmbeddingParameters(Parameters):
    """Item text and its sentence encoder (pipeline ``embedding``)."""

    text: Annotated[list[TextFieldParameters], Field(min_length=1)]
    encoder: Text
    batch_size: Count
    shard_batches: Count
    device: Device
    precision: Precision
    engine: Literal["local", "ray"]
    workers: Count


class WhiteningParameters(Parameters):
    """PCA whitening before quantization."""

    dimensions: Annotated[int, Field(ge=2)]
    normalize: bool


class CollaborativeParameters(Parameters):
    """What training histories say of items, beside their texts."""

    weight: Share
    dimensions: Annotated[int, Field(ge=2)]
    window: Count


class TokenizationParameters(Parameters):
    """Embeddings to semantic IDs (pipeline ``tokenization``)."""

    quantizer: Literal["opq", "pq", "rq_kmeans", "random", "table"]
    collaborative: CollaborativeParameters
    whitening: WhiteningParameters
    digits: Count
    codes: Literal["auto"] | Codes
    max_codes: Codes
    seed: Seed
    threads: Count
    device: Device
    table: Text | None
    collisions: Literal["share", "repair", "extra_digit"]
    new_items: Literal["keep", "refit"]

    @property
    def sid_digits(self) -> int:
        """Digits of a finished semantic ID: the quantizer's, and one that counts."""
        return self.digits + (self.collisions == "extra_digit")

    @model_validator(mode="after")
    def _shapes_fit(self) -> Self:
        cut = self.quantizer in ("opq", "pq")
        if cut and self.whitening.dimensions % self.digits:
            raise ValueError(
                f".digits ({self.digits}) must divide .whitening.dimensions "
                f"({self.whitening.dimensions}) without rest"
            )
        if self.quantizer == "table" and not self.table:
            raise ValueError(
                ".table must name a Parquet file where .quantizer is table"
            )
        return self
