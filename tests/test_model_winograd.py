"""The short convolution is the same convolution, and never works with an old kernel."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from hodor_cli.model.winograd import Conv3x3


def direct(layer: Conv3x3, x: torch.Tensor) -> torch.Tensor:
    return nn.Conv2d.forward(layer, x)


@pytest.mark.parametrize("size", [(32, 36), (33, 47), (70, 19)])
@pytest.mark.parametrize("bias", [True, False])
def test_short_convolution_equals_the_direct_one(size: tuple[int, int], bias: bool) -> None:
    torch.manual_seed(0)
    layer, x = Conv3x3(128, 160, bias=bias), torch.randn(2, 128, *size)
    with torch.inference_mode():
        assert layer._is_short(x)
        for given in (x, x.contiguous(memory_format=torch.channels_last)):
            torch.testing.assert_close(layer(given), direct(layer, given), rtol=0, atol=1e-4)


def test_changed_weights_are_seen() -> None:
    layer, x = Conv3x3(128, 128), torch.randn(1, 128, 32, 32)
    with torch.no_grad():
        assert layer._is_short(x)
        before = layer(x)
        layer.weight.mul_(2)
        layer.bias.mul_(2)  # type: ignore[union-attr]
        torch.testing.assert_close(layer(x), 2 * before, rtol=0, atol=1e-4)
        other = copy.deepcopy(layer)
        other.weight.zero_()
        assert other(x).std() < 0.1 * layer(x).std()
        layer.load_state_dict(other.state_dict())
        torch.testing.assert_close(layer(x), other(x))


def test_training_goes_the_ordinary_way() -> None:
    layer, x = Conv3x3(128, 128), torch.randn(1, 128, 32, 32)
    layer(x).sum().backward()
    assert layer.weight.grad is not None
    with torch.inference_mode():
        assert not layer._is_short(x[:, :, :4, :4])
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert layer(x).dtype == torch.bfloat16
    assert set(layer.state_dict()) == {"weight", "bias"}
