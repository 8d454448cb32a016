"""The server of the annotation page and pages that talk to it, without a browser."""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from browser import wait_for
from conftest import moving_square, write_video
from segmenter_fakes import make_model
from uvicorn import Server
from video_fakes import damaged
from websockets.exceptions import ConnectionClosedError
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin

from hodor_cli.annotate.frames import FrameReader
from hodor_cli.annotate.messages import pack_runs, unpack_runs
from hodor_cli.annotate.project import Project
from hodor_cli.annotate.result import open_target, write_project_report
from hodor_cli.annotate.server import listen, page_server
from hodor_cli.annotate.session import Session
from hodor_cli.errors import InputError
from hodor_cli.run.settings import SegmentSettings
from hodor_cli.video.frames import FrameSource
from hodor_cli.video.source import open_source

FRAMES, TOKEN = 24, "secret-token"


@dataclass
class Served:
    """A server of a small clip that works in this process."""

    project: Project
    source: FrameSource
    port: int
    server: Server

    def page(self) -> ClientConnection:
        """A page that has not said hello yet."""
        host = f"127.0.0.1:{self.port}"
        return connect(f"ws://{host}/{TOKEN}/socket", origin=Origin(f"http://{host}"), max_size=None, compression=None)

    def get(self, path: str) -> bytes:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/{TOKEN}/{path}") as answer:
            return bytes(answer.read())


@pytest.fixture
def video(tmp_path: Path) -> Path:
    return write_video(tmp_path / "clip.mp4", moving_square(FRAMES)[0])


