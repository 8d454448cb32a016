"""Running a segmenter over a source: the contents of the result folder, and what happens on errors."""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from segment_fakes import COLOURS, ColourSegmenter, MemorySource, read_video, two_squares

from hodor_cli.errors import InputError, OutputError, UsageError
from hodor_cli.images.label_png import read_label_png, write_label_png
from hodor_cli.records import Click
from hodor_cli.run import results
from hodor_cli.run.exporting import ExportOptions, export_result
from hodor_cli.run.inputs import RunInputs
from hodor_cli.run.runner import segment_source
from hodor_cli.run.settings import RunHooks, RunOutput, SegmentSettings
from hodor_cli.video.frames import Frame


def run(out: Path, count: int = 10, **options):
    images, first = two_squares(count)
    masks = options.pop("masks", {0: first})
    source = options.pop("source", None) or MemorySource(images)
    segmenter = options.pop("segmenter", None) or ColourSegmenter()
    inputs = RunInputs(masks, options.pop("boxes", {}), options.pop("removals", {}))
    hooks = RunHooks(**{name: options.pop(name) for name in ("progress", "on_frame", "on_step") if name in options})
    settings = options.pop("settings", None)
    return segment_source(source, inputs, out, segmenter, settings=settings, output=RunOutput(**options), hooks=hooks)


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_a_run_writes_masks_overlay_and_report_and_nothing_else(tmp_path: Path) -> None:
    summary = run(tmp_path / "out", 10)
    masks = [f"masks/{index:05d}.png" for index in range(10)]
    assert files(tmp_path / "out") == ["masks", *masks, "overlay.mp4", "report.json", "review.html"]
    assert summary.frames == 10 and summary.object_ids == (1, 2)
    assert set(summary.files) == {"masks", "overlay", "report", "review"}


def test_masks_are_exactly_what_the_segmenter_returned(tmp_path: Path) -> None:
    seen = {}
    run(tmp_path / "out", 6, on_frame=lambda frame, labels: seen.update({frame.name: labels.copy()}))
    for name, labels in seen.items():
        assert np.array_equal(read_label_png(tmp_path / "out" / "masks" / f"{name}.png"), labels)
    assert list(seen) == [f"{index:05d}" for index in range(6)]


def test_report_has_every_object_of_every_frame(tmp_path: Path) -> None:
    run(tmp_path / "out", 12, settings=SegmentSettings(weights="some-weights", history=5))
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert [frame["frame"] for frame in report["frames"]] == list(range(12))
    first = report["frames"][0]["objects"]["1"]
    assert first == {"area": 144, "box": [2, 6, 12, 12], "confidence": 1.0, "lost": False}
    assert report["frames"][0]["given"] == [1, 2]
    assert report["weights"]["name"] == "some-weights" and report["settings"]["history"] == 5
    assert report["source"]["size"] == [48, 64]
    assert report["speed"]["frames"] == 12 and report["speed"]["frames_per_second"] > 0
    assert report["objects"]["2"]["frames_present"] == 12


def test_frames_to_review_are_named_with_a_reason(tmp_path: Path) -> None:
    images, first = two_squares(12)
    for image in images[5:8]:
        image[24:36, 30:] = 120  # the blue square is gone for three frames
    summary = run(tmp_path / "out", source=MemorySource(images), masks={0: first})
    lost = [item for item in summary.review if item.reason == "lost"]
    assert [(item.object_id, item.first_frame, item.last_frame) for item in lost] == [(2, 5, 7)]
    assert any(item.reason == "returned" and item.first_frame == 8 for item in summary.review)
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    entry = next(item for item in report["review"] if item["reason"] == "lost")
    assert (entry["object"], entry["first_frame"], entry["last_frame"]) == (2, 5, 7)
    assert report["frames"][6]["objects"]["2"] == {"area": 0, "box": None, "confidence": 0.0, "lost": True}


