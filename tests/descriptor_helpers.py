"""Small stores and clips for the tests of descriptors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
from PIL import Image

from hodor_cli.descriptors.store.crops import crop_jpeg
from hodor_cli.descriptors.store.schema import ObjectRow, StoreInfo, VideoInfo
from hodor_cli.descriptors.store.writer import StoreWriter
from hodor_cli.images.label_png import write_label_png
from hodor_cli.model import build_model
from hodor_cli.records import FrameRecord, Report, SourceRecord, SpeedRecord, WeightsRecord

INFO = StoreInfo("f" * 64, 16, "toy")


def write_report(result: Path, name: str, place: str = "", frames: Sequence[FrameRecord] = ()) -> None:
    """Write the report of a result folder whose video is called `name`."""
    report = Report(
        source=SourceRecord(name, "folder", (120, 160), 24.0), masks={}, boxes={}, weights=WeightsRecord("toy", ""),
        settings={}, used={}, place={"source": place}, format="hodor-report", speed=SpeedRecord(len(frames), 1.0),
        frames=list(frames),
    )  # fmt: skip
    (result / "report.json").write_bytes(msgspec.json.encode(report))


def crop_of(colour: int) -> bytes:
    image = np.full((40, 60, 3), colour, np.uint8)
    mask = np.zeros((40, 60), bool)
    mask[10:30, 20:50] = True
    return crop_jpeg(image, mask, (20, 10, 30, 20))


def clustered_store(
    path: Path,
    videos: int = 3,
    frames: int = 8,
    noise: float = 0.3,
    kind: str = "video",
    baseline: bool = True,
    baseline_noise: float = 1.0,
) -> Path:
    """`videos` videos v0, v1 ... with objects 1 and 2, each a cluster of its own, and a background per frame."""
    other = np.random.default_rng(8)
    rng = np.random.default_rng(7)
    with StoreWriter(path, INFO) as writer:
        for number in range(videos):
            centres = rng.normal(size=(2, 16)) * 2
            features = other.normal(size=(2, 4))
            info = VideoInfo(
                f"v{number}", f"/clips/v{number}.mp4", 40, 60, 10.0, "a", INFO.model_fingerprint, kind=kind
            )
            with writer.video(info) as video:
                for frame in range(frames):
                    rows = [
                        ObjectRow(
                            i + 1,
                            (centres[i] + noise * rng.normal(size=16)).astype(np.float32),
                            (20, 10, 30, 20),
                            600,
                            0.9,
                            (features[i] + baseline_noise * other.normal(size=4)).astype(np.float32)
                            if baseline
                            else None,
                            crop_of((40 * number + 80 * i) % 256),
                        )
                        for i in range(2)
                    ]
                    video.add_frame(frame, rows, rng.normal(size=(9, 16)).astype(np.float32))
    return path


def clip(
    count: int = 6, height: int = 64, width: int = 96, hue: int = 200
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Frames with two moving squares over a textured ground, and their label maps of ids 1 and 2."""
    rows, columns = np.mgrid[:height, :width]
    ground = np.stack([60 + rows % 40, 110 + columns % 50, 90 + (rows + columns) % 60], -1).astype(np.uint8)
    frames, labels = [], []
    for index in range(count):
        frame, label = ground.copy(), np.zeros((height, width), np.uint16)
        for object_id, (top, left, colour) in {
            1: (8, 4 + 4 * index, (hue, 40, 30)),
            2: (36, 60 - 4 * index, (20, 60, hue)),
        }.items():
            label[top : top + 20, left : left + 24] = object_id
            frame[top : top + 20, left : left + 24] = colour
        frames.append(frame)
        labels.append(label)
    return frames, labels


def write_davis(root: Path, sequences: dict[str, int], count: int = 6, binary: bool = False) -> Path:
    """A data set laid out like DAVIS; `sequences` maps names to hues. binary: masks of 0 and 255, as DAVIS 2016 has."""
    for name, hue in sequences.items():
        images, masks = root / "JPEGImages" / "480p" / name, root / "Annotations" / "480p" / name
        images.mkdir(parents=True)
        masks.mkdir(parents=True)
        for index, (frame, label) in enumerate(zip(*clip(count, hue=hue), strict=True)):
            Image.fromarray(frame).save(images / f"{index:05d}.jpg", quality=95)
            if binary:
                Image.fromarray(((label == 1) * 255).astype(np.uint8)).save(masks / f"{index:05d}.png")
            else:
                write_label_png(masks / f"{index:05d}.png", label)
    return root


def toy_model():  # type: ignore[no-untyped-def]
    """A network of a few ten thousand random parameters, always the same ones, computing in one thread."""
    import torch

    torch.set_num_threads(1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build_model("toy")
