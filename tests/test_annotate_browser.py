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
from pycocotools import mask as coco

from hodor_cli.images.label_png import read_label_png

FRAMES = 21
#: Keeps what the page says, because a message is gone after some seconds.
LISTEN = """
if (!window.told) {
  window.told = [];
  const note = ({ addedNodes }) => addedNodes.forEach((one) => told.push(one.textContent));
  new MutationObserver((all) => all.forEach(note)).observe(document.querySelector("#toasts"), { childList: true });
}
undefined"""


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
        self.browser.run(LISTEN)
        self.browser.until("import('./state.js').then(({ state }) => state.ready)", "the page and the network")
        self.browser.until("document.querySelector('#wait').hidden", "the page to say so")
        self.browser.until("(async () => (await import('./view.js')).view.shown >= 0)()", "a frame")

    def run(self, expression: str) -> Any:
        return self.browser.run(f"import('./state.js').then((state) => {expression})")

    def until(self, expression: str, what: str) -> None:
        self.browser.until(f"import('./state.js').then(({{ state }}) => {expression})", what)

    def state(self, expression: str) -> Any:
        return self.browser.run(f"import('./state.js').then(({{ state }}) => {expression})")

    def go(self, frame: int) -> None:
        self.browser.run(f"import('./view.js').then((view) => view.go({frame}))")
        self.browser.until(f"import('./view.js').then(({{ view }}) => view.shown === {frame})", f"frame {frame}")

    def begin(self) -> Browser:
        """Open the page anew, with one object in the first frame alone. Returns the browser."""
        self.open()
        self.browser.run("document.querySelector('#welcomed').click()")  # no hints about the next step
        self.run("state.set({ brush: 16 })")
        self.run(
            "import('./socket.js').then(({ send }) => "
            "state.state.objects.forEach(({ id }) => send({ do: 'delete-object', object: id })))"
        )
        self.until("!state.objects.length", "all objects deleted")
        self.go(0)
        self.browser.key("p")
        self.browser.drag(self.place(20, 48), self.place(40, 48))
        self.until("state.objects.length === 1 && state.frames.size === 1 && state.object === 1", "an object")
        return self.browser

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
    browser.until("document.querySelector('#hint').textContent.startsWith('Click what is missing')", "the next step")

    # Track, and see every frame.
    browser.key("t")
    browser.until(
        f"import('./state.js').then(({{ state }}) => !state.job && state.frames.size === {FRAMES})", "tracking"
    )
    browser.until("document.querySelector('#hint').textContent.startsWith('Play the video')", "the next step")
    page.run("state.set({ job: { job: 'export' } })")
    page.run("state.set({ job: null })")
    assert browser.run("document.querySelector('#hint').hidden")  # the export is the last step
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
    assert browser.run("document.querySelector('#hint').hidden")  # who continues a project knows the steps

    # Export, and compare with the files.
    browser.key("s", 2)
    browser.run("document.querySelector('#format').value = 'to-coco-video'")
    browser.run("document.querySelector('#write-other').click()")
    browser.until("document.querySelector('[data-kind=other] a') !== null", "the export")
    text = browser.run("fetch(document.querySelector('[data-kind=other] a').href).then((answer) => answer.text())")

    for index, run in enumerate(json.loads(text)["annotations"][0]["segmentations"]):
        exported = np.zeros((96, 144), bool) if run is None else coco.decode(run).astype(bool)
        assert np.array_equal(exported, page.saved(index) == 1)

    # Kill the server in the middle of tracking and of a stroke, and open again.
    browser.run("document.querySelector('#export-sheet').close()")
    page.go(0)
    browser.key("t")
    page.server.send_signal(signal.SIGSTOP)
    browser.key("p")
    browser.drag(page.place(100, 80), page.place(120, 80))
    page.server.send_signal(signal.SIGKILL)
    page.server.wait()
    wait_for(lambda: "the last change may be lost" in toasts(page), "a warning")
    files = {path.name: read_label_png(path) for path in (page.out / "masks").glob("*.png")}
    page.start()
    assert page.state("state.frames.size") == FRAMES
    for frame in (0, 10, FRAMES - 1):
        page.go(frame)
        assert np.array_equal(page.labels(), files[f"{frame:05d}.png"])
    assert [error for error in browser.errors if "WebSocket" not in error and "net::ERR_" not in error] == []


def test_every_tool_draws_what_it_says_and_is_undone(page: Page) -> None:
    page.begin()
    browser, area = page.browser, lambda: int((page.labels() == page.state("state.object")).sum())
    browser.key("n")
    page.until("state.object === 2 && state.objects.length === 2", "a new object")
    areas = [0]

    def done(what: str) -> int:
        page.until("state.undo", what)
        wait_for(lambda: np.array_equal(page.labels(), page.saved(0)) and area() != areas[-1], what)
        areas.append(area())
        return areas[-1] - areas[-2]

    ring = [(60 + 16 * np.cos(turn), 40 + 16 * np.sin(turn)) for turn in np.linspace(0, 7, 24)]
    page.state("(state.brush = 3)")
    browser.key("p")
    browser.drag(*(page.place(*place) for place in ring))
    assert done("a ring") > 300
    browser.key("f")
    assert done("its hole filled") > 300
    browser.key("e")
    browser.drag(page.place(50, 20), page.place(50, 60))
    assert done("a line erased") < 0
    browser.key("l")
    assert done("its largest piece") < 0
    browser.key("g")
    for corner in ((100, 60), (130, 60), (130, 90), (100, 90), (60, 20)):
        browser.click(*page.place(*corner))
    assert "removes the last corner" in browser.run("document.querySelector('#hint').textContent")
    browser.key("z", 2)  # the last corner alone
    browser.key("Enter")
    assert browser.run("document.querySelector('#hint').hidden")
    assert 800 < done("a polygon") < 1000
    browser.key("b")
    browser.drag(page.place(5, 30), page.place(60, 80))
    done("a box")
    browser.run("document.querySelector('#merge').click()")
    page.until("state.objects.length === 1", "two objects merged")
    for before in reversed(areas):
        browser.key("z", 2)
        wait_for(lambda before=before: area() == before, f"undo down to {before} pixels")


