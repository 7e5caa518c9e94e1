"""A strategy of every kind in a package of one's own: one file and one line each."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from pydantic import ValidationError

from sidiff.baselines import BASELINES
from sidiff.baselines.run import rank_baselines
from sidiff.configuration import GROUPS
from sidiff.decoding.decoders import DECODERS
from sidiff.diffusion.noising import AMOUNTS, ORDERS
from sidiff.parameter_errors import problems
from sidiff.registry import Registry
from sidiff.reviews.sequences import Sequences, evaluation_samples, training_samples
from sidiff.sids import tokenizer
from sidiff.sids.quantizers import QUANTIZERS
from sidiff.sids.table import SidTable
from sidiff.training.denoising import Job
from sidiff.training.loop import fit
from tests.settings import evaluation, model
from tests.training.test_loop import parameters

FILES = {
    "rows": """
import numpy as np
from sidiff.sids.quantizers.residual import ResidualKMeans

class Rows(ResidualKMeans):
    kind = "rows"

    @classmethod
    def fit(cls, x_train, digits, codes, *, seed, use_gpu):
        parts = np.array_split(x_train, digits)
        return cls(codebooks=np.stack([part[:codes] / 2 for part in parts]))
""",
    "noise": """
import torch

def all_but_one(context, parameters):
    batch, digits = context.targets.shape
    return torch.full((batch, parameters.views), digits - 1)

def from_the_left(context, parameters):
    batch, digits = context.targets.shape
    return torch.arange(digits).expand(batch, 1, -1)
""",
    "counted": """
from sidiff.decoding import one_pass

users = []

def decode(search):
    users.append(len(search.excluded))
    return one_pass.decode(search)
""",
    "following": """
from sidiff.baselines.method import Baseline
from sidiff.ranking.items import ItemRanker

class Following(Baseline):
    def ranker(self, inputs, parameters, weights, config):
        return ItemRanker(self, inputs.catalogue)

    def logits(self, batch):
        last = batch.history_items.gather(1, batch.lengths[:, None] - 1)
        return lambda items: -(items - (last + 1) % 24).abs().float()
""",
}
LINES: list[tuple[Registry[Any], str, str]] = [
    (QUANTIZERS, "rows", "own.rows:Rows"),
    (AMOUNTS, "all_but_one", "own.noise:all_but_one"),
    (ORDERS, "from_the_left", "own.noise:from_the_left"),
    (DECODERS, "counted", "own.counted:decode"),
    (BASELINES, "following", "own.following:Following"),
]
SEED = 3


@pytest.fixture(autouse=True)
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own").mkdir()
    for name, text in FILES.items():
        (tmp_path / "own" / f"{name}.py").write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    for registry, name, place in LINES:
        monkeypatch.setattr(registry, "_places", dict(registry._places))
        registry.add(name, place)


def ring() -> Sequences:
    """Users who walk round 24 items."""
    rng = np.random.default_rng(1)
    walks = [(rng.integers(24) + np.arange(n)) % 24 for n in rng.integers(5, 14, 150)]
    return Sequences(
        items=np.concatenate(walks).astype(np.int32),
        offsets=np.cumsum([0, *map(len, walks)]),
        user_ids=pl.Series([f"u{i:03}" for i in range(150)]),
        item_ids=pl.Series([f"i{i:02}" for i in range(24)]),
    )


def sids(ids: pl.Series) -> SidTable:
    settings = model(
        "tokenization",
        {"quantizer": "rows", "digits": 3, "codebook_size": 4, "collisions": "repair"},
    )
    rng = np.random.default_rng(0)
    x, trained = rng.normal(size=(24, 6)).astype(np.float32), np.ones(24, dtype=bool)
    whitening, quantizer = tokenizer.fit(x, trained, settings)
    assert whitening is None
    assert quantizer.kind == "rows"
    return tokenizer.assign_sids(x, ids, None, quantizer, settings, None)


def test_strategies_of_ones_own_go_from_configuration_to_lists() -> None:
    sequences = ring()
    table = sids(sequences.item_ids)
    assert (table.digits, table.codebook_size) == (3, 4)
    settings = parameters(
        "digits",
        **{
            "noising.amount": "all_but_one",
            "noising.order": "from_the_left",
            "validation.method": "counted",
        },
    )
    samples = training_samples(sequences, "prefix", 2, 10)
    fitted = fit(Job(sequences, samples, table, settings, 10), lambda *_: None)
    shares = fitted.masking.filter(of="digit", epoch=2).sort("value")["share"]
    assert shares.to_list() == [1.0, 1.0, 0.0]
    assert sum(sys.modules["own.counted"].users) == sequences.n_users

    baselines = model("baselines", {"methods": ["following"], "device": "cpu"})
    shared = evaluation({"seeds": [SEED]})
    (one,) = rank_baselines(sequences, table, {}, baselines, shared, 10)
    assert (one.method, one.seed) == ("following", SEED)
    assert (
        one.results.users.tolist()
        == evaluation_samples(sequences, "test", 10)[:, 0].tolist()
    )
    assert (one.results.items[:, 0] == one.results.targets).all()


@pytest.mark.parametrize(
    ("group", "name", "known"),
    [
        ("tokenization", "quantizer", "opq, rq_kmeans or rows"),
        (
            "evaluation",
            "method",
            "items_markov, items, cpd, two_stage, one_pass or",
        ),
        (
            "recommend",
            "decoder",
            "items_markov, items, cpd, two_stage,",
        ),
    ],
)
def test_the_names_that_a_message_offers_are_those_of_the_registry(
    group: str, name: str, known: str
) -> None:
    with pytest.raises(ValidationError) as error:
        model(group, {name: "nobody"})
    (clause,) = problems(group, GROUPS[group], error.value)
    assert clause.startswith(f'{group}.{name} is "nobody", but must be {known}')
