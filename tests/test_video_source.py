"""Frames in: video files of many kinds, cameras and pipes, and what is said about bad ones."""

from __future__ import annotations

import gc
import io
import os
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import h5py
import numpy as np
import pytest
from conftest import write_video
from PIL import Image, features
from video_fakes import colour_at, picture

from hodor_cli.errors import InputError, UsageError
from hodor_cli.video import decoding
from hodor_cli.video.frames import FrameSource
from hodor_cli.video.source import open_source
from hodor_cli.video.yuv import picture_of as convert


def write(path: Path, count: int = 10, *, size: tuple[int, int] = (48, 64), noise: bool = False, **how: Any) -> Path:
    """Encode `count` pictures at 10 frames/s; `how` as of `write_video`."""
    noise_of = np.random.default_rng(0)

    def image(index: int) -> np.ndarray:
        plain = picture(index, *size)
        return plain // 2 + noise_of.integers(0, 100, plain.shape, dtype=np.uint8) if noise else plain

    return write_video(path, map(image, range(count)), 10, **{"pixels": "yuv420p", "options": {}} | how)


def cut(path: Path, share: float) -> Path:
    """A copy that ends after `share` of the bytes."""
    whole = path.read_bytes()
    target = path.with_name(f"cut_{path.name}")
    target.write_bytes(whole[: int(len(whole) * share)])
    return target


# ---- video files -----------------------------------------------------------------------------------------------------


def test_video_gives_every_frame_with_index_name_and_time(tmp_path: Path) -> None:
    with open_source(write(tmp_path / "clip.mp4")) as source:
        assert (source.kind, source.name, source.height, source.width) == ("video", "clip", 48, 64)
        assert source.fps == pytest.approx(10) and source.length == 10
        frames = list(source)
    assert [frame.index for frame in frames] == list(range(10))
    assert frames[7].name == "00007"
    assert [frame.time for frame in frames] == pytest.approx([i / 10 for i in range(10)])
    assert frames[0].image.dtype == np.uint8 and frames[0].image.shape == (48, 64, 3)
    assert frames[0].image.flags.c_contiguous
    assert colour_at(frames[0].image, 0.5, 0.2) == "red" and colour_at(frames[0].image, 0.2, 0.8) == "green"
    assert source.exact_length and source.length == 10 and source.warnings == []


def test_video_can_be_read_twice_and_with_start_and_end(tmp_path: Path) -> None:
    source = open_source(write(tmp_path / "clip.mp4"), start=3, end=6)
    assert source.length == 3
    first = list(source)
    again = list(source)
    assert [frame.index for frame in first] == [3, 4, 5] == [frame.index for frame in again]
    assert first[0].time == pytest.approx(0.3)
    assert np.array_equal(first[2].image, again[2].image)


def test_frames_before_start_are_not_converted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    monkeypatch.setattr(decoding, "picture_of", lambda *args: calls.append(1) or convert(*args))
    assert len(list(open_source(write(tmp_path / "clip.mp4"), start=8))) == 2
    assert len(calls) == 2


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_variable_frame_rate_keeps_each_time(tmp_path: Path, suffix: str) -> None:
    times = [0, 40, 200, 210, 900, 1500]
    frames = list(open_source(write(tmp_path / f"vfr.{suffix}", 6, times_ms=times)))
    assert [frame.time for frame in frames] == pytest.approx([t / 1000 for t in times], abs=0.002)


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("degrees", [90, 180, -90])
def test_rotation_metadata_is_applied(tmp_path: Path, degrees: int, mirror: bool) -> None:
    plain = next(iter(open_source(write(tmp_path / "plain.mp4", 2)))).image
    source = open_source(write(tmp_path / "turned.mp4", 2, rotate=degrees, mirror=mirror))
    image = next(iter(source)).image
    assert (source.height, source.width) == image.shape[:2]
    expected = np.rot90(plain, degrees // 90)  # both count counter-clockwise
    assert np.array_equal(image, expected[:, ::-1] if mirror else expected)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("odd.mkv", {"size": (47, 63), "codec": "ffv1", "pixels": "yuv444p"}),
        ("odd.mp4", {"size": (47, 63), "pixels": "yuv444p"}),
        ("ten.mp4", {"pixels": "yuv420p10le"}),
        ("full.avi", {"codec": "mjpeg", "pixels": "yuvj420p"}),
        ("old.avi", {"codec": "mpeg4"}),
        ("stream.ts", {}),
        ("web.webm", {"codec": "libvpx-vp9"}),
        ("alpha.mkv", {"codec": "ffv1", "pixels": "bgra"}),
        ("moving.gif", {"codec": "gif", "pixels": "rgb8"}),
    ],
)
def test_formats_sizes_and_bit_depths(tmp_path: Path, name: str, settings: dict[str, Any]) -> None:
    codec = settings.get("codec", "libx264")
    try:
        path = write(tmp_path / name, 6, **settings)
    except (ValueError, av.error.FFmpegError) as error:
        pytest.skip(f"this PyAV cannot write {codec} {settings.get('pixels', '')}: {error}")
    frames = list(open_source(path))
    assert len(frames) == 6
    assert frames[0].time == 0 and frames[5].time == pytest.approx(0.5, abs=0.01)
    assert frames[0].image.shape == (*settings.get("size", (48, 64)), 3)
    assert colour_at(frames[0].image, 0.5, 0.2) == "red" and colour_at(frames[0].image, 0.2, 0.8) == "green"


