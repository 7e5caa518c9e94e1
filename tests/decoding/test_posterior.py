"""The joint denoiser's posterior against plain enumeration of small catalogues."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sidiff import reference
from sidiff.decoding.posterior import Posterior
from sidiff.diffusion.histories import HistoryBatch, Positions, SampleBatch
from sidiff.diffusion.item_softmax import item_softmax_loss, repeat_additions
from sidiff.diffusion.joint import ItemTable, JointDenoiser
from sidiff.training.joint import partial_views_loss
from tests.decoding.joint import (
    CODES,
    DIGITS,
    ITEMS,
    energy,
    histories,
    network,
    shop,
)

residuals = pytest.mark.parametrize("codes_alone", [False, True])


def made(codes_alone: bool) -> tuple[JointDenoiser, ItemTable]:
    """A network and its items; with codes alone no item has a residual."""
    return network(codes_alone=codes_alone), shop(codes_alone=codes_alone)


@residuals
def test_fully_masked_it_is_the_softmax_of_plain_energies(
    codes_alone: bool,
) -> None:
    model, table = made(codes_alone)
    batch = histories(table)
    posterior = Posterior(model, table)
    with torch.no_grad():
        memory = posterior.encode(batch)
        found = posterior.energies(memory, torch.arange(ITEMS))
        for row, length in enumerate(batch.lengths.tolist()):
            had = set(batch.history_items[row, :length].tolist())
            expected = [
                energy(model, table, memory.users[row], had, item)
                for item in range(ITEMS)
            ]
            np.testing.assert_allclose(found[row], expected, rtol=1e-4, atol=1e-4)
    part = torch.tensor([7, 2, 19])
    with torch.no_grad():
        assert torch.equal(posterior.energies(memory, part), found[:, part])


def states() -> list[tuple[list[int], list[bool]]]:
    """Every way to mask a SID, with each item's codes."""
    table = shop()
    return [
        (codes, list(masked))
        for codes in table.codes.tolist()
        for masked in itertools.product((False, True), repeat=DIGITS)
    ]


def sids_of(table: ItemTable) -> list[reference.Sid]:
    return [tuple(codes) for codes in table.codes.tolist()]


def state_of(codes: Sequence[int], masked: list[bool]) -> reference.State:
    pairs = zip(codes, masked, strict=True)
    return tuple(None if open_ else code for code, open_ in pairs)


@torch.no_grad()
def marginals(
    posterior: Posterior, batch: HistoryBatch, codes: list[int], masked: list[bool]
) -> torch.Tensor:
    """Probabilities of codes ``(B, L, K)`` at one state, the same for all users."""
    users = len(batch.lengths)
    state = torch.tensor(codes).expand(users, 1, -1)
    mask = torch.tensor(masked).expand(users, 1, -1)
    return posterior.logits(state, mask, posterior.encode(batch))[:, 0].exp()


def test_marginals_are_sums_over_the_items_that_agree() -> None:
    model, table = network(looks_again=False), shop()
    batch, sids = histories(table), sids_of(table)
    posterior = Posterior(model, table)
    with torch.no_grad():
        every = posterior.energies(posterior.encode(batch), torch.arange(ITEMS))
    for codes, masked in states():
        if not any(masked):
            continue
        state = state_of(codes, masked)
        expected = torch.stack(
            [
                reference.marginals(reference.posterior(row, sids, state), sids, CODES)
                for row in every.tolist()
            ]
        )
        found = marginals(posterior, batch, codes, masked)
        torch.testing.assert_close(found[:, masked], expected[:, masked].float())


def test_states_without_an_item_give_no_search_a_score_that_is_no_number() -> None:
    model, table = network(), shop()
    posterior, batch = Posterior(model, table), histories(table)
    own = {tuple(codes[:2]) for codes in table.codes.tolist()}
    pairs = itertools.product(range(CODES), repeat=2)
    nowhere = next([*pair, 0] for pair in pairs if pair not in own)
    step = marginals(posterior, batch, nowhere, [False, False, True])
    assert bool(step[:, 2].log().log_softmax(-1).isfinite().all())


@given(st.permutations(range(DIGITS)), st.integers(0, ITEMS - 1))
@settings(max_examples=20, deadline=None)
def test_without_looking_again_every_order_multiplies_up_to_the_same(
    order: list[int], item: int
) -> None:
    model, table = network(looks_again=False), shop()
    batch = histories(table)
    posterior = Posterior(model, table)
    with torch.no_grad():
        every = posterior.energies(posterior.encode(batch), torch.arange(ITEMS))
    same = (table.codes == table.codes[item]).all(1)
    expected = every.softmax(1)[:, same].sum(1)
    codes, masked = table.codes[item].tolist(), [True] * DIGITS
    product = torch.ones(len(batch.lengths))
    for digit in order:
        step = marginals(posterior, batch, codes, masked)
        product = product * step[:, digit, codes[digit]]
        masked[digit] = False
    torch.testing.assert_close(product, expected, rtol=1e-4, atol=1e-7)


