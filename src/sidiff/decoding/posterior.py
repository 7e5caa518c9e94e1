"""The joint denoiser's posterior over a catalogue, and its marginals over codes.

At a state only the items that agree with it compete. The probability of a code is the
sum of its items' probabilities. So a search that fills one digit after the other finds
existing SIDs only, and the product of its steps is the probability of an item.

Symbols: as in ``sidiff.diffusion.joint``; C pairs of a state, numbered through
``(B, V)``, and an item that agrees with it.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from sidiff.decoding.inverted_index import InvertedIndex
from sidiff.diffusion.histories import HistoryBatch
from sidiff.diffusion.item_softmax import gated
from sidiff.diffusion.joint import ItemTable, JointConfig, JointDenoiser, JointMemory
from sidiff.onednn import linear


class Posterior:
    """A joint denoiser over one catalogue, as a ``DenoisingModel``."""

    def __init__(self, network: JointDenoiser, items: ItemTable) -> None:
        """Index the catalogue.

        Args:
            network: in evaluation mode.
            items: codes and residual rows of the N items.
        """
        self.network = network
        self.config: JointConfig = network.config
        self.items = items
        self.inverted = InvertedIndex.build(items.codes, network.config.codebook_size)
        with torch.no_grad():
            self.vectors = network.item_vectors(items)

    def encode(self, batch: HistoryBatch) -> JointMemory:
        """Encode the histories of a batch."""
        x = F.embedding(batch.history_items, self.vectors)
        hidden, packing = self.network.hidden_states(x, batch.lengths)
        return self.network.memory(hidden, packing, batch.history_items, batch.lengths)

    def energies(self, memory: JointMemory, items: Tensor) -> Tensor:
        """Fully masked energies of a slice of items ``(n,)``, ``(B, n)``."""
        energies = linear(memory.users, self.vectors.index_select(0, items))
        gates = self.network.repeat_gate(memory.users)
        return gated(energies, gates, memory.history_items, items, len(self.vectors))

    def logits(self, codes: Tensor, masked: Tensor, memory: JointMemory) -> Tensor:
        """Log-probabilities of codes ``(B, V, L, K)``; -inf for codes without items.

        They are all 0 where no item agrees with the state.

        Args:
            codes: ``(B, V, L)`` int64; values at masked digits are ignored.
            masked: ``(B, V, L)`` bool; either all states are fully masked, or none is.
            memory: the users' histories.
        """
        digits, size = self.config.digits, self.config.codebook_size
        shape = (*codes.shape[:2], digits, size)
        first = torch.arange(digits, device=codes.device) * size
        places = self.items.codes + first
        total = torch.zeros(shape, dtype=torch.float64, device=codes.device)
        if bool(masked.all()):
            all_items = torch.arange(len(places), device=codes.device)
            pi = self.energies(memory, all_items).double().softmax(1)
            flat = total[:, 0].flatten(1)
            for column in places.T:
                flat.index_add_(1, column, pi)
            total = flat.view(len(codes), 1, digits, size).expand(shape)
        else:
            owner, item = self.inverted.agreeing(codes, masked)
            log_pi = candidate_log_p(
                self.network, codes, masked, memory, (owner, item), self.items
            )
            place = owner[:, None] * (digits * size) + places[item]
            mass = log_pi.double().exp()[:, None].expand_as(place)
            total.view(-1).index_add_(0, place.flatten(), mass.flatten())
        # A softmax over a row of -inf would be NaN, which topk ranks first.
        empty = total.sum(-1, keepdim=True) == 0
        return total.masked_fill(empty, 1.0).log().float()


def candidate_log_p(
    network: JointDenoiser,
    codes: Tensor,
    masked: Tensor,
    memory: JointMemory,
    pairs: tuple[Tensor, Tensor],
    items: ItemTable,
) -> Tensor:
    """Log-probabilities ``(C,)`` of items among those that agree with a state.

    Args:
        network: the joint denoiser.
        codes: of the states ``(B, V, L)``.
        masked: ``(B, V, L)`` bool.
        memory: the users' histories.
        pairs: states ``(C,)`` and items ``(C,)`` of all pairs that agree.
        items: codes and residual rows.
    """
    owner, item = pairs
    views, digits = codes.shape[1:]
    # Filled digits add the same to every item that agrees.
    scores = network.logits(codes, masked, memory) * masked[..., None]
    symbols = items.codes[item] + network.first_row
    each = digits * network.config.codebook_size
    energies = scores.flatten()[owner[:, None] * each + symbols].sum(1)
    user = owner // views
    users = memory.users
    residuals = network.residual_vectors(items.residuals[item])
    energies = energies + (users[user] * residuals).sum(1)
    gate = network.repeat_gate(users)[user]
    repeated = _in_history(memory.history_items, user, item, len(items.codes))
    energies = energies + gate * repeated
    return energies - _grouped_logsumexp(energies, owner, codes.shape[0] * views)[owner]


def _in_history(history: Tensor, user: Tensor, item: Tensor, size: int) -> Tensor:
    """Mark the pairs ``(C,)`` whose item is in the user's history.

    Args:
        history: items of the histories, -1 for none, ``(B, T)``.
        user: row of ``history`` ``(C,)``.
        item: ``(C,)``.
        size: number of items N.
    """
    rows = torch.arange(len(history), device=history.device)[:, None] * (size + 1)
    known = (rows + history + 1).flatten().sort().values
    keys = user * (size + 1) + item + 1
    place = torch.searchsorted(known, keys).clamp(max=len(known) - 1)
    return known[place] == keys


def _grouped_logsumexp(values: Tensor, group: Tensor, count: int) -> Tensor:
    """Log of the summed exponentials of each group ``(count,)``."""
    top = values.new_full((count,), -torch.inf)
    top = top.scatter_reduce(0, group, values.detach(), "amax", include_self=True)
    shifted = (values - top[group]).exp()
    return values.new_zeros(count).index_add(0, group, shifted).log() + top
