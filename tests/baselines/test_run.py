"""The whole stage: every method, every seed, one form."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest
import torch

from sidiff.baselines import BASELINES
from sidiff.baselines.method import Network, TrainingInputs
from sidiff.baselines.run import Stored, fit_baselines, rank_baselines
from sidiff.baselines.sasrec import SasRec, SasRecConfig
from sidiff.baselines.settings import BaselinesParameters
from sidiff.configuration import GROUPS, validate
from sidiff.diffusion.histories import HistoryBatch
from sidiff.errors import SidiffError
from sidiff.evaluation.settings import EvaluationParameters
from sidiff.ranking.results import Ranked
from sidiff.reviews.sequences import evaluation_samples, training_samples
from sidiff.reviews.transitions import transition_counts
from sidiff.snapshots import SnapshotFolder
from sidiff.training.trainer import Trainer
from tests.ranking.test_items import literal_chain
from tests.settings import evaluation

from ..settings import settings as configured
from ..training.test_loop import parameters as training_parameters
from .test_autoregressive import autoregressive
from .test_sasrec import settings

SEEDS, K = [4, 5], 6
STOPS = [3, 20, 45]
"""Optimiser steps before a crash; the first is in the first epoch."""
METHODS = ["popularity", "markov", "sasrec", "sasrec_markov", "autoregressive"]


def raw(**changes: Any) -> dict[str, Any]:
    base = dict(
        methods=METHODS,
        markov=dict(weight=40.0, scale=1e-6),
        sasrec=settings(epochs=8).model_dump()
        | {"tune": [{"optimizer": {"learning_rate": 1e-6}}]},
        sasrec_markov=dict(weight=0.75, scale=0.01),
        autoregressive=autoregressive(epochs=25),
        users_per_batch=16,
        device="cpu",
        threads=1,
    )
    return base | changes


@pytest.fixture(scope="module")
def fitted(ring, ring_table) -> tuple[dict[str, Stored], list[dict[str, Any]]]:
    return fit_baselines(training_inputs(ring, ring_table))


@pytest.fixture(scope="module")
def networks(fitted) -> dict[str, Stored]:
    return fitted[0]


def training_inputs(
    ring, ring_table, folder: SnapshotFolder | None = None
) -> TrainingInputs:
    return TrainingInputs(
        ring,
        training_samples(ring, "prefix", 2, 10),
        ring_table,
        BaselinesParameters.model_validate(raw()),
        training_parameters(),
        10,
        SEEDS,
        folder,
    )


def ranked(
    ring,
    ring_table,
    networks: dict[str, Stored],
    exclude_seen: bool,
    allowed: np.ndarray | None = None,
    **changes: Any,
) -> list[Ranked]:
    p = BaselinesParameters.model_validate(raw(**changes))
    shared = shared_settings(exclude_seen=exclude_seen)
    return rank_baselines(ring, ring_table, networks, p, shared, 10, allowed)


def shared_settings(**changes: Any) -> EvaluationParameters:
    return evaluation({"top_k": K, "cutoffs": [K], "seeds": SEEDS} | changes)


def test_the_best_setting_is_trained_with_every_seed(fitted) -> None:
    networks, compared = fitted
    scores = [one["validation_ndcg_at_10"] for one in compared]
    assert [one["settings"]["optimizer"]["learning_rate"] for one in compared] == [
        0.01,
        1e-6,
    ]
    assert scores[0] > scores[1]
    first, second = (networks[f"sasrec/{seed}"] for seed in SEEDS)
    assert [config["seed"] for _, config in (first, second)] == SEEDS
    assert first[1]["validation_ndcg_at_10"] == scores[0]
    assert second[1]["validation_ndcg_at_10"] > 0.5
    assert not torch.equal(first[0]["items"], second[0]["items"])


@pytest.mark.parametrize("steps", STOPS)
def test_what_a_crash_left_is_gone_on_with(
    ring, ring_table, networks, tmp_path, steps, monkeypatch, caplog
) -> None:
    original, taken = Trainer.step, []

    def some(*arguments: Any) -> object:
        if len(taken) == steps:
            raise RuntimeError("a crash")
        taken.append(None)
        return original(*arguments)

    def train(kind: str) -> list[Network]:
        folder = SnapshotFolder(tmp_path)
        return BASELINES[kind]().fit(training_inputs(ring, ring_table, folder))[0]

    for kind in ("sasrec", "autoregressive"):
        taken.clear()
        with monkeypatch.context() as patched:
            patched.setattr(Trainer, "step", some)
            with pytest.raises(RuntimeError, match="a crash"):
                train(kind)
        with caplog.at_level(logging.INFO):
            again = train(kind)
        assert "goes on from its checkpoint" in caplog.text or steps == min(STOPS)
        # The other settings and seeds of one run are no left-overs of another.
        assert "starts anew" not in caplog.text
        caplog.clear()
        for seed, (_, trained) in zip(SEEDS, again, strict=True):
            weights, config = networks[f"{kind}/{seed}"]
            assert trained.score == config["validation_ndcg_at_10"]
            assert trained.epoch == config["epoch"]
            assert trained.weights.keys() == weights.keys()
            for name, tensor in trained.weights.items():
                assert torch.equal(tensor, weights[name]), name


@pytest.mark.parametrize("exclude_seen", [False, True])
def test_every_method_ranks_the_same_users(
    ring, ring_table, networks, exclude_seen
) -> None:
    lists = ranked(ring, ring_table, networks, exclude_seen)
    assert [(one.method, one.seed) for one in lists] == [
        ("popularity", 4),
        ("markov", 4),
        ("sasrec", 4),
        ("sasrec", 5),
        ("sasrec_markov", 4),
        ("sasrec_markov", 5),
        ("autoregressive", 4),
        ("autoregressive", 5),
    ]
    samples = evaluation_samples(ring, "test", 10)
    sid_of_item = ring_table.groups().sid_of_item
    for one in lists:
        results = one.results
        assert results.users.tolist() == samples[:, 0].tolist()
        assert results.targets.tolist() == ring.items[ring.offsets[1:] - 1].tolist()
        assert results.items.shape == results.sids.shape == (len(samples), K)
        for user, _, end in samples.tolist():
            items = results.items[user]
            assert len(set(items.tolist())) == K
            seen = ring.items[ring.offsets[user] :][:end]
            if exclude_seen:
                assert not set(items.tolist()) & set(seen.tolist())
            of_items = dict.fromkeys(sid_of_item[items].tolist())
            assert list(of_items) == results.sids[user][: len(of_items)].tolist()
        hit = (results.items == results.targets[:, None]).any(1).mean()
        chance = K / ring.n_items
        least = {"popularity": 0.0, "autoregressive": 1.3 * chance}
        assert hit > least.get(one.method, 3 * chance), one.method


@pytest.mark.parametrize("size", [5, 12])
def test_every_list_is_full_while_there_are_items(
    ring, ring_table, networks, size
) -> None:
    """With a beam narrower than a list, in spite of both filters."""
    allowed = np.zeros(ring.n_items, dtype=bool)
    allowed[np.random.default_rng(2).choice(ring.n_items, size, replace=False)] = True
    narrow = raw()["autoregressive"] | {"beam": 2}
    lists = ranked(ring, ring_table, networks, True, allowed, autoregressive=narrow)
    for user, _, end in evaluation_samples(ring, "test", 10).tolist():
        seen = ring.items[ring.offsets[user] :][:end]
        left = set(np.flatnonzero(allowed).tolist()) - set(seen.tolist())
        for one in lists:
            items = one.results.items[user]
            found = set(items[items >= 0].tolist())
            assert found <= left
            assert len(found) == (items >= 0).sum() == min(K, len(left)), one.method


@pytest.mark.parametrize(("weight", "scale"), [(0.0, 1.0), (0.75, 0.01), (2.0, 1e-4)])
def test_sasrec_and_the_chain_are_one_energy(noise, noise_table, weight, scale) -> None:
    """On users without any order, some of whom end on an item that nothing followed."""
    config = SasRecConfig(
        items=noise.n_items,
        max_history=10,
        d_model=8,
        heads=2,
        d_ff=8,
        layers=1,
        dropout=0.0,
    )
    model = SasRec(config).initialize(torch.Generator().manual_seed(1)).eval()
    with torch.no_grad():
        model.items.mul_(30.0)
    stored = model.state_dict(), model.saved_config() | {"seed": SEEDS[0]}
    p = BaselinesParameters.model_validate(
        raw(
            methods=["sasrec_markov"],
            sasrec_markov=dict(weight=weight, scale=scale),
        )
    )
    shared = shared_settings(seeds=SEEDS[:1])
    (one,) = rank_baselines(
        noise, noise_table, {f"sasrec/{SEEDS[0]}": stored}, p, shared, 10
    )
    counts = transition_counts(noise).toarray()
    everything = torch.arange(noise.n_items)
    for row, (user, start, end) in enumerate(
        evaluation_samples(noise, "test", 10).tolist()
    ):
        history = noise.items[noise.offsets[user] :][start:end].astype(np.int64)
        items, length = torch.from_numpy(history[None]), torch.tensor([end - start])
        followed = literal_chain(counts, history.tolist(), shared.markov)
        batch = HistoryBatch(items[..., None], length, items)
        own = model.logits(batch)(everything)[0].double().softmax(0).detach().numpy()
        both = own * (1.0 + followed / scale) ** weight
        both /= both.sum()
        best = np.sort(both)[::-1][:K]
        np.testing.assert_allclose(np.exp(one.results.scores[row]), best, atol=1e-6)
        np.testing.assert_allclose(both[one.results.items[row]], best, atol=1e-6)


def test_popularity_is_the_same_list_for_everybody(ring, ring_table) -> None:
    (one,) = ranked(ring, ring_table, {}, False, methods=["popularity"])
    counts = np.zeros(ring.n_items)
    for first, last in zip(ring.offsets[:-1], ring.offsets[1:], strict=True):
        np.add.at(counts, ring.items[first : last - 2], 1)
    wanted = np.argsort(-counts, kind="stable")[:K]
    assert (one.results.items == wanted).all()


def test_models_that_are_missing_are_refused(ring, ring_table) -> None:
    for method in ("sasrec", "sasrec_markov", "autoregressive"):
        with pytest.raises(SidiffError, match=method):
            ranked(ring, ring_table, {}, False, methods=[method])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"optimizer": {"learning_rate": -7.0}}, "optimizer.learning_rate is -7.0"),
        ({"widht": 64}, "widht is not a parameter"),
        ({"heads": 3}, "heads"),
    ],
)
def test_a_variation_that_does_not_fit_is_named(change, words) -> None:
    sasrec = raw()["sasrec"] | {"tune": [change]}
    with pytest.raises(SidiffError, match=words) as error:
        validate(
            {group: configured(group) for group in GROUPS}
            | {"baselines": raw(sasrec=sasrec)}
        )
    assert "baselines.sasrec" in str(error.value)
