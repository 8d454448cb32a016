"""Does the page of `hodor annotate` draw 60 frames a second? Strokes on a frame in headless Chromium, without a GPU.

python benchmarks/page.py
python benchmarks/page.py --window 2560x1440 --size 3840x2160

A pointer draws strokes of one second, at 120 positions a second, over three objects of a 1080p frame; each stroke goes
to the server and comes back while the next one is drawn. For each brush and view it prints

- the frames per second that Chromium drew;
- the ms between the screen refreshes that the page got, and how many were late;
- the ms that the page's thread worked on a frame, and the ms of the busier one of the threads that put its canvas on
  the screen. Less than 16.7 allows 60 frames per second.

The ms are a mean and the 95th and 99th percentile of elapsed time, which includes time that other programs take.
"""

from __future__ import annotations

import math
import subprocess
import sys
import tempfile
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from as_command import as_command

from hodor_cli.bench.clip import make_clip, write_video
from hodor_cli.bench.settings import parse_size
from hodor_cli.images.label_png import write_label_png

sys.path.append(str(Path(__file__).resolve().parent.parent / "tests"))
from browser import Browser

MOVES = 120  # positions per second, and per stroke
#: Radius of the brush in pixels of the frame, zoom, and whether masks are shown as outlines.
VIEWS = list(product((36, 100), (1, 4), (False, True)))
#: Chromium's trace categories: tasks of every thread, and the frames that it begins and draws.
TRACED = ("disabled-by-default-devtools.timeline", "disabled-by-default-devtools.timeline.frame")
LATE = (17, 20, 33)  # ms
PAGE, SCREEN = "CrRendererMain", ("Compositor", "VizCompositorThread")
RECORD = """
{
  window.refreshes = [];
  const note = (time) => { refreshes.push(time); if (refreshes) requestAnimationFrame(note); };
  requestAnimationFrame(note);
}
undefined"""


@contextmanager
def opened_page(folder: Path, size: tuple[int, int], window: tuple[int, int]) -> Iterator[Browser]:
    """Open a browser on the page of a clip that has masks in its first frame."""
    clip = make_clip(*size, frames=2, objects=3)
    write_video(folder / "clip.mp4", clip)
    (folder / "masks").mkdir()
    write_label_png(folder / "masks" / "00000.png", clip.first_labels)
    command = [
        sys.executable, "-m", "hodor_cli", "annotate", str(folder / "clip.mp4"), "--masks", str(folder / "masks"),
        "--out", str(folder / "out"), "--no-browser",
    ]  # fmt: skip
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    browser = Browser(folder / "profile", *window)
    try:
        assert server.stdout is not None
        browser.open(server.stdout.readline().strip())
        browser.until("import('./state.js').then(({ state }) => state.ready)", "the network")
        browser.until("import('./view.js').then(({ view }) => view.shown === 0)", "the first frame")
        yield browser
    finally:
        browser.close()
        server.terminate()
        server.wait()


def show(browser: Browser, radius: int, zoom: int, outline: bool) -> None:
    """Select a brush, and show the middle of the frame."""
    values = f"{{ tool: 'brush', brush: {radius}, outline: {str(outline).lower()} }}"
    browser.run(f"import('./state.js').then(({{ set }}) => set({values}))")
    browser.run(f"import('./view.js').then(({{ fit, zoom }}) => {{ fit(); if ({zoom} > 1) zoom({zoom}); }})")


def track(browser: Browser, strokes: int) -> list[tuple[float, float]]:
    """Positions in the window along a curve through most of the canvas."""
    left, top, width, height = browser.run(
        "(({ left, top, width, height }) => [left, top, width, height])"
        "(document.querySelector('#view').getBoundingClientRect())"
    )
    turns = [2 * math.pi * number / MOVES for number in range(strokes * MOVES)]
    return [
        (left + width * (0.5 + 0.4 * math.sin(0.35 * turn)), top + height * (0.5 + 0.3 * math.sin(0.6 * turn)))
        for turn in turns
    ]


def work(events: list[dict[str, Any]], threads: tuple[str, ...]) -> list[float]:
    """How many ms the busiest of `threads` worked in each frame, from its beginning to that of the next one."""
    names = {(one["pid"], one["tid"]): one["args"]["name"] for one in events if one["name"] == "thread_name"}
    begins = sorted(one["ts"] for one in events if one["name"] == "BeginMainThreadFrame")
    spent = np.zeros((len(threads), len(begins) + 1))
    for one in events:
        name = names.get((one["pid"], one.get("tid")))
        if one["name"] == "RunTask" and one["ph"] == "X" and name in threads:
            spent[threads.index(name), bisect_right(begins, one["ts"])] += one["dur"] / 1000
    return spent.max(axis=0)[1:-1].tolist()


def measure(browser: Browser, strokes: int) -> str:
    """Draw strokes; return how long the frames took, as a line of the table."""
    places = track(browser, strokes)
    with browser.trace(*TRACED) as events:
        browser.run(RECORD)
        for number in range(strokes):
            browser.stroke(places[number * MOVES : (number + 1) * MOVES], MOVES)
        refreshes = browser.run("(() => { const all = refreshes; refreshes = null; return all; })()")
    between = np.diff(refreshes)
    drawn = [one["ts"] for one in events if one["name"] == "DrawFrame"]
    rate = 1e6 * (len(drawn) - 1) / (max(drawn) - min(drawn))
    late = "/".join(str(int((between > limit).sum())) for limit in LATE)
    page, screen = (work(events, threads) for threads in ((PAGE,), SCREEN))
    return f"{rate:5.1f} | {_row(between)}, {late} of {len(between)} | {_row(page)} | {_row(screen)}"


def _row(times: Any) -> str:
    return " ".join(f"{value:5.1f}" for value in (np.mean(times), *np.percentile(times, (95, 99))))


def main(size: str = "1920x1080", window: str = "1920x1080", strokes: int = 4) -> None:
    """size: of the frame. window: size of the browser window. strokes: of one second, in each view."""
    print("brush, zoom, view | frames/s | between refreshes; over 17/20/33 ms | page's thread | screen's threads")
    sizes = parse_size(size), parse_size(window)
    with tempfile.TemporaryDirectory() as folder, opened_page(Path(folder), *sizes) as browser:
        for radius, zoom, outline in VIEWS:
            show(browser, radius, zoom, outline)
            print(
                f"{radius:3} {zoom}x {'outline' if outline else 'fill':7} |",
                measure(browser, strokes),
                flush=True,
            )


if __name__ == "__main__":
    as_command(main, __doc__)