def test_a_click_corrects_with_the_box_tool_too(page: Page) -> None:
    browser = page.begin()
    browser.key("b")
    browser.click(*page.place(30, 48), button="right")
    page.until("state.undo", "an answer")
    browser.until("import('./view.js').then(({ view }) => view.clicks.at(-1)?.[2] === false)", "the mark of the click")


def test_the_current_one_of_several_objects_has_a_white_edge(page: Page) -> None:
    browser = page.begin()

    def brightest() -> int:
        """The least of a colour's three parts, of the brightest pixel across the edge of the object."""
        return max(min(page.pixel(30.5, 30 + step / 2)) for step in range(10))

    plain = brightest()
    browser.key("n")
    page.until("state.object === 2 && state.objects.length === 2", "a new object")
    assert brightest() == plain
    browser.key("1")
    assert brightest() > plain + 60


def test_the_first_stroke_of_a_new_object_is_seen_while_it_is_drawn(page: Page) -> None:
    browser = page.begin()
    browser.key("Delete", 8)
    page.until("!state.objects.length", "no object")
    colour = page.pixel(110, 20)
    browser.mouse("Pressed", *page.place(90, 20))
    browser.mouse("Moved", *page.place(110, 20))
    red = page.pixel(110, 20)[0]
    assert not page.state("state.objects.length") and red > colour[0] + 30
    browser.mouse("Released", *page.place(110, 20))
    page.until("state.objects.length === 1", "the object")


def test_quick_strokes_stay_in_view_and_are_saved_when_the_page_says_so(page: Page) -> None:
    browser = page.begin()
    for row in (10, 30, 70, 85):
        browser.drag(page.place(90, row), page.place(120, row))
    drawn = page.labels()
    assert drawn[[10, 30, 70, 85], 105].all()  # the server has answered some of them at most
    page.go(1)
    page.go(0)
    assert np.array_equal(page.labels(), drawn)
    browser.until("document.querySelector('#saved').textContent === 'saved'", "the page to say that all is saved")
    assert np.array_equal(page.saved(0), drawn) and np.array_equal(page.labels(), drawn)


def test_a_new_object_need_not_wait_for_the_first_stroke_of_the_one_before(page: Page) -> None:
    browser = page.begin()
    browser.key("n")
    page.until("state.object === 2 && state.objects.length === 2", "the second object")
    page.server.send_signal(signal.SIGSTOP)
    for row in (10, 30, 70):
        browser.drag(page.place(90, row), page.place(120, row))
        browser.key("n")
        browser.key("n")  # the object of the first one is still empty
    page.server.send_signal(signal.SIGCONT)
    page.until("state.object === 5 && state.objects.length === 5", "the fifth object")
    page.server.send_signal(signal.SIGSTOP)
    page.run("state.set({ object: 5 })")
    browser.key("Delete", 8)
    browser.key("n")
    browser.drag(page.place(90, 92), page.place(120, 92))
    page.server.send_signal(signal.SIGCONT)
    browser.until("document.querySelector('#saved').textContent === 'saved'", "the page to say that all is saved")
    assert page.saved(0)[[10, 30, 70, 92], 105].tolist() == [2, 3, 4, 5]
    assert page.state("state.objects.length") == 5


def test_nothing_waits_for_the_answer_to_a_request_that_was_refused(page: Page) -> None:
    page.begin()
    page.run("import('./socket.js').then(({ send }) => send({ do: 'merge', object: 1, other: 0 }))")
    wait_for(lambda: "asked for something unknown" in toasts(page), "the refusal")
    page.browser.until("document.querySelector('#saved').textContent === 'saved'", "the page to say that all is saved")


def test_a_stroke_covers_what_is_within_its_radius_and_draws_only_that_once_for_many_moves(page: Page) -> None:
    page.begin()
    page.state("(state.brush = 6)")
    browser = page.browser
    before = page.labels()
    browser.key("p")
    browser.mouse("Pressed", *page.place(100, 60))
    browser.until("new Promise(requestAnimationFrame).then(() => true)", "the first disc")
    track = [(100 + 0.5 * number, 60 + 0.3 * number) for number in range(1, 41)]
    moves = json.dumps([page.place(*place) for place in track])
    drawn = browser.run(
        "(async () => { const put = OffscreenCanvasRenderingContext2D.prototype.putImageData, areas = []; "
        "OffscreenCanvasRenderingContext2D.prototype.putImageData = function (...all) "
        "{ areas.push(all[5] * all[6]); return put.apply(this, all); }; "
        "const view = document.querySelector('#view'), common = { pointerId: 1, buttons: 1, bubbles: true }; "
        f"const events = {moves}.map(([clientX, clientY]) => "
        "new PointerEvent('pointermove', { ...common, clientX, clientY })), last = events.at(-1); "
        "view.dispatchEvent(new PointerEvent('pointermove', "
        "{ ...common, clientX: last.clientX, clientY: last.clientY, coalescedEvents: events })); "
        "await new Promise(requestAnimationFrame); await new Promise(requestAnimationFrame); "
        "OffscreenCanvasRenderingContext2D.prototype.putImageData = put; return areas; })()"
    )
    browser.mouse("Released", *page.place(*track[-1]))
    assert len(drawn) == 1
    assert drawn[0] < (20 + 12 + 16) * (12 + 12 + 16)  # the stroke's box with some margin, of 96 x 144 pixels

    rows, columns = np.mgrid[0:96, 0:144] + 0.5
    share = np.clip(((columns - 100) * 20 + (rows - 60) * 12) / (20**2 + 12**2), 0, 1)
    distance = np.hypot(columns - 100 - 20 * share, rows - 60 - 12 * share)
    stroke = (page.labels() == 1) & (before != 1)
    assert stroke[distance < 5.9].all() and not stroke[distance > 6.1].any()
    wait_for(lambda: np.array_equal(page.saved(0), page.labels()), "the stroke on the disk")


