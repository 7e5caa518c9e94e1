"""The joint denoiser's loss, position by position and view by view."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from sidiff import reference
from sidiff.decoding.inverted_index import InvertedIndex
from sidiff.decoding.posterior import Posterior
from sidiff.diffusion.histories import HistoryBatch
from sidiff.diffusion.joint import ItemTable, JointDenoiser
from sidiff.diffusion.networks import network_from_saved
from sidiff.diffusion.noising.context import NoisingContext
from sidiff.reviews.sequences import Sequences
from sidiff.sids.table import SidTable
from sidiff.training import denoising as denoising_module
from sidiff.training.denoising import Job
from sidiff.training.joint import JointTask, partial_views_loss
from sidiff.training.loop import Fitted, fit
from tests.training.test_loop import parameters

ITEMS, DIGITS, CODES, LONGEST = 12, 3, 3, 6
NEW = [2, 7]
"""Items that only the held-out ends of sequences have."""


def shop() -> tuple[Sequences, SidTable]:
    rng = np.random.default_rng(0)
    old = np.setdiff1d(np.arange(ITEMS), NEW)
    lengths = rng.integers(3, 14, 25)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    items = rng.choice(old, offsets[-1]).astype(np.int32)
    items[offsets[1:] - 1] = rng.choice(NEW, 25)
    # Every item that is not new is there in training.
    items[: len(old)] = old
    items[offsets[1:6] - 2] = NEW[0]
    sequences = Sequences(
        items=items,
        offsets=offsets,
        user_ids=pl.Series([f"u{i:02}" for i in range(25)]),
        item_ids=pl.Series([f"i{i:02}" for i in range(ITEMS)]),
    )
    codes = rng.integers(0, CODES, (ITEMS, DIGITS)).astype(np.uint16)
    return sequences, SidTable(codes, sequences.item_ids, CODES)


def task(**changes: Any) -> JointTask:
    """Weights large enough for differences to show, no chance in the network."""
    sequences, table = shop()
    still = {"network.dropout": 0.0, "network.residual_dropout": 0.0}
    p = parameters(**still | changes)
    samples = np.empty((0, 3), dtype=np.int32)
    made = JointTask(Job(sequences, samples, table, p, LONGEST))
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in made.joint.parameters():
            parameter.normal_(0.0, 0.4, generator=generator)
        made.joint.residuals[0] = 0.0
    made.joint.train()
    return made


def trained_items(sequences: Sequences) -> list[int]:
    """Items of training positions: all but the last two of every sequence."""
    bounds = zip(sequences.offsets[:-1], sequences.offsets[1:], strict=True)
    longer = [sequences.items[a : b - 2] for a, b in bounds if b - a > 3]
    return sorted(set(np.concatenate(longer).tolist()))


@pytest.mark.parametrize("codes_alone", [False, True])
def test_every_position_competes_with_the_items_that_were_there(
    codes_alone: bool,
) -> None:
    """One plain cross-entropy per position, new items left out of it."""
    share = {"network.residual_dropout": float(codes_alone)}
    made, (sequences, table) = task(partial_weight=0.0, **share), shop()
    old = trained_items(sequences)
    assert not set(NEW) & set(old)
    assert made.known_items == ([] if codes_alone else [f"i{n:02}" for n in old])
    network, codes = made.joint, torch.from_numpy(table.codes.astype(np.int64))
    rows = torch.arange(1, len(old) + 1) * (not codes_alone)
    vectors = network.item_vectors(ItemTable(codes[old], rows))
    column = {item: place for place, item in enumerate(old)}
    answers = []
    for user, start, end in made.samples.tolist():
        own = sequences.items[sequences.offsets[user] :][start : end + 1].tolist()
        places = torch.tensor([column[item] for item in own])
        for last in range(len(own) - 1):
            history = places[: last + 1]
            hidden, _ = network.hidden_states(
                vectors[history][None], torch.tensor([last + 1])
            )
            energies = vectors @ hidden[last]
            energies[history.unique()] += network.gate(hidden[last])
            answers.append((energies.tolist(), int(places[last + 1])))
    sids = [tuple(sid) for sid in table.codes[old].tolist()]
    expected = reference.joint_loss(answers, [], sids, weight=0.0)
    loss = made.loss(torch.from_numpy(made.samples), 0.5)
    assert float(loss.weight) == len(answers) > 100
    mean = float((loss.total / loss.weight).detach())
    assert mean == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("order", ["confidence", "random"])
def test_partial_views_are_those_of_the_history_before_the_drawn_position(
    order: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[NoisingContext, torch.Tensor]] = []
    noise = denoising_module.masked_digits

    def kept(context: NoisingContext, noising: Any) -> torch.Tensor:
        seen.append((context, noise(context, noising)))
        return seen[-1][1]

    monkeypatch.setattr(denoising_module, "masked_digits", kept)
    shared = {"noising.order": order}
    alone, both = (task(partial_weight=w, **shared) for w in (0.0, 0.7))
    samples = torch.from_numpy(both.samples)
    plain, loss = (made.loss(samples, 0.5) for made in (alone, both))
    ((context, masked),) = seen
    network, known = both.joint, both.known
    inverted = InvertedIndex.build(known.codes, CODES)
    sequences, table = shop()
    vectors = network.item_vectors(known)
    rows = both.histories.table.residuals - 1
    total, views = 0.0, 0.0
    for place, (user, start, end) in enumerate(samples.tolist()):
        length = int(context.lengths[place])
        assert 1 <= length <= end - start
        own = sequences.items[sequences.offsets[user] :][start : end + 1]
        target = torch.tensor([own[length]])
        assert context.targets[place].tolist() == table.codes[own[length]].tolist()
        history, lengths = rows[own[:length]][None], torch.tensor([length])
        memory = network.memory(
            *network.hidden_states(vectors[history], lengths), history, lengths
        )
        mine = masked[place : place + 1]
        codes = context.targets[place, None].expand_as(mine)
        one = partial_views_loss(
            network, codes, mine, memory, rows[target], known, inverted
        )
        total += float(one.total.detach())
        views += float(one.weight)
    assert views == int((~masked.all(2)).sum()) > 0
    found = (loss.total - plain.total) / loss.weight
    assert float(loss.weight) == float(plain.weight)
    assert float(found.detach()) == pytest.approx(0.7 * total / views, rel=1e-3)


def test_the_position_of_partial_views_is_drawn_evenly(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[torch.Tensor] = []
    noise = denoising_module.masked_digits

    def kept(context: NoisingContext, noising: Any) -> torch.Tensor:
        seen.append(context.lengths)
        return noise(context, noising)

    monkeypatch.setattr(denoising_module, "masked_digits", kept)
    made = task(partial_weight=0.3)
    lengths = made.samples[:, 2] - made.samples[:, 1]
    (longest, *_) = made.samples[lengths == LONGEST]
    with torch.no_grad():
        made.loss(torch.from_numpy(longest).expand(3000, -1), 0.5)
    shares = torch.cat(seen).bincount(minlength=LONGEST + 1) / 3000
    assert shares[0] == 0
    assert ((shares[1:] - 1 / LONGEST).abs() < 4 * math.sqrt(1 / LONGEST / 3000)).all()


def test_partial_views_train_what_a_list_alone_leaves_as_it_was() -> None:
    """Without them nothing of the decoder over digits has a gradient."""
    changed = []
    for weight in (0.0, 0.3):
        made = task(partial_weight=weight)
        made.loss(torch.from_numpy(made.samples), 0.5).total.backward()
        names = ("decoder", "correction", "masks", "start")
        gradients = {
            name: parameter.grad is not None and bool(parameter.grad.any())
            for name, parameter in made.joint.named_parameters()
        }
        digits = {name: g for name, g in gradients.items() if name.startswith(names)}
        changed.append(set(digits.values()))
        assert all(g for name, g in gradients.items() if name not in digits)
    assert changed == [{False}, {True}]


def test_new_items_are_ranked_by_their_codes() -> None:
    """Half of the items are new; each has the codes of one of the other half."""
    rng = np.random.default_rng(0)
    half = ITEMS // 2
    starts, lengths = rng.integers(0, half, 120), rng.integers(6, 12, 120)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    items = np.concatenate(
        [(s + np.arange(n)) % half for s, n in zip(starts, lengths, strict=True)]
    )
    # The validation target is the new item of the same codes.
    items[offsets[1:] - 2] += half
    sequences = Sequences(
        items.astype(np.int32),
        offsets,
        pl.Series([f"u{i:03}" for i in range(120)]),
        pl.Series([f"i{i:02}" for i in range(ITEMS)]),
    )
    each = np.arange(ITEMS) % half
    codes = np.stack([each // 3, each % 3, each % 2], 1).astype(np.uint16)
    table = SidTable(codes, sequences.item_ids, CODES)
    given = parameters(epochs=40, **{"network.residual_dropout": 0.3})
    samples = np.empty((0, 3), dtype=np.int32)
    fitted = fit(Job(sequences, samples, table, given, LONGEST), lambda *_: None)
    assert fitted.config["known_items"] == [f"i{i:02}" for i in range(half)]
    # Beside its old twin, which only the residual tells apart.
    assert fitted.history["validation/item/ndcg_at_10"].max() > 0.6
    assert fitted.history["validation/sid/ndcg_at_10"].max() > 0.9


def ring(items: int) -> tuple[Sequences, SidTable]:
    """Users who walk round ``items`` items, each of which has a twin of its codes.

    The twin is new: no training position has it.
    """
    rng = np.random.default_rng(0)
    starts, lengths = rng.integers(0, items, 120), rng.integers(6, 12, 120)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    walks = [(s + np.arange(n)) % items for s, n in zip(starts, lengths, strict=True)]
    sequences = Sequences(
        np.concatenate(walks).astype(np.int32),
        offsets,
        pl.Series([f"u{i:03}" for i in range(120)]),
        pl.Series([f"i{i:02}" for i in range(2 * items)]),
    )
    each = np.arange(2 * items) % items
    codes = np.stack([each // 3, each % 3, each % 2], 1).astype(np.uint16)
    return sequences, SidTable(codes, sequences.item_ids, 3)


def trained_by_codes_alone(items: int, method: str) -> Fitted:
    sequences, table = ring(items)
    given = parameters(
        epochs=40,
        **{"network.residual_dropout": 1.0, "validation.method": method},
        **{"validation.level": "sid"},
    )
    samples = np.empty((0, 3), dtype=np.int32)
    return fit(Job(sequences, samples, table, given, LONGEST), lambda *_: None)


@pytest.mark.parametrize("method", ["items", "cpd"])
def test_a_network_of_codes_alone_learns_and_knows_no_item(method: str) -> None:
    small, large = (trained_by_codes_alone(items, method) for items in (6, 9))
    assert large.history["validation/sid/ndcg_at_10"].max() > 0.9
    assert large.config["known_items"] == []
    # Of one size for any catalogue, with nothing in the one row that it looks up.
    shapes = [{name: w.shape for name, w in f.weights.items()} for f in (small, large)]
    assert shapes[0] == shapes[1]
    assert not large.weights["residuals"].any()


def test_codes_alone_tell_no_twins_apart_and_rank_items_that_came_later() -> None:
    fitted, (_, table) = trained_by_codes_alone(9, "items"), ring(9)
    network = network_from_saved(fitted.weights, fitted.config)
    assert isinstance(network, JointDenoiser)
    codes = torch.from_numpy(table.codes.astype(np.int64))
    nothing = torch.zeros(len(codes), dtype=torch.int64)
    posterior = Posterior(network, ItemTable(codes, nothing))
    history = torch.tensor([[2, 3, 4], [7, 8, 0]])
    batch = HistoryBatch(codes[history], torch.tensor([3, 3]), history)
    twins = HistoryBatch(codes[history], torch.tensor([3, 3]), history + 9)
    with torch.no_grad():
        memories = [posterior.encode(given) for given in (batch, twins)]
        energies = posterior.energies(memories[0], torch.arange(18))
        gates = network.repeat_gate(memories[0].users)
    # The gate alone knows which of the twins a user had.
    had = torch.zeros(2, 9).scatter(1, history, gates[:, None].expand(2, 3))
    torch.testing.assert_close(energies[:, :9] - had, energies[:, 9:])
    torch.testing.assert_close(memories[0].users, memories[1].users)
    assert energies[:, 9:].argmax(1).tolist() == [5, 1]
