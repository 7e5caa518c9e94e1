"""Stored results of the last run, for the notebooks."""

from __future__ import annotations

import logging
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

warnings.filterwarnings("ignore")
here = Path.cwd()
ROOT = next(p for p in (here, *here.parents) if (p / "conf" / "base").exists())
sys.path.insert(0, str(ROOT / "src"))

import torch  # noqa: E402
from kedro.framework.session import KedroSession  # noqa: E402
from kedro.framework.startup import bootstrap_project  # noqa: E402


def open_catalogue(env: str | None = None) -> Any:
    """Return Kedro's catalogue of an environment; it loads the latest versions."""
    bootstrap_project(ROOT)
    logging.getLogger().setLevel(logging.ERROR)
    with KedroSession.create(ROOT, env=env) as session:
        return session.load_context().catalog


def open_network(catalog: Any) -> SimpleNamespace:
    """Return the stored denoiser with the codes and titles of the items.

    Fields: ``denoiser`` (for searches), ``encode`` (from histories to its memory),
    ``codes`` ``(N, L)`` and ``titles``.
    """
    from sidiff.diffusion.histories import residual_rows
    from sidiff.diffusion.joint import ItemTable
    from sidiff.diffusion.networks import network_from_saved
    from sidiff.sids.table import SidTable
    from sidiff.ranking.methods import search_model
    from sidiff.report.examples import titles_of

    model, listing = catalog.load("denoiser"), catalog.load("catalogue")
    table = SidTable.from_frame(catalog.load("sid_table"))
    rows = residual_rows(model.metadata.get("known_items", []), table.item_ids)
    codes = torch.from_numpy(table.codes.astype("int64"))
    denoiser, encoder = search_model(
        network_from_saved(model.tensors, model.metadata),
        ItemTable(codes, torch.from_numpy(rows)),
    )
    return SimpleNamespace(
        denoiser=denoiser,
        encode=encoder,
        codes=table.codes,
        titles=titles_of(listing),
    )


def encode(network: SimpleNamespace, history: list[int]) -> Any:
    """Return the network's memory of a history of item indices, oldest first."""
    from sidiff.diffusion.histories import HistoryBatch

    rows, lengths = torch.tensor([history]), torch.tensor([len(history)])
    codes = torch.from_numpy(network.codes.astype("int64"))[rows]
    with torch.inference_mode():
        return network.encode(HistoryBatch(codes, lengths, rows))