def test_the_answer_to_a_stroke_redraws_only_what_it_changes(page: Page) -> None:
    browser = page.begin()
    for quiet in ("document.querySelector('#saved').textContent === 'saved'", "new Promise(requestAnimationFrame)"):
        browser.until(f"Promise.resolve({quiet})", "the page to have nothing to draw")
    browser.run(
        "{ const rect = CanvasRenderingContext2D.prototype.rect; window.drawn = []; "
        "CanvasRenderingContext2D.prototype.rect = function (x, y, width, height) "
        "{ if (this.canvas.id === 'view') drawn.push(width * height); return rect.call(this, x, y, width, height); }; "
        "undefined }"
    )
    browser.drag(page.place(100, 60), page.place(110, 60))
    wait_for(lambda: page.saved(0)[60, 105] == 1, "the stroke on the disk")
    browser.until("document.querySelector('#saved').textContent === 'saved'", "the page to know")
    browser.run("new Promise(requestAnimationFrame)")
    canvas = browser.run("document.querySelector('#view').width * document.querySelector('#view').height")
    assert 0 < max(browser.run("drawn")) < canvas / 4


def test_the_picture_does_not_vanish_when_the_window_gets_another_size(page: Page) -> None:
    browser = page.begin()
    browser.run(
        "{ window.seen = []; const canvas = document.querySelector('#view'); "
        "const look = () => seen.push(Math.max(...canvas.getContext('2d')"
        ".getImageData(canvas.width / 2, canvas.height / 2, 1, 1).data.slice(0, 3))); "
        "new ResizeObserver(look).observe(canvas.parentElement); undefined }"  # after the page's own
    )
    for number, width in enumerate((1000, 900, 1000)):
        browser.resize(width, 700)
        browser.until(f"seen.length > {number}", "the canvas to be looked at")
    assert min(browser.run("seen")) > 100


def test_a_frame_is_shown_with_the_masks_that_it_has_when_its_picture_arrives(page: Page) -> None:
    browser = page.begin()
    browser.key("t")
    page.until(f"!state.job && state.frames.size === {FRAMES}", "tracking")
    browser.reload()
    page.wait()
    browser.run(
        "{ const ask = window.fetch; window.late = new Promise((done) => { window.arrive = done; });"
        " window.fetch = (url) => (url === 'frame/7' ? window.late.then(() => ask(url)) : ask(url)); undefined }"
    )
    browser.run("import('./view.js').then((view) => { view.go(7); })")
    browser.until("import('./pictures.js').then(({ mask }) => mask(7)).then(Boolean)", "the mask before its picture")
    browser.run("import('./socket.js').then(({ send }) => send({ do: 'tidy', frame: 7, object: 1, how: 'clear' }))")
    page.until("state.frames.get(7)?.absent.has(1)", "the mask to be removed")
    browser.run("window.arrive()")
    browser.until("import('./view.js').then(({ view }) => view.shown === 7)", "the frame")
    assert not page.labels().any() and page.saved(6).any()


def test_a_click_keeps_the_frame_that_it_changes_in_view_although_another_one_was_on_its_way(page: Page) -> None:
    browser = page.begin()
    browser.run(
        "{ const ask = window.fetch; window.late = new Promise((done) => { window.arrive = done; });"
        " window.fetch = (url) => (url === 'frame/7' ? window.late.then(() => ask(url)) : ask(url)); undefined }"
    )
    browser.run("import('./view.js').then((view) => { view.go(7); })")
    browser.key("v")
    browser.click(*page.place(30, 48), button="right")
    browser.until("document.querySelector('#saved').textContent === 'saved'", "the answer to the click")
    browser.run("window.arrive()")
    browser.run(
        "import('./pictures.js').then(({ picture }) => picture(7)).then(() => new Promise(requestAnimationFrame))"
    )
    assert page.state("state.frame") == 0 and browser.run("import('./view.js').then(({ view }) => view.shown)") == 0
    page.go(7)


def test_without_an_answer_the_frame_in_view_stays_and_comes_with_the_next_connection(page: Page) -> None:
    browser = page.begin()
    shown = page.labels()
    browser.run("{ window.ask = window.fetch; window.fetch = () => Promise.reject(new TypeError('away')); undefined }")
    browser.key("End")
    page.until("state.frame === 0", "the page to stay")
    assert np.array_equal(page.labels(), shown) and "away" not in toasts(page)
    browser.run("{ window.fetch = window.ask; undefined }")
    browser.key("End")
    browser.until(f"import('./view.js').then(({{ view }}) => view.shown === {FRAMES - 1})", "the last frame")


def test_a_stroke_stays_in_its_frame_although_the_next_one_cannot_be_read(page: Page) -> None:
    browser = page.begin()
    browser.run(
        "{ const ask = window.fetch; window.late = new Promise((done) => { window.arrive = done; });"
        " const damaged = () => new Response('damaged', { status: 404 });"
        " window.fetch = (url) => (url === 'frame/7' ? window.late.then(damaged) : ask(url)); undefined }"
    )
    browser.run("import('./view.js').then((view) => { view.go(7); })")
    browser.mouse("Pressed", *page.place(100, 20))
    browser.run("window.arrive()")
    wait_for(lambda: "damaged" in toasts(page), "the message")
    browser.mouse("Released", *page.place(100, 20))
    browser.until("document.querySelector('#saved').textContent === 'saved'", "the stroke")
    assert page.saved(0)[20, 100] == 1 and page.state("state.frames.size") == 1
    page.go(7)


def test_a_name_that_was_lost_is_not_shown(page: Page) -> None:
    browser = page.begin()
    browser.run(
        "Object.defineProperty(WebSocket.prototype, 'readyState', { get: () => 3, configurable: true }); undefined"
    )
    browser.key("F2")
    browser.key("x")
    browser.key("Enter")
    wait_for(lambda: "the last change is lost" in toasts(page), "a warning")
    assert browser.run("document.querySelector('#objects input').value") == ""


def test_a_small_picture_that_fits_at_a_large_scale_is_not_shrunk_by_zooming_in(page: Page) -> None:
    page.begin()
    zooming = "import('./view.js').then(({ view, zoom }) => { view.scale = 60; zoom(%s); return view.scale; })"
    assert page.browser.run(zooming % 1.25) == 60 and page.browser.run(zooming % 0.8) == 48


