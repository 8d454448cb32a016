"""The project, the session and the guard of the annotation page, without a browser."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import re
import shutil
import sys
import threading
import webbrowser
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from command import hodor
from conftest import moving_square, write_video
from PIL import Image
from pycocotools import mask as coco
from segment_fakes import read_video
from video_fakes import count_decoded

from hodor_cli.annotate import frames, opening
from hodor_cli.annotate import messages as ask
from hodor_cli.annotate.change import Change, edited_record
from hodor_cli.annotate.export import EXPORTS, export_path
from hodor_cli.annotate.frames import FrameReader
from hodor_cli.annotate.guard import Guard
from hodor_cli.annotate.history import ChangeHistory, ChangeKind
from hodor_cli.annotate.messages import pack_runs, unpack_runs
from hodor_cli.annotate.opening import AnnotateOptions, annotate_source
from hodor_cli.annotate.project import Project
from hodor_cli.annotate.result import continued_settings, inputs_by_hand, open_target
from hodor_cli.annotate.server import listen
from hodor_cli.annotate.session import Session
from hodor_cli.annotate.worker import MakeSession, SessionWorker
from hodor_cli.cli.annotate import _open_browser
from hodor_cli.clicks.clicker import Clicker
from hodor_cli.clicks.shapes import largest_piece, without_holes
from hodor_cli.errors import InputError, OutputError, UsageError
from hodor_cli.formats.recognise import WRITERS
from hodor_cli.images.label_png import read_label_png, write_label_png
from hodor_cli.model import Hodor
from hodor_cli.records import FrameRecord, ObjectRecord
from hodor_cli.run.choosing import suggested_in
from hodor_cli.run.inputs import RunInputs
from hodor_cli.run.output import OutputFolder
from hodor_cli.run.runner import segment_source
from hodor_cli.run.settings import RunOutput, SegmentSettings
from hodor_cli.video.source import open_source

FRAMES = 8


class _Events(list[Mapping[str, Any]]):
    """Events as they are told; `stop` is set by the first frame `stop_at`."""

    stop_at: int | None = None

    def __init__(self) -> None:
        super().__init__()
        self.stop = threading.Event()

    def add(self, event: Mapping[str, Any], _: bytes) -> None:
        self.append(event)
        if self.stop_at is not None and event.get("frame") == self.stop_at:
            self.stop.set()


@dataclass
class Desk:
    """A session on a small clip, and the events that it told."""

    session: Session
    folder: Path
    events: _Events = field(default_factory=_Events)

    stop: threading.Event = field(default_factory=threading.Event)

    def do(self, asked: ask.Request, payload: bytes = b"") -> None:
        self.session.do(asked, payload, self.stop)

    def paint(self, frame: int, object_id: int, x: int, y: int, side: int = 10, add: bool = True) -> None:
        square = np.ones((side, side), np.uint16)
        self.do(ask.Paint(frame, object_id, x, y, side, side, add), pack_runs(square))

    def labels(self, frame: int) -> np.ndarray:
        return self.session.project.labels(frame)

    def told(self, name: str) -> list[Mapping[str, Any]]:
        return [event for event in self.events if event["event"] == name]


@pytest.fixture
def video(tmp_path: Path) -> Path:
    return write_video(tmp_path / "clip.mp4", moving_square(FRAMES)[0])


@pytest.fixture
def open_desk(video: Path, toy: Hodor) -> Iterator[Callable[..., Desk]]:
    opened: list[Desk] = []

    def make(**settings: Any) -> Desk:
        source, folder = open_target(video, video.with_suffix(".hodor"))
        project = Project(folder, (source.height, source.width))
        events = _Events()
        session = Session(
            project,
            FrameReader(source),
            toy,
            SegmentSettings(**{"min_dim": 64, **settings}),
            events.add,
        )
        session.save()
        opened.append(Desk(session, folder.root, events, events.stop))
        return opened[-1]

    yield make
    for desk in opened:
        desk.session.project.close()


@pytest.fixture
def desk(open_desk: Callable[[], Desk]) -> Desk:
    return open_desk()


def test_runs_carry_a_label_map_both_ways_and_refuse_what_does_not_fit() -> None:
    labels = np.random.default_rng(0).integers(0, 3, (17, 23)).astype(np.uint16) * 300
    assert np.array_equal(unpack_runs(pack_runs(labels), (17, 23)), labels)
    for bad in (pack_runs(labels)[:-8], pack_runs(labels)[:-3], pack_runs(np.full((17, 23), 70_000, np.uint32))):
        with pytest.raises(InputError, match="draw it again"):
            unpack_runs(bad, (17, 23))


def test_a_length_that_overflows_is_no_drawing() -> None:
    pairs = np.array([[1, 2**32 - 1], [0, 2**32 - 1], [1, 102]], "<u4")  # their sum is 100 in 32 bits
    with pytest.raises(InputError):
        unpack_runs(pairs.tobytes(), (10, 10))


def test_holes_are_filled_and_the_largest_piece_stays() -> None:
    mask = np.zeros((20, 30), bool)
    mask[2:12, 2:12] = True
    mask[5:8, 5:8] = False
    mask[15:18, 20:24] = True
    filled = without_holes(mask)
    assert filled[5:8, 5:8].all() and filled.sum() == 100 + 12
    assert np.array_equal(largest_piece(mask), mask & (np.arange(20)[:, None] < 14))
    bay = np.zeros((10, 10), bool)
    bay[0:5, 2:8] = True
    bay[0:3, 4:6] = False  # open to the border: no hole
    assert np.array_equal(without_holes(bay), bay)


def test_a_stroke_is_in_the_folder_when_it_is_told_and_is_found_again(open_desk: Callable[[], Desk]) -> None:
    desk = open_desk()
    desk.paint(3, 1, 20, 10)
    desk.do(ask.Rename(1, "the <b>red</b> one"))
    saved = read_label_png(desk.folder / "masks" / "00003.png")
    assert saved[10:20, 20:30].all() and saved.sum() == 100
    again = open_desk()  # as after a kill: nothing was closed, no report written since
    assert np.array_equal(again.labels(3), saved)
    assert again.session.project.given_frames() == [3]
    assert again.session.snapshot()["objects"][0]["name"] == "the <b>red</b> one"
    again.do(ask.Undo())
    again.do(ask.Undo())
    assert not again.labels(3).any() and not (desk.folder / "masks" / "00003.png").exists()


def test_a_change_that_was_cut_off_leaves_the_project_usable(open_desk: Callable[[], Desk]) -> None:
    desk = open_desk()
    desk.paint(0, 1, 5, 5)
    history = desk.folder / ".annotate" / "history"
    (history / "000002" / "before").mkdir(parents=True)
    with (desk.folder / ".annotate" / "journal.jsonl").open("ab") as journal:
        journal.write(b'{"frame": 1, "name": "000')
    again = open_desk()
    assert again.labels(0).any() and not (history / "000002").exists()
    again.paint(1, 1, 5, 5)
    assert open_desk().labels(1).any()


def test_a_change_whose_place_in_the_history_was_not_written_is_not_taken_for_undone(
    open_desk: Callable[[], Desk], monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = open_desk()
    desk.paint(0, 1, 10, 10)
    with monkeypatch.context() as broken, pytest.raises(OutputError):  # as a kill does
        broken.setattr(ChangeHistory, "_save_position", full)
        desk.paint(0, 2, 30, 10)
    desk.session.project.close()
    again = open_desk()
    assert again.session.project.history.available() == (True, False)
    again.do(ask.Undo())
    assert set(np.unique(again.labels(0))) == {0, 1}


def test_a_kill_while_undone_changes_are_dropped_leaves_no_gap(
    open_desk: Callable[[], Desk], monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = open_desk()
    for object_id in (1, 2, 3):
        desk.paint(0, object_id, 20 * object_id, 10)
    desk.do(ask.Undo())
    desk.do(ask.Undo())
    remove, removed = shutil.rmtree, []

    def one(path: Path, **more: Any) -> None:
        if removed:
            raise RuntimeError("killed")
        removed.append(path)
        remove(path, **more)

    with monkeypatch.context() as broken, pytest.raises(RuntimeError, match="killed"):
        broken.setattr(shutil, "rmtree", one)
        desk.paint(0, 4, 80, 40)
    desk.session.project.close()
    again = open_desk()
    again.do(ask.Redo())
    assert set(np.unique(again.labels(0))) == {0, 1, 2}


def full(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_undo_and_redo_bring_back_masks_and_objects(desk: Desk) -> None:
    desk.paint(0, 1, 10, 10)
    desk.paint(0, 2, 15, 10)  # takes a part of object 1
    desk.paint(0, 2, 15, 10, side=3, add=False)
    states = [desk.labels(0).copy()]
    for _ in range(3):
        desk.do(ask.Undo())
        states.append(desk.labels(0).copy())
    assert [int((state == 1).sum()) for state in states] == [50, 50, 100, 0]
    assert [int((state == 2).sum()) for state in states] == [91, 100, 0, 0]
    assert desk.session.snapshot()["objects"] == []
    for state in reversed(states[:-1]):
        desk.do(ask.Redo())
        assert np.array_equal(desk.labels(0), state)
    desk.do(ask.Redo())  # nothing is left to be made again
    desk.do(ask.Undo())
    desk.paint(0, 3, 60, 40)
    assert desk.session.project.history.available() == (True, False)


@contextmanager
def full_disk(at: int) -> Iterator[None]:
    """No file can grow beyond `at` bytes; what is written to one that would is cut off, as on a full disk."""
    resource = pytest.importorskip("resource")  # not on Windows
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (at, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_leaves_a_project_that_opens_again(open_desk: Callable[[], Desk]) -> None:
    desk = open_desk()
    journal = desk.folder / ".annotate" / "journal.jsonl"
    desk.paint(0, 1, 10, 10)
    while journal.stat().st_size < 4000:
        desk.paint(0, 1, 12, 12, side=4, add=False)
        desk.paint(0, 1, 12, 12, side=4)
    with (
        full_disk(journal.stat().st_size + 10),
        pytest.raises(OutputError, match=r"disk is full.*repeat the last step"),
    ):
        desk.paint(0, 1, 50, 10)
    desk.paint(0, 2, 70, 10)
    labels = desk.labels(0).copy()
    desk.session.project.close()
    again = open_desk()
    assert set(again.session.project.records[0].objects) == {1, 2}
    assert np.array_equal(again.labels(0), labels)


def test_an_edit_that_changes_nothing_is_no_step_of_undo(desk: Desk) -> None:
    desk.paint(0, 1, 5, 5)
    desk.paint(0, 2, 40, 40)
    for _ in range(2):
        desk.do(ask.Tidy(3, 1, "clear"))
        desk.paint(0, 1, 6, 6, side=4)
        desk.do(ask.Tidy(0, 2, "fill"))
    frames = len(desk.told("frame"))
    desk.do(ask.Undo())
    assert 3 not in desk.session.project.records
    desk.do(ask.Undo())
    assert set(np.unique(desk.labels(0))) == {0, 1} and len(desk.told("frame")) == frames + 2


def test_an_undo_that_fails_changes_nothing(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.paint(0, 1, 10, 10)
    desk.paint(0, 2, 30, 10)
    labels = desk.labels(0).copy()
    for target in ("hodor_cli.annotate.project.write_whole", "hodor_cli.annotate.history.write_whole"):
        with monkeypatch.context() as broken:
            broken.setattr(target, full)
            with pytest.raises(OutputError, match="disk is full"):
                desk.do(ask.Undo())
        assert np.array_equal(desk.labels(0), labels)
        assert [entry["id"] for entry in desk.session.snapshot()["objects"]] == [1, 2]
    desk.do(ask.Undo())
    assert set(np.unique(desk.labels(0))) == {0, 1}


def test_tracking_that_was_killed_is_one_step_of_undo(open_desk: Callable[[], Desk]) -> None:
    desk = open_desk()
    desk.paint(0, 1, 20, 20)
    desk.do(ask.Track(0, "forward"))
    tracked = [desk.labels(index) for index in range(FRAMES)]
    desk.do(ask.Undo())
    desk.paint(4, 1, 30, 20)
    by_hand = desk.labels(4)
    project = desk.session.project
    killed = Change(project, project.history.begin(ChangeKind.TRACK, project.entries()))
    for index in (1, 2, 4):
        killed.put(FrameRecord(index, f"{index:05d}", 0.0, {1: ObjectRecord(50, None, 0.7, False)}), tracked[index])
    again = open_desk()
    assert all(np.array_equal(again.labels(index), tracked[index]) for index in (1, 2, 4))
    again.do(ask.Undo())
    assert sorted(again.session.project.records) == [0, 4] and np.array_equal(again.labels(4), by_hand)
    again.do(ask.Redo())
    assert sorted(again.session.project.records) == [0, 1, 2, 4] and np.array_equal(again.labels(4), tracked[4])


def test_a_correction_tracks_only_the_frames_up_to_the_masks_beside_it(open_desk: Callable[..., Desk]) -> None:
    desk = open_desk()
    desk.paint(0, 1, 20, 20, side=20)
    desk.paint(3, 1, 30, 20, side=20)

    def both() -> list[int]:
        desk.events.clear()
        desk.do(ask.Track(0, "both"))
        return [event["frame"] for event in desk.told("frame") if event["streamed"]]

    assert both()[-FRAMES:] == list(range(FRAMES))
    assert both() == [] and "nothing to track" in desk.told("done")[-1]["text"]
    before = [desk.labels(index) for index in range(4)]
    desk.paint(6, 1, 40, 20, side=24)
    by_hand = desk.labels(6)
    assert both() == [4, 5, 6, 7] and desk.told("progress")[-1]["share"] == 1.0
    assert all(np.array_equal(desk.labels(index), before[index]) for index in range(4))
    assert np.array_equal(desk.labels(6), by_hand)
    desk.paint(6, 1, 40, 20, side=30)
    desk.events.stop_at = 5
    assert both() == [4, 5]  # stopped: the rest is still to do
    desk.events.stop_at = None
    desk.stop.clear()
    assert both() == [4, 5, 6, 7]
    corrected = [desk.labels(index) for index in range(FRAMES)]
    desk = open_desk()  # as after a restart
    assert both() == []
    desk.paint(0, 1, 20, 20, side=22)
    assert both() == [0, 1, 2]
    desk.do(ask.Undo())
    desk.do(ask.Undo())
    assert all(np.array_equal(desk.labels(index), corrected[index]) for index in range(FRAMES)) and both() == []
    desk.do(ask.Track(3, "forward"))
    assert both()[-FRAMES:] == list(range(FRAMES))  # masks were tracked in another way since
    assert all(np.array_equal(desk.labels(index), corrected[index]) for index in range(FRAMES))
    desk = open_desk(history=2)
    assert both()[-FRAMES:] == list(range(FRAMES))  # other settings track in another way


def test_a_correction_of_a_result_of_segment_tracks_only_the_frames_that_it_changes(
    open_desk: Callable[..., Desk], video: Path, toy: Hodor
) -> None:
    mask = np.zeros((64, 96), np.uint16)
    mask[20:40, 30:50] = 1
    settings = SegmentSettings(min_dim=64, overlay=False)
    with open_source(video) as source:
        segment_source(source, RunInputs({3: mask}), video.with_suffix(".hodor"), toy, settings=settings)
    for history, expected in ((7, [4, 5, 6, 7]), (2, list(range(FRAMES)))):  # other settings track in another way
        desk = open_desk(history=history, overlay=False)
        desk.paint(6, 1, 40, 20, side=24)
        desk.do(ask.Track(6, "both"))
        assert [event["frame"] for event in desk.told("frame") if event["streamed"]] == expected
        desk.do(ask.Undo())
        desk.do(ask.Undo())


def test_small_objects_do_not_prevent_corrections_here_and_by_segment(
    open_desk: Callable[..., Desk], video: Path, toy: Hodor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(toy, "config", msgspec.structs.replace(toy.config, small_min_dim=96, medium_min_dim=80))
    desk = open_desk(min_dim=None)
    desk.paint(0, 1, 20, 20)
    desk.paint(3, 1, 30, 20)
    desk.do(ask.Track(0, "both"))
    desk.paint(6, 1, 40, 20)
    desk.events.clear()
    desk.do(ask.Track(0, "both"))
    assert [event["frame"] for event in desk.told("frame") if event["streamed"]] == [4, 5, 6, 7]
    desk.session.save()
    desk.session.project.close()
    before, mask = desk.labels(2), np.zeros((64, 96), np.uint16)
    mask[30:44, 10:24] = 1
    settings, output = SegmentSettings(), RunOutput(resume=True)
    with open_source(video) as source:
        summary = segment_source(source, RunInputs({7: mask}), desk.folder, toy, settings=settings, output=output)
    assert summary.frames == FRAMES and np.array_equal(desk.labels(2), before)
    assert np.array_equal(read_label_png(desk.folder / "masks" / "00007.png"), mask)


def test_segment_draws_an_overlay_of_earlier_masks_again(
    open_desk: Callable[..., Desk], video: Path, toy: Hodor, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("results", "correction", "loop"):
        monkeypatch.setattr(f"hodor_cli.run.{module}.PIECE_FRAMES", 2)
    mask, out = np.zeros((64, 96), np.uint16), video.with_suffix(".hodor")
    mask[20:40, 30:50] = 1

    def segment(frame: int, *, resume: bool) -> np.ndarray:
        with open_source(video) as source:
            inputs, output = RunInputs({frame: mask}), RunOutput(resume=resume)
            segment_source(source, inputs, out, toy, settings=SegmentSettings(min_dim=64), output=output)
        return read_video(out / "overlay.mp4")[1][44:60, 4:20].astype(int)

    before = segment(0, resume=False)
    desk = open_desk()
    desk.session.warm()
    desk.paint(1, 1, 4, 44, side=16)
    desk.paint(3, 1, 30, 20, side=20)
    desk.session.save()
    desk.session.project.close()
    assert np.abs(segment(6, resume=True) - before).mean() > 20


def test_a_mask_made_from_a_box_is_kept_when_an_edited_result_gets_another_mask(
    open_desk: Callable[..., Desk], video: Path, toy: Hodor
) -> None:
    out, settings = video.with_suffix(".hodor"), SegmentSettings(min_dim=64, overlay=False)

    def segmented(inputs: RunInputs, *, resume: bool = False) -> np.ndarray:
        with open_source(video) as source:
            segment_source(source, inputs, out, toy, settings=settings, output=RunOutput(resume=resume))
        return read_label_png(out / "masks" / "00000.png")

    first = segmented(RunInputs(boxes={0: {1: (18, 14, 30, 30)}}))
    desk = open_desk(overlay=False)
    desk.session.warm()
    desk.paint(6, 1, 40, 20)
    desk.session.save()
    mask = np.zeros((64, 96), np.uint16)
    mask[20:40, 30:50] = 1
    assert np.array_equal(segmented(RunInputs({3: mask}), resume=True), first) and first.any()
    assert list(json.loads((out / "report.json").read_text())["masks"]) == ["0", "3", "6"]


def test_the_file_of_a_box_is_removed_with_an_edited_result(
    open_desk: Callable[..., Desk], video: Path, toy: Hodor
) -> None:
    out, settings = video.with_suffix(".hodor"), SegmentSettings(min_dim=64, overlay=False)
    with open_source(video) as source:
        segment_source(source, RunInputs(boxes={0: {1: (18, 14, 30, 30)}}), out, toy, settings=settings)
    desk = open_desk(overlay=False)
    desk.paint(0, 2, 70, 40)
    desk.do(ask.Swap(1, 2))
    desk.do(ask.Track(0, "both"))
    desk.session.save()
    assert list((out / "box_masks").iterdir())
    OutputFolder(out).remove_results()
    assert not (out / "box_masks").exists()


def test_a_correction_removes_the_page_of_the_run_and_tells_that_its_overlay_is_older(
    open_desk: Callable[..., Desk], video: Path, toy: Hodor
) -> None:
    mask = np.zeros((64, 96), np.uint16)
    mask[20:40, 30:50] = 1
    out = video.with_suffix(".hodor")
    with open_source(video) as source:
        segment_source(source, RunInputs({0: mask}), out, toy, settings=SegmentSettings(min_dim=64))
    desk = open_desk()

    def told() -> int:
        desk.session.save()
        return sum("overlay.mp4 still shows" in event["text"] for event in desk.told("notice"))

    desk.do(ask.Hide(1, True))
    assert told() == 0 and (out / "review.html").exists()
    desk.paint(6, 1, 40, 20)
    assert told() == 1 and not (out / "review.html").exists() and (out / "overlay.mp4").exists()
    desk.paint(6, 1, 60, 20)
    assert told() == 1


def test_tracking_fills_the_frames_streams_them_and_keeps_what_was_made_by_hand(desk: Desk) -> None:
    desk.paint(2, 1, 20, 20, side=20)
    desk.paint(5, 1, 40, 20, side=16)
    by_hand = desk.labels(5)
    desk.do(ask.Track(2, "both"))
    streamed = [event["frame"] for event in desk.told("frame") if event["streamed"]]
    assert streamed == [4, 3, 1, 0, *range(FRAMES)]  # what the way back finds first, then all
    assert np.array_equal(desk.labels(5), by_hand)
    assert desk.told("progress")[-1]["share"] == 1.0
    assert {event["job"] for event in desk.told("progress")} == {"track"}
    desk.do(ask.Undo())
    assert sorted(desk.session.project.records) == [2, 5] and np.array_equal(desk.labels(5), by_hand)


def test_a_correction_leaves_the_other_objects_of_its_frame(desk: Desk) -> None:
    desk.paint(0, 1, 5, 5)
    desk.paint(0, 2, 30, 5)
    desk.do(ask.Track(0, "both"))
    before = desk.labels(3)
    desk.paint(3, 1, 40, 30)
    expected = before.copy()
    expected[30:40, 40:50] = 1
    np.testing.assert_array_equal(desk.labels(3), expected)


def test_tracking_to_one_side_streams_in_its_order(desk: Desk) -> None:
    desk.paint(4, 1, 20, 20, side=20)
    desk.do(ask.Track(4, "backward"))
    assert [event["frame"] for event in desk.told("frame") if event["streamed"]] == [3, 2, 1, 0]
    assert desk.told("done")[-1]["text"].startswith("tracked 4 frames")


@pytest.mark.parametrize(("frame", "direction"), [(FRAMES - 1, "forward"), (FRAMES - 1, "one"), (0, "backward")])
def test_at_the_end_there_is_nothing_to_track(desk: Desk, frame: int, direction: ask.Direction) -> None:
    desk.paint(frame, 1, 10, 10)
    with pytest.raises(UsageError, match=f"no frames to track in this direction from frame {frame}"):
        desk.do(ask.Track(frame, direction))


def test_tracking_one_frame_and_stopping(desk: Desk) -> None:
    desk.paint(0, 1, 20, 20, side=20)
    desk.do(ask.Track(0, "one"))
    assert sorted(desk.session.project.records) == [0, 1]
    desk.events.stop_at = 3
    desk.do(ask.Track(0, "forward"))
    assert sorted(desk.session.project.records) == [0, 1, 2, 3] and desk.told("done")[-1]["stopped"]
    assert "tracked 3 frames" in desk.told("done")[-1]["text"]
    desk.events.stop_at = None
    desk.stop.clear()
    desk.do(ask.Track(0, "both"))
    desk.paint(4, 1, 40, 20)
    desk.stop.set()  # the user is quicker than the first frame
    desk.do(ask.Track(4, "both"))
    assert desk.told("done")[-1]["text"] == "tracking stopped before the first frame"


def test_an_object_that_is_erased_is_gone_from_there_on(desk: Desk) -> None:
    desk.paint(0, 1, 20, 20, side=20)
    desk.do(ask.Tidy(3, 1, "clear"))
    desk.do(ask.Track(0, "forward"))
    assert 1 in desk.session.project.records[3].removed
    assert not any(desk.labels(index).any() for index in range(3, FRAMES))


@pytest.mark.parametrize("direction", ["forward", "both"])
def test_tracking_says_which_objects_are_too_small_to_be_followed(desk: Desk, direction: Any) -> None:
    desk.paint(2, 1, 20, 20, side=20)
    desk.paint(2, 2, 70, 40, side=1)
    desk.do(ask.Track(2, direction))
    (text,) = desk.told("warnings")[-1]["texts"]
    assert text.startswith("a mask of object 2 is too small") and "raise `min_dim`" in text
    assert set(np.unique(desk.labels(3))) == {0, 1}


def test_warnings_of_tracking_are_kept_in_the_report(desk: Desk) -> None:
    desk.paint(2, 1, 20, 20, side=20)
    desk.paint(2, 2, 70, 40, side=1)
    desk.do(ask.Track(2, "both"))
    desk.session.save()
    (warning,) = json.loads((desk.folder / "report.json").read_text())["warnings"]
    assert warning.startswith("a mask of object 2 is too small")
    review = [(item["first"], item["object"], item["reason"]) for item in desk.told("advice")[-1]["review"]]
    assert (2, 2, "the given mask is too small to be used") in review


def test_the_page_of_the_command_names_flags(video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[AnnotateOptions] = []
    monkeypatch.setattr(
        "hodor_cli.annotate.opening.annotate_source",
        lambda source, settings, options, opened: asked.append(options) or video,
    )
    hodor("annotate", video)
    with ThreadPoolExecutor(1) as pool:  # as the session
        assert pool.submit(asked[0].wording, "raise `min_dim`").result() == "raise --min-dim"


def test_what_has_no_mask_in_a_frame_is_not_made_absent_by_other_tools(desk: Desk) -> None:
    desk.paint(0, 1, 10, 10)
    requests: list[Callable[[], None]] = [
        lambda: desk.do(ask.Tidy(3, 1, "fill")),
        lambda: desk.do(ask.Tidy(3, 1, "largest")),
        lambda: desk.paint(3, 1, 10, 10, add=False),
        lambda: desk.paint(3, 2, 10, 10, add=False),
    ]
    for request in requests:
        with pytest.raises(UsageError, match="no mask in this frame"):
            request()
    assert list(desk.session.project.records) == [0]


def test_a_merged_object_stays_where_one_of_the_two_is_absent(desk: Desk) -> None:
    for frame in (0, 4):
        desk.paint(frame, 1, 20, 20)
    desk.paint(0, 2, 60, 40)
    desk.do(ask.Tidy(4, 2, "clear"))
    desk.do(ask.Merge(1, 2))
    assert desk.session.project.records[4].removed == ()


def test_where_an_object_is_absent_is_shown_and_stays_known(open_desk: Callable[[], Desk]) -> None:
    desk = open_desk()
    desk.paint(0, 1, 10, 10)
    desk.do(ask.Tidy(4, 1, "clear"))
    assert desk.told("frame")[-1]["state"] == [4, [], [], [1]]
    assert desk.told("notice")[-1]["text"].startswith("object 1 is absent from frame 4 on")
    desk.session.project.close()
    again = open_desk()
    assert again.session.snapshot()["frames"][-1] == [4, [], [], [1]]
    again.do(ask.Track(0, "forward"))
    assert again.labels(3).any() and not any(again.labels(index).any() for index in range(4, FRAMES))


def test_merge_swap_and_delete_work_in_all_frames(desk: Desk) -> None:
    for frame in (0, 1):
        desk.paint(frame, 1, 10, 10)
        desk.paint(frame, 2, 40, 10)
        desk.paint(frame, 3, 60, 10)
    desk.do(ask.Rename(1, "cup"))
    desk.do(ask.Swap(1, 2, start=1))
    assert desk.told("notice")[-1]["text"] == "swapped the masks of cup and object 2 in 1 frame; undo reverts it"
    assert desk.labels(0)[12, 12] == 1 and desk.labels(1)[12, 12] == 2
    desk.do(ask.Rename(2, "cup"))
    desk.do(ask.Tidy(5, 2, "clear"))
    assert desk.told("notice")[-1]["text"].startswith("cup (2) is absent from frame 5 on")
    for _ in range(2):
        desk.do(ask.Undo())
    desk.do(ask.Merge(1, 3))
    assert desk.told("notice")[-1]["text"] == "merged object 3 into cup in 2 frames; undo reverts it"
    assert desk.labels(0)[12, 62] == 1 and desk.labels(1)[12, 62] == 1
    assert [entry["id"] for entry in desk.session.snapshot()["objects"]] == [1, 2]
    desk.do(ask.DeleteObject(1))
    assert set(np.unique(desk.labels(0))) == {0, 2}
    for _ in range(3):
        desk.do(ask.Undo())
    assert desk.labels(1)[12, 12] == 1 and set(np.unique(desk.labels(1))) == {0, 1, 2, 3}
    with pytest.raises(UsageError, match="choose another"):
        desk.do(ask.Merge(1, 1))
    desk.do(ask.AddObject())
    desk.do(ask.DeleteObject(4))
    assert desk.told("notice")[-1]["text"] == "deleted object 4; undo reverts it"


def test_an_object_that_cannot_be_deleted_everywhere_because_a_mask_is_damaged_stays_everywhere(desk: Desk) -> None:
    for frame in (0, 3):
        desk.paint(frame, 1, 10, 10)
    mask = desk.folder / "masks" / "00003.png"
    mask.write_bytes(b"damaged")
    with pytest.raises(InputError, match=r"00003.png is not a label PNG.*remove the file"):
        desk.do(ask.DeleteObject(1))
    assert desk.labels(0).any() and desk.session.project.given_frames() == [0, 3]
    assert mask.read_bytes() == b"damaged"
    assert desk.session.project.history.available() == (True, False)  # redo would delete a part of it
    desk.do(ask.Redo())
    assert desk.labels(0).any()
    desk.paint(5, 1, 10, 10)
    desk.do(ask.Undo())
    with pytest.raises(InputError):
        desk.do(ask.DeleteObject(1))
    desk.do(ask.Redo())
    assert desk.labels(5).any()


def test_tracking_keeps_objects_that_were_swapped_from_a_frame_on(desk: Desk) -> None:
    desk.paint(0, 1, 10, 10)
    desk.paint(0, 2, 60, 40)
    desk.do(ask.Track(0, "forward"))
    before = desk.labels(4)
    desk.do(ask.Swap(1, 2, start=4))
    assert desk.session.project.records[4].given == (1, 2) and desk.session.project.records[5].given == ()
    desk.do(ask.Track(0, "both"))
    assert desk.labels(4).any() and np.array_equal(desk.labels(4), np.array([0, 2, 1])[before])
    desk.do(ask.Undo())
    desk.do(ask.Undo())
    assert np.array_equal(desk.labels(4), before) and not desk.session.project.records[4].given


def test_three_hundred_objects(desk: Desk) -> None:
    labels = (np.arange(64 * 96).reshape(64, 96) // 20 + 1).astype(np.uint16)

    project = desk.session.project
    with project.change(ChangeKind.BOX) as change:
        change.put(edited_record(desk.session.reader.blank(0), labels, np.unique(labels).tolist()), labels)
    assert len(desk.session.snapshot()["objects"]) == len(np.unique(labels)) > 300
    assert np.array_equal(desk.labels(0), labels)


def test_clicks_on_one_object_keep_it_out_of_the_next(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[tuple[int, float, bool]] = []
    click = Clicker.click

    def listened(self: Clicker, x: float, y: float, *, positive: bool = True, object: int = 1) -> Any:
        said.append((object, x, positive))
        return click(self, x, y, positive=positive, object=object)

    monkeypatch.setattr(Clicker, "click", listened)
    rows, columns = np.nonzero(moving_square(FRAMES)[1][0] == 1)
    on = float(columns.mean())
    desk.do(ask.Click(0, 1, on, float(rows.mean())))
    desk.do(ask.Click(0, 2, 80.0, 50.0))
    assert said == [(1, on, True), (2, 80.0, True), (2, on, False)]
    desk.do(ask.DeleteObject(1))
    desk.do(ask.Click(0, 2, on, float(rows.mean())))
    assert said[3:] == [(2, on, True)]  # nothing is there to keep it out of


def test_a_click_takes_from_other_objects_only_the_piece_that_was_clicked(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracked = np.zeros((64, 96), np.uint16)
    tracked[10:20, 10:20] = tracked[10:20, 40:50] = 2
    project = desk.session.project
    with project.change(ChangeKind.TRACK) as change:
        change.put(edited_record(desk.session.reader.blank(0), tracked, []), tracked)
    everything = np.ones((64, 96), bool)
    monkeypatch.setattr(Clicker, "click", lambda self, x, y, **_: everything)
    desk.do(ask.Click(0, 1, 15.0, 15.0))
    labels = desk.labels(0)
    assert (labels[10:20, 40:50] == 2).all() and (labels == 2).sum() == 100 and (labels == 1).sum() == 64 * 96 - 100
    assert project.records[0].given == (1, 2)  # object 2 was corrected, too
    desk.paint(0, 2, 0, 0, 60)
    monkeypatch.setattr(Clicker, "click", lambda self, x, y, **_: desk.labels(0) == 2)
    before = desk.labels(0)
    with pytest.raises(InputError, match="no object was found"):
        desk.do(ask.Click(0, 3, 80.0, 5.0))
    assert np.array_equal(desk.labels(0), before)


def test_a_box_leaves_the_objects_in_front(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.paint(0, 2, 10, 10)
    desk.paint(0, 3, 40, 10, 30)
    mask = np.zeros((64, 96), bool)
    mask[5:50, 5:50] = True
    monkeypatch.setattr(Clicker, "box", lambda self, box, **_: mask)
    desk.do(ask.Box(0, 1, 5, 5, 45, 45))
    labels = desk.labels(0)
    assert (labels == 2).sum() == 100 and (labels == 3).sum() == 900 - 300 and (labels == 1).sum() == 45 * 45 - 100
    mask[:] = labels == 2
    with pytest.raises(UsageError, match="another object is already there"):
        desk.do(ask.Box(0, 4, 10, 10, 10, 10))


def test_clicks_make_a_mask_and_one_is_taken_back_alone(desk: Desk) -> None:
    truth = moving_square(FRAMES)[1][0] == 1
    rows, columns = np.nonzero(truth)
    desk.do(ask.Click(0, 1, float(columns.mean()), float(rows.mean())))
    first = desk.labels(0)
    assert first.any()
    desk.do(ask.Rename(1, "mug"))  # it ends no series of clicks
    desk.do(ask.Hide(1, True))
    desk.do(ask.Click(0, 1, 90.0, 5.0, positive=False))
    assert [point[2] for point in desk.told("frame")[-1]["clicks"]] == [True, False]
    desk.do(ask.Undo())
    assert len(desk.told("frame")[-1]["clicks"]) == 1 and np.array_equal(desk.labels(0), first)


def test_a_click_that_changes_nothing_is_told(desk: Desk) -> None:
    desk.paint(0, 1, 10, 10)
    desk.do(ask.Click(0, 1, 90.0, 5.0, positive=False))
    assert "click outside the mask of object 1 changed nothing" in desk.told("notice")[-1]["text"]


def test_the_first_click_on_an_object_that_takes_most_of_another_is_told(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    mask = np.zeros((64, 96), bool)
    monkeypatch.setattr(Clicker, "click", lambda self, x, y, **_: mask)
    desk.paint(0, 1, 10, 10, 30)
    mask[10:24, 10:40] = True  # less than half of it
    desk.do(ask.Click(0, 2, 20.0, 20.0))
    assert not desk.told("notice")
    desk.do(ask.Undo())
    mask[10:34, 10:40] = True
    desk.do(ask.Click(0, 2, 20.0, 20.0))
    assert "object 2 took most of object 1; if it is only a part of that, undo" in desk.told("notice")[-1]["text"]
    told = len(desk.told("notice"))
    mask[34:36, 10:40] = True
    desk.do(ask.Click(0, 2, 30.0, 35.0))  # its user has read it
    assert len(desk.told("notice")) == told


def test_the_first_click_need_not_compute_the_features_of_the_frame(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.paint(2, 1, 10, 10)
    seen, set_frame = [], Clicker.set_frame
    monkeypatch.setattr(Clicker, "set_frame", lambda self, image: seen.append(image) or set_frame(self, image))
    desk.session.warm()
    assert len(seen) == 1
    desk.do(ask.Click(2, 1, 15.0, 15.0))
    assert len(seen) == 1


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (ask.Click(0, 1, 96.0, 5.0), "outside"),
        (ask.Click(0, 1, float("nan"), 5.0), "outside"),
        (ask.Click(0, 1, 5.0, 5.0, positive=False), "first"),
        (ask.Box(0, 1, 200, 10, 20, 20), "box"),
        (ask.Tidy(FRAMES, 1, "fill"), "there is no frame 8"),
        (ask.Tidy(0, 1, "clear"), "no object 1"),
        (ask.Paint(0, 1, 90, 60, 10, 10), "outside"),
        (ask.Track(0, "forward"), "click an object first"),
        (ask.Adapt(), "click an object first"),
        (ask.Rename(9, "x"), "no object 9"),
        (ask.Export("../../etc/passwd"), "choose one of"),
        (ask.Export("masks"), "no masks to export"),
    ],
)
def test_what_cannot_be_done_is_one_sentence_and_changes_nothing(desk: Desk, asked: ask.Request, says: str) -> None:
    with pytest.raises((UsageError, InputError), match=says) as error:
        desk.do(asked, pack_runs(np.ones((10, 10), np.uint16)))
    assert "\n" not in str(error.value)
    assert not desk.session.project.records


def test_the_folder_is_a_result_that_other_commands_take(desk: Desk, video: Path) -> None:
    desk.paint(0, 1, 20, 20, side=20)
    desk.do(ask.Track(0, "forward"))
    desk.session.save()
    folder = OutputFolder(desk.folder)
    report = json.loads(folder.report.read_text())
    assert folder.state() == "finished"
    assert len(report["frames"]) == FRAMES and report["objects"]["1"]["first_frame"] == 0
    assert report["frames"][0]["given"] == [1]
    assert desk.told("advice")
    names = {
        "masks": "masks.zip",
        "overlay": "overlay.mp4",
        "to-labelme": "labelme.zip",
        "to-coco-video": "annotations.json",
    }
    for kind in EXPORTS:
        desk.do(ask.Export(kind))
        done = desk.told("done")[-1]
        assert not done["stopped"] and done["name"] == names.get(kind, done["name"])
        assert export_path(folder, kind).is_file() and ".annotate" not in done["text"]
    assert folder.overlay.is_file() and sorted(folder.exported()) == sorted(WRITERS)
    annotations = json.loads((folder.exports / "coco-video" / "annotations.json").read_text())

    first = coco.decode(annotations["annotations"][0]["segmentations"][0])
    assert np.array_equal(first.astype(bool), desk.labels(0) == 1)
    source, same = open_target(desk.folder, None)
    assert same.root == desk.folder and Path(source.label) == video


def test_an_exported_overlay_is_limited_like_that_of_a_run(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SegmentSettings, "overlay_side", 48)
    desk.paint(0, 1, 20, 20)
    desk.do(ask.Export("overlay"))
    assert {frame.shape for frame in read_video(desk.folder / "overlay.mp4")} == {(32, 48, 3)}


def test_a_result_of_segment_is_opened_and_one_that_was_made_anew_is_read_anew(
    desk: Desk, open_desk: Callable[[], Desk]
) -> None:
    desk.paint(0, 1, 20, 20)
    desk.session.save()
    report = json.loads((desk.folder / "report.json").read_text())
    del report["annotated"]  # as a run of `segment` leaves it
    report["frames"] = report["frames"][:1]
    labels = np.full((64, 96), 2, np.uint16)
    write_label_png(desk.folder / "masks" / "00000.png", labels)
    report["frames"][0]["objects"] = {
        "2": {"area": labels.size, "box": [0, 0, 96, 64], "confidence": 0.9, "lost": False}
    }
    (desk.folder / "report.json").write_text(json.dumps(report))
    again = open_desk()
    assert [entry["id"] for entry in again.session.snapshot()["objects"]] == [2]


def test_a_result_is_continued_with_its_own_settings_unless_others_are_given(desk: Desk, tmp_path: Path) -> None:
    desk.paint(0, 1, 20, 20)
    desk.session.save()  # with min_dim 64
    folder = OutputFolder(desk.folder)
    assert continued_settings(folder, SegmentSettings()).min_dim == 64
    assert continued_settings(folder, SegmentSettings(min_dim=96, history=3)) == SegmentSettings(min_dim=96, history=3)
    assert continued_settings(OutputFolder(tmp_path / "new"), SegmentSettings()) == SegmentSettings()


def test_without_a_display_no_browser_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(webbrowser, "open", lambda url: True)
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    assert not _open_browser("http://127.0.0.1:1/")
    monkeypatch.setenv("DISPLAY", ":0")
    assert _open_browser("http://127.0.0.1:1/")


def test_frames_that_were_away_are_read_again(tmp_path: Path) -> None:
    folder = tmp_path / "frames"
    folder.mkdir()
    for index, frame in enumerate(moving_square(20)[0]):
        Image.fromarray(frame).save(folder / f"{index}.png")
    with open_source(folder) as source:
        reader = FrameReader(source)
        reader.read(0)
        away = folder.rename(tmp_path / "away")
        with pytest.raises(InputError):
            reader.read(1)
        away.rename(folder)
        assert np.array_equal(reader.read(1), moving_square(20)[0][1])


def test_a_video_that_was_away_while_its_project_was_saved_is_not_called_another_one(desk: Desk, video: Path) -> None:
    desk.paint(0, 1, 10, 10)
    away = video.rename(video.with_name("away.mp4"))
    desk.session.save()
    away.rename(video)
    source, _ = open_target(video, desk.folder)
    source.close()


def test_a_damaged_report_is_named(desk: Desk, video: Path) -> None:
    desk.paint(0, 1, 10, 10)
    (desk.folder / "report.json").write_text("{")
    with pytest.raises(InputError, match=r"masks of a result.*report.json should name; it is damaged"):
        open_source(desk.folder)
    for given in (desk.folder, None), (video, desk.folder):
        with pytest.raises(OutputError, match=r"report.json is damaged.*delete it"):
            open_target(*given)
    (desk.folder / "report.json").unlink()
    source, folder = open_target(video, desk.folder)
    source.close()
    desk.session.project.close()
    assert 0 in Project(folder, (source.height, source.width)).records


def test_folders_that_cannot_be_used_say_so(desk: Desk, video: Path, tmp_path: Path) -> None:
    other = write_video(tmp_path / "other.mp4", moving_square(5)[0])
    with pytest.raises(OutputError, match="another video"):
        open_target(other, desk.folder)
    video.rename(tmp_path / "moved.mp4")
    with pytest.raises(InputError, match="hodor annotate VIDEO --out"):
        open_target(desk.folder, None)
    other.rename(video)  # where the result has its video
    with pytest.raises(OutputError, match="another video"):
        open_target(desk.folder, None)
    unfinished = tmp_path / "unfinished.hodor"
    (unfinished / ".progress").mkdir(parents=True)
    (desk.folder / "masks").mkdir(exist_ok=True)
    write_label_png(desk.folder / "masks" / "00000.png", np.ones((48, 64), np.uint16))
    with pytest.raises(InputError, match="holds the masks of a result, which are not frames"):
        open_target(desk.folder / "masks", None)
    source, folder = open_target(video, unfinished)
    with pytest.raises(OutputError, match="resume"):
        Project(folder, (source.height, source.width))


def test_frames_come_in_any_order(video: Path) -> None:
    source, _ = open_target(video, None)
    plain = [frame.image for frame in source]
    reader = FrameReader(source)
    for index in (5, 2, 3, 7, 0, 6):
        assert np.array_equal(reader.read(index), plain[index])
    with pytest.raises(InputError, match="there is no frame 8"):
        reader.read(8)


def test_a_jump_decodes_a_group_of_pictures_and_not_the_video(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = [np.full((48, 64, 3), 2 * index, np.uint8) for index in range(120)]
    options = {"g": "10", "x264-params": "scenecut=0:bframes=0"}
    source, _ = open_target(write_video(tmp_path / "long.mp4", images, 10, options=options), None)
    plain = [frame.image for frame in source]
    decoded = count_decoded(monkeypatch)
    reader = FrameReader(source)
    for index in (100, 35, 119, 64):
        decoded.clear()
        assert np.array_equal(reader.read(index), plain[index])
        assert len(decoded) <= 10
    decoded.clear()
    for index in range(65, 75):  # what follows is read on
        assert np.array_equal(reader.read(index), plain[index])
    assert len(decoded) <= 10


def test_few_frames_are_kept_however_small_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "_KEPT_FRAMES", 5)
    source, _ = open_target(write_video(tmp_path / "clip.mp4", moving_square(12)[0]), None)
    reader = FrameReader(source)
    for index in range(12):
        reader.read(index)
    assert [index for index in range(12) if reader.peek(index) is not None] == [7, 8, 9, 10, 11]


def test_a_frame_that_cannot_be_decoded_is_told(video: Path) -> None:
    source, _ = open_target(video, None)
    reader = FrameReader(source)
    reader.end = 12  # as of a file whose header promises more
    with pytest.raises(InputError, match=r"frame 9 of .*cannot be decoded"):
        reader.read(9)
    assert reader.read(7).any()


def test_a_video_that_changes_its_size_is_scaled_to_the_first_frame_and_says_so(tmp_path: Path, toy: Hodor) -> None:
    video = tmp_path / "both.ts"
    parts = [write_video(tmp_path / f"{width}.ts", moving_square(5, 64, width)[0]) for width in (96, 160)]
    video.write_bytes(b"".join(part.read_bytes() for part in parts))
    source, folder = open_target(video, tmp_path / "project")
    project, reader = Project(folder, (source.height, source.width)), FrameReader(source)
    session = Session(project, reader, toy, SegmentSettings(min_dim=64), lambda *_: None)
    assert {reader.read(index).shape for index in range(reader.start, reader.end)} == {(64, 96, 3)}
    assert reader.end > 5 and "changes its size to 160x64" in " ".join(source.warnings)
    session.do(ask.Paint(0, 1, 20, 20, 20, 20), pack_runs(np.ones((20, 20), np.uint16)))
    session.do(ask.Track(0, "forward"))
    assert sorted(project.records) == list(range(reader.end))
    project.close()


def test_names_and_frames_to_mask_next_are_in_the_report_and_on_the_page(
    desk: Desk, open_desk: Callable[[], Desk]
) -> None:
    desk.paint(0, 1, 20, 20, side=20)
    desk.do(ask.Rename(1, "dog"))
    assert desk.session.snapshot()["suggest"] == []  # where nothing was tracked there is nothing to doubt
    desk.do(ask.Track(0, "forward"))
    desk.session.save()
    report = json.loads((desk.folder / "report.json").read_text())
    assert report["names"] == {"1": "dog"}
    told = desk.told("advice")[-1]["suggest"]
    assert [one["frame"] for one in told] == [one.frame for one in suggested_in(desk.folder)]
    assert told[0]["frame"] > 0 and desk.session.snapshot()["suggest"] == told
    shutil.rmtree(desk.folder / ".annotate")  # as `segment --name` leaves a result
    assert open_desk().session.snapshot()["objects"][0]["name"] == "dog"


def test_messages_of_a_page_are_checked() -> None:
    assert ask.decode_request(
        b'{"do": "paint", "frame": 1, "object": 2, "x": 0, "y": 0, "width": 3, "height": 1}\n\x01\n\x02'
    ) == (
        ask.Paint(1, 2, 0, 0, 3, 1),
        b"\x01\n\x02",
    )
    for bad in (
        "", "[]", "{", '{"do": "open", "path": "/etc/passwd"}',
        '{"do": "click", "frame": -1, "object": 1, "x": 1, "y": 1}',
        '{"do": "click", "frame": 0, "object": 70000, "x": 1, "y": 1}', '{"do": "export", "kind": 3}', b"\xff\xfe",
        '{"do": "rename", "object": 1, "name": "' + "x" * 200 + '"}', "[" * 100_000,
    ):  # fmt: skip
        with pytest.raises(InputError, match="reload it"):
            ask.decode_request(bad)


TOKEN = "secret-token"
OWN = {"host": "127.0.0.1:8000"}


@pytest.mark.parametrize(
    ("path", "headers", "kind", "allowed"),
    [
        (f"/{TOKEN}/", OWN, "http", True),
        (f"/{TOKEN}/frame/3", {"host": "localhost:8000", "origin": "http://localhost:8000"}, "http", True),
        (f"/{TOKEN}/", {"host": "[::1]:8000"}, "http", True),
        (f"/{TOKEN}/socket", OWN | {"origin": "http://127.0.0.1:8000"}, "websocket", True),
        ("/", OWN, "http", False),
        ("/wrong/", OWN, "http", False),
        (f"/{TOKEN}", OWN, "http", False),
        (f"/{TOKEN[:-1]}/", OWN, "http", False),
        ("/tökén/", OWN, "http", False),
        (f"/{TOKEN}/", {"host": "evil.example:8000"}, "http", False),
        (f"/{TOKEN}/", {"host": "127.0.0.1.evil.example"}, "http", False),
        (f"/{TOKEN}/", {}, "http", False),
        (f"/{TOKEN}/", OWN | {"origin": "http://evil.example"}, "http", False),
        (f"/{TOKEN}/", OWN | {"origin": "null"}, "http", False),
        (f"/{TOKEN}/frame/0", OWN | {"sec-fetch-site": "cross-site"}, "http", False),
        (f"/{TOKEN}/socket", OWN | {"origin": "http://127.0.0.1:9000"}, "websocket", False),
        (f"/{TOKEN}/socket", OWN, "websocket", False),
    ],
)
def test_only_the_own_page_gets_in(path: str, headers: dict[str, str], kind: str, allowed: bool) -> None:
    seen: list[str] = []
    sent: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["path"])
        if kind == "http":
            await send({"type": "http.response.start", "status": 200, "headers": []})

    async def receive() -> dict[str, Any]:
        return {"type": f"{kind}.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    raw = [(key.encode(), value.encode()) for key, value in headers.items()]
    asyncio.run(Guard(app, TOKEN)({"type": kind, "path": path, "headers": raw}, receive, send))
    assert seen == ([path.removeprefix(f"/{TOKEN}")] if allowed else [])
    if kind == "http":
        assert sent[0]["status"] == (200 if allowed else 404)
        assert dict(sent[0]["headers"])[b"content-security-policy"].startswith(b"default-src 'none'")
    elif not allowed:
        assert sent == [{"type": "websocket.close", "code": 1008}]


def test_masks_of_a_folder_start_a_project_once(video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "serve", lambda *_: None)
    masks = tmp_path / "given"
    masks.mkdir()
    for index in (0, 4):
        write_label_png(masks / f"{index:05d}.png", moving_square(FRAMES)[1][index].astype(np.uint16))
    out = tmp_path / "project"
    options = opening.AnnotateOptions(out, masks)
    assert opening.annotate_source(video, SegmentSettings(), options, lambda *_: None) == out
    report = json.loads((out / "report.json").read_text())
    assert [frame["given"] for frame in report["frames"]] == [[1], [1]]
    shutil.rmtree(out / ".annotate")  # as a result of `segment`
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    with pytest.raises(OutputError, match="already holds masks"):
        opening.annotate_source(video, SegmentSettings(), options, lambda *_: None)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before
    shutil.rmtree(out)


def test_a_disk_that_is_full_when_the_server_stops_is_one_sentence(
    video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[SessionWorker] = []

    async def served(make: MakeSession) -> None:
        worker = SessionWorker(make)
        Desk(worker.session, tmp_path).paint(0, 1, 10, 10)
        monkeypatch.setattr("hodor_cli.run.finish.replacing", full)
        await worker.close()
        closed.append(worker)  # without an error, which the web server would print as a traceback

    monkeypatch.setattr(Session, "warm", lambda _: None)
    monkeypatch.setattr(opening, "serve", lambda make, *_: asyncio.run(served(make)))
    options = AnnotateOptions(tmp_path / "project")
    with pytest.raises(OutputError, match=r"disk is full.*make room and open the project again"):
        annotate_source(video, SegmentSettings(), options, lambda *_: None)
    assert closed


def test_an_object_painted_by_another_program_is_listed_as_made_by_hand(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "serve", lambda *_: None)
    for frame in (0, 4, 5):
        desk.paint(frame, 1, 20, 20)
    desk.session.save()
    desk.session.project.close()
    shutil.rmtree(desk.folder / ".annotate")  # as a result of `segment`
    report = json.loads((desk.folder / "report.json").read_text())
    report["frames"][0]["given"] = []
    (desk.folder / "report.json").write_text(json.dumps(report))
    for name in ("00004", "00005"):
        labels = read_label_png(desk.folder / "masks" / f"{name}.png")
        labels[:10, :10] = 7
        write_label_png(desk.folder / "masks" / f"{name}.png", labels)
    (desk.folder / "masks" / "00000.png").write_bytes(b"damaged")  # the page says so
    annotate_source(str(desk.folder), SegmentSettings(), AnnotateOptions(), lambda *_: None)
    project = Project(OutputFolder(desk.folder), desk.session.project.size)
    assert sorted(project.objects) == [1, 7]
    assert [(one.given, one.objects[1].area) for _, one in sorted(project.records.items())] == [
        ((), 100),
        ((1, 7), 100),
        ((1, 7), 100),
    ]
    report = json.loads((desk.folder / "report.json").read_text())
    assert report["objects"]["7"]["frames_present"] == 2
    project.travel(-1)
    project.close()
    annotate_source(str(desk.folder), SegmentSettings(), AnnotateOptions(), lambda *_: None)
    project = Project(OutputFolder(desk.folder), desk.session.project.size)
    assert project.history.available() == (False, True)
    project.close()


def test_a_damaged_mask_made_by_hand_is_named_and_the_rest_of_the_project_opens(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "serve", lambda *_: None)
    for frame in (0, 3):
        desk.paint(frame, 1, 10, 10)
    desk.session.save()
    desk.session.project.close()
    mask = desk.folder / "masks" / "00000.png"
    mask.write_bytes(mask.read_bytes()[:50])
    os.utime(mask, (0, 0))  # older than the report
    annotate_source(str(desk.folder), SegmentSettings(), AnnotateOptions(), lambda *_: None)
    (warning,) = json.loads((desk.folder / "report.json").read_text())["warnings"]
    assert warning.startswith(str(mask)) and warning.endswith("to make a new mask, remove the file")
    project = Project(OutputFolder(desk.folder), desk.session.project.size)
    with pytest.raises(InputError, match=r"00000.png cannot be read.*remove the file"):  # tracking must not go on
        inputs_by_hand(project).labels(0)
    assert project.labels(3).any()
    mask.unlink()
    assert not project.labels(0).any()
    project.close()


def test_the_way_out_of_a_damaged_journal_keeps_the_masks(desk: Desk) -> None:
    desk.paint(0, 1, 10, 10)
    desk.session.save()
    desk.session.project.close()
    own, size = desk.folder / ".annotate", desk.session.project.size
    (own / "journal.jsonl").write_text("damaged\n")
    with pytest.raises(OutputError, match=rf"journal.jsonl is damaged.*; delete {re.escape(str(own))}, or choose"):
        Project(OutputFolder(desk.folder), size)
    shutil.rmtree(own)
    project = Project(OutputFolder(desk.folder), size)
    assert project.given_frames() == [0] and project.labels(0).sum() == 100
    project.close()


def test_a_project_that_was_removed_does_not_come_back_without_its_masks(desk: Desk) -> None:
    desk.paint(0, 1, 10, 10)
    shutil.rmtree(desk.folder)
    for edit in (lambda: desk.paint(1, 1, 20, 20), lambda: desk.do(ask.Hide(1, hidden=True)), desk.session.save):
        with pytest.raises(OutputError, match=r"clip\.hodor cannot be written to"):
            edit()
    assert not desk.folder.exists()


def test_a_port_in_use_or_a_missing_mask_is_one_sentence_and_leaves_no_folder(video: Path, tmp_path: Path) -> None:
    with listen("127.0.0.1", 0) as taken, pytest.raises(UsageError, match="is in use; choose another"):
        options = AnnotateOptions(tmp_path / "project", port=taken.getsockname()[1])
        annotate_source(video, SegmentSettings(), options, lambda *_: None)
    with pytest.raises(InputError, match="no mask"):
        annotate_source(
            video, SegmentSettings(), AnnotateOptions(tmp_path / "project", tmp_path / "none"), lambda *_: None
        )
    assert not (tmp_path / "project").exists()