def test_looking_again_changes_partial_states_alone() -> None:
    table = shop()
    batch = histories(table)
    blind, seeing = (
        Posterior(network(looks_again=again), table) for again in (False, True)
    )
    codes = table.codes[0].tolist()
    for masked in ([True] * DIGITS, [False, True, True]):
        pair = [marginals(each, batch, codes, masked) for each in (blind, seeing)]
        same = torch.allclose(pair[0][:, 1:], pair[1][:, 1:], atol=1e-6)
        assert same == all(masked)


def test_one_causal_pass_gives_what_every_prefix_alone_gives() -> None:
    model, table = network(), shop()
    batch = histories(table)
    vectors = model.item_vectors(table)[batch.history_items]
    hidden, packing = model.hidden_states(vectors, batch.lengths)
    for place in range(packing.tokens):
        row, slot = int(packing.owner[place]), int(packing.slot[place])
        prefix = vectors[row : row + 1, : slot + 1]
        alone, _ = model.hidden_states(prefix, torch.tensor([slot + 1]))
        torch.testing.assert_close(hidden[place], alone[slot])


def all_positions_loss(
    model: JointDenoiser, batch: SampleBatch, table: ItemTable
) -> tuple[torch.Tensor, torch.Tensor]:
    """The summed loss, and the hidden states that it was made from ``(P, d)``."""
    vectors = model.item_vectors(table)
    hidden, packing = model.hidden_states(vectors[batch.history_items], batch.lengths)
    own, positions = hidden[: packing.tokens], Positions.of(batch)
    additions = repeat_additions(
        model.repeat_gate(own), positions, batch.history_items, ITEMS
    )
    return item_softmax_loss(own, vectors, positions.targets, additions), own


@residuals
def test_the_loss_of_all_positions_is_the_sum_of_plain_cross_entropies(
    codes_alone: bool,
) -> None:
    model, table = made(codes_alone)
    batch = histories(table)
    loss, hidden = all_positions_loss(model, batch, table)
    places = [
        (row, slot)
        for row, length in enumerate(batch.lengths.tolist())
        for slot in range(length)
    ]
    assert len(hidden) == len(places)
    answers = []
    for place, (row, slot) in enumerate(places):
        had = set(batch.history_items[row, : slot + 1].tolist())
        sequence = [*batch.history_items[row, : batch.lengths[row]].tolist()]
        target = [*sequence, int(batch.target_items[row])][slot + 1]
        energies = [
            energy(model, table, hidden[place], had, item) for item in range(ITEMS)
        ]
        answers.append((energies, target))
    mean = reference.joint_loss(answers, [], sids_of(table), weight=0.0)
    assert float(loss.detach()) == pytest.approx(mean * len(places), rel=1e-4)


@residuals
def test_gradients_of_the_item_softmax_are_those_of_autograd(
    codes_alone: bool,
) -> None:
    model, table = made(codes_alone)
    batch = histories(table)
    gradients = []
    for plain in (False, True):
        model.zero_grad()
        if plain:
            vectors = model.item_vectors(table)
            hidden, packing = model.hidden_states(
                vectors[batch.history_items], batch.lengths
            )
            positions = Positions.of(batch)
            hidden = hidden[: packing.tokens]
            logits = hidden @ vectors.T
            gates = model.repeat_gate(hidden)
            for place in range(packing.tokens):
                row, slot = int(packing.owner[place]), int(packing.slot[place])
                had = batch.history_items[row, : slot + 1].unique()
                extra = torch.zeros(ITEMS).index_fill(0, had, 1.0)
                logits = logits + torch.nn.functional.one_hot(
                    torch.tensor(place), packing.tokens
                )[:, None] * (gates[place] * extra)
            total = torch.nn.functional.cross_entropy(
                logits, positions.targets, reduction="sum"
            )
        else:
            total, _ = all_positions_loss(model, batch, table)
        total.backward()
        gradients.append(
            {
                name: parameter.grad.clone()
                for name, parameter in model.named_parameters()
                if parameter.grad is not None
            }
        )
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name], rtol=1e-3, atol=1e-4)


@residuals
def test_the_loss_of_partial_views_is_minus_the_log_of_the_step(
    codes_alone: bool,
) -> None:
    model, table = made(codes_alone)
    batch = histories(table)
    posterior = Posterior(model, table)
    views = torch.tensor([[False, True, True], [True, False, True], [True] * 3])
    masked = views.expand(len(batch.lengths), -1, -1)
    codes = batch.targets[:, None].expand_as(masked)
    memory = posterior.encode(batch)
    loss = partial_views_loss(
        model, codes, masked, memory, batch.target_items, table, posterior.inverted
    )
    with torch.no_grad():
        queries = model.queries(codes, masked, memory)
    partial, sids = [], sids_of(table)
    for row, (target, length) in enumerate(
        zip(batch.target_items.tolist(), batch.lengths.tolist(), strict=True)
    ):
        had = set(batch.history_items[row, :length].tolist())
        for number in (0, 1):
            state = state_of(sids[target], views[number].tolist())
            view = (state, queries[row, number])
            energies = [
                energy(model, table, memory.users[row], had, item, view)
                for item in range(ITEMS)
            ]
            partial.append((energies, state, target))
    expected = reference.joint_loss([], partial, sids, weight=1.0)
    assert float(loss.weight) == len(partial) == 2 * len(batch.lengths)
    mean = float((loss.total / loss.weight).detach())
    assert mean == pytest.approx(expected, rel=1e-4)
