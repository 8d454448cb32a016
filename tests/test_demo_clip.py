"""The demo's clip: two real objects that move over a moving photograph, with true masks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("skimage", reason="the demo's photographs come with scikit-image")

import cv2
from demo_clip import DemoClip, contact_sheet, motion, save_picture, write_clip
from demo_clip.clip import ASTRONAUT_ID, CUP_ID

from hodor_cli.errors import OutputError, UsageError
from hodor_cli.images.label_png import read_label_png


@pytest.fixture(scope="module")
def clip() -> DemoClip:
    return DemoClip(frames=24, height=120, width=214)


@pytest.fixture(scope="module")
def rendered(clip: DemoClip) -> list[tuple[np.ndarray, np.ndarray]]:
    return list(clip)


def test_a_frame_is_the_same_each_time(clip: DemoClip, rendered: list[tuple[np.ndarray, np.ndarray]]) -> None:
    image, labels = DemoClip(frames=24, height=120, width=214).render(7)
    np.testing.assert_array_equal(image, rendered[7][0])
    np.testing.assert_array_equal(labels, rendered[7][1])


def test_frames_are_pictures_with_label_maps(rendered: list[tuple[np.ndarray, np.ndarray]]) -> None:
    assert len(rendered) == 24
    for image, labels in rendered:
        assert image.shape == (120, 214, 3) and image.dtype == np.uint8
        assert labels.shape == (120, 214) and labels.dtype == np.uint16
        assert set(np.unique(labels)) == {0, CUP_ID, ASTRONAUT_ID}


def test_the_cup_moves_changes_size_and_is_partly_hidden(rendered: list[tuple[np.ndarray, np.ndarray]]) -> None:
    centres = np.array([np.argwhere(labels == CUP_ID).mean(axis=0) for _, labels in rendered])
    areas = np.array([(labels == CUP_ID).sum() for _, labels in rendered])
    scales = np.array([motion.cup(index / 23).scale for index in range(24)])
    # The saucer and cup as they would be seen without anything in front of them.
    shown = areas / scales**2
    assert np.ptp(centres[:, 1]) > 214 / 2
    assert areas.max() > 1.8 * areas.min()
    assert shown.min() < 0.7 * shown.max()
    assert areas.min() > 400


def test_the_object_is_where_its_mask_says(rendered: list[tuple[np.ndarray, np.ndarray]]) -> None:
    """The saucer is red and the sky blue: red minus blue inside the mask and just outside it."""
    for image, labels in rendered[:8]:
        warmth = image[..., 0].astype(int) - image[..., 2]
        mask = (labels == CUP_ID).astype(np.uint8)
        ring = (cv2.dilate(mask, np.ones((9, 9))) - cv2.dilate(mask, np.ones((5, 5)))).astype(bool)
        assert warmth[mask == 1].mean() > 60
        assert warmth[ring & (labels == 0)].mean() < 20


def test_the_background_moves_too(rendered: list[tuple[np.ndarray, np.ndarray]]) -> None:
    first, later = rendered[0][0].astype(int), rendered[12][0].astype(int)
    outside = (rendered[0][1] == 0) & (rendered[12][1] == 0)
    assert np.abs(first - later)[outside].mean() > 5


def test_it_is_written_as_a_video_and_in_davis_layout(tmp_path: Path) -> None:
    clip = DemoClip(frames=4, height=96, width=160)
    files = write_clip(tmp_path, clip)
    frames = sorted(path.name for path in (tmp_path / "JPEGImages/480p/demo").iterdir())
    masks = sorted(path.name for path in (tmp_path / "Annotations/480p/demo").iterdir())
    assert frames == [f"{index:05d}.jpg" for index in range(4)]
    assert masks == [f"{index:05d}.png" for index in range(4)]
    assert files.first_mask == tmp_path / "Annotations/480p/demo/00000.png"
    np.testing.assert_array_equal(read_label_png(files.first_mask), clip.render(0)[1])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["Annotations", "JPEGImages", "clip.mp4"]

    import av

    with av.open(str(files.video)) as container:
        decoded = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(decoded) == 4
    assert np.abs(decoded[2].astype(int) - clip.render(2)[0]).mean() < 12


def test_an_existing_clip_is_kept_unless_asked(tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_bytes(b"mine")
    with pytest.raises(OutputError, match="exists already"):
        write_clip(tmp_path, DemoClip(frames=2, height=64, width=64))
    assert (tmp_path / "clip.mp4").read_bytes() == b"mine"
    write_clip(tmp_path, DemoClip(frames=2, height=64, width=64), overwrite=True)
    assert (tmp_path / "clip.mp4").stat().st_size > 100


def test_impossible_clips_are_refused() -> None:
    with pytest.raises(UsageError, match="at least 2 frames"):
        DemoClip(frames=1)
    with pytest.raises(UsageError, match="frames 0 to 71"):
        DemoClip().render(72)


def test_contact_sheet_shows_every_picture(tmp_path: Path) -> None:
    red = np.full((40, 80, 3), (200, 0, 0), np.uint8)
    blue = np.full((40, 80, 3), (0, 0, 200), np.uint8)
    sheet = contact_sheet([("one", [red, blue]), ("two", [blue, red])], ["a", "b"], width=80)
    save_picture(tmp_path / "sheet.png", sheet)
    with Image.open(tmp_path / "sheet.png") as saved:
        np.testing.assert_array_equal(np.asarray(saved), sheet)
    assert (sheet == (200, 0, 0)).all(-1).sum() == 2 * 40 * 80
    assert (sheet == (0, 0, 200)).all(-1).sum() == 2 * 40 * 80
    with pytest.raises(UsageError):
        contact_sheet([("one", [red])], ["a", "b"])
