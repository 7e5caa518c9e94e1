"""Every parameter of every stage: type, legal range and nothing else.

Values live in ``conf/``, where each has a comment with its unit and effect;
this module holds no defaults, so that a value has exactly one home. The pure
code receives these frozen models, and ``validate`` checks all of them before
the first node runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Annotated, Any, Literal, Self, TypeVar, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from sidiff.errors import SidiffError
from sidiff.legal import placed, problems

CONFIGURED = "as_configured"
"""Row of ``evaluation.method`` in the comparison."""

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Weight = Annotated[float, Field(ge=0.0, le=100.0)]
Chance = Annotated[float, Field(ge=0.0, lt=1.0)]
LearningRate = Annotated[float, Field(gt=0.0, le=1.0)]
Beam = Annotated[int, Field(ge=1, le=65_536)]
Layers = Annotated[int, Field(ge=1, le=64)]
Rows = Annotated[int, Field(ge=1, le=1_000_000)]
Users = Annotated[int, Field(ge=0, le=1_000_000_000)]
Epochs = Annotated[int, Field(ge=1, le=100_000)]
Cutoff = Annotated[int, Field(ge=1, le=10_000)]
Codes = Annotated[int, Field(ge=2, le=65_536)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]
Seeds = Annotated[list[Seed], Field(min_length=1, max_length=100)]
Workers = Annotated[int, Field(ge=1, le=1024)]
Device = Literal["auto", "cpu", "cuda"]
Threads = Annotated[int, Field(ge=0, le=1024)]
Precision = Literal["float32", "bfloat16"]
MethodName = Annotated[
    str,
    Field(
        pattern="^[a-z][a-z0-9_]{0,39}$",
        description="of 1 to 40 small letters, digits and _, a letter first",
    ),
]
Column = Annotated[str, Field(min_length=1, max_length=1000)]
DatasetName = Annotated[
    str,
    # A number is a name as well: nobody can quote it in --params.
    BeforeValidator(lambda name: str(name) if type(name) is int else name),
    Field(
        pattern=r"^\w[\w.-]{0,99}$",
        description="the name of a folder: 1 to 100 letters, digits, _, . and -, no . "
        "or - first",
    ),
]
Columns = Annotated[
    dict[str, dict[str, Any]],
    Field(min_length=1, description="columns of values, each under its name"),
]
Changes = Annotated[
    dict[MethodName, dict[str, Any]],
    # null: an environment leaves out what it would inherit.
    BeforeValidator(
        lambda named: (
            {name: value for name, value in named.items() if value is not None}
            if isinstance(named, Mapping)
            else named
        )
    ),
    Field(min_length=1, max_length=1000),
]
Url = Annotated[
    str,
    Field(
        pattern="^https?://.", max_length=4096, description="an http or https address"
    ),
]
# May be empty in globals.yml of an environment that leaves it to each machine.
Storage = Annotated[str, Field(max_length=4096)]
FilePath = Annotated[str, Field(min_length=1, max_length=4096)]
ItemField = Literal["title", "brand", "categories", "price", "features", "description"]
TimeUnit = Literal["s", "ms", "us", "ns", "datetime"]


Group = TypeVar("Group", bound="Parameters")


class Parameters(BaseModel):
    """Base of all groups: frozen, and an unknown name is an error.

    Strict, because nodes also take single values from the configuration as they
    stand there: ``"50"`` or ``true`` is no number. A validator's message is a clause in
    which names with a leading dot are relative to its group (``sidiff.legal``).
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False
    )


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

    min_user_events: Annotated[int, Field(ge=1, le=1000)]
    min_item_events: Annotated[int, Field(ge=1, le=1000)]
    merge_seconds: Annotated[int, Field(ge=0, le=86_400)] | None
    tie_break: Literal["auto", "item_id", "file_order"]
    windows: Literal["sliding", "prefix", "all"]
    min_history: Annotated[int, Field(ge=1, le=1000)]
    max_history: Annotated[int, Field(ge=1, le=1000)]
    catalogue: Literal["core", "metadata"]
    min_metadata_share: Share
    cold_share: Annotated[float, Field(ge=0.0, le=0.5)]
    seed: Seed

    def order_of_ties(self, layout: str) -> Literal["item_id", "file_order"]:
        """What orders interactions of the same time in files of ``layout``."""
        if self.tie_break == "auto":
            return "file_order" if layout == "table" else "item_id"
        return self.tie_break

    @model_validator(mode="after")
    def _history_range(self) -> Self:
        if self.min_history > self.max_history:
            raise ValueError(
                f".min_history ({self.min_history}) must not exceed "
                f".max_history ({self.max_history})"
            )
        return self


