"""Every parameter of every stage: type, legal range and nothing else.

Values live in ``conf/``, where each has a comment with its unit and effect;
this module holds no defaults, so that a value has exactly one home. The pure
code receives these frozen models, and ``validate`` checks all of them before
the first node runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Any, Literal, Self, TypeVar, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from sidiff.errors import SidiffError


def _differ(values: list[int]) -> list[int]:
    if len(set(values)) < len(values):
        raise ValueError(f"{values} must differ from each other")
    return values


Share = Annotated[float, Field(ge=0.0, le=1.0)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]
Seeds = Annotated[list[Seed], Field(min_length=1), AfterValidator(_differ)]
PositiveInt = Annotated[int, Field(ge=1)]
Workers = Annotated[int, Field(ge=1, le=1024)]
Device = Literal["auto", "cpu", "cuda"]
Threads = Annotated[int, Field(ge=0, le=1024)]
MethodName = Annotated[str, Field(pattern="^[a-z][a-z0-9_]{0,39}$")]
Column = Annotated[str, Field(min_length=1)]
ItemField = Literal["title", "brand", "categories", "price", "features", "description"]
TimeUnit = Literal["s", "ms", "us", "ns", "datetime"]


Group = TypeVar("Group", bound="Parameters")


class Parameters(BaseModel):
    """Base of all groups: frozen, and an unknown name is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class SampleDataParameters(Parameters):
    """The synthetic shop (pipeline ``sample_data``)."""

    users: Annotated[int, Field(ge=50, le=1_000_000)]
    items: Annotated[int, Field(ge=60, le=100_000)]
    seed: Seed


class InteractionColumns(Parameters):
    """Which columns of an interactions table say who, what and when."""

    user: Column
    item: Column
    timestamp: Column
    time_unit: TimeUnit
    rating: Column | None


class ItemColumns(Parameters):
    """Which column of an item table is the id, and which are fields renamed."""

    item: Column
    fields: dict[ItemField, Column]


class IngestionParameters(Parameters):
    """Raw rows to typed frames (pipeline ``ingestion``)."""

    layout: Literal["amazon2014", "amazon2018", "amazon2023", "table"]
    max_rejected_share: Share
    interactions: InteractionColumns
    items: ItemColumns


class FilteringParameters(Parameters):
    """k-core, sequences and training windows (pipeline ``filtering``)."""

    core: Annotated[int, Field(ge=1, le=1000)]
    repeats: Literal["keep", "drop"]
    tie_break: Literal["item_id", "file_order"]
    windows: Literal["prefix", "all"]
    min_history: Annotated[int, Field(ge=1, le=1000)]
    max_history: Annotated[int, Field(ge=1, le=1000)]
    catalogue: Literal["core", "metadata"]
    cold_share: Annotated[float, Field(ge=0.0, le=0.5)]
    seed: Seed

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

    field: Column
    label: str


class EmbeddingParameters(Parameters):
    """Item text and its sentence encoder (pipeline ``embedding``)."""

    text: Annotated[list[TextFieldParameters], Field(min_length=1)]
    encoder: Annotated[str, Field(min_length=1)]
    batch_size: Annotated[int, Field(ge=1, le=4096)]
    shard_batches: Annotated[int, Field(ge=1, le=100_000)]
    device: Device
    engine: Literal["local", "ray"]
    workers: Workers


class WhiteningParameters(Parameters):
    """PCA whitening before quantization."""

    dimensions: Annotated[int, Field(ge=2, le=4096)]
    normalize: bool


class CollaborativeParameters(Parameters):
    """What training histories say of items, beside their texts."""

    weight: Share
    dimensions: Annotated[int, Field(ge=2, le=4096)]
    window: Annotated[int, Field(ge=1, le=1000)]


class TokenizationParameters(Parameters):
    """Embeddings to semantic IDs (pipeline ``tokenization``)."""

    quantizer: Literal["opq", "pq", "rq_kmeans", "random", "table"]
    collaborative: CollaborativeParameters
    whitening: WhiteningParameters
    digits: Annotated[int, Field(ge=1, le=64)]
    codes: Literal["auto"] | Annotated[int, Field(ge=2, le=65536)]
    seed: Seed
    threads: Annotated[int, Field(ge=1, le=256)]
    device: Device
    table: str | None
    collisions: Literal["share", "repair", "extra_digit"]
    new_items: Literal["keep", "refit"]

    @property
    def sid_digits(self) -> int:
        """Digits of a finished semantic ID: the quantizer's, and one that counts."""
        return self.digits + (self.collisions == "extra_digit")

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
    item_identity: bool
    identity_dropout: Annotated[float, Field(ge=0.0, lt=1.0)]

    @model_validator(mode="after")
    def _heads_divide(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"heads ({self.heads}) must divide width ({self.width})")
        return self


