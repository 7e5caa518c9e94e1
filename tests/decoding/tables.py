"""A denoiser that is a table of random numbers, for oracles."""

from __future__ import annotations

import math
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from sidiff.decoding.decoders import Decoded
from sidiff.decoding.settings import DecodingParameters
from sidiff.reference import Search, Sid, State

USERS = 4


class Memory:
    """Histories of whom nothing is known but who they are."""

    def __init__(self, users: Tensor) -> None:
        self.users = users
        self.bias = torch.zeros(len(users), 1, 1, 1)

    def take(self, rows: Tensor) -> Memory:
        return Memory(self.users[rows])


class TableModel:
    """Random but fixed logits for every user and every partial SID."""

    def __init__(
        self, seed: int, spread: float = 2.0, digits: int = 3, codes: int = 4
    ) -> None:
        generator = torch.Generator().manual_seed(seed)
        shape = (USERS, (codes + 1) ** digits, digits, codes)
        self.table = spread * torch.randn(shape, generator=generator)
        self.config = SimpleNamespace(digits=digits, codebook_size=codes)
        self.memory = Memory(torch.arange(USERS))
        self.radix = (codes + 1) ** torch.arange(digits)
        self.states_seen: list[Tensor] = []
        self.masks_seen: list[Tensor] = []

    def logits(self, codes: Tensor, masked: Tensor, memory: Memory) -> Tensor:
        symbols = torch.where(masked, self.config.codebook_size, codes)
        state = (symbols * self.radix).sum(-1)
        self.states_seen.append(state)
        self.masks_seen.append(masked)
        return self.table[memory.users[:, None], state]

    def log_p(self, user: int, state: State, digit: int, code: int) -> float:
        mask = self.config.codebook_size
        symbols = torch.tensor([mask if c is None else c for c in state])
        index = int((symbols * self.radix).sum())
        return float(self.table[user, index, digit].log_softmax(-1)[code])

    def search(
        self, user: int, p: DecodingParameters, sids: list[Sid] | None = None
    ) -> Search:
        """The reference's search of a user, among ``sids`` if these are given."""
        return Search(
            partial(self.log_p, user),
            self.config.digits,
            self.config.codebook_size,
            p.beam,
            p.merge != "none",
            sids if p.constraint == "items" else None,
        )


def listed(decoded: Decoded, user: int) -> list[tuple[tuple[int, ...], float]]:
    """The SIDs of a user with their scores, unused slots left out."""
    pairs = zip(
        decoded.codes[user].tolist(), decoded.scores[user].tolist(), strict=True
    )
    return [(tuple(codes), score) for codes, score in pairs if score > -math.inf]


def assert_same(actual: list, expected: list) -> None:
    """Equal SIDs in equal order with equal scores."""
    assert [sid for sid, _ in actual] == [sid for sid, _ in expected]
    assert [s for _, s in actual] == pytest.approx([s for _, s in expected], abs=1e-4)
