"""Curves as SVG elements for a page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Series:
    """Values 0..1 over frames, and a CSS colour."""

    name: str
    values: npt.NDArray[np.float64]
    colour: str


def sparkline(series: Sequence[Series], width: int = 96, height: int = 30) -> str:
    """A small chart without axes."""
    lines = "".join(_line(one, 1, 1, width - 2, height - 2, 1.2) for one in series)
    return f"<svg width='{width}' height='{height}' viewBox='0 0 {width} {height}' role='img'>{lines}</svg>"


def line_chart(series: Sequence[Series], frames: Sequence[str], marks: Sequence[int] = ()) -> str:
    """A chart of values 0..1 with frame names at its ends; `marks` are positions drawn as vertical lines."""
    width, height, left, top, bottom = 640, 200, 52, 12, 32
    inner, tall = width - left - 8, height - top - bottom
    grid = "".join(
        f"<line x1='{left}' x2='{left + inner}' y1='{y:.1f}' y2='{y:.1f}' stroke='#8884'/>"
        f"<text x='{left - 6}' y='{y + 8:.1f}' text-anchor='end'>{value}</text>"
        for value, y in ((100, top), (50, top + tall / 2), (0, top + tall))
    )
    step = inner / max(1, len(frames) - 1)
    lines = "".join(
        f"<line x1='{left + mark * step:.1f}' x2='{left + mark * step:.1f}' y1='{top}' y2='{top + tall}' "
        "stroke='#888' stroke-dasharray='3 3'/>"
        for mark in marks
    )
    curves = "".join(_line(one, left, top, inner, tall, 2) for one in series)
    names = (
        f"<text x='{left}' y='{height - 6}'>{escape(frames[0])}</text>"
        f"<text x='{left + inner}' y='{height - 6}' text-anchor='end'>{escape(frames[-1])}</text>"
    )
    return (
        f"<svg viewBox='0 0 {width} {height}' role='img' font-size='22' fill='currentColor' "
        f"font-family='system-ui, sans-serif'>{grid}{lines}{curves}{names}</svg>"
    )


def _line(series: Series, left: float, top: float, width: float, height: float, stroke: float) -> str:
    values = series.values
    x = left + np.arange(len(values)) * (width / max(1, len(values) - 1))
    y = top + (1 - np.clip(values, 0, 1)) * height
    points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
    return (
        f"<polyline points='{points}' fill='none' style='stroke:{series.colour}' stroke-width='{stroke}'>"
        f"<title>{escape(series.name)}</title></polyline>"
    )