class CurriculumParameters(Parameters):
    """How the number of hidden digits grows in training."""

    shape: Literal["linear", "cosine", "sqrt", "constant"]
    saturation: Annotated[float, Field(gt=0.0, le=1.0)]
    reversed: bool


class HistoryOrderParameters(Parameters):
    """How a history chooses the digits to hide."""

    statistic: Literal["support", "rarity"]
    sign: Literal[-1, 0, 1]
    temperature: Annotated[float, Field(ge=0.01, le=100.0)]
    recency: Annotated[float, Field(ge=0.01, le=1_000_000.0)]


class NoisingParameters(Parameters):
    """Which digits of the target are hidden in the training views."""

    views: Annotated[int, Field(ge=1, le=64)]
    amount: Literal["nested", "curriculum", "chance"]
    order: Literal["confidence", "history", "random"]
    coherent: bool
    curriculum: CurriculumParameters
    history: HistoryOrderParameters
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


class RescoringParameters(Parameters):
    """A second look at the best items of a search."""

    items: Annotated[int, Field(ge=0, le=10_000)]
    orders: Annotated[int, Field(ge=0, le=64)]
    item_weight: Annotated[float, Field(ge=0.0, le=100.0)]

    @model_validator(mode="after")
    def _something_scores(self) -> Self:
        if self.items and not self.orders and not self.item_weight:
            raise ValueError("orders or item_weight must be above 0, or items 0")
        return self


class ParallelParameters(Parameters):
    """Several digits per denoiser call (methods ``two_stage`` and ``adaptive``)."""

    warmup_steps: Annotated[int, Field(ge=0, le=64)]
    digits_per_step: Annotated[int, Field(ge=1, le=64)]
    confidence: Literal["max_probability", "negative_entropy"]
    threshold: Annotated[float, Field(gt=0.0, le=1.0)]


class DecodingParameters(Parameters):
    """The search for a user's next semantic IDs."""

    method: Literal["cpd", "two_stage", "adaptive", "one_pass", "item_vectors"]
    order: Literal["confidence", "random", "fixed"]
    beam: Annotated[int, Field(ge=1, le=65536)]
    merge: Literal["none", "max", "sum"]
    constraint: Literal["none", "items"]
    weighting: Literal["model", "legal"]
    last_step: Literal["joint", "greedy"]
    parallel: ParallelParameters
    rescoring: RescoringParameters
    seed: Seed

    @model_validator(mode="after")
    def _legal_needs_the_constraint(self) -> Self:
        if self.weighting == "legal" and self.constraint != "items":
            raise ValueError("weighting legal needs constraint items")
        return self


class StoppingParameters(Parameters):
    """When a model in training is validated, and when it has stopped improving."""

    first_epoch: PositiveInt
    every_epochs: PositiveInt
    patience: PositiveInt


class ValidationParameters(StoppingParameters):
    """When and how the validation split is decoded during training."""

    level: Literal["sid", "item"]
    ndcg_weight: Share
    decoding: DecodingParameters
    max_users: Annotated[int, Field(ge=0)]
    users_per_batch: PositiveInt


class AuxiliaryParameters(Parameters):
    """Losses beside the denoising one; weight 0 leaves one out."""

    item_weight: Annotated[float, Field(ge=0.0, le=100.0)]
    history_weight: Annotated[float, Field(ge=0.0, le=100.0)]
    history_share: Share


class RayParameters(Parameters):
    """The cluster of what has ``engine: ray``."""

    address: Annotated[str, Field(min_length=1)] | None


class TrainingParameters(Parameters):
    """The denoiser and its training loop (pipeline ``training``)."""

    network: NetworkParameters
    noising: NoisingParameters
    auxiliary: AuxiliaryParameters
    label_smoothing: Annotated[float, Field(ge=0.0, lt=1.0)]
    loss_reduction: Literal["per_view", "pooled"]
    optimizer: OptimizerParameters
    validation: ValidationParameters
    batch_size: Annotated[int, Field(ge=1, le=1_000_000)]
    samples_per_pass: Annotated[int, Field(ge=1, le=1_000_000)]
    epochs: PositiveInt
    engine: Literal["local", "ddp", "ray"]
    workers: Workers
    restarts: Annotated[int, Field(ge=0, le=1000)]
    checkpoint_seconds: Annotated[float, Field(ge=0.0, le=86_400.0)]
    seed: Seed
    device: Device
    threads: Threads

    @model_validator(mode="after")
    def _workers_have_work(self) -> Self:
        most = self.batch_size // self.workers
        if self.engine != "local" and self.samples_per_pass > most:
            raise ValueError(
                f"a batch_size of {self.batch_size} must give each of the "
                f"{self.workers} workers a part of samples_per_pass "
                f"({self.samples_per_pass}) samples; lower workers or "
                f"samples_per_pass, or raise batch_size"
            )
        return self

    @model_validator(mode="after")
    def _item_loss_has_items(self) -> Self:
        if self.auxiliary.item_weight and not self.network.item_identity:
            raise ValueError(
                "auxiliary.item_weight needs network.item_identity: true, "
                "or set it to 0"
            )
        return self


