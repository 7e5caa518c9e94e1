"""Search of a batch of users: model, constraint, counters."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from sidiff.decoding.beams import Beams
from sidiff.decoding.catalogue import Catalogue, Continuations
from sidiff.decoding.decoders import Decoded
from sidiff.decoding.keys import distinct_columns, repeats
from sidiff.decoding.settings import DecodingParameters
from sidiff.diffusion.denoiser import DenoisingModel


@dataclass
class Search:
    """The input of a decoder: one batch of users.

    Attributes:
        denoiser: the trained network.
        memory: the users' encoded histories, batch size B.
        parameters: of the decoder.
        catalogue: the existing SIDs.
        excluded: excluded SIDs of each user, -1 for none, ``(B, E)``; used only under
            ``constraint: items`` and by one-pass scoring.
        calls: number of denoiser calls.
        distinct: distinct states of each user and step, summed.
        seen: states of all users and steps.
    """

    denoiser: DenoisingModel
    memory: Any
    parameters: DecodingParameters
    catalogue: Catalogue
    excluded: Tensor
    calls: int = 0
    distinct: int = 0
    seen: int = 0

    @cached_property
    def tree(self) -> Continuations | None:
        """The valid continuations; None without the constraint."""
        free = self.parameters.constraint == "none"
        return None if free else self.catalogue.continuations

    def start(self) -> Beams:
        """One fully masked SID per user."""
        shape = len(self.excluded), 1, self.denoiser.config.digits
        device = self.excluded.device
        return Beams(
            torch.zeros(shape, dtype=torch.int64, device=device),
            torch.ones(shape, dtype=torch.bool, device=device),
            torch.zeros(shape[:2], device=device),
            torch.zeros(shape[:2], dtype=torch.int64, device=device),
        )

    def log_p(self, beams: Beams) -> Tensor:
        """Log-probabilities ``(B, A, L, K)`` by the denoiser, -inf where invalid."""
        keys = beams.keys(self.denoiser.config.codebook_size)
        self.distinct += int(((keys >= 0) & ~repeats(keys)).sum())
        self.seen += int((keys >= 0).sum())
        self.calls += 1
        if self.parameters.merge != "none":
            return self._log_p(beams)
        # Unmerged beams repeat most states; the denoiser reads each distinct one once.
        first, place = distinct_columns(keys)
        log_p = self._log_p(beams.take(first, beams.scores.gather(1, first)))
        rows = place[..., None, None].expand(-1, -1, *log_p.shape[2:])
        return log_p.gather(1, rows)

    def _log_p(self, beams: Beams) -> Tensor:
        logits = self.denoiser.logits(beams.codes, beams.masked, self.memory)
        valid = beams.masked[..., None] & self.valid_steps(beams)
        return logits.log_softmax(-1).masked_fill_(~valid, -torch.inf)

    def allowed(self, log_p: Tensor, filled: int, count: int) -> Tensor:
        """Set ``log_p`` to -inf except at the next ``count`` digits of the order."""
        if self.parameters.order == "confidence":
            return log_p
        digits = log_p.shape[2]
        order = torch.arange(digits)
        if self.parameters.order == "random":
            generator = torch.Generator().manual_seed(self.parameters.seed)
            order = torch.randperm(digits, generator=generator)
        forbidden = torch.ones(digits, dtype=torch.bool)
        forbidden[order[filled : filled + count]] = False
        return log_p.masked_fill(forbidden.to(log_p.device)[:, None], -torch.inf)

    def valid_steps(self, beams: Beams) -> Tensor:
        """Mark the steps that lead to an allowed item, bool ``(B, A, L, K)``.

        Without the constraint all open digits are marked.
        """
        if self.tree is None:
            return beams.masked[..., None]
        left = self.tree.counts(beams.codes, beams.masked, beams.nodes)
        if self.excluded.shape[1]:
            digits, size = left.shape[2:]
            codes = self.catalogue.codes[self.excluded.clamp(min=0)]  # (B, E, L)
            same = codes[:, None] == beams.codes[:, :, None]  # (B, A, E, L)
            agree = (same | beams.masked[:, :, None]).all(3)
            below = agree & (self.excluded >= 0)[:, None]
            symbols = torch.arange(digits, device=codes.device) * size + codes
            symbols = symbols.flatten(1)[:, None].expand(-1, below.shape[1], -1)
            less = below[..., None].expand(*below.shape, digits).flatten(2)
            flat = left.flatten(2).scatter_add(2, symbols, -less.to(left.dtype))
            left = flat.view_as(left)
        return left > 0

    def decoded(self, beams: Beams) -> Decoded:
        """The result of a search that has filled every digit."""
        distinct = self.distinct / self.seen
        return Decoded(beams.codes, beams.scores, self.calls, distinct)
