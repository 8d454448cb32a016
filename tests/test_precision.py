"""`--precision auto`: bfloat16 only where the machine multiplies in it and the network gains by it."""

from __future__ import annotations

import os
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import moving_square
from torch.torch_version import TorchVersion

from hodor_cli.clicks.clicker import Clicker
from hodor_cli.engine import Segmenter
from hodor_cli.errors import DeviceError, UsageError
from hodor_cli.model import Hodor, build_model
from hodor_cli.runtime import device, threads
from hodor_cli.weights import load_model

CPU = torch.device("cpu")


@pytest.mark.parametrize("has_units", [False, True])
def test_auto_on_a_cpu_depends_on_its_instructions(monkeypatch: pytest.MonkeyPatch, has_units: bool) -> None:
    monkeypatch.setattr(device, "cpu_multiplies_bf16", lambda: has_units)
    assert device.choose_precision("auto", CPU) == (torch.bfloat16 if has_units else torch.float32)
    assert device.choose_precision("fp32", CPU) == torch.float32


@pytest.mark.parametrize(("capability", "dtype"), [((7, 5), torch.float32), ((8, 0), torch.bfloat16)])
def test_auto_on_a_gpu_takes_bf16_only_where_it_is_not_emulated(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], dtype: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: capability)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *_, **__: True)  # emulation included
    assert device.choose_precision("auto", torch.device("cuda")) == dtype
    assert device.choose_precision("bf16", torch.device("cuda")) == torch.bfloat16  # the user's choice


def test_a_precision_that_pytorch_lacks_on_a_device_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.amp, "is_autocast_available", lambda kind: kind != "mps")
    assert device.choose_precision("auto", torch.device("mps")) == torch.float32
    with pytest.raises(DeviceError, match="only fp32 on mps"):
        device.choose_precision("bf16", torch.device("mps"))


def test_where_pytorch_knows_no_autocast_it_is_not_asked_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(kind: str) -> bool:
        raise RuntimeError(f"unknown device type for autocast: {kind}")

    with torch.autocast("cpu", torch.bfloat16):
        assert device.autocast_dtype(CPU) == torch.bfloat16
    assert device.autocast_dtype(CPU) is None
    monkeypatch.setattr(torch.amp, "is_autocast_available", lambda kind: kind != "mps")
    monkeypatch.setattr(torch, "is_autocast_enabled", unknown)
    assert device.autocast_dtype(torch.device("mps")) is None


@pytest.mark.parametrize(("limit", "cores"), [("100000 100000", 1), ("max 100000", 4), ("150000 100000", 2), ("", 4)])
def test_cores_are_those_of_the_affinity_and_the_container(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, limit: str, cores: int
) -> None:
    (tmp_path / "cpu.max").write_text(f"{limit}\n")
    monkeypatch.setattr(threads, "_CGROUP", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(4)), raising=False)
    assert threads.usable_cores() == cores


def test_an_older_pytorch_that_cannot_tell_means_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.delattr(torch.cpu, name, raising=False)
    assert not device.cpu_multiplies_bf16()


