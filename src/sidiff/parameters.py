"""Every parameter of every stage: type, legal range and nothing else.

Values live in ``conf/``, where each has a comment with its unit and effect;
this module holds no defaults, so that a value has exactly one home. The pure
code receives these frozen models, and ``validate`` checks all of them before
the first node runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from sidiff.errors import SidiffError

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]
PositiveInt = Annotated[int, Field(ge=1)]
Device = Literal["auto", "cpu", "cuda"]
Threads = Annotated[int, Field(ge=0, le=1024)]
ItemField = Literal["title", "brand", "categories", "price", "features", "description"]


class Parameters(BaseModel):
    """Base of all groups: frozen, and an unknown name is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class SampleDataParameters(Parameters):
    """The synthetic shop (pipeline ``sample_data``)."""

    users: Annotated[int, Field(ge=50, le=1_000_000)]
    items: Annotated[int, Field(ge=60, le=100_000)]
    seed: Seed


class IngestionParameters(Parameters):
    """Raw lines to typed frames (pipeline ``ingestion``)."""

    layout: Literal["amazon2014", "amazon2018", "amazon2023"]
    max_rejected_share: Share


class FilteringParameters(Parameters):
    """k-core, sequences and training windows (pipeline ``filtering``)."""

    core: Annotated[int, Field(ge=1, le=1000)]
    tie_break: Literal["item_id", "file_order"]
    windows: Literal["prefix", "all"]
    min_history: Annotated[int, Field(ge=1, le=1000)]
    max_history: Annotated[int, Field(ge=1, le=1000)]

    @model_validator(mode="after")
    def _history_range(self) -> Self:
        if self.min_history > self.max_history:
            raise ValueError(
                f"min_history ({self.min_history}) must not exceed "
                f"max_history ({self.max_history})"
            )
        return self


class TextFieldParameters(Parameters):
    """One piece of an item's text: which field, and the label before it."""

    field: ItemField
    label: str


class EmbeddingParameters(Parameters):
    """Item text and its sentence encoder (pipeline ``embedding``)."""

    text: Annotated[list[TextFieldParameters], Field(min_length=1)]
    encoder: Annotated[str, Field(min_length=1)]
    batch_size: Annotated[int, Field(ge=1, le=4096)]
    device: Device


class WhiteningParameters(Parameters):
    """PCA whitening before quantization."""

    dimensions: Annotated[int, Field(ge=2, le=4096)]
    normalize: bool


class TokenizationParameters(Parameters):
    """Embeddings to semantic IDs (pipeline ``tokenization``)."""

    quantizer: Literal["opq", "pq", "rq_kmeans", "random", "table"]
    whitening: WhiteningParameters
    digits: Annotated[int, Field(ge=1, le=64)]
    codes: Literal["auto"] | Annotated[int, Field(ge=2, le=65536)]
    seed: Seed
    threads: Annotated[int, Field(ge=1, le=256)]
    device: Device
    table: str | None

    @model_validator(mode="after")
    def _shapes_fit(self) -> Self:
        if self.quantizer in ("opq", "pq"):
            if self.whitening.dimensions % self.digits:
                raise ValueError(
                    f"digits ({self.digits}) must divide whitening.dimensions "
                    f"({self.whitening.dimensions})"
                )
            if self.codes != "auto" and self.codes & (self.codes - 1):
                raise ValueError(
                    f"codes ({self.codes}) must be a power of two for {self.quantizer}"
                )
        if self.quantizer == "table" and not self.table:
            raise ValueError("table must name a Parquet file when quantizer is 'table'")
        return self


class NetworkParameters(Parameters):
    """Shape of the denoiser."""

    width: Annotated[int, Field(ge=4, le=8192)]
    heads: Annotated[int, Field(ge=1, le=128)]
    inner: Annotated[int, Field(ge=4, le=65536)]
    encoder_layers: Annotated[int, Field(ge=1, le=64)]
    decoder_layers: Annotated[int, Field(ge=1, le=64)]
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)]
    cross_pad: Literal["sink", "mask"]

    @model_validator(mode="after")
    def _heads_divide(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"heads ({self.heads}) must divide width ({self.width})")
        return self


class NoisingParameters(Parameters):
    """Which digits of the target are hidden in the training views."""

    strategy: Literal["ocn", "coherent", "random"]
    views: Annotated[int, Field(ge=1, le=64)]
    select: Literal["least", "most"]
    refresh: bool
    confidence: Literal["max_probability", "negative_entropy"]
    probe_kv: Literal["projected", "raw"]
    hide_probability: Annotated[float, Field(gt=0.0, le=1.0)]


class OptimizerParameters(Parameters):
    """AdamW and its schedule."""

    learning_rate: Annotated[float, Field(gt=0.0, le=1.0)]
    weight_decay: Annotated[float, Field(ge=0.0, le=1.0)]
    warmup_steps: Annotated[int, Field(ge=0)]
    schedule: Literal["cosine", "constant"]
    max_gradient_norm: Annotated[float, Field(gt=0.0)]


class DecodingParameters(Parameters):
    """The search for a user's next semantic IDs."""

    method: Literal["cpd", "one_pass"]
    order: Literal["confidence", "random", "fixed"]
    beam: Annotated[int, Field(ge=1, le=65536)]
    merge: Literal["none", "max"]
    constraint: Literal["none", "items"]
    last_step: Literal["joint", "greedy"]
    seed: Seed