def test_names_that_look_like_urls_are_files(tmp_path: Path) -> None:
    path = write(tmp_path / "12:30 clip #1.mp4", 3)
    assert len(list(open_source(path))) == 3


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("front.mp4", {"container_options": {"movflags": "faststart"}}),
        ("parts.mp4", {"container_options": {"movflags": "frag_keyframe+empty_moov"}, "options": {"g": "10"}}),
        ("clip.mkv", {}),
        ("clip.avi", {"codec": "mjpeg", "pixels": "yuvj420p"}),
    ],
)
def test_cut_off_file_gives_its_readable_frames_and_says_what_is_lost(
    tmp_path: Path, name: str, settings: dict[str, Any]
) -> None:
    whole = write(tmp_path / name, 40, noise=True, **settings)
    source = open_source(cut(whole, 0.6))
    frames = list(source)
    assert 10 < len(frames) < 36
    assert [frame.index for frame in frames] == list(range(len(frames)))
    assert source.length == len(frames) and source.exact_length
    assert len(source.warnings) == 1
    assert f"cut off: {len(frames)} frames could be read" in source.warnings[0] and "missing" in source.warnings[0]
    list(source)
    assert len(source.warnings) == 1  # said once, however often it is read
    assert open_source(whole).warnings == [] and len(list(open_source(whole))) == 40


def test_whole_files_are_not_called_cut_off(tmp_path: Path) -> None:
    for name in ("a.mp4", "a.mkv", "a.ts", "a.avi"):
        source = open_source(write(tmp_path / name, 12, codec="mpeg4", noise=True))
        assert len(list(source)) == 12
        assert source.warnings == [], name


def test_mp4_without_its_index_is_refused_clearly(tmp_path: Path) -> None:
    path = cut(write(tmp_path / "clip.mp4", 30, noise=True), 0.6)  # the index stands at the end
    with pytest.raises(InputError, match=r"cut off before its index \(moov\)"):
        open_source(path)


