from __future__ import annotations

import ast
import json

import numpy as np
import polars as pl
import pytest

from sidiff.reviews.ingestion import Ingested, ingest_items, ingest_reviews
from sidiff.reviews.kcore import k_core
from sidiff.reviews.sample_shop import SampleShop, generate
from sidiff.reviews.sequences import Sequences, build_sequences, training_counts
from sidiff.reviews.settings import SampleDataParameters


def draw(users: int, items: int, seed: int) -> SampleShop:
    return generate(SampleDataParameters(users=users, items=items, seed=seed))


@pytest.fixture(scope="module")
def shop() -> SampleShop:
    return draw(3000, 800, 2024)


@pytest.fixture(scope="module")
def ingested(
    shop: SampleShop, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Ingested, Ingested]:
    folder = tmp_path_factory.mktemp("shop")
    (folder / "reviews").write_text("\n".join(shop.review_lines), encoding="utf-8")
    (folder / "meta").write_text("\n".join(shop.metadata_lines), encoding="utf-8")
    return (
        ingest_reviews(folder / "reviews", "amazon2014"),
        ingest_items(folder / "meta", "amazon2014"),
    )


@pytest.fixture(scope="module")
def sequences(ingested: tuple[Ingested, Ingested]) -> Sequences:
    return build_sequences(k_core(ingested[0].frame, 5, 5, None).frame, "item_id")[0]


def test_a_seed_gives_the_same_lines_and_another_gives_others() -> None:
    assert draw(60, 70, 1) == draw(60, 70, 1)
    assert draw(60, 70, 1).review_lines != draw(60, 70, 2).review_lines
    assert draw(60, 70, 1).metadata_lines != draw(60, 70, 2).metadata_lines


def test_reviews_have_the_genuine_layout_and_say_what_they_are(
    shop: SampleShop,
) -> None:
    reviews = [json.loads(line) for line in shop.review_lines]
    assert list(reviews[0]) == [
        "reviewerID",
        "asin",
        "reviewerName",
        "helpful",
        "reviewText",
        "overall",
        "summary",
        "unixReviewTime",
        "reviewTime",
    ]
    assert all("Synthetic" in review["reviewerName"] for review in reviews)
    assert all("Synthetic" in review["summary"] for review in reviews)
    assert all(review["unixReviewTime"] % 86_400 == 0 for review in reviews)
    asins = [review["asin"] for review in reviews]
    assert asins == sorted(asins)


def test_metadata_are_python_literals_with_gaps(shop: SampleShop) -> None:
    items = [ast.literal_eval(line) for line in shop.metadata_lines]
    with pytest.raises(json.JSONDecodeError):
        json.loads(shop.metadata_lines[0])
    assert len({item["asin"] for item in items}) == 800
    assert all(isinstance(item["categories"][0], list) for item in items)
    for name in ("description", "price", "brand"):
        assert 0.05 < np.mean([name not in item for item in items]) < 0.25
    described = [item["description"] for item in items if "description" in item]
    assert all("synthetic" in description for description in described)


def test_every_line_is_ingested(
    shop: SampleShop, ingested: tuple[Ingested, Ingested]
) -> None:
    reviews, items = ingested
    assert reviews.rows == len(shop.review_lines)
    assert items.rows == 800
    log, shelf = reviews.frame.collect(), items.frame.collect()
    assert shelf["title"].n_unique() == 800
    assert set(log["item_id"]) <= set(shelf["item_id"])
    assert not log.select("user_id", "item_id").is_duplicated().any()


def test_the_core_keeps_nearly_all_in_sequences_of_real_lengths(
    sequences: Sequences,
) -> None:
    assert sequences.n_users >= 2950
    assert sequences.n_items >= 770
    lengths = sequences.lengths
    assert (lengths.min(), lengths.max()) == (5, 30)
    assert 8.0 <= lengths.mean() <= 10.0


def test_popularity_is_skewed_and_days_tie(
    sequences: Sequences, ingested: tuple[Ingested, Ingested]
) -> None:
    counts = np.sort(training_counts(sequences))[::-1]
    assert 0.25 < counts[:80].sum() / counts.sum() < 0.5
    days = ingested[0].frame.collect().sort("user_id", "timestamp")
    gaps = days.select(pl.col("timestamp").diff().over("user_id")).to_series()
    assert 0.1 < (gaps.drop_nulls() == 0).mean() < 0.3


def test_sequences_can_be_learnt_but_not_perfectly(sequences: Sequences) -> None:
    """What followed the last item in training beats popularity by far."""
    n = sequences.n_items
    popularity = training_counts(sequences).astype(float)
    followed = np.zeros((n, n))
    ends = sequences.offsets[1:]
    inner = np.ones(sequences.items.size - 1, dtype=bool)
    for back in (1, 2, 3):  # held-out targets, and the step to the next user
        inner[ends[:-1] - back] = False
    inner[-2:] = False
    np.add.at(followed, (sequences.items[:-1][inner], sequences.items[1:][inner]), 1)

    def ndcg_at_10(scores: np.ndarray) -> float:
        target = sequences.items[ends - 1]
        users = np.repeat(np.arange(sequences.n_users), sequences.lengths)
        own = scores[np.arange(len(scores)), target]
        scores[users, sequences.items] = -1.0  # nobody buys an item twice
        rank = (scores > own[:, None]).sum(axis=1)
        return float(np.where(rank < 10, 1 / np.log2(rank + 2.0), 0.0).mean())

    by_popularity = ndcg_at_10(np.tile(popularity, (sequences.n_users, 1)))
    last = sequences.items[ends - 2]
    by_order = ndcg_at_10(followed[last] + 1e-4 * popularity)
    assert by_popularity < 0.06
    assert 4 * by_popularity < by_order < 0.4


@pytest.mark.parametrize(("users", "items"), [(50, 60), (50, 61), (200, 3000)])
def test_other_sizes(users: int, items: int) -> None:
    shop = draw(users, items, 0)
    reviews = [json.loads(line) for line in shop.review_lines]
    titles = [ast.literal_eval(line)["title"] for line in shop.metadata_lines]
    assert len({review["reviewerID"] for review in reviews}) == users
    assert len({title.rsplit(",", 1)[0] for title in titles}) == items
