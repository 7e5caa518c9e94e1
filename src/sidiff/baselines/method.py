"""The baseline: how it is trained, if it is, and how it ranks."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
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
from sidiff.snapshots import SnapshotFolder, below
from sidiff.training.progress import Checkpoints
from sidiff.training.settings import TrainingParameters
from sidiff.training.trainer import SCORE, Budget, Task, Trained, Trainer, by_length
from sidiff.training.workers import Workers


@dataclass(frozen=True)
class TrainingInputs:
    """The data and settings that baselines are trained with.

    Attributes:
        sequences: all users' items.
        samples: the denoiser's, ``(S, 3)``: user, start, end.
        table: the items' SIDs.
        parameters: of all baselines.
        training: of the denoiser.
        max_history: longest history that a network reads.
        seeds: a network of each.
        checkpoints: where unfinished trainings lie; None to keep none.
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
        """Train a network on ``(S, 3)``; it has the weights of its best epoch then.

        ``decides``: settings that decide the outcome, but for histories and seed.
        """
        name = task.label.partition(",")[0]
        decides = decides | {
            "max_history": self.max_history,
            "seed": budget.seed,
            "device": str(self.device),
            "sequences": self.sequences.fingerprint,
        }
        kept = Checkpoints(self.checkpoints, name, decides, math.inf)
        trained = Trainer(task, samples, budget).train(kept)
        task.model.load_state_dict(trained.weights)
        task.model.eval()
        return trained


class BaselineTask(Task):
    """A network that is validated by the mean NDCG@10 of its targets."""

    def __init__(
        self,
        label: str,
        model: nn.Module,
        histories: Histories,
        validation: NDArray[np.int32],
        users_per_batch: int,
    ) -> None:
        """Note the data; ``validation`` ``(U, 3)`` are user, start, end."""
        super().__init__(label, model, histories.device)
        self.histories = histories
        self.validation = torch.from_numpy(validation)
        self.users_per_batch = users_per_batch

    @torch.no_grad()
    def validate(self, workers: Workers) -> dict[str, float]:
        """Mean NDCG@10 of the targets."""
        del workers
        total = 0.0
        for part in by_length(self.validation, self.users_per_batch):
            total += self.gain(self.histories.gather(part))
        return {SCORE: total / len(self.validation)}

    def gain(self, batch: SampleBatch) -> float:
        """NDCG@10 of the targets, summed."""
        raise NotImplementedError


@dataclass(frozen=True)
class TrainedNetworks:
    """The networks of one kind, one of every seed.

    Attributes:
        weights: of all seeds, names begin with ``SEED/``; on the CPU.
        config: their shape, the ``seeds``, how each run went.
        tried: settings tried on the validation split, with their scores.
    """

    weights: dict[str, Tensor]
    config: dict[str, Any]
    tried: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def of(
        cls,
        networks: Sequence[tuple[StoredNetwork, Trained]],
        seeds: list[int],
        tried: list[dict[str, Any]],
    ) -> TrainedNetworks:
        """Join the networks of all seeds."""
        weights: dict[str, Tensor] = {}
        runs: list[dict[str, Any]] = []
        for seed, (_, trained) in zip(seeds, networks, strict=True):
            weights |= {f"{seed}/{name}": w for name, w in trained.weights.items()}
            score = {"validation_ndcg_at_10": trained.score, "epoch": trained.epoch}
            runs.append({"seed": seed} | score)
        shape = networks[0][0].saved_config()
        return cls(weights, shape | {"seeds": seeds, "runs": runs}, tried)

    def of_seed(self, seed: int) -> dict[str, Tensor]:
        """The weights of one seed."""
        return below(str(seed), self.weights)


class Baseline(ABC):
    """A method to compare with.

    Attributes:
        networks: the name under which its networks are stored, which methods may share;
            None where nothing is trained.
        title: of such a network in messages.
    """

    networks: ClassVar[str | None] = None
    title: ClassVar[str] = ""

    def fit(self, inputs: TrainingInputs) -> TrainedNetworks:
        """Train its networks; only for methods that have some."""
        raise NotImplementedError

    @abstractmethod
    def ranker(
        self,
        inputs: RankingInputs,
        parameters: BaselinesParameters,
        weights: Mapping[str, Tensor],
        config: Mapping[str, Any],
    ) -> Ranker:
        """Make the ranker of one catalogue and one network.

        Args:
            inputs: the items, with transitions.
            parameters: of all baselines.
            weights: of the network; empty for a method without one.
            config: its shape; likewise.
        """
