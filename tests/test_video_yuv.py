"""Frames of a video that are used as they are coded: what the network sees, and the overlay, are those of RGB."""

from __future__ import annotations

import io
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import torch
from test_video_colours import FULL, LIMITED, SCALERS, coded
from test_video_source import write

from hodor_cli.runtime.preprocess import resize
from hodor_cli.video.frames import Frame
from hodor_cli.video.h264 import VideoWriter
from hodor_cli.video.overlay import draw_on_video, draw_overlay
from hodor_cli.video.source import open_source
from hodor_cli.video.yuv import Colours, YuvPicture, planes_of


def first_of(path: Path) -> Frame:
    with open_source(path) as source:
        return next(iter(source))


def as_coded(frame: Frame) -> YuvPicture:
    assert isinstance(frame.picture, YuvPicture)
    return frame.picture


def rgb_of(frame: av.VideoFrame, colours: Colours) -> np.ndarray:
    luma, u, v = planes_of(frame)
    return colours.decoded([luma, *(plane.repeat(2, axis=0).repeat(2, axis=1) for plane in (u, v))])


def smooth(size: tuple[int, int] = (96, 128)) -> np.ndarray:
    noise = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return cv2.resize(noise, size[::-1], interpolation=cv2.INTER_CUBIC)


def resized(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resized as the network's input is."""
    return resize(torch.tensor(image).permute(2, 0, 1)[None].float(), (height, width))[0].permute(1, 2, 0).numpy()


@pytest.mark.parametrize("span", [LIMITED, FULL])
@pytest.mark.parametrize("matrix", SCALERS)
@pytest.mark.parametrize("size", [(30, 40), (48, 64), (75, 100)])
def test_the_network_sees_what_it_would_see_of_rgb(
    tmp_path: Path, span: int, matrix: int, size: tuple[int, int]
) -> None:
    frame = first_of(coded(tmp_path / "a.mp4", span, matrix, 1))
    seen = as_coded(frame).scaled(*size)
    assert seen.shape == (*size, 3) and seen.dtype == np.uint8
    # The edges of these squares are sharp, and colour has half the resolution.
    assert np.percentile(np.abs(seen - resized(frame.image, *size)), 90) < 6


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("degrees", [90, 180, -90])
def test_turned_frames_are_upright_everywhere(tmp_path: Path, degrees: int, mirror: bool) -> None:
    frame = first_of(write(tmp_path / "a.mp4", 1, rotate=degrees, mirror=mirror))
    picture = as_coded(frame)
    height, width, _ = picture.shape
    assert frame.image.shape == (height, width, 3)
    assert np.abs(picture.scaled(height // 2, width // 2) - resized(frame.image, height // 2, width // 2)).mean() < 3
    with VideoWriter(tmp_path / "b.mp4", 25, colours=picture.colours) as writer:
        writer.write(picture)
    assert np.abs(first_of(tmp_path / "b.mp4").image.astype(int) - frame.image).mean() < 3
    with VideoWriter(tmp_path / "c.mp4", 25, colours=picture.colours, side=max(height, width) // 2) as writer:
        writer.write(picture)
    smaller = first_of(tmp_path / "c.mp4").image
    assert np.abs(smaller.astype(int) - resized(frame.image, height // 2, width // 2)).mean() < 3


@pytest.mark.parametrize(
    ("name", "settings", "kept"),
    [
        ("a.mp4", {}, True),
        ("ten.mp4", {"pixels": "yuv420p10le"}, True),
        ("full.avi", {"codec": "mjpeg", "pixels": "yuvj420p"}, True),
        ("fine.mp4", {"pixels": "yuv444p"}, False),
        ("odd.mkv", {"size": (47, 63), "codec": "ffv1"}, False),
        ("alpha.mkv", {"codec": "ffv1", "pixels": "bgra"}, False),
    ],
)
def test_frames_of_other_kinds_are_rgb(tmp_path: Path, name: str, settings: dict[str, object], kept: bool) -> None:
    frame = first_of(write(tmp_path / name, 1, **settings))  # type: ignore[arg-type]
    assert isinstance(frame.picture, YuvPicture) == kept
    if kept:
        assert np.abs(as_coded(frame).scaled(24, 32) - resized(frame.image, 24, 32)).mean() < 3
        frame.image[:] = 0  # the receiver may change it, and the decoder's frame stays
        assert np.asarray(frame.picture).any()


@pytest.mark.parametrize("span", [LIMITED, FULL])
@pytest.mark.parametrize("ids", [False, True])
def test_the_overlay_of_a_video_looks_like_that_of_rgb(tmp_path: Path, span: int, ids: bool) -> None:
    image = smooth()
    with VideoWriter(tmp_path / "a.mp4", 25) as writer:
        writer.write(image)
    picture = as_coded(first_of(tmp_path / "a.mp4"))
    labels = np.zeros(image.shape[:2], np.uint16)
    labels[21:70, 33:80], labels[40:91, 80:113] = 300, 2
    video = VideoWriter(io.BytesIO(), 25, colours=picture.colours)
    drawn = draw_on_video(video, picture, labels, ids=ids)
    wanted = video.canvas(draw_overlay(np.asarray(picture), labels, ids=ids))
    for one, other in zip(planes_of(drawn), planes_of(wanted), strict=True):
        assert np.abs(one.astype(int) - other).mean() < 6
    (luma, u, v), (was, was_u, was_v) = planes_of(drawn), planes_of(picture.frame)
    assert np.array_equal(luma[labels == 0], was[labels == 0])
    blocks = labels.reshape(48, 2, 64, 2).max(axis=(1, 3)) == 0
    assert np.array_equal(u[blocks], was_u[blocks]) and np.array_equal(v[blocks], was_v[blocks])
    assert not np.array_equal(luma, was) and not np.array_equal(u, was_u)


def test_objects_at_every_border_of_odd_and_scaled_pictures() -> None:
    for size in ((61, 81), (20, 9001)):
        labels = np.zeros(size, np.uint16)
        labels[:4, :4] = labels[-4:, -4:] = labels[:4, -4:] = 7
        video = VideoWriter(io.BytesIO(), 25)
        image = np.full((*size, 3), 90, np.uint8)
        plain, drawn = video.canvas(image), draw_on_video(video, image, labels)
        assert (drawn.width, drawn.height) == (plain.width, plain.height) and drawn.width % 2 == 0
        changed = planes_of(drawn)[0] != planes_of(plain)[0]
        assert changed[0, 0] and changed[-1, -1] and changed[0, -1] and not changed[-1, 0]


def test_paint_shows_on_an_object_of_its_own_colour(tmp_path: Path) -> None:
    labels = np.ones((32, 32), np.uint16)
    video = VideoWriter(io.BytesIO(), 25)
    for colour in ((128, 0, 0), (200, 20, 20), (100, 10, 0)):
        image = np.full((32, 32, 3), colour, np.uint8)
        drawn = draw_on_video(video, image, labels)
        assert np.abs(rgb_of(drawn, video.colours).astype(int) - image).mean() > 20


def test_alpha_of_16_bits_is_exact_in_every_frame() -> None:
    picture = np.zeros((359, 641, 4), np.uint8)
    for _ in range(100):  # many frames: it was wrong in some
        frame = av.VideoFrame.from_ndarray(picture, format="rgba")
        alpha = np.frombuffer(Colours().encoded(frame, "yuva444p10le").planes[3], np.uint16)
        assert not alpha.reshape(359, -1)[:, :641].any()
