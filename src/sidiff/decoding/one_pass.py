"""One-pass scoring: the exact ranking of existing SIDs by the fully masked state.

The score of a SID is the sum of its digits' log-probabilities at the fully masked
state. It takes one denoiser call, and treats the digits as independent given the
history. So it is the baseline of decoders with several calls.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from sidiff.decoding.decoders import Decoded
from sidiff.decoding.scan import best_rows
from sidiff.decoding.search import Search


@torch.inference_mode()
def decode(search: Search) -> Decoded:
    """The best ``beam`` existing SIDs of every user."""
    catalogue, beams = search.catalogue, search.start()
    logits = search.denoiser.logits(beams.codes, beams.masked, search.memory)
    log_p = logits[:, 0].log_softmax(-1)
    table = log_p.flatten(1).T.contiguous()  # (L * K, B)
    digits = torch.arange(log_p.shape[1], device=log_p.device)
    first_row = digits * catalogue.codebook_size

    def score(rows: Tensor) -> Tensor:
        return F.embedding_bag(catalogue.codes[rows] + first_row, table, mode="sum").T

    rows, best = best_rows(
        len(catalogue.codes),
        score,
        search.parameters.beam,
        catalogue.allowed_sids,
        search.excluded,
    )
    return Decoded(catalogue.codes[rows], best, 1, 1.0)
