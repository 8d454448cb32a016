"""Small valid inputs of every kind that the product reads, to be damaged."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import numpy as np
from command import hodor
from conftest import write_video
from evaluation_fakes import davis, write_meta, write_sequence
from PIL import Image

SIZE = (48, 64)
FRAMES = 5


def make_inputs(root: Path) -> Path:
    """Write them below `root`: clip.mp4, masks, photographs, benchmarks, weights, results, descriptors."""
    frames, masks = _scene()
    write_video(root / "clip.mp4", frames, 10)
    _pictures(root / "frames", frames, "{:05d}.jpg")
    _pictures(root / "masks", masks, "{:05d}.png")
    Image.fromarray(frames[0]).save(root / "pages.tif", save_all=True, append_images=map(Image.fromarray, frames[1:]))
    Image.fromarray(frames[0]).save(root / "clip.gif", save_all=True, append_images=map(Image.fromarray, frames[1:]))
    Image.fromarray(masks[0]).save(root / "mask.png")
    Image.fromarray(np.stack([masks[0] * 90, masks[0] * 20, masks[0]], axis=-1)).save(root / "rgb.png")
    np.save(root / "mask.npy", masks[0])
    (root / "list.txt").write_text("clip.mp4\n# more\nframes\n", encoding="utf-8")
    _pictures(root / "first", [masks[0]], "clip.png")
    _pictures(root / "first", [masks[0]], "frames.png")
    lists = davis(root / "davis", {"ball": masks}) / "ImageSets" / "2017"
    lists.mkdir(parents=True)
    (lists / "val.txt").write_text("ball\n", encoding="utf-8")
    write_sequence(root / "youtube/JPEGImages/ball", root / "youtube/Annotations/ball", masks)
    names = [f"{index:05d}" for index in range(FRAMES)]
    write_meta(root / "youtube", {"ball": {"1": ("ball", names), "2": ("ball", names)}})
    _coco(root / "photos", frames)
    _weights(root)
    segment = ["segment", root / "clip.mp4", "--mask", root / "mask.png"]
    weights = ["--weights", root / "toy.safetensors"]
    hodor(*segment, *weights, "-o", root / "result", "--export", "coco-video")
    hodor("export-descriptors", root / "result", *weights, "-o", root / "objects.h5")
    _interrupted(root)
    hodor("evaluate", root / "davis", "--predictions", root / "davis/Annotations/480p", "-o", root / "eval")
    train = ["pretrain", "--data", root / "photos", "--preset", "toy", "--workers", "0"]
    limits = ["--set", "limits.min_area=10", "--set", "limits.min_side=3"]
    hodor(*train, *limits, "--iterations", "1", "--batch-size", "1", "-o", root / "run")
    return root


def _scene() -> tuple[list[np.ndarray], list[np.ndarray]]:
    random = np.random.default_rng(0)
    ground = random.integers(0, 120, (*SIZE, 3), dtype=np.uint8)
    frames, masks = [], []
    for index in range(FRAMES):
        frame, mask = ground.copy(), np.zeros(SIZE, np.uint8)
        place = (slice(8, 28), slice(6 + 3 * index, 30 + 3 * index))
        frame[place], mask[place] = (220, 60, 40), 1
        mask[34:44, 40:60] = 2
        frames.append(frame)
        masks.append(mask)
    return frames, masks


def _pictures(folder: Path, pictures: list[np.ndarray], name: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for index, picture in enumerate(pictures):
        Image.fromarray(picture).save(folder / name.format(index))


def _coco(root: Path, frames: list[np.ndarray]) -> None:
    from pycocotools import mask as rle

    _pictures(root, frames[:3], "{:03d}.jpg")
    images = [{"id": i, "file_name": f"{i:03d}.jpg", "height": SIZE[0], "width": SIZE[1]} for i in range(3)]
    outline = [6.0, 8.0, 30.0, 8.0, 30.0, 28.0, 6.0, 28.0]
    packed = rle.encode(np.asfortranarray(np.ones(SIZE, np.uint8)))
    shapes = (
        ([outline], [6, 8, 24, 20], 480.0),
        ({"size": list(SIZE), "counts": [100, 300, 2672]}, [2, 4, 20, 40], 300.0),
        ({"size": list(SIZE), "counts": packed["counts"].decode()}, [0, 0, 64, 48], 3072.0),
    )
    annotations = [
        {"id": i + 1, "image_id": i, "category_id": 1, "segmentation": shape, "bbox": box, "area": area, "iscrowd": 0}
        for i, (shape, box, area) in enumerate(shapes)
    ]
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "thing"}]}
    (root / "instances.json").write_text(json.dumps(content), encoding="utf-8")


def _weights(root: Path) -> None:
    import torch

    from hodor_cli.model import build_model
    from hodor_cli.weights.checkpoint import save_checkpoint

    torch.manual_seed(0)
    model = build_model("toy")
    save_checkpoint(root / "toy.safetensors", model, {"training": {"iterations": 1}})
    torch.save({"model": model.state_dict()}, root / "toy.pth")


def _interrupted(root: Path) -> None:
    """A run that Ctrl-C ended in the middle, with what `--resume` reads."""
    from hodor_cli.formats.mask_arguments import read_given
    from hodor_cli.run.inputs import RunInputs
    from hodor_cli.run.runner import segment_source
    from hodor_cli.run.settings import RunHooks, RunOutput, SegmentSettings
    from hodor_cli.video.source import open_source
    from hodor_cli.weights import load_model

    settings = SegmentSettings(weights=str(root / "toy.safetensors"))

    def stop(done: int, total: int | None) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with open_source(root / "clip.mp4") as source, contextlib.suppress(KeyboardInterrupt):
        inputs = RunInputs(read_given([str(root / "mask.png")], source).masks)
        segmenter = settings.segmenter(load_model(settings.weights))
        output, hooks = RunOutput(checkpoint_seconds=0.0), RunHooks(progress=stop)
        segment_source(source, inputs, root / "stopped", segmenter, settings=settings, output=output, hooks=hooks)