class EvaluationParameters(Parameters):
    """Decoding, metrics and reports (pipeline ``evaluation``)."""

    decoding: DecodingParameters
    decoders: dict[MethodName, dict[str, Any]]
    decoder_users: Annotated[int, Field(ge=0)]
    seeds: Seeds
    cutoffs: Annotated[list[PositiveInt], Field(min_length=1)]
    top_k: Annotated[int, Field(ge=1, le=10_000)]
    exclude_seen: bool
    allow_items: str | None
    deny_items: str | None
    users_per_batch: PositiveInt
    device: Device
    threads: Threads
    engine: Literal["local", "ray"]
    workers: Workers

    @model_validator(mode="after")
    def _lists_fit(self) -> Self:
        if max(self.cutoffs) > self.top_k:
            raise ValueError(
                f"top_k ({self.top_k}) must be at least the largest cutoff "
                f"({max(self.cutoffs)})"
            )
        self.other_decoders()
        return self

    def other_decoders(self) -> dict[str, DecodingParameters]:
        """The decoders to compare with, by name: ``decoding`` with what each changes.

        Raises:
            ValueError: a changed setting is unknown or illegal.
        """
        return _changed(self.decoding, self.decoders, "decoders")


class MarkovParameters(Parameters):
    """Counts of transitions between items."""

    decay: Share
    repeat: Annotated[float, Field(ge=0.0, le=1000.0)]
    popularity: Annotated[float, Field(ge=0.0, le=1000.0)]


class SasRecSettings(Parameters):
    """One SASRec: shape of the network and its training."""

    width: Annotated[int, Field(ge=4, le=8192)]
    heads: Annotated[int, Field(ge=1, le=128)]
    inner: Annotated[int, Field(ge=4, le=65536)]
    layers: Annotated[int, Field(ge=1, le=64)]
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)]
    label_smoothing: Annotated[float, Field(ge=0.0, lt=1.0)]
    optimizer: OptimizerParameters
    stopping: StoppingParameters
    batch_size: Annotated[int, Field(ge=1, le=1_000_000)]
    users_per_pass: Annotated[int, Field(ge=1, le=1_000_000)]
    epochs: PositiveInt

    @model_validator(mode="after")
    def _heads_divide(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"heads ({self.heads}) must divide width ({self.width})")
        return self


class SasRecParameters(SasRecSettings):
    """A SASRec and the variations of it to try."""

    tune: list[dict[str, Any]]

    @model_validator(mode="after")
    def _tune_fits(self) -> Self:
        for changes in self.tune:
            try:
                self._changed(changes)
            except ValidationError as error:
                details = "; ".join(
                    _sentence("", detail).removeprefix(".") for detail in error.errors()
                )
                raise ValueError(f"the change {changes} does not fit: {details}") from (
                    error
                )
        return self

    def candidates(self) -> list[SasRecSettings]:
        """The settings themselves, then with each entry of ``tune`` laid over them."""
        return [self._changed(changes) for changes in [{}, *self.tune]]

    def _changed(self, changes: Mapping[str, Any]) -> SasRecSettings:
        return SasRecSettings.model_validate(
            _overlaid(self.model_dump(exclude={"tune"}), changes)
        )


class AutoregressiveParameters(Parameters):
    """The autoregressive SID decoder, as far as it differs from ``training``."""

    epochs: PositiveInt
    learning_rate: Annotated[float, Field(gt=0.0, le=1.0)]
    beam: Annotated[int, Field(ge=1, le=65536)]


class BaselinesParameters(Parameters):
    """Other methods on the same split (pipeline ``baselines``)."""

    methods: Annotated[
        list[Literal["popularity", "markov", "sasrec", "autoregressive"]],
        Field(min_length=1),
    ]
    markov: MarkovParameters
    sasrec: SasRecParameters
    autoregressive: AutoregressiveParameters
    users_per_batch: PositiveInt
    device: Device
    threads: Threads


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


class AblationParameters(Parameters):
    """Trainings that differ in stated settings (pipeline ``ablation``)."""

    variants: Annotated[dict[MethodName, dict[str, Any]], Field(min_length=1)]
    seeds: Seeds
    decoder: MethodName

    def trainings(self, training: TrainingParameters) -> dict[str, TrainingParameters]:
        """The settings of every variant: ``training`` with what it changes.

        Raises:
            ValueError: a changed setting is unknown or illegal.
        """
        return _changed(training, self.variants, "variants")


