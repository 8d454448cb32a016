"""Pictures of the worst objects, in the frames around the largest drops of J (HODOR, CVPR 2022, fig. 5)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hodor_cli.datasets.dataset import Dataset
from hodor_cli.datasets.folders import masks_of_frames
from hodor_cli.datasets.labels.decode import LabelReader, is_binary
from hodor_cli.datasets.labels.mask_values import LabelMap
from hodor_cli.evaluation.results import EvaluationResult
from hodor_cli.evaluation.scoring import ObjectScore
from hodor_cli.images.label_png import box_of
from hodor_cli.images.picture import read_picture
from hodor_cli.images.sheet import Picture, captioned, joined, save_sheet, scaled, text_line
from hodor_cli.video.overlay import colour_of, draw_overlay

WORST_OBJECTS = 6
PICTURE_WIDTH = 360


@dataclass(frozen=True)
class FailureFrame:
    """One frame around a drop: its J and F, and the same window of input, truth and prediction, (h, w, 3) RGB each."""

    name: str
    position: int
    j: float
    f: float
    pictures: tuple[Picture, Picture, Picture]


@dataclass(frozen=True)
class Failure:
    """One of the worst objects, with the frames that show why."""

    sequence: str
    score: ObjectScore
    frames: list[FailureFrame]


def find_failures(result: EvaluationResult, dataset: Dataset, places: Mapping[str, Path]) -> list[Failure]:
    """The worst objects, with pictures. places: the folder of each sequence's predicted masks."""
    failures = []
    for sequence, score in result.worst_objects(WORST_OBJECTS):
        source = dataset.sequences[sequence.name]
        wanted = {score.frames[position]: position for position in frames_around_drops(score.j_values)}
        binary = is_binary(source.name, source.masks.values())
        files, _ = masks_of_frames(places[sequence.name], source.frames)
        predicted = _labels_of({frame: files[frame] for frame in list(source.masks)[1:] if frame in files}, wanted)
        truth = _labels_of(source.masks, wanted, binary)
        frames = []
        for frame, position in wanted.items():
            pictures = _pictures(source.images.get(frame), truth[frame], predicted[frame], score.object_id)
            j, f = float(score.j_values[position]), float(score.f_values[position])
            frames.append(FailureFrame(frame, position, j, f, pictures))
        failures.append(Failure(sequence.name, score, frames))
    return failures


def _labels_of(files: Mapping[str, Path], wanted: Collection[str], binary: bool | None = None) -> dict[str, LabelMap]:
    """The label maps of the `wanted` frames, with the ids that scoring saw: a colour keeps the id of its first mask."""
    reader, found = LabelReader("", binary=binary, check_edges=False), dict[str, LabelMap]()
    for frame, file in files.items():
        labels = reader.read(file).ids
        if frame in wanted:
            found[frame] = labels
        if len(found) == len(wanted):
            break
    return found


def frames_around_drops(j_values: npt.NDArray[np.float64]) -> list[int]:
    """Positions before and after the two largest drops of J, and where J is lowest, in order; at most five."""
    lowest = int(np.argmin(j_values))
    chosen = {lowest}
    drops = j_values[:-1] - j_values[1:]
    for position in np.argsort(-drops, kind="stable"):
        if len(chosen) >= 4 or drops[position] <= 0:
            break
        before = int(position)
        if all(abs(before - other) > 2 or other == lowest for other in chosen):
            chosen |= {before, before + 1}
    if len(chosen) == 1 and len(j_values) > 1:  # no drop at all: J never gets worse
        chosen |= {0, len(j_values) // 2}
    return sorted(chosen)


def _pictures(
    image_file: Path | None, truth: LabelMap, prediction: LabelMap, object_id: int
) -> tuple[Picture, Picture, Picture]:
    image = None if image_file is None else read_picture(image_file)
    if image is None or image.shape[:2] != truth.shape:
        image = np.full((*truth.shape, 3), 40, np.uint8)
    window = _window((truth == object_id) | (prediction == object_id))
    drawn = image, *(draw_overlay(image, labels.astype(np.uint16)) for labels in (truth, prediction))
    scale = PICTURE_WIDTH / drawn[0][window].shape[1]
    return tuple(scaled(picture[window], scale) for picture in drawn)  # type: ignore[return-value]


def _window(region: npt.NDArray[np.bool_]) -> tuple[slice, slice]:
    """A window around a region, with a margin and the frame's aspect ratio; the whole frame if the region is empty."""
    height, width = region.shape
    box = box_of(region)
    if box is None:
        return slice(0, height), slice(0, width)
    share = min(1.0, max(0.4, 1.5 * box[3] / height, 1.5 * box[2] / width))
    tall, wide = round(share * height), round(share * width)
    top = min(max(0, box[1] + (box[3] - 1) // 2 - tall // 2), height - tall)
    left = min(max(0, box[0] + (box[2] - 1) // 2 - wide // 2), width - wide)
    return slice(top, top + tall), slice(left, left + wide)


def write_failure_sheet(failures: Sequence[Failure], path: Path) -> None:
    """Write one PNG with a block per object; each column is a frame: input, truth and prediction."""
    rows = []
    for failure in failures:
        score = failure.score
        columns: list[Picture] = []
        for frame in failure.frames:
            caption = f"frame {frame.name}: J {100 * frame.j:.1f}" + " (input, truth, prediction)" * (not columns)
            columns.append(captioned(joined(frame.pictures, axis=0), caption, 16))
        title = f"{failure.sequence}, object {score.object_id}: J {100 * score.j:.1f}, F {100 * score.f:.1f}"
        colour = np.full((27, 18, 3), colour_of(score.object_id), np.uint8)
        rows += [joined([colour, text_line(title, 2 * PICTURE_WIDTH, 22)], axis=1), joined(columns, axis=1)]
    save_sheet(path, joined(rows, axis=0, gap=12))
