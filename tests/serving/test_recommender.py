from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from sidiff import reference
from sidiff.decoding.posterior import Posterior
from sidiff.diffusion.histories import HistoryBatch
from sidiff.diffusion.joint import ItemTable, JointDenoiser
from sidiff.errors import SidiffError
from sidiff.pipelines.frames import to_sequences
from sidiff.reviews.sequences import training_counts
from sidiff.serving import Recommender
from sidiff.serving import recommender as recommender_module
from sidiff.serving.batch import lists_frame
from sidiff.serving.lists import POPULAR

from ..pipelines.stored_shops import MAX_HISTORY, StoredShop
from ..settings import model


@pytest.fixture(scope="module")
def histories(recommender: Recommender) -> list[list[str]]:
    ids = recommender.names.item_ids.to_list()
    random = np.random.default_rng(0)
    sizes = [0, 1, 1, 2, 3, 49, 50, 51, 120, *random.integers(1, 40, 21)]
    return [[ids[i] for i in random.integers(0, len(ids), size)] for size in sizes]


class Oracle:
    """Energies of network and chain, dense and one user at a time."""

    def __init__(self, shop: StoredShop) -> None:
        self.ids = shop.catalogue["item_id"].to_list()
        users = to_sequences(shop.sequences, shop.catalogue)
        self.counts = training_counts(users)
        self.follows = np.zeros((len(self.ids), len(self.ids)))
        for user in range(users.n_users):
            items = users.items[users.offsets[user] : users.offsets[user + 1]][:-2]
            for one, next_ in pairwise(items):
                self.follows[one, next_] += 1
        stored = shop.denoiser
        self.net = JointDenoiser.from_saved(stored.tensors, stored.metadata)
        known = stored.metadata["known_items"]
        rows = [known.index(i) + 1 if i in known else 0 for i in self.ids]
        self.codes = torch.from_numpy(shop.table.codes.astype(np.int64))
        self.items = ItemTable(self.codes, torch.tensor(rows))
        with torch.no_grad():
            self.vectors = self.net.item_vectors(self.items)
        self.settings = model("evaluation").markov
        self.transitions = model("evaluation").transitions

    def log_p(self, history: list[str]) -> np.ndarray:
        rows = [self.ids.index(item) for item in history]
        last = torch.tensor(rows[-MAX_HISTORY:])
        with torch.no_grad():
            states, _ = self.net.hidden_states(
                self.vectors[last][None], torch.tensor([len(last)])
            )
            user = states[len(last) - 1]
            energies = self.vectors @ user
            energies[last.unique()] += self.net.repeat_gate(user)
        chain, added = self.settings, self.transitions
        followed = reference.transitions(
            rows, self.follows, chain.items, chain.decay, chain.successors
        )
        alone = energies.double()
        both = torch.tensor(
            reference.with_transitions(
                alone.tolist(), followed, added.weight, added.scale
            )
        )
        self.added = (both - alone).numpy()
        return both.log_softmax(0).numpy()

    def ranked(self, history: list[str], barred: set[str]) -> list[str]:
        log_p = self.log_p(history)
        order = sorted(
            range(len(self.ids)),
            key=lambda i: (-round(log_p[i], 5), -self.counts[i], i),
        )
        return [self.ids[i] for i in order if self.ids[i] not in barred]


@pytest.fixture(scope="module")
def oracle(shop: StoredShop) -> Oracle:
    return Oracle(shop)


def ids_of(items: Any) -> list[str]:
    return [item.item_id for item in items]


def test_lists_are_those_of_dense_energies(
    recommender: Recommender, histories: list[list[str]], oracle: Oracle
) -> None:
    lists = recommender.recommend(histories, 7)
    for history, found in list(zip(histories, lists, strict=True))[1:]:
        log_p = oracle.log_p(history)
        rows = [oracle.ids.index(item.item_id) for item in found]
        assert not set(ids_of(found)) & set(history)
        scores = [item.score for item in found]
        np.testing.assert_allclose(scores, log_p[rows], rtol=1e-4)
        parts = [item.transitions for item in found]
        np.testing.assert_allclose(
            parts, 1.0 - np.exp(-oracle.added[rows]), rtol=1e-3, atol=1e-6
        )
        wanted = oracle.ranked(history, set(history))[:7]
        np.testing.assert_allclose(
            log_p[rows], log_p[[oracle.ids.index(i) for i in wanted]], rtol=1e-4
        )
        assert found.method == "items_markov"
        assert found[0].semantic_id == "-".join(
            map(str, oracle.codes[rows[0]].tolist())
        )


def test_a_list_is_the_same_to_the_last_bit_in_any_company(
    recommender: Recommender, histories: list[list[str]]
) -> None:
    for decoder in recommender.decoders:
        together = recommender.recommend(histories, 9, decoder=decoder)
        for size in (1, 2, 3, 5, 16):
            for first in range(0, len(histories), size):
                rows = slice(first, first + size)
                apart = recommender.recommend(histories[rows], 9, decoder=decoder)
                assert apart == together[rows]
        assert recommender.recommend(histories[5], 9, decoder=decoder) == together[5]


