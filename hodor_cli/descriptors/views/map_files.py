"""A map as files: PNG for print (HODOR, CVPR 2022, figures 3, 4), an HTML page to explore, and CSV."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
from markupsafe import Markup
from PIL import Image, ImageDraw, ImageFont, ImageOps

from hodor_cli.descriptors.store.crops import open_crop
from hodor_cli.descriptors.views.layout import Colour, ColourBy, DescriptorMap, colours_of
from hodor_cli.files import csv_text, drawable, harmless, new_file
from hodor_cli.images.paths import plural
from hodor_cli.pages import data_uri, render

_METHODS = {"tsne": "t-SNE", "pca": "PCA"}
PAGE = 3000  # pixels of the map's side: 25 cm at 300 dpi
LEGEND_WIDTH = 620
LEGEND_ROWS = 44
BORDER = 5
TILE = 96  # pixels per crop in the atlas
ATLAS_LIMIT = 8192  # pixels per side that every browser can decode


def write_map_image(
    path: Path, found: DescriptorMap, *, colour_by: ColourBy = "video", trajectories: bool = False
) -> None:
    """Write the map as PNG: crops framed in their group's colour, a legend on the right, 300 dots per inch.

    trajectories: connect the points of each object in frame order.
    """
    colours, legend = colours_of(found, colour_by)
    page = Image.new("RGB", (PAGE + LEGEND_WIDTH, PAGE), "white")
    draw = ImageDraw.Draw(page)
    points = found.points
    side = int(np.clip(1.35 * PAGE / np.sqrt(len(points)), 40, 180))  # of a crop; smaller if there are more points
    margin = 60 + side
    inside = (PAGE - 2 * margin) / 2
    places = [(margin + (point.x + 1) * inside, margin + (1 - point.y) * inside) for point in points]
    for number in range(1, len(points)) if trajectories else ():
        before, now = points[number - 1], points[number]
        if (before.video, before.object_id) == (now.video, now.object_id):
            draw.line((*places[number - 1], *places[number]), fill=colours[number], width=4)
    # Drawn frame by frame across all objects, so that no object is hidden entirely.
    for number in sorted(range(len(points)), key=lambda number: (points[number].frame, number)):
        _draw_point(page, places[number], points[number].crop, colours[number], side)
    draw.line((PAGE, 60, PAGE, PAGE - 60), fill=(220, 220, 220), width=3)
    objects = len({(point.video, point.object_id) for point in points})
    counts = f"{plural(objects, 'object')}, {plural(len(found.videos), 'video')}"
    text = f"{_METHODS[found.method]} of {len(points)} {found.what}\n{counts}\nseed {found.seed}"
    draw.text((PAGE + 40, 60), text, fill=(20, 20, 20), font=ImageFont.load_default(38), spacing=14)
    for number, (group, colour) in enumerate(list(legend.items())[:LEGEND_ROWS]):
        top, group = 300 + number * 60, drawable(group)
        draw.rectangle((PAGE + 40, top, PAGE + 78, top + 38), fill=colour)
        short = group if len(group) <= 26 else group[:12] + "…" + group[-12:]
        draw.text((PAGE + 96, top), short, fill=(20, 20, 20), font=ImageFont.load_default(34))
    if len(legend) > LEGEND_ROWS:
        more = f"and {len(legend) - LEGEND_ROWS} more"
        draw.text((PAGE + 96, 300 + LEGEND_ROWS * 60), more, fill=(110, 110, 110), font=ImageFont.load_default(30))
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


def _draw_point(page: Image.Image, place: tuple[float, float], data: bytes | None, colour: Colour, side: int) -> None:
    draw = ImageDraw.Draw(page)
    x, y = place
    if data is None:
        radius = max(side // 8, 7)
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour, outline="white")
        return
    crop = ImageOps.contain(open_crop(data), (side, side), Image.Resampling.LANCZOS)
    left, top = round(x - crop.width / 2), round(y - crop.height / 2)
    box = (left - BORDER, top - BORDER, left + crop.width + BORDER - 1, top + crop.height + BORDER - 1)
    draw.rectangle(box, fill=colour)
    page.paste(crop, (left, top))


def write_map_page(
    path: Path, found: DescriptorMap, *, colour_by: ColourBy = "video", trajectories: bool = False, title: str = ""
) -> None:
    """Write the map as one HTML page with all crops in an embedded JPEG; without thumbnails, points are dots."""
    atlas, columns, tile, sizes = _atlas(found)
    schemes = {}
    for scheme in ("video", "object", "frame"):
        colours, legend = colours_of(found, scheme)
        names = list(dict.fromkeys(colours))
        schemes[scheme] = {
            "colours": [f"rgb{name}" for name in names],
            "of": [names.index(colour) for colour in colours],
            "legend": {harmless(name): f"rgb{colour}" for name, colour in legend.items()},
        }
    places = {name: place for place, name in enumerate(found.videos)}
    points = [
        [round(p.x, 5), round(p.y, 5), places[p.video], p.object_id, p.frame,
         None if p.time is None else round(p.time, 3), round(p.confidence, 3)]
        for p in found.points
    ]  # fmt: skip
    data = {
        "points": points, "videos": [harmless(name) for name in found.videos], "schemes": schemes, "columns": columns,
        "tile": tile, "crops": sizes, "colourBy": colour_by, "trajectories": trajectories,
        "method": _METHODS[found.method], "rows": found.rows, "what": found.what, "seed": found.seed,
    }  # fmt: skip
    # "</script>" inside a name would end the script.
    text = Markup(json.dumps(data, separators=(",", ":")).replace("<", "\\u003c"))
    shown = harmless(title) or "descriptor map"
    page = render("hodor_cli.descriptors.views", "map_page.html", title=shown, data=text, atlas=atlas)
    with new_file(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def _atlas(found: DescriptorMap) -> tuple[str, int, int, list[tuple[int, int] | None]]:
    """The data URI of a sheet with all crops, its columns, pixels per crop, and each crop's (width, height) on it.

    The URI is empty if there are no crops.
    """
    if all(point.crop is None for point in found.points):
        return "", 1, TILE, [None] * len(found.points)
    columns = math.ceil(math.sqrt(len(found.points)))
    tile = min(TILE, ATLAS_LIMIT // columns)
    sheet = Image.new("RGB", (columns * tile, -(-len(found.points) // columns) * tile), "white")
    sizes: list[tuple[int, int] | None] = [None] * len(found.points)
    for number, data in enumerate(point.crop for point in found.points):
        if data is not None:
            crop = open_crop(data)
            crop.thumbnail((tile, tile))
            sheet.paste(crop, (number % columns * tile, number // columns * tile))
            sizes[number] = crop.size
    return data_uri(np.asarray(sheet)), columns, tile, sizes
