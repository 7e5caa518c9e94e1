"""Settings of how a user's list is made."""

from __future__ import annotations

from typing import Literal, Self

from sidiff.decoding.settings import DecodingParameters
from sidiff.parameters import Chance, Count, Parameters, Share


class MarkovParameters(Parameters):
    """What followed a user's last items in training."""

    items: Count
    decay: Share
    successors: Count


class MixtureParameters(Parameters):
    """A model and the Markov chain in one probability."""

    share: Chance


class RankingParameters(DecodingParameters):
    """How a network makes a user's list, and the search where it is one."""

    method: Literal["mixture", "items", "cpd", "two_stage", "adaptive", "one_pass"]

    @property
    def by_items(self) -> bool:
        """Whether it ranks by item vectors, which not every network has."""
        return self.method in ("mixture", "items")

    @classmethod
    def of(cls, method: str, decoding: DecodingParameters) -> Self:
        """Search settings and the method that makes a list of them."""
        return cls.model_validate({"method": method, **decoding.model_dump()})