def test_a_pen_draws_and_fingers_move_the_picture_then(page: Page) -> None:
    browser = page.begin()
    view = "import('./view.js').then(({ view }) => [view.scale, view.x, view.y])"
    first = page.saved(0)
    browser.key("v")
    shown = browser.run(view)
    left, right = page.place(40, 40), page.place(100, 40)
    wide = [(left[0] - 60, left[1]), (right[0] + 60, right[1])]
    browser.touch([left], [left, right], [wide[0], wide[1]])  # two fingers zoom, and are no click
    assert browser.run(view)[0] > shown[0] * 1.2
    fit = "document.querySelector('#fit')"
    box = f"(({{ left, top }}) => [left + 8, top + 8])({fit}.getBoundingClientRect())"
    browser.touch([tuple(browser.run(box))])  # there is no keyboard
    browser.until(f"{fit}.hidden", "the whole picture")
    assert browser.run(view) == shown
    assert np.array_equal(page.saved(0), first)
    browser.touch([page.place(30, 48)], [page.place(50, 60)])  # one finger moves the picture, and is no click
    assert browser.run(view)[1] > shown[1] + 10
    browser.key("0")
    browser.touch([page.place(30, 48)], hold=0.6)  # a long press removes
    wait_for(lambda: not np.array_equal(page.saved(0), first), "a long press")
    browser.until("import('./view.js').then(({ view }) => view.clicks.at(-1)?.[2] === false)", "the mark of the press")
    browser.key("p")
    browser.touch([page.place(20, 80)], [page.place(60, 80)])
    wait_for(lambda: page.saved(0)[80, 40], "a finger's stroke")
    browser.drag(page.place(20, 10), page.place(60, 10), device="pen")
    wait_for(lambda: page.saved(0)[10, 40], "a pen's stroke")
    painted, shown = page.saved(0), browser.run(view)
    browser.touch([page.place(80, 50)], [page.place(100, 60)])
    assert browser.run(view)[1] > shown[1] + 10 and np.array_equal(page.saved(0), painted)
    browser.key("0")


def test_a_hand_beside_the_pen_does_not_disturb_its_stroke(page: Page) -> None:
    browser = page.begin()
    view = "import('./view.js').then(({ view }) => [view.scale, view.x, view.y])"
    browser.key("p")
    shown = browser.run(view)
    browser.mouse("Pressed", *page.place(20, 10), device="pen")
    browser.touch([page.place(80, 80)], [page.place(80, 80), page.place(120, 80)], [page.place(90, 80)] * 2)
    browser.mouse("Moved", *page.place(60, 10), device="pen")
    browser.mouse("Released", *page.place(60, 10), device="pen")
    wait_for(lambda: page.saved(0)[10, 40], "the pen's stroke")
    assert browser.run(view) == shown and not page.saved(0)[80].any()


def test_everything_on_the_picture_is_done_by_keyboard_alone(page: Page) -> None:
    browser = page.begin()
    first = page.saved(0)

    def to(x: float, y: float) -> None:
        """Bring the crosshair there: by great steps, and then by small ones."""
        for axis, goal in enumerate((x, y)):
            for shift, near in ((0, 2.0), (8, 0.5)):
                while abs(gap := goal - page.state("[state.crosshair.x, state.crosshair.y]")[axis]) > near:
                    browser.key((("ArrowLeft", "ArrowRight"), ("ArrowUp", "ArrowDown"))[axis][gap > 0], shift)

    browser.key("c")
    to(20, 80)
    browser.key("p")
    browser.key("Enter")  # the brush is down
    to(60, 80)
    assert page.labels()[80, 30:50].all() and np.array_equal(page.saved(0), first)
    browser.key("Enter")
    wait_for(lambda: page.saved(0)[80, 30:50].all(), "the stroke")
    browser.key("Enter", 1)  # it erases
    to(40, 80)
    browser.key("Enter")
    wait_for(lambda: not page.saved(0)[80, 45:55].any(), "the end of the stroke to be erased")
    browser.key("g")
    for corner in ((100, 60), (130, 60), (130, 90), (100, 90)):
        to(*corner)
        browser.key("Enter")
    browser.key("Enter")
    wait_for(lambda: page.saved(0)[65:85, 105:125].all(), "the polygon")
    browser.key("v")
    to(30, 48)
    before = page.saved(0)
    browser.key("Enter", 1)
    wait_for(lambda: not np.array_equal(page.saved(0), before), "a click that removes")
    to(40, 30)
    browser.key("Enter")
    signs = "import('./view.js').then(({ view }) => view.clicks.map((click) => click[2]).join())"
    browser.until(f"{signs}.then((signs) => signs === 'false,true')", "a click that adds")
    browser.key("PageDown")  # the frame changes, and the crosshair stays
    page.until("state.frame === 1 && state.crosshair !== null", "the next frame")
    browser.key("n")
    page.until("state.object === 2 && state.objects.length === 2", "a new object")
    browser.key("b")
    to(5, 30)
    browser.key("Enter")
    to(60, 70)
    browser.key("Enter")
    page.until("state.frames.get(1)?.given.has(2)", "the mask of the box")
    shown = browser.run("import('./view.js').then(({ view }) => view.x)")
    browser.key("h")
    browser.key("ArrowRight")
    assert browser.run("import('./view.js').then(({ view }) => view.x)") < shown
    browser.key("c")
    browser.key("ArrowLeft")
    page.until("state.frame === 0", "the arrow keys to change the frame again")


def test_a_name_takes_keys_only_while_it_is_changed(page: Page) -> None:
    browser = page.begin()
    browser.key("n")
    page.until("state.object === 2 && state.objects.length === 2", "a new object")
    box = "document.querySelector('#objects input').getBoundingClientRect()"
    place = browser.run(f"(() => {{ const box = {box}; return [box.left + 20, box.top + 8]; }})()")
    browser.click(*place)
    page.until("state.object === 1", "the object of the name")
    browser.key("e")
    page.until("state.tool === 'eraser'", "the key to be a shortcut")
    browser.click(*place)
    browser.click(*place, times=2)
    for letter in "cup":
        browser.key(letter)
    browser.key("Enter")
    page.until("state.objects[0].name === 'cup'", "the new name")
    browser.key("F2")
    browser.key("x")
    browser.key("Escape")
    browser.key("v")
    page.until("state.tool === 'click'", "the next shortcut")
    assert page.state("state.objects[0].name") == "cup"
    browser.key("F2")
    press(page, "Enter", isComposing="true")  # chooses among the letters of an input method
    assert not browser.run("document.querySelector('#objects input').readOnly")
    browser.key("Escape")


