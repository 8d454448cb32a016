"""How are the numbers that `descriptors/session/watches.py` watches distributed in real videos? To choose its limits.

hodor export-descriptors DAVIS2016_TRAIN -o objects.h5 --no-thumbnails
python benchmarks/drift_limits.py objects.h5
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import typer
from as_command import as_command

from hodor_cli.descriptors import DescriptorStore
from hodor_cli.descriptors.session.watches import DriftMonitor, background_step

Frames = list[tuple[dict[int, np.ndarray], np.ndarray]]
PERCENTILES = (0, 1, 5, 50, 95, 99, 100)


def frames_of(store: DescriptorStore, name: str) -> Frames:
    """The objects' and background descriptors of each frame of a video."""
    rows = store.rows(name)
    return [
        (dict(zip(rows.object_id[rows.frame == f].tolist(), rows.descriptor[rows.frame == f], strict=True)), background)
        for background, f in zip(*store.background(name), strict=True)
    ]


def say(name: str, values: list[float]) -> None:
    print(f"{name:<44}" + "".join(f"{value:8.2f}" for value in np.percentile(values, PERCENTILES)))


def main(file: Path) -> None:
    """file: descriptors of consecutive frames with true masks."""
    with DescriptorStore(file) as store:
        videos = {name: frames_of(store, name) for name in store.videos}
    names = list(videos)
    if len(names) < 2:
        raise typer.BadParameter("a cut needs two videos; export more of them")
    print(f"{'percentile':<44}" + "".join(f"{point:8d}" for point in PERCENTILES))
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
    as_command(main, __doc__)