class TextFieldParameters(Parameters):
    """One piece of an item's text: which field, and the label before it."""

    field: Column
    label: Annotated[str, Field(max_length=200)]


class EmbeddingParameters(Parameters):
    """Item text and its sentence encoder (pipeline ``embedding``)."""

    text: Annotated[list[TextFieldParameters], Field(min_length=1, max_length=1000)]
    encoder: FilePath
    batch_size: Annotated[int, Field(ge=1, le=4096)]
    shard_batches: Annotated[int, Field(ge=1, le=100_000)]
    device: Device
    precision: Precision
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
    codes: Literal["auto"] | Codes
    max_codes: Codes
    seed: Seed
    threads: Annotated[int, Field(ge=1, le=256)]
    device: Device
    table: FilePath | None
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


class NetworkParameters(Parameters):
    """Kind and shape of the denoiser."""

    posterior: Literal["items", "digits"]
    width: Annotated[int, Field(ge=4, le=8192)]
    heads: Annotated[int, Field(ge=1, le=128)]
    inner: Annotated[int, Field(ge=4, le=65536)]
    encoder_layers: Layers
    decoder_layers: Layers
    dropout: Chance
    cross_pad: Literal["sink", "mask"]
    history_tokens: Literal["items", "codes"]
    mask: Literal["per_digit", "shared"]
    difficulty_embedding: bool
    residual_dropout: Share

    @model_validator(mode="after")
    def _heads_divide(self) -> Self:
        if self.width % self.heads:
            raise ValueError(
                f".heads ({self.heads}) must divide .width ({self.width}) without rest"
            )
        return self


class CurriculumParameters(Parameters):
    """How the number of masked digits grows in training."""

    gamma: Annotated[float, Field(gt=0.0, le=100.0)]


class HistoryOrderParameters(Parameters):
    """How a history chooses the digits to mask."""

    eps: Annotated[float, Field(gt=0.0, le=1_000_000.0)]


class NoisingParameters(Parameters):
    """Which digits of the target are masked in the training views."""

    views: Annotated[int, Field(ge=1, le=64)]
    amount: Literal["nested", "curriculum", "uniform", "chance"]
    order: Literal["confidence", "history", "random"]
    coherent: bool
    curriculum: CurriculumParameters
    history: HistoryOrderParameters
    probe_kv: Literal["projected", "raw"]
    mask_probability: Annotated[float, Field(gt=0.0, le=1.0)]


class OptimizerParameters(Parameters):
    """AdamW and its schedule."""

    learning_rate: LearningRate
    weight_decay: Annotated[float, Field(ge=0.0, le=1.0)]
    warmup_steps: Annotated[int, Field(ge=0, le=10_000_000)]
    schedule: Literal["cosine", "constant"]
    max_gradient_norm: Annotated[float, Field(gt=0.0, le=1_000_000.0)]


class ParallelParameters(Parameters):
    """Several digits per denoiser call (methods ``two_stage`` and ``adaptive``)."""

    warmup_steps: Annotated[int, Field(ge=0, le=64)]
    digits_per_step: Annotated[int, Field(ge=1, le=64)]
    threshold: Annotated[float, Field(gt=0.0, le=1.0)]


