"""The ONNX files: onnxruntime and the loop of the examples give the segmenter's masks."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from command import hodor, refused
from conftest import moving_square
from segmenter_fakes import some_model

from hodor_cli.engine import Segmenter
from hodor_cli.errors import OutputError, UsageError
from hodor_cli.model import build_model
from hodor_cli.weights.onnx.export import ExportSizes, export_onnx

pytest.importorskip("onnx", reason="the package onnx is not installed")
pytest.importorskip("onnxruntime", reason="the package onnxruntime is not installed")


@pytest.fixture(scope="module")
def loop(repository: Path) -> ModuleType:
    """examples/onnx_loop.py."""
    spec = importlib.util.spec_from_file_location("onnx_loop", repository / "examples" / "onnx_loop.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("name", "min_dim"), [("toy", 64), ("mini", 96)])
def test_onnxruntime_gives_the_masks_of_the_segmenter(
    name: str, min_dim: int, loop: ModuleType, tmp_path: Path
) -> None:
    model = some_model(name)
    # One slot more than there are objects, and fewer frames of history than frames.
    files = export_onnx(model, tmp_path, ExportSizes(size=(90, 64), objects=3, history=2, min_dim=min_dim))
    assert {path.name for path in files} >= {"extract.onnx", "encode.onnx", "decode.onnx", "hodor.json"}
    frames, masks = moving_square(5, height=64, width=90)
    first = masks[0].astype(np.uint16)
    first[50:62, 70:88] = 2
    segmenter = Segmenter(model, history=2, min_dim=min_dim, device="cpu", precision="fp32")
    expected = [segmenter.step(frame, first if i == 0 else None) for i, frame in enumerate(frames)]
    assert any((labels > 0).any() and (labels == 0).any() for labels in expected[1:])
    found = list(loop.follow(tmp_path, frames, first))
    with pytest.raises(ValueError, match="object 255, but the files have slots for objects 1 to"):
        next(loop.follow(tmp_path, frames, np.where(first, 255, 0)))
    assert all(labels.dtype == np.uint8 for labels in found)
    different = sum(np.count_nonzero(a != b) for a, b in zip(expected, found, strict=True))
    assert different <= 0.001 * len(frames) * first.size


def test_sidecar_says_what_goes_in_and_out(tmp_path: Path) -> None:
    export_onnx(build_model("toy"), tmp_path, ExportSizes(size=(90, 64), objects=2, history=3))
    sidecar = json.loads((tmp_path / "hodor.json").read_text())
    assert sidecar["frame"] == {"height": 64, "width": 90}
    assert sidecar["padded"] == {"height": 64, "width": 96}
    assert sidecar["normalisation"]["mean"] == [127.5] * 3
    decode = sidecar["graphs"]["decode"]
    assert decode["inputs"]["history_objects"] == {"shape": [1, 3, 2, 32], "type": "float32"}
    assert decode["inputs"]["history_has_object"] == {"shape": [1, 3, 2], "type": "bool"}
    assert decode["outputs"]["labels"] == {"shape": [64, 90], "type": "uint8"}
    assert "match" not in sidecar["graphs"]  # toy does not match
    import onnxruntime

    for graph in sidecar["graphs"].values():
        session = onnxruntime.InferenceSession(tmp_path / graph["file"])
        assert {i.name: i.shape for i in session.get_inputs()} == {n: k["shape"] for n, k in graph["inputs"].items()}
        assert [o.name for o in session.get_outputs()] == list(graph["outputs"])


def test_command_writes_a_folder_and_replaces_it_only_when_told(tmp_path: Path) -> None:
    arguments = ["export-onnx", "--weights", "toy", "--size", "64x64", "--objects", "1", "-o", str(tmp_path / "onnx")]
    (tmp_path / "onnx").mkdir()
    (tmp_path / "onnx" / ".decode.onnx.123.tmp").write_bytes(b"half")  # by an export that was killed
    first = hodor(*arguments)
    assert "decode.onnx" in first.stdout
    (tmp_path / "onnx" / "notes.txt").write_text("mine")
    refused(*arguments)
    hodor(*arguments, "--overwrite")
    assert (tmp_path / "onnx" / "notes.txt").read_text() == "mine"
    assert not list((tmp_path / "onnx").glob(".export-*"))


def test_what_cannot_be_exported_is_said(tmp_path: Path) -> None:
    model = build_model("toy")
    with pytest.raises(UsageError, match="`objects`"):
        export_onnx(model, tmp_path, ExportSizes(size=(64, 64), objects=256))
    with pytest.raises(UsageError, match="`history`"):
        export_onnx(model, tmp_path, ExportSizes(size=(64, 64), history=0))
    with pytest.raises(UsageError, match="`model` is 'toy'; give a network"):
        export_onnx("toy", tmp_path, ExportSizes(size=(64, 64)))  # type: ignore[arg-type]
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match="other files in it"):
        export_onnx(model, tmp_path, ExportSizes(size=(64, 64)), overwrite=True)
    (tmp_path / "decode.onnx").write_bytes(b"somebody's")
    with pytest.raises(OutputError, match="exists already"):
        export_onnx(model, tmp_path, ExportSizes(size=(64, 64)))
    assert (tmp_path / "decode.onnx").read_bytes() == b"somebody's"
