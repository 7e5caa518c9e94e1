"""Every benchmark runs, on tiny sizes; how fast is not asked here."""

from __future__ import annotations

import json
import shutil
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from kedro.io import DataCatalog, MemoryDataset

from benchmarks import (
    decoding,
    embedding,
    flops,
    inputs,
    large_catalogue,
    peer,
    serving,
    startup,
    tokenization,
    training,
    transitions,
    witness,
)
from benchmarks.common import peak_memory, speedup, table
from sidiff.datasets import Model, SafetensorsDataset
from sidiff.pipelines.frames import to_sequences
from sidiff.reviews.sequences import evaluation_samples

from ..pipelines.stored_shops import MAX_HISTORY, StoredShop
from ..serving.conftest import bundle, folder, shop
from ..serving.test_recommender import Oracle
from ..settings import model

__all__ = ["bundle", "folder", "shop"]

NETWORK = [
    *("--users", "8", "--items", "150", "--digits", "4", "--codes", "8"),
    *("--d-model", "16", "--heads", "2", "--d-ff", "32", "--decoder-layers", "2"),
]
CORNAC = pytest.mark.skipif(not peer.available(), reason="the extra bench is missing")


def run(main: Any, folder: Path, arguments: list[str]) -> dict[str, Any]:
    """The figures of one run, as ``--json`` writes them."""
    threads = torch.get_num_threads()
    file = folder / "figures.json"
    try:
        main([*arguments, "--rounds", "1", "--json", str(file)])
    finally:
        torch.set_num_threads(threads)
    figures = json.loads(file.read_text(encoding="utf-8"))
    assert figures["settings"]["rounds"] == 1
    assert figures["hardware"]["processor"]
    return figures


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    sizes = ["--batch", "16", "--matmul", "64", "--widths", "8", "--digit-counts", "6"]
    folder = tmp_path_factory.mktemp("training")
    return run(training.main, folder, [*NETWORK, *sizes])


