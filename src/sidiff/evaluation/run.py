"""The evaluation stage: every user's list, its metrics, and other decoders beside."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from sidiff.decoding.catalogue import Catalogue
from sidiff.decoding.lattice import Lattice
from sidiff.devices import cpu_threads, resolve
from sidiff.diffusion.histories import Histories
from sidiff.diffusion.joint import JointDenoiser
from sidiff.diffusion.networks import Network
from sidiff.errors import SidiffError
from sidiff.evaluation import metrics as m
from sidiff.evaluation.filters import allowed_items
from sidiff.evaluation.settings import CONFIGURED, EvaluationParameters
from sidiff.ranking.items import ItemRanker, Popularity
from sidiff.ranking.markov import Chain, Transitions
from sidiff.ranking.methods import method_ranker, search_model
from sidiff.ranking.results import Results, cost_frame
from sidiff.ranking.settings import WITH_TRANSITIONS, RankingParameters
from sidiff.ranking.users import Users, rank_users
from sidiff.reviews.sequences import Sequences, evaluation_samples, training_counts
from sidiff.reviews.transitions import transition_counts
from sidiff.sids.table import SidTable

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Evaluation:
    """Outcome of the evaluation stage.

    Attributes:
        recommendations: user_id, rank (from 1), item_id, score, semantic_id.
        results: what the networks of all seeds ranked for all users, as in
            ``sidiff.ranking.results``.
        costs: what it took.
        metrics: flat, ``test/item/ndcg_at_10`` and so on, with ``n_users``; the same
            for every run of the same settings.
        rates: wall-clock rates, which are not.
    """

    recommendations: pl.DataFrame
    results: pl.DataFrame
    costs: pl.DataFrame
    metrics: dict[str, float]
    rates: dict[str, float]


class Evaluator:
    """The test split of one data set, decoded as often as needed."""

    def __init__(
        self,
        sequences: Sequences,
        table: SidTable,
        residuals: NDArray[np.int64],
        lattice: Lattice | None,
        parameters: EvaluationParameters,
        max_history: int,
    ) -> None:
        """Lay out the test split.

        Args:
            sequences: the users' items.
            table: the items' SIDs.
            residuals: row of each item in the networks' tables of residuals, 0 for
                none, ``(N,)``.
            lattice: of the SIDs; None where they are too long for one.
            parameters: decoding, lists, filters.
            max_history: most items of a history.

        Raises:
            SidiffError: a list of items cannot be read, or leaves none.
        """
        self.parameters = parameters
        self.device = resolve(parameters.device)
        allowed = allowed_items(
            sequences.item_ids, parameters.allow_items, parameters.deny_items
        )
        self.sequences, self.table = sequences, table
        self.groups = table.groups()
        self.histories = Histories(sequences, table.codes, residuals, self.device)
        counts, size = training_counts(sequences), table.codebook_size
        catalogue = Catalogue.build(self.groups, size, counts, self.device, lattice)
        if allowed is not None:
            catalogue = catalogue.restrict(torch.from_numpy(allowed).to(self.device))
        self.catalogue = catalogue
        self.users = Users(
            sequences,
            self.histories,
            evaluation_samples(sequences, "test", max_history),
            parameters.top_k,
            parameters.exclude_seen,
            parameters.users_per_batch,
            max_history,
        )

    @cached_property
    def transitions(self) -> Transitions:
        """The Markov chain of the training part; built at its first use."""
        counts, parameters = transition_counts(self.sequences), self.parameters
        chain = Chain.of(counts, parameters.markov, self.device)
        return Transitions(chain, parameters.transitions)

    def ready(self) -> AbstractContextManager[Any]:
        """Hold, for a block, what ranking needs beside this process: nothing here."""
        return nullcontext()

    def rank(
        self,
        denoiser: Network,
        ranking: RankingParameters,
        label: str | None,
        users: NDArray[np.int64] | None = None,
    ) -> Results:
        """Rank items for the test users, or those in rows ``users`` of the split.

        ``label`` names the progress bar; None shows none.
        """
        parameters = self.parameters
        denoiser.precision = parameters.precision
        chain = ranking.method == WITH_TRANSITIONS
        with cpu_threads(parameters.threads):
            ranker = method_ranker(
                search_model(denoiser.to(self.device), self.histories.table),
                ranking,
                self.catalogue,
                self.transitions if chain else None,
            )
            return rank_users(
                ranker,
                self.users if users is None else self.users.take(users),
                None if label is None else f"ranking, {label}",
            )

    def chosen_users(self) -> NDArray[np.int64]:
        """Rows of the users for whom all decoders rank, drawn at random."""
        users, wanted = len(self.users.samples), self.parameters.decoder_users
        if not 0 < wanted < users:
            return np.arange(users)
        generator = np.random.default_rng(self.parameters.decoding.seed)
        return np.sort(generator.choice(users, wanted, replace=False))


def to_frames(
    results: Results, method: str, seed: int
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Results and their cost as rows of one method and seed."""
    return results.to_frame(method, seed), cost_frame(method, seed, results.cost)


