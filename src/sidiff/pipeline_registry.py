"""The pipelines of the project, by name.

Explicit rather than found by folder: Kedro's finder would look for a package named
``full``.
"""

from __future__ import annotations

from kedro.pipeline import Pipeline

from sidiff.pipelines import (
    ablation,
    baselines,
    catalogue_update,
    comparison,
    embedding,
    evaluation,
    filtering,
    ingestion,
    packaging,
    recommend,
    sample_data,
    tokenization,
    training,
)

STAGES = {
    "sample_data": sample_data,
    "ingestion": ingestion,
    "filtering": filtering,
    "embedding": embedding,
    "tokenization": tokenization,
    "training": training,
    "evaluation": evaluation,
    "packaging": packaging,
    "baselines": baselines,
    "comparison": comparison,
}
"""The stages of ``full``, in their order."""

PIPELINES = {
    **STAGES,
    "recommend": recommend,
    "catalogue_update": catalogue_update,
    "ablation": ablation,
}
"""All that can be run on its own."""


def register_pipelines() -> dict[str, Pipeline]:
    """Return one pipeline per stage or study, and ``full`` for all stages.

    ``full`` begins with the synthetic shop here; the context takes it out where the
    configuration names real files.
    """
    stages = {name: stage.create_pipeline() for name, stage in PIPELINES.items()}
    full = full_pipeline(sample=True)
    return {**stages, "full": full, "__default__": full}


def full_pipeline(*, sample: bool) -> Pipeline:
    """Chain all stages, with the generator of the synthetic shop or without."""
    return sum(
        (
            stage.create_pipeline()
            for name, stage in STAGES.items()
            if sample or name != "sample_data"
        ),
        Pipeline([]),
    )
