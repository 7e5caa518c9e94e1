"""Settings of how a user's list is made."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field

from sidiff.decoding.decoders import DECODERS
from sidiff.decoding.settings import DecodingParameters
from sidiff.parameters import AboveZero, Count, Parameters, Share
from sidiff.registry import Choice

WITH_TRANSITIONS = "items_markov"
"""The method that adds the Markov chain to the energies of items."""
BY_ITEMS = (WITH_TRANSITIONS, "items")
"""Methods that rank by a posterior over items, which not every network has."""
Method = Annotated[str, Choice(*BY_ITEMS, DECODERS)]
"""A way to make lists by a network."""


class MarkovParameters(Parameters):
    """The Markov chain of a user's last items."""

    items: Count
    decay: Share
    successors: Count


class TransitionParameters(Parameters):
    """The part of the Markov chain in an item's energy, see ``ItemRanker``."""

    weight: Annotated[float, Field(ge=0)]
    scale: AboveZero


class RankingParameters(DecodingParameters):
    """The making of a user's list by a network, and the search where it is one."""

    method: Method

    @property
    def by_items(self) -> bool:
        """Test that it ranks by item vectors, which not every network has."""
        return self.method in BY_ITEMS

    @classmethod
    def of(cls, method: str, decoding: DecodingParameters) -> Self:
        """Search settings and the method that makes a list of them."""
        return cls.model_validate({"method": method, **decoding.model_dump()})
