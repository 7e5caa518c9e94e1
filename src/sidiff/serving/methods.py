"""The ways in which one bundle makes lists, by name: the seam to the ranking code.

A user's list does not depend on who shares the batch. Histories are always padded to
the longest one the network knows, and a batch has four users or more: matrix products
of fewer rows, and sums over keys of another length, round differently in the last bit.

Symbols: B users, T history, E excluded items, k places, L digits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sidiff.decoding.catalogue import Catalogue
from sidiff.decoding.lattice import Lattice
from sidiff.decoding.ranking import rank_items
from sidiff.decoding.trace import trace
from sidiff.decoding.transitions import Followers, Transitions
from sidiff.diffusion.denoiser import Denoiser, ItemTable
from sidiff.errors import SidiffError
from sidiff.parameters import DecodingParameters, EvaluationParameters
from sidiff.serving.bundle import Bundle
from sidiff.serving.lists import Paths

BY_ITEMS = ("mixture", "items")
BY_SEARCH = ("cpd", "two_stage", "adaptive", "one_pass")
FEWEST_USERS = 4
"""Of a batch that goes through the network."""


class Histories(NamedTuple):
    """The histories of a batch of users, on the device.

    Attributes:
        items: item indices, oldest first, right-padded with any item, ``(B, T)``.
        lengths: real items ``(B,)``.
    """

    items: Tensor
    lengths: Tensor


@dataclass(frozen=True)
class Made:
    """Lists of a batch, and how they came about.

    Attributes:
        items: item indices ``(B, k)``, -1 at an empty place.
        scores: ``(B, k)``, -inf there.
        chain: the Markov chain's part of each item's probability ``(B, k)``, from 0 to
            1; None where the method knows no chain.
        filled_up: users whose search found fewer than k items, ``(B,)`` bool.
    """

    items: Tensor
    scores: Tensor
    chain: Tensor | None
    filled_up: Tensor


def settings_of(evaluation: EvaluationParameters) -> dict[str, Any]:
    """What of the evaluation's settings decides over lists, for a bundle."""
    return {
        "decoding": evaluation.decoding.model_dump(),
        "precision": evaluation.precision,
        "threads": evaluation.threads,
    }


