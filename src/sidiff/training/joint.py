"""The training of the joint denoiser: every position of a sequence is a target.

    loss = mean over positions of  -log pi(i* | all masked, h)
           + partial_weight x mean over partial views of  -log pi(i* | y_S, h)

The first term trains the list that a user gets, in one causal pass over each user's
sequence. The second one trains what a search asks: at one position of each sequence,
drawn evenly, with digits filled as the recipe's noising says.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from sidiff.decoding.inverted_index import InvertedIndex
from sidiff.decoding.posterior import candidate_log_p
from sidiff.diffusion.blocks import Packing
from sidiff.diffusion.histories import Positions, SampleBatch
from sidiff.diffusion.item_softmax import item_softmax_loss, repeat_additions
from sidiff.diffusion.joint import ItemTable, JointConfig, JointDenoiser, JointMemory
from sidiff.diffusion.objective import Loss
from sidiff.reviews.sequences import sequence_rows, training_items
from sidiff.training.denoising import DenoiserTask, Job


class JointTask(DenoiserTask):
    """The joint denoiser and its loss.

    Attributes:
        joint: the network, in training.
        known: the items that were there in training; those of the softmax.
    """

    def __init__(self, job: Job) -> None:
        """Draw the weights and lay the data out."""
        table = job.table
        rows = sequence_rows(job.sequences, job.max_history)
        marked = training_items(rows, job.sequences)
        config = JointConfig.build(
            job.parameters.network,
            table.digits,
            table.codebook_size,
            job.max_history,
            residual_items=int(marked.sum()),
        )
        self.joint = JointDenoiser(config)
        residual = marked if config.residual_items else None
        super().__init__(job, self.joint, rows, residual)
        items = self.histories.table
        known = torch.from_numpy(np.flatnonzero(marked)).to(self.device)
        self.known = ItemTable(items.codes[known], items.residuals[known])
        self._place_of_item = torch.from_numpy(marked.cumsum() - 1).to(self.device)
        self._inverted = InvertedIndex.build(self.known.codes, table.codebook_size)

    def loss(self, samples: Tensor, progress: float) -> Loss:
        """Cross-entropy of all positions, and that of partial views."""
        network, batch = self.joint, self.histories.gather(samples)
        # Items as indices into the known ones.
        batch = replace(
            batch,
            history_items=self._place_of_item[batch.history_items],
            target_items=self._place_of_item[batch.target_items],
        )
        vectors = network.item_vectors(self.known)
        states, packing = network.hidden_states(
            F.embedding(batch.history_items, vectors), batch.lengths
        )
        positions = Positions.of(batch)
        own = states[: packing.tokens]
        additions = repeat_additions(
            network.repeat_gate(own), positions, batch.history_items, len(vectors)
        )
        total = item_softmax_loss(own, vectors, positions.targets, additions)
        weight = total.new_tensor(float(len(own)))
        share = self.parameters.partial_weight
        if share:
            partial = self._partial_views(batch, positions, states, packing, progress)
            total = total + share * weight * partial
        return Loss(total, weight)

    def _partial_views(
        self,
        batch: SampleBatch,
        positions: Positions,
        states: Tensor,
        packing: Packing,
        progress: float,
    ) -> Tensor:
        """Mean loss at one position of each sequence, with some digits filled."""
        size = len(batch.lengths)
        draws = torch.rand(size, generator=self.noise, device=self.device)
        ends = 1 + (draws * batch.lengths).long().clamp(max=batch.lengths - 1)
        first = batch.lengths.cumsum(0) - batch.lengths
        targets = positions.targets[first + ends - 1]
        codes = self.known.codes[targets]
        memory = self.joint.memory(states, packing, batch.history_items, ends)
        masked = self.mask(codes, batch.history, ends, memory, progress)
        views = codes[:, None].expand_as(masked)
        loss = partial_views_loss(
            self.joint, views, masked, memory, targets, self.known, self._inverted
        )
        return loss.total / loss.weight.clamp(min=1.0)


def partial_views_loss(
    network: JointDenoiser,
    codes: Tensor,
    masked: Tensor,
    memory: JointMemory,
    targets: Tensor,
    items: ItemTable,
    inverted: InvertedIndex,
) -> Loss:
    """Cross-entropy of the true items among those that agree with partial SIDs.

    Args:
        network: in training.
        codes: true codes ``(B, V, L)``.
        masked: ``(B, V, L)`` bool; fully masked views count nothing.
        memory: the histories before the targets.
        targets: ``(B,)``, indices into ``items``.
        items: those that were there in training.
        inverted: index of their codes.
    """
    owner, item = inverted.agreeing(codes, masked)
    log_pi = candidate_log_p(network, codes, masked, memory, (owner, item), items)
    true = item == targets[owner // codes.shape[1]]
    count = (~masked.all(2)).sum()
    return Loss(-log_pi[true].sum(), count.to(log_pi.dtype))