def test_what_is_no_video_is_refused(tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("not a video\n" * 100)
    noise = tmp_path / "noise.mp4"
    noise.write_bytes(np.random.default_rng(0).bytes(5000))
    empty = tmp_path / "empty.mp4"
    empty.touch()
    photo = tmp_path / "photo.mp4"
    Image.fromarray(picture(0)).save(photo, format="PNG")
    for path, words in ((text, "video"), (noise, "not a video"), (empty, "empty"), (photo, "single picture")):
        with pytest.raises(InputError, match=words):
            open_source(path)


@pytest.mark.parametrize("ending", ["png", "jpg", "webp", "tif", "bmp", "avif"])
def test_a_photo_is_one_frame(tmp_path: Path, ending: str) -> None:
    if ending == "avif" and not features.check("avif"):
        pytest.skip("this Pillow cannot write AVIF")
    Image.fromarray(picture(0)).save(tmp_path / f"my photo.{ending}")
    with open_source(tmp_path / f"my photo.{ending}") as source:
        (frame,) = source
        assert (source.name, source.length, frame.name) == ("my photo", 1, "00000")
        assert np.abs(frame.image.astype(int) - picture(0)).mean() < 12


def test_a_codec_that_nobody_knows_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", 2)
    path.write_bytes(path.read_bytes().replace(b"avc1", b"zz99"))
    with pytest.raises(InputError, match="no installed decoder"):
        open_source(path)


def test_sound_alone_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "sound.wav"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
    with pytest.raises(InputError, match="audio"):
        open_source(path)


def test_start_past_the_end_names_the_length(tmp_path: Path) -> None:
    for name, start in (("clip.mp4", 10), ("clip.mkv", 10), ("clip.mp4", 1 << 64)):
        with pytest.raises(InputError, match="10 frames"):
            open_source(write(tmp_path / name), start=start)
    with pytest.raises(UsageError, match="`end` 3"):
        open_source(tmp_path / "clip.mp4", start=3, end=3)
    with pytest.raises(UsageError, match="negative"):
        open_source(tmp_path / "clip.mp4", start=-1)
    for wrong in ({"start": "5"}, {"start": 1.5}, {"end": 5.0}):
        with pytest.raises(UsageError, match="`start` and `end` are numbers of frames"):
            open_source(tmp_path / "clip.mp4", **wrong)  # type: ignore[arg-type]


def test_reading_past_the_end_does_not_change_the_length(tmp_path: Path) -> None:
    with open_source(write(tmp_path / "a.mp4", 6), start=2) as source:
        assert list(source.between(8, 9)) == []
        assert (source.length, source.exact_length) == (4, False)


def test_has_frame_looks_into_the_file(tmp_path: Path) -> None:
    source = open_source(write(tmp_path / "clip.mkv"), start=2, end=30)
    assert [source.has_frame(index) for index in (1, 2, 9, 10, 40)] == [False, True, True, False, False]
    whole = write(tmp_path / "front.mp4", 40, noise=True, container_options={"movflags": "faststart"})
    assert not open_source(cut(whole, 0.5)).has_frame(39)  # its header promises 40


def test_missing_path_offers_the_nearest_name(tmp_path: Path) -> None:
    write(tmp_path / "holiday.mp4", 2)
    with pytest.raises(InputError, match=r"did you mean .*holiday\.mp4"):
        open_source(tmp_path / "holidya.mp4")
    with pytest.raises(InputError, match=r"did you mean .*holiday\.mp4"):
        open_source(tmp_path / "holiday.MOV")
    with pytest.raises(InputError, match=r"the folder .*elsewhere does not exist"):
        open_source(tmp_path / "elsewhere" / "a.mp4")


def test_memory_stays_flat(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    path = write(tmp_path / "long.mp4", 300, size=(240, 320))
    peaks = []
    gc.disable()  # frames must go when they are done with, not when Python happens to look for cycles
    try:
        for end in (60, 300):
            for _ in open_source(path, end=end):
                pass
            peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    finally:
        gc.enable()
    assert peaks[1] - peaks[0] < 8_000  # KiB on Linux; the pictures of 240 more frames are 83 MB


def test_real_clip(data_dir: Path) -> None:
    source = open_source(data_dir / "videos" / "01_dog.mp4", start=5, end=15)
    frames = list(source)
    assert (source.height, source.width) == (720, 1280) and source.fps == pytest.approx(29.97, abs=0.01)
    assert [frame.index for frame in frames] == list(range(5, 15))
    assert frames[0].image.std() > 10


# ---- what a file says about its frames -------------------------------------------------------------------------------


@pytest.mark.parametrize("degrees", [None, 90])
def test_aspect_of_pixels_is_known_and_turns_with_the_picture(tmp_path: Path, degrees: int | None) -> None:
    path = write(tmp_path / "wide.mp4", 2, rotate=degrees, options={"x264-params": "sar=2/1"})
    assert open_source(path).pixel_aspect == (2 if degrees is None else Fraction(1, 2))
    assert open_source(write(tmp_path / "square.mp4", 2)).pixel_aspect == 1


def test_the_moving_default_track_is_read_and_others_are_named(tmp_path: Path) -> None:
    path = tmp_path / "two.mkv"
    with av.open(str(path), "w") as container:
        streams = [container.add_stream("libx264", rate=10) for _ in range(2)]
        for stream, (height, width) in zip(streams, ((24, 32), (48, 64)), strict=True):
            stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        for index in range(5):
            for stream in streams:
                frame = av.VideoFrame.from_ndarray(picture(index, stream.height, stream.width), format="rgb24")
                container.mux(stream.encode(frame))
        for stream in streams:
            container.mux(stream.encode())
    source = open_source(path)
    assert (source.height, source.width) == (48, 64) and len(list(source)) == 5
    assert "2 video tracks" in source.warnings[0] and "32x24" in source.warnings[0]


def test_streams_joined_by_their_bytes_run_on_in_time(tmp_path: Path) -> None:
    once = write(tmp_path / "a.ts").read_bytes()
    (tmp_path / "twice.ts").write_bytes(once + once)
    times = [frame.time for frame in open_source(tmp_path / "twice.ts")]
    assert np.diff(times) == pytest.approx(0.1, abs=0.002) and len(times) == 20


def test_a_change_of_size_is_told_once(tmp_path: Path) -> None:
    parts = [write(tmp_path / f"{width}.ts", 4, size=(48, width)) for width in (64, 96)]
    (tmp_path / "both.ts").write_bytes(b"".join(part.read_bytes() for part in parts * 2))
    source = open_source(tmp_path / "both.ts", start=6)
    assert {frame.image.shape for frame in source} == {(48, 64, 3)}
    (said,) = (text for text in source.warnings if "size" in text)
    assert "changes its size to 96x48 at frame 4; frames of that size are scaled to 64x48" in said


def test_last_frame_keeps_its_duration(tmp_path: Path) -> None:
    pictures = [Image.fromarray(picture(index)) for index in range(4)]
    for name in ("a.gif", "a.webp"):
        path = tmp_path / name
        pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=[40, 200, 40, 500])
        frames = list(open_source(path))
        assert [frame.time for frame in frames] == pytest.approx([0, 0.04, 0.24, 0.28]), name
        assert frames[-1].duration == pytest.approx(0.5), name


@pytest.mark.parametrize("lone_in_folder", [False, True])
@pytest.mark.parametrize("ending", ["tif", "webp", "png", "gif"])
def test_pictures_in_one_file_are_frames(tmp_path: Path, ending: str, lone_in_folder: bool) -> None:
    pictures = [Image.fromarray(picture(index)) for index in range(6)]
    path = tmp_path / f"stack.{ending}"
    options = {"webp": {"lossless": True}, "gif": {"duration": 40}}.get(ending, {})
    pictures[0].save(path, save_all=True, append_images=pictures[1:], **options)
    source = open_source(tmp_path if lone_in_folder else path, start=1, end=5)
    frames = list(source)
    assert source.length == 4 and [frame.name for frame in frames] == ["00001", "00002", "00003", "00004"]
    assert np.abs(frames[2].image.astype(int) - picture(3)).max() < (80 if ending == "gif" else 1)
    assert source.warnings == []
    with pytest.raises(InputError, match=r"has 6 (pictures|frames)"):
        open_source(path, start=6)


def stack(path: Path, description: str) -> Path:
    """A TIFF of six grey pages, each of which shows its number."""
    pages = [Image.new("L", (9, 7), number) for number in range(6)]
    pages[0].save(path, save_all=True, append_images=pages[1:], description=description)
    return path


@pytest.mark.parametrize(
    ("description", "axes", "pages"),
    [
        ('<OME><Pixels DimensionOrder="XYZCT" SizeZ="2" SizeC="1" SizeT="3"/></OME>', "T,Z=1", [1, 3, 5]),
        ("ImageJ=1.54\nimages=6\nslices=3\nframes=2", "z, t=1", [3, 4, 5]),
        ('{"shape": [2, 3, 7, 9]}', "0,1=2", [2, 5]),
        ('<OME><Pixels SizeT="six" SizeZ="1.0"/></OME>', None, [0, 1, 2, 3, 4, 5]),
        ('{"shape": [Infinity, 7, 9]}', None, [0, 1, 2, 3, 4, 5]),
    ],
)
def test_axes_choose_the_pages_of_a_tiff(tmp_path: Path, description: str, axes: str | None, pages: list[int]) -> None:
    path = stack(tmp_path / "a.tif", description)
    with open_source(path, axes=axes) as source:
        assert [int(frame.image[0, 0, 0]) for frame in source] == pages
    if axes is not None:
        with pytest.raises(InputError, match="which one is time"):
            open_source(path)


def test_a_stack_that_lists_only_its_first_page_is_refused(tmp_path: Path) -> None:
    tifffile = pytest.importorskip("tifffile", reason="tifffile is not installed")
    frames, path = np.zeros((4, 20, 30), np.uint16), tmp_path / "cells.tif"
    tifffile.imwrite(path, frames[0], description="ImageJ=1.54\nimages=4\nframes=4\n", metadata=None)
    assert open_source(path).length == 1  # one frame, with the description of the stack that it was taken from
    ome = '<OME><Pixels DimensionOrder="XYZCT" SizeT="2"/>' + "<Plane/>" * 500  # longer than the frame itself
    tifffile.imwrite(tmp_path / "first.ome.tif", frames[0], description=ome + "</OME>", metadata=None)
    assert open_source(tmp_path / "first.ome.tif").length == 1
    with path.open("ab") as file:  # as ImageJ writes large stacks
        file.write(frames[1:].tobytes())
    with pytest.raises(InputError, match=r"cells\.tif lists only one of its 4 pages"):
        open_source(path)


def test_pages_of_another_size_are_named(tmp_path: Path) -> None:
    small = Image.fromarray(picture(0, 24, 32))
    Image.fromarray(picture(0)).save(
        tmp_path / "a.tif", save_all=True, append_images=[small, Image.fromarray(picture(1))]
    )
    source = open_source(tmp_path / "a.tif")
    assert len(list(source)) == 2 and "1 page of another size" in source.warnings[0]
    with pytest.raises(InputError, match=r"`start` 2 is past the end: .*a\.tif has 2 pictures"):
        list(open_source(tmp_path / "a.tif", start=2))


@pytest.mark.parametrize("name", ["a.tif", "frames"])
def test_deep_pictures_have_one_scale_that_is_told_and_can_be_set(tmp_path: Path, name: str) -> None:
    pages, place = (
        [Image.fromarray(np.full((48, 64), 250 * (index + 1), np.uint16)) for index in range(4)],
        tmp_path / name,
    )
    if name == "a.tif":
        pages[0].save(place, save_all=True, append_images=pages[1:])
    else:
        place.mkdir()
        for index, page in enumerate(pages):
            page.save(place / f"{index}.png")
    source = open_source(place)
    assert [int(frame.image[0, 0, 0]) for frame in source] == pytest.approx([62, 125, 187, 249], abs=1)
    assert source.warnings == ["16-bit values are scaled so that 0 becomes black and 1023 white"]
    source = open_source(place, value_range=(0, 2000))
    assert int(list(source)[-1].image[0, 0, 0]) == pytest.approx(128, abs=1) and source.warnings == []
    with pytest.raises(UsageError, match="value_range"):
        open_source(place, value_range=(5, 5))
    for wrong in (2000, (0, 1, 2), ("black", "white")):
        with pytest.raises(UsageError, match="`value_range` must be two numbers"):
            open_source(place, value_range=wrong)  # type: ignore[arg-type]
    assert repr(source) == f"{type(source).__name__}({str(place)!r}, 64x48, 4 frames)"


def test_sixteen_bit_grey_video_is_scaled_by_what_it_holds(tmp_path: Path) -> None:
    path = tmp_path / "camera.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=10)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "gray16le"
        for index in range(12):
            values = np.full((48, 64), 80 * index, np.uint16)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(values, format="gray16le")))
        container.mux(stream.encode())
    source = open_source(path)
    values = [int(frame.image[0, 0, 1]) for frame in source]
    assert values == pytest.approx([80 * index / 1023 * 255 for index in range(12)], abs=1)
    assert "1023 white" in source.warnings[0]