class DecodingParameters(Parameters):
    """The search for a user's next semantic IDs."""

    order: Literal["confidence", "random", "fixed"]
    beam: Beam
    merge: Literal["none", "max"]
    constraint: Literal["none", "items"]
    last_step: Literal["joint", "greedy"]
    parallel: ParallelParameters
    seed: Seed


class MarkovParameters(Parameters):
    """What followed a user's last items in training."""

    items: Annotated[int, Field(ge=1, le=1000)]
    decay: Share
    successors: Annotated[int, Field(ge=1, le=1_000_000)]


class MixtureParameters(Parameters):
    """A model and the Markov chain in one probability."""

    share: Chance


class RankingParameters(DecodingParameters):
    """How a network makes a user's list, and the search where it is one."""

    method: Literal["mixture", "items", "cpd", "two_stage", "adaptive", "one_pass"]

    @property
    def by_items(self) -> bool:
        """Whether it ranks by item vectors, which not every network has."""
        return self.method in ("mixture", "items")


class StoppingParameters(Parameters):
    """When a model in training is validated, and when it has stopped improving."""

    first_epoch: Epochs
    every_epochs: Epochs
    patience: Epochs


class ValidationParameters(StoppingParameters):
    """When and how the validation split is decoded during training."""

    level: Literal["sid", "item"]
    ndcg_weight: Share
    method: Literal["items", "cpd", "two_stage", "adaptive", "one_pass"]
    decoding: DecodingParameters
    max_users: Users
    users_per_batch: Rows

    @property
    def ranking(self) -> RankingParameters:
        """How the lists are made that are validated."""
        return _ranking(self.method, self.decoding)


class RayParameters(Parameters):
    """The cluster of what has ``engine: ray``."""

    address: Annotated[str, Field(min_length=1, max_length=4096)] | None


class TrainingParameters(Parameters):
    """The denoiser and its training loop (pipeline ``training``)."""

    network: NetworkParameters
    noising: NoisingParameters
    partial_weight: Weight
    label_smoothing: Chance
    loss_reduction: Literal["per_view", "pooled", "sum"]
    optimizer: OptimizerParameters
    validation: ValidationParameters
    batch_size: Rows
    samples_per_pass: Rows
    epochs: Epochs
    engine: Literal["local", "ddp", "ray"]
    workers: Workers
    restarts: Annotated[int, Field(ge=0, le=1000)]
    checkpoint_seconds: Annotated[float, Field(ge=0.0, le=86_400.0)]
    seed: Seed
    device: Device
    precision: Precision
    threads: Threads

    @model_validator(mode="after")
    def _workers_have_work(self) -> Self:
        most = self.batch_size // self.workers
        if self.engine != "local" and self.samples_per_pass > most:
            raise ValueError(
                f".batch_size ({self.batch_size}) must be at least .workers "
                f"({self.workers}) times .samples_per_pass ({self.samples_per_pass}) "
                f"where .engine is {self.engine}"
            )
        return self


class EvaluationParameters(Parameters):
    """Lists, metrics and reports (pipeline ``evaluation``)."""

    method: Literal["mixture", "items", "cpd", "two_stage", "adaptive", "one_pass"]
    decoding: DecodingParameters
    mixture: MixtureParameters
    markov: MarkovParameters
    decoders: Changes
    decoder_users: Users
    seeds: Seeds
    cutoffs: Annotated[list[Cutoff], Field(min_length=1, max_length=100)]
    top_k: Cutoff
    exclude_seen: bool
    allow_items: FilePath | None
    deny_items: FilePath | None
    users_per_batch: Rows
    device: Device
    precision: Precision
    threads: Threads
    engine: Literal["local", "ray"]
    workers: Workers

    @model_validator(mode="after")
    def _lists_fit(self) -> Self:
        _check_distinct("seeds", self.seeds)
        _check_distinct("cutoffs", self.cutoffs)
        if max(self.cutoffs) > self.top_k:
            raise ValueError(
                f".top_k ({self.top_k}) must be at least the largest of .cutoffs "
                f"({max(self.cutoffs)})"
            )
        self.other_decoders()
        return self

    @property
    def ranking(self) -> RankingParameters:
        """How every user's list is made."""
        return _ranking(self.method, self.decoding)

    def other_decoders(self) -> dict[str, RankingParameters]:
        """The decoders to compare with, by name: ``ranking`` with what each changes.

        Raises:
            ValueError: a changed setting is unknown or illegal.
        """
        if CONFIGURED in self.decoders:
            raise ValueError(
                f".decoders names {CONFIGURED}, which is the row of .method; give the "
                "decoder another name"
            )
        return _changed(self.ranking, self.decoders, ".decoders")


