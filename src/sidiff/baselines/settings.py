"""Settings of the baselines."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from sidiff.baselines import BASELINES
from sidiff.diffusion.settings import AttentionParameters
from sidiff.parameters import (
    AboveZero,
    Chance,
    Count,
    Device,
    Natural,
    Parameters,
    changed,
    check_distinct,
)
from sidiff.ranking.settings import TransitionParameters
from sidiff.registry import Choice
from sidiff.training.settings import OptimizerParameters, StoppingParameters


class SasRecSettings(AttentionParameters):
    """One SASRec: shape of the network and its training."""

    layers: Count
    optimizer: OptimizerParameters
    stopping: StoppingParameters
    batch_size: Count
    users_per_pass: Count
    epochs: Count


class SasRecParameters(SasRecSettings):
    """A SASRec and its variations, of which validation chooses one."""

    tune: list[dict[str, Any]]

    @model_validator(mode="after")
    def _tune_fits(self) -> Self:
        self.candidates()
        return self

    def candidates(self) -> list[SasRecSettings]:
        """The settings themselves, then with the changes of each entry of ``tune``."""
        base = SasRecSettings.model_validate(self.model_dump(exclude={"tune"}))
        return [base, *changed(base, dict(enumerate(self.tune)), ".tune[{}]").values()]


class AutoregressiveParameters(Parameters):
    """Settings of the autoregressive decoder that differ from ``training``."""

    encoder_layers: Count
    decoder_layers: Count
    dropout: Chance
    batch_size: Count
    samples_per_pass: Count
    epochs: Count
    learning_rate: AboveZero
    beam: Count


class BaselinesParameters(Parameters):
    """Methods to compare with (pipeline ``baselines``)."""

    methods: Annotated[list[Annotated[str, Choice(BASELINES)]], Field(min_length=1)]
    markov: TransitionParameters
    sasrec: SasRecParameters
    sasrec_markov: TransitionParameters
    autoregressive: AutoregressiveParameters
    users_per_batch: Count
    device: Device
    threads: Natural

    @model_validator(mode="after")
    def _methods_differ(self) -> Self:
        check_distinct("methods", self.methods)
        return self