@pytest.fixture
def torn(video: Path) -> Path:
    """The video with a frame that cannot be decoded."""
    return damaged(video, FRAMES // 2)


@pytest.fixture
def served(tmp_path: Path, video: Path) -> Iterator[Served]:
    source, folder = open_target(video, tmp_path / "project")
    project, settings = Project(folder, (source.height, source.width)), SegmentSettings(min_dim=64)
    write_project_report(project, source, settings, None)
    ready = threading.Event()
    readers = FrameReader(source), FrameReader(source, few=True)
    server = page_server(
        lambda emit: Session(project, FrameReader(source), make_model("toy"), settings, emit),
        readers, TOKEN, ready.set,
    )  # fmt: skip
    with listen("127.0.0.1", 0) as listening:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        assert ready.wait(30)
        yield Served(project, source, listening.getsockname()[1], server)
        server.should_exit = True
        thread.join(30)
        assert not thread.is_alive()


def _until(page: ClientConnection, event: str) -> dict[str, Any]:
    """The next event of a kind; all others are read and left."""
    while True:
        message = page.recv(30)
        head = (message.encode() if isinstance(message, str) else message).partition(b"\n")[0]
        told: dict[str, Any] = json.loads(head)
        if told["event"] == event:
            return told
        assert told["event"] != "error", told


def _paint(page: ClientConnection, mask: np.ndarray) -> None:
    asked = {"do": "paint", "frame": 0, "object": 1, "x": 0, "y": 0, "width": mask.shape[1], "height": mask.shape[0]}
    page.send(json.dumps(asked).encode() + b"\n" + pack_runs(mask.astype(np.uint16)))
    _until(page, "changed")


def test_tracking_continues_when_the_page_goes_away_and_the_next_page_finds_it(served: Served) -> None:
    with served.page() as page:
        page.send('{"do": "hello"}')
        assert _until(page, "hello")["frames"] == []
        _paint(page, moving_square(FRAMES)[1][0])
        page.send('{"do": "track", "frame": 0, "direction": "forward"}')
        while not _until(page, "frame")["streamed"]:
            pass
        page.socket.close()  # as when the network or the browser dies: no goodbye
    wait_for(lambda: len(served.project.records) == FRAMES, "tracking without a page")
    with served.page() as page:
        page.send('{"do": "hello"}')
        assert len(_until(page, "hello")["frames"]) == FRAMES
        shown = unpack_runs(served.get(f"labels/{FRAMES - 1}"), (64, 96))
        assert np.array_equal(shown, served.project.labels(FRAMES - 1))


def test_a_server_that_stops_while_it_makes_a_picture_prints_nothing(
    served: Served, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    begun, ended = threading.Event(), threading.Event()
    monkeypatch.setattr("hodor_cli.annotate.server.thumbnail_of", lambda _: (begun.set(), ended.wait(30), b"")[2])

    def ask() -> None:
        with suppress(OSError, HTTPException):
            served.get("thumb/0")

    asking = threading.Thread(target=ask)
    asking.start()
    assert begun.wait(30)
    served.server.should_exit = True
    asking.join(30)
    ended.set()
    assert not asking.is_alive() and not caplog.records


def test_an_export_of_a_video_whose_name_is_no_text_is_downloaded(served: Served) -> None:
    served.source.name = "clip\udcff"  # as Python reads a name that is not UTF-8
    served.project.folder.overlay.write_bytes(b"video")
    assert served.get("export/overlay") == b"video"


def test_hiding_an_object_does_not_stop_tracking(served: Served) -> None:
    with served.page() as page:
        page.send('{"do": "hello"}')
        _until(page, "hello")
        _paint(page, moving_square(FRAMES)[1][0])
        page.send('{"do": "track", "frame": 0, "direction": "forward"}')
        while not _until(page, "frame")["streamed"]:
            pass
        page.send('{"do": "hide", "object": 1, "hidden": true}')
        assert not _until(page, "done")["stopped"]
        assert _until(page, "changed")["objects"][0]["hidden"]
    assert len(served.project.records) == FRAMES


def test_a_message_of_more_than_8_mb_is_refused_and_changes_nothing(served: Served) -> None:
    with served.page() as page:
        page.send('{"do": "hello"}')
        _until(page, "hello")
        page.send(b'{"do": "junk"}\n' + bytes((8 << 20) - 20))
        assert "reload it" in _until(page, "error")["text"]  # one that is shorter is read
        with pytest.raises(ConnectionClosedError):
            page.send(b'{"do": "junk"}\n' + bytes(8 << 20))
            _until(page, "error")
    assert not served.project.records
    with served.page() as page:
        page.send('{"do": "hello"}')
        _until(page, "hello")
        _paint(page, moving_square(FRAMES)[1][0])
    assert sorted(served.project.records) == [0]


def test_an_open_page_is_told_of_damage_when_it_is_met(torn: Path, served: Served) -> None:
    with served.page() as page:
        page.send('{"do": "hello"}')
        _until(page, "hello")
        for index in range(FRAMES):
            served.get(f"frame/{index}")
        (told,) = _until(page, "warnings")["texts"]
        assert "clip.mp4 is damaged" in told and "could not be decoded, so the previous frame is shown" in told


def test_damage_is_known_once_the_last_frame_was_read(torn: Path) -> None:
    with open_source(torn) as source:
        reader = FrameReader(source)
        for index in range(FRAMES):
            reader.read(index)
        assert "could not be decoded" in "".join(source.warnings)


@pytest.fixture
def unreadable(monkeypatch: pytest.MonkeyPatch) -> int:
    """A frame that cannot be decoded."""
    read, frame = FrameReader.read, FRAMES // 2

    def broken(self: FrameReader, index: int) -> np.ndarray:
        if index == frame:
            raise InputError("damaged")
        return read(self, index)

    monkeypatch.setattr(FrameReader, "read", broken)
    return frame


def test_a_thumbnail_is_a_small_picture_and_one_that_cannot_be_made_is_missing(unreadable: int, served: Served) -> None:
    picture = cv2.imdecode(np.frombuffer(served.get("thumb/3"), np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None and picture.shape == (54, 81, 3)
    with pytest.raises(urllib.error.HTTPError, match="404"):
        served.get(f"thumb/{unreadable}")