def press(page: Page, key: str, **more: str) -> None:
    """Tell the page of a key with more properties."""
    values = ", ".join(f"{name}: {value}" for name, value in {"key": f"'{key}'", **more}.items())
    page.browser.run(
        f"document.activeElement.dispatchEvent(new KeyboardEvent('keydown', {{ bubbles: true, {values} }}))"
    )


def test_of_keys_that_are_held_only_those_that_move_act_again(page: Page) -> None:
    browser = page.begin()
    browser.key("n")
    page.until("state.objects.length === 2", "a second object")
    for repeat in ("false", "true"):
        press(page, "m", repeat=repeat)
        press(page, "Delete", shiftKey="true", repeat=repeat)
        browser.until("document.querySelector('#saved').textContent === 'saved'", "the answer")
        press(page, "ArrowRight", repeat=repeat)
    page.until("state.frame === 2 && state.outline && state.objects.length === 1", "the frames alone to go on")
    press(page, "m")


def test_objects_of_one_name_are_told_apart(page: Page) -> None:
    browser = page.begin()
    browser.key("n")
    page.until("state.object === 2 && state.objects.length === 2", "a second object")
    for number in (1, 2):
        page.run(f"import('./socket.js').then(({{ send }}) => send({{ do: 'rename', object: {number}, name: 'cup' }}))")
    page.until("state.objects.every(({ name }) => name === 'cup')", "the names")
    assert browser.run("document.querySelector('#this').textContent") == "cup (2) with"
    assert browser.run("document.querySelector('#other').textContent") == "cup (1)"


def test_long_names_fit_beside_the_picture(page: Page) -> None:
    browser = page.begin()
    page.run(f"import('./socket.js').then(({{ send }}) => send({{ do: 'rename', object: 1, name: '{'W' * 80}' }}))")
    page.until("state.objects[0].name.length === 80", "the name")
    page.run("state.set({ review: [{ object: 1, reason: 'lost', first: 2, last: 5, detail: '' }] })")
    side = "document.querySelector('#side')"
    assert browser.run("document.querySelector('#review').children.length") == 1
    assert browser.run(f"{side}.scrollWidth - {side}.clientWidth") == 0


def test_the_frame_stays_in_view_while_it_is_corrected_during_tracking(page: Page) -> None:
    browser = page.begin()
    browser.key("p")
    browser.key("t")
    browser.until("import('./view.js').then(({ view }) => view.shown > 0)", "a tracked frame")
    browser.mouse("Pressed", *page.place(100, 10))
    shown = browser.run("import('./view.js').then(({ view }) => view.shown)")
    browser.mouse("Moved", *page.place(120, 10))
    page.until(f"!state.job && state.frames.size === {FRAMES}", "tracking of all other frames")
    browser.mouse("Released", *page.place(120, 10))
    wait_for(lambda: page.saved(shown)[10, 110] == 1, "the stroke in the frame that was shown")
    assert browser.run("import('./view.js').then(({ view }) => view.shown)") == shown


def test_tracking_both_ways_comes_back_to_the_frame_where_it_was_begun(page: Page) -> None:
    browser = page.begin()
    page.go(3)
    browser.run(
        "import('./state.js').then(({ on, state }) => on('frame', () => (window.gone ??= []).push(state.frame)))"
    )
    browser.key("r")
    page.until(f"!state.job && state.frames.size === {FRAMES}", "tracking")
    browser.until("import('./view.js').then(({ view }) => view.shown === 3)", "the frame of before")
    assert FRAMES - 1 in browser.run("window.gone")  # tracking was watched
    page.go(7)
    browser.key("p")
    browser.drag(page.place(100, 10), page.place(120, 10))
    page.until("state.frames.get(7).given.has(1)", "a correction")
    browser.key("r")
    browser.until("import('./view.js').then(({ view }) => view.shown > 7)", "a frame tracked again")
    browser.key("Home")  # who leaves tracking is left alone
    page.until("!state.job && state.checking === false", "the end of tracking")
    assert page.state("state.frame") == 0


def test_playing_ends_where_the_user_goes(page: Page) -> None:
    browser = page.begin()
    browser.run("document.querySelector('#play').click()")
    browser.until("import('./view.js').then(({ view }) => view.shown > 1)", "some frames")
    browser.key("Home")
    page.until("state.frame === 0 && document.querySelector('#play').ariaPressed === 'false'", "the first frame")
    browser.run("new Promise((done) => setTimeout(done, 300))")
    assert page.state("state.frame") == 0


def test_a_list_of_frames_to_review_is_not_replaced_by_each_tracked_frame(page: Page) -> None:
    page.begin()
    page.run(
        "state.set({ review: [{ object: 1, reason: 'small', first: 12, last: 13, detail: '' }],"
        " suggest: [{ frame: 5, gain: 0.5 }] })"
    )
    browser = page.browser
    browser.run("{ window.rows = [...document.querySelectorAll('#review button, #suggest button')]; undefined }")
    browser.run("import('./socket.js').then(({ onEvent }) => onEvent('advice', () => {}))")  # the advice here stays
    browser.key("o")
    page.until("!state.job && state.frames.size === 2", "a tracked frame")
    assert browser.run("rows.length === 2 && rows.every((one) => one.isConnected)")
    page.browser.reload()
    page.wait()


def test_review_goes_round_and_selects_the_object_to_correct(page: Page) -> None:
    browser = page.begin()
    browser.key("n")
    page.until("state.object === 2 && state.objects.length === 2", "a second object")
    browser.run("import('./socket.js').then(({ onEvent }) => onEvent('advice', () => {}))")  # the places here stay
    page.run("state.set({ review: [] })")
    assert browser.run("document.querySelector('#next-review').hidden")
    page.run(
        "state.set({ review: [[1, 12], [2, 4], [2, 12], [9, 15]].map(([object, first]) => "
        "({ object, reason: 'small', first, last: first, detail: '' })) })"
    )
    assert browser.run("document.querySelector('#next-review').textContent") == "3"  # object 9 is gone
    page.go(FRAMES - 1)  # where tracking ends
    for frame, number in ((4, 2), (12, 1), (12, 2), (4, 2)):
        browser.run("document.querySelector('#next-review').click()")
        page.until(f"state.frame === {frame} && state.object === {number}", f"object {number} in frame {frame}")
    assert "Object 2: small" in toasts(page)
    browser.key("j")
    page.until("state.frame === 12 && state.object === 2", "the last place, before the first one")
    page.browser.reload()
    page.wait()