class SasRecSettings(Parameters):
    """One SASRec: shape of the network and its training."""

    width: Annotated[int, Field(ge=4, le=8192)]
    heads: Annotated[int, Field(ge=1, le=128)]
    inner: Annotated[int, Field(ge=4, le=65536)]
    layers: Annotated[int, Field(ge=1, le=64)]
    dropout: Chance
    label_smoothing: Chance
    optimizer: OptimizerParameters
    stopping: StoppingParameters
    batch_size: Rows
    users_per_pass: Rows
    epochs: Epochs

    @model_validator(mode="after")
    def _heads_divide(self) -> Self:
        if self.width % self.heads:
            raise ValueError(
                f".heads ({self.heads}) must divide .width ({self.width}) without rest"
            )
        return self


class SasRecParameters(SasRecSettings):
    """A SASRec and the variations of it to try."""

    tune: Annotated[list[dict[str, Any]], Field(max_length=1000)]

    @model_validator(mode="after")
    def _tune_fits(self) -> Self:
        for number, changes in enumerate(self.tune):
            try:
                self._changed(changes)
            except ValidationError as error:
                raise ValueError(
                    "; ".join(problems(f".tune[{number}]", SasRecSettings, error))
                ) from error
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

    encoder_layers: Layers
    decoder_layers: Layers
    dropout: Chance
    batch_size: Rows
    samples_per_pass: Rows
    epochs: Epochs
    learning_rate: LearningRate
    beam: Beam


class BaselinesParameters(Parameters):
    """Other methods on the same split (pipeline ``baselines``)."""

    methods: Annotated[
        list[
            Literal["popularity", "markov", "sasrec", "sasrec_markov", "autoregressive"]
        ],
        Field(min_length=1, max_length=5),
    ]
    markov: MixtureParameters
    sasrec: SasRecParameters
    sasrec_markov: MixtureParameters
    autoregressive: AutoregressiveParameters
    users_per_batch: Rows
    device: Device
    threads: Threads

    @model_validator(mode="after")
    def _methods_differ(self) -> Self:
        _check_distinct("methods", self.methods)
        return self


class BootstrapParameters(Parameters):
    """Resamples of the users, for confidence intervals."""

    resamples: Annotated[int, Field(ge=1, le=100_000)]
    level: Annotated[float, Field(gt=0.0, lt=1.0)]
    seed: Seed


class ComparisonParameters(Parameters):
    """Decoders and baselines side by side (pipeline ``comparison``)."""

    references: Annotated[list[MethodName], Field(min_length=1, max_length=1000)]
    bootstrap: BootstrapParameters
    popularity_edges: Annotated[
        list[Annotated[int, Field(ge=1, le=1_000_000_000)]],
        Field(min_length=1, max_length=100),
    ]
    history_edges: Annotated[
        list[Annotated[int, Field(ge=2, le=1_000_000)]],
        Field(min_length=1, max_length=100),
    ]

    @model_validator(mode="after")
    def _edges_increase(self) -> Self:
        _check_distinct("references", self.references)
        for name in ("popularity_edges", "history_edges"):
            edges = getattr(self, name)
            if any(high <= low for low, high in pairwise(edges)):
                raise ValueError(
                    f".{name} ({edges}) must increase from one to the next"
                )
        return self


