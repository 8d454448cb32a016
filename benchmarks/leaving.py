"""Is an object that leaves the frame dropped, and found again when it returns? Composites of real clips.

    python benchmarks/leaving.py DAVIS2016 --count 14 --sequences car-turn,dance-jump,soccerball
    python benchmarks/leaving.py DAVIS2016 --count 24 --crossing

The data set has at least three clips, each with one object. In each composite two to four objects, cut out of two of
the clips, drift over a third one. Some vanish after a while, and some of these return elsewhere. Prints J over all
frames of all objects, separately while the object is visible before it has vanished ("there"), while it is gone
("gone": J is 1 if nothing is found), and after its return ("back").

With --crossing, no object vanishes. Instead they change places, so that they hide each other on the way, and two thirds
of them are recoloured: they look alike but for their colours, as children in different shirts do.
"""

from __future__ import annotations

import math
import random
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from as_command import as_command

from hodor_cli.datasets.dataset import recognise
from hodor_cli.datasets.labels.decode import LabelReader
from hodor_cli.engine import Segmenter
from hodor_cli.evaluation.metrics import jaccard
from hodor_cli.images.picture import read_picture
from hodor_cli.weights import load_model

#: Frames of a composite; range of an object's area as a fraction of the frame; smallest area to cut out.
FRAMES, AREAS, LEAST = 40, (0.009, 0.11), 0.0065

Clip = list[tuple[np.ndarray, np.ndarray]]  # images and masks (H, W) bool


@dataclass(frozen=True)
class Layer:
    """An object that drifts over a composite: its clip, its scale, whether it is mirrored, its first place and its
    drift per frame (x, y in pixels), the frames in which it is gone, how far away it returns, and how far its hues are
    rotated (0..179)."""

    filmed: Clip
    scale: float
    mirrored: bool
    place: tuple[float, float]
    drift: tuple[float, float]
    gone: range
    away: tuple[float, float]
    hue: int

    def paste(self, index: int, frame: np.ndarray, labels: np.ndarray, number: int) -> None:
        """Draw the object into a frame and its label map (H, W), unless it is gone."""
        if index in self.gone:
            return
        height, width = labels.shape
        x, y = self.place
        if self.gone and index >= self.gone.stop:
            x = min(max(x + self.away[0], 0.08 * width), 0.92 * width)
            y = min(max(y + self.away[1], 0.1 * height), 0.9 * height)
        rows, columns = np.nonzero(self.filmed[0][1])
        across = -self.scale if self.mirrored else self.scale
        x, y = x + index * self.drift[0] - across * columns.mean(), y + index * self.drift[1] - self.scale * rows.mean()
        warp = np.array([[across, 0, x], [0, self.scale, y]], np.float32)
        image, mask = self.filmed[index]
        if self.hue:
            hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
            hsv[..., 0] = (hsv[..., 0].astype(np.uint16) + self.hue) % 180
            image = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
        if self.scale < 1:
            image = cv2.GaussianBlur(image, (0, 0), 0.4 / self.scale)
        shown = cv2.warpAffine(mask.astype(np.uint8), warp, (width, height), flags=cv2.INTER_NEAREST) > 0
        frame[shown] = cv2.warpAffine(image, warp, (width, height))[shown]
        labels[shown] = number


def drawn_layer(filmed: Clip, column: float, target: float | None, draw: random.Random) -> Layer | None:
    """A random layer of a clip whose object starts near `column` (0..1); None if it is too small to be cut out.

    target: the column to which it moves, without vanishing; None for a random drift.
    """
    height, width = filmed[0][1].shape
    share = float(filmed[0][1].mean())
    if share < LEAST:
        return None
    gone, away = range(0), (0.0, 0.0)
    if target is None and draw.random() < 0.6:
        begin = draw.randrange(5, 18)
        gone = range(begin, begin + draw.randrange(4, 14) if draw.random() < 0.6 else FRAMES)
        away = draw.uniform(-0.35, 0.35) * width, draw.uniform(-0.2, 0.2) * height
    return Layer(
        filmed,
        scale=math.sqrt(math.exp(draw.uniform(*map(math.log, AREAS))) / share),
        mirrored=draw.random() < 0.5,
        place=(column * width, draw.uniform(0.3, 0.7) * height),
        drift=(
            draw.uniform(-1.5, 1.5) * width / 427 if target is None else (target - column) * width / FRAMES,
            draw.uniform(-0.4, 0.4) * width / 427,
        ),
        gone=gone,
        away=away,
        hue=0 if target is None else draw.choice([0, 0, 30, 60, 120, 150]),
    )


def composite(clips: list[Clip], draw: random.Random, crossing: bool) -> tuple[Clip, list[Layer]]:
    """Frames with label maps (H, W) uint8, and the layers; layer n has the label n + 1."""
    while True:
        ground, *kinds = draw.sample(clips, 3)
        count = draw.choice([2, 3, 4])
        layers = []
        for place in range(count):
            kind = draw.choice(kinds)
            begin = draw.randrange(len(kind) - FRAMES + 1)
            column = (place + 0.5 + draw.uniform(-0.25, 0.25)) / count
            target = ((place + 1) % count + 0.5) / count if crossing else None
            layers.append(drawn_layer(kind[begin : begin + FRAMES], column, target, draw))
        begin, frames = draw.randrange(len(ground) - FRAMES + 1), []
        usable = [layer for layer in layers if layer is not None]
        for index, (image, mask) in enumerate(ground[begin : begin + FRAMES]):
            frame, labels = image.copy(), np.zeros(mask.shape, np.uint8)
            for number, layer in enumerate(usable, 1):
                layer.paste(index, frame, labels, number)
            frames.append((frame, labels))
        if len(usable) == count and all((frames[0][1] == n).mean() > LEAST / 2 for n in range(1, count + 1)):
            return frames, usable


def main(
    davis: Path, sequences: str | None = None, count: int = 14, crossing: bool = False, weights: str = "mini"
) -> None:
    """davis: a folder in the DAVIS layout. sequences: the clips to use; all by default. count: composites."""
    clips: list[Clip] = []
    for sequence in recognise(davis).select(sequences and sequences.split(",")).sequences.values():
        reader = LabelReader(sequence.name)
        names = [name for name in sequence.images if name in sequence.masks]
        clip = [(read_picture(sequence.images[n]), reader.read(sequence.masks[n]).ids > 0) for n in names]
        clips += [clip] if len(clip) >= FRAMES else []
    segmenter, scores = Segmenter(load_model(weights), precision="fp32"), defaultdict(list)
    for number in range(count):
        frames, layers = composite(clips, random.Random(number), crossing)
        segmenter.reset()
        for index, (frame, labels) in enumerate(frames):
            found = segmenter.step(frame, None if index else labels)
            for layer_number, layer in enumerate(layers, 1):
                truth = labels == layer_number
                when = "back" if layer.gone and index >= layer.gone.stop else "there"
                if index:
                    scores[when if truth.any() else "gone"].append(jaccard(truth, found == layer_number))
        print(number + 1, *(f"{when} {np.mean(scores[when]):.3f} ({len(scores[when])})" for when in sorted(scores)))


if __name__ == "__main__":
    as_command(main, __doc__)