# ---- what is not opened ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{other}\n",
        "ffconcat version 1.0\nfile {other}\n",
        '<?xml version="1.0"?>\n<MPD type="dynamic"></MPD>',
        "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\nm=video 5004 RTP/AVP 96\r\n",
        "[playlist]\nFile1={other}\n",
    ],
)
def test_playlists_lead_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    other = write(tmp_path / "other.ts", 3)
    for name in ("list.m3u8", "list.mp4"):
        path = tmp_path / name
        path.write_text(text.format(other=other))
        with pytest.raises(InputError, match="playlist"):
            open_source(path)
    monkeypatch.setattr(sys, "stdin", PipedStdin(path))
    with pytest.raises(InputError):
        open_source("-")


def test_a_descriptor_file_is_called_what_it_is(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "objects.h5", "w") as file:
        file.create_group("videos")
    with pytest.raises(InputError, match=r"objects\.h5 is an HDF5 file .*, not a video; give the video"):
        open_source(tmp_path / "objects.h5")


@pytest.mark.parametrize("address", ["https://example.org/a.mp4", "rtsp://camera/1", "file:///etc/hosts"])
def test_addresses_are_not_followed(address: str) -> None:
    with pytest.raises(InputError, match=f"is a URL; .* pipe `ffmpeg -i {address} .*` into -"):
        open_source(address)


