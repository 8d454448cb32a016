"""Follow objects with the files of `hodor export-onnx`: NumPy and onnxruntime, no PyTorch.

    hodor export-onnx --size 854x480 --objects 2 -o onnx/
    python examples/onnx_loop.py onnx/ frames.npy first_labels.npy labels.npy

frames.npy holds (T, H, W, 3) uint8 RGB, first_labels.npy (H, W) the objects 1, 2, ... of the first frame.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

RECENT = 10  # frames after which the recent frame is replaced


def doubled(recent: np.ndarray, now: np.ndarray) -> bool:
    """Whether an object's mask is twice as large as in the recent frame, which is then replaced."""
    before, area = (masks.sum(axis=(2, 3)) for masks in (recent, now))
    return bool(np.any((before > 4) & (area > 2 * before)))


def follow(folder: str | Path, frames: Iterable[np.ndarray], first_labels: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the label map (H, W) uint8 of each frame (H, W, 3) uint8 RGB, given the first label map.

    Raises ValueError for labels beyond the object slots of the files, such as a mask of 0 and 255.
    """
    graphs = json.loads((Path(folder) / "hodor.json").read_text())["graphs"]
    sessions = {name: onnxruntime.InferenceSession(Path(folder) / graph["file"]) for name, graph in graphs.items()}
    inputs = {name: kind for graph in graphs.values() for name, kind in graph["inputs"].items()}
    # The history starts empty.
    state: dict[str, Any] = {name: np.zeros(kind["shape"], kind["type"]) for name, kind in inputs.items()}
    last, slots = int(first_labels.max()), state["has_object"].shape[1]
    if last > slots:  # the graphs would find no object
        raise ValueError(f"the first labels hold object {last}, but the files have slots for objects 1 to {slots}")

    def run(graph: str) -> None:  # every graph reads its inputs from the state and writes its outputs to it
        given = {name: state[name] for name in graphs[graph]["inputs"]}
        state.update(zip(graphs[graph]["outputs"], sessions[graph].run(None, given), strict=True))

    for index, state["frame"] in enumerate(frames):
        run("extract")
        if index == 0:
            state["labels"] = first_labels.astype(np.uint8)
            run("masks")
            for kind in ("reference", "recent"):
                state[f"{kind}_keys"], state[f"{kind}_masks"] = state.get("keys"), state["object_masks"]
        else:
            for graph in ("match", "decode") if "match" in graphs else ("decode",):
                run(graph)
        run("encode")
        replaced = index > 0 and (index % RECENT == 0 or doubled(state["recent_masks"], state["object_masks"]))
        for kind in ("previous", "recent") if replaced else ("previous",):
            state[f"{kind}_keys"], state[f"{kind}_masks"] = state.get("keys"), state["object_masks"]
        state["last_objects"], state["has_background"] = state["objects"], np.ones(1, bool)
        for name in ("objects", "background", "has_object", "has_background"):  # the oldest out, the newest in
            state[f"history_{name}"] = np.append(state[f"history_{name}"][:, 1:], state[name][:, None], axis=1)
        yield state["labels"]


if __name__ == "__main__":
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    result = follow(sys.argv[1], np.load(sys.argv[2]), np.load(sys.argv[3]))
    np.save(sys.argv[4], np.stack(list(result)))