def evaluate(
    evaluator: Evaluator, denoisers: Mapping[int, Network], main: int
) -> Evaluation:
    """Rank the whole catalogue for every user of the test split, as configured.

    Args:
        evaluator: the test split.
        denoisers: trained networks by their seed, of ``evaluation.seeds`` and ``main``.
        main: seed of the network whose lists are recommended and measured.
    """
    parameters, parts = evaluator.parameters, []
    with evaluator.ready():
        for seed, denoiser in denoisers.items():
            label = f"all users, seed {seed}"
            results = evaluator.rank(denoiser, parameters.ranking, label)
            if seed in parameters.seeds:
                parts.append(to_frames(results, CONFIGURED, seed))
            if seed == main:
                chosen = results
    frames, costs = zip(*parts, strict=True)
    return Evaluation(
        recommendations(evaluator.sequences, evaluator.table, chosen),
        pl.concat(frames),
        pl.concat(costs),
        _metrics(evaluator, chosen),
        {
            "test/decoding/users_per_second": chosen.cost.users_per_second,
            "test/decoding/seconds": chosen.cost.seconds,
        },
    )


def _metrics(evaluator: Evaluator, results: Results) -> dict[str, float]:
    """Metrics at both levels, the popularity baseline's, and how lists came about."""
    parameters, cost = evaluator.parameters, results.cost
    counts = torch.from_numpy(training_counts(evaluator.sequences))
    popularity = Popularity(counts.to(evaluator.device))
    ranker = ItemRanker(popularity, evaluator.catalogue)
    popular = rank_users(ranker, evaluator.users, None)
    lengths = (results.items >= 0).sum(1)
    return {
        "n_users": float(len(results.users)),
        **m.level_means(
            results.items,
            results.sids,
            results.targets,
            evaluator.groups,
            parameters.cutoffs,
            "test",
        ),
        **m.means(
            m.hit_metrics(popular.items, popular.targets, parameters.cutoffs),
            "test/popularity",
        ),
        "test/decoding/denoiser_calls": cost.denoiser_calls,
        "test/decoding/distinct_states": cost.distinct_states,
        "test/decoding/valid_share": cost.valid_share,
        "test/decoding/completed_share": cost.completed_share,
        "test/decoding/full_lists": float((lengths == parameters.top_k).mean()),
    }


def compare_decoders(
    evaluator: Evaluator, denoisers: Mapping[int, Network]
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Decode the test split with every decoder of ``parameters.decoders``.

    Args:
        evaluator: the test split.
        denoisers: trained networks by their seed.

    Returns:
        Results and costs of every (method, seed), as in
        ``sidiff.ranking.results``; on ``decoder_users`` random users.
    """
    decoders = evaluator.parameters.other_decoders()
    users, parts = evaluator.chosen_users(), []
    with evaluator.ready():
        for seed, denoiser in denoisers.items():
            for name, ranking in decoders.items():
                if ranking.by_items and not isinstance(denoiser, JointDenoiser):
                    logger.info(
                        "Decoder %s is left out: the network of seed %d has no "
                        "posterior over items (training.network.posterior)",
                        name,
                        seed,
                    )
                    continue
                label = f"{name}, seed {seed}"
                ranked = evaluator.rank(denoiser, ranking, label, users)
                parts.append(to_frames(ranked, name, seed))
    if not parts:
        raise SidiffError(
            "No decoder was left to compare; name one in evaluation.decoders, for "
            "example cpd: {}."
        )
    frames, costs = zip(*parts, strict=True)
    return pl.concat(frames), pl.concat(costs)


def recommendations(
    sequences: Sequences, table: SidTable, results: Results
) -> pl.DataFrame:
    """Each user's ranked items: user_id, rank (from 1), item_id, score, semantic_id."""
    row, place = np.nonzero(results.items >= 0)
    item = results.items[row, place]
    return pl.DataFrame(
        {
            "user_id": sequences.user_ids.gather(results.users[row]),
            "rank": (place + 1).astype(np.int32),
            "item_id": sequences.item_ids.gather(item),
            "score": results.scores[row, place],
            "semantic_id": table.to_frame()["sid"].gather(item),
        }
    )
