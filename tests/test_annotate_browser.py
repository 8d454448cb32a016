"""The annotation page in a real browser: click, track, correct, undo, reload, export, and a server that is killed."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import Browser, find_browser, wait_for
from conftest import moving_square, write_video

from hodor_cli.images.label_png import read_label_png

FRAMES = 21


class Page:
    """A server on a small clip, and the browser that shows its page."""

    def __init__(self, folder: Path) -> None:
        frames, self.truth = moving_square(FRAMES, 96, 144)
        # A blue square, on which a red mask can be told from the frame.
        self.video = write_video(folder / "<b>clip.mp4", [frame[..., ::-1] for frame in frames])
        self.out = folder / "project"
        self.browser = Browser(folder / "profile", 1000, 700)
        self.start()

    def start(self) -> None:
        command = [
            sys.executable, "-m", "hodor_cli", "annotate", str(self.video), "-o", str(self.out), "--no-browser",
            "--device", "cpu", "--min-dim", "64",
        ]  # fmt: skip
        self.server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self.server.stdout is not None
        self.url = self.server.stdout.readline().strip()
        assert self.url.startswith("http://127.0.0.1:"), self.server.communicate()[1]
        self.open()

    def open(self) -> str:
        """Open the page in a new tab in place of the one before."""
        self.browser.close_tab()
        tab = self.browser.open(self.url)
        self.wait()
        return tab

    def wait(self) -> None:
        """Wait until the page shows a frame and the network is loaded."""
        self.browser.until("import('./state.js').then(({ state }) => state.ready)", "the page and the network")
        self.browser.until("document.querySelector('#wait').hidden", "the page to say so")
        self.browser.until("(async () => (await import('./view.js')).view.shown >= 0)()", "a frame")

    def state(self, expression: str) -> Any:
        return self.browser.run(f"import('./state.js').then(({{ state }}) => {expression})")

    def go(self, frame: int) -> None:
        self.browser.run(f"import('./view.js').then((view) => view.go({frame}))")
        self.browser.until(f"import('./view.js').then(({{ view }}) => view.shown === {frame})", f"frame {frame}")

    def place(self, x: float, y: float) -> tuple[float, float]:
        """A pixel of the frame as a place of the window."""
        found = self.browser.run(
            "import('./view.js').then(({ view }) => { const box = view.canvas.getBoundingClientRect(); "
            f"return [box.left + view.x + {x} * view.scale, box.top + view.y + {y} * view.scale]; }})"
        )
        return found[0], found[1]

    def pixel(self, x: float, y: float) -> list[int]:
        """What the canvas shows there."""
        left, top = self.place(x, y)
        return list(
            self.browser.run(
                "new Promise(requestAnimationFrame).then(() => { const canvas = document.querySelector('#view'); "
                "const box = canvas.getBoundingClientRect(); return Array.from(canvas.getContext('2d')"
                f".getImageData({left} - box.left, {top} - box.top, 1, 1).data).slice(0, 3); }})"
            )
        )

    def labels(self) -> np.ndarray:
        """The label map that the page shows."""
        shown = self.browser.run("import('./view.js').then(({ view }) => Array.from(view.map.ids))")
        return np.array(shown, np.uint16).reshape(96, 144)

    def saved(self, frame: int) -> np.ndarray:
        return read_label_png(self.out / "masks" / f"{frame:05d}.png")

    def close(self) -> None:
        self.browser.close()
        self.server.kill()
        self.server.wait()


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    find_browser()
    opened = Page(tmp_path_factory.mktemp("annotate"))
    yield opened
    opened.close()


def test_a_session_from_the_first_click_to_a_killed_server(page: Page) -> None:
    browser = page.browser
    rows, columns = np.nonzero(page.truth[0])
    x, y = float(columns.mean()), float(rows.mean())

    # Click, and see the mask.
    assert browser.run("!document.querySelector('#welcome').hidden")
    assert browser.run("document.querySelector('#name').textContent") == "<b>clip"
    browser.until("import('./view.js').then(({ view }) => view.shown === 0)", "the first frame")
    around = [(x + dx, y + dy) for dx in (-6, 6) for dy in (-6, 6)]  # the click itself is marked by a dot
    plain = [page.pixel(*place) for place in around]
    browser.click(*page.place(x, y))
    browser.until("import('./state.js').then(({ state }) => state.frames.size === 1)", "the mask of the click")
    assert page.saved(0)[int(y), int(x)] == 1
    covered = [place for place in around if page.saved(0)[int(place[1]), int(place[0])]]
    assert len(covered) > 1
    for place in covered:
        was, now = plain[around.index(place)], page.pixel(*place)
        assert now[0] > was[0] + 30 and now[2] < was[2] - 30
    assert browser.run("document.querySelector('#welcome').hidden")

    # Track, and see every frame.
    browser.key("t")
    browser.until(
        f"import('./state.js').then(({{ state }}) => !state.job && state.frames.size === {FRAMES})", "tracking"
    )
    for frame in (0, 7, FRAMES - 1):
        page.go(frame)
        assert np.array_equal(page.labels(), page.saved(frame))

    # Correct by brush, take it back, make it again.
    page.go(10)
    before = page.saved(10)
    browser.key("p")
    browser.drag(page.place(100, 10), page.place(120, 10), page.place(120, 20))
    wait_for(lambda: not np.array_equal(page.saved(10), before), "the stroke on the disk")
    assert page.saved(10)[10, 110] == 1 and page.saved(10)[20, 120] == 1
    assert np.array_equal(page.labels(), page.saved(10))
    painted = page.saved(10)
    browser.key("z", 2)
    wait_for(lambda: np.array_equal(page.saved(10), before), "undo")
    browser.until("import('./state.js').then(({ state }) => state.redo)", "the page to know")
    assert np.array_equal(page.labels(), before)
    browser.key("z", 2 + 8)
    wait_for(lambda: np.array_equal(page.saved(10), painted), "redo")

    # Reload, and find everything.
    browser.reload()
    page.wait()
    assert page.state("state.frames.size") == FRAMES
    assert page.state("[...state.frames.get(10).given]") == [1]

    # Export, and compare with the files.
    browser.key("s", 2)
    browser.run("document.querySelector('[data-kind=coco] button').click()")
    browser.until("document.querySelector('[data-kind=coco] a') !== null", "the export")
    text = browser.run("fetch(document.querySelector('[data-kind=coco] a').href).then((answer) => answer.text())")
    from pycocotools import mask as coco

    for index, run in enumerate(json.loads(text)["annotations"][0]["segmentations"]):
        exported = np.zeros((96, 144), bool) if run is None else coco.decode(run).astype(bool)
        assert np.array_equal(exported, page.saved(index) == 1)

    # Kill the server in the middle of tracking, and open again.
    browser.run("document.querySelector('#export-sheet').close()")
    page.go(0)
    browser.key("t")
    page.server.send_signal(signal.SIGKILL)
    page.server.wait()
    files = {path.name: read_label_png(path) for path in (page.out / "masks").glob("*.png")}
    page.start()
    assert page.state("state.frames.size") == FRAMES
    for frame in (0, 10, FRAMES - 1):
        page.go(frame)
        assert np.array_equal(page.labels(), files[f"{frame:05d}.png"])
    assert [error for error in browser.errors if "WebSocket" not in error and "ERR_CONNECTION" not in error] == []


def test_a_second_tab_is_told_and_may_take_over(page: Page) -> None:
    browser = page.browser
    first = page.open()
    second = browser.open(page.url)
    browser.until("document.querySelector('#busy-sheet')?.open", "the second tab to be told")
    browser.run("document.querySelector('#take').click()")
    browser.until("import('./state.js').then(({ state }) => state.video !== null)", "the second tab to work")
    browser.use(first)
    browser.until("document.querySelector('#busy-sheet').open", "the first tab to be told")
    browser.use(second)


def test_every_size_shows_every_tool(page: Page) -> None:
    page.open()
    for width, height in ((1280, 800), (820, 1180)):
        page.browser.resize(width, height)
        hidden = page.browser.run(
            "Array.from(document.querySelectorAll('header button, nav button, #transport button'))"
            ".filter((one) => one.offsetParent && one.getBoundingClientRect().right > innerWidth).map((one) => one.id)"
        )
        assert hidden == []
        assert page.browser.run("document.documentElement.scrollWidth <= innerWidth")
