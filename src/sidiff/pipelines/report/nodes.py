"""The node that writes the page of a run."""

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
    """The page of HTML with the results of all stages."""
    from sidiff.report.build import Run, build
    from sidiff.report.walk import walk

    user = int(evaluation_results["user"][0])
    return build(
        Run(
            data=data_statistics,
            catalogue=catalogue,
            table=SidTable.from_frame(sid_table),
            sequences=sequences,
            history=training_history,
            walk=walk(*encode_user(sequences, catalogue, sid_table, denoiser, user)),
            results=evaluation_results,
            comparison=comparison,
            settings={name: _plain(value) for name, value in parameters.items()},
        )
    )


def _plain(value: Any) -> Any:
    """A parameter for YAML, without secrets in addresses."""
    if isinstance(value, Parameters):
        return value.model_dump(mode="json")
    return redacted(value) if isinstance(value, str) else value


def encode_user(
    sequences: pl.DataFrame,
    catalogue: pl.DataFrame,
    sid_table: pl.DataFrame,
    denoiser: Model,
    user: int,
) -> tuple[DenoisingModel, Any]:
    """The stored network and its memory of the items before a user's last one.

    ``user`` is a row of ``sequences``.

    Raises:
        SidiffError: the network is of another SID table.
    """
    import torch

    from sidiff.diffusion.histories import Histories, residual_rows
    from sidiff.diffusion.joint import ItemTable
    from sidiff.diffusion.networks import network_from_saved
    from sidiff.ranking.methods import search_model

    table = SidTable.from_frame(sid_table)
    check_trained_on(denoiser, table)
    rows = residual_rows(denoiser.metadata.get("known_items", []), table.item_ids)
    items = ItemTable.of(table.codes, rows, torch.device("cpu"))
    histories = Histories(to_sequences(sequences, catalogue), items)
    searched, encode = search_model(network_from_saved(*denoiser), items)
    end = len(sequences["items"][user]) - 1
    start = max(0, end - int(denoiser.metadata["max_history"]))
    batch = histories.gather(torch.tensor([[user, start, end]]))
    with torch.inference_mode():
        return searched, encode(batch)