def test_threads_do_not_disturb_each_other(
    recommender: Recommender, histories: list[list[str]]
) -> None:
    wanted = [recommender.recommend(h, 8, deny=h[:1]) for h in histories]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(3):
            found = pool.map(
                lambda h: recommender.recommend(h, 8, deny=h[:1]), histories
            )
            assert list(found) == wanted


def test_allow_and_deny(
    recommender: Recommender, histories: list[list[str]], oracle: Oracle
) -> None:
    allow, deny = oracle.ids[:20], oracle.ids[10:30]
    history = [oracle.ids[0], oracle.ids[40]]
    for decoder in recommender.decoders:
        found = recommender.recommend(
            history, 60, allow=allow, deny=deny, decoder=decoder
        )
        assert set(ids_of(found)) == set(oracle.ids[1:10])
    found = recommender.recommend(
        history, 60, allow=allow, deny=deny, exclude_seen=False
    )
    log_p = oracle.log_p(history)
    assert set(ids_of(found)) == set(oracle.ids[:10])
    np.testing.assert_allclose(
        [item.score for item in found], np.sort(log_p[:10])[::-1], rtol=1e-4
    )
    assert len(recommender.recommend(history, 5, allow=deny, deny=deny)) == 0
    assert len(recommender.recommend([], 5, allow=["nothing that is there"])) == 0


def test_unknown_items_are_left_out_and_named(
    recommender: Recommender, histories: list[list[str]]
) -> None:
    history = histories[5]
    strange = ["", "née", *history[:20], "née", *history[20:], "\x00"]
    found = recommender.recommend([["x"], strange, []], 5)
    assert found[1].unknown == ("", "née", "née", "\x00")
    assert found[1].items == recommender.recommend(history, 5).items
    assert found[0].unknown == ("x",)
    assert found[2].unknown == ()


def test_nobody_knows_anything_of_them(
    recommender: Recommender, oracle: Oracle
) -> None:
    order = sorted(range(len(oracle.ids)), key=lambda i: (-oracle.counts[i], i))
    popular = [oracle.ids[i] for i in order]
    for empty in ([], ["unknown"], [[]], pl.Series([], dtype=pl.String)):
        found = recommender.recommend(empty, 6, deny=popular[:2])
        if isinstance(found, list):
            (found,) = found
        assert found.method == POPULAR
        assert ids_of(found) == popular[2:8]
        p = (oracle.counts[order[2]] + 1) / (oracle.counts + 1).sum()
        assert found[0].score == pytest.approx(np.log(p))
        assert found[0].transitions is None
    assert len(recommender.recommend(pl.Series([], dtype=pl.List(pl.String)))) == 0


def test_k_beyond_the_catalogue_gives_what_there_is(
    recommender: Recommender, oracle: Oracle
) -> None:
    history = oracle.ids[3:8]
    for decoder in recommender.decoders:
        found = recommender.recommend(history, 10**9, decoder=decoder)
        assert sorted(ids_of(found)) == sorted(set(oracle.ids) - set(history))
    assert len(recommender.recommend([], 10**9)) == len(oracle.ids)
    everything = recommender.recommend(oracle.ids, 5)
    assert len(everything) == 0


@pytest.mark.parametrize(
    ("histories", "options", "sentence"),
    [
        ("B0SYN", {}, "a str was given"),
        (None, {}, "a NoneType was given"),
        ({"a": 1}, {}, "a dict was given"),
        ([1, 2], {}, "one of them is a int"),
        ([["a"], "b"], {}, "one of them is a str"),
        ([["a"], [2]], {}, "one is not"),
        ([["a"], [None]], {}, "one is not"),
        (["a"], {"k": 0}, "k must be"),
        (["a"], {"k": True}, "k must be"),
        (["a"], {"k": 2.5}, "k must be"),
        (["a"], {"decoder": "beam"}, "no decoder beam; choose one of items_markov"),
        (["a"], {"deny": [3]}, "one is not"),
        (["a"], {"deny": "B0SYN"}, "list of texts, and a str was given"),
        (["a"], {"allow": 5}, "list of texts, and a int was given"),
    ],
)
def test_wrong_arguments_are_told_in_one_sentence(
    recommender: Recommender, histories: Any, options: Any, sentence: str
) -> None:
    with pytest.raises(SidiffError, match=sentence):
        recommender.recommend(histories, **options)


@given(st.data())
@examples(max_examples=20)
def test_any_history_gets_a_list(recommender: Recommender, data: st.DataObject) -> None:
    ids = recommender.names.item_ids.to_list()
    item = st.one_of(st.sampled_from(ids), st.text(max_size=3))
    history = data.draw(st.lists(item, max_size=80))
    k = data.draw(st.integers(1, 80))
    decoder = data.draw(st.sampled_from([None, *recommender.decoders]))
    found = recommender.recommend(history, k, decoder=decoder)
    left = len(set(ids) - set(history))
    assert len(found) == len(set(ids_of(found))) == min(k, left)
    assert not set(ids_of(found)) & set(history)
    scores = [item.score for item in found]
    assert scores == sorted(scores, reverse=True)
    assert list(found.unknown) == [item for item in history if item not in ids]


