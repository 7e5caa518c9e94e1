"""What the last run stored, for the notebooks beside this file."""

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
    """Return Kedro's catalogue of an environment; its latest versions are read."""
    bootstrap_project(ROOT)
    logging.getLogger().setLevel(logging.ERROR)
    with KedroSession.create(ROOT, env=env) as session:
        return session.load_context().catalog


def open_network(catalog: Any) -> SimpleNamespace:
    """Return the stored denoiser with what it needs to know of the items.

    Fields: ``denoiser``, ``items`` (the network's ``ItemTable``), ``codes`` ``(N, L)``
    and ``titles``.
    """
    from sidiff.diffusion.denoiser import Denoiser, ItemTable
    from sidiff.diffusion.histories import identity_rows
    from sidiff.pipelines.frames import to_sid_table
    from sidiff.report.build import titles_of

    model, listing = catalog.load("denoiser"), catalog.load("catalogue")
    table = to_sid_table(catalog.load("sid_table"), listing)
    rows = identity_rows(model.metadata.get("identities", []), table.item_ids)
    codes = torch.from_numpy(table.codes.astype("int64"))
    return SimpleNamespace(
        denoiser=Denoiser.from_saved(model.tensors, model.metadata).eval(),
        items=ItemTable(codes, torch.from_numpy(rows)),
        codes=table.codes,
        titles=titles_of(listing),
    )


def encode(network: SimpleNamespace, history: list[int]) -> Any:
    """Return the network's memory of a history of item indices, oldest first."""
    rows, lengths = torch.tensor([history]), torch.tensor([len(history)])
    with torch.inference_mode():
        return network.denoiser.encode(
            network.items.codes[rows], lengths, network.items.identities[rows]
        )
