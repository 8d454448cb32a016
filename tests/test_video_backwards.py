"""Frames from the middle of a source, and from its last to its first: the same pictures and times as read forward."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from conftest import write_video

import hodor_cli.video.frames as piecewise
from hodor_cli.video.file import VideoFileSource
from hodor_cli.video.frames import backwards
from hodor_cli.video.source import open_source


def write(path: Path, codec: str, options: dict[str, str], count: int = 40) -> Path:
    images = [np.full((48, 64, 3), 5 * index, np.uint8) for index in range(count)]
    for index, image in enumerate(images):
        image[10:20, index : index + 12] = (255, 40, 90)
    return write_video(path, images, 10, codec=codec, options=options)


def assert_same(found: list, expected: list) -> None:
    assert [frame.index for frame in found] == [frame.index for frame in expected]
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one.image, other.image)
        assert one.time == pytest.approx(other.time, abs=1e-9) and one.name == other.name


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("closed.mp4", "libx264", {"g": "12"}),
        ("open.mp4", "libx264", {"g": "12", "x264-params": "open-gop=1:bframes=3"}),
        ("one.mkv", "libx264", {"g": "1000"}),
        ("old.avi", "mpeg4", {"g": "7"}),
    ],
)
def test_a_video_reads_the_same_from_its_middle_and_backward(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, codec: str, options: dict[str, str]
) -> None:
    monkeypatch.setattr(piecewise, "_HELD", 9 * 48 * 64 * 3)
    with open_source(write(tmp_path / name, codec, options)) as source:
        forward = list(source)
        assert_same(list(source.between(17, 30)), forward[17:30])
        assert_same(list(backwards(source, 0, len(forward))), forward[::-1])


def test_start_and_end_hold_in_the_middle_too(tmp_path: Path) -> None:
    with open_source(write(tmp_path / "clip.mp4", "libx264", {"g": "8"}), start=10, end=20) as source:
        assert [frame.index for frame in source.between(0, 99)] == list(range(10, 20))


def test_only_a_piece_of_the_video_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_source(write(tmp_path / "clip.mp4", "libx264", {"g": "8", "x264-params": "scenecut=0"})) as source:
        monkeypatch.setattr(VideoFileSource, "_frames", None)  # reading from the start
        assert [frame.index for frame in source.between(33, 35)] == [33, 34]


@pytest.mark.parametrize("cut", [7, 25])  # before and after a second keyframe
def test_a_trimmed_video_is_read_from_its_middle_and_counts_only_what_players_show(
    cut: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trimmed without encoding: the file keeps all frames, and an edit list leaves the first ones out."""
    trimmed = tmp_path / "trimmed.mp4"
    with (
        av.open(str(write(tmp_path / "clip.mp4", "libx264", {"g": "12", "x264-params": "scenecut=0"}))) as clip,
        av.open(str(trimmed), "w", options={"use_editlist": "1"}) as file,
    ):
        stream = file.add_stream_from_template(clip.streams.video[0])
        for packet in clip.demux(video=0):
            if packet.size:
                shift = round(Fraction(cut, 10) / packet.time_base)
                packet.pts, packet.dts, packet.stream = packet.pts - shift, packet.dts - shift, stream
                file.mux(packet)
    with open_source(trimmed) as source:
        assert source.length == 40 - cut
        forward = list(source)
        assert len(forward) == 40 - cut and forward[0].time == 0 and source.warnings == []
        with open_source(tmp_path / "clip.mp4") as whole:
            np.testing.assert_array_equal(forward[0].image, list(whole)[cut].image)
        monkeypatch.setattr(VideoFileSource, "_frames", None)  # reading from the start
        assert_same(list(source.between(2, 40 - cut)), forward[2:])
