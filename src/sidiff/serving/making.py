"""A bundle from what the stages stored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl
import torch

from sidiff.decoding.lattice import Lattice
from sidiff.diffusion.histories import residual_rows
from sidiff.diffusion.joint import JointDenoiser
from sidiff.diffusion.networks import Network
from sidiff.evaluation.settings import EvaluationParameters
from sidiff.ranking.markov import Chain
from sidiff.reviews.sequences import Sequences, training_counts
from sidiff.reviews.transitions import transition_counts
from sidiff.serving.bundle import Bundle
from sidiff.serving.methods import settings_of
from sidiff.sids.table import SidTable


def make_bundle(
    network: Network,
    known_items: list[str],
    sequences: Sequences,
    titles: pl.Series,
    table: SidTable,
    lattice: Lattice | None,
    evaluation: EvaluationParameters,
    about: Mapping[str, Any],
) -> Bundle:
    """Gather a network, its items and what else lists are made from.

    Args:
        network: as it was trained.
        known_items: ids of the items that have a residual in it, in its order.
        sequences: the users' items, of which the training part counts.
        titles: of the items ``(N,)``, null where unknown.
        table: the items' semantic IDs.
        lattice: of the table; None where the SIDs are too long for one.
        evaluation: how lists were made when the network was evaluated.
        about: what the manifest is to say.
    """
    chain = {}
    if isinstance(network, JointDenoiser):
        counts = transition_counts(sequences)
        found = Chain.of(counts, evaluation.markov, torch.device("cpu"))
        chain = {
            name: array.numpy()
            for name, array in vars(found).items()
            if isinstance(array, torch.Tensor)
        }
    items = table.to_frame().with_columns(
        titles.cast(pl.String).alias("title"),
        pl.Series("training_count", training_counts(sequences), dtype=pl.Int64),
        pl.Series("residual", residual_rows(known_items, table.item_ids)),
        pl.lit(value=True).alias("offered"),
    )
    weights = network.state_dict()
    return Bundle(
        weights={name: np.asarray(tensor) for name, tensor in weights.items()},
        network=network.saved_config(),
        ranking=settings_of(evaluation),
        items=items,
        lattice={} if lattice is None else lattice.to_tensors()[0],
        chain=chain,
        about=about,
    )
