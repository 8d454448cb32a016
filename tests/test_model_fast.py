"""The fast forms compute what the plain network does, forward and backward, and change nothing else about it."""

from __future__ import annotations

import copy
import io

import numpy as np
import pytest
import torch
from conftest import moving_square
from plain_segmenter import PlainSegmenter
from segmenter_fakes import some_model
from torch import Tensor

from hodor_cli.engine import Segmenter
from hodor_cli.model import Hodor, accelerate, build_model, plain
from hodor_cli.model.deform_conv import DeformConv
from hodor_cli.model.fast import FAST_FORMS
from hodor_cli.model.fast.fused import laid_out
from hodor_cli.model.matching import Matcher
from hodor_cli.model.mobilenet import InvertedResidual
from hodor_cli.runtime.device import autocast
from hodor_cli.runtime.threads import using_threads
from hodor_cli.training.cycles import Objective, schedule

SMALL = {"toy": 64, "mini": 96, "swin-tiny": 64}


def recorded_logits(network: Hodor) -> list[Tensor]:
    """The list that fills with the logits of every `decode` from here on."""
    logits: list[Tensor] = []
    decode = network.decode

    def recording(*args: object) -> Tensor:
        logits.append(decode(*args))  # type: ignore[arg-type]
        return logits[-1]

    network.decode = recording  # type: ignore[assignment, method-assign]
    return logits


@pytest.mark.parametrize("name", list(SMALL))
def test_engine_gives_the_logits_of_the_plain_network(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Of random weights all masks are unsure, and objects would be let go.
    monkeypatch.setattr("hodor_cli.engine.step.without_absent", lambda logits, cue, given: logits)
    model = some_model(name)
    reference = PlainSegmenter(plain(copy.deepcopy(model)), history=2, min_dim=SMALL[name])
    engine = Segmenter(model, history=2, min_dim=SMALL[name], device="cpu", precision="fp32")
    wanted, found = recorded_logits(reference.model), recorded_logits(engine.model)
    frames, masks = moving_square(5, height=64, width=90)
    second = np.zeros_like(masks[0], dtype=np.uint16)
    second[5:25, 60:80] = 9
    different = 0
    for index, frame in enumerate(frames):
        given = masks[0].astype(np.uint16) * 4 if index == 0 else second if index == 2 else None
        different += np.count_nonzero(reference.step(frame, given) != engine.step(frame, given))
    assert len(wanted) == len(found) == 4
    assert max(logits.std().item() for logits in wanted) > 0.01
    torch.testing.assert_close(found[0], wanted[0], rtol=0, atol=1e-3)
    # Masks feed back, so roundings grow from frame to frame where an object's border is undecided.
    for expected, logits in zip(wanted, found, strict=True):
        torch.testing.assert_close(logits, expected, rtol=0, atol=0.02)
        assert (logits - expected).abs().mean() < 1e-3
    assert different <= 0.001 * len(frames) * masks[0].size


def gradient(network: Hodor, dtype: torch.dtype = torch.float32) -> Tensor:
    """The gradient of all parameters together, from three frames."""
    frames, masks = moving_square(3, height=64, width=96)
    batch = (
        torch.from_numpy(np.stack(frames))[None],
        torch.from_numpy(np.stack(masks))[None],
        torch.ones(1, 3, 64, 96, dtype=torch.bool),
        torch.ones(1, 3, 1, dtype=torch.bool),
    )
    network.zero_grad(set_to_none=True)
    losses, _ = Objective(network, supervise="all", dtype=dtype)(*batch, schedule("chain", 0, 3))
    losses.total.backward()
    return torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None])


def test_plain_network_trains_to_the_same_gradients() -> None:
    model = some_model("mini").train()
    found, wanted = gradient(model), gradient(plain(copy.deepcopy(model)))
    torch.testing.assert_close(found, wanted, rtol=1e-2, atol=1e-3 * wanted.abs().max().item())


def test_half_precision_trains_as_near_to_float32_as_the_plain_network() -> None:
    model = some_model("mini").train()
    unaccelerated = plain(copy.deepcopy(model))
    exact, found, wanted = (
        gradient(network, dtype)
        for network, dtype in (
            (unaccelerated, torch.float32),
            (model, torch.bfloat16),
            (unaccelerated, torch.bfloat16),
        )
    )
    near = torch.cosine_similarity(wanted, exact, dim=0)
    assert torch.cosine_similarity(found, exact, dim=0) > near - 0.02
    assert found.norm().item() == pytest.approx(wanted.norm().item(), rel=0.05)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_layers_train_in_the_dtype_of_their_weights(dtype: torch.dtype) -> None:
    layer = torch.nn.Sequential(InvertedResidual(8, 8, expansion=2, stride=2), torch.nn.GroupNorm(2, 8)).to(dtype)
    x = torch.randn(1, 8, 6, 7, dtype=dtype)
    found, wanted = x.clone().requires_grad_(), x.clone().requires_grad_()
    plain(copy.deepcopy(layer))(wanted).square().sum().backward()
    accelerate(layer)(found).square().sum().backward()
    torch.testing.assert_close(found.grad, wanted.grad)