def test_similar_items_point_the_same_way(
    recommender: Recommender, oracle: Oracle
) -> None:
    vectors = oracle.vectors.numpy()
    vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = vectors @ vectors[7]
    found = recommender.similar(oracle.ids[7], 5)
    assert oracle.ids[7] not in ids_of(found)
    wanted = np.sort(np.delete(cosines, 7))[::-1][:5]
    np.testing.assert_allclose([item.score for item in found], wanted, rtol=1e-4)
    assert len(recommender.similar(oracle.ids[7], 10**6)) == len(oracle.ids) - 1
    with pytest.raises(SidiffError, match="no item x"):
        recommender.similar("x")


def test_the_steps_are_the_denoisers(
    recommender: Recommender, histories: list[list[str]], oracle: Oracle
) -> None:
    history = histories[4]
    assert recommender.recommend(history, 3)[0].steps is None
    found = recommender.recommend([[], history], 3, explain=True)
    assert found[0][0].steps is None
    rows = torch.tensor([[oracle.ids.index(item) for item in history]])
    with torch.no_grad():
        posterior = Posterior(oracle.net, oracle.items)
        lengths = torch.tensor([rows.shape[1]])
        memory = posterior.encode(HistoryBatch(oracle.codes[rows], lengths, rows))
        for item in found[1]:
            sid = oracle.codes[oracle.ids.index(item.item_id)]
            masked = torch.ones(4, dtype=torch.bool)
            assert item.steps is not None
            for step in item.steps:
                logits = posterior.logits(sid[None, None], masked[None, None], memory)
                p = logits[0, 0].softmax(-1)
                own = [float(p[d, sid[d]]) if masked[d] else -1.0 for d in range(4)]
                assert step.digit == int(np.argmax(own))
                assert step.code == int(sid[step.digit])
                assert step.probability == pytest.approx(max(own), rel=1e-4)
                best = p[step.digit].sort(descending=True).values[:5]
                values = [one.probability for one in step.likeliest]
                np.testing.assert_allclose(values, best, rtol=1e-4)
                assert p[step.digit, step.likeliest[0].code] == p[step.digit].max()
                masked[step.digit] = False
            assert not masked.any()


def test_arrays_are_histories_too(
    recommender: Recommender, histories: list[list[str]]
) -> None:
    wanted = recommender.recommend(histories[4], 3)
    for array in (
        np.array(histories[4]),
        np.array(histories[4], dtype=object),
        pl.Series(histories[4]),
    ):
        assert recommender.recommend(array, np.int64(3)) == wanted
        assert recommender.recommend([array], 3)[0] == wanted
    fixed = pl.Series([histories[4]], dtype=pl.Array(pl.String, len(histories[4])))
    assert recommender.recommend(fixed, 3)[0] == wanted
    assert recommender.recommend(histories[4], 3, True) == wanted


def test_a_device_that_means_nothing_is_refused(folder: Path) -> None:
    with pytest.raises(SidiffError, match="choose auto, cpu or cuda"):
        Recommender.load(folder, "tpu")  # type: ignore[arg-type]


def test_steps_are_made_in_pieces(
    recommender: Recommender,
    histories: list[list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def steps(users: list[list[str]]) -> list[list[Any]]:
        lists = recommender.recommend(users, 4, explain=True)
        return [[item.steps for item in one] for one in lists]

    whole = steps(histories)
    monkeypatch.setattr(recommender_module, "SIDS_TRACED", 9)
    for found, wanted in zip(steps(histories), whole, strict=True):
        for one, other in zip(found, wanted, strict=True):
            assert (one is None) == (other is None)
            # Where two digits are all but equally sure, rounding decides between them.
            codes = [
                {step.digit: step.code for step in way or ()} for way in (one, other)
            ]
            assert codes[0] == codes[1]
            if one and other:
                assert one[0].probability == pytest.approx(other[0].probability, 1e-4)


def test_lists_as_a_frame(recommender: Recommender, histories: list[list[str]]) -> None:
    lists = recommender.recommend(histories[:3], 4)
    frame = lists_frame(pl.Series(["a", "b", "c"]), lists)
    assert frame.columns == [
        *("user_id", "rank", "item_id", "score", "semantic_id", "method")
    ]
    for user, found in zip("abc", lists, strict=True):
        rows = frame.filter(user_id=user)
        assert rows["rank"].to_list() == [1, 2, 3, 4]
        assert rows["item_id"].to_list() == ids_of(found)
        assert rows["score"].to_list() == [item.score for item in found]
        assert set(rows["method"]) == {found.method}
