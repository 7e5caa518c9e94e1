"""One denoiser per variant and seed, all ranked by one decoder."""

# Every Kedro command imports this module; what is slow to import waits for the run.
# ruff: noqa: PLC0415

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import polars as pl

from sidiff.datasets import Model
from sidiff.parameters import (
    AblationParameters,
    ComparisonParameters,
    EvaluationParameters,
)
from sidiff.pipelines.frames import (
    check_ranked_with,
    join_models,
    split_models,
    to_job,
    to_sid_table,
)
from sidiff.snapshots import SnapshotFolder

if TYPE_CHECKING:
    from matplotlib.figure import Figure

logger = logging.getLogger(__name__)


def train_variants(
    sequences: pl.DataFrame,
    catalogue: pl.DataFrame,
    training_samples: pl.DataFrame,
    sid_table: pl.DataFrame,
    lattice: Model,
    training: dict[str, Any],
    parameters: dict[str, Any],
    max_history: int,
    checkpoints: SnapshotFolder,
    ray_address: str | None,
) -> tuple[Model, pl.DataFrame, pl.DataFrame]:
    """Train every variant with every seed; epochs and masks of all of them."""
    from sidiff.engines import train

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
    ablation = AblationParameters.model_validate(parameters)
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
    evaluation: dict[str, Any],
    parameters: dict[str, Any],
    ray_address: str | None,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Decode the test split with the network of every variant and seed."""
    from sidiff.diffusion.denoiser import Denoiser
    from sidiff.evaluation.metrics import level_means
    from sidiff.evaluation.run import chosen_users
    from sidiff.pipelines.evaluation.nodes import evaluator_of

    settings = EvaluationParameters.model_validate(evaluation)
    ablation = AblationParameters.model_validate(parameters)
    ranking = settings.other_decoders()[ablation.decoder]
    cutoff = max(settings.cutoffs)
    parts = []
    for name, model in split_models(variant_denoisers).items():
        method, seed = name.split("/")
        evaluator = evaluator_of(
            model, sequences, catalogue, sid_table, lattice, evaluation, ray_address
        )
        ranked = evaluator.rank(
            Denoiser.from_saved(model.tensors, model.metadata),
            ranking,
            f"{method}, seed {seed}",
            chosen_users(len(evaluator.samples), settings),
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
        parts.append(evaluator.frames(ranked, method, int(seed)))
    results, costs = zip(*parts, strict=True)
    return pl.concat(results), pl.concat(costs)


def compare_variants(
    results: pl.DataFrame,
    costs: pl.DataFrame,
    catalogue: pl.DataFrame,
    sid_table: pl.DataFrame,
    evaluation: dict[str, Any],
    comparison: dict[str, Any],
    parameters: dict[str, Any],
) -> tuple[pl.DataFrame, dict[str, float]]:
    """Measure every variant at both levels, and against the first one."""
    from sidiff.evaluation.comparison import compare, flat_report

    table = to_sid_table(sid_table, catalogue)
    check_ranked_with(results, "ablation_results", table, catalogue)
    first = next(iter(AblationParameters.model_validate(parameters).variants))
    settings = ComparisonParameters.model_validate(comparison)
    compared = compare(
        {"training": results},
        {"training": costs},
        catalogue,
        table.groups().sid_of_item,
        EvaluationParameters.model_validate(evaluation).cutoffs,
        settings.model_copy(update={"references": [first]}),
    )
    return compared, flat_report(compared)


def write_ablation(comparison: pl.DataFrame, dataset: str) -> str:
    """Lay the variants out as a page of Markdown."""
    from sidiff.evaluation.headlines import comparison_table

    return comparison_table(comparison, dataset)


def plot_ablation(
    comparison: pl.DataFrame, history: pl.DataFrame, masking: pl.DataFrame
) -> tuple[Figure, Figure, Figure]:
    """Draw the variants at both levels, their courses, and what they hid."""
    from sidiff.evaluation.comparison_figures import comparison_figure
    from sidiff.training.figures import courses_figure, variants_masking_figure

    return (
        comparison_figure(comparison),
        courses_figure(history),
        variants_masking_figure(masking),
    )
