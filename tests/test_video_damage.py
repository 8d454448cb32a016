"""Damaged video files: which frames are missing, that the others keep their numbers and times, and what is told."""

from __future__ import annotations

import errno
import re
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
from test_video_source import write
from video_fakes import damaged

from hodor_cli.video import decoding
from hodor_cli.video.container import is_torn
from hodor_cli.video.damage import Damage, SentPackets, frames_text
from hodor_cli.video.source import open_source

# With several threads, the H.264 encoder now and then writes other bytes.
FORMATS: dict[str, dict[str, Any]] = {
    "clip.avi": {"codec": "mjpeg", "pixels": "yuvj420p"},
    "clip.mp4": {"options": {"g": "8", "bf": "2", "threads": "1"}},
    "clip.mkv": {"codec": "mjpeg", "pixels": "yuvj420p"},
    "clip.webm": {"codec": "libvpx-vp9", "options": {"g": "8"}},
    "clip.ts": {"options": {"g": "8", "bf": "0", "threads": "1"}},
}


def clip(folder: Path, name: str, count: int = 24) -> Path:
    try:
        return write(folder / name, count, noise=True, **FORMATS[name])
    except (ValueError, av.error.FFmpegError) as error:
        pytest.skip(f"this PyAV cannot write {name}: {error}")


@pytest.mark.parametrize(("name", "skip"), [("clip.avi", 0), ("clip.mp4", 0), ("clip.mkv", 20)])
def test_a_frame_that_cannot_be_decoded_shows_the_one_before_and_later_ones_keep_their_numbers(
    tmp_path: Path, name: str, skip: int
) -> None:
    path = damaged(clip(tmp_path, name), 12, skip=skip)
    source = open_source(path)
    frames = list(source)
    assert [frame.index for frame in frames] == list(range(24))
    assert [frame.time for frame in frames] == pytest.approx([i / 10 for i in range(24)])
    (said,) = source.warnings
    (lost,) = [b.index for a, b in pairwise(frames) if np.array_equal(a.image, b.image)]
    assert f"frame {lost} could not be decoded, so the previous frame is shown" in said and 11 <= lost <= 13
    list(source)
    assert source.warnings == [said]  # however often it is read
    jumping = open_source(path)  # which has not seen the damage
    for index in (4, lost, 15, 23):
        (jumped,) = jumping.between(index, index + 1)
        assert jumped.index == index and jumped.time == pytest.approx(index / 10)
        assert np.array_equal(jumped.image, frames[index].image)
        assert (jumping.warnings == [said]) == (index >= lost)


@pytest.mark.parametrize("number", [errno.ENOMEM, errno.EAGAIN])  # the latter if no thread can be started
def test_a_lack_of_memory_is_not_called_damage_of_the_file(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def decode(packet: object) -> None:
        av.error.err_check(-number)

    container: Any = None
    stream: Any = SimpleNamespace(codec_context=SimpleNamespace(decode=decode))
    monkeypatch.setattr(decoding, "packets_of", lambda *_: iter(()))
    with pytest.raises(MemoryError):
        list(decoding._decode(container, stream, Damage(), SentPackets(1)))


def test_a_file_that_is_still_being_written_is_told(tmp_path: Path) -> None:
    path = clip(tmp_path, "clip.ts")
    source = open_source(path)
    frames = iter(source)
    next(frames)
    with path.open("ab") as file:
        file.write(bytes(188))
    list(frames)
    assert any("clip.ts grew while it was read" in said for said in source.warnings)


def test_frames_that_the_decoder_completed_are_named(tmp_path: Path) -> None:
    source = open_source(damaged(clip(tmp_path, "clip.mp4"), 12, 20, skip=400))
    assert len(list(source)) == 24
    # Another version of the encoder may write other bytes, in which one of the faults changes no picture noticeably.
    assert re.search("the decoder filled in missing parts of frames? (1[123]|2[012])", source.warnings[0])


def test_what_is_lost_at_the_beginning_and_at_the_end_is_told_and_all_readings_agree(tmp_path: Path) -> None:
    path = damaged(clip(tmp_path, "clip.mp4"), 0)
    source = open_source(path)
    frames = list(source)
    assert 14 <= len(frames) < 24 and frames[0].time == 0
    assert f"begins with {24 - len(frames)} frames that cannot be decoded; frame 0 is the first one that" in str(
        source.warnings
    )
    assert source.length == source.count_up_to(99) == open_source(path).length == len(frames)
    (jumped,) = open_source(path).between(9, 10)
    assert jumped.index == 9 and np.array_equal(jumped.image, frames[9].image)

    source = open_source(damaged(clip(tmp_path, "clip.avi"), 23))
    assert len(list(source)) == 23 and "1 frame at its end could not be decoded" in source.warnings[0]


@pytest.mark.parametrize("name", ["clip.mkv", "clip.webm", "clip.ts"])
def test_packets_that_the_file_has_lost_are_told_by_their_times(tmp_path: Path, name: str) -> None:
    whole = clip(tmp_path, name)
    assert not is_torn(whole)
    source = open_source(whole)
    assert len(list(source)) == 24 and source.warnings == []
    source = open_source(damaged(whole, 10))
    frames = list(source)
    assert len(frames) < 24 and [frame.index for frame in frames] == list(range(len(frames)))
    (at,) = [b.index for a, b in pairwise(frames) if b.time - a.time > 0.15]
    jump = frames[at].time - frames[at - 1].time - 0.1
    assert f"{jump:.2g} s before frame {at} are missing; the remaining frames are numbered" in str(source.warnings)


def test_a_file_that_is_cut_off_anywhere_is_torn(tmp_path: Path) -> None:
    whole, cut = clip(tmp_path, "clip.mkv"), tmp_path / "cut.mkv"
    content = whole.read_bytes()
    last_block = content.rindex(b"\xa3")
    for length in (*range(100, 900), *range(last_block, last_block + 12)):
        cut.write_bytes(content[:length])
        assert is_torn(cut) or length < 900  # the head may end between two elements


def test_a_varying_rate_is_no_damage(tmp_path: Path) -> None:
    for name in ("a.mp4", "a.mkv"):
        source = open_source(write(tmp_path / name, 6, times_ms=[0, 40, 200, 210, 900, 1500]))
        assert len(list(source)) == 6 and source.warnings == []


@pytest.mark.parametrize("share", [0.6, 0.75, 0.9])
def test_a_varying_rate_in_a_file_that_is_cut_off_is_no_damage(tmp_path: Path, share: float) -> None:
    times = [0, 40, 200, 210, 900, 1500, 1540, 1580, 2000, 2100, 2500, 2600]
    path = write(tmp_path / "a.mkv", 12, times_ms=times, codec="ffv1")
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    source = open_source(path)
    assert 1 < len(list(source)) < 12
    (warning,) = source.warnings
    assert "is cut off" in warning


def test_the_time_before_the_first_frame_is_not_counted_as_lost(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mkv", 30, times_ms=[100 * index for index in range(25, 55)], codec="ffv1")
    assert open_source(path).length == 30
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    source = open_source(path)
    count = len(list(source))
    assert 10 < count < 25
    (warning,) = source.warnings
    assert f"{count} frames could be read, about {30 - count} more " in warning


def test_numbers_of_frames_are_joined_to_runs() -> None:
    assert frames_text([7]) == "frame 7"
    assert frames_text([3, 7, 8, 9, 11]) == "frames 3, 7-9, 11"
    assert frames_text(range(0, 40, 2)).endswith("12, 14 and later ones, 20 in all")