class AblationParameters(Parameters):
    """Trainings that differ in stated settings (pipeline ``ablation``)."""

    variants: Changes
    seeds: Seeds
    decoder: MethodName

    @model_validator(mode="after")
    def _seeds_differ(self) -> Self:
        _check_distinct("seeds", self.seeds)
        return self

    def trainings(self, training: TrainingParameters) -> dict[str, TrainingParameters]:
        """The settings of every variant: ``training`` with what it changes.

        Raises:
            ValueError: a changed setting is unknown or illegal.
        """
        return _changed(training, self.variants, ".variants")


class RecommendParameters(Parameters):
    """Lists for every user (pipeline ``recommend``)."""

    histories: FilePath | None
    top_k: Cutoff
    exclude_seen: bool
    allow_items: FilePath | None
    deny_items: FilePath | None
    decoder: (
        Literal["mixture", "items", "cpd", "two_stage", "adaptive", "one_pass"] | None
    )
    users_per_part: Rows
    device: Device
    threads: Threads


class UpdateParameters(Parameters):
    """Other items for a bundle (pipeline ``catalogue_update``)."""

    new_items: FilePath | None
    removed_items: FilePath | None


class RawParameters(Parameters):
    """Where the raw files are (``raw`` in globals.yml)."""

    source: Literal["sample", "files"]
    reviews: FilePath
    metadata: FilePath
    reviews_url: Url | None
    metadata_url: Url | None


class RunParameters(Parameters):
    """What holds for the whole run, beside the groups."""

    dataset: DatasetName
    storage: Storage
    raw_reviews: FilePath
    raw_metadata: FilePath


class SharedParameters(Parameters):
    """globals.yml: what the catalogue and several groups share."""

    dataset: DatasetName
    storage: Storage
    scratch: FilePath
    recipe: str
    preset: str
    raw: RawParameters
    recipes: Columns
    presets: Columns

    @model_validator(mode="after")
    def _columns_agree(self) -> Self:
        for table in ("recipes", "presets"):
            columns: dict[str, dict[str, Any]] = getattr(self, table)
            known = next(iter(columns.values()))
            for name, column in columns.items():
                for value in known.keys() ^ column.keys():
                    has = "lacks" if value in known else "has"
                    raise ValueError(
                        f".{table}.{name} {has} the name {value}, but must have those "
                        f"of the other {table} ({', '.join(known)})"
                    )
            chosen = getattr(self, table.removesuffix("s"))
            if chosen not in columns:
                raise ValueError(
                    f".{table.removesuffix('s')} is {chosen}, but must be one of "
                    f"{', '.join(columns)}"
                )
        return self


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
    "recommend": RecommendParameters,
    "update": UpdateParameters,
}


def validate_run(given: Mapping[str, Any], shared: Mapping[str, Any]) -> None:
    """Check globals.yml and what holds for the whole run.

    Args:
        given: parameters by name, of which those of ``RunParameters`` are looked at.
        shared: globals.yml.

    Raises:
        SidiffError: names every wrong value and what it may be.
    """
    try:
        checked = SharedParameters.model_validate(dict(shared))
    except ValidationError as error:
        clauses = problems("", SharedParameters, error)
        raise SidiffError(f"Wrong values in globals.yml: {'; '.join(clauses)}.") from (
            error
        )
    raw = {"raw_reviews": checked.raw.reviews, "raw_metadata": checked.raw.metadata}
    values = {"dataset": checked.dataset, "storage": checked.storage, **raw, **given}
    try:
        RunParameters.model_validate(
            {name: values[name] for name in RunParameters.model_fields}
        )
    except ValidationError as error:
        clauses = problems("", RunParameters, error)
        raise SidiffError(f"Wrong parameters: {'; '.join(clauses)}.") from error


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
    wrong: list[str] = []
    for name, group in GROUPS.items():
        if name not in parameters:
            continue
        try:
            models[name] = group.model_validate(parameters[name])
        except ValidationError as error:
            wrong += problems(name, group, error)
    wrong += _across_groups(models)
    if wrong:
        raise SidiffError("Wrong parameters: " + "; ".join(wrong) + ".")
    return models


