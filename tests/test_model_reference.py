"""The network against what the authors' gives with the same weights: inputs, maps, descriptors, logits, masks."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from hodor_cli.engine.segmenter import Segmenter
from hodor_cli.model import Hodor, build_model
from hodor_cli.runtime.preprocess import Geometry, prepare_frame
from hodor_cli.weights.checkpoint import model_from_checkpoint
from hodor_cli.weights.published import from_authors, own_name
from hodor_cli.weights.tensor_files import load_parameters


def reference_state_dict(folder: Path) -> dict[str, torch.Tensor]:
    """Deterministic weights under the released names, from the files beside the reference outputs."""
    for name in ("state_dict_spec.json", "fill_state_dict.py"):
        if not (folder / name).is_file():
            pytest.skip(f"{name} is not in {folder}")
    spec = importlib.util.spec_from_file_location("fill_state_dict", folder / "fill_state_dict.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    shapes = json.loads((folder / "state_dict_spec.json").read_text())
    return {name: torch.from_numpy(value) for name, value in module.fill(shapes).items()}


@pytest.fixture(scope="module")
def reference_model(reference_dir: Path) -> Hodor:
    model = build_model("swin-tiny")
    state = from_authors(reference_state_dict(reference_dir))
    load_parameters(model, state, origin="the reference weights", architecture="swin-tiny")
    return model


@pytest.fixture(scope="module")
def recorded(reference_dir: Path) -> dict[str, np.ndarray]:
    path = reference_dir / "inference.npz"
    if not path.is_file():
        pytest.skip(f"{path} is absent")
    with np.load(path) as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def run(reference_model: Hodor, recorded: dict[str, np.ndarray]) -> dict[str, list[np.ndarray | None]]:
    """Every frame through the segmenter, with the logits that its network gave."""
    logits: dict[int, np.ndarray] = {}
    decode = reference_model.decode

    def recording(*args: object) -> torch.Tensor:
        result = decode(*args)  # type: ignore[arg-type]
        logits[frame] = result[0].numpy()
        return result

    reference_model.decode = recording  # type: ignore[method-assign, assignment]
    segmenter = Segmenter(
        reference_model,
        history=int(recorded["temporal_window"]),
        min_dim=int(recorded["min_dim"]),
        max_dim=int(recorded["max_dim"]),
        device="cpu",
        precision="fp32",
    )
    made: dict[str, list[np.ndarray | None]] = {"labels": [], "logits": [], "objects": [], "background": []}
    for frame, image in enumerate(recorded["frames"]):
        starting = [i + 1 for i, start in enumerate(recorded["start_frame"]) if start == frame]
        given = {object_id: recorded["gt"][frame] == object_id for object_id in starting}
        made["labels"].append(segmenter.step(image, given or None))
        descriptors = segmenter.descriptors()
        made["objects"].append(np.stack([descriptors.objects[i] for i in sorted(descriptors.objects)]))
        made["background"].append(descriptors.background)
        made["logits"].append(logits.get(frame))
    del reference_model.decode
    return made


def test_reference_input_and_feature_maps(reference_model: Hodor, recorded: dict[str, np.ndarray]) -> None:
    height, width = recorded["frames"].shape[1:3]
    geometry = Geometry.of(height, width, min_dim=int(recorded["min_dim"]), max_dim=int(recorded["max_dim"]))
    assert geometry.scaled == tuple(recorded["resized"])
    frame = prepare_frame(
        recorded["frames"][0],
        geometry,
        reference_model.config.pixel_mean,
        reference_model.config.pixel_std,
        torch.device("cpu"),
    )
    np.testing.assert_allclose(frame[0].numpy(), recorded["input_tensor_frame0"], atol=1e-5)
    with torch.inference_mode():
        maps = reference_model.extract(frame)
    np.testing.assert_allclose(maps.stride4[0, :, ::4, ::4].numpy(), recorded["fpn4_frame0"], atol=1e-4)
    np.testing.assert_allclose(maps.stride8[0, :, ::4, ::4].numpy(), recorded["fpn8_frame0"], atol=1e-4)


def test_reference_descriptors(run: dict[str, list[np.ndarray | None]], recorded: dict[str, np.ndarray]) -> None:
    compared = 0
    for made, wanted in ((run["objects"], "fg_descriptors"), (run["background"], "bg_descriptors")):
        for found, expected in zip(made, recorded[wanted], strict=True):
            assert found is not None
            known = ~np.isnan(expected).any(axis=-1)
            compared += int(known.sum())
            assert np.abs(found[known[: len(found)]] - expected[known]).max(initial=0) < 5e-3
    assert compared > 0


def test_reference_logits(run: dict[str, list[np.ndarray | None]], recorded: dict[str, np.ndarray]) -> None:
    names = sorted(name for name in recorded if name.startswith("logits_frame"))
    assert names
    for name in names:
        frame = int(name.removeprefix("logits_frame"))
        found = run["logits"][frame]
        assert found is not None
        np.testing.assert_allclose(found, recorded[name], atol=1e-3 if frame == 1 else 5e-3, err_msg=name)


def test_reference_masks(run: dict[str, list[np.ndarray | None]], recorded: dict[str, np.ndarray]) -> None:
    for frame, (found, expected) in enumerate(zip(run["labels"], recorded["masks"], strict=True)):
        assert found is not None
        # Where a mask is given the reference holds its resized copy; ours is the mask itself.
        starting = [i + 1 for i, start in enumerate(recorded["start_frame"]) if start == frame]
        given = np.isin(found, starting) | np.isin(expected, starting)
        if frame == 0:
            continue
        different = np.count_nonzero((found != expected) & ~given)
        assert different <= 0.001 * found.size, f"frame {frame}: {different} pixels differ"


def test_reference_checkpoint_file_loads_whole(reference_dir: Path, tmp_path: Path) -> None:
    state_dict = reference_state_dict(reference_dir)
    index = {
        name: torch.zeros(49, 49, dtype=torch.int64)
        for name in json.loads((reference_dir / "state_dict_spec.json").read_text())
        if name.endswith("relative_position_index")
    }
    path = tmp_path / "released.pth"
    torch.save({"model": {**state_dict, **index}, "iterations": 250_000}, path)
    model = model_from_checkpoint(path)
    for name, value in state_dict.items():
        own = own_name(name)
        if own is not None:
            torch.testing.assert_close(model.state_dict()[own], value, rtol=0, atol=0)
