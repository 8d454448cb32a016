"""Networks of random weights, small frames and masks for the tests of the segmenter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from conftest import moving_square

from hodor_cli.config import NUM_NON_OBJECT
from hodor_cli.engine import Segmenter
from hodor_cli.model import History, Hodor, Maps, build_model
from hodor_cli.model.mobilenet import Conv
from hodor_cli.model.region import Norms, Region
from hodor_cli.weights import load_model

HEIGHT, WIDTH = 48, 64
IDS = (7, 300, 65535)


def make_model(name: str) -> Hodor:
    """Random weights, in `mini` such that features differ from place to place and matching decides what is found."""
    torch.manual_seed(5)
    model = build_model(name)
    if model.matcher is not None and model.decoder.cue is not None:
        for module in model.backbone.modules():
            if isinstance(module, Conv):
                torch.nn.init.kaiming_normal_(module.weight)
        torch.nn.init.constant_(model.decoder.cue.gain, 8.0)
    return model


def some_model(name: str) -> Hodor:
    """The bundled `mini`, or a network with random parameters, none of which hides what it does."""
    if name == "mini":
        return load_model("mini")
    torch.manual_seed(1)
    model = build_model(name)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return model


def segmenter_for(model: Hodor, **settings: Any) -> Segmenter:
    return Segmenter(model, **{"min_dim": 64, "device": "cpu", **settings})


def frames_of(count: int) -> list[np.ndarray]:
    return moving_square(count, HEIGHT, WIDTH)[0]


def square(top: int, left: int, size: int = 14) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[top : top + size, left : left + size] = True
    return mask


THREE = dict(zip(IDS, (square(2, 2), square(4, 40), square(30, 20)), strict=True))


def label_map(masks: Mapping[int, np.ndarray]) -> np.ndarray:
    labels = np.zeros((HEIGHT, WIDTH), np.uint16)
    for object_id, mask in masks.items():
        labels[mask] = object_id
    return labels


def assert_same_state(found: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)


def history_of(state: Mapping[str, np.ndarray], object_id: int) -> list[int]:
    """The frames whose entry in the history knows the object."""
    entries = [name.removesuffix("/frame") for name in state if name.startswith("history/") and name.endswith("/frame")]
    return [int(state[f"{entry}/frame"]) for entry in entries if object_id in state[f"{entry}/object_ids"]]


class Scripted:
    """Takes the place of `model.decode`: objects lie where `masks` says, at stride 4, and nowhere else."""

    def __init__(self) -> None:
        self.masks: list[torch.Tensor] = []

    def __call__(
        self, maps: Maps, history: History, cue: Any = None, region: Region | None = None, norms: Norms | None = None
    ) -> torch.Tensor:
        if norms is not None:
            norms.apply(torch.nn.GroupNorm(1, 1), torch.zeros(1, 1, 2, 2))
        height, width = maps.stride4.shape[-2:]
        count = history.objects.shape[2]
        logits = torch.full((1, NUM_NON_OBJECT + count, height, width), -4.0)
        logits[:, 1] = 4.0
        for row, mask in enumerate(self.masks):
            logits[0, NUM_NON_OBJECT + row] = torch.where(mask, 12.0, -4.0)
        return logits if region is None else region.doubled().of(logits)


def toy_history(frames: int, objects: int, channels: int = 32) -> History:
    torch.manual_seed(frames * 10 + objects)
    return History(
        torch.randn(1, frames, objects, channels),
        torch.randn(1, frames, 9, channels),
        torch.ones(1, frames, objects, dtype=torch.bool),
        torch.ones(1, frames, dtype=torch.bool),
    )