def _across_groups(models: Mapping[str, Parameters]) -> list[str]:
    """What each group cannot know alone."""
    return [
        *_views_fit(models),
        *_references_exist(models),
        *_variants_fit(models),
        *_posterior_exists(models),
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
        f"embedding.text[{place}].field is {part.field}, but must be one of "
        f"{', '.join(known)} with ingestion.layout {ingestion.layout}"
        for place, part in enumerate(embedding.text)
        if part.field not in known
    ]


def _posterior_exists(models: Mapping[str, Parameters]) -> list[str]:
    training, evaluation = models.get("training"), models.get("evaluation")
    if not (
        isinstance(training, TrainingParameters)
        and isinstance(evaluation, EvaluationParameters)
    ):
        return []
    rankings = {
        "training.validation": training.validation.ranking,
        "evaluation": evaluation.ranking,
    }
    return _without_posterior(rankings, training, "training")


def _without_posterior(
    rankings: Mapping[str, RankingParameters], training: TrainingParameters, own: str
) -> list[str]:
    """Rankings of items by a network that has only digits, of training ``own``."""
    if training.network.posterior == "items":
        return []
    return [
        f"{name}.method {ranking.method} needs {own}.network.posterior items, which is "
        f"{training.network.posterior}; change one of them"
        for name, ranking in rankings.items()
        if ranking.by_items
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
    methods = [CONFIGURED, *evaluation.decoders, *baselines.methods]
    return [
        f"evaluation.decoders names {name}, as does baselines.methods; give the "
        "decoder another name"
        for name in evaluation.decoders
        if name in baselines.methods
    ] + [
        f"comparison.references names {name}, but its names must be {CONFIGURED} or in "
        f"evaluation.decoders or baselines.methods ({', '.join(methods)})"
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
    wrong = []
    if ablation.decoder not in evaluation.decoders:
        wrong.append(
            f"ablation.decoder is {ablation.decoder}, but must be one of "
            f"evaluation.decoders ({', '.join(evaluation.decoders)})"
        )
    try:
        variants = ablation.trainings(training)
    except ValueError as error:
        return [*wrong, placed("ablation", str(error))]
    if _views_fit(models):  # of the settings that all variants begin with
        return wrong
    others = {key: value for key, value in models.items() if key != "training"}
    ranker = evaluation.other_decoders().get(ablation.decoder)
    for name, settings in variants.items():
        own = f"ablation.variants.{name}"
        wrong += [
            problem.replace("training.", f"{own}.")
            for problem in _views_fit({**others, "training": settings})
        ]
        rankings = {f"{own}.validation": settings.validation.ranking}
        if ranker is not None:
            rankings[f"evaluation.decoders.{ablation.decoder}"] = ranker
        wrong += _without_posterior(rankings, settings, own)
    return wrong


def _views_fit(models: Mapping[str, Parameters]) -> list[str]:
    tokenization, training = models.get("tokenization"), models.get("training")
    if not isinstance(tokenization, TokenizationParameters) or not isinstance(
        training, TrainingParameters
    ):
        return []
    noising = training.noising
    if noising.amount == "nested" and noising.views > tokenization.sid_digits:
        return [
            f"training.noising.views ({noising.views}) must be at most the "
            f"{tokenization.sid_digits} digits of a semantic ID (tokenization.digits) "
            "where training.noising.amount is nested"
        ]
    return []


def _ranking(method: str, decoding: DecodingParameters) -> RankingParameters:
    return RankingParameters.model_validate({"method": method, **decoding.model_dump()})


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
            clauses = problems(f"{where}.{name}", type(base), error)
            raise ValueError("; ".join(clauses)) from error
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


def _check_distinct(name: str, values: Sequence[Any]) -> None:
    if len(set(values)) < len(values):
        listed = ", ".join(str(value) for value in values)
        raise ValueError(f".{name} ({listed}) must all be different")
