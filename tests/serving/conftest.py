"""A small shop as a bundle, with a network that was drawn and not trained."""

from __future__ import annotations

from pathlib import Path

import pytest

from sidiff.pipelines.packaging.nodes import make_bundle
from sidiff.serving import Bundle, Recommender

from ..pipelines.stored_shops import StoredShop, make_shop
from ..settings import model


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> StoredShop:
    return make_shop(tmp_path_factory.mktemp("shop"), 1)


@pytest.fixture(scope="session")
def bundle(shop: StoredShop) -> Bundle:
    return bundle_of(shop)


@pytest.fixture(scope="session")
def folder(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("bundles") / "first"
    bundle.write(place)
    return place


@pytest.fixture(scope="session")
def recommender(folder: Path) -> Recommender:
    return Recommender.load(folder)


def bundle_of(shop: StoredShop) -> Bundle:
    return make_bundle(
        shop.denoiser,
        shop.sequences,
        shop.catalogue,
        shop.sid_table,
        shop.lattice,
        model("evaluation"),
        "shop",
    )
