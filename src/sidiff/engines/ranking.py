"""Batch inference on a Ray cluster, by Ray Data: items ranked for many users."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm.auto import tqdm

from sidiff.diffusion.networks import Network, network_from_saved
from sidiff.engines.cluster import cluster, mapped
from sidiff.evaluation.run import Evaluator, Layout
from sidiff.ranking.results import Cost, Results
from sidiff.ranking.settings import RankingParameters

_TASKS_PER_WORKER = 8
"""Enough for workers of unequal speed to end together, and for the bar to move."""


class RayEvaluator(Evaluator):
    """The test split, decoded by the processes of a cluster."""

    def __init__(self, layout: Layout, address: str | None) -> None:
        """As for ``Evaluator``, with the address of the cluster."""
        super().__init__(layout)
        self._layout, self._address = layout, address

    def ready(self) -> AbstractContextManager[Any]:
        """Hold a cluster for the block."""
        return cluster(self._address, self.parameters.workers)

    def rank(
        self,
        denoiser: Network,
        ranking: RankingParameters,
        label: str | None,
        users: NDArray[np.int64] | None = None,
    ) -> Results:
        """Rank items for the test users, or those in rows ``users`` of the split.

        The lists are those of one process: users share their batch with the same
        others.
        """
        if users is None:
            users = np.arange(len(self.samples))
        workers = self.parameters.workers
        together = self.users.take(users).batches()
        per_task = -(-len(together) // (workers * _TASKS_PER_WORKER))
        tasks = [
            np.concatenate(together[first : first + per_task])
            for first in range(0, len(together), per_task)
        ]
        began = time.perf_counter()
        done: list[dict[str, Any]] = []
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
            held = ray.put((self._layout, weights, denoiser.saved_config(), ranking))
            rows = [{"users": users[task]} for task in tasks]
            device = self.parameters.device
            for row in mapped(ray, rows, _Process, ([held],), workers, device):
                done.append(row)
                bar.update(len(row["users"]))
        return _join(done, tasks, time.perf_counter() - began)


class _Process:
    """Evaluator and network, in a process of the cluster."""

    def __init__(self, held: list[Any]) -> None:
        import ray  # noqa: PLC0415 (an extra)

        # In a list, in which Ray leaves a reference alone.
        layout, weights, config, ranking = ray.get(held[0])
        self._evaluator = Evaluator(Layout(*layout))
        self._denoiser = network_from_saved(weights, config)
        self._ranking = ranking

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        found = self._evaluator.rank(
            self._denoiser, self._ranking, None, np.asarray(row["users"])
        )
        return _to_row(found)


_ARRAYS = ("items", "scores", "sids", "users", "targets", "history")
_MEANS = ("denoiser_calls", "distinct_states", "valid_share", "completed_share")


def _to_row(found: Results) -> dict[str, Any]:
    row: dict[str, Any] = {name: getattr(found, name) for name in _ARRAYS}
    return row | {name: getattr(found.cost, name) for name in _MEANS}


def _join(
    rows: list[dict[str, Any]], tasks: list[NDArray[np.int64]], seconds: float
) -> Results:
    """Results in the order of the users, of rows in the order of the tasks."""
    # Where each user's row lies among those of all tasks, one after the other.
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
