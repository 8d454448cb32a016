"""What is made of a video codes colours as the video does, and has its sound."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from command import hodor
from conftest import one_sentence
from segment_fakes import ColourSegmenter, two_squares
from test_video_overlay import heard, with_sound

from hodor_cli.errors import InputError
from hodor_cli.run.exporting import ExportOptions, export_result
from hodor_cli.run.inputs import RunInputs
from hodor_cli.run.runner import segment_source
from hodor_cli.video import sound
from hodor_cli.video.h264 import VideoWriter
from hodor_cli.video.source import open_source
from hodor_cli.video.yuv import Colours

SCALERS = {1: 1, 2: 5, 6: 5, 9: 9}
LIMITED, FULL = 1, 2


def coded(path: Path, span: int, matrix: int, count: int = 3) -> Path:
    """An H.264 file whose colours are coded in one of many ways; matrix 2 says nothing about it."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt, stream.options = 48, 64, "yuv420p", {"crf": "1", "bf": "0"}
        context = stream.codec_context
        context.colorspace = context.color_primaries = context.color_trc = matrix
        context.color_range = span
        for index, image in enumerate(two_squares(count)[0]):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame = frame.reformat(format="yuv420p", dst_colorspace=SCALERS[matrix], dst_color_range=span)
            frame.pts, frame.time_base = index, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def first(path: Path) -> tuple[tuple[int, ...], list[np.ndarray]]:
    """How a video says that its colours are coded, and the planes of its first frame."""
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
        context = container.streams.video[0].codec_context
        planes = [np.frombuffer(plane, np.uint8).reshape(plane.height, -1)[:, : plane.width] for plane in frame.planes]
        tags = (int(frame.color_range), int(frame.colorspace), int(context.color_primaries), int(context.color_trc))
        return tags, [plane.astype(int) for plane in planes]


@pytest.mark.parametrize("span", [LIMITED, FULL])
@pytest.mark.parametrize("matrix", SCALERS)
def test_written_videos_have_the_source_s_values_of_colour(tmp_path: Path, span: int, matrix: int) -> None:
    with open_source(coded(tmp_path / "a.mp4", span, matrix)) as source:
        assert source.colours == Colours(span == FULL, matrix, matrix, matrix)
        with VideoWriter(tmp_path / "b.mp4", source.fps, colours=source.colours) as writer:
            for frame in source:
                writer.write(frame.image)
    (tags, planes), (then, wanted) = first(tmp_path / "b.mp4"), first(tmp_path / "a.mp4")
    assert tags[1:] == then[1:] and (tags[0] == FULL) == (span == FULL)
    assert all(np.abs(plane - want).mean() < 2.5 for plane, want in zip(planes, wanted, strict=True))


