"""Names of partial SIDs and look-up of complete ones, for any number of digits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sidiff.decoding.decoders import Decoded
from sidiff.decoding.keys import SidIndex, among, distinct_columns, state_keys
from sidiff.ranking.lists import rank_sids
from tests.decoding.catalogues import catalogue_of


@settings(max_examples=60)
@given(
    digits=st.integers(1, 40),
    codes=st.sampled_from([2, 16, 256, 65536]),
    seed=st.integers(0, 10_000),
)
def test_keys_are_equal_exactly_where_states_are(digits, codes, seed) -> None:
    generator = torch.Generator().manual_seed(seed)
    # Few symbols, at both ends of the range, so that equal states do occur.
    low = torch.randint(0, 2, (2, 12, digits), generator=generator)
    values = torch.where(low == 1, codes - 1, 0)
    masked = torch.rand(2, 12, digits, generator=generator) < 0.3
    values[:, 6:], masked[:, 6:] = values[:, :6], masked[:, :6]
    keys = state_keys(values, masked, codes)
    assert (keys >= 0).all()
    states = [
        (tuple(torch.where(h, -1, v).tolist()), int(k))
        for vs, hs, ks in zip(values, masked, keys, strict=True)
        for v, h, k in zip(vs, hs, ks, strict=True)
    ]
    assert (
        len({s for s, _ in states}) == len({k for _, k in states}) == len(set(states))
    )


@pytest.mark.parametrize("digits", [1, 4, 8, 16])
def test_index_equals_a_dictionary(digits: int) -> None:
    rng = np.random.default_rng(digits)
    table = np.unique(rng.integers(0, 3, (60, digits)), axis=0)
    rng.shuffle(table)
    index = SidIndex(table.astype(np.uint16), 256, torch.device("cpu"))
    rows = {tuple(sid): row for row, sid in enumerate(table.tolist())}
    asked = np.concatenate([table, rng.integers(0, 4, (200, digits))])
    asked[-1] = 255
    expected = [rows.get(tuple(sid), -1) for sid in asked.tolist()]
    assert index.rows(torch.from_numpy(asked)).tolist() == expected


def test_ranking_drops_repeats_and_sids_without_items() -> None:
    catalogue = catalogue_of(np.array([[0, 0], [0, 1], [2, 2], [3, 1]]), 4)
    kept = catalogue.restrict(torch.tensor([True, True, True, False]))
    inf = float("inf")
    decoded = Decoded(
        codes=torch.tensor(
            [
                [[2, 2], [3, 3], [2, 2], [0, 1], [3, 1]],
                [[1, 1], [0, 0], [0, 0], [2, 2], [0, 1]],
            ]
        ),
        scores=torch.tensor([[-1, -2, -3, -4, -5], [-1, -2, -inf, -inf, -inf]]),
        denoiser_calls=2,
        distinct_states=1.0,
    )
    excluded = torch.tensor([[1, -1], [-1, -1]])
    ranked = rank_sids(decoded, kept, excluded)
    assert ranked.rows[:, :2].tolist() == [[2, -1], [0, -1]]
    assert ranked.scores[:, :2].tolist() == [[-1, -inf], [-2, -inf]]
    assert ranked.valid_share == pytest.approx(5 / 7)  # of all that exist


@given(
    users=st.integers(0, 4),
    asked=st.integers(0, 9),
    width=st.integers(0, 9),
    seed=st.integers(0, 10_000),
)
def test_among_equals_plain_comparison(users, asked, width, seed) -> None:
    generator = torch.Generator().manual_seed(seed)
    values = torch.randint(-1, 8, (users, asked), generator=generator)
    others = torch.randint(-1, 8, (users, width), generator=generator)
    expected = (values[:, :, None] == others[:, None]).any(2)
    assert among(values, others).tolist() == expected.tolist()


@settings(max_examples=60)
@given(
    users=st.integers(1, 5),
    width=st.integers(1, 12),
    values=st.integers(1, 12),
    seed=st.integers(0, 10_000),
)
def test_equal_keys_share_one_place(users, width, values, seed) -> None:
    rng = np.random.default_rng(seed)
    keys = torch.from_numpy(rng.integers(-1, values, (users, width)))
    first, owner = distinct_columns(keys)
    counts = [len(set(row)) for row in keys.tolist()]
    assert first.shape == (users, max(counts))
    chosen = keys.gather(1, first)
    assert torch.equal(chosen.gather(1, owner), keys)
    for row, places, count in zip(chosen.tolist(), owner.tolist(), counts, strict=True):
        assert len(set(row[:count])) == count
        assert set(places) == set(range(count))
