"""Training and comparison of denoisers with changed settings."""

# Every Kedro command imports this module; what is slow to import waits for the run.
# ruff: noqa: PLC0415

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from sidiff.datasets import Model
from sidiff.evaluation.settings import ComparisonParameters, EvaluationParameters
from sidiff.pipelines.frames import check_ranked, split_models, to_job
from sidiff.pipelines.settings import AblationParameters
from sidiff.pipelines.training.nodes import train_many
from sidiff.sids.table import SidTable
from sidiff.snapshots import SnapshotFolder
from sidiff.training.settings import TrainingParameters

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from plotly.graph_objects import Figure as Interactive


def train_variants(
    sequences: pl.DataFrame,
    catalogue: pl.DataFrame,
    training_samples: pl.DataFrame,
    sid_table: pl.DataFrame,
    training: TrainingParameters,
    ablation: AblationParameters,
    max_history: int,
    checkpoints: SnapshotFolder,
    ray_address: str | None,
) -> tuple[Model, pl.DataFrame]:
    """Train every variant with every seed; return the networks and their epochs."""
    data = sequences, catalogue, training_samples, sid_table
    job = to_job(*data, training, max_history, checkpoints)
    variants = ablation.trainings(job.parameters)
    # Seed by seed, so that an interrupted run has trained all variants with one seed.
    settings = {
        f"{name}/{seed}": variant.model_copy(update={"seed": seed})
        for seed in ablation.seeds
        for name, variant in variants.items()
    }
    models, histories = train_many(job, settings, ray_address)
    parts = []
    for key, history in histories.items():
        name, seed = key.split("/")
        labels = pl.lit(name).alias("method"), pl.lit(int(seed)).alias("seed")
        parts.append(history.select(*labels, pl.all()))
    return models, pl.concat(parts, how="diagonal_relaxed")


def rank_variants(
    variant_denoisers: Model,
    sequences: pl.DataFrame,
    catalogue: pl.DataFrame,
    sid_table: pl.DataFrame,
    lattice: Model,
    evaluation: EvaluationParameters,
    ablation: AblationParameters,
    ray_address: str | None,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rank the test split by the network of every variant and seed."""
    from sidiff.diffusion.networks import network_from_saved
    from sidiff.pipelines.evaluation.nodes import evaluator_of
    from sidiff.ranking.results import Ranked, result_frames

    ranking = evaluation.other_decoders()[ablation.decoder]
    parts = []
    for name, model in split_models(variant_denoisers).items():
        method, seed = name.split("/")
        evaluator = evaluator_of(
            model, sequences, catalogue, sid_table, lattice, evaluation, ray_address
        )
        ranked = evaluator.rank(
            network_from_saved(*model),
            ranking,
            f"{method}, seed {seed}",
            evaluator.chosen_users(),
        )
        parts.append(Ranked(method, int(seed), ranked))
    return result_frames(parts)


def compare_variants(
    results: pl.DataFrame,
    costs: pl.DataFrame,
    catalogue: pl.DataFrame,
    sid_table: pl.DataFrame,
    evaluation: EvaluationParameters,
    comparison: ComparisonParameters,
    ablation: AblationParameters,
) -> pl.DataFrame:
    """Measure every variant at both levels, and compare it with the first one."""
    from sidiff.evaluation.comparison import compare

    table = SidTable.from_frame(sid_table)
    check_ranked(results, "ablation_results")
    first = next(iter(ablation.variants))
    return compare(
        {"training": results},
        {"training": costs},
        catalogue,
        table.groups().sid_of_item,
        evaluation.cutoffs,
        comparison.model_copy(update={"references": [first]}),
    )


def plot_ablation(
    comparison: pl.DataFrame, history: pl.DataFrame
) -> tuple[Figure, Interactive]:
    """Draw the results of the variants at both levels, and their epochs."""
    from sidiff.evaluation.figures import comparison_figure
    from sidiff.evaluation.headlines import headlines
    from sidiff.training.figures import training_figure

    return comparison_figure(headlines(comparison)), training_figure(history)
