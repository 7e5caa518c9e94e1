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

import torch
from torch import Tensor

from sidiff.decoding.decoders import Decoded
from sidiff.decoding.parallel import fill_many, most_confident
from sidiff.decoding.search import Search


@torch.inference_mode()
def decode(search: Search) -> Decoded:
    """Complete SIDs for each user of a batch, as of ``sidiff.decoding.cpd``."""
    parameters, stages = search.parameters, search.parameters.parallel
    beams, filled = search.start(), 0
    digits = beams.codes.shape[2]
    while filled < digits:
        log_p = search.log_p(beams)
        count = 1 if filled < stages.warmup_steps else stages.digits_per_step
        count = min(count, digits - filled)
        if parameters.order == "random":
            chosen = _random_digits(beams.masked, count, parameters.seed + filled)
        else:
            chosen = most_confident(search.allowed(log_p, filled, count), count)
        beams = fill_many(parameters, beams, log_p, chosen, search.constraint)
        filled += count
    return search.decoded(beams)


def _random_digits(masked: Tensor, count: int, seed: int) -> Tensor:
    """Open digits by chance, ``(B, A, count)``, of paths ``(B, A, L)``.

    Drawn for each place in the beam and step, alike for all users, so that nobody's
    list depends on who else is in the batch.
    """
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.rand(masked.shape[1:], generator=generator).to(masked.device)
    return drawn.masked_fill(~masked, -1.0).topk(count, dim=2).indices