class Methods:
    """A network, its catalogue, and every way to rank the one by the other."""

    def __init__(self, bundle: Bundle, device: torch.device) -> None:
        """Lay everything out on ``device``."""
        settings: Mapping[str, Any] = bundle.ranking
        table = bundle.table
        weights = {name: torch.from_numpy(a) for name, a in bundle.weights.items()}
        self.denoiser = Denoiser.from_saved(weights, bundle.network).to(device)
        self.denoiser.precision = settings["precision"]
        self.denoiser.requires_grad_(requires_grad=False)
        self.device = device
        self.max_history = self.denoiser.config.max_history
        self.items = ItemTable(
            torch.from_numpy(table.codes.astype(np.int64)).to(device),
            torch.from_numpy(bundle.items["identity"].to_numpy().copy()).to(device),
        )
        lattice = None
        if bundle.lattice:
            shape = {"digits": table.digits, "codes_per_digit": table.codes_per_digit}
            lattice = Lattice.from_tensors(bundle.lattice, shape)
        counts = bundle.items["training_count"].to_numpy()
        self._counts = torch.from_numpy(counts.copy()).to(device)
        self.catalogue = Catalogue(
            table.groups(), table.codes_per_digit, counts, device, lattice
        )
        identified = bool(self.denoiser.config.identified_items)
        with torch.inference_mode():
            self.vectors = self._vectors()
        self.catalogue.item_vectors = self.vectors if identified else None
        self._decoding = DecodingParameters.model_validate(settings["decoding"])
        self._chain: Transitions | None = None
        if bundle.chain:
            arrays = {
                n: torch.from_numpy(a).to(device) for n, a in bundle.chain.items()
            }
            self._chain = Transitions(**arrays)
        by_items = BY_ITEMS if self._chain is not None else BY_ITEMS[1:]
        self.names = (*(by_items if identified else ()), *BY_SEARCH)
        configured: str = self._decoding.method
        if configured == "item_vectors":
            share = self._decoding.transitions.share
            configured = "mixture" if share and self._chain is not None else "items"
        self.default = configured

    def rank(
        self,
        name: str,
        histories: Histories,
        excluded: Tensor,
        k: int,
        catalogue: Catalogue,
    ) -> Made:
        """Rank items for users with a history.

        Args:
            name: one of ``names``.
            histories: of the users, padded to ``max_history``.
            excluded: item indices that a user must not get, -1 for none, ``(B, E)``.
            k: length of the lists.
            catalogue: ``self.catalogue`` or a restriction of it.
        """
        parameters = self._parameters(name)
        users = len(histories.lengths)
        if users < FEWEST_USERS:
            rows = torch.arange(FEWEST_USERS, device=self.device) % users
            histories = Histories(histories.items[rows], histories.lengths[rows])
            excluded = excluded[rows]
        followers = None
        if self._chain is not None and parameters.transitions.share:
            followers = self._chain.after(*histories, parameters.transitions)
        ranked = rank_items(
            self.denoiser,
            self.encode(histories),
            parameters,
            catalogue,
            excluded,
            k,
            followers,
        )
        chain = None
        if followers is not None and parameters.method == "item_vectors":
            chain = _part_of(followers, ranked.items, ranked.scores, parameters)
        return Made(
            ranked.items[:users],
            ranked.scores[:users],
            None if chain is None else chain[:users],
            ranked.completed[:users],
        )

    def encode(self, histories: Histories) -> Any:
        """The network's memory of the histories."""
        items, lengths = histories
        identities = self.items.identities[items]
        return self.denoiser.encode(self.items.codes[items], lengths, identities)

    def popular(self, k: int, catalogue: Catalogue) -> tuple[Tensor, Tensor]:
        """The items most frequent in training ``(k,)`` and their log-probabilities.

        Add-one smoothed, so that an item that nobody had is possible as well.
        """
        order = catalogue.by_popularity
        counts = self._counts.double() + 1.0
        if catalogue.allowed_items is not None:
            order = order[catalogue.allowed_items[order]]
        items = order[:k]
        return items, (counts[items] / counts.sum()).log().float()

    def check(self, name: str) -> None:
        """Refuse a method that this bundle does not have.

        Raises:
            SidiffError: names those it has.
        """
        if name not in self.names:
            raise SidiffError(
                f"This bundle has no decoder {name}; choose one of "
                f"{', '.join(self.names)}."
            )

    def has_chain(self, name: str) -> bool:
        """Whether the Markov chain has a part in the lists of a method."""
        return name == "mixture"

    def note_paths(
        self,
        paths: Paths,
        users: NDArray[np.int64],
        histories: Histories,
        items: Tensor,
    ) -> None:
        """Write down how the network denoises the items of lists.

        Args:
            paths: where, rows of users.
            users: the rows ``(B,)``.
            histories: theirs.
            items: their lists ``(B, k)``; what stands at an empty place has no meaning.
        """
        sids = self.items.codes[items.clamp(min=0)]
        found = trace(self.denoiser, self.encode(histories), sids, paths.codes.shape[3])
        paths.digits[users] = found.digits.cpu().numpy()
        paths.filled[users] = sids.gather(2, found.digits).cpu().numpy()
        paths.log_p[users] = found.log_p.cpu().numpy()
        paths.codes[users] = found.codes.cpu().numpy()
        paths.codes_log_p[users] = found.codes_log_p.cpu().numpy()

    def no_paths(self, users: int, k: int, runners_up: int) -> Paths:
        """Room for what ``note_paths`` writes."""
        config = self.denoiser.config
        shape = users, k, config.digits
        others = (*shape, min(runners_up, config.codes_per_digit))
        return Paths(
            np.zeros(shape, dtype=np.int64),
            np.zeros(shape, dtype=np.int64),
            np.zeros(shape, dtype=np.float32),
            np.zeros(others, dtype=np.int64),
            np.zeros(others, dtype=np.float32),
        )

    def _parameters(self, name: str) -> DecodingParameters:
        if name == self.default:
            return self._decoding
        own = self._decoding
        transitions = own.transitions.model_dump()
        if name == "items":
            transitions["share"] = 0.0
        return own.model_copy(
            update={
                "method": "item_vectors" if name in BY_ITEMS else name,
                "rescoring": own.rescoring.model_copy(update={"items": 0}),
                "transitions": type(own.transitions).model_validate(transitions),
            }
        )

    def _vectors(self) -> Tensor:
        """Vectors of items ``(N, d)`` whose angles say how alike two items are.

        Those of the network where it knows whole items, else those of the items'
        codes side by side.
        """
        if self.denoiser.config.identified_items:
            return self.denoiser.item_vectors(self.items)
        rows = self.items.codes + self.denoiser.first_row
        return self.denoiser.codes[rows].flatten(1)


def _part_of(
    followers: Followers, items: Tensor, scores: Tensor, parameters: DecodingParameters
) -> Tensor:
    """Of the chain in each item's probability ``exp(score)``, ``(B, k)``."""
    part = parameters.transitions.share * followers.share_of(items.clamp(min=0))
    return (part / scores.exp()).nan_to_num(0.0, 0.0, 0.0).clamp(0.0, 1.0)
