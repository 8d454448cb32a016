"""A map to explore: one HTML file that needs no network and no server, with zoom, hover, colours and trajectories."""

from __future__ import annotations

import base64
import html
import io
import json
import re
from importlib import resources
from pathlib import Path

from hodor_cli.descriptors.store.crops import open_crop
from hodor_cli.descriptors.views.layout import ColourBy, DescriptorMap, colours_of
from hodor_cli.files import harmless, new_file

TILE = 96  # pixels per crop in the atlas
ATLAS_LIMIT = 8192  # sides that every browser can decode


def write_map_page(
    path: Path, found: DescriptorMap, *, colour_by: ColourBy = "video", trajectories: bool = False, title: str = ""
) -> None:
    """Write the page. All crops lie in one JPEG inside it; without thumbnails the points are dots."""
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
    videos = [harmless(name) for name in found.videos]
    places = {name: place for place, name in enumerate(found.videos)}
    data = {
        "points": [
            [round(p.x, 5), round(p.y, 5), places[p.video], p.object_id, p.frame,
             None if p.time is None else round(p.time, 3), round(p.confidence, 3)]
            for p in found.points
        ],
        "videos": videos,
        "schemes": schemes,
        "columns": columns,
        "tile": tile,
        "crops": sizes,
        "colourBy": colour_by,
        "trajectories": trajectories,
        "method": {"tsne": "t-SNE", "pca": "PCA"}[found.method],
        "rows": found.rows,
        "what": found.what,
        "seed": found.seed,
    }  # fmt: skip
    # "</script>" inside a name would end the script.
    text = json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")
    values = {"TITLE": html.escape(harmless(title) or "descriptor map"), "DATA": text, "ATLAS": atlas}
    template = resources.files("hodor_cli.descriptors.views").joinpath("map_page.html").read_text(encoding="utf-8")
    # In one pass, so that a video called __ATLAS__ stays a name.
    page = re.sub("__(TITLE|DATA|ATLAS)__", lambda found: values[found[1]], template)
    with new_file(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


Size = tuple[int, int]


def _atlas(found: DescriptorMap) -> tuple[str, int, int, list[Size | None]]:
    """(data URI of all crops on one sheet, columns, pixels per crop, each one's width and height there).

    The URI is empty if there are no crops.
    """
    from PIL import Image

    if all(point.crop is None for point in found.points):
        return "", 1, TILE, [None] * len(found.points)
    columns = max(int(len(found.points) ** 0.5 + 0.999), 1)
    tile = min(TILE, ATLAS_LIMIT // columns)
    sheet = Image.new("RGB", (columns * tile, -(-len(found.points) // columns) * tile), "white")
    sizes: list[Size | None] = []
    for number, point in enumerate(found.points):
        if point.crop is None:
            sizes.append(None)
            continue
        crop = open_crop(point.crop)
        crop.thumbnail((tile, tile))
        sheet.paste(crop, (number % columns * tile, number // columns * tile))
        sizes.append(crop.size)
    buffer = io.BytesIO()
    sheet.save(buffer, format="JPEG", quality=82)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii"), columns, tile, sizes
