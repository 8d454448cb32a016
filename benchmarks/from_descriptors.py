"""Segmenting a video from saved descriptors, without a mask: what works best, in the same scene and in another?

    python benchmarks/from_descriptors.py DAVIS2016_DEV                         # 8 sequences, a few minutes
    python benchmarks/from_descriptors.py DAVIS2016_TRAIN --sequences 12 --counts 1,8 --every 6

Descriptors come from true masks of the first half of each sequence: of frame 0 alone, or of 8 frames spread over it.
The object is then searched for, without any mask,
- in the second half of the same sequence (same scene),
- in its second half pasted, by the true masks, over another sequence's frames (another scene with known truth),
- in another sequence (absent: nothing should be found).

Each row is a way to start: how many descriptors of the object, and which background (the saved one, that of the
target's first frame encoded with an empty mask, or none). J is the mean overlap with the true mask. "alike" is the
share of frames whose result is accepted as the saved object (`Recognition`); it should be high in the first two cases
and low if the object is absent. "told apart" is how often a frame with the object is nearer to it than one without
(area under the curve), by the descriptors, and by the projection if the weights have one. The distances behind that
(5th, 50th and 95th percentile) are printed on stderr, to choose limits by.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from as_command import as_command

from hodor_cli.descriptors.export.encode import EncodedFrame, FeatureTap, FrameEncoder
from hodor_cli.descriptors.export.export import dataset_sequences
from hodor_cli.descriptors.search.projection import Projection, projection_for
from hodor_cli.descriptors.search.query import spread
from hodor_cli.descriptors.session.recognition import Recognition
from hodor_cli.engine import Segmenter
from hodor_cli.evaluation.metrics import jaccard
from hodor_cli.images.spacing import evenly_spaced
from hodor_cli.weights import load_model, model_fingerprint

Clip = list[tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Found:
    """One frame: overlap with the truth, whether the result is accepted as the object, its distances (inf: empty)."""

    overlap: float
    alike: bool
    apart: float
    projected: float


def read_clips(root: Path, every: int, sequences: int) -> list[Clip]:
    """Frames and (H, W) bool masks of object 1 of evenly spaced sequences."""
    sources = dataset_sequences(root, every=every)
    clips = []
    for source in (sources[k] for k in evenly_spaced(len(sources), sequences)):
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


def told_apart(there: list[float], absent: list[float]) -> float:
    """Share of pairs in which the frame with the object is nearer than the one without; ties count half."""
    near, far = np.array(there)[:, None], np.array(absent)[None]
    return float(np.mean((near < far) + 0.5 * (near == far)))


class Looking:
    """Starts a segmenter from one object's encoded frames and searches for it in other frames."""

    def __init__(self, segmenter: Segmenter, projection: Projection | None) -> None:
        self.segmenter, self.projection = segmenter, projection
        self.encoder, self.tap = FrameEncoder.like(segmenter), FeatureTap(segmenter)

    def frames(self, known: list[EncodedFrame], count: int, background: str, clip: Clip) -> Iterator[Found]:
        rows = spread(np.stack([frame.objects[1] for frame in known]), count)
        features = spread(np.stack([frame.baseline[1] for frame in known]), count)
        scene = {"saved": known[-1].background, "none": None}
        if background == "target":
            scene["target"] = self.encoder.encode(clip[0][0], {}).background
        plain = Recognition({1: rows}, known[-1].background)
        best = Recognition({1: rows}, known[-1].background, baseline={1: features}, projection=self.projection)
        self.segmenter.reset()
        self.segmenter.start_from({1: rows}, scene[background])
        for image, mask in clip:
            inside = self.segmenter.step(image) == 1
            apart = projected = np.inf
            if inside.any():
                descriptor, means = self.segmenter.descriptors().objects[1], self.tap.means({1: inside})[1]
                apart, projected = plain.distance(1, descriptor), best.distance(1, descriptor, means)
            yield Found(jaccard(inside, mask), projected < best.limit, apart, projected)


def percentiles(case: str, kind: str, values: list[float]) -> None:
    numbers = "".join(f"{value:7.2f}" for value in np.percentile(values, (5, 50, 95), method="lower"))
    print(f"  {kind}, {case:<7}{numbers}", file=sys.stderr)


def main(
    davis: Path,
    weights: str = "mini",
    projection: Path | None = None,
    every: int = 10,
    sequences: int = 8,
    counts: str = "1,8",
    backgrounds: str = "saved,target,none",
) -> None:
    """projection: file of train-projection; by default the bundled one. counts, backgrounds: the ways to start."""
    model = load_model(weights)
    looking = Looking(Segmenter(model), projection_for(model_fingerprint(model), projection))
    clips = read_clips(davis, every, sequences)
    known = [[looking.encoder.encode(image, {1: mask}) for image, mask in clip[: len(clip) // 2]] for clip in clips]
    print(f"{len(clips)} clips; weights {weights}")
    print(
        "| descriptors | background | J same scene | alike | J other scene | alike | alike, absent "
        "| told apart | by projection |\n|---|---|---|---|---|---|---|---|---|"
    )
    for count in map(int, counts.split(",")):
        for background in backgrounds.split(","):
            found: dict[str, list[Found]] = {"same": [], "moved": [], "absent": []}
            for number, clip in enumerate(clips):
                other = clips[(number + 1) % len(clips)]
                later = clip[len(clip) // 2 :]
                cases = {"same": later, "moved": elsewhere(later, other), "absent": other[: len(later)]}
                for case, frames in cases.items():
                    found[case] += looking.frames(known[number], count, background, frames)
            numbers = []
            for case, values in found.items():
                percentiles(case, "descriptors", [value.apart for value in values])
                percentiles(case, "projection ", [value.projected for value in values])
                numbers += [100 * np.mean([value.overlap for value in values])] if case != "absent" else []
                numbers += [100 * np.mean([value.alike for value in values])]
            there = found["same"] + found["moved"]
            apart = [
                told_apart([getattr(v, kind) for v in there], [getattr(v, kind) for v in found["absent"]])
                for kind in ("apart", "projected")
            ]
            row = " | ".join(f"{value:.1f}" for value in numbers)
            row += f" | {100 * apart[0]:.1f} | {100 * apart[1]:.1f}"
            print(f"| {count} | {background} | {row} |", flush=True)


if __name__ == "__main__":
    as_command(main, __doc__)
