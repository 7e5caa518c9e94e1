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
from sidiff.registry import Choice
from sidiff.reviews.settings import TextFieldParameters
from sidiff.sids.quantizers import QUANTIZERS


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


class CollaborativeParameters(Parameters):
    """Collaborative vectors that are joined to the text embeddings."""

    weight: Share
    dimensions: Annotated[int, Field(ge=2)]
    window: Count


class TokenizationParameters(Parameters):
    """Quantization of embeddings to semantic IDs (pipeline ``tokenization``)."""

    quantizer: Annotated[str, Choice(QUANTIZERS)]
    collaborative: CollaborativeParameters
    whitening: WhiteningParameters
    digits: Count
    codebook_size: Literal["auto"] | Codes
    max_codebook_size: Codes
    seed: Seed
    threads: Count
    device: Device
    collisions: Literal["share", "repair"]
    new_items: Literal["keep", "refit"]

    @model_validator(mode="after")
    def _shapes_fit(self) -> Self:
        kind = QUANTIZERS.get(self.quantizer)
        if kind and kind.cuts and self.whitening.dimensions % self.digits:
            raise ValueError(
                f".digits ({self.digits}) must divide .whitening.dimensions "
                f"({self.whitening.dimensions}) without rest"
            )
        return self