def tagged(path: Path, matrix: int, transfer: int = 2) -> Path:
    """A red H.264 file whose tags name a matrix and a transfer curve, by which its values are not coded."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        stream.codec_context.colorspace, stream.codec_context.color_trc = matrix, transfer
        red = av.VideoFrame.from_ndarray(np.full((48, 64, 3), (200, 40, 30), np.uint8), format="rgb24")
        container.mux(stream.encode(red.reformat(format="yuv420p", dst_colorspace=SCALERS[1], dst_color_range=LIMITED)))
        container.mux(stream.encode(None))
    return path


def test_bt2020_with_constant_luminance_is_read_as_bt2020(tmp_path: Path) -> None:
    pictures = []
    for matrix in (9, 10):
        with open_source(tagged(tmp_path / f"{matrix}.mp4", matrix)) as source:
            pictures.append(next(iter(source)).image)
            assert source.colours.matrix == 9
    assert np.array_equal(*pictures)


@pytest.mark.parametrize(("transfer", "curve"), [(16, "PQ"), (18, "HLG"), (1, None), (14, None)])
def test_hdr_is_told_because_its_tones_are_not_mapped(tmp_path: Path, transfer: int, curve: str | None) -> None:
    with open_source(tagged(tmp_path / "a.mp4", 9, transfer)) as source:
        assert [f"is HDR ({curve})" in warning for warning in source.warnings] == ([True] if curve else [])


@pytest.mark.parametrize("matrix", [8, 12])  # YCgCo, and one that depends on the primaries
def test_a_matrix_that_cannot_be_converted_is_told(tmp_path: Path, matrix: int) -> None:
    with pytest.raises(InputError, match=f"matrix {matrix} of ITU-T H.273") as caught:
        open_source(tagged(tmp_path / "a.mp4", matrix))
    assert one_sentence(caught)


def test_overlay_and_mattes_of_a_full_range_video(tmp_path: Path) -> None:
    labels = two_squares(1)[1]
    with open_source(coded(tmp_path / "a.mp4", FULL, 6)) as source:
        segment_source(source, RunInputs({0: labels}), tmp_path / "out", ColourSegmenter())
    places = export_result(tmp_path / "out", ["matte", "prores", "webm"], ExportOptions(out=tmp_path))
    assert first(tmp_path / "out" / "overlay.mp4")[0] == (FULL, 6, 6, 6)
    tags, (luma, *_) = first(places["matte"] / "a.mp4")
    assert tags[:2] == (FULL, 6) and luma[12, 8] > 250 and luma[0, 0] < 5
    assert first(places["webm"] / "a.webm")[0][0] == FULL
    with av.open(str(places["prores"] / "a.mov")) as container:  # always of limited range
        frame = next(container.decode(video=0))
        assert (
            frame.color_range != FULL and np.abs(frame.to_ndarray(format="rgb24")[10, 8] - (200.0, 40, 30)).max() < 12
        )


@pytest.mark.parametrize("matrix", [2, 9])  # not stated, for which a program assumes its own; BT.2020
def test_frames_of_prores_state_the_coding_of_the_source(tmp_path: Path, matrix: int) -> None:
    labels = two_squares(1)[1]
    with open_source(coded(tmp_path / "a.mp4", LIMITED, matrix)) as source:
        segment_source(source, RunInputs({0: labels}), tmp_path / "out", ColourSegmenter())
    place = export_result(tmp_path / "out", "prores", ExportOptions(out=tmp_path))["prores"]
    with av.open(str(place / "a.mov")) as container:
        frame = next(container.decode(video=0))
    assert (frame.colorspace, frame.color_primaries) == (matrix, matrix)


@pytest.mark.parametrize("codec", ["aac", "opus"])
def test_sound_is_in_mattes_from_the_first_frame_on(tmp_path: Path, codec: str) -> None:
    path = with_sound(tmp_path / "a.mkv", codec)
    with open_source(path, start=3, end=9) as source:
        labels = np.zeros((source.height, source.width), np.uint16)
        labels[10:20, 10:20] = 1
        segment_source(source, RunInputs({3: labels}), tmp_path / "out", ColourSegmenter())
    said: list[str] = []
    names = ["matte", "green", "prores", "webm"]
    places = export_result(tmp_path / "out", names, ExportOptions(out=tmp_path, warn=said.append))
    assert not said
    for made in (tmp_path / "out" / "overlay.mp4", *(next(folder.glob("a.*")) for folder in places.values())):
        begin, end = heard(made)
        assert begin == pytest.approx(0.2, abs=0.03) and end == pytest.approx(0.6, abs=0.1), made
    with av.open(str(places["prores"] / "a.mov")) as container:
        assert container.streams.video[0].codec_context.codec_tag == "ap4h"  # ProRes 4444, which editors give alpha


def test_sound_that_cannot_be_copied_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_source(with_sound(tmp_path / "a.mkv", "aac")) as source:
        labels = np.ones((source.height, source.width), np.uint16)
        segment_source(source, RunInputs({0: labels}), tmp_path / "out", ColourSegmenter())
    monkeypatch.setattr(sound, "_mux", lambda *_: (_ for _ in ()).throw(ValueError("damaged")))
    done = hodor("export", tmp_path / "out", "--to", "matte")
    assert "could not be copied (damaged)" in done.stderr


def test_a_film_s_sound_is_copied_whole(data_dir: Path, tmp_path: Path) -> None:
    with open_source(data_dir / "videos" / "01_dog.mp4", start=60, end=66) as source:
        labels = np.zeros((source.height, source.width), np.uint16)
        labels[100:200, 100:200] = 1
        segment_source(source, RunInputs({60: labels}), tmp_path / "out", ColourSegmenter())
    places = export_result(tmp_path / "out", ["matte"], ExportOptions(out=tmp_path))
    for path in (tmp_path / "out" / "overlay.mp4", places["matte"] / "01_dog.mp4"):
        with av.open(str(path)) as container:
            stream = container.streams.audio[0]
            assert float(stream.duration * stream.time_base) == pytest.approx(6 / 29.97, abs=0.03)
