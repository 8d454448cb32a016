"""Folders of images as sources: order, names, modes, and what is said about folders that do not fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from video_fakes import colour_at, picture

from hodor_cli.errors import InputError
from hodor_cli.images.label_png import davis_palette, youtube_palette
from hodor_cli.video.source import open_source

FULL = 255


def test_folder_in_natural_order_with_names_kept(tmp_path: Path) -> None:
    folder = tmp_path / "my clip"
    folder.mkdir()
    for number, suffix in ((10, "png"), (2, "jpg"), (1, "webp"), (30, "bmp"), (4, "tiff")):
        Image.fromarray(picture(number)).save(folder / f"img{number}.{suffix}")
    (folder / ".hidden.png").write_bytes(b"no image")
    (folder / "notes.txt").write_text("ignored")
    with open_source(str(folder)) as source:
        assert (source.kind, source.name, source.length, source.exact_length) == ("folder", "my clip", 5, True)
        frames = list(source)
    assert [frame.name for frame in frames] == ["img1", "img2", "img4", "img10", "img30"]
    assert np.array_equal(frames[3].image, picture(10))
    assert frames[2].time == pytest.approx(2 / source.fps)
    part = open_source(folder, start=1, end=3)
    assert [(frame.index, frame.name) for frame in part] == [(1, "img2"), (2, "img4")]
    assert part.has_frame(2) and not part.has_frame(0) and not part.has_frame(3)


def test_folder_image_modes_become_rgb(tmp_path: Path) -> None:
    grey = np.arange(48 * 64, dtype=np.uint8).reshape(48, 64)
    Image.fromarray(grey).save(tmp_path / "a_grey.png")
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "b_deep.png")
    Image.fromarray(grey > 100).save(tmp_path / "c_bit.png")
    indexed = Image.fromarray(picture(3)).quantize(8)
    indexed.save(tmp_path / "d_indexed.png")
    alpha = np.full((48, 64, 1), FULL, np.uint8)
    alpha[:10] = 0
    Image.fromarray(np.concatenate([picture(3), alpha], axis=2)).save(tmp_path / "e_alpha.png")
    Image.fromarray(picture(3)).convert("CMYK").save(tmp_path / "f_cmyk.jpg")
    images = {frame.name[0]: frame.image for frame in open_source(tmp_path)}
    assert all(image.shape == (48, 64, 3) and image.dtype == np.uint8 for image in images.values())
    assert np.array_equal(images["a"][..., 1], grey) and np.array_equal(images["b"], images["a"])
    assert set(np.unique(images["c"])) == {0, FULL}
    assert colour_at(images["d"], 0.5, 0.2) == colour_at(images["f"], 0.5, 0.2) == "red"
    assert not images["e"][:10].any() and np.array_equal(images["e"][10:], picture(3)[10:])


def test_folder_applies_exif_rotation(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by 90 degrees clockwise
    Image.fromarray(picture(1)).save(tmp_path / "a.png", exif=exif)
    Image.fromarray(np.ascontiguousarray(np.rot90(picture(1), -1))).save(tmp_path / "b.png")
    source = open_source(tmp_path)
    first, second = (frame.image for frame in source)
    assert (source.height, source.width) == (64, 48)
    assert np.array_equal(first, second)


def test_folder_of_mixed_sizes_names_both(tmp_path: Path) -> None:
    Image.fromarray(picture(0)).save(tmp_path / "a.png")
    Image.fromarray(picture(0, 50, 60)).save(tmp_path / "b.png")
    with pytest.raises(InputError, match=r"a\.png is 64x48 but b\.png is 60x50.*give a folder of each size"):
        open_source(tmp_path)


def test_folder_with_two_files_of_one_stem_names_both(tmp_path: Path) -> None:
    Image.fromarray(picture(0)).save(tmp_path / "a.png")
    Image.fromarray(picture(0)).save(tmp_path / "a.jpg")
    with pytest.raises(InputError, match=r"a\.jpg and a\.png"):
        open_source(tmp_path)


def test_folder_without_images_says_what_is_there(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(InputError, match="it is empty"):
        open_source(empty)
    videos = tmp_path / "videos"
    videos.mkdir()
    (videos / "one.mp4").touch()
    with pytest.raises(InputError, match=r"1 \.mp4 file; did you mean .*one\.mp4\?"):
        open_source(videos)
    nested = tmp_path / "davis"
    for kind in ("Annotations", "JPEGImages"):
        (nested / kind / "480p" / "bear").mkdir(parents=True)
        Image.fromarray(picture(0)).save(nested / kind / "480p" / "bear" / "00000.png")
    with pytest.raises(InputError, match=r"Annotations, JPEGImages; did you mean .*JPEGImages/480p/bear\?"):
        open_source(nested)


def test_damaged_image_is_named(tmp_path: Path) -> None:
    Image.fromarray(picture(0)).save(tmp_path / "a.png")
    noise = np.random.default_rng(0).integers(0, FULL, (48, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "b.png")
    whole = (tmp_path / "b.png").read_bytes()
    (tmp_path / "b.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"b\.png"):
        list(open_source(tmp_path))
    (tmp_path / "b.png").write_text("no image")
    with pytest.raises(InputError, match=r"b\.png is not an image"):
        open_source(tmp_path)


def test_a_link_to_a_missing_image_is_named(tmp_path: Path) -> None:
    for index in range(2):
        Image.fromarray(picture(index)).save(tmp_path / f"{index}.png")
    (tmp_path / "2.png").symlink_to("moved.png")
    with pytest.raises(InputError, match=r"2\.png is a link to moved\.png, which does not exist"):
        open_source(tmp_path)


def test_what_a_folder_holds_and_is_not_used_is_named(tmp_path: Path) -> None:
    for index in range(4):
        Image.fromarray(picture(index)).save(tmp_path / f"{index}.jpg")
    Image.fromarray(picture(1)).save(tmp_path / "3.gif", save_all=True, append_images=[Image.fromarray(picture(2))])
    (tmp_path / "3.jpg").unlink()
    Image.fromarray(np.zeros((48, 64), np.uint8)).save(tmp_path / "2_mask.png")
    (tmp_path / "4.psd").touch()
    source = open_source(tmp_path)
    assert [frame.name for frame in source] == ["0", "1", "2", "3"]
    said = "\n".join(source.warnings)
    assert "1 .psd file" in said and "frames: 2_mask.png;" in said and "3.gif is used; to use all" in said


def test_pictures_added_while_a_folder_is_read_are_said_to_be_left_out(tmp_path: Path) -> None:
    for index in range(2):
        Image.fromarray(picture(index)).save(tmp_path / f"{index}.png")
    source, part = open_source(tmp_path), open_source(tmp_path, end=2)
    assert len(list(source)) == 2 and not source.warnings
    Image.fromarray(picture(2)).save(tmp_path / "2.png")
    assert len(list(source)) == 2 and len(list(part)) == 2 and not part.warnings
    assert source.warnings == [f"{tmp_path} grew while it was read: the new pictures are left out; read it again"]


@pytest.mark.parametrize("word", ["mask", "cp_masks", "seg"])
def test_many_masks_among_the_frames_are_named_in_one_sentence(tmp_path: Path, word: str) -> None:
    for index in range(12):  # as grey as Cellpose's pictures
        Image.fromarray(picture(index)[..., 0]).save(tmp_path / f"{index}.tif")
        Image.fromarray(np.zeros((48, 64), np.uint8)).save(tmp_path / f"{index}_{word}.png")
    source = open_source(tmp_path)
    assert source.length == 12
    (said,) = source.warnings
    assert f"masks among the frames: 0_{word}.png, 1_{word}.png, 2_{word}.png and 9 more;" in said


OWN_PALETTE = np.random.default_rng(0).integers(0, FULL, (FULL, 3), dtype=np.uint8)
OWN_PALETTE[0] = 0


def coloured(labels: np.ndarray, palette: np.ndarray) -> Image.Image:
    picture = Image.fromarray(labels)
    picture.putpalette(palette.tobytes())
    return picture


@pytest.mark.parametrize("kind", ["ids", "white", "bits", "colours", "youtube", "own palette"])
def test_masks_are_no_frames_and_pictures_of_any_mode_are(tmp_path: Path, kind: str) -> None:
    labels = np.zeros((48, 64), np.uint8)
    labels[10:30, 20:40] = 1
    drawn = {
        "ids": coloured(labels, davis_palette()),
        "bits": Image.fromarray(labels > 0),
        "youtube": coloured(labels * 3, youtube_palette()),
        "own palette": coloured(labels, OWN_PALETTE),
    }.get(kind, Image.fromarray(labels * FULL))
    masks, pictures = tmp_path / "Annotations", tmp_path / "pictures"
    masks.mkdir()
    pictures.mkdir()
    for name in ("00000.png", "00001.png"):
        drawn.save(masks / name)
        shown = Image.fromarray(picture(1))
        (shown.quantize(16) if kind == "colours" else shown.convert("L")).save(pictures / name)
    with pytest.raises(InputError, match="Annotations holds masks, not frames; give their video or images"):
        open_source(masks)
    assert len(list(open_source(pictures))) == 2


@pytest.mark.parametrize("mode", ["L", "1", "P"])
def test_black_and_white_pictures_are_frames_unless_their_folder_is_called_after_masks(
    tmp_path: Path, mode: str
) -> None:
    drawing = np.zeros((48, 64), np.uint8)
    drawing[10:30, 20:40] = FULL
    for folder in ("drawings", "gt/480p/bear"):
        (tmp_path / folder).mkdir(parents=True)
        for name in ("0.png", "1.png"):
            picture = Image.fromarray(drawing)
            (picture.convert("RGB").quantize(4) if mode == "P" else picture.convert(mode)).save(
                tmp_path / folder / name
            )
    source = open_source(tmp_path / "drawings")
    assert [np.unique(frame.image).tolist() for frame in source] == [[0, FULL]] * 2
    (said,) = source.warnings
    assert "drawings may hold masks, because its first image is black and white; it is read as frames" in said
    for name in ("0.png", "1.png"):  # in two colours
        coloured(drawing // FULL, np.array([(255, 0, 0), (0, 255, 255)], np.uint8)).save(tmp_path / "drawings" / name)
    assert open_source(tmp_path / "drawings").warnings == []
    with pytest.raises(InputError, match=r"bear holds masks, not frames; .* save them as RGB"):
        open_source(tmp_path / "gt/480p/bear")
