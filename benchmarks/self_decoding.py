"""Do descriptors tell the objects of a frame apart? A frame is decoded from its own descriptors.

    python benchmarks/self_decoding.py DAVIS_MULTI DAVIS2017                     # the first frame of each sequence
    python benchmarks/self_decoding.py DAVIS2017 --frames 8 --weights runs/mini/last.safetensors

A frame and its masks are encoded, and the same frame is segmented from these descriptors alone, without the
correspondence cue. A perfect network returns the same masks. Prints for each object: J with its mask, J if it were the
only object ("alone"), its share of the frame, and the largest cosine of its descriptor with that of another object of
the frame (1: the network cannot know which is which). Only sequences with several objects show how well they are told
apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from as_command import as_command

from hodor_cli.datasets.dataset import VideoSequence, recognise
from hodor_cli.datasets.labels.decode import LabelReader
from hodor_cli.engine import Segmenter
from hodor_cli.evaluation.metrics import jaccard
from hodor_cli.images.label_png import ids_in
from hodor_cli.images.picture import read_picture
from hodor_cli.images.spacing import evenly_spaced
from hodor_cli.weights import load_model

Masks = dict[int, np.ndarray]


@dataclass(frozen=True)
class Row:
    """One object of one frame: overlaps (0..1), share of the frame, largest cosine with another object (or NaN)."""

    sequence: str
    number: int
    together: float
    alone: float
    share: float
    cosine: float


def decoded(segmenter: Segmenter, image: np.ndarray, masks: Masks) -> tuple[np.ndarray, dict[int, np.ndarray]]:
    """The label map of a frame decoded from its own descriptors, and the descriptors by object."""
    segmenter.reset()
    segmenter.step(image, masks)
    objects = segmenter.descriptors().objects
    return segmenter.step(image), {number: np.asarray(vector, dtype=np.float64) for number, vector in objects.items()}


def cosine_to_others(vectors: dict[int, np.ndarray], number: int) -> float:
    """The largest cosine between the descriptor of an object and any other; NaN if there is no other."""
    own = vectors[number] / np.linalg.norm(vectors[number])
    others = [own @ vector / np.linalg.norm(vector) for other, vector in vectors.items() if other != number]
    return float(max(others, default=float("nan")))


def rows_of_frame(segmenter: Segmenter, sequence: str, image: np.ndarray, masks: Masks) -> list[Row]:
    """A row for each object of a frame."""
    labels, vectors = decoded(segmenter, image, masks)
    rows = []
    for number, mask in masks.items():
        alone = decoded(segmenter, image, {number: mask})[0] if len(masks) > 1 else labels
        overlaps = jaccard(labels == number, mask), jaccard(alone == number, mask)
        rows.append(Row(sequence, number, *overlaps, float(np.mean(mask)), cosine_to_others(vectors, number)))
    return rows


def frames_of(sequence: VideoSequence, count: int) -> list[tuple[np.ndarray, Masks]]:
    """Images, and masks by object, of `count` frames that show objects, spread over the sequence."""
    reader = LabelReader(sequence.name)
    labels = {name: reader.read(path).ids for name, path in sequence.masks.items() if name in sequence.images}
    shown = [name for name, ids in labels.items() if ids.any()]
    return [
        (read_picture(sequence.images[name]), {number: labels[name] == number for number in ids_in(labels[name])})
        for name in (shown[place] for place in evenly_spaced(len(shown), count))
    ]


def main(davis: list[Path], weights: str = "mini", frames: int = 1, history: int = 1) -> None:
    """davis: folders in the DAVIS layout. frames: of each sequence, spread over it."""
    segmenter = Segmenter(load_model(weights), history=history, matching=False)
    rows: list[Row] = []
    for folder in davis:
        for sequence in recognise(folder).sequences.values():
            for image, masks in frames_of(sequence, frames):
                rows += rows_of_frame(segmenter, sequence.name, image, masks)
    print(f"weights {weights}; {len(rows)} objects")
    print("| sequence | object | J | J alone | share of the frame | largest cosine |\n|---|---|---|---|---|---|")
    for row in rows:
        print(
            f"| {row.sequence} | {row.number} | {row.together:.2f} | {row.alone:.2f} | {100 * row.share:.1f} %"
            f" | {row.cosine:.2f} |"
        )
    numbers = np.array([[row.together, row.alone, row.share, row.cosine] for row in rows])
    means = np.nanmean(numbers, axis=0)
    print(f"| **mean** | | **{means[0]:.3f}** | {means[1]:.3f} | {100 * means[2]:.1f} % | {means[3]:.2f} |")


if __name__ == "__main__":
    as_command(main, __doc__)
