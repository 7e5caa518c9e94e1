"""Settings of the evaluation and the comparison."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from sidiff.decoding.settings import DecodingParameters
from sidiff.parameters import (
    Changes,
    Count,
    Device,
    MethodName,
    Natural,
    Parameters,
    Precision,
    Seed,
    Seeds,
    Text,
    changed,
    check_distinct,
)
from sidiff.ranking.settings import (
    MarkovParameters,
    Method,
    RankingParameters,
    TransitionParameters,
)

CONFIGURED = "as_configured"
"""Name of the configured method in results."""


class EvaluationParameters(Parameters):
    """Lists, metrics and reports (pipeline ``evaluation``)."""

    method: Method
    decoding: DecodingParameters
    markov: MarkovParameters
    transitions: TransitionParameters
    decoders: Changes
    decoder_users: Natural
    seeds: Seeds
    cutoffs: Annotated[list[Count], Field(min_length=1)]
    top_k: Count
    exclude_seen: bool
    allow_items: Text | None
    deny_items: Text | None
    users_per_batch: Count
    device: Device
    precision: Precision
    threads: Natural
    engine: Literal["local", "ray"]
    workers: Count

    @model_validator(mode="after")
    def _lists_fit(self) -> Self:
        check_distinct("seeds", self.seeds)
        check_distinct("cutoffs", self.cutoffs)
        if max(self.cutoffs) > self.top_k:
            raise ValueError(
                f".top_k ({self.top_k}) must be at least the largest of .cutoffs "
                f"({max(self.cutoffs)})"
            )
        self.other_decoders()
        return self

    @property
    def ranking(self) -> RankingParameters:
        """The method of every user's list."""
        return RankingParameters.of(self.method, self.decoding)

    def other_decoders(self) -> dict[str, RankingParameters]:
        """The decoders to compare with, by name: ``ranking`` with their changes.

        Raises:
            ValueError: a changed setting is unknown or invalid.
        """
        if CONFIGURED in self.decoders:
            raise ValueError(
                f".decoders names {CONFIGURED}, the name of the results of .method; "
                "give the decoder another name"
            )
        return changed(self.ranking, self.decoders, ".decoders.{}")


class BootstrapParameters(Parameters):
    """Resamples of the users, for confidence intervals."""

    resamples: Count
    confidence: Annotated[float, Field(gt=0, lt=1)]
    seed: Seed


class ComparisonParameters(Parameters):
    """The comparison of decoders and baselines (pipeline ``comparison``)."""

    references: Annotated[list[MethodName], Field(min_length=1)]
    bootstrap: BootstrapParameters
    popularity_edges: Annotated[list[Count], Field(min_length=1)]
    history_edges: Annotated[list[Annotated[int, Field(ge=2)]], Field(min_length=1)]

    @model_validator(mode="after")
    def _edges_increase(self) -> Self:
        check_distinct("references", self.references)
        for name in ("popularity_edges", "history_edges"):
            edges = getattr(self, name)
            if any(high <= low for low, high in pairwise(edges)):
                raise ValueError(
                    f".{name} ({edges}) must increase from one to the next"
                )
        return self