GROUPS: dict[str, type[Parameters]] = {
    "sample_data": SampleDataParameters,
    "ingestion": IngestionParameters,
    "filtering": FilteringParameters,
    "embedding": EmbeddingParameters,
    "tokenization": TokenizationParameters,
    "training": TrainingParameters,
    "ray": RayParameters,
    "evaluation": EvaluationParameters,
    "baselines": BaselinesParameters,
    "comparison": ComparisonParameters,
    "ablation": AblationParameters,
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
    return [
        *_views_fit(models),
        *_references_exist(models),
        *_variants_fit(models),
        *_vectors_exist(models),
        *_fields_exist(models),
    ]


def _fields_exist(models: Mapping[str, Parameters]) -> list[str]:
    ingestion, embedding = models.get("ingestion"), models.get("embedding")
    if not (
        isinstance(ingestion, IngestionParameters)
        and isinstance(embedding, EmbeddingParameters)
        and ingestion.layout != "table"
    ):
        return []
    known = get_args(ItemField)
    return [
        f"embedding.text: there is no field {part.field} in layout {ingestion.layout} "
        f"({', '.join(known)})"
        for part in embedding.text
        if part.field not in known
    ]


def _vectors_exist(models: Mapping[str, Parameters]) -> list[str]:
    training, evaluation = models.get("training"), models.get("evaluation")
    if not (
        isinstance(training, TrainingParameters)
        and isinstance(evaluation, EvaluationParameters)
    ):
        return []
    places = {
        "training.validation.decoding": training.validation.decoding,
        "evaluation.decoding": evaluation.decoding,
    }
    return [
        f"{name}.method item_vectors needs training.network.item_identity: true; set "
        "it to cpd"
        for name, decoding in places.items()
        if decoding.method == "item_vectors" and not training.network.item_identity
    ]


def _references_exist(models: Mapping[str, Parameters]) -> list[str]:
    comparison, evaluation = models.get("comparison"), models.get("evaluation")
    baselines = models.get("baselines")
    if not (
        isinstance(comparison, ComparisonParameters)
        and isinstance(evaluation, EvaluationParameters)
        and isinstance(baselines, BaselinesParameters)
    ):
        return []
    methods = [*evaluation.decoders, *baselines.methods]
    return [
        f"comparison.references: {name} is neither in evaluation.decoders nor in "
        f"baselines.methods ({', '.join(methods)})"
        for name in comparison.references
        if name not in methods
    ]


def _variants_fit(models: Mapping[str, Parameters]) -> list[str]:
    ablation, training = models.get("ablation"), models.get("training")
    evaluation = models.get("evaluation")
    if not (
        isinstance(ablation, AblationParameters)
        and isinstance(training, TrainingParameters)
        and isinstance(evaluation, EvaluationParameters)
    ):
        return []
    problems = []
    try:
        variants = ablation.trainings(training)
    except ValueError as error:
        problems.append(f"ablation.{error}")
    else:
        others = {key: value for key, value in models.items() if key != "training"}
        for name, settings in variants.items():
            problems += [
                f"ablation.variants.{name}: {problem}"
                for problem in _views_fit({**others, "training": settings})
            ]
    if ablation.decoder not in evaluation.decoders:
        problems.append(
            f"ablation.decoder: {ablation.decoder} is not in evaluation.decoders "
            f"({', '.join(evaluation.decoders)})"
        )
    return problems


def _views_fit(models: Mapping[str, Parameters]) -> list[str]:
    tokenization, training = models.get("tokenization"), models.get("training")
    if not isinstance(tokenization, TokenizationParameters) or not isinstance(
        training, TrainingParameters
    ):
        return []
    noising = training.noising
    if noising.amount == "nested" and noising.views > tokenization.sid_digits:
        return [
            f"training.noising.views ({noising.views}) must not exceed the "
            f"{tokenization.sid_digits} digits of a semantic ID (tokenization.digits) "
            "with nested views (training.noising.amount)"
        ]
    return []


def _changed(
    base: Group, changes: Mapping[str, Mapping[str, Any]], where: str
) -> dict[str, Group]:
    """``base`` with each of the named ``changes`` laid over it, checked again."""
    result = {}
    for name, values in changes.items():
        settings = _overlaid(base.model_dump(), values)
        try:
            result[name] = type(base).model_validate(settings)
        except ValidationError as error:
            sentence = _sentence(f"{where}.{name}", error.errors()[0])
            raise ValueError(sentence) from error
    return result


def _overlaid(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """``base`` with the values of ``changes``, group inside group."""
    result = dict(base)
    for name, value in changes.items():
        below = result.get(name)
        if isinstance(below, Mapping) and isinstance(value, Mapping):
            result[name] = _overlaid(below, value)
        else:
            result[name] = value
    return result


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