def test_overlay_has_every_frame_at_the_source_s_rate(tmp_path: Path) -> None:
    import av

    images, first = two_squares(110)  # three pieces
    run(tmp_path / "out", source=MemorySource(images, fps=30000 / 1001), masks={0: first})
    with av.open(str(tmp_path / "out" / "overlay.mp4")) as container:
        stream = container.streams.video[0]
        frames = list(container.decode(stream))
        assert stream.codec_context.name == "h264"
        assert float(stream.average_rate) == pytest.approx(30000 / 1001, rel=1e-4)
        assert [frame.time for frame in frames] == pytest.approx(
            [index * 1001 / 30000 for index in range(110)], abs=1e-4
        )
    last = frames[109].to_ndarray(format="rgb24")
    assert last.shape == images[0].shape
    assert np.abs(last.astype(int) - images[109]).mean() < 30


def test_overlay_keeps_the_times_of_a_variable_frame_rate(tmp_path: Path) -> None:
    import av

    images, first = two_squares(60)
    times = [index * 0.04 + (1.0 if index >= 30 else 0.0) for index in range(60)]  # a pause of a second
    run(tmp_path / "out", source=MemorySource(images, times=times), masks={0: first})
    with av.open(str(tmp_path / "out" / "overlay.mp4")) as container:
        assert [frame.time for frame in container.decode(video=0)] == pytest.approx(times, abs=1e-3)


