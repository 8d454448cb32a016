"""The failure sheet: one PNG with the worst objects, drawn with Pillow because it is quick."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hodor_cli.evaluation.failures import Failure
from hodor_cli.files import write_result
from hodor_cli.video.overlay import object_colours

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw

_WIDTH, _GAP, _LEFT, _TITLE, _LINE, _CURVE = 260, 6, 96, 44, 26, 110
_ROWS = ("input", "truth", "prediction")
_INK, _DIM, _BLUE = (20, 20, 20), (150, 150, 150), (11, 98, 164)


def write_failure_sheet(failures: Sequence[Failure], path: Path) -> None:
    """Per object its frames as columns (input, truth, prediction), and J over time below with those frames marked."""
    from PIL import Image, ImageDraw

    columns = max(len(failure.frames) for failure in failures)
    width = _LEFT + max(2, columns) * (_WIDTH + _GAP)
    sheet = Image.new("RGB", (width, sum(_height(failure) for failure in failures)), "white")
    draw, top = ImageDraw.Draw(sheet), 0
    for failure in failures:
        _draw_failure(sheet, draw, failure, top)
        top += _height(failure)
    data = io.BytesIO()
    sheet.save(data, format="PNG", compress_level=3)  # photographs gain little from more
    write_result(path, data.getvalue())


def _height(failure: Failure) -> int:
    tall = _picture_height(failure)
    return _TITLE + _LINE + 3 * (tall + _GAP) + _CURVE + 2 * _LINE


def _picture_height(failure: Failure) -> int:
    height, width = failure.frames[0].pictures[0].shape[:2]
    return max(1, round(height * _WIDTH / width))


def _draw_failure(sheet: Any, draw: ImageDraw, failure: Failure, top: int) -> None:
    from PIL import Image

    score = failure.score
    title = f"{failure.sequence}, object {score.object_id}: J {100 * score.j:.1f}, F {100 * score.f:.1f}"
    colour = tuple(int(value) for value in object_colours(np.array([score.object_id]))[0])
    draw.rectangle((_GAP, top + 15, _GAP + 18, top + 33), colour)
    draw.text((_GAP + 28, top + 12), title, _INK, _font(22))
    top += _TITLE
    tall = _picture_height(failure)
    for row, name in enumerate(_ROWS):
        draw.text((_GAP, top + _LINE + row * (tall + _GAP) + tall // 2 - 8), name, _DIM, _font(16))
    for column, frame in enumerate(failure.frames):
        left = _LEFT + column * (_WIDTH + _GAP)
        draw.text((left, top + 2), f"frame {frame.name}: J {100 * frame.j:.1f}", _INK, _font(16))
        for row, picture in enumerate(frame.pictures):
            small = Image.fromarray(picture).resize((_WIDTH, tall))
            sheet.paste(small, (left, top + _LINE + row * (tall + _GAP)))
    _draw_curve(draw, failure, top + _LINE + 3 * (tall + _GAP) + _LINE // 2, sheet.width - _LEFT - _GAP)


def _draw_curve(draw: ImageDraw, failure: Failure, top: int, width: int) -> None:
    values = failure.score.j_values
    step = width / max(1, len(values) - 1)
    for value in (0, 50, 100):
        y = top + _CURVE * (1 - value / 100)
        draw.line((_LEFT, y, _LEFT + width, y), (225, 225, 225))
        draw.text((_LEFT - 8, y), str(value), _DIM, _font(14), anchor="rm")
    for frame in failure.frames:
        x = _LEFT + frame.position * step
        draw.line((x, top, x, top + _CURVE), _DIM)
    points = [(_LEFT + index * step, top + _CURVE * (1 - float(value))) for index, value in enumerate(values)]
    draw.line(points if len(points) > 1 else points * 2, _BLUE, 2)
    draw.text((_GAP, top + _CURVE // 2), "J", _DIM, _font(16), anchor="lm")
    names = failure.score.frames
    draw.text((_LEFT, top + _CURVE + 4), names[0], _DIM, _font(14))
    draw.text((_LEFT + width, top + _CURVE + 4), names[-1], _DIM, _font(14), anchor="ra")


def _font(size: int) -> Any:
    """A font with the letters of most names: the one that matplotlib brings."""
    from PIL import ImageFont

    try:
        import matplotlib

        return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"), size)
    except (ImportError, OSError):
        return ImageFont.load_default()
