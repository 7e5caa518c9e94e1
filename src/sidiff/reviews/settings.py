"""Settings of the sample shop, of ingestion and of filtering."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from sidiff.parameters import Count, Natural, Parameters, Seed, Share, Text

ItemField = Literal["title", "brand", "categories", "price", "features", "description"]
TimeUnit = Literal["s", "ms", "us", "ns", "datetime"]


class SampleDataParameters(Parameters):
    """The synthetic shop (pipeline ``sample_data``)."""

    users: Annotated[int, Field(ge=50)]
    items: Annotated[int, Field(ge=60)]
    seed: Seed


class InteractionColumns(Parameters):
    """Column names of an interactions table, and the unit of its times."""

    user: Text
    item: Text
    timestamp: Text
    time_unit: TimeUnit
    rating: Text | None


class ItemColumns(Parameters):
    """Column names of an item table: the id, and fields under another name."""

    item: Text
    fields: dict[ItemField, Text]


class IngestionParameters(Parameters):
    """Reading of raw files (pipeline ``ingestion``)."""

    layout: Literal["amazon2014", "amazon2018", "amazon2023", "table"]
    max_rejected_share: Share
    interactions: InteractionColumns
    items: ItemColumns


class FilteringParameters(Parameters):
    """k-core, sequences and training windows (pipeline ``filtering``)."""

    min_user_interactions: Count
    min_item_interactions: Count
    merge_seconds: Natural | None
    windows: Literal["sliding", "prefix", "all"]
    min_history: Count
    max_history: Count
    catalogue: Literal["core", "metadata"]
    min_metadata_share: Share
    cold_share: Annotated[float, Field(ge=0, le=0.5)]
    seed: Seed

    @model_validator(mode="after")
    def _history_range(self) -> Self:
        if self.min_history > self.max_history:
            raise ValueError(
                f".min_history ({self.min_history}) must not exceed "
                f".max_history ({self.max_history})"
            )
        return self


class TextFieldParameters(Parameters):
    """A field of an item's text, and the label before it."""

    field: Text
    label: Annotated[str, Field(max_length=200)]
