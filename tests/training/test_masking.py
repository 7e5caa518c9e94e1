"""What the masking log counts, against a loop over all digits."""

from __future__ import annotations

import torch

from sidiff.diffusion.noising.context import NoisingContext
from sidiff.training.denoising import MaskingLog
from sidiff.training.workers import ALONE

BATCH, VIEWS, DIGITS, CODES = 30, 3, 4, 5


def batch(seed: int) -> tuple[NoisingContext, torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    context = NoisingContext(
        targets=torch.randint(CODES, (BATCH, DIGITS), generator=draw),
        history=torch.randint(CODES, (BATCH, 6, DIGITS), generator=draw),
        lengths=torch.randint(1, 7, (BATCH,), generator=draw),
        progress=0.0,
        probe=lambda masked: masked,
        generator=draw,
    )
    return context, torch.rand(BATCH, VIEWS, DIGITS, generator=draw) < 0.4


def test_shares_are_those_of_a_plain_count() -> None:
    log = MaskingLog(DIGITS, torch.device("cpu"))
    sizes, digits = [0] * (DIGITS + 1), [0] * DIGITS
    explained = [[0, 0], [0, 0]]
    for seed in (1, 2):
        context, masked = batch(seed)
        log.add(context, masked)
        for user in range(BATCH):
            items = context.history[user, : context.lengths[user]]
            for view in masked[user].tolist():
                sizes[sum(view)] += 1
                for digit, is_masked in enumerate(view):
                    digits[digit] += is_masked
                    code = context.targets[user, digit]
                    known = int((items[:, digit] == code).any())
                    explained[known][0] += 1
                    explained[known][1] += is_masked
    views = 2 * BATCH * VIEWS
    expected = {
        ("views", value): count / views for value, count in enumerate(sizes)
    } | {("digit", value): count / views for value, count in enumerate(digits)}
    for value, (there, masked_) in enumerate(explained):
        expected["in_history", value] = masked_ / there
    log.end_step(ALONE)
    rows = log.rows(epoch=7)
    assert {row["epoch"] for row in rows} == {7}
    actual = {(row["of"], row["value"]): row["share"] for row in rows}
    assert actual.keys() == expected.keys()
    for key, share in expected.items():
        assert abs(actual[key] - share) < 1e-6, key


def test_every_epoch_counts_anew() -> None:
    log = MaskingLog(DIGITS, torch.device("cpu"))
    log.add(*batch(1))
    log.rows(epoch=1)
    log.add(*batch(2))
    second = log.rows(epoch=2)
    fresh = MaskingLog(DIGITS, torch.device("cpu"))
    fresh.add(*batch(2))
    assert second == fresh.rows(epoch=2)
