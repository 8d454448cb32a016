"""Descriptors of given masks: one frame and its masks in, one row per object out (HODOR, sec. 3.2)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from threading import local
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from hodor_cli.descriptors.export.sources import LabelledFrame
from hodor_cli.descriptors.store.crops import crop_jpeg
from hodor_cli.descriptors.store.schema import ObjectRow
from hodor_cli.engine import Segmenter, SegmenterSettings
from hodor_cli.engine.masks import bool_mask
from hodor_cli.errors import InputError, not_a_network
from hodor_cli.images.label_png import box_of
from hodor_cli.model.background import reference_masks
from hodor_cli.model.hodor import Hodor
from hodor_cli.runtime.device import (
    autocast,
    choose_device,
    choose_precision,
    placed,
    precision_name,
    without_autocast,
)
from hodor_cli.runtime.preprocess import Geometry, frame_fault, pad, prepare_frame, resize
from hodor_cli.settings import options_of


@dataclass(frozen=True)
class EncodedFrame:
    """One frame's object descriptors {id: (C,)}, background descriptors (9, C) and baseline features {id: (B,)}."""

    objects: dict[int, NDArray[np.float32]]
    background: NDArray[np.float32]
    baseline: dict[int, NDArray[np.float32]]


class FrameEncoder:
    """Encodes given masks without history, as in the first frame of a video (HODOR, sec. 3.2).

    It also computes the baseline: the mean of the backbone's features inside the mask, without the encoder. settings:
    the working resolution, the device and the precision; as in `Segmenter`, a copy of the model is used if needed.
    """

    def __init__(self, model: Hodor, settings: SegmenterSettings | None = None) -> None:
        if not isinstance(model, Hodor):
            raise not_a_network(model)
        settings = options_of(SegmenterSettings, settings, "settings")
        self.config = model.config
        self.min_dim, self.max_dim = model.config.resolution(settings.min_dim, settings.max_dim)
        self.device = choose_device(settings.device)
        self.dtype = choose_precision(settings.precision, self.device)
        self.model = placed(model, self.device)

    @classmethod
    def like(cls, segmenter: Segmenter) -> FrameEncoder:
        """An encoder with a segmenter's network, resolution, device and precision."""
        settings = SegmenterSettings(
            min_dim=segmenter.min_dim,
            max_dim=segmenter.max_dim,
            device=str(segmenter.device),
            precision=precision_name(segmenter.dtype),
        )
        return cls(segmenter.model, settings)

    def settings(self) -> dict[str, Any]:
        """The settings that affect descriptors, for `VideoInfo.settings`."""
        return {"min_dim": self.min_dim, "max_dim": self.max_dim, "precision": str(self.dtype).removeprefix("torch.")}

    def encode(self, image: NDArray[np.uint8], masks: Mapping[int, NDArray[np.bool_]]) -> EncodedFrame:
        """Encode masks {object id: (H, W) bool} in an image (H, W, 3) uint8 RGB.

        A mask too small for the network's resolution is encoded from the cell that it covers most. Raises InputError
        for an image or a mask of another type or size.
        """
        if wrong := frame_fault(image):
            raise InputError(wrong)
        size = image.shape[0], image.shape[1]
        masks = {key: bool_mask(mask, size, f"the mask of object {key}") for key, mask in masks.items()}
        geometry = Geometry.of(*size, min_dim=self.min_dim, max_dim=self.max_dim)
        with torch.inference_mode(), autocast(self.device, self.dtype):
            frame = prepare_frame(image, geometry, self.config.pixel_mean, self.config.pixel_std, self.device)
            # Not `extract`, because the baseline needs the backbone's own maps.
            levels = self.model.backbone(frame)
            _, stride8 = self.model.fpn(levels)
            full = self._masks(masks, geometry)
            # A frame without objects still has a background: everything outside an empty mask.
            object_masks, background_masks = reference_masks(full if masks else full.new_zeros(1, 1, *geometry.padded))
            object_masks = _visible(object_masks, full) if masks else object_masks[:, :0]
            encoded = self.model.encoder(stride8, object_masks, background_masks)
            baseline = masked_mean(levels, full)
        objects, background = encoded.objects[0].float().cpu().numpy(), encoded.background[0].float().cpu().numpy()
        return EncodedFrame(dict(zip(masks, objects, strict=True)), background, dict(zip(masks, baseline, strict=True)))

    def _masks(self, masks: Mapping[int, NDArray[np.bool_]], geometry: Geometry) -> torch.Tensor:
        """(1, I, padded height, padded width) float32 of 0 and 1.

        A mask that would vanish when it is resized is replaced by the share of each pixel that it covers.
        """
        if not masks:
            return torch.zeros(1, 0, *geometry.padded, device=self.device)
        given = torch.from_numpy(np.stack(list(masks.values()))).to(self.device)[None].float()
        hard = (resize(given, geometry.scaled) > 0.5).float()
        vanished = hard.amax(dim=(2, 3), keepdim=True) == 0
        if vanished.any():
            hard = torch.where(vanished, F.interpolate(given, size=geometry.scaled, mode="area"), hard)
        return pad(hard, geometry.padded)


