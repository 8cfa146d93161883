import pytest
import torch
from torch import nn

from fl.scoring.pooling import StridedMaxPool2d, with_strided_pools
from fl.task.models import LeNet


@pytest.mark.parametrize("shape", [(2, 3, 8, 8), (1, 1, 7, 9), (3, 2, 5, 6), (4, 8, 8)])
@pytest.mark.parametrize("window", [(2, 2), (3, 2), (1, 4), (4, 4)])
def test_strided_maxima_are_torchs_pooling_bit_for_bit(shape, window):
    x = torch.randn(shape)
    ours = StridedMaxPool2d(height=window[0], width=window[1])(x)
    assert torch.equal(ours, nn.MaxPool2d(window)(x))


@pytest.mark.parametrize("shape", [(2, 3, 8, 8), (1, 1, 7, 9)])
@pytest.mark.parametrize("window", [(2, 2), (3, 2)])
def test_gradients_are_torchs_bit_for_bit_even_where_values_tie(shape, window):
    values = torch.randint(3, shape).float()  # many ties
    found = []
    for pool in (StridedMaxPool2d(height=window[0], width=window[1]), nn.MaxPool2d(window)):
        x = values.clone().requires_grad_()
        (pool(x) ** 2).sum().backward()
        found.append(x.grad)
    assert torch.equal(*found)


def test_a_pool_has_second_derivatives_and_forward_ones():
    pool, x = StridedMaxPool2d(height=2, width=2), torch.randn(1, 1, 4, 4, dtype=torch.double)
    assert torch.autograd.gradgradcheck(lambda picture: pool(picture) ** 3, (x.clone().requires_grad_(),))
    tangent = torch.randn_like(x)
    with torch.no_grad():
        _, slope = torch.func.jvp(lambda picture: (pool(picture) ** 2).sum(), (x,), (tangent,))
    x.requires_grad_()
    (pool(x) ** 2).sum().backward()
    assert slope == pytest.approx(float((x.grad * tangent).sum()))


def test_a_pool_of_nan_is_nan():
    x = torch.zeros(1, 1, 2, 2)
    x[0, 0, 1, 0] = torch.nan
    assert StridedMaxPool2d(height=2, width=2)(x).isnan().all()


@pytest.mark.parametrize(
    "pool",
    [
        nn.MaxPool2d(2, stride=1), nn.MaxPool2d(2, padding=1), nn.MaxPool2d(2, dilation=2), nn.MaxPool2d(2, ceil_mode=True),
        nn.MaxPool2d(2, return_indices=True), nn.MaxPool2d(5), nn.AvgPool2d(2),
    ],
)  # fmt: skip
def test_other_pools_stay(pool):
    assert with_strided_pools(nn.Sequential(pool))[0] is pool


def test_a_lenet_gives_the_same_logits_and_the_same_gradients():
    torch.manual_seed(0)
    model, x = LeNet((1, 28, 28), 10), torch.rand(4, 1, 28, 28)
    plain = model(x)
    plain.square().sum().backward()
    before = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
    model.zero_grad()
    ours = with_strided_pools(model)(x)
    ours.square().sum().backward()
    assert torch.equal(ours, plain)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, before[name], msg=name)
    assert sum(isinstance(module, StridedMaxPool2d) for module in model.modules()) == 2
