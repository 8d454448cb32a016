# ruff: noqa: T201
"""Time and memory of a large library of descriptors, on synthetic rows; anyone can run it.

    python benchmarks/retrieval.py --rows 1000000 --queries 256     # a million rows: write, read, curve, search
    python benchmarks/retrieval.py --clips 200                      # export of 200 short clips, killed and resumed

Each step prints its seconds and the process's largest memory so far. Nothing is left behind but what --keep names.
"""

from __future__ import annotations

import argparse
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from hodor_cli.descriptors import DescriptorStore, ObjectRow, StoreInfo, StoreWriter, VideoInfo
from hodor_cli.descriptors.search.protocol import score_retrieval
from hodor_cli.descriptors.search.query import queries_of_store
from hodor_cli.descriptors.search.search import search_objects
from hodor_cli.descriptors.store.vectors import vectors_of_store

CHANNELS = 256
OBJECTS, FRAMES = 10, 500  # of one synthetic video
INFO = StoreInfo("0" * 64, CHANNELS, "synthetic")


@contextmanager
def step(name: str) -> Iterator[None]:
    """Print how long the block took and the largest memory of the process so far."""
    started = time.perf_counter()
    yield
    # Linux counts in KiB, macOS in bytes.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform != "darwin" else 2**30)
    print(f"{name:<58}{time.perf_counter() - started:8.1f} s   peak {peak:5.2f} GiB", flush=True)


def write_library(path: Path, rows: int) -> None:
    """Videos of 10 objects in 500 frames: each object a centre and noise around it that grows slowly away from it."""
    rng = np.random.default_rng(0)
    with StoreWriter(path, INFO) as writer:
        for number in range(-(-rows // (OBJECTS * FRAMES))):
            name = f"video{number:04d}"
            centres = rng.normal(size=(OBJECTS, CHANNELS)).astype(np.float32)
            with writer.video(VideoInfo(name, f"/{name}.mp4", 480, 854, 25.0, str(number), "0" * 64)) as video:
                for frame in range(FRAMES):
                    noisy = centres + 1.6 * rng.normal(size=centres.shape).astype(np.float32)
                    objects = [ObjectRow(k + 1, noisy[k], (0, 0, 9, 9), 81) for k in range(OBJECTS)]
                    video.add_frame(frame, objects)


def large_library(rows: int, queries: int, folder: Path) -> None:
    """Write, index, curve and search."""
    path = folder / "library.h5"
    with step(f"write {rows:,} rows"):
        write_library(path, rows)
    print(f"{path.stat().st_size / 2**30:.2f} GiB on disk")
    with DescriptorStore(path) as store:
        with step("read who each row is"):
            index = store.index()
        with step(f"curve, {queries} random queries against all {len(index):,} rows"):
            scores = score_retrieval(vectors_of_store(store), index, queries=queries)
        print(f"  mAP {100 * scores.mean_average_precision:.2f} %, recall at 1 {100 * scores.recall_at_1:.1f} %")
        with step(f"curve within videos, {queries} random queries"):
            score_retrieval(vectors_of_store(store), index, queries=queries, within_video=True)
        query = queries_of_store(f"{path}#{store.videos[1]}/3")[0]
        with step("search for one object, exact"):
            best = search_objects(store, query, include_itself=True)[0]
        assert (best.video, best.object_id) == (store.videos[1], 3)


def many_clips(clips: int, folder: Path) -> None:
    """Export short clips with the toy network, killed once and resumed."""
    from safetensors.torch import save_file  # noqa: F401  fails early where the package is not installed whole

    davis = folder / "clips"
    with step(f"draw {clips} clips of 8 frames, 160x120"):
        draw_clips(davis, clips)
    command = [sys.executable, __file__, "--export", str(davis), "--output", str(folder / "clips.h5")]
    with step("export until it is killed"):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        for _ in range(clips // 3):
            process.stdout.readline()
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    with DescriptorStore(folder / "clips.h5") as store:
        print(f"  after the kill: {len(store.videos)} of {clips} clips are in the file")
    with step("the same command again"):
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    with DescriptorStore(folder / "clips.h5") as store:
        print(f"  {len(store.videos)} clips, {len(store):,} rows, {store.path.stat().st_size / 2**20:.1f} MiB")
    with step("and again: everything is skipped"):
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def draw_clips(root: Path, clips: int) -> None:
    """A data set laid out like DAVIS: two rectangles that move over a random ground."""
    import cv2

    from hodor_cli.images.label_png import write_label_png

    rng = np.random.default_rng(0)
    for number in range(clips):
        images, masks = (root / kind / "480p" / f"clip{number:03d}" for kind in ("JPEGImages", "Annotations"))
        images.mkdir(parents=True)
        masks.mkdir(parents=True)
        ground = cv2.resize(rng.integers(0, 255, (6, 8, 3), np.uint8), (160, 120), interpolation=cv2.INTER_CUBIC)
        colours = rng.integers(0, 255, (2, 3))
        for frame in range(8):
            image, label = ground.copy(), np.zeros((120, 160), np.uint16)
            for k, (top, left) in enumerate(((10, 8 + 6 * frame), (65, 110 - 7 * frame))):
                image[top : top + 44, left : left + 40] = colours[k]
                label[top : top + 44, left : left + 40] = k + 1
            cv2.imwrite(str(images / f"{frame:05d}.jpg"), image)
            write_label_png(masks / f"{frame:05d}.png", label)


def export(davis: Path, output: Path) -> None:
    """What the killed process runs."""
    import torch

    from hodor_cli.descriptors.export.export import export_sources
    from hodor_cli.descriptors.export.sources import find_sources
    from hodor_cli.model import build_model

    torch.manual_seed(0)
    export_sources(
        find_sources(davis), output, build_model("toy"), finished=lambda video: print(video.name, flush=True)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=0, help="rows of the synthetic library")
    parser.add_argument("--queries", type=int, default=256, help="random queries of the curve")
    parser.add_argument("--clips", type=int, default=0, help="clips to export")
    parser.add_argument("--keep", type=Path, help="folder to work in and leave")
    parser.add_argument("--export", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--output", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.export is not None:
        export(options.export, options.output)
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        if options.rows:
            large_library(options.rows, options.queries, folder)
        if options.clips:
            many_clips(options.clips, folder)
        if not options.rows and not options.clips:
            parser.error("give --rows or --clips")


if __name__ == "__main__":
    main()
