"""One SID denoised digit by digit."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sidiff.decoding.trace import steps

FIRST = [[0.1, 0.9, 0.0], [0.5, 0.3, 0.2]]
"""With both digits masked: digit 0 is surer, its best code is 1."""
SECOND = [0.2, 0.2, 0.6]
"""Digit 1 once digit 0 is filled."""


class Table:
    """A denoiser that reads its probabilities off a table."""

    config: Any = SimpleNamespace(digits=2, codebook_size=3)

    def logits(self, codes: Tensor, masked: Tensor, memory: object) -> Tensor:
        if masked.all():
            return torch.tensor(FIRST)[None, None].log()
        assert masked.tolist() == [[[False, True]]]
        assert codes[0, 0, 0] == 1
        return torch.tensor([[0.9, 0.05, 0.05], SECOND])[None, None].log()


def test_the_surest_digit_is_filled_first_and_the_rest_is_asked_again() -> None:
    table: Any = Table()
    unfilled = torch.zeros((1, 1, 2), dtype=torch.int64)
    first, second = steps(table, None, unfilled, given=False)
    assert (int(first.digit), int(first.code)) == (0, 1)
    np.testing.assert_allclose(first.log_p[0, 0].exp(), FIRST, rtol=1e-6)
    assert first.filled.tolist() == [[[-1, -1]]]
    # A filled digit is asked no more, however sure the network is of it.
    assert (int(second.digit), int(second.code)) == (1, 2)
    assert second.filled.tolist() == [[[1, -1]]]
    assert second.log_p[0, 0, 0].exp().tolist() == [0.0, 0.0, 0.0]
    np.testing.assert_allclose(second.code_log_p.exp(), 0.6, rtol=1e-6)


def test_given_codes_are_filled_in_the_order_of_their_probability() -> None:
    table: Any = Table()
    first, second = steps(table, None, torch.tensor([[[1, 0]]]))
    assert [int(step.digit) for step in (first, second)] == [0, 1]
    assert [int(step.code) for step in (first, second)] == [1, 0]
    np.testing.assert_allclose(second.code_log_p.exp(), 0.2, rtol=1e-6)
