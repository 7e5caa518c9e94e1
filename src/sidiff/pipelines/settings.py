"""Settings of the pipelines ablation, recommend and catalogue_update."""

from __future__ import annotations

from typing import Self

from pydantic import model_validator

from sidiff.parameters import (
    Changes,
    Count,
    Device,
    MethodName,
    Natural,
    Parameters,
    Seeds,
    Text,
    changed,
    check_distinct,
)
from sidiff.ranking.settings import Method
from sidiff.training.settings import TrainingParameters


class AblationParameters(Parameters):
    """Trainings with changed settings (pipeline ``ablation``)."""

    variants: Changes
    seeds: Seeds
    decoder: MethodName

    @model_validator(mode="after")
    def _seeds_differ(self) -> Self:
        check_distinct("seeds", self.seeds)
        return self

    def trainings(self, training: TrainingParameters) -> dict[str, TrainingParameters]:
        """The settings of every variant: ``training`` with its changes.

        Raises:
            ValueError: a changed setting is unknown or invalid.
        """
        return changed(training, self.variants, ".variants.{}")


class RecommendParameters(Parameters):
    """Lists for every user (pipeline ``recommend``)."""

    histories: Text | None
    top_k: Count
    exclude_seen: bool
    allow_items: Text | None
    deny_items: Text | None
    decoder: Method | None
    users_per_part: Count
    device: Device
    threads: Natural


class UpdateParameters(Parameters):
    """New and removed items of a bundle (pipeline ``catalogue_update``)."""

    new_items: Text | None
    removed_items: Text | None
