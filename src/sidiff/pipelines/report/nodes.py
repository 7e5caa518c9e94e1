"""The page of a run as a node."""

# Every Kedro command imports this module; what is slow to import waits for the run.
# ruff: noqa: PLC0415

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from sidiff.baselines.settings import BaselinesParameters
from sidiff.datasets import Model
from sidiff.evaluation.settings import ComparisonParameters, EvaluationParameters
from sidiff.parameters import Parameters
from sidiff.pipelines.frames import check_trained_on, to_sequences
from sidiff.reviews.settings import FilteringParameters
from sidiff.sids.settings import EmbeddingParameters, TokenizationParameters
from sidiff.sids.table import SidTable
from sidiff.training.settings import TrainingParameters

if TYPE_CHECKING:
    from sidiff.decoding.trace import TraceStep


def write_run_report(
    data_statistics: dict[str, Any],
    sid_report: dict[str, Any],
    sequences: pl.DataFrame,
    catalogue: pl.DataFrame,
    sid_table: pl.DataFrame,
    denoiser: Model,
    training_history: pl.DataFrame,
    evaluation_results: pl.DataFrame,
    comparison: pl.DataFrame,
    dataset: str,
    recipe: str,
    preset: str,
    filtering: FilteringParameters,
    embedding: EmbeddingParameters,
    tokenization: TokenizationParameters,
    training: TrainingParameters,
    evaluation: EvaluationParameters,
    baselines: BaselinesParameters,
    comparing: ComparisonParameters,
) -> str:
    """Put what the stages stored onto one page of HTML."""
    from sidiff.report.build import build

    groups: dict[str, Parameters] = {
        **{"filtering": filtering, "embedding": embedding},
        **{"tokenization": tokenization, "training": training},
        **{"evaluation": evaluation, "baselines": baselines, "comparison": comparing},
    }
    user = int(evaluation_results["user"][0])
    return build(
        data=data_statistics,
        sids=sid_report,
        catalogue=catalogue,
        codes=SidTable.from_frame(sid_table).codes,
        sequences=sequences,
        history=training_history,
        walk=denoise_user(sequences, catalogue, sid_table, denoiser, user),
        walked=user,
        results=evaluation_results,
        comparison=comparison,
        settings={
            name: group.model_dump(mode="json") for name, group in groups.items()
        },
        names={"dataset": dataset, "recipe": recipe, "preset": preset},
    )


def denoise_user(
    sequences: pl.DataFrame,
    catalogue: pl.DataFrame,
    sid_table: pl.DataFrame,
    denoiser: Model,
    user: int,
) -> list[TraceStep]:
    """Denoise the last item of one user, given those before it.

    Args:
        sequences: the stored data set, like the next three.
        catalogue: of the same filtering.
        sid_table: of the same catalogue.
        denoiser: trained on that table.
        user: row of ``sequences``.

    Raises:
        SidiffError: the network is of another SID table.
    """
    import torch

    from sidiff.decoding.trace import steps
    from sidiff.diffusion.histories import Histories, residual_rows
    from sidiff.diffusion.networks import network_from_saved
    from sidiff.ranking.methods import search_model

    table = SidTable.from_frame(sid_table)
    check_trained_on(denoiser, table)
    rows = residual_rows(denoiser.metadata.get("known_items", []), table.item_ids)
    cpu = torch.device("cpu")
    histories = Histories(to_sequences(sequences, catalogue), table.codes, rows, cpu)
    network = network_from_saved(*denoiser)
    searched, encode = search_model(network, histories.table)
    end = len(sequences["items"][user]) - 1
    start = max(0, end - int(denoiser.metadata["max_history"]))
    batch = histories.gather(torch.tensor([[user, start, end]]))
    unfilled = torch.zeros((1, 1, table.digits), dtype=torch.int64)
    with torch.inference_mode():
        return list(steps(searched, encode(batch), unfilled, given=False))
