"""A resumed run ends with the same masks, report and overlay as one that was never interrupted."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from segment_fakes import ColourSegmenter, MemorySource, read_video, two_squares

from hodor_cli.errors import OutputError
from hodor_cli.run import finish
from hodor_cli.run.inputs import RunInputs
from hodor_cli.run.runner import segment_source
from hodor_cli.run.settings import RunHooks, RunOutput, SegmentSettings
from hodor_cli.video.frames import Frame

COUNT = 110  # three pieces of the overlay


class StopError(Exception):
    """Stands for any error that ends a run early."""


def run(
    out: Path, *, stop_at: int | None = None, error: type[BaseException] = StopError, every: float = 0.0, **options
):
    images, first = two_squares(options.pop("count", COUNT))
    segmenter = ColourSegmenter()
    segmenter.warn_at = 30
    masks = options.pop("masks", {0: first})

    def stop(frame, labels):
        if frame.index == stop_at:
            raise error

    return segment_source(
        MemorySource(images, times=options.pop("times", None)),
        RunInputs(masks, options.pop("boxes", {})),
        out,
        segmenter,
        settings=options.pop("settings", None),
        output=RunOutput(checkpoint_seconds=every, **options),
        hooks=RunHooks(on_frame=stop),
    )


def report_of(out: Path) -> dict:
    report = json.loads((out / "report.json").read_text())
    del report["speed"]
    return report


def assert_same_results(one: Path, other: Path) -> None:
    def names(folder: Path) -> list[str]:
        return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))

    assert names(one) == names(other)
    for path in (one / "masks").iterdir():
        assert path.read_bytes() == (other / "masks" / path.name).read_bytes()
    assert report_of(one) == report_of(other)
    assert (one / "overlay.mp4").read_bytes() == (other / "overlay.mp4").read_bytes()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted run."""
    out = tmp_path_factory.mktemp("whole") / "out"
    run(out)
    assert len(read_video(out / "overlay.mp4")) == COUNT
    return out


@pytest.mark.parametrize("stops", [(0,), (1, 5), (47,), (48,), (50, 70, 95), (96, 97, 109), (109,)])
def test_a_run_stopped_anywhere_ends_with_the_same_results(tmp_path: Path, whole: Path, stops: tuple[int, ...]) -> None:
    out = tmp_path / "out"
    for stop_at in stops:
        try:
            run(out, stop_at=stop_at, error=KeyboardInterrupt, resume=True)
        except KeyboardInterrupt:
            pass
    assert not (out / "report.json").exists()
    assert run(out, resume=True).frames == COUNT
    assert_same_results(out, whole)


def test_the_times_of_the_overlay_do_not_depend_on_an_interruption(tmp_path: Path) -> None:
    times = [4e-7 + index / 25 for index in range(12)]
    times[8] = (8 * 512 + 100.502) / 12_800  # near the middle between two ticks
    run(tmp_path / "once", count=12, times=times)
    with pytest.raises(StopError):
        run(tmp_path / "twice", count=12, times=times, stop_at=5)
    run(tmp_path / "twice", count=12, times=times, resume=True)
    assert_same_results(tmp_path / "twice", tmp_path / "once")


