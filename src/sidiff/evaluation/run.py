"""The evaluation stage: recommendations, test metrics, and other decoders beside."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sidiff.decoding.lattice import Lattice
from sidiff.devices import cpu_threads, resolve
from sidiff.diffusion.denoiser import Denoiser
from sidiff.errors import SidiffError
from sidiff.evaluation import metrics as m
from sidiff.evaluation.filters import allowed_items
from sidiff.evaluation.ranker import Ranker
from sidiff.evaluation.results import Results, cost_frame
from sidiff.parameters import DecodingParameters, EvaluationParameters
from sidiff.reviews.sequences import (
    Sequences,
    evaluation_samples,
    seen_items,
    training_counts,
)
from sidiff.sids.table import SidTable

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Evaluation:
    """Outcome of the evaluation stage.

    Attributes:
        recommendations: user_id, rank (from 1), item_id, score, semantic_id.
        metrics: flat, ``test/item/ndcg_at_10`` and so on, with ``n_users``; the same
            for every run of the same settings.
        rates: wall-clock rates, which are not.
    """

    recommendations: pl.DataFrame
    metrics: dict[str, float]
    rates: dict[str, float]


class Layout(NamedTuple):
    """What is evaluated on.

    Attributes:
        sequences: the users' items.
        table: the items' SIDs.
        identities: identity row of each item, 0 for none, ``(N,)``.
        lattice: the lattice of the SIDs; None where they are too long for one.
        parameters: decoding, lists, filters.
        max_history: most items of a history.
    """

    sequences: Sequences
    table: SidTable
    identities: NDArray[np.int64]
    lattice: Lattice | None
    parameters: EvaluationParameters
    max_history: int


class Evaluator:
    """The test split of one data set, decoded as often as needed."""

    def __init__(self, layout: Layout) -> None:
        """Lay out the test split."""
        sequences, table, identities, lattice, parameters, max_history = layout
        self.parameters = parameters
        self.device = resolve(parameters.device)
        self.allowed = allowed_items(
            sequences.item_ids, parameters.allow_items, parameters.deny_items
        )
        self.sequences, self.table = sequences, table
        self.ranker = Ranker(
            sequences, table, identities, self.device, lattice, self.allowed
        )
        self.samples = evaluation_samples(sequences, "test", max_history)

    def filters(
        self,
    ) -> tuple[
        NDArray[np.bool_] | None, tuple[NDArray[np.int64], NDArray[np.int32]] | None
    ]:
        """What may be recommended ``(N,)``, and who has seen what (``seen_items``).

        None where nothing is left out.
        """
        exclude = self.parameters.exclude_seen
        return self.allowed, (
            seen_items(self.sequences, self.samples) if exclude else None
        )

    def ready(self) -> AbstractContextManager[Any]:
        """Hold, for a block, what ranking needs beside this process: nothing here."""
        return nullcontext()

    def rank(
        self,
        denoiser: Denoiser,
        decoding: DecodingParameters,
        label: str | None,
        users: NDArray[np.int64] | None = None,
    ) -> Results:
        """Rank items for the test users, or those in rows ``users`` of the split.

        ``label`` names the progress bar; None shows none.
        """
        parameters = self.parameters
        denoiser.precision = parameters.precision
        with cpu_threads(parameters.threads):
            return self.ranker.rank(
                denoiser.to(self.device),
                self.samples if users is None else self.samples[users],
                decoding,
                parameters.top_k,
                parameters.users_per_batch,
                None if label is None else f"decoding, {label}",
                exclude_seen=parameters.exclude_seen,
            )


def evaluate(evaluator: Evaluator, denoiser: Denoiser) -> Evaluation:
    """Full ranking of the catalogue for every user of the test split."""
    parameters, ranker = evaluator.parameters, evaluator.ranker
    with evaluator.ready():
        results = evaluator.rank(denoiser, parameters.decoding, "all users")
    counts = training_counts(evaluator.sequences)
    popular = m.popularity_ranks(counts, results.targets, *evaluator.filters())
    cost = results.cost
    lengths = (results.items >= 0).sum(1)
    metrics: dict[str, float] = {"n_users": float(len(results.users))}
    metrics |= ranker.scores(
        results.items, results.sids, results.targets, parameters.cutoffs, "test"
    )
    metrics |= m.means(
        m.metrics_from_ranks(popular, parameters.cutoffs), "test/popularity"
    )
    metrics |= {
        "test/decoding/denoiser_calls": cost.denoiser_calls,
        "test/decoding/distinct_states": cost.distinct_states,
        "test/decoding/legal_share": cost.legal_share,
        "test/decoding/completed_share": cost.completed_share,
        "test/decoding/full_lists": float((lengths == parameters.top_k).mean()),
    }
    frame = recommendations(evaluator.sequences, evaluator.table, results)
    rates = {
        "test/decoding/users_per_second": cost.users_per_second,
        "test/decoding/seconds": cost.seconds,
    }
    return Evaluation(frame, metrics, rates)


def compare_decoders(
    evaluator: Evaluator, denoisers: Mapping[int, Denoiser]
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Decode the test split with every decoder of ``parameters.decoders``.

    Args:
        evaluator: the test split.
        denoisers: trained networks by their seed.

    Returns:
        Results and costs of every (method, seed), as in
        ``sidiff.evaluation.results``; on ``decoder_users`` random users.
    """
    parameters = evaluator.parameters
    users = chosen_users(len(evaluator.samples), parameters)
    made_of = evaluator.table.fingerprint, evaluator.sequences.fingerprint
    results, costs = [], []
    with evaluator.ready():
        for seed, denoiser in denoisers.items():
            for name, decoding in parameters.other_decoders().items():
                if decoding.needs_item_vectors and not (
                    denoiser.config.identified_items
                ):
                    logger.info(
                        "Decoder %s is left out: the network of seed %d has no item "
                        "identities (training.network.item_identity)",
                        name,
                        seed,
                    )
                    continue
                label = f"{name}, seed {seed}"
                ranked = evaluator.rank(denoiser, decoding, label, users)
                results.append(ranked.to_frame(name, seed, *made_of))
                costs.append(cost_frame(name, seed, ranked.cost))
    if not results:
        raise SidiffError(
            "No decoder was left to compare; name one in evaluation.decoders, for "
            "example cpd: {}."
        )
    return pl.concat(results), pl.concat(costs)


def chosen_users(users: int, parameters: EvaluationParameters) -> NDArray[np.int64]:
    """Rows of the users whom all decoders rank for, drawn with the decoding seed."""
    wanted = parameters.decoder_users
    if not 0 < wanted < users:
        return np.arange(users)
    generator = np.random.default_rng(parameters.decoding.seed)
    return np.sort(generator.choice(users, wanted, replace=False))


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
