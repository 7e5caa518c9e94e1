"""Two-stage decoding: a warm-up of single digits, then several digits per call.

MDGR (arXiv 2601.19501) decodes few digits a step while uncertainty is highest, then
several in parallel; that much is known of it. The rest is this project's: W
(``warmup_steps``) steps of CPD, after which every beam fills its r
(``digits_per_step``) most confident open digits at each denoiser call. That is
W + ceil((L - W) / r) calls in place of L. W = L is CPD; W = 0 and r = L is one shot.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sidiff.decoding import beams as b
from sidiff.decoding.catalogue import Catalogue
from sidiff.decoding.cpd import fill_one
from sidiff.decoding.parallel import fill_many
from sidiff.decoding.results import Decoded
from sidiff.decoding.search import Search
from sidiff.diffusion.denoiser import DenoisingModel, Memory
from sidiff.parameters import DecodingParameters


@torch.inference_mode()
def decode(
    denoiser: DenoisingModel,
    memory: Memory,
    parameters: DecodingParameters,
    catalogue: Catalogue,
    blocked: Tensor,
) -> Decoded:
    """Generate SIDs for a batch of users; arguments and result as for CPD."""
    search = Search.build(denoiser, parameters, catalogue, blocked)
    stages = parameters.parallel
    digits, filled = denoiser.config.digits, 0
    beams = b.start(len(blocked), digits, blocked.device)
    while filled < digits:
        log_p = search.log_p(beams, memory, search.constraint)
        if filled < stages.warmup_steps:
            beams = fill_one(search, beams, log_p, filled)
            filled += 1
        else:
            count = min(stages.digits_per_step, digits - filled)
            beams = fill_many(
                search,
                beams,
                log_p,
                filled,
                count,
                search.constraint,
                stages.confidence,
            )
            filled += count
    return search.decoded(beams)
