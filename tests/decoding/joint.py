"""A small joint denoiser of random weights, its shop, its plain energies."""

from __future__ import annotations

import torch

from sidiff import reference
from sidiff.diffusion.histories import SampleBatch
from sidiff.diffusion.joint import ItemTable, JointConfig, JointDenoiser
from sidiff.reference import State

DIGITS, CODES, ITEMS, WIDTH, LONGEST = 3, 4, 20, 8, 6


def network(
    seed: int = 0, *, looks_again: bool = True, codes_alone: bool = False
) -> JointDenoiser:
    """Random weights, the last items, or all, without a residual."""
    config = JointConfig(
        digits=DIGITS,
        codebook_size=CODES,
        max_history=LONGEST,
        d_model=WIDTH,
        heads=2,
        d_ff=16,
        encoder_layers=2,
        decoder_layers=2,
        dropout=0.0,
        residual_items=0 if codes_alone else ITEMS - 3,
        residual_dropout=1.0 if codes_alone else 0.0,
    )
    generator = torch.Generator().manual_seed(seed)
    model = JointDenoiser(config).initialize(generator).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name != "correction.weight" or looks_again:
                parameter.normal_(0.0, 0.5, generator=generator)
        model.residuals[0] = 0.0
    return model


def shop(seed: int = 0, *, codes_alone: bool = False) -> ItemTable:
    """Items of random codes, some of which share a SID; three, or all, are new."""
    generator = torch.Generator().manual_seed(seed)
    codes = torch.randint(0, CODES, (ITEMS, DIGITS), generator=generator)
    codes[5] = codes[4]
    rows = torch.arange(1, ITEMS + 1)
    rows[0 if codes_alone else -3 :] = 0
    return ItemTable(codes, rows)


def histories(table: ItemTable, seed: int = 0) -> SampleBatch:
    """Histories of 1 to ``LONGEST`` items, some of them repeated."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.tensor([1, 3, LONGEST, 2])
    items = torch.randint(0, ITEMS, (len(lengths), LONGEST), generator=generator)
    items[2, 3] = items[2, 0]
    targets = torch.randint(0, ITEMS, (len(lengths),), generator=generator)
    return SampleBatch(
        table.codes[items], lengths, items, targets, table.codes[targets]
    )


@torch.no_grad()
def energy(
    model: JointDenoiser,
    table: ItemTable,
    user: torch.Tensor,
    had: set[int],
    item: int,
    view: tuple[State, torch.Tensor] | None = None,
) -> float:
    """The reference's energy of an item for the state ``user``.

    ``view`` is a partly filled SID with its queries ``(L, d)``; None: all masked.
    """
    state, queries = view or ((None,) * DIGITS, model.maps @ user)
    return reference.energy(
        tuple(table.codes[item].tolist()),
        state,
        queries,
        model.codes.view(DIGITS, CODES, -1),
        user,
        model.residuals[table.residuals[item]],
    ) + (item in had) * float(model.repeat_gate(user))