def test_places_that_tracking_leaves_to_review_are_told(page: Page) -> None:
    page.begin()
    advice = "state.state.review = [{ object: 1, reason: 'small', first: 12, last: 13, detail: '' }]"
    page.run(f"state.on('checking', () => {{ if (!state.state.checking) {advice}; }})")  # as the server could answer
    page.browser.key("o")
    wait_for(lambda: "One place to review" in toasts(page), "the place to be told")
    page.browser.reload()
    page.wait()


def test_the_number_of_a_frame_is_rounded(page: Page) -> None:
    page.open()
    for typed, frame in (("3.4", 3), ("99", FRAMES - 1), ("-2", 0)):
        page.browser.run(
            f"{{ const box = document.querySelector('#frame'); box.value = '{typed}'; "
            "box.dispatchEvent(new Event('change')); }"
        )
        page.browser.until(
            f"import('./view.js').then(({{ view }}) => view.shown === {frame} && "
            f"document.querySelector('#frame').value === '{frame}')", f"frame {frame}"
        )  # fmt: skip


#: Keys of the sheet -> what is true after each press of them.
SHORTCUTS: list[tuple[str, str, int, str]] = [
    ("V", "v", 0, "state.tool === 'click'"),
    ("B", "b", 0, "state.tool === 'box'"),
    ("E", "e", 0, "state.tool === 'eraser'"),
    ("G", "g", 0, "state.tool === 'polygon'"),
    ("H", "h", 0, "state.tool === 'hand'"),
    ("P", "p", 0, "state.tool === 'brush'"),
    ("[", "[", 0, "state.brush < 16"),
    ("]", "]", 0, "state.brush >= 16"),
    ("N", "n", 0, "state.objects.length === 2 && state.object === 2"),
    (",", ",", 0, "state.object === 1"),
    (".", ".", 0, "state.object === 2"),
    ("1…9", "1", 0, "state.object === 1"),
    ("S", "s", 0, "state.object === 1"),
    ("F2", "F2", 0, "!document.activeElement.readOnly"),
    ("", "Escape", 0, "document.activeElement === document.body"),
    ("X", "x", 0, "state.objects[0].hidden"),
    ("", "x", 0, "!state.objects[0].hidden"),
    ("Ctrl+Z", "z", 2, "state.objects.length === 1 && state.redo"),
    ("Ctrl+Y", "y", 2, "state.objects.length === 2"),
    ("Ctrl+Shift+Z", "z", 10, "!state.redo"),
    ("", "2", 0, "state.object === 2"),
    ("Shift+Delete", "Delete", 8, "state.objects.length === 1 && state.object === 1"),
    ("Home", "Home", 0, "view.shown === 0"),
    ("Delete", "Delete", 0, "!state.frames.get(0)?.given.size"),
    ("", "z", 2, "state.frames.get(0)?.given.size === 1"),
    ("Backspace", "Backspace", 0, "!state.frames.get(0)?.given.size"),
    ("", "z", 2, "state.frames.get(0)?.given.size === 1"),
    ("End", "End", 0, "view.shown === state.video.end - 1"),
    ("PgUp", "PageUp", 0, "view.shown === state.video.end - 2"),
    ("PgDn", "PageDown", 0, "view.shown === state.video.end - 1"),
    ("Shift+PgUp", "PageUp", 8, "view.shown === state.video.end - 11"),
    ("Shift+PgDn", "PageDown", 8, "view.shown === state.video.end - 1"),
    ("←", "ArrowLeft", 0, "view.shown === state.video.end - 2"),
    ("→", "ArrowRight", 0, "view.shown === state.video.end - 1"),
    ("Shift+←", "ArrowLeft", 8, "view.shown === state.video.end - 11"),
    ("Shift+→", "ArrowRight", 8, "view.shown === state.video.end - 1"),
    ("J", "j", 0, "view.shown === 12"),
    ("", "Home", 0, "view.shown === 0"),
    ("K", "k", 0, "view.shown === 12"),
    ("U", "u", 0, "view.shown === 5"),
    ("Space", " ", 0, "document.querySelector('#play').ariaPressed === 'true' || view.shown > 5"),
    ("", " ", 0, "document.querySelector('#play').ariaPressed === 'false'"),
    ("+", "+", 0, "view.scale > fitted * 1.2"),
    ("-", "-", 0, "Math.abs(view.scale / fitted - 1) < 0.01"),
    ("=", "=", 0, "view.scale > fitted * 1.2"),
    ("0", "0", 0, "Math.abs(view.scale / fitted - 1) < 0.01"),
    ("M", "m", 0, "state.outline && document.querySelector('#outline').checked"),
    ("", "m", 0, "!state.outline"),
    ("D", "d", 0, "document.documentElement.dataset.theme"),
    ("?", "?", 0, "document.querySelector('#help-sheet').open"),
    ("", "?", 0, "!document.querySelector('#help-sheet').open"),
    ("Ctrl+S", "s", 2, "document.querySelector('#export-sheet').open"),
    ("", "Escape", 0, "!document.querySelector('#export-sheet').open"),
    ("", "Home", 0, "view.shown === 0"),
    ("O", "o", 0, "!state.job && view.shown === 1"),
    ("T", "t", 0, "begun === 'track'"),
    ("Esc", "Escape", 0, "!state.job"),
    ("Shift+T", "T", 8, "begun === 'track'"),
    ("", "Escape", 0, "!state.job"),
    ("R", "r", 0, "begun === 'track'"),
    ("", "Escape", 0, "!state.job"),
    ("A", "a", 0, "begun === 'adapt'"),
    ("", "Escape", 0, "!state.job"),
    ("C", "c", 0, "state.crosshair && !document.querySelector('#hint').hidden"),
    ("", "Escape", 0, "!state.crosshair && document.querySelector('#hint').hidden"),
]


GESTURES = {
    "Click",
    "Tap",
    "Right-click",
    "Alt+Click",
    "Long press",
    "Wheel",
    "Two fingers",
    "Middle button",
    "Double click",
}


