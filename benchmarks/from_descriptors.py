# ruff: noqa: T201
"""Segmenting a video with no mask, from saved descriptors alone: what works best, in the same scene and in another.

    python benchmarks/from_descriptors.py DAVIS2016_TRAIN --weights mini --every 6 --sequences 12

Descriptors come from true masks of the first half of each sequence. They are then looked for, without any mask,
- in the second half of the same sequence (same scene),
- in the second half pasted, by its true masks, over another sequence's frames (another scene, the truth known),
- in another sequence (absent: nothing should be found).
Rows are ways to start: how many descriptors, and with the saved background or none. J is the mean overlap with the true
mask; "alike" the share of frames in which what was found is taken for the saved object (`Recognition`), which should
be high for the first two and low where the object is absent. The distances behind that (5th, 50th and 95th percentile)
are printed on stderr, to choose `RECOGNISED_BELOW` by.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from hodor_cli.descriptors.encode import FrameEncoder
from hodor_cli.descriptors.query import spread
from hodor_cli.descriptors.recognition import Recognition
from hodor_cli.descriptors.sources import davis_sequences
from hodor_cli.inference import Segmenter
from hodor_cli.weights import load_model

Clip = list[tuple[np.ndarray, np.ndarray]]


def read_clips(root: Path, every: int, sequences: int) -> list[Clip]:
    """Frames and (H, W) bool masks of object 1 of evenly chosen sequences."""
    sources = davis_sequences(root, every=every)
    chosen = [sources[k] for k in np.linspace(0, len(sources) - 1, min(sequences, len(sources))).round().astype(int)]
    clips = []
    for source in chosen:
        clip = [(frame.image, frame.masks[1]) for frame in source.frames() if 1 in frame.masks]
        if len(clip) >= 4:
            clips.append(clip)
    return clips


def elsewhere(clip: Clip, other: Clip) -> Clip:
    """The clip's object pasted over the other clip's frames."""
    import cv2

    pasted = []
    for number, (image, mask) in enumerate(clip):
        ground = other[number % len(other)][0]
        ground = cv2.resize(ground, (image.shape[1], image.shape[0]), interpolation=cv2.INTER_AREA)
        pasted.append((np.where(mask[..., None], image, ground), mask))
    return pasted


def overlap(found: np.ndarray, mask: np.ndarray) -> float:
    """Intersection over union; 1 where both are empty."""
    either = np.count_nonzero(found | mask)
    return np.count_nonzero(found & mask) / either if either else 1.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("davis", type=Path)
    parser.add_argument("--weights", default="mini")
    parser.add_argument("--every", type=int, default=6)
    parser.add_argument("--sequences", type=int, default=12)
    parser.add_argument("--counts", type=int, nargs="+", default=[1, 8], help="descriptors of the object to start from")
    options = parser.parse_args()
    model = load_model(options.weights)
    encoder, segmenter = FrameEncoder(model), Segmenter(model)
    clips = read_clips(options.davis, options.every, options.sequences)
    known = []
    for clip in clips:
        encoded = [encoder.encode(image, {1: mask}) for image, mask in clip[: len(clip) // 2]]
        known.append((np.stack([e.objects[1] for e in encoded]), encoded[-1].background))
    print(f"{len(clips)} clips; weights {options.weights}")
    print("| descriptors | background | J same scene | alike | J another scene | alike | alike where absent |")
    print("|---|---|---|---|---|---|---|")
    for count in options.counts:
        for saved in (False, True):
            found: dict[str, list[tuple[float, float, float]]] = {"same": [], "moved": [], "absent": []}
            for number, clip in enumerate(clips):
                rows, background = known[number]
                other = clips[(number + 1) % len(clips)]
                later = clip[len(clip) // 2 :]
                recognition = Recognition({1: spread(rows, count)}, background)
                cases = {"same": later, "moved": elsewhere(later, other), "absent": other[: len(later)]}
                for case, frames in cases.items():
                    segmenter.reset()
                    segmenter.start_from({1: spread(rows, count)}, background if saved else None)
                    for image, mask in frames:
                        inside = segmenter.step(image) == 1
                        apart = recognition.distance(1, segmenter.descriptors().objects[1]) if inside.any() else np.inf
                        found[case].append((overlap(inside, mask), float(apart < recognition.limit), apart))
            for case, values in found.items():
                spread_of = np.percentile([apart for _, _, apart in values], (5, 50, 95))
                print(f"  distances, {case:<7}" + "".join(f"{value:7.2f}" for value in spread_of), file=sys.stderr)
            same, moved, absent = (100 * np.mean(np.array(scores), axis=0) for scores in found.values())
            numbers = (*same[:2], *moved[:2], absent[1])
            row = " | ".join(f"{value:.1f}" for value in numbers)
            print(f"| {count} | {'saved' if saved else 'none'} | {row} |", flush=True)


if __name__ == "__main__":
    main()
