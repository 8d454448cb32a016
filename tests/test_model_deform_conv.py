"""The deformable convolution, plain and fast, against the textbook's double loop."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from hodor_cli.model import deform_conv
from hodor_cli.model.deform_conv import DeformConv
from hodor_cli.model.fast.deform_conv import gathered_deform_conv2d

Convolution = Callable[..., Tensor]


@pytest.fixture(params=[deform_conv.deform_conv2d, gathered_deform_conv2d], ids=["plain", "fast"])
def deform_conv2d(request: pytest.FixtureRequest) -> Convolution:
    """Each form of the function."""
    form: Convolution = request.param
    return form


def naive_deform_conv(x: Tensor, offsets: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """One output pixel at a time, one kernel point at a time."""
    batch, channels, height, width = x.shape

    def pixel(b: int, row: int, column: int) -> Tensor:
        inside = 0 <= row < height and 0 <= column < width
        return x[b, :, row, column] if inside else x.new_zeros(channels)

    def sample(b: int, y: float, x_: float) -> Tensor:
        top, left = math.floor(y), math.floor(x_)
        down, right = y - top, x_ - left
        return (
            (1 - down) * (1 - right) * pixel(b, top, left)
            + (1 - down) * right * pixel(b, top, left + 1)
            + down * (1 - right) * pixel(b, top + 1, left)
            + down * right * pixel(b, top + 1, left + 1)
        )

    out = x.new_zeros(batch, len(weight), height, width)
    for b in range(batch):
        for row in range(height):
            for column in range(width):
                for point in range(9):
                    dy, dx = offsets[b, 2 * point : 2 * point + 2, row, column].tolist()
                    value = sample(b, row + point // 3 - 1 + dy, column + point % 3 - 1 + dx)
                    out[b, :, row, column] += weight[:, :, point // 3, point % 3] @ value
    return out if bias is None else out + bias.view(1, -1, 1, 1)


def case(
    height: int = 5, width: int = 4, *, spread: float = 1.5, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """x, offsets, weight, bias with two samples, three channels in and two out."""
    generator = torch.Generator().manual_seed(height * 100 + width)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    return draw(2, 3, height, width), spread * draw(2, 18, height, width), draw(2, 3, 3, 3), draw(2)


@pytest.mark.parametrize("spread", [0.3, 1.5, 40.0], ids=["near", "around", "far outside"])
def test_equals_the_naive_loop(deform_conv2d: Convolution, spread: float) -> None:
    x, offsets, weight, bias = case(spread=spread)
    torch.testing.assert_close(deform_conv2d(x, offsets, weight, bias), naive_deform_conv(x, offsets, weight, bias))


@pytest.mark.parametrize("size", [(1, 1), (1, 6), (6, 1)])
def test_equals_the_naive_loop_on_maps_smaller_than_the_kernel(
    deform_conv2d: Convolution, size: tuple[int, int]
) -> None:
    x, offsets, weight, _ = case(*size)
    torch.testing.assert_close(deform_conv2d(x, offsets, weight), naive_deform_conv(x, offsets, weight, None))


def test_without_offsets_it_is_an_ordinary_convolution(deform_conv2d: Convolution) -> None:
    x, offsets, weight, bias = case(dtype=torch.float32)
    expected = torch.nn.functional.conv2d(x, weight, bias, padding=1)
    torch.testing.assert_close(deform_conv2d(x, torch.zeros_like(offsets), weight, bias), expected)


def test_outside_the_map_there_is_zero_at_every_distance(deform_conv2d: Convolution) -> None:
    x, offsets, weight, bias = case()
    for distance in (8.0, 1e4, 1e30, -1e30, math.inf):
        far = deform_conv2d(x, torch.full_like(offsets, distance), weight, bias)
        torch.testing.assert_close(far, bias.view(1, -1, 1, 1).expand_as(far))


def test_an_offset_that_is_nan_makes_its_pixel_nan() -> None:
    x, offsets, weight, bias = case()
    offsets[0, 4, 1, 2] = math.nan
    found = gathered_deform_conv2d(x, offsets, weight, bias).isnan()
    assert found[0, :, 1, 2].all() and found.sum() == len(weight)


def test_gradients_reach_map_offsets_and_weights(deform_conv2d: Convolution) -> None:
    x, offsets, weight, bias = case(3, 3, spread=0.7)
    # Bilinear interpolation has a kink at whole pixels; keep away from it.
    offsets = offsets.floor() + (offsets - offsets.floor()).clamp(0.1, 0.9)
    inputs = [tensor.requires_grad_() for tensor in (x[:1], offsets[:1], weight, bias)]
    assert torch.autograd.gradcheck(deform_conv2d, inputs)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_keeps_the_kind_of_number(deform_conv2d: Convolution, dtype: torch.dtype) -> None:
    x, offsets, weight, bias = case(dtype=dtype)
    found = deform_conv2d(x, offsets, weight, bias)
    assert found.dtype == dtype
    expected = naive_deform_conv(*(tensor.double() for tensor in (x, offsets, weight, bias)))
    tolerance = {torch.float32: 1e-4, torch.float64: 1e-9, torch.bfloat16: 0.1}[dtype]
    torch.testing.assert_close(found.double(), expected, atol=tolerance, rtol=tolerance)


def test_half_precision_offsets_do_not_move_the_far_end_of_a_wide_map(deform_conv2d: Convolution) -> None:
    x = torch.arange(400, dtype=torch.bfloat16).view(1, 1, 1, 400)
    weight = torch.zeros(1, 1, 3, 3, dtype=torch.bfloat16)
    weight[..., 1, 1] = 1
    kept = deform_conv2d(x, torch.zeros(1, 18, 1, 400, dtype=torch.bfloat16), weight)
    torch.testing.assert_close(kept, x)


def test_the_layer_starts_as_an_ordinary_convolution_and_learns_its_offsets() -> None:
    torch.manual_seed(0)
    layer = DeformConv(channels=4)
    x = torch.randn(1, 4, 6, 7)
    torch.testing.assert_close(layer(x), torch.nn.functional.conv2d(x, layer.weight, layer.bias, padding=1))
    layer(x).square().sum().backward()
    assert layer.offsets.weight.grad is not None and layer.offsets.weight.grad.abs().sum() > 0