def test_escape_leaves_the_number_of_the_frame_as_it_was(page: Page) -> None:
    page.begin()
    page.go(2)
    page.browser.run("document.querySelector('#frame').select()")
    page.browser.key("7")
    page.browser.key("Escape")
    assert page.browser.run("document.querySelector('#frame').value") == "2" and page.state("state.frame") == 2


def test_every_shortcut_of_the_sheet_works(page: Page) -> None:
    browser = page.begin()
    browser.key("?")
    sheet = set(browser.run("Array.from(document.querySelectorAll('#help-keys kbd')).map((one) => one.textContent)"))
    lefts = browser.run(
        "Array.from(document.querySelectorAll('#help-keys h3')).map((heading) => "
        "[heading, heading.nextElementSibling.nextElementSibling].map((one) => one.getBoundingClientRect().left))"
    )
    assert all(heading == second for heading, second in lefts)  # no heading is at the end of a column
    browser.key("?")
    tested = {name for name, *_ in SHORTCUTS} | {"F", "L", "Enter"}  # these by the test of tools, and
    tested |= {"Arrows", "Shift+Arrows", "Alt+Enter"}  # these by the test of the crosshair
    assert sheet - GESTURES == tested - {""}
    fitted = browser.run("import('./view.js').then(({ view }) => view.scale)")
    advice = "review: [{ object: 1, reason: '', first: 12, last: 13 }], suggest: [{ frame: 5, gain: 0.5 }]"
    both = "Promise.all([import('./state.js'), import('./view.js')])"
    browser.run("import('./socket.js').then(({ onEvent }) => onEvent('advice', () => {}))")  # the advice here stays
    page.run("state.on('job', () => { if (state.state.job) window.begun = state.state.job.job; })")
    for name, key, modifiers, after in SHORTCUTS:
        if key in "jku":
            page.run(f"state.set({{ {advice} }})")
        browser.run("window.begun = null")
        browser.key(key, modifiers)
        script = f"{both}.then(([{{ state }}, {{ view }}]) => {{ const fitted = {fitted}; return Boolean({after}); }})"
        browser.until(script, f"{name or key}: {after}")


def test_the_tab_that_was_opened_last_works_and_both_are_told(page: Page) -> None:
    browser = page.browser
    works, told = (
        "import('./state.js').then(({ state }) => state.video !== null)",
        "document.querySelector('#taken-sheet').open",
    )
    first = page.open()
    second = browser.open(page.url)
    browser.until(works, "the second tab to work")
    browser.until("document.body.textContent.includes('was open in another tab')", "the second tab to be told")
    browser.use(first)
    browser.until(told, "the first tab to be told")
    for _ in range(2):
        browser.key("Escape")
    assert browser.run(told)
    browser.run("document.querySelector('#take').click()")
    assert not browser.run(told)
    browser.key("p")
    browser.drag(page.place(20, 48), page.place(40, 48))
    page.until("state.objects.length === 1 && state.undo", "the first tab to work again")
    browser.use(second)
    browser.until(told, "the second tab to be told")
    browser.close_tab()
    browser.use(first)


def test_every_size_shows_every_tool(page: Page) -> None:
    page.open()
    browser = page.browser
    boxes = (
        "Array.from(document.querySelectorAll('header button, nav button, #transport button'))"
        ".filter((one) => one.offsetParent).map((one) => [one.id, one.getBoundingClientRect()])"
    )
    for width, height in ((1280, 800), (1100, 700), (820, 1180), (620, 800), (390, 844), (844, 390)):
        browser.resize(width, height)
        assert browser.run(f"{boxes}.filter(([, {{ right }}]) => right > innerWidth).map(([id]) => id)") == []
        covered = browser.run(
            f"{boxes}.filter(([id, box]) => document.elementFromPoint((box.left + box.right) / 2, "
            "(box.top + box.bottom) / 2)?.closest('button')?.id !== id).map(([id]) => id)"
        )
        assert covered == []
        assert browser.run("document.documentElement.scrollWidth <= innerWidth")
        stage = (
            "(({ x, y, width, height }) => [width, height, x, y])"
            "(document.querySelector('#stage').getBoundingClientRect())"
        )
        before = browser.run(stage)
        assert min(before[:2]) > 180
        words = browser.run("Array.from(document.querySelectorAll('#tracking span')).map((one) => one.offsetWidth)")
        assert len(words) == 4
        assert min(words) > 20  # what a sign means is read without a pointer over it
        page.run("state.set({ job: { job: 'track', share: 0.1, rate: 12.3, left: 3700 } })")
        assert browser.run("document.querySelector('#stop').getBoundingClientRect().right <= innerWidth")
        assert browser.run(stage) == before  # the picture does not jump
        page.run("state.set({ job: null })")
    for width, height in ((320, 480), (480, 320)):  # too small for everything at once: the page scrolls
        browser.resize(width, height)
        assert browser.run(f"{stage}[1]") >= 120
        part = "(one) => document.querySelector(one).getBoundingClientRect()"
        assert browser.run(f"document.body.scrollHeight > innerHeight && ({part})('#side').height >= 96")
        bottom = f"(document.querySelector('#timeline').scrollIntoView(), ({part})('#timeline').bottom)"
        assert 100 < browser.run(bottom) <= height
        browser.run("document.body.scrollTo(0, 0)")
    browser.resize(390, 844)
    browser.key("?")
    first = "document.querySelector('#help-title').getBoundingClientRect().top"
    assert browser.run(first) > 0  # a sheet that is longer than the screen is read from its beginning
    browser.key("Escape")
    browser.resize(1000, 700)


def toasts(page: Page) -> str:
    """What the page has said since it was opened."""
    return str(page.browser.run("window.told.join()"))


def test_an_empty_project_says_what_is_missing(page: Page) -> None:
    browser = page.begin()
    browser.key("Delete", 8)
    page.until("!state.objects.length", "no object")
    for key, modifiers, hint in (("Delete", 8, "There is no object yet"), ("k", 0, "There is nothing to review")):
        browser.key(key, modifiers)
        wait_for(lambda hint=hint: hint in toasts(page), hint)
    browser.key("s", 2)
    browser.run("document.querySelector('#write-masks').click()")
    wait_for(lambda: "There are no masks to export yet" in toasts(page), "the refusal of an export")
    browser.key("Escape")
    assert "nothing stands out" not in browser.run("document.querySelector('#side').textContent")
    browser.key("n")
    page.until("state.objects.length === 1", "an object")
    browser.key("n")
    wait_for(lambda: "has no mask yet" in toasts(page), "the empty object to be offered")
    assert page.state("state.objects.length") == 1


