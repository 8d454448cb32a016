"""Segment a video from one mask, in Python: what `hodor segment clip.mp4 --mask first.png` does.

python examples/segment_video.py clip.mp4 first.png result
"""

from __future__ import annotations

import sys
from pathlib import Path

from hodor_cli import Segmenter, load_model, open_source, read_mask, write_label_png


def main(video: str, mask: str, out: str) -> None:
    Path(out).mkdir(parents=True, exist_ok=True)
    segmenter = Segmenter(load_model("mini"), history=7)
    with open_source(video) as source:
        first = read_mask(mask, size=(source.height, source.width)).labels
        for frame in source:
            labels = segmenter.step(frame.picture, masks=first if frame.index == 0 else None)
            write_label_png(Path(out) / f"{frame.name}.png", labels)


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
