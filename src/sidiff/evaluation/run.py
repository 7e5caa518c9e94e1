"""The evaluation stage: every test user's list, its metrics, and other decoders."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sidiff.decoding.lattice import Lattice
from sidiff.devices import cpu_threads, resolve
from sidiff.diffusion.joint import JointDenoiser
from sidiff.diffusion.networks import Network
from sidiff.errors import SidiffError
from sidiff.evaluation.filters import allowed_items
from sidiff.evaluation.metrics import level_means
from sidiff.evaluation.settings import CONFIGURED, EvaluationParameters
from sidiff.ranking.inputs import RankingInputs
from sidiff.ranking.markov import Chain, Transitions
from sidiff.ranking.methods import method_ranker, search_model
from sidiff.ranking.results import Ranked, Results, result_frames
from sidiff.ranking.settings import WITH_TRANSITIONS, RankingParameters
from sidiff.ranking.users import Users, rank_users
from sidiff.reviews.sequences import Sequences, evaluation_samples, training_counts
from sidiff.reviews.transitions import transition_counts
from sidiff.sids.table import SidTable

logger = logging.getLogger(__name__)


class Evaluation(NamedTuple):
    """Results of the evaluation stage.

    Attributes:
        test_lists: user_id, rank (from 1), item_id, score, semantic_id.
        results: lists of the networks of all seeds for all users, as in
            ``sidiff.ranking.results``.
        costs: of these lists.
        metrics: flat, ``test/item/ndcg_at_10`` and so on, with ``n_users``.
    """

    test_lists: pl.DataFrame
    results: pl.DataFrame
    costs: pl.DataFrame
    metrics: dict[str, float]


class Evaluator:
    """The test split of one data set, with the inputs of its rankers."""

    def __init__(
        self,
        sequences: Sequences,
        table: SidTable,
        residuals: NDArray[np.int64],
        lattice: Lattice | None,
        parameters: EvaluationParameters,
        max_history: int,
    ) -> None:
        """Move the test split to the device.

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
        self.parameters, self.sequences, self.table = parameters, sequences, table
        self.device = resolve(parameters.device)
        self.groups = table.groups()
        allowed = allowed_items(
            sequences.item_ids,
            parameters.allow_items,
            parameters.deny_items,
            "evaluation",
        )
        self.inputs = RankingInputs.build(
            table,
            training_counts(sequences),
            self.device,
            residuals,
            lattice,
            allowed,
        )
        self.users = Users(
            sequences,
            self.inputs.items,
            evaluation_samples(sequences, "test", max_history),
            parameters.top_k,
            parameters.exclude_seen,
            parameters.users_per_batch,
            max_history,
        )

    @cached_property
    def chain(self) -> Chain:
        """The Markov chain of the training part; built at its first use."""
        counts, markov = transition_counts(self.sequences), self.parameters.markov
        return Chain.of(counts, markov, self.device)

    def ready(self) -> AbstractContextManager[Any]:
        """Context in which ``rank`` is called; one process needs no resources."""
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
        parameters, inputs, transitions = self.parameters, self.inputs, None
        denoiser.precision = parameters.precision
        if ranking.method == WITH_TRANSITIONS:
            transitions = Transitions(self.chain, parameters.transitions)
        with cpu_threads(parameters.threads):
            ranker = method_ranker(
                search_model(denoiser.to(self.device), inputs.items),
                ranking,
                inputs.catalogue,
                transitions,
            )
            return rank_users(
                ranker,
                self.users if users is None else self.users.take(users),
                None if label is None else f"ranking, {label}",
            )

    def chosen_users(self) -> NDArray[np.int64]:
        """Rows of ``decoder_users`` users, drawn at random; of all for 0."""
        users, size = len(self.users.samples), self.parameters.decoder_users
        if not 0 < size < users:
            return np.arange(users)
        generator = np.random.default_rng(self.parameters.decoding.seed)
        return np.sort(generator.choice(users, size, replace=False))


def evaluate(
    evaluator: Evaluator, denoisers: Mapping[int, Network], main: int
) -> Evaluation:
    """Rank the whole catalogue for every user of the test split, as configured.

    ``denoisers`` has the networks by seed. The network of seed ``main`` makes
    ``test_lists`` and ``metrics``.
    """
    parameters, parts = evaluator.parameters, []
    with evaluator.ready():
        for seed, denoiser in denoisers.items():
            label = f"all users, seed {seed}"
            results = evaluator.rank(denoiser, parameters.ranking, label)
            if seed in parameters.seeds:
                parts.append(Ranked(CONFIGURED, seed, results))
            if seed == main:
                main_results = results
    return Evaluation(
        test_lists(evaluator.sequences, evaluator.table, main_results),
        *result_frames(parts),
        _metrics(evaluator, main_results),
    )


def _metrics(evaluator: Evaluator, results: Results) -> dict[str, float]:
    return {
        "n_users": float(len(results.users)),
        **level_means(
            results.items,
            results.sids,
            results.targets,
            evaluator.groups,
            evaluator.parameters.cutoffs,
            "test",
        ),
    }


def compare_decoders(
    evaluator: Evaluator, denoisers: Mapping[int, Network]
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Results and costs of every decoder of ``parameters.decoders`` with every seed.

    The decoders rank for ``decoder_users`` random users of the test split.
    """
    decoders = evaluator.parameters.other_decoders()
    users, parts = evaluator.chosen_users(), []
    with evaluator.ready():
        for seed, denoiser in denoisers.items():
            for name, ranking in decoders.items():
                if ranking.needs_posterior and not isinstance(denoiser, JointDenoiser):
                    logger.info(
                        "Decoder %s is skipped: the network of seed %d has no "
                        "posterior over items (training.network.posterior)",
                        name,
                        seed,
                    )
                    continue
                label = f"{name}, seed {seed}"
                ranked = evaluator.rank(denoiser, ranking, label, users)
                parts.append(Ranked(name, seed, ranked))
    if not parts:
        raise SidiffError(
            "There is no decoder to compare; name one in evaluation.decoders, for "
            "example cpd: {}."
        )
    return result_frames(parts)


def test_lists(sequences: Sequences, table: SidTable, results: Results) -> pl.DataFrame:
    """Rows of user_id, rank (from 1), item_id, score, semantic_id."""
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
