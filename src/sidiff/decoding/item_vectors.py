"""Ranking by item vectors: the network's softmax over whole items, as SASRec ranks.

Only for networks with item identities, and without any denoising. A SID comes where its
best item comes; rescoring by the same vectors puts the items of a SID in order.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sidiff.decoding.catalogue import Catalogue
from sidiff.decoding.results import Decoded
from sidiff.decoding.scan import best_rows
from sidiff.diffusion.denoiser import DenoisingModel, Memory
from sidiff.errors import SidiffError
from sidiff.onednn import linear
from sidiff.parameters import DecodingParameters


@torch.inference_mode()
def decode(
    denoiser: DenoisingModel,
    memory: Memory,
    parameters: DecodingParameters,
    catalogue: Catalogue,
    blocked: Tensor,
) -> Decoded:
    """The SIDs of the best ``beam`` items of every user; arguments as for CPD.

    Raises:
        SidiffError: the network has no item identities.
    """
    del denoiser
    users, vectors = memory.users, catalogue.item_vectors
    if users is None or vectors is None:
        raise SidiffError(
            "decoding.method item_vectors needs a network trained with "
            "training.network.item_identity: true."
        )
    rows, scores = best_rows(
        len(vectors),
        lambda rows: linear(users, vectors[rows]),
        parameters.beam,
        catalogue.allowed_items,
        blocked[:, :0],
    )
    sids = catalogue.sid_of_item[rows]
    gone = (sids[:, :, None] == blocked[:, None]).any(2)
    scores = scores.masked_fill(gone, -torch.inf)
    return Decoded(catalogue.codes[sids], scores, denoiser_calls=0, distinct_states=1.0)
