"""The photographs of scikit-image from which the demo is made, and the objects cut out of them."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from demo_clip.outlines import Outline
from hodor_cli.errors import InputError


@dataclass(frozen=True)
class Photograph:
    """A photograph inside the scikit-image package: its file, who took it and under which terms."""

    file: str
    title: str
    credit: str


COFFEE = Photograph("coffee.png", "a cup of coffee", "Rachel Michetti, courtesy of Pikolo Espresso Bar; CC0")
ASTRONAUT_PORTRAIT = Photograph("astronaut.png", "the astronaut Eileen Collins", "NASA; public domain")
ROCKET = Photograph("rocket.jpg", "Falcon 9 before its launch with DSCOVR", "SpaceX; public domain (CC0)")

PHOTOGRAPHS = (COFFEE, ASTRONAUT_PORTRAIT, ROCKET)


def read_photograph(photograph: Photograph) -> np.ndarray:
    """(H, W, 3) uint8 RGB pixels of a photograph, from the installed scikit-image; nothing is downloaded.

    Raises:
        InputError: scikit-image is not installed or does not have the file.
    """
    from PIL import Image

    package = importlib.util.find_spec("skimage")
    folders = [] if package is None else list(package.submodule_search_locations or [])
    for folder in folders:
        path = Path(folder) / "data" / photograph.file
        if path.is_file():
            with Image.open(path) as image:
                return np.asarray(image.convert("RGB"))
    raise InputError(
        f"the demo's photograph {photograph.file} was not found; it comes with scikit-image: `pip install scikit-image`"
    )


@dataclass(frozen=True)
class Cutout:
    """An object cut out of a photograph.

    `pixels` is (H, W, 4) float32: red, green, blue in 0..255 times alpha, and alpha in 0..1, soft over about two
    pixels at the edge. `centre` is the point (x, y) around which it turns and grows, in pixels.
    """

    pixels: np.ndarray
    centre: tuple[float, float]


def cut_out(photograph: Photograph, outline: Outline, centre: tuple[float, float]) -> Cutout:
    """Cut the object inside `outline` out of a photograph, with a soft edge."""
    import cv2
    from PIL import Image, ImageDraw

    image = read_photograph(photograph).astype(np.float32)
    height, width = image.shape[:2]
    fine = 4
    drawing = Image.new("L", (width * fine, height * fine), 0)
    ImageDraw.Draw(drawing).polygon([(x * fine, y * fine) for x, y in outline], fill=255)
    coverage = np.asarray(drawing.resize((width, height), Image.Resampling.BOX), np.float32) / 255
    alpha = cv2.GaussianBlur(coverage, (0, 0), 0.8)
    return Cutout(np.dstack([image * alpha[..., None], alpha]).astype(np.float32), centre)
