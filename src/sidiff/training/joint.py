"""The objective of the joint denoiser: every position of a sequence is a target.

    loss = mean over positions of  -log pi(i* | all masked, h)
           + partial_weight x mean over views of  -log pi(i* | x_S, h)

The first term trains the list that a user gets, in one causal pass over each user's
sequence. The second one trains what a search asks: one position of each user, with
digits filled as the recipe's noising says.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from sidiff.decoding.keys import slices
from sidiff.decoding.posterior import agreeing_items, candidate_log_p
from sidiff.decoding.postings import Postings
from sidiff.diffusion.denoiser import ItemTable, Packing
from sidiff.diffusion.histories import HistoryBatch
from sidiff.diffusion.item_softmax import Additions, item_softmax_loss
from sidiff.diffusion.joint import JointDenoiser, JointMemory
from sidiff.diffusion.objective import Loss


class Positions(NamedTuple):
    """All positions of a batch of sequences, sequence by sequence.

    Attributes:
        owner: row of the batch ``(n,)``.
        slot: place of the last item of the history ``(n,)``.
        targets: the item that followed ``(n,)``.
    """

    owner: Tensor
    slot: Tensor
    targets: Tensor

    @classmethod
    def of(cls, batch: HistoryBatch, packing: Packing) -> Positions:
        """The positions of histories and their targets."""
        owner = packing.owner[: packing.tokens]
        slot = packing.slot[: packing.tokens]
        following = batch.history_items.roll(-1, dims=1)
        last = (batch.lengths - 1)[:, None]
        following = following.scatter(1, last, batch.target_items[:, None])
        return cls(owner, slot, following[owner, slot])


def repeat_additions(
    gates: Tensor, positions: Positions, history: Tensor, size: int
) -> Additions:
    """The gate at every item that a user had before a position.

    Args:
        gates: one per position ``(n,)``.
        positions: where histories end.
        history: items, oldest first, ``(B, T)``.
        size: number of items.
    """
    first = positions.owner * history.shape[1]
    row, place = slices(first, positions.slot + 1)
    keys = (row * size + history.flatten()[place]).unique()
    rows = keys // size
    return Additions(rows, keys % size, gates[rows])


def all_positions_loss(
    network: JointDenoiser,
    batch: HistoryBatch,
    items: ItemTable,
    states: Tensor,
    positions: Positions,
) -> Loss:
    """Cross-entropy of every next item among all ``items``, fully masked.

    Args:
        network: in training.
        batch: sequences; their items are indices into ``items``.
        items: those that were there in training.
        states: of the positions ``(n, d)``.
        positions: of the batch.
    """
    gates = network.repeat_gate(states)
    additions = repeat_additions(
        gates, positions, batch.history_items, len(items.codes)
    )
    vectors = network.item_vectors(items)
    total = item_softmax_loss(states, vectors, positions.targets, additions)
    return Loss(total, total.new_tensor(float(len(states))))


def partial_views_loss(
    network: JointDenoiser,
    codes: Tensor,
    masked: Tensor,
    memory: JointMemory,
    targets: Tensor,
    items: ItemTable,
    postings: Postings,
) -> Loss:
    """Cross-entropy of the true items among those that agree with partial SIDs.

    Args:
        network: in training.
        codes: true codes ``(B, V, L)``.
        masked: ``(B, V, L)`` bool; fully masked views count nothing.
        memory: the histories before the targets.
        targets: ``(B,)``, indices into ``items``.
        items: those that were there in training.
        postings: of their codes.
    """
    pairs = agreeing_items(postings, codes, masked)
    log_pi = candidate_log_p(network, codes, masked, memory, pairs, items)
    owner, item = pairs
    true = item == targets[owner // codes.shape[1]]
    count = (~masked.all(2)).sum()
    return Loss(-log_pi[true].sum(), count.to(log_pi.dtype))