def test_frames_in_memory_are_no_source() -> None:
    with pytest.raises(UsageError, match=r"not a list; pass frames to `Segmenter\.step`"):
        open_source([np.zeros((48, 64, 3), np.uint8)])


def test_odd_names_are_read_or_refused_in_a_sentence(tmp_path: Path) -> None:
    whole = write(tmp_path / "a.mp4", 2).read_bytes()
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/n\xff #%03d.mp4"))
    try:
        odd.write_bytes(whole)
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    source = open_source(odd)
    assert len(list(source)) == 2 and source.name == "nÿ #%03d"
    for name in ("x" * 5000, "a\0b.mp4", "~nobody-of-this-name/a.mp4"):
        with pytest.raises(InputError, match="there is no"):
            open_source(name)


# ---- camera and pipe -------------------------------------------------------------------------------------------------


class FakeCapture:
    """A camera with five pictures."""

    def __init__(self, index: int) -> None:
        self.left = 5 if index == 7 else 0

    def isOpened(self) -> bool:  # noqa: N802  # OpenCV's name
        return self.left > 0

    def read(self) -> tuple[bool, np.ndarray | None]:
        if not self.left:
            return False, None
        self.left -= 1
        return True, np.ascontiguousarray(picture(0)[..., ::-1])

    def get(self, _: int) -> float:
        return 0.0

    def release(self) -> None:
        self.left = 0


