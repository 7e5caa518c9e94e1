"""Settings of training."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import model_validator

from sidiff.decoding.decoders import DECODERS
from sidiff.decoding.settings import DecodingParameters
from sidiff.diffusion.settings import NetworkParameters, NoisingParameters
from sidiff.parameters import (
    AboveZero,
    Chance,
    Count,
    Device,
    Natural,
    Parameters,
    Precision,
    Seed,
    Weight,
)
from sidiff.ranking.settings import RankingParameters
from sidiff.registry import Choice


class OptimizerParameters(Parameters):
    """AdamW and its schedule."""

    learning_rate: AboveZero
    weight_decay: Weight
    warmup_steps: Natural
    max_gradient_norm: AboveZero


class StoppingParameters(Parameters):
    """Epochs of validation, and early stopping."""

    first_epoch: Count
    every_epochs: Count
    patience: Count


class ValidationParameters(StoppingParameters):
    """The validation during training: epochs, score and lists."""

    level: Literal["sid", "item"]
    method: Annotated[str, Choice("items", DECODERS)]
    decoding: DecodingParameters
    max_users: Natural
    users_per_batch: Count

    @property
    def ranking(self) -> RankingParameters:
        """The ranking method of validation."""
        return RankingParameters.of(self.method, self.decoding)


class TrainingParameters(Parameters):
    """The denoiser and its training loop (pipeline ``training``)."""

    network: NetworkParameters
    noising: NoisingParameters
    partial_weight: Weight
    label_smoothing: Chance
    loss_reduction: Literal["per_view", "pooled", "sum"]
    optimizer: OptimizerParameters
    validation: ValidationParameters
    batch_size: Count
    samples_per_pass: Count
    epochs: Count
    engine: Literal["local", "ddp", "ray"]
    workers: Count
    restarts: Natural
    checkpoint_seconds: Weight
    seed: Seed
    device: Device
    precision: Precision
    threads: Natural

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
