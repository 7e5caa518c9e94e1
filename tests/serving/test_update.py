"""New items without training, and old ones taken out."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from sidiff.errors import SidiffError
from sidiff.pipelines.catalogue_update.nodes import update_bundle
from sidiff.pipelines.settings import UpdateParameters
from sidiff.serving import Bundle, Recommender
from sidiff.sids.encoder import embed, load_encoder
from sidiff.snapshots import SnapshotFolder

from ..pipelines.stored_shops import StoredShop, tokenization_settings, tokenize
from ..settings import model
from .conftest import bundle_of


@pytest.fixture(scope="module")
def texts(shop: StoredShop) -> pl.DataFrame:
    return shop.catalogue.select("item_id", text=pl.col("title").fill_null("nothing"))


@pytest.fixture(scope="module")
def embeddings(texts: pl.DataFrame) -> pl.DataFrame:
    encoder = load_encoder(model("embedding").encoder, "cpu", "float32")
    return embed(texts, encoder, 32, None)


@pytest.fixture(scope="module")
def made(
    shop: StoredShop, embeddings: pl.DataFrame, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Bundle, Any]:
    """A bundle of semantic IDs made of texts, and what these were made with."""
    whitening, quantizer, table, lattice = tokenize(embeddings, shop.catalogue)
    denoiser = shop.denoiser
    other = StoredShop(**{**vars(shop), "sid_table": table, "lattice": lattice})
    told = denoiser.metadata | {"sid_table": other.table.fingerprint}
    other.denoiser = denoiser._replace(metadata=told)
    place = tmp_path_factory.mktemp("made") / "bundle"
    bundle_of(other).write(place)
    return Bundle.read(place), (whitening, quantizer, table)


def update(
    made: tuple[Bundle, Any],
    texts: pl.DataFrame,
    embeddings: pl.DataFrame,
    folder: Path,
    **files: Path,
) -> Bundle:
    given = {name: str(path) for name, path in files.items()}
    bundle, fitted = made
    changed = update_bundle(
        bundle,
        texts,
        embeddings,
        *fitted,
        SnapshotFolder(folder / "shards"),
        UpdateParameters.model_validate(
            {"new_items": None, "removed_items": None} | given
        ),
        model("ingestion"),
        model("embedding"),
        tokenization_settings(),
    )
    place = folder / "updated"
    changed.write(place)
    return Bundle.read(place)


@pytest.fixture
def new_items(tmp_path: Path, texts: pl.DataFrame) -> Path:
    """Two items; one has the text of an old item, which gives it its codes."""
    path = tmp_path / "new.csv"
    title = texts["text"][3].replace('"', "")
    path.write_text(
        "item_id,title,brand,categories,price,description\n"
        f'NEW1,"{title}",,,,\nNEW2,A bright polish for nails,Brand,Nails,9.5,Shiny\n'
    )
    return path


def test_new_items_are_recommended_at_once(
    made: tuple[Bundle, Any],
    texts: pl.DataFrame,
    embeddings: pl.DataFrame,
    new_items: Path,
    tmp_path: Path,
) -> None:
    long_ago = {**made[0].about, "created": "2000-01-01T00:00:00+00:00"}
    made = replace(made[0], about=long_ago), *made[1:]
    before = Recommender(made[0])
    bundle = update(made, texts, embeddings, tmp_path, new_items=new_items)
    after = Recommender(bundle)
    old = made[0].items
    assert bundle.items["item_id"].to_list() == [*old["item_id"], "NEW1", "NEW2"]
    codes = bundle.table.codes
    assert np.array_equal(codes[:-2], made[0].table.codes)
    assert len(np.unique(codes, axis=0)) == len(codes), "collisions are repaired"
    assert bundle.table.generation.tolist() == [0] * len(old) + [1, 1]
    assert bundle.about["extends"] == made[0].about["fingerprint"]
    manifest = json.loads((tmp_path / "updated" / "manifest.json").read_text())
    assert "fingerprint" not in manifest["about"]
    assert bundle.about["created"] > "2000-01-02"
    ids = old["item_id"].to_list()
    for decoder in after.decoders:
        found = after.recommend(ids[:4], 1000, decoder=decoder)
        assert {"NEW1", "NEW2"} <= {item.item_id for item in found}
        assert len(found) == len(ids) - 4 + 2
    alone = after.recommend([*ids[:4]], 1, allow=["NEW2"])
    assert [item.title for item in alone] == ["A bright polish for nails"]
    # Those that were there keep the network's order, but for the rounding of products
    # of another shape, and histories may hold new ones. Transitions lift
    # items whatever else there is.
    lists = [one.recommend(ids[:4], 1000, decoder="items") for one in (before, after)]
    scores = {item.item_id: item.score for item in lists[0]}
    new_order = [item.item_id for item in lists[1]]
    kept = [scores[one] for one in new_order if not one.startswith("NEW")]
    assert len(kept) == len(scores)
    assert all(better > worse - 1e-5 for better, worse in pairwise(kept))
    assert after.recommend(["NEW2"], 3).unknown == ()
    assert after.recommend(["NEW2"], 3).method != "popular"


def test_a_new_item_without_text_is_told(
    made: tuple[Bundle, Any],
    texts: pl.DataFrame,
    embeddings: pl.DataFrame,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    path = tmp_path / "new.csv"
    path.write_text("item_id,title\nNEW1,\nNEW2,A bright polish for nails\n")
    with caplog.at_level("WARNING"):
        update(made, texts, embeddings, tmp_path, new_items=path)
    assert "1 items have no text and are given their id, NEW1 first" in caplog.text


def test_removed_items_are_known_and_not_recommended(
    made: tuple[Bundle, Any],
    texts: pl.DataFrame,
    embeddings: pl.DataFrame,
    tmp_path: Path,
) -> None:
    ids = made[0].items["item_id"].to_list()
    before = Recommender(made[0])
    popular = [item.item_id for item in before.recommend([], 5)]
    gone = tmp_path / "gone.txt"
    gone.write_text("\n".join(popular[:2]))
    bundle = update(made, texts, embeddings, tmp_path, removed_items=gone)
    after = Recommender(bundle)
    for decoder in after.decoders:
        for history in ([], ids[:3]):
            found = after.recommend(history, 1000, decoder=decoder)
            listed = {item.item_id for item in found}
            assert listed == set(ids) - set(history) - set(popular[:2])
    assert [item.item_id for item in after.recommend([], 3)] == popular[2:]
    assert len(after.recommend(ids[:3], 3, allow=popular[:2])) == 0
    similar = after.similar(ids[7], 1000)
    assert not {item.item_id for item in similar} & set(popular[:2])
    # What somebody had still says something of them.
    history = [popular[0], ids[5]]
    scores = {item.item_id: item.score for item in before.recommend(history, 1000)}
    for item in after.recommend(history, 10):
        assert item.score == scores[item.item_id]
    # And back again.
    again = tmp_path / "again.csv"
    again.write_text(
        f"item_id,title,brand,categories,price,description\n{popular[0]},Back,,,,\n"
    )
    folder = tmp_path / "second"
    bundle = update((bundle, made[1]), texts, embeddings, folder, new_items=again)
    first = Recommender(bundle).recommend([], 1)[0]
    assert (first.item_id, first.title) == (popular[0], "Back")
    assert np.array_equal(bundle.table.codes, made[0].table.codes)


def test_what_does_not_fit_is_refused(
    made: tuple[Bundle, Any],
    texts: pl.DataFrame,
    embeddings: pl.DataFrame,
    new_items: Path,
    tmp_path: Path,
    shop: StoredShop,
) -> None:
    with pytest.raises(SidiffError, match="nothing to change"):
        update(made, texts, embeddings, tmp_path)
    gone = tmp_path / "gone.txt"
    gone.write_text("nobody\nknows")
    with pytest.raises(SidiffError, match="2 of the items to remove are not"):
        update(made, texts, embeddings, tmp_path, removed_items=gone)
    gone.write_text("\n".join(made[0].items["item_id"]))
    with pytest.raises(SidiffError, match="No item would be left"):
        update(made, texts, embeddings, tmp_path, removed_items=gone)
    other = embeddings.with_columns(fingerprint=pl.lit("of another encoder"))
    with pytest.raises(SidiffError, match="another encoder"):
        update(made, texts, other, tmp_path, new_items=new_items)
    fitted = (shop.whitening, shop.quantizer, shop.sid_table)
    with pytest.raises(SidiffError, match="another SID table"):
        update((made[0], fitted), texts, embeddings, tmp_path, new_items=new_items)
