# ruff: noqa: T201
"""What real videos do to the numbers that `descriptors/session/drift.py` watches, so that its limits can be chosen.

hodor export-descriptors DAVIS2016_TRAIN -o objects.h5 --no-thumbnails
python benchmarks/drift_limits.py objects.h5
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

import numpy as np

from hodor_cli.descriptors import DescriptorStore
from hodor_cli.descriptors.session.drift import REFERENCE_FRAMES, DriftMonitor, background_step

Frames = list[tuple[dict[int, np.ndarray], np.ndarray]]


def frames_of(store: DescriptorStore, name: str) -> Frames:
    """The objects' and background descriptors of each frame of a video."""
    rows = store.rows(name)
    return [
        (dict(zip(rows.object_id[rows.frame == f].tolist(), rows.descriptor[rows.frame == f], strict=True)), background)
        for background, f in zip(*store.background(name), strict=True)
    ]


def away_from_reference(frames: Frames) -> list[float]:
    """Distances of each object to its reference, in units of its distance to the background there."""
    distances = []
    for key in {key for objects, _ in frames for key in objects}:
        seen = [(objects[key], background) for objects, background in frames if key in objects]
        first = seen[:REFERENCE_FRAMES]
        reference = np.mean([row for row, _ in first], axis=0)
        unit = np.median([np.median(np.linalg.norm(background - row, axis=1)) for row, background in first])
        distances += [float(np.linalg.norm(row - reference) / unit) for row, _ in seen[REFERENCE_FRAMES:]]
    return distances


def say(name: str, values: list[float]) -> None:
    points = (0, 1, 5, 50, 95, 99, 100)
    print(f"{name:<44}" + "".join(f"{value:8.2f}" for value in np.percentile(values, points)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path, help="consecutive frames with true masks")
    with DescriptorStore(parser.parse_args().store) as store:
        videos = {name: frames_of(store, name) for name in store.videos}
    names = list(videos)
    print(f"{'percentile':<44}" + "".join(f"{point:8d}" for point in (0, 1, 5, 50, 95, 99, 100)))
    say("object to its reference", [v for frames in videos.values() for v in away_from_reference(frames)])
    cross = []
    for a, b in zip(names, names[1:] + names[:1], strict=True):
        mixed = videos[a][:REFERENCE_FRAMES] + [(objects, videos[a][0][1]) for objects, _ in videos[b][:20]]
        cross += away_from_reference(mixed)
    say("another video's object to that reference", cross)
    steps = [background_step(f[k - 1][1], f[k][1]) for f in videos.values() for k in range(1, len(f))]
    say("background from frame to frame", steps)
    say(
        "background over a cut",
        [background_step(videos[a][-1][1], videos[b][0][1]) for a in names for b in names if a != b],
    )
    events: Counter[str] = Counter()
    for frames in videos.values():
        monitor = DriftMonitor()
        for number, (objects, background) in enumerate(frames):
            events.update(event.kind for event in monitor.add(number, objects, background))
    total = sum(len(frames) for frames in videos.values())
    print(f"events on these {total} true frames with today's limits: {dict(events) or 'none'}")
    hits = 0
    for a, b in zip(names, names[1:] + names[:1], strict=True):
        monitor = DriftMonitor()
        joined = videos[a] + videos[b]
        cuts = [
            event.frame
            for number, (objects, background) in enumerate(joined)
            for event in monitor.add(number, objects, background)
            if event.kind == "cut"
        ]
        hits += len(videos[a]) in cuts
    print(f"cuts seen where two videos are joined: {hits} of {len(names)}")


if __name__ == "__main__":
    main()
