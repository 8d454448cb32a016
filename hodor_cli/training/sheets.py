"""A sheet of predictions: what the network makes of a batch, beside what it should have made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch.nn.functional as F
from numpy.typing import NDArray

from hodor_cli.errors import OutputError
from hodor_cli.training.checkpointing import write_atomically
from hodor_cli.training.cycles import Prediction
from hodor_cli.training.losses import merge_background
from hodor_cli.training.samples.loader import Batch
from hodor_cli.video.overlay import draw_overlay

_HEIGHT = 144  # of a picture, at most
_BAND = 16
_GAP = 4
_ROWS = 4

Picture = NDArray[np.uint8]


class SheetWriter:
    """Writes FOLDER/000500.png for iteration 500."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, iteration: int, batch: Batch, predictions: list[Prediction]) -> None:
        """Draw and write one sheet. Raises OutputError when it cannot be written."""
        import cv2

        sheet = draw_predictions(batch, predictions)
        done, data = cv2.imencode(".png", cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))
        path = self.folder / f"{iteration:06d}.png"
        try:
            self.folder.mkdir(exist_ok=True)
        except OSError as error:
            raise OutputError(f"the folder {self.folder} cannot be made ({error.strerror}); see the disk") from error
        if done:
            write_atomically(path, data.tobytes())


def draw_predictions(batch: Batch, predictions: list[Prediction]) -> Picture:
    """(H', W', 3) uint8 RGB: a row per sample (at most 4), per prediction the truth, if known, and what came out.

    batch: as the loader gives it. predictions: of its first samples, in the order of the cycle.
    """
    if not predictions:
        return np.full((_BAND, _BAND, 3), 255, np.uint8)
    size = batch["frames"].shape[2:4]
    found = [_labels(prediction, size) for prediction in predictions]
    rows = []
    for row in range(min(_ROWS, len(found[0]))):
        groups = []
        for prediction, labels in zip(predictions, found, strict=True):
            frame = batch["frames"][row, prediction.frame].numpy()
            target = prediction.target[row].cpu().numpy().astype(np.uint16)
            known = bool(batch["labelled"][row, prediction.frame])
            truth = draw_overlay(frame, target) if known else frame
            pictures = [_scaled(picture) for picture in (truth, draw_overlay(frame, labels[row]))]
            caption = f"frame {prediction.frame}: {'truth' if known else 'no labels'}, prediction"
            groups.append(_captioned(np.concatenate(pictures, axis=1), caption))
        rows.append(_captioned(_joined(groups, axis=1), batch["names"][row]))
    return _joined(rows, axis=0)


def _labels(prediction: Prediction, size: tuple[int, int]) -> NDArray[np.uint16]:
    merged = merge_background(prediction.logits[:_ROWS].float())
    upsampled = F.interpolate(merged, size=tuple(size), mode="bilinear", align_corners=False)
    return np.asarray(upsampled.argmax(dim=1).cpu().numpy(), dtype=np.uint16)


def _scaled(picture: Picture) -> Picture:
    import cv2

    height, width = picture.shape[:2]
    if height <= _HEIGHT:
        return picture
    small: Any = cv2.resize(picture, (round(width * _HEIGHT / height), _HEIGHT), interpolation=cv2.INTER_AREA)
    return np.asarray(small, dtype=np.uint8)


def _captioned(picture: Picture, text: str) -> Picture:
    import cv2

    band = np.full((_BAND, picture.shape[1], 3), 255, np.uint8)
    plain = text.encode("ascii", "replace").decode()
    cv2.putText(band, plain, (2, 12), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (0, 0, 0), 1, cv2.LINE_AA)
    return np.concatenate([band, picture])


def _joined(pictures: list[Picture], *, axis: int) -> Picture:
    """Pictures of one batch, so of one size, with gaps between."""
    shape = list(pictures[0].shape)
    shape[axis] = _GAP
    gap = np.full(shape, 255, np.uint8)
    parts = [part for picture in pictures for part in (picture, gap)]
    return np.concatenate(parts[:-1], axis=axis)
