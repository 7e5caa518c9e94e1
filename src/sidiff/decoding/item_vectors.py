"""Ranking by item vectors: the network's softmax over whole items, as SASRec ranks.

Only for networks with item identities, and without any denoising.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sidiff.decoding.catalogue import Catalogue
from sidiff.decoding.scan import best_rows
from sidiff.diffusion.denoiser import Memory
from sidiff.errors import SidiffError
from sidiff.onednn import linear


@torch.inference_mode()
def best_items(
    memory: Memory, catalogue: Catalogue, seen: Tensor, width: int
) -> tuple[Tensor, Tensor]:
    """The best ``width`` items of every user, exactly.

    Args:
        memory: the users' encoded histories, batch size B.
        catalogue: the items that may be recommended, and their vectors.
        seen: item indices that a user must not get, -1 for none, ``(B, E)``.
        width: items wanted.

    Returns:
        Item indices ``(B, width)``, -1 where there are no more, and their logits, -inf
        there; fewer columns where the catalogue is smaller.

    Raises:
        SidiffError: the network has no item identities.
    """
    users, vectors = memory.users, catalogue.item_vectors
    if users is None or vectors is None:
        raise SidiffError(
            "decoding.method item_vectors needs a network trained with "
            "training.network.item_identity: true."
        )
    items, scores = best_rows(
        len(vectors),
        lambda rows: linear(users, vectors[rows]),
        width,
        catalogue.allowed_items,
        seen,
    )
    return items.masked_fill(scores == -torch.inf, -1), scores
