"""Settings of the methods that rank items."""

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
"""Methods that rank by a posterior over items; other networks lack one."""
Method = Annotated[str, Choice(*BY_ITEMS, DECODERS)]
"""A method that ranks items by a network."""


class MarkovParameters(Parameters):
    """The Markov chain of a user's last items."""

    items: Count
    decay: Share
    successors: Count


class TransitionParameters(Parameters):
    """Weight and scale of the Markov chain in an item's energy, see ``ItemRanker``."""

    weight: Annotated[float, Field(ge=0)]
    scale: AboveZero


class RankingParameters(DecodingParameters):
    """The method of a ranking, and the settings of its search."""

    method: Method

    @property
    def needs_posterior(self) -> bool:
        """Test that the method ranks whole items, by their vectors."""
        return self.method in BY_ITEMS

    @classmethod
    def of(cls, method: str, decoding: DecodingParameters) -> Self:
        """The settings of a search and its method."""
        return cls.model_validate({"method": method, **decoding.model_dump()})
