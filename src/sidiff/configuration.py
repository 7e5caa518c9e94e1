"""The whole configuration: all groups of parameters, and checks across groups."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import ValidationError, model_validator

from sidiff.baselines.settings import BaselinesParameters
from sidiff.errors import SidiffError
from sidiff.evaluation.settings import (
    CONFIGURED,
    ComparisonParameters,
    EvaluationParameters,
)
from sidiff.parameter_errors import placed, problems
from sidiff.parameters import Group, Parameters, Text, matching, overlaid
from sidiff.pipelines.settings import (
    AblationParameters,
    RecommendParameters,
    UpdateParameters,
)
from sidiff.ranking.settings import RankingParameters
from sidiff.reviews.settings import (
    FilteringParameters,
    IngestionParameters,
    ItemField,
    SampleDataParameters,
)
from sidiff.sids.settings import EmbeddingParameters, TokenizationParameters
from sidiff.training.settings import TrainingParameters

Recipe = Literal["diffgrm", "mdgr"]
Preset = Literal["sidiff", "paper", "release"]
"""Each continues the one before it, see ``sidiff.presets``."""
DatasetName = Annotated[
    str,
    matching(
        r"\w[\w.-]{0,99}",
        "the name of a folder: 1 to 100 letters, digits, _, . and -, no . or - first",
    ),
]
Url = Annotated[str, matching("https?://.+", "an http or https address")]


class RayParameters(Parameters):
    """The Ray cluster of all stages with ``engine: ray``."""

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
            *self._conflicts("training", self.training),
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

    def _conflicts(
        self,
        own: str,
        training: TrainingParameters,
        ranked_by: str = "evaluation",
        ranking: RankingParameters | None = None,
    ) -> Iterator[str]:
        """Conflicts between the training at the place ``own`` and other groups."""
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
            if used.needs_posterior and training.network.posterior != "items":
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
            yield from self._conflicts(
                f"ablation.variants.{name}",
                training,
                f"evaluation.decoders.{decoder}",
                ranking,
            )


class RawFiles(Parameters):
    """An entry of ``raw_files`` in globals.yml."""

    reviews: Text
    metadata: Text
    reviews_url: Url | None = None
    metadata_url: Url | None = None


class RunParameters(Parameters):
    """globals.yml, with what ``--params`` changes of it."""

    dataset: DatasetName
    recipe: Recipe
    preset: Preset
    extends: Text | None
    # May be empty in globals.yml of an environment that leaves it to each machine.
    storage: str
    scratch: Annotated[Text, matching("(?!.*://).*", "a folder on this machine")]
    raw: str
    raw_files: dict[str, RawFiles]
    raw_reviews: Text | None = None
    raw_metadata: Text | None = None

    @model_validator(mode="after")
    def _raw_files_are_known(self) -> Self:
        if self.raw not in self.raw_files:
            raise ValueError(
                f".raw is {self.raw}, but must be one of .raw_files "
                f"({', '.join(self.raw_files)})"
            )
        if self.raw == "sample" and (self.raw_reviews or self.raw_metadata):
            for name in ("raw_reviews", "raw_metadata"):
                if getattr(self, name) is None:
                    raise ValueError(
                        f".{name} is missing; the other file alone would be mixed with "
                        "the synthetic shop"
                    )
        return self

    @property
    def source(self) -> Literal["sample", "files"]:
        """Source of the raw files: the generator (``sample``) or ``files``."""
        named = self.raw != "sample" or self.raw_reviews is not None
        return "files" if named else "sample"


GROUPS = {
    name: field.annotation
    for name, field in Configuration.model_fields.items()
    if field.annotation is not None
}


def validate_run(values: Mapping[str, Any]) -> RunParameters:
    """Check globals.yml with what ``--params`` changes of it.

    Raises:
        SidiffError: names every wrong value, the rule it breaks and what was given.
    """
    return _checked(RunParameters, values)


def validate(parameters: Mapping[str, Any]) -> Configuration:
    """Check every group of ``parameters``.

    Raises:
        SidiffError: names every wrong value, the rule it breaks and what was given.
    """
    return _checked(Configuration, completed(parameters))


def completed(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters with training.validation.decoding laid over evaluation.decoding.

    Values that are not groups are unchanged; ``validate`` refuses them.
    """
    try:
        decoding = overlaid(
            parameters["evaluation"]["decoding"],
            parameters["training"]["validation"]["decoding"],
        )
    except (KeyError, TypeError, AttributeError):
        return dict(parameters)
    return overlaid(parameters, {"training": {"validation": {"decoding": decoding}}})


def _checked(model: type[Group], values: Mapping[str, Any]) -> Group:
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        wrong = "; ".join(problems("", model, error))
        raise SidiffError(f"Wrong parameters: {wrong}.") from error
