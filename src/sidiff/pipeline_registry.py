"""The pipelines of the project: every node with what it makes, stage by stage.

What a node reads are the arguments of its function (``sidiff.pipelines.graph``).
"""

from __future__ import annotations

from kedro.pipeline import Pipeline

from sidiff.pipelines.ablation import nodes as ablation
from sidiff.pipelines.baselines import nodes as baselines
from sidiff.pipelines.catalogue_update import nodes as catalogue_update
from sidiff.pipelines.comparison import nodes as comparison
from sidiff.pipelines.embedding import nodes as embedding
from sidiff.pipelines.evaluation import nodes as evaluation
from sidiff.pipelines.filtering import nodes as filtering
from sidiff.pipelines.graph import node
from sidiff.pipelines.ingestion import nodes as ingestion
from sidiff.pipelines.packaging import nodes as packaging
from sidiff.pipelines.recommend import nodes as recommend
from sidiff.pipelines.report import nodes as report
from sidiff.pipelines.sample_data import nodes as sample_data
from sidiff.pipelines.tokenization import nodes as tokenization
from sidiff.pipelines.training import nodes as training

GPU = ("gpu", "expensive")
"""Tags of nodes that a GPU makes faster and that take most of a run."""
NODES = [
    node(
        "sample_data",
        sample_data.generate_sample_shop,
        ["raw_reviews", "raw_metadata"],
    ),
    node(
        "ingestion",
        ingestion.ingest_reviews,
        ["interactions", "rejected_reviews", "reviews_summary"],
        paths="raw_reviews",
    ),
    node(
        "ingestion",
        ingestion.ingest_metadata,
        ["items", "rejected_metadata", "metadata_summary"],
        paths="raw_metadata",
    ),
    node(
        "ingestion",
        ingestion.check_rejected_lines,
        "ingestion_report",
        reviews="reviews_summary",
        metadata="metadata_summary",
    ),
    node("filtering", filtering.filter_k_core, ["core_interactions", "core_summary"]),
    node(
        "filtering",
        filtering.build_sequences,
        ["sequences", "training_samples", "catalogue", "order_summary"],
    ),
    node("filtering", filtering.describe_data, "data_statistics"),
    node("embedding", embedding.render_item_texts, "item_texts"),
    node("embedding", embedding.embed_items, "item_embeddings", tags=GPU),
    node("tokenization", tokenization.join_histories, "quantizer_input"),
    node(
        "tokenization",
        tokenization.assign_sids,
        ["whitening", "quantizer", "sid_table"],
        tags=("cpu", "expensive"),
    ),
    node("tokenization", tokenization.build_lattice, "lattice"),
    node("tokenization", tokenization.report_sids, ["sid_report", "sid_figure"]),
    node(
        "training",
        training.train_denoiser,
        ["denoiser", "training_history", "masking_history"],
        tags=GPU,
    ),
    node("training", training.train_more_seeds, "seed_denoisers", tags=GPU),
    node("training", training.plot_training, ["training_figure", "masking_figure"]),
    node(
        "evaluation",
        evaluation.evaluate_denoiser,
        ["test_lists", "evaluation_results", "evaluation_costs", "metrics"],
        tags=GPU,
    ),
    node(
        "evaluation",
        evaluation.compare_decoders,
        ["decoder_results", "decoder_costs"],
        tags=GPU,
    ),
    node("packaging", packaging.make_bundle, "bundle"),
    node("packaging", packaging.register_bundle, "registration"),
    node(
        "baselines",
        baselines.fit_baselines,
        ["baseline_networks", "baseline_tuning"],
        tags=GPU,
    ),
    node(
        "baselines",
        baselines.rank_baselines,
        ["baseline_results", "baseline_costs"],
        tags=GPU,
    ),
    node(
        "comparison",
        comparison.compare_methods,
        "comparison",
        settings="params:comparison",
    ),
    node("comparison", comparison.write_comparison, "comparison_table"),
    node(
        "comparison",
        comparison.plot_comparison,
        ["comparison_figure", "trade_off_figure"],
    ),
    node("report", report.write_run_report, "run_report"),
    node(
        "recommend",
        recommend.recommend,
        "recommendations",
        tags=GPU,
        settings="params:recommend",
    ),
    node("catalogue_update", catalogue_update.update_bundle, "bundle"),
    node("catalogue_update", packaging.register_bundle, "registration"),
    node(
        "ablation",
        ablation.train_variants,
        ["variant_denoisers", "variant_history"],
        tags=GPU,
    ),
    node(
        "ablation",
        ablation.rank_variants,
        ["ablation_results", "ablation_costs"],
        tags=GPU,
    ),
    node(
        "ablation",
        ablation.compare_variants,
        "ablation",
        results="ablation_results",
        costs="ablation_costs",
    ),
    node(
        "ablation",
        comparison.write_comparison,
        "ablation_table",
        name="write_ablation",
        comparison="ablation",
    ),
    node(
        "ablation",
        ablation.plot_ablation,
        ["ablation_figure", "variant_figure"],
        comparison="ablation",
        history="variant_history",
    ),
]


def _pipelines(*stages: str) -> dict[str, Pipeline]:
    return {
        stage: Pipeline([one for one in NODES if stage in one.tags]) for stage in stages
    }


STAGES = _pipelines(
    *("sample_data", "ingestion", "filtering", "embedding", "tokenization"),
    *("training", "evaluation", "packaging", "baselines", "comparison", "report"),
)
"""The stages of ``full``, in their order."""
PIPELINES = STAGES | _pipelines("recommend", "catalogue_update", "ablation")
"""All that can be run on its own."""


def stage_that_makes(dataset: str) -> str:
    """The stage that outputs a data set."""
    return next(
        stage
        for stage, pipeline in PIPELINES.items()
        if dataset in pipeline.all_outputs()
    )


def register_pipelines() -> dict[str, Pipeline]:
    """Return one pipeline per stage or study, and ``full`` for all stages."""
    full = sum(STAGES.values(), Pipeline([]))
    return {**PIPELINES, "full": full, "__default__": full}
