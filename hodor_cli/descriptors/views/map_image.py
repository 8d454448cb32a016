"""A map for print, each object's crop pasted at its point (HODOR, CVPR 2022, figures 3, 4), and its points as CSV."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hodor_cli.descriptors.store.crops import open_crop
from hodor_cli.descriptors.views.layout import Colour, ColourBy, DescriptorMap, colours_of
from hodor_cli.files import csv_text, harmless, new_file

if TYPE_CHECKING:
    from PIL import Image, ImageDraw

PAGE = 3000  # pixels of the map's side: 25 cm at 300 dpi
LEGEND_WIDTH = 620
LEGEND_ROWS = 44
BORDER = 5

Place = tuple[float, float]


def write_map_image(
    path: Path,
    found: DescriptorMap,
    *,
    colour_by: ColourBy = "video",
    trajectories: bool = False,
    crops: bool = True,
    title: str = "",
) -> None:
    """Write the map as PNG: crops in frames of their group's colour, a legend at the right, 300 dots per inch.

    trajectories: join the points of each object in the order of its frames. crops: False draws dots.
    """
    from PIL import Image, ImageDraw, ImageFont

    colours, legend = colours_of(found, colour_by)
    page = Image.new("RGB", (PAGE + LEGEND_WIDTH, PAGE), "white")
    draw = ImageDraw.Draw(page)
    side = crop_side(found)
    places = [_place(point.x, point.y, side) for point in found.points]
    if trajectories:
        _draw_trajectories(draw, found, places, colours)
    # Later frames lie on top, objects interleaved, so that no object is hidden as a whole.
    for number in sorted(range(len(places)), key=lambda number: (found.points[number].frame, number)):
        data = found.points[number].crop if crops else None
        _draw_point(page, draw, places[number], data, colours[number], side)
    draw.line((PAGE, 60, PAGE, PAGE - 60), fill=(220, 220, 220), width=3)
    draw.text(
        (PAGE + 40, 60), title or _describe(found), fill=(20, 20, 20), font=ImageFont.load_default(38), spacing=14
    )
    _draw_legend(draw, legend)
    with new_file(path) as temporary:
        page.save(temporary, format="PNG", dpi=(300, 300))


def write_points_csv(path: Path, found: DescriptorMap) -> None:
    """Write video, object_id, frame, time (s, empty for stills), confidence, x and y of every point."""
    rows: list[list[object]] = [["video", "object_id", "frame", "time", "confidence", "x", "y"]]
    for point in found.points:
        time = "" if point.time is None else f"{point.time:.3f}"
        numbers = (f"{point.confidence:.4f}", f"{point.x:.6f}", f"{point.y:.6f}")
        rows.append([point.video, point.object_id, point.frame, time, *numbers])
    with new_file(path) as temporary:
        temporary.write_text(csv_text(rows), encoding="utf-8")


def crop_side(found: DescriptorMap) -> int:
    """Pixels of a crop's longer side on the page: the more points, the smaller."""
    return int(np.clip(1.35 * PAGE / np.sqrt(len(found.points)), 40, 180))


def _place(x: float, y: float, side: int) -> Place:
    margin = 60 + side
    return margin + (x + 1) / 2 * (PAGE - 2 * margin), margin + (1 - y) / 2 * (PAGE - 2 * margin)


def _draw_point(
    page: Image.Image, draw: ImageDraw.ImageDraw, place: Place, data: bytes | None, colour: Colour, side: int
) -> None:
    from PIL import Image

    x, y = place
    if data is None:
        radius = max(side // 8, 7)
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour, outline="white")
        return
    crop = open_crop(data)
    scale = side / max(crop.size)
    crop = crop.resize(
        (max(round(crop.width * scale), 1), max(round(crop.height * scale), 1)), Image.Resampling.LANCZOS
    )
    left, top = round(x - crop.width / 2), round(y - crop.height / 2)
    box = (left - BORDER, top - BORDER, left + crop.width + BORDER - 1, top + crop.height + BORDER - 1)
    draw.rectangle(box, fill=colour)
    page.paste(crop, (left, top))


def _draw_trajectories(
    draw: ImageDraw.ImageDraw, found: DescriptorMap, places: list[Place], colours: list[Colour]
) -> None:
    for number in range(1, len(places)):
        before, now = found.points[number - 1], found.points[number]
        if (before.video, before.object_id) == (now.video, now.object_id):
            draw.line((*places[number - 1], *places[number]), fill=colours[number], width=4)


def _draw_legend(draw: ImageDraw.ImageDraw, legend: dict[str, Colour]) -> None:
    from PIL import ImageFont

    for number, (name, colour) in enumerate(list(legend.items())[:LEGEND_ROWS]):
        top = 300 + number * 60
        draw.rectangle((PAGE + 40, top, PAGE + 78, top + 38), fill=colour)
        name = harmless(name)
        short = name if len(name) <= 26 else name[:12] + "…" + name[-12:]
        draw.text((PAGE + 96, top), short, fill=(20, 20, 20), font=ImageFont.load_default(34))
    if len(legend) > LEGEND_ROWS:
        text = f"and {len(legend) - LEGEND_ROWS} more"
        draw.text((PAGE + 96, 300 + LEGEND_ROWS * 60), text, fill=(110, 110, 110), font=ImageFont.load_default(30))


def _describe(found: DescriptorMap) -> str:
    objects = len({(point.video, point.object_id) for point in found.points})
    name = {"tsne": "t-SNE", "pca": "PCA"}[found.method]
    return (
        f"{name} of {len(found.points)} {found.what}\n{objects} objects, {len(found.videos)} videos\nseed {found.seed}"
    )
