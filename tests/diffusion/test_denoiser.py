"""The denoiser against a slow, literal re-derivation.

That is DiffGRM's released network, and MDGR's, whose parts are options.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from sidiff.diffusion import blocks, denoiser
from sidiff.diffusion.denoiser import Denoiser, DenoiserConfig
from sidiff.errors import SidiffError

SHAPE = dict(digits=3, codebook_size=5, max_history=50)
SMALL = dict(
    d_model=16, heads=2, d_ff=24, encoder_layers=2, decoder_layers=2, dropout=0.0
)


def build(scale: float = 8.0, **changes: object) -> Denoiser:
    """A network with weights large enough for differences to show."""
    config = DenoiserConfig(**(SHAPE | SMALL | {"cross_pad": "sink"} | changes))
    model = Denoiser(config).initialize(torch.Generator().manual_seed(3)).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" not in name:
                parameter.mul_(scale)
            parameter.add_(0.05)
    return model


def batch(model: Denoiser, lengths: list[int], views: int = 2) -> tuple[Tensor, ...]:
    config = model.config
    generator = torch.Generator().manual_seed(1)

    def draw(*shape: int) -> Tensor:
        return torch.randint(config.codebook_size, shape, generator=generator)

    history = draw(len(lengths), max(1, *lengths), config.digits)
    codes = draw(len(lengths), views, config.digits)
    masked = torch.rand(codes.shape, generator=generator) < 0.5
    return history, torch.tensor(lengths), codes, masked


def reference(
    model: Denoiser, history: Tensor, length: int, codes: Tensor, masked: Tensor
) -> Tensor:
    """One user, one view, padded to max_history with explicit pads; ``(L, K)``."""
    c, w = model.config, dict(model.named_parameters())
    head = c.d_model // c.heads

    def norm(x: Tensor, name: str) -> Tensor:
        return F.layer_norm(x, (c.d_model,), w[f"{name}.weight"], w[f"{name}.bias"])

    def attend(q: Tensor, k: Tensor, v: Tensor, keep: Tensor | None) -> Tensor:
        out = []
        for h in range(c.heads):
            cut = slice(h * head, (h + 1) * head)
            score = q[:, cut] @ k[:, cut].T / math.sqrt(head)
            if keep is not None:
                score = score.masked_fill(~keep, -math.inf)
            out.append(score.softmax(-1) @ v[:, cut])
        return torch.cat(out, 1)

    def linear(x: Tensor, name: str) -> Tensor:
        return F.linear(x, w[f"{name}.weight"], w.get(f"{name}.bias"))

    def feed_forward(x: Tensor, name: str) -> Tensor:
        inner = linear(x, f"{name}.0")
        gelu = 0.5 * inner * (1 + torch.erf(inner / math.sqrt(2)))
        return linear(gelu, f"{name}.2")

    table = w["codes"].view(c.digits, c.codebook_size, c.d_model)
    padded = torch.zeros(c.max_history, c.digits, dtype=torch.int64)
    padded[:length] = history[:length]
    place = torch.arange(c.max_history)
    if model.NEWEST_FIRST:
        place = (length - 1 - place).clamp(min=0)
    keep = torch.arange(c.max_history) < length
    if c.history_tokens == "items":
        joined = torch.cat([table[j, padded[:, j]] for j in range(c.digits)], 1)
        x = linear(F.relu(linear(joined, "item_in")), "item_out")
        x = x + w["positions"][place]
    else:
        x = torch.stack(
            [
                table[j, padded[t, j]]
                + w["positions"][place[t]]
                + w["sid_positions"][j]
                for t in range(c.max_history)
                for j in range(c.digits)
            ]
        )
        keep = (torch.arange(len(x)) // c.digits) < length
    for i in range(c.encoder_layers):
        y = linear(
            norm(x, f"encoder.{i}.attention_norm"), f"encoder.{i}.attention.project"
        )
        mixed = attend(*y.chunk(3, 1), keep)
        x = x + linear(mixed, f"encoder.{i}.attention.output")
        x = x + feed_forward(
            norm(x, f"encoder.{i}.feed_forward_norm"), f"encoder.{i}.feed_forward"
        )
    states = norm(x, "norm") * keep[:, None]
    sink = None if c.cross_pad == "sink" else keep
    mask = [w["masks"][j if c.mask == "per_digit" else 0] for j in range(c.digits)]
    y = torch.stack(
        [mask[j] if masked[j] else table[j, codes[j]] for j in range(c.digits)]
    )
    if c.mask == "shared":
        y = y + w["sid_positions"]
    if c.difficulty_embedding and masked.any():
        y = y + w["difficulties"][int(masked.sum()) - 1]
    for i in range(c.decoder_layers):
        name = f"decoder.{i}"
        qkv = linear(norm(y, f"{name}.self_norm"), f"{name}.self_attention.project")
        mixed = attend(*qkv.chunk(3, 1), None)
        y = y + linear(mixed, f"{name}.self_attention.output")
        q = linear(norm(y, f"{name}.cross_norm"), f"{name}.cross_attention.query")
        k, v = linear(states, f"{name}.cross_attention.key_value").chunk(2, 1)
        y = y + linear(attend(q, k, v, sink), f"{name}.cross_attention.output")
        y = y + feed_forward(
            norm(y, f"{name}.feed_forward_norm"), f"{name}.feed_forward"
        )
    final = norm(y, "norm")
    return torch.stack([table[j] @ final[j] for j in range(c.digits)])


MDGR = dict(history_tokens="codes", mask="shared", difficulty_embedding=True)


@pytest.mark.parametrize("cross_pad", ["sink", "mask"])
@pytest.mark.parametrize(
    "parts",
    [
        {},
        {"history_tokens": "codes"},
        {"mask": "shared"},
        {"difficulty_embedding": True},
        MDGR,
    ],
)
@pytest.mark.parametrize("newest_first", [False, True])
def test_logits_equal_the_50_padded_reference(
    cross_pad: str, parts: dict, newest_first: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Denoiser, "NEWEST_FIRST", newest_first)
    model = build(cross_pad=cross_pad, **parts)
    lengths = [1, 4, 9, 50]
    history, sizes, codes, masked = batch(model, lengths)
    with torch.no_grad():
        logits = model.logits(codes, masked, model.encode(history, sizes))
        for user, length in enumerate(lengths):
            for view in range(codes.shape[1]):
                expected = reference(
                    model, history[user], length, codes[user, view], masked[user, view]
                )
                assert expected.std() > 0.1
                open_ = masked[user, view]
                torch.testing.assert_close(
                    logits[user, view][open_], expected[open_], rtol=1e-5, atol=1e-5
                )


def test_the_sink_is_part_of_the_function() -> None:
    sink, mask = build(), build(cross_pad="mask")
    history, sizes, codes, masked = batch(sink, [2, 3])
    with torch.no_grad():
        gap = sink.logits(codes, masked, sink.encode(history, sizes)) - mask.logits(
            codes, masked, mask.encode(history, sizes)
        )
    assert gap.abs().max() > 1e-2


@pytest.mark.parametrize("parts", [{}, MDGR])
def test_pads_do_not_change_a_user(parts: dict) -> None:
    model = build(**parts)
    history, sizes, codes, masked = batch(model, [3, 20])
    with torch.no_grad():
        together = model.logits(codes, masked, model.encode(history, sizes))[0]
        alone = model.logits(
            codes[:1], masked[:1], model.encode(history[:1, :3], sizes[:1])
        )[0]
    asked = masked[0]
    torch.testing.assert_close(together[asked], alone[asked], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("cross_pad", ["sink", "mask"])
def test_a_batch_without_any_item(cross_pad: str) -> None:
    """With no column at all, as with one that holds a pad."""
    model = build(cross_pad=cross_pad)
    history, lengths, codes, masked = batch(model, [0, 0])
    padded = model.encode(history, lengths)
    empty = model.encode(history[:, :0], lengths)
    torch.testing.assert_close(
        model.logits(codes, masked, empty), model.logits(codes, masked, padded)
    )


@pytest.mark.parametrize("cross_pad", ["sink", "mask"])
@pytest.mark.parametrize("history_tokens", ["items", "codes"])
def test_a_user_without_history_gets_finite_logits(
    cross_pad: str, history_tokens: str
) -> None:
    model = build(cross_pad=cross_pad, history_tokens=history_tokens)
    history, sizes, codes, masked = batch(model, [0, 2])
    logits = model.logits(codes, masked, model.encode(history, sizes))
    assert logits.isfinite().all()


@pytest.mark.parametrize("views", [1, 4])
@pytest.mark.parametrize("masked_digits", ["some", "one", "none"])
def test_digits_that_the_last_layer_leaves_out_change_nothing(
    views: int, masked_digits: str
) -> None:
    """Logits and gradients are those of the last layer over all digits."""
    model = build()
    history, lengths, codes, masked = batch(model, [3, 7, 0], views)
    if masked_digits == "one":
        masked[:] = False
        masked[..., 1] = True
    if masked_digits == "none":
        masked[:] = False
    gradients = []
    for whole in (True, False):
        model.zero_grad()
        memory = model.encode(history, lengths)
        with pytest.MonkeyPatch.context() as patch:
            if whole:
                patch.setattr(denoiser, "required_first", every_digit)
            logits = model.logits(codes, masked, memory)
        assert logits.shape == (*codes.shape, 5)
        gradients.append([logits[masked]])
        if masked_digits != "none":
            logits[masked].square().sum().backward()
            gradients[-1] += [p.grad for p in model.parameters() if p.grad is not None]
    for full, short in zip(*gradients, strict=True):
        torch.testing.assert_close(short, full, rtol=1e-4, atol=1e-4)


def every_digit(x: Tensor, required: Tensor) -> tuple[Tensor, Tensor]:
    return blocks.required_first(x, torch.ones_like(required))


@pytest.mark.parametrize("shape", [(1, 16), (3, 5, 16), (2, 0, 16), (7, 11, 13, 16)])
def test_tokens_in_parts_are_the_same_tokens(
    shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "INNER_NUMBERS", 24 * 10)
    model = build()
    block = model.encoder[0].feed_forward
    assert block.rows == 10
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        parts = block(x)
    torch.testing.assert_close(parts, block(x).detach(), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("lengths", [[0], [1, 0, 3], [40, 30], [64], [50, 50, 50]])
def test_packed_tokens_come_in_few_numbers(lengths: list[int]) -> None:
    slots = torch.arange(max(1, *lengths))
    real = slots < torch.tensor(lengths)[:, None]
    x = torch.randn(*real.shape, 3, generator=torch.Generator().manual_seed(0))
    packing = blocks.Packing.of(real)
    packed = packing.pack(x).requires_grad_()
    assert len(packed) % blocks.PACKED_GRAIN == 0
    assert len(packed) - packing.tokens < blocks.PACKED_GRAIN
    padded = packing.pad(packed, more=1)
    assert torch.equal(padded[:, :-1], x * real[..., None])
    assert not padded[:, -1].any()
    padded.sum().backward()
    assert packed.grad is not None
    assert packed.grad[: packing.tokens].eq(1).all()
    assert packed.grad[packing.tokens :].eq(0).all()


@pytest.mark.parametrize("parts", [{}, MDGR])
def test_bfloat16_products_are_those_of_float32_but_for_rounding(parts: dict) -> None:
    model = build(scale=4.0, d_model=64, d_ff=128, **parts)
    history, lengths, codes, masked = batch(model, [3, 7, 1, 0])

    def logits() -> Tensor:
        return model.logits(codes, masked, model.encode(history, lengths))[masked]

    exact = logits()
    model.precision = "bfloat16"
    rounded = logits()
    assert rounded.dtype == torch.float32
    assert not torch.equal(rounded, exact)
    # 8 bits of significand, some dozens of products one after the other.
    assert float((rounded - exact).detach().std() / exact.detach().std()) < 0.05
    # Logits themselves are not rounded to 8 bits: all of them differ.
    assert len(rounded.flatten().unique()) > 0.9 * rounded.numel()
    rounded.logsumexp(-1).sum().backward()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert all(g.dtype == torch.float32 and g.isfinite().all() for g in gradients)


def test_masked_codes_are_not_read() -> None:
    model = build()
    history, sizes, codes, masked = batch(model, [3, 5])
    memory = model.encode(history, sizes)
    other = torch.where(masked, (codes + 1) % model.config.codebook_size, codes)
    assert torch.equal(
        model.logits(codes, masked, memory), model.logits(other, masked, memory)
    )


@pytest.mark.parametrize(
    ("d_model", "heads", "d_ff", "released", "unused_rows"),
    [(256, 4, 1024, 5_602_048, 3), (1024, 8, 1024, 54_636_544, 3)],
)
def test_parameter_count_is_the_release_less_its_unused_rows(
    d_model: int, heads: int, d_ff: int, released: int, unused_rows: int
) -> None:
    with torch.device("meta"):
        model = Denoiser(
            DenoiserConfig(
                digits=4,
                codebook_size=256,
                max_history=50,
                d_model=d_model,
                heads=heads,
                d_ff=d_ff,
                encoder_layers=1,
                decoder_layers=4,
                dropout=0.1,
                cross_pad="sink",
            )
        )
    count = sum(p.numel() for p in model.parameters())
    assert count == released - unused_rows * d_model


def test_what_is_not_used_has_no_weights() -> None:
    """MDGR has one mask and two tables of L rows, and no MLP."""

    def rows(**parts: object) -> dict[str, int]:
        weights = build(**parts).named_parameters()
        return {name: parameter.numel() // 16 for name, parameter in weights}

    plain, full = rows(), rows(**MDGR)
    less = {"item_in.weight", "item_in.bias", "item_out.weight", "item_out.bias"}
    assert plain.keys() - full.keys() == less
    assert full.keys() - plain.keys() == {"sid_positions", "difficulties"}
    assert (plain["masks"], full["masks"]) == (3, 1)
    assert full["sid_positions"] == full["difficulties"] == 3


def test_only_the_rows_of_the_numbers_masked_are_trained() -> None:
    model = build(**MDGR)
    history, lengths, codes, _ = batch(model, [3, 5])
    masked = torch.tensor([[1, 0, 0], [1, 1, 1]], dtype=torch.bool).expand(2, 2, 3)
    model.logits(codes, masked, model.encode(history, lengths))[masked].sum().backward()
    used = model.difficulties.grad.abs().sum(1) > 0
    assert used.tolist() == [True, False, True]


@pytest.mark.parametrize("parts", [{}, MDGR])
def test_initial_weights(parts: dict) -> None:
    model = Denoiser(
        DenoiserConfig(
            digits=4,
            codebook_size=64,
            max_history=50,
            d_model=64,
            heads=4,
            d_ff=128,
            encoder_layers=1,
            decoder_layers=2,
            dropout=0.1,
            cross_pad="sink",
            **parts,
        )
    ).initialize(torch.Generator().manual_seed(0))
    for name, parameter in model.named_parameters():
        if parameter.dim() > 1:
            assert float(parameter.detach().std()) == pytest.approx(0.02, rel=0.2), name
        elif name.endswith("norm.weight"):
            assert (parameter == 1).all(), name
        else:
            assert (parameter == 0).all(), name


@pytest.mark.parametrize("parts", [{}, MDGR])
def test_saved_and_rebuilt_is_the_same_function(parts: dict) -> None:
    model = build(**parts)
    again = Denoiser.from_saved(
        model.state_dict(), model.saved_config() | {"best_epoch": 3}
    )
    history, sizes, codes, masked = batch(model, [3, 5])
    first = model.logits(codes, masked, model.encode(history, sizes))
    second = again.logits(codes, masked, again.encode(history, sizes))
    assert torch.equal(first, second)


def test_weights_of_another_network_are_refused() -> None:
    model = build()
    with pytest.raises(SidiffError, match="do not fit its configuration"):
        Denoiser.from_saved(model.state_dict(), model.saved_config() | {"d_ff": 32})
