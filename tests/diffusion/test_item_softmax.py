"""The softmax over items and its repeat gate, against torch's own and plain sets."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from sidiff.diffusion import item_softmax
from sidiff.diffusion.histories import Positions, SampleBatch
from sidiff.diffusion.item_softmax import (
    Additions,
    gated,
    item_softmax_loss,
    repeat_additions,
)

ROWS, ITEMS = 23, 50


@pytest.mark.parametrize("at_once", [1, 300, 2**22])
@pytest.mark.parametrize("spread", [1.0, 60.0])
@pytest.mark.parametrize("share", [0.0, 0.2])
def test_loss_and_gradients_are_those_of_torch(
    monkeypatch, at_once, spread, share
) -> None:
    monkeypatch.setattr(item_softmax, "LOGITS_AT_ONCE", at_once)
    torch.manual_seed(0)
    states = (spread * torch.randn(ROWS, 8)).requires_grad_()
    table = torch.randn(ITEMS, 8, requires_grad=True)
    targets = torch.randint(ITEMS, (ROWS,))
    rows, items = (torch.rand(ROWS, ITEMS) < share).nonzero(as_tuple=True)
    values = torch.randn(len(rows), requires_grad=True)
    added = torch.zeros(ROWS, ITEMS).index_put((rows, items), values)
    wanted = F.cross_entropy(states @ table.T + added, targets, reduction="sum")
    got = item_softmax_loss(states, table, targets, Additions(rows, items, values))
    torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-4)
    given = [states, table, values]
    for one, other in zip(
        torch.autograd.grad(3.0 * got, given),
        torch.autograd.grad(3.0 * wanted, given),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4 * spread)


@given(
    lengths=st.lists(st.integers(1, 7), min_size=1, max_size=5),
    size=st.integers(1, 6),
    seed=st.integers(0, 1000),
)
def test_what_a_user_had_before_a_position_is_added_to_once(
    lengths: list[int], size: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    history = torch.randint(size, (len(lengths), max(lengths)), generator=generator)
    targets = torch.randint(size, (len(lengths),), generator=generator)
    nothing = torch.empty(0)
    batch = SampleBatch(nothing, torch.tensor(lengths), history, targets, nothing)
    positions = Positions.of(batch)
    sequences = [
        [*row[:length], target]
        for row, length, target in zip(
            history.tolist(), lengths, targets.tolist(), strict=True
        )
    ]
    places = [(u, t) for u, length in enumerate(lengths) for t in range(length)]
    owners, slots = positions.owner.tolist(), positions.slot.tolist()
    assert list(zip(owners, slots, strict=True)) == places
    assert positions.targets.tolist() == [sequences[u][t + 1] for u, t in places]
    gates = torch.arange(1.0, len(places) + 1)
    found = repeat_additions(gates, positions, history, size)
    assert found.rows.tolist() == sorted(found.rows.tolist())
    triples = zip(*(part.tolist() for part in found), strict=True)
    assert sorted(triples) == [
        (row, item, float(row + 1))
        for row, (u, t) in enumerate(places)
        for item in sorted(set(sequences[u][: t + 1]))
    ]


@given(seed=st.integers(0, 1000), size=st.integers(1, 9), data=st.data())
def test_a_slice_has_the_gate_at_the_items_that_a_user_had(seed, size, data) -> None:
    items = data.draw(st.permutations(range(size)))
    items = items[: data.draw(st.integers(1, size))]
    generator = torch.Generator().manual_seed(seed)
    had = torch.randint(-1, size, (4, 5), generator=generator)
    logits = torch.randn(4, len(items), generator=generator)
    gates = torch.randn(4, generator=generator)
    wanted = logits.clone()
    for user in range(4):
        for column, item in enumerate(items):
            if item in had[user].tolist():
                wanted[user, column] += gates[user]
    found = gated(logits, gates, had, torch.tensor(items), size)
    torch.testing.assert_close(found, wanted)
