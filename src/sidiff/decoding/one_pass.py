"""One-pass scoring: every existing SID by the all-masked distribution, exactly.

The score of a SID is the sum of its digits' log-probabilities with nothing filled in:
one denoiser call, no search, no SID missed. It treats the digits as independent given
the history, so it is the baseline that every decoder with more calls must beat.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from sidiff.decoding.catalogue import Catalogue
from sidiff.decoding.results import Decoded
from sidiff.decoding.scan import best_rows
from sidiff.decoding.settings import DecodingParameters
from sidiff.diffusion.denoiser import DenoisingModel


@torch.inference_mode()
def decode(
    denoiser: DenoisingModel,
    memory: Any,
    parameters: DecodingParameters,
    catalogue: Catalogue,
    excluded: Tensor,
) -> Decoded:
    """The best ``beam`` existing SIDs of every user; arguments as for CPD."""
    batch, digits = memory.bias.shape[0], catalogue.codes.shape[1]
    device = memory.bias.device
    codes = torch.zeros(batch, 1, digits, dtype=torch.int64, device=device)
    masked = torch.ones_like(codes, dtype=torch.bool)
    log_p = denoiser.logits(codes, masked, memory)[:, 0].log_softmax(-1)
    table = log_p.flatten(1).T.contiguous()  # (L * K, B)
    first_row = torch.arange(digits, device=device) * catalogue.codebook_size

    def score(rows: Tensor) -> Tensor:
        return F.embedding_bag(catalogue.codes[rows] + first_row, table, mode="sum").T

    rows, best = best_rows(
        len(catalogue.codes), score, parameters.beam, catalogue.allowed_sids, excluded
    )
    return Decoded(catalogue.codes[rows], best, denoiser_calls=1, distinct_states=1.0)