@pytest.fixture
def fake_camera(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "VideoCapture", FakeCapture)


@pytest.mark.parametrize("which", [7, "7"])
def test_camera_by_index(fake_camera: None, which: int | str) -> None:
    with open_source(which) as source:
        assert (source.kind, source.name, source.length, source.reiterable) == ("camera", "camera7", None, False)
        frames = list(source)
    assert [frame.name for frame in frames] == ["00000", "00001", "00002", "00003", "00004"]
    assert np.array_equal(frames[0].image, picture(0))
    assert "stopped delivering pictures after 5 frames" in source.warnings[0]
    with pytest.raises(InputError, match="only once"):
        list(source)


def test_camera_stops_at_end(fake_camera: None) -> None:
    source = open_source(7, start=1, end=3)
    assert [frame.index for frame in source] == [1, 2] and source.length == 2 and source.warnings == []


@pytest.mark.parametrize("index", ["99999999999999999999", 2**31, 150, -1])
def test_camera_of_an_impossible_number_is_one_sentence(fake_camera: None, index: int | str) -> None:
    with pytest.raises(InputError, match="there is no camera"):
        open_source(index)


def test_no_camera_is_one_sentence(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match="no camera 98"):
        open_source("98")
    assert capfd.readouterr().err == ""


class PipedStdin:
    """Standard input with a file's bytes in it, which cannot seek."""

    def __init__(self, path: Path) -> None:
        self.buffer = io.BufferedReader(_NoSeek(path.read_bytes()))

    def isatty(self) -> bool:
        return False


class _NoSeek(io.BytesIO):
    def seekable(self) -> bool:
        return False


@pytest.mark.parametrize("name", ["clip.ts", "clip.mkv"])
def test_pipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    path = write(tmp_path / name)
    monkeypatch.setattr(sys, "stdin", PipedStdin(path))
    source: FrameSource
    with open_source("-", start=1) as source:
        assert (source.kind, source.name, source.length) == ("video", "stdin", None)
        frames = list(source)
        assert [frame.index for frame in frames] == list(range(1, 10))
        with pytest.raises(InputError, match="only once"):
            list(source)
    assert np.array_equal(frames[0].image, next(iter(open_source(path, start=1))).image)


def test_pipe_that_cannot_be_read_says_what_can(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", PipedStdin(write(tmp_path / "clip.mp4", 30, noise=True)))
    with pytest.raises(InputError, match="faststart"):
        open_source("-")
    (tmp_path / "empty").touch()
    monkeypatch.setattr(sys, "stdin", PipedStdin(tmp_path / "empty"))
    with pytest.raises(InputError, match="ended before it sent anything"):
        open_source("-")


@pytest.mark.parametrize("sent", [0, 300, 100_000])
def test_an_interrupt_ends_the_reading_of_a_pipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sent: int) -> None:
    class Interrupted(_NoSeek):
        interrupted = False

        def readinto(self, buffer: Any) -> int:
            assert not self.interrupted, "it may wait for ever"
            count = super().readinto(buffer)
            self.interrupted = not count
            if self.interrupted:
                raise KeyboardInterrupt
            return count

    path = write(tmp_path / "clip.ts")
    stdin = PipedStdin(path)
    stdin.buffer = io.BufferedReader(Interrupted(path.read_bytes()[:sent]))
    monkeypatch.setattr(sys, "stdin", stdin)
    with pytest.raises(KeyboardInterrupt):
        list(open_source("-", start=9))
