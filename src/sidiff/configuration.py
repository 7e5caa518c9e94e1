"""The whole configuration: every group of parameters, and what no group knows alone.

``validate`` checks all of it before the first node runs. (Kedro would make the models
that nodes ask for by itself, but tells what is wrong as a text without its parts.)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from sidiff.baselines.settings import BaselinesParameters
from sidiff.errors import SidiffError
from sidiff.evaluation.settings import (
    CONFIGURED,
    ComparisonParameters,
    EvaluationParameters,
)
from sidiff.legal import placed, problems
from sidiff.parameters import Group, Parameters, Text
from sidiff.pipelines.ablation.nodes import AblationParameters
from sidiff.pipelines.catalogue_update.nodes import UpdateParameters
from sidiff.pipelines.recommend.nodes import RecommendParameters
from sidiff.ranking.settings import RankingParameters
from sidiff.reviews.settings import (
    FilteringParameters,
    IngestionParameters,
    ItemField,
    SampleDataParameters,
)
from sidiff.sids.settings import EmbeddingParameters, TokenizationParameters
from sidiff.training.settings import TrainingParameters

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
Url = Annotated[
    str, Field(pattern="^https?://.", description="an http or https address")
]


class RayParameters(Parameters):
    """The cluster of what has ``engine: ray``."""

    address: Text | None


class Configuration(Parameters):
    """Every group of parameters."""

    sample_data: SampleDataParameters
    ingestion: IngestionParameters
    filtering: FilteringParameters
    embedding: EmbeddingParameters
    tokenization: TokenizationParameters
    training: TrainingParameters
    ray: RayParameters
    evaluation: EvaluationParameters
    baselines: BaselinesParameters
    comparison: ComparisonParameters
    ablation: AblationParameters
    recommend: RecommendParameters
    update: UpdateParameters

    @model_validator(mode="after")
    def _groups_fit(self) -> Self:
        wrong = [
            *self._unknown_fields(),
            *self._unknown_methods(),
            *self._misfits("training", self.training),
        ]
        if not wrong:  # or every variant would repeat it
            wrong = list(self._misfits_of_variants())
        if wrong:
            raise ValueError("; ".join(wrong))
        return self

    def _unknown_fields(self) -> Iterator[str]:
        layout, known = self.ingestion.layout, get_args(ItemField)
        for place, part in enumerate(self.embedding.text):
            if layout != "table" and part.field not in known:
                yield (
                    f"embedding.text[{place}].field is {part.field}, but must be one "
                    f"of {', '.join(known)} with ingestion.layout {layout}"
                )

    def _unknown_methods(self) -> Iterator[str]:
        decoders, baselines = self.evaluation.decoders, self.baselines.methods
        for name in decoders:
            if name in baselines:
                yield (
                    f"evaluation.decoders names {name}, as does baselines.methods; "
                    "give the decoder another name"
                )
        methods = [CONFIGURED, *decoders, *baselines]
        for name in self.comparison.references:
            if name not in methods:
                yield (
                    f"comparison.references names {name}, but its names must be "
                    f"{CONFIGURED} or in evaluation.decoders or baselines.methods "
                    f"({', '.join(methods)})"
                )
        if self.ablation.decoder not in decoders:
            yield (
                f"ablation.decoder is {self.ablation.decoder}, but must be one of "
                f"evaluation.decoders ({', '.join(decoders)})"
            )

    def _misfits(
        self,
        own: str,
        training: TrainingParameters,
        ranked_by: str = "evaluation",
        ranking: RankingParameters | None = None,
    ) -> Iterator[str]:
        """Misfits of a training, which stands at the place ``own``."""
        noising, digits = training.noising, self.tokenization.digits
        if noising.amount == "nested" and noising.views > digits:
            yield (
                f"{own}.noising.views ({noising.views}) must be at most the {digits} "
                "digits of a semantic ID (tokenization.digits) where "
                f"{own}.noising.amount is nested"
            )
        for name, used in (
            (f"{own}.validation", training.validation.ranking),
            (ranked_by, ranking or self.evaluation.ranking),
        ):
            if used.by_items and training.network.posterior != "items":
                yield (
                    f"{name}.method {used.method} needs {own}.network.posterior items, "
                    f"which is {training.network.posterior}; change one of them"
                )

    def _misfits_of_variants(self) -> Iterator[str]:
        try:
            variants = self.ablation.trainings(self.training)
        except ValueError as error:
            yield placed("ablation", str(error))
            return
        decoder = self.ablation.decoder
        ranking = self.evaluation.other_decoders()[decoder]
        for name, training in variants.items():
            yield from self._misfits(
                f"ablation.variants.{name}",
                training,
                f"evaluation.decoders.{decoder}",
                ranking,
            )


class RawParameters(Parameters):
    """The places of the raw files (``raw`` in globals.yml)."""

    source: Literal["sample", "files"]
    reviews: Text
    metadata: Text
    reviews_url: Url | None
    metadata_url: Url | None


class RunParameters(Parameters):
    """Values of the whole run, beside the groups."""

    dataset: DatasetName
    # May be empty in globals.yml of an environment that leaves it to each machine.
    storage: str
    raw_reviews: Text
    raw_metadata: Text


class SharedParameters(Parameters):
    """globals.yml: what the catalogue and several groups share."""

    dataset: DatasetName
    storage: str
    scratch: Text
    recipe: str
    preset: str
    raw: RawParameters
    recipes: Columns
    presets: Columns
    # What the columns above refer to where several environments share them.
    published: dict[str, Any] | None

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
            option = table.removesuffix("s")
            if getattr(self, option) not in columns:
                raise ValueError(
                    f".{option} is {getattr(self, option)}, but must be one of "
                    f"{', '.join(columns)}"
                )
        return self


GROUPS = {
    name: field.annotation
    for name, field in Configuration.model_fields.items()
    if field.annotation is not None
}


def validate_run(given: Mapping[str, Any], shared: Mapping[str, Any]) -> None:
    """Check globals.yml and what holds for the whole run.

    Args:
        given: parameters by name, of which those of ``RunParameters`` are looked at.
        shared: globals.yml.

    Raises:
        SidiffError: names every wrong value and what it may be.
    """
    checked = _checked(SharedParameters, shared, "Wrong values in globals.yml")
    raw = {"raw_reviews": checked.raw.reviews, "raw_metadata": checked.raw.metadata}
    values = {"dataset": checked.dataset, "storage": checked.storage, **raw, **given}
    run = {name: values[name] for name in RunParameters.model_fields}
    _checked(RunParameters, run, "Wrong parameters")


def validate(parameters: Mapping[str, Any]) -> Configuration:
    """Check every group of ``parameters``; other names are ignored here.

    Raises:
        SidiffError: names every wrong value, the rule it breaks and what was given.
    """
    groups = {name: parameters[name] for name in GROUPS if name in parameters}
    return _checked(Configuration, groups, "Wrong parameters")


def _checked(model: type[Group], values: Mapping[str, Any], what: str) -> Group:
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        raise SidiffError(f"{what}: {'; '.join(problems('', model, error))}.") from (
            error
        )
