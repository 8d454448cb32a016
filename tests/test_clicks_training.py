"""Training of the click network: what it learns from, how fast, and how a run is resumed."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from hodor_cli.clicks.network import ClickConfig, ClickNet, FrameMaps, channels_last
from hodor_cli.clicks.settings import ClickTraining
from hodor_cli.clicks.training_step import losses
from hodor_cli.model import accelerate
from hodor_cli.runtime.device import autocast

ONE_ROUND = ClickTraining(rounds=1)


@pytest.fixture(scope="module")
def net() -> ClickNet:
    torch.manual_seed(0)
    return channels_last(ClickNet(ClickConfig())).train()


def loss_of(net: ClickNet, dtype: torch.dtype, settings: ClickTraining = ONE_ROUND) -> Tensor:
    """The loss of two frames with two objects each."""
    frames = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    truths = np.zeros((4, 64, 64), dtype=bool)
    for i in range(4):
        truths[i, 8 + i : 36 + 4 * i, 10 + 6 * i : 34 + 6 * i] = True
    with autocast(torch.device("cpu"), dtype):
        return losses(net, frames.to(memory_format=torch.channels_last), truths, settings, np.random.default_rng(0))[0]


def gradient(net: ClickNet, dtype: torch.dtype) -> Tensor:
    """The gradient of all parameters together."""
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss_of(net, dtype), list(net.parameters()))])


def test_the_fast_network_learns_as_the_plain_one_does(net: ClickNet) -> None:
    fast = accelerate(copy.deepcopy(net))
    exact = gradient(net, torch.float32)
    torch.testing.assert_close(gradient(fast, torch.float32), exact)
    plain, found = gradient(net, torch.bfloat16), gradient(fast, torch.bfloat16)
    assert torch.cosine_similarity(found, exact, dim=0) > torch.cosine_similarity(plain, exact, dim=0) - 0.01
    assert found.norm().item() == pytest.approx(exact.norm().item(), rel=0.05)


def operations(loss: Tensor) -> Iterator[Any]:
    """What the gradient of a loss passes through."""
    ahead, seen = [loss.grad_fn], set()
    while ahead:
        node = ahead.pop()
        if node is not None and node not in seen:
            seen.add(node)
            ahead += [before for before, _ in node.next_functions]
            yield node


def test_no_gradient_takes_a_slow_kernel_of_bfloat16(net: ClickNet) -> None:
    fast = accelerate(copy.deepcopy(net))
    found = list(operations(loss_of(fast, torch.bfloat16)))
    convolutions = [node for node in found if node.name() == "ConvolutionBackward0"]
    slow = [
        node._saved_weight.dtype
        for node in convolutions
        if node._saved_groups > 1 and (node._saved_weight.shape[-1] > 3 or 2 in node._saved_stride)
    ]
    norms = [node._saved_input.dtype for node in found if node.name() == "NativeGroupNormBackward0"]
    assert len(slow) > 10 and len(norms) > 10 and {*slow, *norms} == {torch.float32}
    assert sum(node._saved_weight.dtype == torch.bfloat16 for node in convolutions) > len(slow)


def test_maps_of_several_objects_keep_their_layout(net: ClickNet) -> None:
    maps = net.features(torch.randn(2, 3, 64, 64).to(memory_format=torch.channels_last))
    repeated = maps.repeat(3)
    for once, thrice in zip(flat(maps), flat(repeated), strict=True):
        assert torch.equal(thrice, once.repeat_interleave(3, 0))
    for level in (*repeated.levels, repeated.fine):
        assert level.is_contiguous(memory_format=torch.channels_last)


def flat(maps: FrameMaps) -> list[Tensor]:
    return [*maps.levels, maps.fine, maps.keys]
