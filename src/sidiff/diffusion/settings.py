"""Settings of the network and of the noising."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from sidiff.diffusion.noising import AMOUNTS, ORDERS
from sidiff.parameters import Chance, Count, Parameters, Share
from sidiff.registry import Choice


class AttentionParameters(Parameters):
    """Shape of a network of attention blocks."""

    d_model: Annotated[int, Field(ge=4)]
    heads: Count
    d_ff: Annotated[int, Field(ge=4)]
    dropout: Chance

    @model_validator(mode="after")
    def _heads_divide(self) -> Self:
        if self.d_model % self.heads:
            raise ValueError(
                f".heads ({self.heads}) must divide .d_model ({self.d_model})"
            )
        return self


class NetworkParameters(AttentionParameters):
    """Kind and shape of the denoiser."""

    posterior: Literal["items", "digits"]
    encoder_layers: Count
    decoder_layers: Count
    cross_pad: Literal["sink", "mask"]
    history_tokens: Literal["items", "codes"]
    mask: Literal["per_digit", "shared"]
    difficulty_embedding: bool
    residual_dropout: Share


class NoisingParameters(Parameters):
    """The masking of the target in the training views."""

    views: Count
    amount: Annotated[str, Choice(AMOUNTS)]
    order: Annotated[str, Choice(ORDERS)]
    probe_kv: Literal["projected", "raw"]