def _visible(at_stride8: torch.Tensor, full: torch.Tensor) -> torch.Tensor:
    """The masks at stride 8 (1, I, h, w), with no object left empty.

    An empty mask is replaced by the share of each cell that the full mask (1, I, H, W) covers, scaled to at most 1.
    """
    missed = at_stride8.flatten(2).amax(dim=2) == 0
    if not missed.any():
        return at_stride8
    share = F.adaptive_avg_pool2d(full, (at_stride8.shape[-2], at_stride8.shape[-1]))
    share = share / share.amax(dim=(2, 3), keepdim=True).clamp(min=1e-9)
    return torch.where(missed[..., None, None], share, at_stride8)


def masked_mean(levels: list[torch.Tensor], masks: torch.Tensor) -> NDArray[np.float32]:
    """The baseline (I, B) float32: unit-length means of the backbone's stride-8 and stride-16 maps inside each mask.

    levels: the backbone's maps at strides 4, 8, 16 and 32, each (1, C, h, w). masks: (1, I, H, W) in 0..1 at the
    input's resolution. Each cell is weighted by the share of it that the mask covers.
    """
    parts = []
    with without_autocast(masks.device):
        for level in levels[1:3]:
            share = F.adaptive_avg_pool2d(masks.float(), (level.shape[-2], level.shape[-1]))
            parts.append(F.normalize(torch.einsum("bihw,bchw->ic", share, level.float()), dim=1))
    return torch.cat(parts, dim=1).cpu().numpy()


class FeatureTap:
    """Baseline features of the objects in a segmenter's latest frame.

    A hook keeps the backbone's maps of that frame, so that the backbone does not run twice; `close` removes it. It
    keeps them for each thread, because segmenters of other threads may use the same network.
    """

    def __init__(self, segmenter: Segmenter) -> None:
        self._segmenter = segmenter
        self._seen = local()
        segmenter.network.maps_are_read = True
        self._hook = segmenter.model.backbone.register_forward_hook(self._keep)

    def means(self, masks: Mapping[int, NDArray[np.bool_]]) -> dict[int, NDArray[np.float32]]:
        """{id: (H, W) mask of the latest frame} -> {id: (B,)}; empty before the first frame."""
        levels: list[torch.Tensor] = getattr(self._seen, "levels", [])
        if not masks or not levels:
            return {}
        stacked = np.stack(list(masks.values()))
        segmenter = self._segmenter
        geometry = Geometry.of(*stacked.shape[1:], min_dim=segmenter.min_dim, max_dim=segmenter.max_dim)
        with torch.inference_mode():
            given = torch.from_numpy(stacked)[None].float().to(levels[0].device)
            means = masked_mean(levels, pad(resize(given, geometry.scaled), geometry.padded))
        return dict(zip(masks, means, strict=True))

    def close(self) -> None:
        """Remove the hook from the network."""
        self._hook.remove()
        self._seen = local()

    def _keep(self, module: Any, inputs: Any, output: Any) -> None:
        self._seen.levels = list(output)


def object_rows(
    frame: LabelledFrame,
    descriptors: Mapping[int, NDArray[np.float32]],
    baseline: Mapping[int, NDArray[np.float32]],
    *,
    thumbnails: bool = True,
) -> list[ObjectRow]:
    """The rows of one frame, for the objects that have both a descriptor and a non-empty mask."""
    rows = []
    for object_id, mask in frame.masks.items():
        box = box_of(mask)
        if box is None or object_id not in descriptors:
            continue
        descriptor, area = np.asarray(descriptors[object_id], np.float32), int(np.count_nonzero(mask))
        confidence = float(frame.confidence.get(object_id, 1.0))
        crop = crop_jpeg(frame.image, mask, box) if thumbnails else None
        named = frame.image_name, frame.categories.get(object_id), frame.time
        rows.append(ObjectRow(object_id, descriptor, box, area, confidence, baseline[object_id], crop, *named))
    return rows
