"""Sheets of predictions: the truth and the network's output for training pictures, side by side."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch.nn.functional as F

from hodor_cli.files import writing_file
from hodor_cli.images.sheet import Picture, captioned, joined, save_sheet, scaled
from hodor_cli.samples.sample import Batch
from hodor_cli.training.cycles import Prediction
from hodor_cli.training.losses import merge_background
from hodor_cli.training.run_folder import DISK
from hodor_cli.video.overlay import draw_overlay

_HEIGHT, _ROWS = 144, 4  # largest height of a picture, and most rows of a sheet


def write_predictions(path: Path, batch: Batch, predictions: list[Prediction]) -> None:
    """Write a PNG with a row for each sample (at most 4), which shows the truth, if known, beside each prediction.

    path: its folder is created. batch: from the loader. predictions: of its first samples, in the order of the cycle.
    Raises OutputError.
    """
    size = tuple(batch["frames"].shape[2:4])
    scale = min(1.0, _HEIGHT / size[0])
    rows: list[list[Picture]] = [[] for _ in batch["names"][:_ROWS]]
    for prediction in predictions:
        merged = merge_background(prediction.logits[:_ROWS].float())
        upsampled = F.interpolate(merged, size=size, mode="bilinear", align_corners=False)
        for row, labels in enumerate(upsampled.argmax(dim=1).cpu().numpy().astype(np.uint16)):
            frame = batch["frames"][row, prediction.frame].numpy()
            target = prediction.target[row].cpu().numpy().astype(np.uint16)
            known = bool(batch["labelled"][row, prediction.frame])
            truth = draw_overlay(frame, target) if known else frame
            both = scaled(np.concatenate([truth, draw_overlay(frame, labels)], axis=1), scale)
            caption = f"frame {prediction.frame}: {'truth' if known else 'no labels'}, prediction"
            rows[row].append(captioned(both, caption))
    named = zip(rows, batch["names"], strict=False)
    strips = [captioned(joined(groups, axis=1), name) for groups, name in named if groups]
    with writing_file(path.parent, DISK):
        path.parent.mkdir(exist_ok=True)
    save_sheet(path, joined(strips, axis=0), DISK)