class ValidationParameters(Parameters):
    """When and how the validation split is decoded during training."""

    first_epoch: PositiveInt
    every_epochs: PositiveInt
    patience: PositiveInt
    level: Literal["sid", "item"]
    ndcg_weight: Share
    decoding: DecodingParameters
    max_users: Annotated[int, Field(ge=0)]
    users_per_batch: PositiveInt


class TrainingParameters(Parameters):
    """The denoiser and its training loop (pipeline ``training``)."""

    network: NetworkParameters
    noising: NoisingParameters
    label_smoothing: Annotated[float, Field(ge=0.0, lt=1.0)]
    loss_reduction: Literal["per_view", "pooled"]
    optimizer: OptimizerParameters
    validation: ValidationParameters
    batch_size: Annotated[int, Field(ge=1, le=1_000_000)]
    samples_per_pass: Annotated[int, Field(ge=1, le=1_000_000)]
    epochs: PositiveInt
    seed: Seed
    device: Device
    threads: Threads


class EvaluationParameters(Parameters):
    """Decoding, metrics and reports (pipeline ``evaluation``)."""

    decoding: DecodingParameters
    controls: list[Literal["random", "fixed", "one_pass"]]
    control_users: Annotated[int, Field(ge=1)]
    cutoffs: Annotated[list[PositiveInt], Field(min_length=1)]
    top_k: Annotated[int, Field(ge=1, le=10_000)]
    users_per_batch: PositiveInt
    device: Device
    threads: Threads

    @model_validator(mode="after")
    def _cutoffs_fit(self) -> Self:
        if max(self.cutoffs) > self.top_k:
            raise ValueError(
                f"top_k ({self.top_k}) must be at least the largest cutoff "
                f"({max(self.cutoffs)})"
            )
        return self


class BootstrapParameters(Parameters):
    """Resamples of the users, for confidence intervals."""

    resamples: Annotated[int, Field(ge=1, le=100_000)]
    level: Annotated[float, Field(gt=0.0, lt=1.0)]
    seed: Seed


class ComparisonParameters(Parameters):
    """Decoders and baselines side by side (pipeline ``comparison``)."""

    references: Annotated[
        list[Annotated[str, Field(min_length=1)]],
        Field(min_length=1),
    ]
    bootstrap: BootstrapParameters
    popularity_edges: Annotated[list[PositiveInt], Field(min_length=1)]
    history_edges: Annotated[
        list[Annotated[int, Field(ge=2)]],
        Field(min_length=1),
    ]

    @model_validator(mode="after")
    def _edges_increase(self) -> Self:
        for name in ("popularity_edges", "history_edges"):
            edges = getattr(self, name)
            if any(high <= low for low, high in pairwise(edges)):
                raise ValueError(f"{name} ({edges}) must increase from one to the next")
        return self


GROUPS: dict[str, type[Parameters]] = {
    "sample_data": SampleDataParameters,
    "ingestion": IngestionParameters,
    "filtering": FilteringParameters,
    "embedding": EmbeddingParameters,
    "tokenization": TokenizationParameters,
    "training": TrainingParameters,
    "evaluation": EvaluationParameters,
    "comparison": ComparisonParameters,
}


def validate(parameters: Mapping[str, Any]) -> dict[str, Parameters]:
    """Check every known group of ``parameters``.

    Args:
        parameters: the merged configuration, one mapping per group in ``GROUPS``;
            other top-level names are ignored here.

    Returns:
        The validated model of each group present.

    Raises:
        SidiffError: names every wrong value, the rule it breaks and what was given.
    """
    models: dict[str, Parameters] = {}
    problems: list[str] = []
    for name, group in GROUPS.items():
        if name not in parameters:
            continue
        try:
            models[name] = group.model_validate(parameters[name])
        except ValidationError as error:
            problems.extend(_sentence(name, detail) for detail in error.errors())
    problems.extend(_across_groups(models))
    if problems:
        raise SidiffError("Wrong parameters: " + "; ".join(problems) + ".")
    return models


def _across_groups(models: Mapping[str, Parameters]) -> list[str]:
    """What each group cannot know alone."""
    tokenization, training = models.get("tokenization"), models.get("training")
    if not isinstance(tokenization, TokenizationParameters) or not isinstance(
        training, TrainingParameters
    ):
        return []
    noising = training.noising
    nested = noising.strategy in ("ocn", "coherent")
    if nested and noising.views > tokenization.digits:
        return [
            f"training.noising.views ({noising.views}) must not exceed "
            f"tokenization.digits ({tokenization.digits}) with nested views"
        ]
    return []


def _sentence(group: str, detail: Any) -> str:
    path = ".".join([group, *(str(part) for part in detail["loc"])])
    message = str(detail["msg"]).removeprefix("Value error, ")
    message = message[:1].lower() + message[1:]
    if detail["type"] == "value_error":
        return f"{path}: {message}"
    if detail["type"] == "extra_forbidden":
        return f"{path} is not a parameter (remove it or correct its spelling)"
    if detail["type"] == "missing":
        return f"{path} is missing"
    return f"{path} is {detail['input']!r}: {message}"