def test_a_video_of_one_frame_offers_no_tracking(page: Page) -> None:
    names = ["tracking", "adapt", "play", "next", "strip"]
    shown = f"{names}.filter((id) => document.getElementById(id).offsetParent !== null)"
    assert page.browser.run(shown) == names
    page.run("state.set({ video: { ...state.state.video, end: state.state.video.start + 1 } })")
    assert page.browser.run(shown) == []
    page.browser.key("a")
    assert page.state("state.job") is None
    page.open()
    assert page.browser.run(shown) == names


def test_what_changes_many_frames_is_told_and_undone_in_place(page: Page) -> None:
    browser = page.begin()
    browser.key("t")
    page.until(f"!state.job && state.frames.size === {FRAMES}", "tracking")
    page.go(10)
    browser.key("Delete", 8)
    wait_for(lambda: f"Deleted object 1 in {FRAMES} frames; undo reverts it" in toasts(page), "the change to be told")
    browser.key("z", 2)
    page.until(f"state.frames.size === {FRAMES}", "undo")
    assert page.state("state.frame") == 10  # it shows the change already
    page.go(FRAMES - 1)
    browser.key("t")
    wait_for(lambda: "There are no frames to track in this direction" in toasts(page), "the end of the video")


def test_the_space_bar_presses_what_the_keyboard_has_reached_and_plays_otherwise(page: Page) -> None:
    browser = page.begin()
    browser.run("document.querySelector('#outline').focus()")
    browser.key(" ")
    page.until("state.outline", "the box to be ticked")
    assert browser.run("document.querySelector('#play').ariaPressed") != "true"
    box = "document.querySelector('#outline').getBoundingClientRect()"
    browser.click(*browser.run(f"(() => {{ const box = {box}; return [box.left + 6, box.top + 6]; }})()"))
    page.until("!state.outline", "the box to be emptied")
    browser.key(" ")
    browser.until("import('./view.js').then(({ view }) => view.shown > 0)", "the video to play")
    assert not page.state("state.outline")


def test_the_object_under_the_pointer_is_selected(page: Page) -> None:
    browser = page.begin()
    browser.key("n")
    page.until("state.object === 2 && state.objects.length === 2", "a new object")
    browser.mouse("Moved", *page.place(30, 48), "none")
    browser.key("s")
    page.until("state.object === 1", "the object under the pointer")
    assert browser.run("document.querySelector('#objects .current .chip').ariaPressed") == "true"


def test_an_object_is_hidden_and_renamed_by_keyboard_alone(page: Page) -> None:
    browser = page.begin()
    browser.run("document.querySelector('#objects .chip').focus()")
    browser.key("Tab")
    browser.key("Enter")
    page.until("!document.activeElement.readOnly", "the name to be changed")
    for key in ("c", "u", "p", "Enter"):
        browser.key(key)
    page.until("state.objects[0].name === 'cup'", "the new name")
    browser.run("document.querySelector('#objects button:last-of-type').previousElementSibling.focus()")
    for hidden in ("true", "false"):
        browser.key("Enter")
        page.until(f"state.objects[0].hidden === {hidden}", "the object to be hidden and shown")
        assert "cup" in browser.run("document.activeElement.ariaLabel")


def test_the_timeline_shows_pictures_of_the_video(page: Page) -> None:
    page.open()
    colours = (
        "(({ width }, context) => new Set(new Uint32Array(context.getImageData(0, 20, width, 10).data.buffer)).size)"
        "(document.querySelector('#strip'), document.querySelector('#strip').getContext('2d'))"
    )
    page.browser.until(f"{colours} > 50", "pictures on the timeline")


def test_the_timeline_zooms_and_follows(page: Page) -> None:
    browser = page.begin()
    left, top, width = browser.run(
        "(() => { const box = document.querySelector('#strip').getBoundingClientRect(); "
        "return [box.left, box.top + 30, box.width]; })()"
    )

    def gone_to(share: float) -> int:
        browser.click(left + width * share, top)
        browser.run("new Promise(requestAnimationFrame)")
        return int(page.state("state.frame"))

    assert gone_to(0.99) == FRAMES - 1
    assert gone_to(0.01) == 0
    browser.wheel(left + 2, top, -2000)  # closer, at the first frame
    assert gone_to(0.99) == FRAMES - 2
    browser.key("End")
    assert gone_to(0.01) == 1  # the last frame came into view
    browser.run("document.querySelector('#strip').dispatchEvent(new MouseEvent('dblclick'))")
    assert gone_to(0.01) == 0
    scale = browser.run("import('./view.js').then(({ view }) => view.scale)")
    browser.run("document.querySelector('#strip').focus()")
    browser.key("+")
    assert gone_to(0.99) < FRAMES - 1
    browser.run("document.querySelector('#strip').focus()")
    browser.key("0")
    assert gone_to(0.99) == FRAMES - 1
    assert browser.run("import('./view.js').then(({ view }) => view.scale)") == scale


def test_the_last_of_many_colours_differ(page: Page) -> None:
    script = (
        "import('./state.js').then(({ pageColour }) => [[128, 0, 0], [64, 0, 0], [192, 0, 0]].map(pageColour)"
        ".map((colour) => colour.join()))"
    )
    assert len(set(page.browser.run(script))) == 3


def test_text_on_buttons_can_be_read_in_both_themes(page: Page) -> None:
    page.open()
    script = """
(() => {
  const light = (colour) => {
    const linear = (one) => (one / 255 <= 0.04045 ? one / 255 / 12.92 : ((one / 255 + 0.055) / 1.055) ** 2.4);
    const [red, green, blue] = colour.match(/[0-9]+/g).map(Number).map(linear);
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  return ["#track-forward", "#tools [aria-pressed=true]", "#stop", "#export"].map((name) => {
    const style = getComputedStyle(document.querySelector(name));
    const [low, high] = [light(style.color), light(style.backgroundColor)].sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05);
  });
})()"""
    for _ in ("dark", "light"):
        page.browser.key("d")
        assert min(page.browser.run(script)) >= 4.5
