"""Time and memory of a large library of descriptors, on synthetic rows.

    python benchmarks/library.py --rows 1000000 --queries 256

Writes, indexes, measures a curve and searches. Each step prints its seconds and the peak memory of the process so far.
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
from as_command import as_command

from hodor_cli.descriptors import DescriptorStore, ObjectRow, StoreInfo, StoreWriter, VideoInfo
from hodor_cli.descriptors.search.comparison import vectors_of_store
from hodor_cli.descriptors.search.protocol import score_retrieval
from hodor_cli.descriptors.search.query import queries_of_store
from hodor_cli.descriptors.search.search import search_objects

CHANNELS = 256
OBJECTS, FRAMES = 10, 500  # in each synthetic video
INFO = StoreInfo("0" * 64, CHANNELS, "synthetic")


@contextmanager
def step(name: str) -> Iterator[None]:
    """Print how long the block took and the peak memory of the process so far."""
    started = time.perf_counter()
    yield
    # Linux counts in KiB, macOS in bytes.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform != "darwin" else 2**30)
    print(f"{name:<58}{time.perf_counter() - started:8.1f} s   peak {peak:5.2f} GiB", flush=True)


def write_library(path: Path, rows: int) -> None:
    """Write videos of 10 objects in 500 frames; each object is a centre with noise around it."""
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


def main(rows: int = 100_000, queries: int = 256) -> None:
    """rows: of the library. queries: random queries of the curve."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "library.h5"
        with step(f"write {rows:,} rows"):
            write_library(path, rows)
        print(f"{path.stat().st_size / 2**30:.2f} GiB on disk")
        with DescriptorStore(path) as store:
            with step("read the object of each row"):
                index = store.index()
            with step(f"curve, {queries} random queries against all {len(index):,} rows"):
                scores = score_retrieval(vectors_of_store(store), index, queries=queries)
            print(f"  mAP {100 * scores.mean_average_precision:.2f} %, recall at 1 {100 * scores.recall_at_1:.1f} %")
            with step(f"curve within videos, {queries} random queries"):
                score_retrieval(vectors_of_store(store), index, queries=queries, within_video=True)
            query = queries_of_store(f"{path}#{store.videos[-1]}/3")[0]
            with step("search for one object, exact"):
                best = search_objects(store, replace(query, store=None))[0]
            print(f"  found {best.video}/{best.object_id}, asked for {query.label}")


if __name__ == "__main__":
    as_command(main, __doc__)