def test_mixed_precision_is_switched_off_only_where_there_is_any(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch 2.4 raises on MPS, which has none."""
    cpu, ones = torch.device("cpu"), torch.ones(2, 2)
    with device.autocast(cpu, torch.bfloat16), device.without_autocast(cpu):
        assert (ones @ ones).dtype == torch.float32
    monkeypatch.setattr(torch.amp, "is_autocast_available", lambda kind: kind != "mps")
    assert isinstance(device.without_autocast(torch.device("mps")), nullcontext)


def test_an_unknown_precision_is_named_with_those_there_are() -> None:
    with pytest.raises(UsageError, match=r"'half'.*fp32, bf16, fp16"):
        device.choose_precision("half", CPU)


def test_bf16_follows_as_float32_does() -> None:
    """Any CPU computes bfloat16, fast or not: masks of a trained network hardly change."""
    frames, labels = moving_square()
    maps = {}
    for precision in ("fp32", "bf16"):
        segmenter = Segmenter(load_model("mini"), device="cpu", precision=precision, min_dim=64)
        segmenter.step(frames[0], labels[0])
        maps[precision] = np.stack([segmenter.step(frame) for frame in frames[1:4]])
    assert np.mean(maps["fp32"] != maps["bf16"]) < 0.01
    assert segmenter.dtype == torch.bfloat16


def test_the_modes_that_a_caller_sets_in_pytorch_do_not_change_the_masks() -> None:
    frames, labels = moving_square(4)

    def confidences(model: Hodor) -> list[float]:
        segmenter = Segmenter(model, device="cpu", precision="fp32", min_dim=64)
        segmenter.step(frames[0], labels[0])
        segmenter.step(frames[1])
        return [one.confidence for one in segmenter.last.objects.values()]

    wanted = confidences(load_model("mini"))
    assert confidences(load_model("mini").double()) == wanted
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert confidences(load_model("mini")) == wanted
    with torch.inference_mode():
        model = load_model("mini")
        Segmenter(model, device="cpu")
    assert not any(parameter.is_inference() for parameter in model.parameters())
    assert confidences(model) == wanted
    torch.set_default_dtype(torch.float64)
    try:
        assert confidences(load_model("mini")) == pytest.approx(wanted, abs=1e-6)
        clicker = Clicker(device="cpu")
        clicker.set_frame(frames[0])
        assert clicker.click(16, 32).any()
    finally:
        torch.set_default_dtype(torch.float32)
    known = Segmenter(model, device="cpu", precision="fp32", min_dim=64)
    torch.set_default_device("meta")  # stands for a GPU: the segmenter and the clicker compute on the CPU
    try:
        assert confidences(model) == wanted
        known.start_from({1: np.ones(256)}, np.ones((9, 256)))
        known.step(frames[0])
        clicker.set_frame(frames[0])
        assert clicker.click(16, 32).any()
    finally:
        torch.set_default_device(None)


def test_nothing_is_computed_in_float64_which_apples_gpus_do_not_have() -> None:
    from torch.utils._python_dispatch import TorchDispatchMode

    found = set()

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            made = func(*args, **(kwargs or {}))
            parts = made if isinstance(made, tuple | list) else [made]
            found.update(str(func) for part in parts if getattr(part, "dtype", None) == torch.float64)
            return made

    frames, masks = moving_square(3)
    segmenter = Segmenter(load_model("mini"), min_dim=64, device="cpu", precision="fp32")
    clicker = Clicker(device="cpu")
    with Watch():
        for index, frame in enumerate(frames):
            segmenter.step(frame, masks=masks[0].astype(np.uint16) if index == 0 else None)
        clicker.set_frame(frames[0])
        clicker.click(*np.argwhere(masks[0])[0][::-1].tolist())
    assert not found


def test_who_asks_for_a_gpu_is_told_its_name() -> None:
    with pytest.raises(UsageError, match="did you mean cuda"):
        device.choose_device("gpu")
    with pytest.raises(UsageError, match=r"choose auto, cpu, cuda or mps$"):
        device.choose_device("tpu")  # not a misspelt cpu


@pytest.mark.parametrize(("version", "wanted"), [("2.9.1", "cpu"), ("2.10.0", "mps")])
def test_mps_is_chosen_only_where_it_has_all_operations(
    version: str, wanted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch, "__version__", TorchVersion(version))
    assert device.choose_device("auto").type == wanted
    assert device.choose_device("mps").type == "mps"  # its user may have switched on the fallback to the CPU


def test_a_network_that_is_on_the_device_already_is_not_copied() -> None:
    model = build_model("toy")
    assert Segmenter(model, device="cpu:0").model is Segmenter(model, device="cpu").model is model
