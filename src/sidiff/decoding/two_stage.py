"""Two-stage decoding: a warm-up of single digits, then several digits per call.

MDGR (arXiv 2601.19501, section 4.4): at each step every path fills *its own* most
confident open digits, one a step for R_warm (``warmup_steps``) steps, then m
(``digits_per_step``) at once (Eqs. 16-19); of the ways to fill them the best ``beam``
over all paths go on (Eqs. 20-23). R_warm + ceil((L - R_warm) / m) denoiser calls in
place of L; a warm-up of all digits is MDGR's serial decoder. CPD differs from that: it
chooses among the codes of all open digits of all paths at once.

``order: random`` is the paper's control: every path fills random open digits. Ours are
the merging of equal states and the constraint, as for CPD.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sidiff.decoding import beams as b
from sidiff.decoding.catalogue import Catalogue
from sidiff.decoding.parallel import fill_many, most_confident
from sidiff.decoding.results import Decoded
from sidiff.decoding.search import Search
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
    """Generate SIDs for a batch of users; arguments and result as for CPD."""
    search = Search.build(denoiser, parameters, catalogue, excluded)
    stages = parameters.parallel
    digits, filled = denoiser.config.digits, 0
    beams = b.start(len(excluded), digits, excluded.device)
    while filled < digits:
        log_p = search.log_p(beams, memory, search.constraint)
        count = 1 if filled < stages.warmup_steps else stages.digits_per_step
        count = min(count, digits - filled)
        if parameters.order == "random":
            chosen = _random_digits(beams.masked, count, parameters, filled)
        else:
            chosen = most_confident(search.allowed(log_p, filled, count), count)
        beams = fill_many(search, beams, log_p, chosen, search.constraint)
        filled += count
    return search.decoded(beams)


def _random_digits(
    masked: Tensor, count: int, parameters: DecodingParameters, filled: int
) -> Tensor:
    """Open digits by chance, ``(B, A, count)``, of paths ``(B, A, L)``.

    Drawn for each place in the beam and step, alike for all users, so that nobody's
    list depends on who else is in the batch.
    """
    generator = torch.Generator().manual_seed(parameters.seed + filled)
    drawn = torch.rand(masked.shape[1:], generator=generator).to(masked.device)
    return drawn.masked_fill(~masked, -1.0).topk(count, dim=2).indices