@pytest.mark.parametrize(("settings", "shown"), [({}, (960, 1920)), ({"overlay_side": 640}, (320, 640))])
def test_large_frames_are_scaled_down_in_the_overlay_alone(tmp_path: Path, settings: dict, shown: tuple) -> None:
    images, first = ([np.kron(x, np.ones((20, 20) + (1,) * (x.ndim - 2), x.dtype))] for x in _wide_frame())
    run(tmp_path / "out", source=MemorySource(images), masks={0: first[0]}, settings=SegmentSettings(**settings))
    assert read_label_png(tmp_path / "out" / "masks" / "00000.png").shape == (1200, 2400)
    (frame,) = read_video(tmp_path / "out" / "overlay.mp4")
    assert frame.shape[:2] == shown
    assert tuple(frame[shown[0] // 2, shown[1] // 2] > 150) == (True, False, False)  # red paint in the middle


def _wide_frame() -> tuple[np.ndarray, np.ndarray]:
    """A grey frame of 60x120 with a red square in its middle, and the square's label map."""
    image, labels = np.full((60, 120, 3), 120, np.uint8), np.zeros((60, 120), np.uint16)
    image[20:40, 50:70], labels[20:40, 50:70] = COLOURS[1], 1
    return image, labels


def test_without_overlay(tmp_path: Path) -> None:
    summary = run(tmp_path / "out", 4, settings=SegmentSettings(overlay=False))
    assert not (tmp_path / "out" / "overlay.mp4").exists() and "overlay" not in summary.files


def test_objects_may_start_late_and_on_a_box(tmp_path: Path) -> None:
    images, first = two_squares(8)
    late = np.zeros_like(first)
    late[first == 1] = 40000
    images[3] = images[0]
    boxes = {2: {7: (24 + 10, 22, 20, 18)}}
    summary = run(tmp_path / "out", source=MemorySource(images), masks={3: late}, boxes=boxes)
    assert summary.object_ids == (7, 40000)
    assert not read_label_png(tmp_path / "out" / "masks" / "00001.png").any()
    made = read_label_png(tmp_path / "out" / "box_masks" / "00002_id7.png")
    assert set(np.unique(made)) == {0, 7} and 100 < (made == 7).sum() < 200
    assert (read_label_png(tmp_path / "out" / "masks" / "00003.png") == 40000).sum() == 144


def test_notes_of_a_hook_are_listed_for_review(tmp_path: Path) -> None:
    def hook(frame, step, segmenter):
        assert step is segmenter.last
        return [(1, "drift", "far")] if frame.index == 2 else None

    summary = run(tmp_path / "out", 4, on_step=hook)
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["frames"][2]["review"] == [{"object": 1, "reason": "drift", "detail": "far"}]
    assert any(item.reason == "drift" and item.first_frame == item.last_frame == 2 for item in summary.review)


def test_progress_counts_up(tmp_path: Path) -> None:
    calls = []
    run(tmp_path / "out", 5, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(index, 5) for index in range(1, 6)]


def test_progress_of_a_resumed_run_starts_where_it_stopped_and_before_frames_are_read(tmp_path: Path) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    calls: list[tuple[int, int | None]] = []

    class Watched(MemorySource):
        def __iter__(self) -> Iterator[Frame]:
            assert calls == [(1, 5)]
            return super().__iter__()

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "out", 5, on_frame=stop)
    source = Watched(two_squares(5)[0])
    run(tmp_path / "out", 5, resume=True, source=source, progress=lambda *call: calls.append(call))
    assert calls == [(index, 5) for index in range(1, 6)]


def test_an_existing_result_is_not_touched_unless_asked(tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(out, 6)
    before = {name: (out / name).stat().st_mtime_ns for name in files(out)}
    with pytest.raises(OutputError, match=r"`resume`.*`overwrite`"):
        run(out, 3)
    assert before == {name: (out / name).stat().st_mtime_ns for name in files(out)}


def test_overwrite_removes_the_old_results_and_only_them(tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(out, 6)
    export_result(out, ["png", "csv", "yolo"])
    (out / "notes.txt").write_text("mine")
    (out / "masks" / "mine.png").write_bytes(b"mine")
    (out / "export" / "yolo" / "labels" / "mine.txt").write_text("mine")
    run(out, 3, overwrite=True)
    masks = [f"masks/{index:05d}.png" for index in range(3)]
    kept = ["export", "export/yolo", "export/yolo/labels", "export/yolo/labels/mine.txt"]
    made = ["masks", *masks, "masks/mine.png", "notes.txt", "overlay.mp4", "report.json", "review.html"]
    assert files(out) == kept + made


def test_exports_outside_of_the_folder_are_kept(tmp_path: Path) -> None:
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    run(out, 2)
    export_result(out, ["csv"], ExportOptions(out=elsewhere))
    (out / "export").symlink_to(elsewhere, target_is_directory=True)
    run(out, 2, overwrite=True)
    assert (elsewhere / "csv" / "tracks.csv").is_file()


def test_a_folder_with_other_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"x")
    for options in ({}, {"overwrite": True}, {"resume": True}):
        with pytest.raises(OutputError, match="other files"):
            run(tmp_path, 3, **options)
    assert files(tmp_path) == ["photo.jpg"]
    with pytest.raises(OutputError, match="is a file"):
        run(tmp_path / "photo.jpg", 3)


@pytest.mark.parametrize("kind", ["size", "empty", "past the end", "box", "none"])
def test_inputs_that_do_not_fit_leave_nothing(tmp_path: Path, kind: str) -> None:
    _, first = two_squares(3)
    options = {
        "size": {"masks": {0: first[:, :-1]}},
        "empty": {"masks": {0: np.zeros_like(first)}},
        "past the end": {"masks": {0: first, 3: first}},
        "box": {"masks": {}, "boxes": {0: {1: (60, 0, 10, 10)}}},
        "none": {"masks": {}},
    }[kind]
    words = {"size": "63x48.*64x48", "past the end": "no frame 3", "box": "outside", "none": "`mask`"}.get(kind, kind)
    with pytest.raises((InputError, UsageError), match=words):
        run(tmp_path / "out", 3, **options)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("factor", "said"), [(-1, "object id -1 "), (70_000, "object id 70000 "), (1.0, "is float64")])
def test_masks_that_are_not_ids_are_refused(tmp_path: Path, factor: float, said: str) -> None:
    with pytest.raises(InputError, match=said):
        run(tmp_path / "out", 3, masks={0: (two_squares(3)[1] == 1) * factor})
    assert not (tmp_path / "out").exists()


def test_ids_and_frames_may_be_numpys_integers(tmp_path: Path) -> None:
    _, first = two_squares(4)
    one, three = np.int64(1), np.int64(3)
    run(tmp_path / "out", 4, masks={np.int64(0): first}, boxes={one: {three: (2, 2, 9, 9)}}, removals={three: [one]})
    clicks: Any = {one: {three: [(np.int64(8), 9), (1, 2, False)]}}
    assert RunInputs(clicks=clicks).clicks == {1: {3: (Click(8, 9), Click(1, 2, False))}}
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["removals"] == {"3": [1]} and report["boxes"] == {"1": {"3": [2, 2, 9, 9]}}
    run(tmp_path / "out", 4, removals={3: (one,)}, overwrite=True)
    clicks = {1: {3: np.array([[8, 9]])}, 2: {3: [(8, one, np.bool_(False))]}}
    msgspec.json.encode(RunInputs(clicks=clicks).clicks)


def test_a_source_that_ends_before_the_first_mask_leaves_nothing(tmp_path: Path) -> None:
    images, first = two_squares(5)
    source = MemorySource(images)
    source.has_frame = lambda index: True  # the header promised more
    with pytest.raises(InputError, match="no frame 9"):
        run(tmp_path / "out", source=source, masks={9: first}, checkpoint_seconds=0.0)
    assert not (tmp_path / "out").exists()
    summary = run(tmp_path / "out", source=source, masks={0: first, 9: first})
    assert "9" in summary.warnings[0]
    known = ColourSegmenter()  # it follows an object from elsewhere
    known.step(images[0], first)
    summary = run(tmp_path / "out", source=source, masks={}, removals={9: [1]}, segmenter=known, overwrite=True)
    assert summary.frames == 5 and "9" in summary.warnings[0]


def test_an_error_of_the_source_surfaces_and_can_be_resumed_from(tmp_path: Path) -> None:
    images, first = two_squares(20)

    class Breaking(MemorySource):
        def __iter__(self):
            for frame in super().__iter__():
                if frame.index == 12:
                    raise InputError("the disk went away")
                yield frame

    with pytest.raises(InputError, match="went away"):
        run(tmp_path / "out", source=Breaking(images), masks={0: first}, checkpoint_seconds=0.0)
    assert run(tmp_path / "out", 20, resume=True).resumed_from == 12


def test_a_failure_before_the_first_checkpoint_leaves_nothing(tmp_path: Path) -> None:
    class Failing(ColourSegmenter):
        def step(self, frame, masks=None, *, time=None):
            raise InputError("this mask cannot be used")

    with pytest.raises(InputError):
        run(tmp_path / "out", 5, segmenter=Failing())
    assert not (tmp_path / "out").exists()


def test_a_full_disk_is_one_sentence_and_can_be_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    genuine = write_label_png

    def full(path, labels):
        if path.name == "00007.png":
            raise OutputError("cannot be written") from OSError(errno.ENOSPC, "No space left on device")
        genuine(path, labels)

    monkeypatch.setattr(results, "write_label_png", full)
    with pytest.raises(OutputError, match=r"disk is full.*`resume`"):
        run(tmp_path / "out", 20, checkpoint_seconds=0.0)
    monkeypatch.undo()
    assert run(tmp_path / "out", 20, resume=True).resumed_from == 7
    run(tmp_path / "whole", 20)
    for path in (tmp_path / "whole" / "masks").iterdir():
        assert path.read_bytes() == (tmp_path / "out" / "masks" / path.name).read_bytes()
    assert (tmp_path / "whole" / "overlay.mp4").read_bytes() == (tmp_path / "out" / "overlay.mp4").read_bytes()


def test_odd_sizes_are_padded_to_even(tmp_path: Path) -> None:
    images, first = two_squares(4, height=47, width=63)
    run(tmp_path / "out", source=MemorySource(images), masks={0: first})
    assert read_video(tmp_path / "out" / "overlay.mp4")[0].shape == (48, 64, 3)


def test_ctrl_c_ends_a_camera_run_with_complete_results(tmp_path: Path) -> None:
    images, first = two_squares(30)
    source = MemorySource(images)
    source.kind = "camera"

    def stop(frame, labels):
        if frame.index == 9:
            raise KeyboardInterrupt

    summary = run(tmp_path / "out", source=source, masks={0: first}, on_frame=stop)
    assert summary.frames == 10 and len(read_video(tmp_path / "out" / "overlay.mp4")) == 10
    with pytest.raises(UsageError, match="camera"):
        run(tmp_path / "out", source=source, masks={0: first}, resume=True)
