"""The evaluation stage: test metrics, controls, baseline and recommendations."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sidiff.diffusion.denoiser import Denoiser
from sidiff.diffusion.devices import cpu_threads, resolve
from sidiff.evaluation import metrics as m
from sidiff.evaluation.ranker import Ranker, Ranking
from sidiff.parameters import DecodingParameters, EvaluationParameters
from sidiff.reviews.sequences import Sequences, evaluation_samples, training_counts
from sidiff.sids.table import Groups, SidTable

CONTROLS: dict[str, dict[str, str]] = {
    "random": {"method": "cpd", "order": "random"},
    "fixed": {"method": "cpd", "order": "fixed"},
    "one_pass": {"method": "one_pass"},
}
"""What each control changes in the configured decoding."""


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


def evaluate(
    denoiser: Denoiser,
    sequences: Sequences,
    table: SidTable,
    parameters: EvaluationParameters,
) -> Evaluation:
    """Full ranking of the catalogue for every user of the test split.

    Items of the history are not excluded, for the model and the baseline alike.
    Controls are other decoders, run on a fixed random subset of the users and compared
    there with the configured one, under ``test/controls/...``.
    """
    with cpu_threads(parameters.threads):
        return _evaluate(denoiser, sequences, table, parameters)


def _evaluate(
    denoiser: Denoiser,
    sequences: Sequences,
    table: SidTable,
    parameters: EvaluationParameters,
) -> Evaluation:
    device = resolve(parameters.device)
    denoiser = denoiser.to(device)
    ranker = Ranker(sequences, table, device)
    samples = evaluation_samples(sequences, "test", denoiser.config.max_history)

    def decode(
        rows: NDArray[np.int32], decoding: DecodingParameters, label: str
    ) -> Ranking:
        return ranker.rank(
            denoiser,
            rows,
            decoding,
            parameters.top_k,
            parameters.users_per_batch,
            f"decoding, {label}",
        )

    ranking = decode(samples, parameters.decoding, "all users")
    counts = training_counts(sequences)
    popular = m.popularity_ranks(counts, ranking.target_items)
    metrics: dict[str, float] = {"n_users": float(len(samples))}
    metrics |= ranker.scores(ranking, parameters.cutoffs, "test")
    metrics |= m.means(
        m.metrics_from_ranks(popular, parameters.cutoffs), "test/popularity"
    )
    metrics |= ranking.diagnostics("test/decoding")

    if parameters.controls:
        subset = control_subset(len(samples), parameters)
        metrics["test/controls/n_users"] = float(len(subset))
        same_users = ranking.take(subset)
        metrics |= ranker.scores(
            same_users, parameters.cutoffs, "test/controls/as_configured"
        )
        for name in parameters.controls:
            decoding = parameters.decoding.model_copy(update=CONTROLS[name])
            control = decode(samples[subset], decoding, f"{name} control")
            metrics |= ranker.scores(
                control, parameters.cutoffs, f"test/controls/{name}"
            )
    frame = recommendations(
        sequences, table, ranker.groups, samples[:, 0], ranking, counts
    )
    full = frame.filter(pl.col("rank") == parameters.top_k).height
    metrics["test/decoding/full_lists"] = full / len(samples)
    rates = {"test/decoding/users_per_second": ranking.users_per_second}
    return Evaluation(frame, metrics, rates)


def control_subset(users: int, parameters: EvaluationParameters) -> NDArray[np.int64]:
    """Rows of the users on whom the controls are run, drawn with the decoding seed."""
    generator = np.random.default_rng(parameters.decoding.seed)
    chosen = min(users, parameters.control_users)
    return np.sort(generator.choice(users, chosen, replace=False))


def recommendations(
    sequences: Sequences,
    table: SidTable,
    groups: Groups,
    users: NDArray[np.int32],
    ranking: Ranking,
    counts: NDArray[np.int64],
) -> pl.DataFrame:
    """Each user's ranked items, as many as the ranking has places.

    Items of one SID follow each other by training popularity, then by item id; all
    carry the SID's score. A user whose decoded SIDs cover fewer items gets fewer.

    Args:
        sequences: the vocabularies.
        table: the SIDs.
        groups: its distinct SIDs.
        users: user index per row of the ranking, ``(U,)``.
        ranking: ranked SIDs ``(U, k)``.
        counts: training occurrences per item, ``(N,)``.

    Returns:
        Frame with user_id, rank (from 1), item_id, score, semantic_id.
    """
    by_popularity = np.lexsort((np.arange(len(counts)), -counts, groups.sid_of_item))
    places = np.arange(ranking.sids.shape[1])
    sizes = np.where(ranking.sids >= 0, groups.sizes[ranking.sids], 0)
    ends = np.cumsum(sizes, axis=1)
    # Column of the SID that holds place p: as many SIDs end at or before p.
    column = (ends[:, :, None] <= places).sum(axis=1)
    row, place = np.nonzero(column < len(places))
    column = column[row, place]
    sid = ranking.sids[row, column]
    inside = place - (ends - sizes)[row, column]
    item = by_popularity[groups.offsets[sid] + inside]
    names = table.to_frame()["sid"]
    return pl.DataFrame(
        {
            "user_id": sequences.user_ids.gather(users[row]),
            "rank": (place + 1).astype(np.int32),
            "item_id": sequences.item_ids.gather(item),
            "score": ranking.scores[row, column],
            "semantic_id": names.gather(item),
        }
    )
