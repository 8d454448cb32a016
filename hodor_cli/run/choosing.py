"""Pictures for choosing masks: a frame with a grid and the masks so far, and the frames to mask next."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from hodor_cli.engine.suggesting import doubt_of, suggest_frames
from hodor_cli.errors import InputError
from hodor_cli.images.label_png import read_label_png
from hodor_cli.images.sheet import captioned, grid, save_sheet, scaled
from hodor_cli.records import FrameRecord, Report, SuggestedFrame, is_report, read_record
from hodor_cli.run.inputs import RunInputs
from hodor_cli.run.output import OutputFolder
from hodor_cli.video.frames import Frame, FrameSource
from hodor_cli.video.overlay import OutlinedText, draw_overlay
from hodor_cli.video.source import open_again

#: The most grid lines along the longer side, the possible distances between lines in pixels, and their opacity.
_LINES = 13
_STEPS = (10, 20, 25, 50, 100, 200, 250, 500, 1000, 2000)
_LINE_SHARE = 0.35
_BLACK, _WHITE = (0, 0, 0), (255, 255, 255)


def frame_to_show(source: FrameSource, inputs: RunInputs, index: int | None = None) -> Frame:
    """Frame `index`; if None, the first frame with inputs, or else the first of the source.

    Raises InputError if the frame is missing or the inputs do not fit the source.
    """
    if inputs.starts:
        inputs.check(source)
    index = min(inputs.starts, default=source.start) if index is None else index
    for frame in source.between(index, index + 1):
        return frame
    raise InputError(f"{source.label} has no frame {index}; frames count from 0")


def draw_look(image: NDArray[np.uint8], labels: NDArray[np.uint16] | None = None) -> NDArray[np.uint8]:
    """The (H, W, 3) RGB picture with its objects and a grid with pixel coordinates drawn over it."""
    drawn = image.copy() if labels is None else draw_overlay(image, labels, ids=True)
    height, width = drawn.shape[:2]
    step = grid_step(max(height, width))
    grid = drawn.copy()
    for lines, pixels in ((grid.swapaxes(0, 1), drawn.swapaxes(0, 1)), (grid, drawn)):
        for place in range(step, len(lines), step):  # white on dark pixels, black on bright ones
            lines[place] = 255 if pixels[place].mean() < 128 else 0
    drawn = np.asarray(cv2.addWeighted(grid, _LINE_SHARE, drawn, 1 - _LINE_SHARE, 0), dtype=np.uint8)
    scale = max(0.3, min(height, width) / 1100)
    places = [(x, x + 2, round(16 * scale) + 4) for x in range(step, width, step)]
    places += [(y, 2, y - 3) for y in range(step, height, step)]
    for number, left, bottom in places:
        OutlinedText(str(number), left, bottom, scale, max(1, round(scale * 1.6))).write(drawn, _BLACK, _WHITE)
    return drawn


def grid_step(side: int) -> int:
    """The distance of the grid's lines, in pixels, for a picture whose longer side is `side`."""
    return next((step for step in _STEPS if side / step <= _LINES), _STEPS[-1])


#: The longer side of a picture on the page, in pixels, and the number of pictures in a row.
_SIDE, _COLUMNS = 400, 3
#: The smallest gain that is suggested.
_LEAST_GAIN = 0.01


def suggested(records: Iterable[FrameRecord], count: int = 5) -> tuple[SuggestedFrame, ...]:
    """The frames whose masks would help most, the most useful first; each would remove at least 1% of the doubt."""
    names, doubts, masked = [], [], []
    for position, record in enumerate(records):
        names.append((record.frame, record.name))
        doubts.append(doubt_of(record.objects.values()))
        if record.given:
            masked.append(position)
    return tuple(
        SuggestedFrame(*names[found.frame], round(found.gain, 4))
        for found in suggest_frames(doubts, masked, count)
        if found.gain >= _LEAST_GAIN
    )


def suggested_in(result: Path, count: int = 5) -> tuple[SuggestedFrame, ...]:
    """Suggestions for a result folder. Raises InputError if it has no finished run, OutputError if it is damaged."""
    return suggested(_report(result).frames, count)


def write_suggestions(path: Path, result: Path, frames: Iterable[SuggestedFrame]) -> None:
    """Write a PNG page of frames with their masks drawn over them. Raises InputError if the video is missing."""
    folder = OutputFolder(result)
    report = _report(result)
    tiles = []
    with open_again(report, report.place.get("source", ""))[0] as source:
        for one in frames:
            for frame in source.between(one.frame, one.frame + 1):
                drawn = draw_overlay(frame.image, read_label_png(folder.mask(one.name)), ids=True)
                tile = scaled(drawn, min(1.0, _SIDE / max(drawn.shape[:2])))
                tiles.append(captioned(tile, f"{one.name}  {one.gain:.0%}", 14))
    if not tiles:
        raise InputError(f"no frame of {result} can be shown: they are no longer in {report.place.get('source')}")
    save_sheet(path, grid(tiles, _COLUMNS))


def _report(result: Path) -> Report:
    report = OutputFolder(result).report
    if not is_report(report):
        raise InputError(f"{result} is not the result of a finished run; for a video, also give its first `mask`")
    return read_record(report, Report)