def test_frames_after_the_last_checkpoint_are_recomputed(tmp_path: Path, whole: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(StopError):
        run(out, stop_at=20)
    journal = out / ".progress" / "journal.jsonl"
    checkpoint = (out / ".progress" / "checkpoint.npz").read_bytes()
    with pytest.raises(StopError):
        run(out, stop_at=60, resume=True)
    # What a kill leaves: an older checkpoint, a truncated record, a half-written mask.
    (out / ".progress" / "checkpoint.npz").write_bytes(checkpoint)
    journal.write_bytes(journal.read_bytes()[:-20])
    (out / "masks" / ".00061.png.123.tmp").write_bytes(b"half")
    summary = run(out, resume=True)
    assert summary.resumed_from in (20, 21)
    assert_same_results(out, whole)


def test_a_half_written_mask_of_a_box_is_removed_with_the_run(tmp_path: Path) -> None:
    run(tmp_path, count=2)
    (tmp_path / "box_masks").mkdir()
    (tmp_path / "box_masks" / ".00000_id2.png.123.tmp").write_bytes(b"half")
    run(tmp_path, count=2, overwrite=True)
    assert not (tmp_path / "box_masks").exists()


def test_a_kill_while_the_results_are_assembled(tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    for name in ("write_review_page", "write_report"):
        monkeypatch.setattr(finish, name, lambda *_, **__: (_ for _ in ()).throw(StopError()))
        with pytest.raises(StopError):
            run(out, resume=True)
        monkeypatch.undo()
    assert run(out, resume=True).resumed_from == COUNT
    assert_same_results(out, whole)


def test_resuming_a_finished_run_says_so_and_changes_nothing(whole: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in whole.rglob("*")}
    summary = run(whole, resume=True)
    assert summary.already_finished and summary.frames == COUNT and summary.object_ids == (1, 2)
    assert before == {path: path.stat().st_mtime_ns for path in whole.rglob("*")}


def test_resuming_nothing_starts_from_the_first_frame(tmp_path: Path) -> None:
    assert run(tmp_path / "out", resume=True, count=5).resumed_from == 0


def test_other_settings_or_inputs_are_refused_and_named(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(StopError):
        run(out, stop_at=20)
    _, first = two_squares(1)
    other = np.where(first == 2, 3, first).astype(np.uint16)
    cases = [
        ({"settings": SegmentSettings(history=3)}, "history \\(7 then, 3 now\\)"),
        ({"settings": SegmentSettings(overlay=False)}, "overlay \\(on then, off now\\)"),
        ({"settings": SegmentSettings(min_dim=256)}, "min-dim \\(default then, 256 now\\)"),
        ({"masks": {0: other}}, "the mask of frame 0"),
        ({"masks": {0: first, 4: first}}, "the mask of frame 4"),
        ({"boxes": {2: {5: (0, 0, 9, 9)}}}, "the box of frame 2"),
    ]
    for options, words in cases:
        with pytest.raises(OutputError, match=words):
            run(out, resume=True, **options)
    own = out / ".progress" / "run.json"
    written = own.read_text()
    changed = json.loads(written)
    changed["weights"]["fingerprint"] = "of an adapted copy"
    own.write_text(json.dumps(changed))
    with pytest.raises(OutputError, match=r"the weights \(mini, changed since, or adapted to other masks\)"):
        run(out, resume=True)
    own.write_text(written)
    assert run(out, resume=True).resumed_from in (20, 21)


def test_a_run_of_a_version_without_overlay_side_keeps_the_size_of_its_overlay(tmp_path: Path) -> None:
    for size, fits in ((64, True), (2000, False)):
        out, (images, first) = tmp_path / str(size), two_squares(3, width=size)
        source, inputs, keeping = MemorySource(images), RunInputs({0: first}), RunOutput(checkpoint_seconds=0)
        with pytest.raises(StopError):
            segment_source(source, inputs, out, ColourSegmenter(), output=keeping, hooks=RunHooks(on_frame=_stop_at_1))
        own = out / ".progress" / "run.json"
        written = json.loads(own.read_text())
        del written["settings"]["overlay_side"]
        own.write_text(json.dumps(written))
        if not fits:
            with pytest.raises(OutputError, match=r"overlay-side \(2000 then, 1920 now\)"):
                segment_source(source, inputs, out, ColourSegmenter(), output=RunOutput(resume=True))
        settings = None if fits else SegmentSettings(overlay_side=2000)
        segment_source(source, inputs, out, ColourSegmenter(), settings=settings, output=RunOutput(resume=True))
        assert {frame.shape for frame in read_video(out / "overlay.mp4")} == {images[0].shape}


def _stop_at_1(frame: Frame, labels: np.ndarray) -> None:
    if frame.index == 1:
        raise StopError


def test_overwrite_replaces_an_unfinished_run(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(StopError):
        run(out, stop_at=30)
    with pytest.raises(OutputError, match=r"unfinished run.*`resume`.*`overwrite`"):
        run(out)
    run(out, overwrite=True, count=5)
    assert len(list((out / "masks").iterdir())) == 5 and not (out / ".progress").exists()


def test_an_interrupted_overwrite_does_not_look_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    run(out, count=20)
    genuine = Path.unlink

    def unlink(path, missing_ok=False):
        if path.name == "00010.png":
            raise StopError
        genuine(path, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", unlink)
    with pytest.raises(StopError):
        run(out, count=5, overwrite=True)
    monkeypatch.undo()
    assert run(out, count=5, resume=True).frames == 5
    assert len(list((out / "masks").iterdir())) == 5


KILLED = """
import sys, time
sys.path.insert(0, sys.argv[2])
from pathlib import Path
import test_segment_resume as t
from segment_fakes import ColourSegmenter
step = ColourSegmenter.step
ColourSegmenter.step = lambda self, frame, masks=None, **at: (time.sleep(0.004), step(self, frame, masks, **at))[1]
t.run(Path(sys.argv[1]), resume=True, every=0.02)
"""


def test_killed_with_signal_9_again_and_again(tmp_path: Path, whole: Path) -> None:
    out = tmp_path / "out"
    kills = 0
    for wait in (0.05, 0.25, 0.12, 0.3, 0.2):
        command = [sys.executable, "-c", KILLED, str(out), str(Path(__file__).parent)]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        deadline = time.monotonic() + 60
        while not (out / ".progress").exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.005)
        time.sleep(wait)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            kills += 1
        _, stderr = process.communicate()
        assert process.returncode in (0, -signal.SIGKILL), stderr.decode()
    assert kills
    run(out, resume=True)
    assert_same_results(out, whole)
