"""One denoiser per variant and seed, all ranked by one decoder."""

# Every Kedro command imports this module; what is slow to import waits for the run.
# ruff: noqa: PLC0415

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

import polars as pl

from sidiff.datasets import Model
from sidiff.evaluation.settings import ComparisonParameters, EvaluationParameters
from sidiff.pipelines.frames import (
    check_ranked,
    join_models,
    split_models,
    to_job,
)
from sidiff.pipelines.settings import AblationParameters
from sidiff.sids.table import SidTable
from sidiff.snapshots import SnapshotFolder
from sidiff.training.settings import TrainingParameters

if TYPE_CHECKING:
    from matplotlib.figure import Figure

logger = logging.getLogger(__name__)


def train_variants(
    sequences: pl.DataFrame,
    catalogue: pl.DataFrame,
    training_samples: pl.DataFrame,
    sid_table: pl.DataFrame,
    lattice: Model,
    training: TrainingParameters,
    ablation: AblationParameters,
    max_history: int,
    checkpoints: SnapshotFolder,
    ray_address: str | None,
) -> tuple[Model, pl.DataFrame, pl.DataFrame]:
    """Train every variant with every seed; epochs and masks of all of them."""
    from sidiff.engines.launch import train

    job = to_job(
        sequences,
        catalogue,
        training_samples,
        sid_table,
        lattice,
        training,
        max_history,
        checkpoints,
    )
    variants = ablation.trainings(job.parameters)
    models: dict[str, Model] = {}
    histories, masks = [], []
    # Seed by seed: what is cut off has compared all variants with the first ones.
    for seed in ablation.seeds:
        for name, settings in variants.items():
            logger.info("Variant %s, seed %d", name, seed)
            one = replace(job, parameters=settings.model_copy(update={"seed": seed}))
            fitted = train(one, lambda epoch, figures: None, ray_address)
            models[f"{name}/{seed}"] = Model(fitted.weights, fitted.config)
            mark = (pl.lit(name).alias("method"), pl.lit(seed).alias("seed"))
            histories.append(fitted.history.select(*mark, pl.all()))
            masks.append(fitted.masking.select(*mark, pl.all()))
    return (
        join_models(models),
        pl.concat(histories, how="diagonal_relaxed"),
        pl.concat(masks),
    )


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
    """Decode the test split with the network of every variant and seed."""
    from sidiff.diffusion.networks import network_from_saved
    from sidiff.evaluation.metrics import level_means
    from sidiff.evaluation.run import to_frames
    from sidiff.pipelines.evaluation.nodes import evaluator_of

    ranking = evaluation.other_decoders()[ablation.decoder]
    cutoff = max(evaluation.cutoffs)
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
        figures = level_means(
            ranked.items,
            ranked.sids,
            ranked.targets,
            evaluator.groups,
            [cutoff],
            "test",
        )
        logger.info(
            "Variant %s, seed %s: test NDCG@%d %.4f (SID), %.4f (item), %.0f users/s",
            *(method, seed, cutoff),
            figures[f"test/sid/ndcg_at_{cutoff}"],
            figures[f"test/item/ndcg_at_{cutoff}"],
            ranked.cost.users_per_second,
        )
        parts.append(to_frames(ranked, method, int(seed)))
    results, costs = zip(*parts, strict=True)
    return pl.concat(results), pl.concat(costs)


def compare_variants(
    results: pl.DataFrame,
    costs: pl.DataFrame,
    catalogue: pl.DataFrame,
    sid_table: pl.DataFrame,
    evaluation: EvaluationParameters,
    comparison: ComparisonParameters,
    ablation: AblationParameters,
) -> tuple[pl.DataFrame, dict[str, float]]:
    """Measure every variant at both levels, and against the first one."""
    from sidiff.evaluation.comparison import compare, flat_report

    table = SidTable.from_frame(sid_table)
    check_ranked(results, "ablation_results")
    first = next(iter(ablation.variants))
    compared = compare(
        {"training": results},
        {"training": costs},
        catalogue,
        table.groups().sid_of_item,
        evaluation.cutoffs,
        comparison.model_copy(update={"references": [first]}),
    )
    return compared, flat_report(compared)


def plot_ablation(
    comparison: pl.DataFrame, history: pl.DataFrame, masking: pl.DataFrame
) -> tuple[Figure, Figure, Figure]:
    """Draw the variants at both levels, their courses, and what they masked."""
    from sidiff.evaluation.figures import comparison_figure
    from sidiff.training.figures import courses_figure, masking_figure

    return (
        comparison_figure(comparison),
        courses_figure(history),
        masking_figure(masking),
    )