def test_accelerating_keeps_parameters_and_is_undone() -> None:
    model = build_model("mini")
    before = {name: value.data_ptr() for name, value in model.state_dict().items()}
    kinds = {type(module) for module in model.modules()}
    assert kinds >= set(FAST_FORMS.values()) and not kinds & set(FAST_FORMS)
    plain(model, DeformConv)
    kinds = {type(module) for module in model.modules()}
    assert DeformConv in kinds and Matcher not in kinds
    assert plain(model) is model and not {type(module) for module in model.modules()} & set(FAST_FORMS.values())
    assert {name: value.data_ptr() for name, value in accelerate(model).state_dict().items()} == before


def extracted(network: Hodor, dtype: torch.dtype = torch.bfloat16) -> list[Tensor]:
    """The maps of a picture, in float32."""
    picture = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(1)) * 2 - 1
    with torch.inference_mode(), autocast(torch.device("cpu"), dtype):
        return [found.float() for found in network.extract(picture) if found is not None]


@pytest.mark.parametrize("name", list(SMALL))
def test_fused_convolutions_are_as_near_to_float32_as_separate_ones(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = some_model(name)
    exact = extracted(plain(copy.deepcopy(model)), torch.float32)
    separate = extracted(plain(copy.deepcopy(model)))
    fused = extracted(model)
    for found, other, wanted in zip(fused, separate, exact, strict=True):
        assert (found - wanted).norm() <= 1.3 * (other - wanted).norm()
    monkeypatch.setattr("hodor_cli.model.fast.fused.cpu_multiplies_bf16", lambda: False)
    for found, other in zip(extracted(model), separate, strict=True):
        torch.testing.assert_close(found, other, rtol=0, atol=0)


@pytest.mark.parametrize("name", list(SMALL))
def test_fused_convolutions_in_float32_equal_separate_ones(name: str) -> None:
    model = some_model(name)
    separate = extracted(plain(copy.deepcopy(model)), torch.float32)
    for found, wanted in zip(extracted(model, torch.float32), separate, strict=True):
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5 * wanted.abs().max().item())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_fused_convolutions_follow_a_change_of_the_weights(dtype: torch.dtype) -> None:
    model, other = build_model("mini"), some_model("mini")
    before, wanted = extracted(model, dtype), extracted(other, dtype)
    with torch.no_grad():
        for parameter, value in zip(model.parameters(), other.parameters(), strict=True):
            parameter.copy_(value)
    for found, old, new in zip(extracted(model, dtype), before, wanted, strict=True):
        assert not torch.equal(found, old) and torch.equal(found, new)


def test_fused_convolutions_follow_what_a_fused_optimiser_learned() -> None:
    model = build_model("toy")
    optimiser = torch.optim.AdamW(model.parameters(), lr=0.01, fused=True)  # does not count its changes
    before = extracted(model.eval(), torch.float32)
    model.train()
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimiser.step()
    wanted = extracted(copy.deepcopy(model.eval()), torch.float32)
    for found, old, new in zip(extracted(model, torch.float32), before, wanted, strict=True):
        assert not torch.equal(found, old) and torch.equal(found, new)


def test_weights_are_laid_out_once_for_each_size_and_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    model, sizes = some_model("mini"), []

    def recording(weight: Tensor, conv: torch.nn.Conv2d, size: tuple[int, ...]) -> Tensor:
        sizes.append(tuple(size))
        return laid_out(weight, conv, size)

    for part in ("mobilenet", "pyramid"):
        monkeypatch.setattr(f"hodor_cli.model.fast.{part}.laid_out", recording)

    def laid_out_for(side: int) -> set[int]:
        """The longest sides of the maps that weights were laid out for while frames of this side were extracted."""
        sizes.clear()
        with torch.inference_mode():
            model.extract(torch.zeros(1, 3, side, side))
        return {max(size[2:]) for size in sizes}

    assert max(laid_out_for(64)) == 32 and max(laid_out_for(96)) == 48
    assert not laid_out_for(64) and not laid_out_for(96)
    with using_threads(torch.get_num_threads() % 2 + 1):
        assert max(laid_out_for(64)) == 32 and not laid_out_for(64)
    assert not laid_out_for(64)


def test_weights_made_in_inference_mode_serve_as_well() -> None:
    wanted = extracted(some_model("mini"))
    with torch.inference_mode():
        model = some_model("mini")
    for found, same in zip(extracted(model), wanted, strict=True):
        assert torch.equal(found, same)


def test_an_accelerated_network_can_be_copied_and_pickled() -> None:
    model = build_model("toy")
    extracted(model)
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    for copied in (copy.deepcopy(model), torch.load(file, weights_only=False)):
        assert [type(module) for module in copied.modules()] == [type(module) for module in model.modules()]
