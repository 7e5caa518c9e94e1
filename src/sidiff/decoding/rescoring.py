"""A second look at a short list: every item scored by the whole model.

A search knows of a SID only the best way (or the ways in its beam) that led to it. Here
the SID's log-likelihood is averaged over several orders of its digits, each digit given
those before it in the order, as an any-order model defines it; the last digit of each
order is predicted given all others. Items may also be told apart, and known better than
by their codes, by their probabilities as whole items.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sidiff.decoding.catalogue import Catalogue
from sidiff.decoding.item_probabilities import ItemProbabilities
from sidiff.decoding.keys import Distinct, state_keys
from sidiff.diffusion.denoiser import DenoisingModel, Memory
from sidiff.parameters import RescoringParameters

ITEMS_AT_ONCE = 128
"""Candidates of a user whose likelihood is asked for at a time: bounds memory."""


def rescore(
    denoiser: DenoisingModel,
    memory: Memory,
    items: Tensor,
    found: Tensor,
    parameters: RescoringParameters,
    catalogue: Catalogue,
    probabilities: ItemProbabilities | None,
    seed: int,
) -> Tensor:
    """Scores of candidate items.

    Args:
        denoiser: the trained network.
        memory: the users' encoded histories, batch size B.
        items: item indices, -1 for none, ``(B, M)``.
        found: their scores in the search ``(B, M)``, kept where no order is asked for.
        parameters: number of orders, weight of the items' probabilities.
        catalogue: the items' SIDs.
        probabilities: of whole items; None where the network knows none.
        seed: of the orders.

    Returns:
        ``(B, M)``; -inf where there is no item.
    """
    missing = items < 0
    chosen = items.clamp(min=0)
    scores = found
    if parameters.orders:
        codes = catalogue.codes[catalogue.sid_of_item[chosen]]
        scores = torch.cat(
            [
                log_likelihood(denoiser, memory, part, parameters.orders, seed)
                for part in codes.split(ITEMS_AT_ONCE, dim=1)
            ],
            dim=1,
        )
    if parameters.item_weight and probabilities is not None:
        scores = scores + parameters.item_weight * probabilities.log_p(items)
    return scores.masked_fill(missing, -torch.inf)


def log_likelihood(
    denoiser: DenoisingModel, memory: Memory, codes: Tensor, orders: int, seed: int
) -> Tensor:
    """Mean log-likelihood of SIDs ``(B, M, L)`` over random orders, ``(B, M)``.

    The orders are rotations of random permutations: L of them together ask for every
    digit at every stage once. One denoiser call per order and stage for all items.
    Arguments as for ``rescore``.
    """
    batch, items, digits = codes.shape
    size = denoiser.config.codes_per_digit
    total = torch.zeros(batch, items, device=codes.device)
    for order in digit_orders(digits, orders, seed):
        masked = torch.ones_like(codes, dtype=torch.bool)
        for digit in order:
            # Items share their first digits: each state is looked at once.
            states = Distinct.of(state_keys(codes, masked, size))
            rows = states.first[..., None].expand(-1, -1, digits)
            wanted = torch.zeros_like(rows, dtype=torch.bool)
            wanted[..., digit] = True
            logits = denoiser.logits(
                codes.gather(1, rows), masked.gather(1, rows), memory, wanted
            )
            log_p = logits[:, :, digit].log_softmax(-1).flatten(1)
            total += log_p.gather(1, states.place * size + codes[..., digit])
            masked[..., digit] = False
    return total / orders


def digit_orders(digits: int, orders: int, seed: int) -> list[list[int]]:
    """Orders of the digits: all rotations of a permutation, then of the next one."""
    generator = torch.Generator().manual_seed(seed)
    result: list[list[int]] = []
    while len(result) < orders:
        base = torch.randperm(digits, generator=generator).tolist()
        result += [base[i:] + base[:i] for i in range(digits)]
    return result[:orders]