@pytest.fixture(scope="module")
def decoded(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    sizes = ["--wide", "16", "--beam", "4", "--beams", "2"]
    sizes += ["--catalogues", "200", "--digit-counts", "8"]
    folder = tmp_path_factory.mktemp("decoding")
    return run(decoding.main, folder, [*NETWORK, *sizes])


class TestTraining:
    def test_figures(self, trained: dict[str, Any]) -> None:
        ours = trained["training"][0]
        assert ours["method"] == "sidiff"
        assert ours["samples_per_second"] > 0
        assert trained["share_of_matmul"] > 0
        shapes = [(row["d_model"], row["digits"]) for row in trained["growth"]]
        assert shapes == [(8, 4), (16, 6)]
        (default,) = trained["default"]
        # Eight users of two to fifty targets each.
        each = default["targets_per_second"] / default["samples_per_second"]
        assert 2 <= each <= 50

    @CORNAC
    def test_cornac_has_the_same_loss(self, trained: dict[str, Any]) -> None:
        assert trained["agreement"]["loss_difference"] <= 1e-5
        assert trained["agreement"]["gradient_difference"] <= 1e-5
        assert trained["agreement"]["same_digits"] == 1
        assert trained["speedup_vs_cornac"] > 0
        assert trained["training"][-1]["method"] == "cornac"


class TestDecoding:
    def test_figures(self, decoded: dict[str, Any]) -> None:
        rates = {row["search"]: row["users_per_second"] for row in decoded["decoding"]}
        assert {"cpd_wide", "cpd_merged", "two_stage_constrained_merged"} <= set(rates)
        assert {"default", "default_network"} <= set(rates)
        assert min(rates.values()) > 0
        work = {row["search"]: row["gflop_per_user"] for row in decoded["decoding"]}
        assert 0 < work["one_pass"] < work["cpd"] < work["cpd_wide"]
        shapes = [(row["items"], row["digits"]) for row in decoded["growth"]]
        assert shapes == [(150, 4), (200, 4), (150, 8)]

    @CORNAC
    def test_cornac_finds_the_same(self, decoded: dict[str, Any]) -> None:
        assert decoded["agreement"]["cpd_wide"] == 1
        assert decoded["agreement"]["cpd_constrained"] == 1
        assert set(decoded["speedup_vs_cornac"]) == {
            row["search"] for row in decoded["decoding"] if "valid_share" in row
        }


def test_embedding(tmp_path: Path) -> None:
    figures = run(embedding.main, tmp_path, ["--items", "8", "--lengths", "5"])
    assert figures["largest_difference"] < 1e-5
    assert 0.999 < figures["bfloat16_least_cosine"] < 1.0
    assert figures["speedup_vs_sentence_transformers"] > 0
    assert figures["embedding"][0]["sidiff_texts_per_second"] > 0
    assert figures["growth"][0]["words"] == 5


def test_startup(tmp_path: Path) -> None:
    figures = run(startup.main, tmp_path, [])
    assert {row["project"] for row in figures["startup"]} == {"empty", "sidiff"}
    assert min(row["wall_seconds"] for row in figures["startup"]) > 0


def test_tokenization(tmp_path: Path) -> None:
    sizes = ["--items", "120", "--embedding", "24", "--dimensions", "16"]
    sizes += ["--codes", "16", "--fits", "80", "--catalogues", "120", "300"]
    figures = run(tokenization.main, tmp_path, [*sizes, "--digit-counts", "32"])
    assert figures["identical"]
    assert [row["items"] for row in figures["fitting"]] == [120, 80]
    structures = [row["structure"] for row in figures["lattices"]]
    assert structures == ["lattice", "lattice", "invertedindex"]
    assert len(figures["continuations"]) == 2
    assert all(row["inverted_index_ms"] > 0 for row in figures["continuations"])


def test_transitions(shop: StoredShop) -> None:
    """Beside dense energies of network and literal chain, one user at a time."""
    parameters = model("evaluation", {"seeds": [shop.denoiser.metadata["seed"]]})
    catalog = DataCatalog(
        {
            name: MemoryDataset(data, copy_mode="assign")
            for name, data in {
                **vars(shop),
                "seed_denoisers": Model({}, {}),
                "params:evaluation": parameters,
            }.items()
        }
    )
    alone, *grid = transitions.measured(catalog, 10**6, 0)
    users = to_sequences(shop.sequences, shop.catalogue)
    samples = evaluation_samples(users, "validation", MAX_HISTORY)
    oracle = Oracle(shop)
    gains: dict[str, list[float]] = {"alone": [], "both": []}
    for user, _, end in samples.tolist():
        items = users.items[users.offsets[user] :][: end + 1]
        *history, target = users.item_ids.gather(items).to_list()
        both = oracle.log_p(history)
        for name, energies in (("alone", both - oracle.added), ("both", both)):
            order = np.lexsort((-oracle.counts, -energies.round(5)))
            place = oracle.ids.index(target)
            rank = order.tolist().index(place)
            gains[name].append(1.0 / np.log2(rank + 2) if rank < transitions.TOP else 0)
    added = parameters.transitions
    (row,) = (row for row in grid if row["scale"] == added.scale)
    assert alone["alone"] == pytest.approx(np.mean(gains["alone"]), abs=2e-3)
    found = row[f"weight {added.weight}"]
    assert found == pytest.approx(np.mean(gains["both"]), abs=2e-3)
    assert found != pytest.approx(alone["alone"], abs=1e-2)


class TestLargeCatalogue:
    SIZES = ("--items", "20000", "--users", "8", "--width", "16")

    def test_halves_find_the_best_by_codes(self, tmp_path: Path) -> None:
        """Residuals next to nothing: the best of all are the best by their codes."""
        sizes = [*self.SIZES, "--shares", "1e-9", "--rescored", "400", "--beams", "20"]
        figures = run(large_catalogue.main, tmp_path, sizes)
        exact, halves, digits = figures["searches"]
        assert exact["found_of_exact"] == 1.0
        assert halves["found_of_exact"] > 0.98
        assert digits["found_of_exact"] < halves["found_of_exact"]
        assert min(row["users_per_cpu_second"] for row in figures["searches"]) > 0

    def test_all_rescored_is_the_exact_list(self, tmp_path: Path) -> None:
        sizes = [*self.SIZES, "--shares", "0.9", "--rescored", "20000", "100"]
        figures = run(large_catalogue.main, tmp_path, [*sizes, "--beams", "65536"])
        _, every, few, pairs = figures["searches"]
        assert every["found_of_exact"] > 0.99
        assert pairs["found_of_exact"] == every["found_of_exact"]
        assert few["found_of_exact"] < 0.5

    def test_spread_is_as_asked(self) -> None:
        rng = np.random.default_rng(0)
        names = {"users": 4, "width": 16, "perplexity": 0.05}
        items, users = large_catalogue.drawn(Namespace(**names), 30_000, 0.2, rng)
        log_p = (users @ items.vectors.T).log_softmax(1)
        spread = (-(log_p.exp() * log_p).sum(1)).exp() / 30_000
        torch.testing.assert_close(spread, torch.full((4,), 0.05), rtol=0.1, atol=0.0)
        assert (items.first.diff() >= 0).all()

    def test_a_trained_network(self, tmp_path: Path) -> None:
        """Its residuals, made large, and its codes, made nothing, decide alone."""
        shop = inputs.synthetic_shop(users=30, items=60, digits=4, codes=8, seed=1)
        shop.sequences.to_frame().write_parquet(tmp_path / "sequences.parquet")
        shop.table.to_frame().write_parquet(tmp_path / "table.parquet")
        sizes = {"d_model": 16, "heads": 2, "d_ff": 32}
        layers = {"encoder_layers": 1, "decoder_layers": 1, "seed": 0}
        network = inputs.random_joint_denoiser(Namespace(**sizes, **layers), shop.table)
        with torch.no_grad():
            network.codes.zero_()
        known = {"known_items": shop.table.item_ids.to_list()}
        stored = Model(network.state_dict(), network.saved_config() | known)
        file = tmp_path / "denoiser.safetensors"
        SafetensorsDataset(str(file), framework="torch").save(stored)
        arguments = ["--denoiser", str(file), "--users", "30"]
        arguments += ["--sequences", str(tmp_path / "sequences.parquet")]
        arguments += ["--sid-table", str(tmp_path / "table.parquet")]
        figures = run(large_catalogue.main, tmp_path, arguments)
        assert figures["trained"]["residuals"] == pytest.approx(1.0)
        assert figures["trained"]["codes_find_99"] > 0.5
        assert 0.9 < figures["trained"]["perplexity"] <= 1.0


def test_stored_artefacts(tmp_path: Path) -> None:
    shop = inputs.synthetic_shop(users=30, items=60, digits=4, codes=8, seed=1)
    shop.sequences.to_frame().write_parquet(tmp_path / "sequences.parquet")
    shop.table.to_frame().write_parquet(tmp_path / "table.parquet")
    sizes = [*NETWORK, "--batch", "16", "--matmul", "64", "--widths", "--digit-counts"]
    stored = ["--sequences", str(tmp_path / "sequences.parquet")]
    with pytest.raises(SystemExit):
        training.main([*sizes, *stored])
    stored += ["--sid-table", str(tmp_path / "table.parquet")]
    figures = run(training.main, tmp_path, [*sizes, *stored])
    assert figures["samples"] > 0
    assert figures["growth"] == []


def test_shop_is_like_beauty() -> None:
    shop = inputs.synthetic_shop(users=5000, items=900, digits=4, codes=256, seed=0)
    lengths = pl.Series(shop.sequences.lengths)
    assert lengths.min() == 5
    assert lengths.median() == 6
    assert lengths.max() == 53
    assert 8 < shop.sequences.lengths.mean() < 9
    assert len(shop.table.groups().sid_codes) == 900


def test_too_many_sids_are_refused() -> None:
    with pytest.raises(ValueError, match="few for 60 items"):
        inputs.synthetic_shop(users=1, items=60, digits=1, codes=8, seed=0)


def test_flops_of_a_linear_layer_and_its_gradients() -> None:
    from sidiff.onednn import Linear  # noqa: PLC0415

    layer = Linear(8, 16)
    x = torch.rand(3, 4, 8, requires_grad=True)
    product = 2 * 3 * 4 * 8 * 16
    assert flops.count(lambda: layer(x)) == product
    assert flops.count(lambda: layer(x).sum().backward()) == 3 * product


def test_speedup_is_the_median_of_ratios() -> None:
    assert speedup({"a": [1.0, 2.0, 1.0], "b": [4.0, 2.0, 3.0]}, "a", "b") == 3.0
    assert speedup({"a": [1.0]}, "a", "b") is None


def test_table_aligns_and_marks_what_is_missing() -> None:
    rows = [{"name": "x", "value": 1234.5}, {"name": "longer", "other": True}]
    assert table(rows).splitlines() == [
        "name    value  other",
        "x       1,234      -",
        "longer      -    yes",
    ]


def _holder(mebibytes: int) -> Callable[[], object]:
    return lambda: bytearray(b"x") * (mebibytes * 2**20)


def test_peak_memory_is_what_the_work_adds() -> None:
    assert 60 < peak_memory(_holder, 64) < 80


@pytest.mark.skipif(shutil.which("wrk") is None, reason="no wrk on this machine")
def test_serving(folder: Path, tmp_path: Path) -> None:
    figures = run(
        serving.main, tmp_path, [str(folder), "--seconds", "1", "--clients", "1", "3"]
    )
    rows = figures["serving"]
    servers = ["sidiff", "cornac"] if peer.available() else ["sidiff"]
    told = [(row["server"], row["clients"]) for row in rows]
    assert told == [(server, clients) for server in servers for clients in (1, 3)]
    for row in rows:
        assert row["requests"] > 0
        assert row["errors"] == 0
        assert 0 < row["p50_ms"] <= row["p95_ms"] <= row["p99_ms"]


@CORNAC
def test_the_witness_trains_and_ranks_as_we_do(tmp_path: Path) -> None:
    figures = run(
        witness.main,
        tmp_path,
        [
            *NETWORK,
            "--epochs",
            "2",
            "--batch",
            "16",
            "--beam",
            "8",
            "--seeds",
            "1",
            "2",
        ],
    )
    trainings = figures["trainings"]
    assert [(row["method"], row["seed"]) for row in trainings] == [
        *(("sidiff", 1), ("cornac", 1), ("sidiff", 2), ("cornac", 2))
    ]
    # Both begin by knowing nothing of eight codes.
    for row in trainings:
        assert row["loss_1"] == pytest.approx(np.log(8), abs=0.3)
    quality = {(row["figure"], row["of"]): row for row in figures["quality"]}
    for figure in ("recall_at_10", "ndcg_at_10"):
        ours, theirs, less = (
            quality[figure, of]["mean"] for of in ("sidiff", "cornac", "difference")
        )
        assert less == pytest.approx(ours - theirs)
        seeds = [row[figure] for row in trainings if row["method"] == "sidiff"]
        assert ours == pytest.approx(np.mean(seeds))
        less = quality[figure, "difference"]
        assert less["low"] <= less["mean"] <= less["high"]


def test_gains_are_those_of_the_targets_semantic_id() -> None:
    shop = inputs.synthetic_shop(5, 60, 3, 8, seed=0)
    sequences, codes = shop.sequences, shop.table.codes
    last = [
        tuple(codes[sequences.items[end - 1]].tolist()) for end in sequences.offsets[1:]
    ]
    other = (8, 8, 8)
    lists = [[last[0]], [other, last[1]], [other] * 10 + [last[2]], [], [last[4]] * 2]
    expected = [[1, 1], [1, 1 / np.log2(3)], [0, 0], [0, 0], [1, 1]]
    np.testing.assert_allclose(witness.gains(lists, shop), expected)
