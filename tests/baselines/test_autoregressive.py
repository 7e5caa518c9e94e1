"""The autoregressive decoder: causality, its cache, its beam, and that it learns."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from sidiff.baselines.autoregressive import (
    AutoregressiveDecoder,
    Prefixes,
    beam_search,
)
from sidiff.baselines.autoregressive_training import fit_autoregressive
from sidiff.baselines.method import TrainingInputs
from sidiff.decoding import cpd
from sidiff.decoding.keys import SidIndex
from sidiff.decoding.search import Search
from sidiff.diffusion.denoiser import Denoiser, DenoiserConfig, Memory
from sidiff.evaluation.metrics import expected_item_metrics
from sidiff.reviews.sequences import training_samples
from sidiff.training.settings import TrainingParameters

from ..decoding.catalogues import catalogue_of
from ..settings import decoding
from ..settings import model as model_of
from ..training.test_loop import parameters as training_parameters

CPU = torch.device("cpu")
DIGITS, CODES, USERS = 3, 4, 5
ALL = np.array(list(itertools.product(range(CODES), repeat=DIGITS)))


def build(**changes: object) -> AutoregressiveDecoder:
    """A network with weights large enough for differences to show."""
    shape = dict(digits=DIGITS, codebook_size=CODES, max_history=6, d_model=16)
    rest = dict(heads=2, d_ff=24, encoder_layers=1, decoder_layers=2, dropout=0.0)
    config = DenoiserConfig(**(shape | rest | {"cross_pad": "sink"} | changes))
    model = AutoregressiveDecoder(config)
    model.initialize(torch.Generator().manual_seed(3)).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" not in name:
                parameter.mul_(10.0)
    return model


def memory_of(model: AutoregressiveDecoder, users: int = USERS) -> Memory:
    generator = torch.Generator().manual_seed(1)
    history = torch.randint(CODES, (users, 6, DIGITS), generator=generator)
    return model.encode(history, 1 + torch.arange(users) % 6)


def chain(model: AutoregressiveDecoder, codes: Tensor, memory: Memory) -> Tensor:
    """Log-probability of every digit ``(B, V, L)`` by the uncached network."""
    logits = model.logits(codes, torch.ones_like(codes, dtype=torch.bool), memory)
    return logits.log_softmax(-1).gather(3, codes[..., None])[..., 0]


def some_sids(size: int) -> np.ndarray:
    chosen = np.random.default_rng(size).choice(len(ALL), size, replace=False)
    return ALL[np.sort(chosen)]


@torch.no_grad()
def test_a_digit_depends_on_those_before_it_only() -> None:
    model = build()
    memory = memory_of(model)
    codes = torch.from_numpy(ALL).expand(USERS, -1, -1)
    masked = torch.zeros_like(codes, dtype=torch.bool)
    before = model.logits(codes, masked, memory)
    for digit in range(DIGITS):
        changed = codes.clone()
        changed[..., digit] = (changed[..., digit] + 1) % CODES
        gap = (model.logits(changed, masked, memory) - before).abs().amax((0, 1, 3))
        assert gap[: digit + 1].max() < 1e-5
        assert (gap[digit + 1 :] > 1e-2).all()


@torch.no_grad()
def test_every_digit_depends_on_the_history() -> None:
    model = build()
    memory = memory_of(model)
    logits = model.logits(
        torch.zeros(USERS, 1, DIGITS, dtype=torch.int64), None, memory
    )
    assert (logits[0] - logits[1]).abs().amax((0, 2)).min() > 1e-2


@torch.no_grad()
def test_digit_by_digit_with_cache_equals_the_whole_at_once() -> None:
    """Beams are shuffled between the steps, as a search does."""
    model = build(digits=4)
    generator = torch.Generator().manual_seed(5)
    history = torch.randint(CODES, (USERS, 6, 4), generator=generator)
    memory = model.encode(history, 1 + torch.arange(USERS) % 6)
    codes = torch.zeros(USERS, 7, 0, dtype=torch.int64)
    past = None
    for digit in range(4):
        previous = codes[..., -1] if digit else torch.zeros(USERS, 7, dtype=torch.int64)
        logits, past = model.next_digit(digit, previous, past, memory)
        padded = torch.nn.functional.pad(codes, (0, 4 - digit))
        whole = model.logits(padded, torch.ones_like(padded, dtype=torch.bool), memory)
        torch.testing.assert_close(logits, whole[:, :, digit], rtol=1e-4, atol=1e-4)
        parents = torch.randint(7, (USERS, 7), generator=generator)
        past = [layer.take(parents) for layer in past]
        codes = codes.gather(1, parents[..., None].expand_as(codes))
        drawn = torch.randint(CODES, (USERS, 7, 1), generator=generator)
        codes = torch.cat([codes, drawn], 2)


@torch.no_grad()
@pytest.mark.parametrize("size", [1, 6, 30, 64])
def test_a_beam_that_holds_everything_ranks_every_sid(size) -> None:
    model = build()
    memory = memory_of(model)
    sids = some_sids(size)
    catalogue = catalogue_of(sids, CODES)
    rows, scores = beam_search(model, memory, Prefixes(catalogue.index), len(ALL))
    codes = catalogue.codes.expand(USERS, -1, -1)
    wanted, order = chain(model, codes, memory).sum(2).sort(dim=1, descending=True)
    torch.testing.assert_close(scores, wanted, rtol=1e-4, atol=1e-4)
    assert torch.equal(rows, order)


@torch.no_grad()
@pytest.mark.parametrize("share", [0.1, 0.6, 0.95, 1.0])
@pytest.mark.parametrize("beam", [1, 5, 64])
@pytest.mark.parametrize("size", [1, 6, 64])
def test_what_a_user_may_not_get_is_as_if_it_were_not_there(size, beam, share) -> None:
    model = build()
    memory = memory_of(model)
    sids = catalogue_of(some_sids(size), CODES).codes.numpy()
    index = SidIndex(sids, CODES, CPU)
    gone = torch.rand(USERS, size, generator=torch.Generator().manual_seed(1)) < share
    rows, scores = beam_search(model, memory, Prefixes(index), beam, gone)
    for user in range(USERS):
        left = (~gone[user]).nonzero()[:, 0]
        found = rows[user][rows[user] >= 0]
        assert len(found) == min(beam, len(left))
        assert (scores[user, len(found) :] == -torch.inf).all()
        if not len(left):
            continue
        alone = Prefixes(SidIndex(sids[left.numpy()], CODES, CPU))
        one = memory.take(torch.tensor([user]))
        expected, wanted = beam_search(model, one, alone, beam)
        assert torch.equal(found, left[expected[0]])
        torch.testing.assert_close(
            scores[user, : len(found)], wanted[0], rtol=1e-4, atol=1e-4
        )


@torch.no_grad()
@pytest.mark.parametrize("beam", [1, 3, 8])
@pytest.mark.parametrize("size", [2, 20, 64])
def test_any_beam_is_the_search_in_fixed_order(beam, size) -> None:
    """The diffusion decoder, in the fixed order, runs the same network uncached."""
    model = build()
    memory = memory_of(model)
    catalogue = catalogue_of(some_sids(size), CODES)
    rows, scores = beam_search(model, memory, Prefixes(catalogue.index), beam)
    search = decoding(order="fixed", beam=beam, constraint="items")
    nothing = torch.empty(USERS, 0, dtype=torch.int64)
    decoded = cpd.decode(Search(model, memory, search, catalogue, nothing))
    width = scores.shape[1]
    assert (decoded.scores[:, width:] == -torch.inf).all()
    torch.testing.assert_close(scores, decoded.scores[:, :width], rtol=1e-4, atol=1e-4)
    live = scores > -torch.inf
    found = catalogue.codes[rows]
    assert torch.equal(found[live], decoded.codes[:, :width][live])
    assert (rows[~live] == -1).all()


def test_the_same_weights_as_the_denoiser() -> None:
    model = build()
    denoiser = Denoiser(model.config)
    shapes = {name: p.shape for name, p in denoiser.named_parameters()}
    assert {name: p.shape for name, p in model.named_parameters()} == shapes


def test_every_weight_is_trained() -> None:
    model = build().train()
    memory = memory_of(model)
    codes = torch.randint(CODES, (USERS, 1, DIGITS))
    chain(model, codes, memory).sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


def autoregressive(epochs: int) -> dict[str, Any]:
    """Settings of a small one."""
    return dict(
        encoder_layers=1,
        decoder_layers=1,
        dropout=0.1,
        batch_size=64,
        samples_per_pass=32,
        epochs=epochs,
        learning_rate=0.003,
        beam=16,
    )


def fit(ring, ring_table, seed: int = 1, **changes: object):
    training: TrainingParameters = training_parameters(**changes)
    own = {"autoregressive": autoregressive(epochs=30), "device": "cpu"}
    samples = training_samples(ring, "prefix", 2, 10)
    baselines = model_of("baselines", own)
    training_inputs = TrainingInputs(
        ring, samples, ring_table, baselines, training, 10, [seed]
    )
    return fit_autoregressive(training_inputs, seed)


def test_it_learns_the_next_item_and_keeps_the_best_epoch(ring, ring_table) -> None:
    model, trained = fit(ring, ring_table)
    assert trained.score > 0.6  # chance is 0.19
    groups = ring_table.groups()
    prefixes = Prefixes(
        SidIndex(ring_table.groups().sid_codes, ring_table.codebook_size, CPU)
    )
    values = []
    for user in range(ring.n_users):
        items = ring.items[ring.offsets[user] : ring.offsets[user + 1]][:-1]
        history, target = items[:-1][-10:].astype(int), items[-1]
        codes = torch.from_numpy(ring_table.codes[history].astype(np.int64))
        with torch.no_grad():
            memory = model.encode(codes[None], torch.tensor([len(history)]))
        rows, _ = beam_search(model, memory, prefixes, 16)
        scored = expected_item_metrics(
            rows.numpy(), groups.sid_of_item[[target]], groups.sizes, [10]
        )
        values.append(scored["ndcg_at_10"][0])
    assert trained.score == pytest.approx(np.mean(values), abs=1e-6)


def test_saved_and_rebuilt_is_the_same_function() -> None:
    model = build()
    again = AutoregressiveDecoder.from_saved(model.state_dict(), model.saved_config())
    codes = torch.from_numpy(ALL).expand(USERS, -1, -1)
    with torch.no_grad():
        first = chain(model, codes, memory_of(model))
        assert torch.equal(first, chain(again, codes, memory_of(again)))
