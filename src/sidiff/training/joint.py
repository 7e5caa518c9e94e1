"""Training task of the joint denoiser: every position of a sequence is a target.

    loss = mean over positions of  -log pi(i* | all masked, h)
           + partial_weight x mean over partial views of  -log pi(i* | y_S, h)

The first term trains the ranking of items, by one causal pass over each sequence. The
second one trains the partial states of a search: one position of each sequence, drawn
uniformly, with the digits left by the noising.
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
        joint: the network in training.
        known: the items of the training data, over which the softmax goes.
    """

    def __init__(self, job: Job) -> None:
        """Initialise the weights and prepare the data."""
        table = job.table
        rows = sequence_rows(job.sequences, job.max_history)
        in_training = training_items(rows, job.sequences)
        config = JointConfig.build(
            job.parameters.network,
            table.digits,
            table.codebook_size,
            job.max_history,
            residual_items=int(in_training.sum()),
        )
        self.joint = JointDenoiser(config)
        residual = in_training if config.residual_items else None
        super().__init__(job, self.joint, rows, residual)
        items = self.histories.table
        known = torch.from_numpy(np.flatnonzero(in_training)).to(self.device)
        self.known = ItemTable(items.codes[known], items.residuals[known])
        self._known_index = torch.from_numpy(in_training.cumsum() - 1).to(self.device)
        self._inverted = InvertedIndex.build(self.known.codes, table.codebook_size)

    def loss(self, samples: Tensor, progress: float) -> Loss:
        """Cross-entropy of all positions, and of partial views."""
        network, batch = self.joint, self.histories.gather(samples)
        batch = replace(
            batch,
            history_items=self._known_index[batch.history_items],
            target_items=self._known_index[batch.target_items],
        )
        vectors = network.item_vectors(self.known)
        packed, packing = network.hidden_states(
            F.embedding(batch.history_items, vectors), batch.lengths
        )
        positions = Positions.of(batch)
        hidden = packed[: packing.tokens]
        additions = repeat_additions(
            network.repeat_gate(hidden), positions, batch.history_items, len(vectors)
        )
        total = item_softmax_loss(hidden, vectors, positions.targets, additions)
        weight = total.new_tensor(float(len(hidden)))
        share = self.parameters.partial_weight
        if share:
            partial = self._partial_views(batch, positions, packed, packing, progress)
            total = total + share * weight * partial
        return Loss(total, weight)

    def _partial_views(
        self,
        batch: SampleBatch,
        positions: Positions,
        hidden: Tensor,
        packing: Packing,
        progress: float,
    ) -> Tensor:
        """Mean loss at one position of each sequence, with some digits filled.

        ``hidden`` are the packed hidden states ``(n, d)``.
        """
        size = len(batch.lengths)
        draws = torch.rand(size, generator=self.noise, device=self.device)
        ends = 1 + (draws * batch.lengths).long().clamp(max=batch.lengths - 1)
        first = batch.lengths.cumsum(0) - batch.lengths
        targets = positions.targets[first + ends - 1]
        codes = self.known.codes[targets]
        memory = self.joint.memory(hidden, packing, batch.history_items, ends)
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
        network: the network in training.
        codes: true codes ``(B, V, L)``.
        masked: ``(B, V, L)`` bool; fully masked views are left out.
        memory: the histories before the targets.
        targets: ``(B,)``, indices into ``items``.
        items: the items of the training data.
        inverted: index of their codes.
    """
    owner, item = inverted.agreeing(codes, masked)
    log_pi = candidate_log_p(network, codes, masked, memory, (owner, item), items)
    true = item == targets[owner // codes.shape[1]]
    count = (~masked.all(2)).sum()
    return Loss(-log_pi[true].sum(), count.to(log_pi.dtype))
