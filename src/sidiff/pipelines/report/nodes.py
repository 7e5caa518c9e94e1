"""The page of a run as a node."""

# Every Kedro command imports this module; what is slow to import waits for the run.
# ruff: noqa: PLC0415

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from sidiff.datasets import Model
from sidiff.parameters import Parameters
from sidiff.pipelines.frames import check_trained_on, to_sequences
from sidiff.sids.table import SidTable
from sidiff.storage import redacted

if TYPE_CHECKING:
    from sidiff.diffusion.denoiser import DenoisingModel
    from sidiff.report.walk import WalkStep


def write_run_report(
    data_statistics: dict[str, Any],
    sequences: pl.DataFrame,
    catalogue: pl.DataFrame,
    sid_table: pl.DataFrame,
    denoiser: Model,
    training_history: pl.DataFrame,
    evaluation_results: pl.DataFrame,
    comparison: pl.DataFrame,
    parameters: dict[str, Any],
) -> str:
    """Put what the stages stored onto one page of HTML."""
    from sidiff.report.build import Run, build

    user = int(evaluation_results["user"][0])
    return build(
        Run(
            data=data_statistics,
            catalogue=catalogue,
            table=SidTable.from_frame(sid_table),
            sequences=sequences,
            history=training_history,
            walk=denoise_user(sequences, catalogue, sid_table, denoiser, user),
            results=evaluation_results,
            comparison=comparison,
            settings={name: _plain(value) for name, value in parameters.items()},
        )
    )


def _plain(value: Any) -> Any:
    """A parameter as YAML has it, without secrets in addresses."""
    if isinstance(value, Parameters):
        return value.model_dump(mode="json")
    return redacted(value) if isinstance(value, str) else value


def denoise_user(
    sequences: pl.DataFrame,
    catalogue: pl.DataFrame,
    sid_table: pl.DataFrame,
    denoiser: Model,
    user: int,
) -> list[WalkStep]:
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
    from sidiff.report.walk import walk

    return walk(*encode_user(sequences, catalogue, sid_table, denoiser, user))


def encode_user(
    sequences: pl.DataFrame,
    catalogue: pl.DataFrame,
    sid_table: pl.DataFrame,
    denoiser: Model,
    user: int,
) -> tuple[DenoisingModel, Any]:
    """Return the stored network and its memory of one user; as ``denoise_user``."""
    import torch

    from sidiff.diffusion.histories import Histories, residual_rows
    from sidiff.diffusion.networks import network_from_saved
    from sidiff.ranking.methods import search_model

    table = SidTable.from_frame(sid_table)
    check_trained_on(denoiser, table)
    rows = residual_rows(denoiser.metadata.get("known_items", []), table.item_ids)
    cpu = torch.device("cpu")
    histories = Histories(to_sequences(sequences, catalogue), table.codes, rows, cpu)
    searched, encode = search_model(network_from_saved(*denoiser), histories.table)
    end = len(sequences["items"][user]) - 1
    start = max(0, end - int(denoiser.metadata["max_history"]))
    batch = histories.gather(torch.tensor([[user, start, end]]))
    with torch.inference_mode():
        return searched, encode(batch)
