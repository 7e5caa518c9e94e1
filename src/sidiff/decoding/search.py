"""A search in progress: whom it is for, what it asked of the denoiser so far."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sidiff.decoding.beams import Beams
from sidiff.decoding.catalogue import Catalogue
from sidiff.decoding.constraint import Constraint
from sidiff.decoding.keys import Distinct, repeats
from sidiff.decoding.results import Decoded
from sidiff.decoding.settings import DecodingParameters
from sidiff.diffusion.denoiser import DenoisingModel


@dataclass
class Search:
    """One batch of users under search.

    Attributes:
        denoiser: the trained network.
        parameters: of the decoder.
        constraint: which steps are valid; None for all.
        order: digits that each of L steps may fill, ``(L, L)`` bool.
        calls: denoiser calls, each counted once per user it was made for.
        distinct: distinct states among the ``seen`` ones.
        seen: states given to the denoiser.
    """

    denoiser: DenoisingModel
    parameters: DecodingParameters
    constraint: Constraint | None
    order: Tensor
    calls: int = 0
    distinct: int = 0
    seen: int = 0

    @classmethod
    def build(
        cls,
        denoiser: DenoisingModel,
        parameters: DecodingParameters,
        catalogue: Catalogue,
        excluded: Tensor,
    ) -> Search:
        """A search that has not begun; arguments as for a decoder."""
        return cls(
            denoiser,
            parameters,
            Constraint.build(parameters, catalogue, excluded),
            _allowed_digits(denoiser.config.digits, parameters, excluded.device),
        )

    def log_p(self, beams: Beams, memory: Any, constraint: Constraint | None) -> Tensor:
        """Ask the denoiser: log-probabilities ``(B, A, L, K)``, -inf where invalid.

        Args:
            beams: the states of B users.
            memory: their histories.
            constraint: theirs.
        """
        keys = beams.keys(self.denoiser.config.codebook_size)
        self.distinct += int(((keys >= 0) & ~repeats(keys)).sum())
        self.seen += int((keys >= 0).sum())
        self.calls += len(keys)
        if self.parameters.merge != "none":
            return self._log_p(beams, memory, constraint)
        # Unmerged beams hold most states several times; each is looked at once.
        states = Distinct.of(keys)
        first = beams.take(states.first, beams.scores.gather(1, states.first))
        log_p = self._log_p(first, memory, constraint)
        rows = states.place[..., None, None].expand(-1, -1, *log_p.shape[2:])
        return log_p.gather(1, rows)

    def _log_p(
        self, beams: Beams, memory: Any, constraint: Constraint | None
    ) -> Tensor:
        logits = self.denoiser.logits(beams.codes, beams.masked, memory)
        valid = beams.masked[..., None]
        if constraint is not None:
            valid = valid & constraint.valid_steps(beams)
        return logits.log_softmax(-1).masked_fill_(~valid, -torch.inf)

    def allowed(self, log_p: Tensor, filled: int, count: int) -> Tensor:
        """``log_p``, -inf at digits that are not among the ``count`` next ones."""
        if self.parameters.order == "confidence":
            return log_p
        digits = self.order[filled : filled + count].any(0)
        return log_p.masked_fill(~digits[:, None], -torch.inf)

    def decoded(self, beams: Beams) -> Decoded:
        """The outcome of a search that has filled every digit."""
        users = len(beams.scores)
        return Decoded(
            beams.codes, beams.scores, self.calls / users, self.distinct / self.seen
        )


def _allowed_digits(
    digits: int, parameters: DecodingParameters, device: torch.device
) -> Tensor:
    """Digits that may be filled at each step, ``(L, L)`` bool."""
    if parameters.order == "confidence":
        return torch.ones(digits, digits, dtype=torch.bool, device=device)
    order = torch.arange(digits)
    if parameters.order == "random":
        generator = torch.Generator().manual_seed(parameters.seed)
        order = torch.randperm(digits, generator=generator)
    return torch.eye(digits, dtype=torch.bool)[order].to(device)
