"""Batch inference on a Ray cluster, by Ray Data: text encoding and ranking."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm.auto import tqdm

from sidiff.diffusion.networks import Network, network_from_saved
from sidiff.engines.cluster import cluster, uses_gpus
from sidiff.errors import SidiffError
from sidiff.evaluation.run import Evaluator
from sidiff.parameters import Device, Precision
from sidiff.ranking.results import Cost, Results
from sidiff.ranking.settings import RankingParameters
from sidiff.sids.encoder import SentenceEncoder, load_encoder

_ARRAYS = ("items", "scores", "sids", "users", "targets", "history")
_MEANS = ("denoiser_calls", "distinct_states", "valid_share", "completed_share")
_TASKS_PER_WORKER = 8
"""Several tasks, so that workers of unequal speed end at about the same time."""


def mapped(
    ray: Any,
    rows: list[dict[str, Any]],
    work: type,
    arguments: tuple[Any, ...],
    processes: int,
    device: Device,
) -> Iterator[dict[str, Any]]:
    """Map rows by Ray Data; yields the results in the order of the rows.

    Args:
        ray: the module, connected to a cluster.
        rows: the inputs, one task each.
        work: a class that every process makes once, and calls with each row.
        arguments: of ``work``.
        processes: number of processes.
        device: "auto", "cpu" or "cuda" of each process.
    """
    from ray.data import ActorPoolStrategy, DataContext  # noqa: PLC0415 (an extra)

    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.execution_options.preserve_order = True
    data = ray.data.from_items(rows, override_num_blocks=len(rows)).map(
        work,
        fn_constructor_args=arguments,
        compute=ActorPoolStrategy(size=processes),
        num_gpus=1 if uses_gpus(ray, device, processes) else 0,
    )
    yield from data.iter_rows()


class RayEncoder:
    """An ``Encoder`` with a copy in each process of a cluster.

    The vectors are those of the local encoder: every process compares fingerprints.
    """

    def __init__(
        self, local: SentenceEncoder, device: Device, workers: int, address: str | None
    ) -> None:
        """Describe the copies of an encoder.

        Args:
            local: the encoder of this process.
            device: of each copy: "auto", "cpu" or "cuda".
            workers: number of copies.
            address: see ``cluster``.
        """
        self.fingerprint, self.dimension = local.fingerprint, local.dimension
        self.lengths = local.lengths
        self._name, self._precision = local.name, local.precision
        self._device = device
        self._workers, self._address = workers, address

    def encode(self, batches: Sequence[Sequence[str]]) -> Iterator[NDArray[np.float32]]:
        """Encode batches of texts, in order: (n, d) float32 of each."""
        with cluster(self._address, self._workers) as ray:
            rows = [{"texts": list(batch)} for batch in batches]
            arguments = (self._name, self._device, self._precision, self.fingerprint)
            for row in mapped(
                ray, rows, _EncoderProcess, arguments, self._workers, self._device
            ):
                yield row["vectors"]


class _EncoderProcess:
    """The encoder in one process of the cluster."""

    def __init__(
        self, name: str, device: Device, precision: Precision, fingerprint: str
    ) -> None:
        self._encoder = load_encoder(name, device, precision)
        if self._encoder.fingerprint != fingerprint:
            raise SidiffError(
                f"The encoder {name!r} of a machine of the cluster "
                f"({self._encoder.fingerprint[:12]}) is not the one of this machine "
                f"({fingerprint[:12]}); install the same version on all of them."
            )

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        (vectors,) = self._encoder.encode([list(row["texts"])])
        return {"vectors": vectors}


class RayEvaluator(Evaluator):
    """The ranking of the test split by the processes of a cluster."""

    def __init__(self, *layout: Any, address: str | None) -> None:
        """Prepare the test split.

        Args:
            layout: arguments of ``Evaluator``.
            address: of the cluster, see ``cluster``.
        """
        super().__init__(*layout)
        self._layout, self._address = layout, address

    def ready(self) -> AbstractContextManager[Any]:
        """Join the cluster for the block."""
        return cluster(self._address, self.parameters.workers)

    def rank(
        self,
        denoiser: Network,
        ranking: RankingParameters,
        label: str | None,
        users: NDArray[np.int64] | None = None,
    ) -> Results:
        """Rank items for the test users, or those in rows ``users`` of the split.

        The lists are those of one process, because the batches are the same.
        """
        if users is None:
            users = np.arange(len(self.users.samples))
        workers = self.parameters.workers
        batches = self.users.take(users).batches()
        per_task = -(-len(batches) // (workers * _TASKS_PER_WORKER))
        tasks = [
            np.concatenate(batches[first : first + per_task])
            for first in range(0, len(batches), per_task)
        ]
        start = time.perf_counter()
        results: list[dict[str, Any]] = []
        with (
            self.ready() as ray,
            tqdm(
                total=len(users),
                desc=f"ranking, {label}",
                unit="user",
                disable=None if label else True,
            ) as bar,
        ):
            weights = {name: t.cpu() for name, t in denoiser.state_dict().items()}
            shared = ray.put((self._layout, weights, denoiser.saved_config(), ranking))
            rows = [{"users": users[task]} for task in tasks]
            device = self.parameters.device
            for row in mapped(ray, rows, _Ranking, ([shared],), workers, device):
                results.append(row)
                bar.update(len(row["users"]))
        return _join(results, tasks, time.perf_counter() - start)


class _Ranking:
    """Evaluator and network in one process of the cluster."""

    def __init__(self, shared: list[Any]) -> None:
        import ray  # noqa: PLC0415 (an extra)

        # In a list, because Ray resolves references that are arguments themselves.
        layout, weights, config, ranking = ray.get(shared[0])
        self._evaluator = Evaluator(*layout)
        self._denoiser = network_from_saved(weights, config)
        self._ranking = ranking

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        users = np.asarray(row["users"])
        results = self._evaluator.rank(self._denoiser, self._ranking, None, users)
        arrays: dict[str, Any] = {name: getattr(results, name) for name in _ARRAYS}
        return arrays | {name: getattr(results.cost, name) for name in _MEANS}


def _join(
    rows: list[dict[str, Any]], tasks: list[NDArray[np.int64]], seconds: float
) -> Results:
    """Join the results of the tasks, in the order of the users."""
    places = np.argsort(np.concatenate(tasks))
    arrays = {
        name: np.concatenate([row[name] for row in rows])[places] for name in _ARRAYS
    }
    sizes = [len(task) for task in tasks]
    means = {
        name: float(np.average([row[name] for row in rows], weights=sizes))
        for name in _MEANS
    }
    cost = Cost(seconds=seconds, users_per_second=sum(sizes) / seconds, **means)
    return Results(**arrays, cost=cost)
