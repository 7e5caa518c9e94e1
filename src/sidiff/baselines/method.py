"""Interface of a baseline: its training, if any, and its ranker."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sidiff.baselines.settings import BaselinesParameters
from sidiff.devices import resolve
from sidiff.diffusion.base import StoredNetwork
from sidiff.diffusion.histories import Histories, SampleBatch
from sidiff.ranking.inputs import RankingInputs
from sidiff.ranking.ranker import Ranker
from sidiff.reviews.sequences import Sequences
from sidiff.sids.table import SidTable
from sidiff.snapshots import SnapshotFolder
from sidiff.training.progress import Checkpoints
from sidiff.training.settings import TrainingParameters
from sidiff.training.trainer import SCORE, Budget, Task, Trained, Trainer, by_length
from sidiff.training.workers import Workers

Network = tuple[StoredNetwork, Trained]
"""A network in evaluation mode, and the outcome of its training."""


@dataclass(frozen=True)
class TrainingInputs:
    """Data and settings of the training of all baselines.

    Attributes:
        sequences: all users' items.
        samples: of the denoiser, ``(S, 3)``: user, start, end.
        table: the items' SIDs.
        parameters: of all baselines.
        training: settings of the denoiser's training.
        max_history: longest history that a network reads.
        seeds: one network is trained with each.
        checkpoints: folder of unfinished trainings; None for no checkpoints.
    """

    sequences: Sequences
    samples: NDArray[np.int32]
    table: SidTable
    parameters: BaselinesParameters
    training: TrainingParameters
    max_history: int
    seeds: list[int]
    checkpoints: SnapshotFolder | None = None

    @property
    def device(self) -> torch.device:
        """The device of the trainings."""
        return resolve(self.parameters.device)

    def train(
        self,
        task: Task,
        samples: NDArray[np.int32],
        budget: Budget,
        decides: dict[str, Any],
    ) -> Trained:
        """Train a network in place; it ends with the weights of its best epoch.

        Args:
            task: the network and its loss.
            samples: ``(S, 3)``: user, start, end.
            budget: the schedule.
            decides: settings that decide the outcome, except the histories and the
                seed, which are added.
        """
        name = task.label.partition(",")[0]
        decides = decides | {
            "max_history": self.max_history,
            "seed": budget.seed,
            "device": str(self.device),
            "sequences": self.sequences.fingerprint,
        }
        checkpoints = Checkpoints(self.checkpoints, name, decides, math.inf)
        trained = Trainer(task, samples, budget).train(checkpoints)
        task.model.load_state_dict(trained.weights)
        task.model.eval()
        return trained


class BaselineTask(Task):
    """A network that is validated by mean NDCG@10."""

    def __init__(
        self,
        label: str,
        model: nn.Module,
        histories: Histories,
        validation: NDArray[np.int32],
        users_per_batch: int,
    ) -> None:
        """Set the data; ``validation`` is ``(U, 3)``: user, start, end."""
        super().__init__(label, model, histories.device)
        self.histories = histories
        self.validation = torch.from_numpy(validation)
        self.users_per_batch = users_per_batch

    @torch.no_grad()
    def validate(self, workers: Workers) -> dict[str, float]:
        """Mean NDCG@10 of the validation users."""
        del workers
        total = 0.0
        for part in by_length(self.validation, self.users_per_batch):
            total += self.gain(self.histories.gather(part))
        return {SCORE: total / len(self.validation)}

    def gain(self, batch: SampleBatch) -> float:
        """Sum of NDCG@10 over a batch."""
        raise NotImplementedError


class Baseline(ABC):
    """A method to compare with.

    Attributes:
        networks: name of its stored networks, which methods may share; None for a
            method without networks.
    """

    networks: ClassVar[str | None] = None

    def fit(self, inputs: TrainingInputs) -> tuple[list[Network], list[dict[str, Any]]]:
        """Train a network with each seed, for methods that have networks.

        Returns:
            The networks in the order of the seeds, and the settings compared on the
            validation split, with their scores.
        """
        raise NotImplementedError

    @abstractmethod
    def ranker(
        self,
        inputs: RankingInputs,
        parameters: BaselinesParameters,
        weights: Mapping[str, Tensor],
        config: Mapping[str, Any],
    ) -> Ranker:
        """Build the ranker of one catalogue and one network.

        Args:
            inputs: the items, with transitions.
            parameters: of all baselines.
            weights: of the network; empty for a method without networks.
            config: its shape; empty likewise.
        """
