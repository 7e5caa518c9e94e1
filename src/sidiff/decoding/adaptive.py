"""Adaptive decoding: easy users cost fewer denoiser calls.

Beyond the papers. After each call a user's best state says how many digits it is sure
of: those whose most probable code has more than ``threshold``. So many, the most
probable first, are filled in all the user's beams without asking again, at least one;
a single one is filled as by CPD. A user whose SIDs are complete leaves the batch.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from sidiff.decoding.beams import Beams
from sidiff.decoding.cpd import fill_one
from sidiff.decoding.decoders import Decoded
from sidiff.decoding.parallel import fill_many, most_confident
from sidiff.decoding.search import Search


@torch.inference_mode()
def decode(search: Search) -> Decoded:
    """Complete SIDs for each user of a batch, as of ``sidiff.decoding.cpd``."""
    parameters = search.parameters.model_copy(update={"order": "confidence"})
    search = replace(search, parameters=parameters)
    beams = search.start()
    digits = beams.codes.shape[2]
    users = torch.arange(len(beams.codes), device=beams.codes.device)  # under search
    filled = torch.zeros_like(users)
    finished: list[tuple[Tensor, Beams]] = []
    while len(users):
        log_p = search.log_p(beams)
        count = _sure_digits(search, log_p, filled)
        parts = []
        # At most L kinds of users, however many users.
        for kind in (filled * (digits + 1) + count).unique().tolist():
            before, more = divmod(kind, digits + 1)
            rows = ((filled == before) & (count == more)).nonzero()[:, 0]
            parts.append((rows, _fill(search, beams, log_p, rows, before, more)))
        beams = _in_order(parts)
        filled = filled + count
        done = filled == digits
        if bool(done.any()):
            finished.append((users[done], _rows(beams, done)))
            left = (~done).nonzero()[:, 0]
            users, filled, beams = users[left], filled[left], _rows(beams, left)
            search.keep(left)
    return search.decoded(_in_order(finished))


def _sure_digits(search: Search, log_p: Tensor, filled: Tensor) -> Tensor:
    """Digits to fill in one go, ``(B,)``, at least 1."""
    stages = search.parameters.parallel
    sure = log_p[:, 0].amax(-1).exp() > stages.threshold
    count = torch.where(filled < stages.warmup_steps, 1, sure.sum(1).clamp(min=1))
    # A user who may get nothing has states that mean nothing; they end all the same.
    return count.minimum(log_p.shape[2] - filled)


def _fill(
    search: Search, beams: Beams, log_p: Tensor, rows: Tensor, filled: int, count: int
) -> Beams:
    """The children of some users, all of whom fill as many digits; ``beam`` slots."""
    beams, log_p = _rows(beams, rows), log_p[rows]
    if count == 1:
        children = fill_one(search, beams, log_p, filled)
    else:
        digits = most_confident(log_p, count)
        theirs = search.constraint.take(rows)
        children = fill_many(search.parameters, beams, log_p, digits, theirs)
    missing = search.parameters.beam - children.scores.shape[1]
    return Beams(
        F.pad(children.codes, (0, 0, 0, missing)),
        F.pad(children.masked, (0, 0, 0, missing)),
        F.pad(children.scores, (0, missing), value=-torch.inf),
        F.pad(children.nodes, (0, missing)),
    )


def _rows(beams: Beams, users: Tensor) -> Beams:
    return Beams(*(tensor[users] for tensor in beams))


def _in_order(parts: list[tuple[Tensor, Beams]]) -> Beams:
    """The beams of all users, of parts that each say whose theirs are."""
    users, beams = zip(*parts, strict=True)
    joined = Beams(*(torch.cat(tensors) for tensors in zip(*beams, strict=True)))
    return _rows(joined, torch.cat(users).argsort())
