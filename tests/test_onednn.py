import numpy as np
import pytest
import torch
from torch.nn import functional as F

from sidiff import onednn


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(7,), (3, 7), (2, 3, 7), (2, 0, 7)])
def test_product_and_gradients_are_those_of_torch(
    bias: bool, shape: tuple[int, ...]
) -> None:
    torch.manual_seed(0)
    layer = onednn.Linear(7, 5, bias=bias)
    x = torch.randn(shape, requires_grad=True)
    weights = list(layer.parameters())
    expected = F.linear(x, layer.weight, layer.bias)
    upstream = torch.randn_like(expected)
    wanted = torch.autograd.grad(expected, [x, *weights], upstream)
    result = layer(x)
    got = torch.autograd.grad(result, [x, *weights], upstream)
    np.testing.assert_allclose(result.detach(), expected.detach(), atol=1e-6)
    for one, other in zip(got, wanted, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_other_types_take_the_usual_way() -> None:
    layer = onednn.Linear(4, 3).double()
    x = torch.randn(2, 4, dtype=torch.float64)
    assert torch.equal(layer(x), F.linear(x, layer.weight, layer.bias))


def test_foreign_models_change_in_place() -> None:
    class Own(torch.nn.Linear):
        pass

    model = torch.nn.Sequential(Own(2, 2), torch.nn.Linear(2, 2))
    before = model(torch.ones(1, 2))
    onednn.use_onednn(model)
    assert type(model[0]) is Own
    assert isinstance(model[1], onednn.Linear)
    np.testing.assert_allclose(
        model(torch.ones(1, 2)).detach(), before.detach(), atol=1e-6
    )
