"""Masks in: what each kind of file is taken for, what is refused, and how several are brought together."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image, ImageDraw

from hodor_cli.datasets.labels.combining import PackedMask
from hodor_cli.datasets.labels.mask_file import read_mask
from hodor_cli.errors import InputError, UsageError
from hodor_cli.formats.mask_arguments import read_given
from hodor_cli.images.label_png import davis_palette, write_label_png, youtube_palette
from hodor_cli.video.frames import Frame, FrameSource, ReadSettings
from hodor_cli.video.source import open_source

H, W = 48, 64


class FakeVideo(FrameSource):
    """A video of ten frames that nobody has to decode."""

    kind, height, width, fps, length = "video", H, W, 10.0, 10

    def __init__(self, start: int = 0, end: int | None = None) -> None:
        super().__init__("clip.mp4", "clip", ReadSettings(start, end))

    def __iter__(self) -> Iterator[Frame]:
        raise NotImplementedError

    def count_up_to(self, stop_at: int) -> int:
        return 10


def read_mask_argument(argument: str, source: FrameSource) -> dict[int, PackedMask]:
    return read_given([argument], source).masks


def blocks(**areas: tuple[int, int, int, int]) -> np.ndarray:
    """Label map with `i5=(top, left, bottom, right)` filled with 5, and so on."""
    labels = np.zeros((H, W), np.uint8)
    for name, (top, left, bottom, right) in areas.items():
        labels[top:bottom, left:right] = int(name[1:])
    return labels


TWO = blocks(i1=(5, 5, 20, 20), i2=(25, 30, 40, 60))


def save(path: Path, array: np.ndarray, **settings: object) -> Path:
    if path.suffix == ".npy":
        np.save(path, array)
    else:
        Image.fromarray(array).save(path, **settings)
    return path


def soft_circle(scale: int = 4) -> np.ndarray:
    """A white disk with anti-aliased edges."""
    image = Image.new("L", (W * scale, H * scale))
    ImageDraw.Draw(image).ellipse((40, 20, 180, 150), fill=255)
    return np.asarray(image.resize((W, H), Image.Resampling.LANCZOS))


# ---- one file --------------------------------------------------------------------------------------------------------


def test_grey_and_indexed_values_are_ids(tmp_path: Path) -> None:
    for labels in (TWO, TWO * 100, blocks(i7=(1, 1, 9, 9))):
        mask = read_mask(save(tmp_path / "grey.png", labels))
        assert np.array_equal(mask.labels, labels) and mask.labels.dtype == np.uint16 and mask.notes == []
        write_label_png(tmp_path / "indexed.png", labels)
        assert np.array_equal(read_mask(tmp_path / "indexed.png").labels, labels)


@pytest.mark.parametrize("kind", ["grey", "jpeg", "bool", "npy"])
def test_black_and_white_is_one_object(tmp_path: Path, kind: str) -> None:
    there = blocks(i1=(10, 10, 40, 50)) > 0
    white = there.astype(np.uint8) * 255
    path = {
        "grey": lambda: save(tmp_path / "a.png", white),
        "jpeg": lambda: save(tmp_path / "a.jpg", white, quality=95),
        "bool": lambda: save(tmp_path / "a.npy", there),
        "npy": lambda: save(tmp_path / "a.npy", white.astype(np.int64)),
    }[kind]()
    mask = read_mask(path)
    assert np.array_equal(mask.labels, there)
    assert mask.object_ids == [1]
    if kind != "bool":
        assert any("one object" in note for note in mask.notes)


def test_255_beside_other_ids_is_void(tmp_path: Path) -> None:
    labels = TWO.copy()
    labels[0:4] = 255
    mask = read_mask(save(tmp_path / "a.png", labels))
    assert mask.object_ids == [1, 2] and "void" in mask.notes[0] and str(4 * W) in mask.notes[0]
    many = np.kron(np.arange(256, dtype=np.uint8).reshape(16, 16), np.ones((4, 4), np.uint8))
    assert read_mask(save(tmp_path / "many.png", many)).object_ids == list(range(1, 256))


def test_rgb_colours_become_objects_and_are_told(tmp_path: Path) -> None:
    rgb = np.zeros((H, W, 3), np.uint8)
    rgb[TWO == 1] = (255, 0, 0)
    rgb[TWO == 2] = (0, 200, 255)
    mask = read_mask(save(tmp_path / "a.png", rgb))
    assert np.array_equal(mask.labels, TWO)
    assert mask.colours == {1: (255, 0, 0), 2: (0, 200, 255)}
    assert "#ff0000 is 1, #00c8ff is 2" in mask.notes[0]
    later = rgb.copy()
    later[TWO == 1] = (9, 9, 90)
    assert read_mask(save(tmp_path / "b.png", later), known_colours=mask.colours).object_ids == [2, 3]


@pytest.mark.parametrize("palette", [davis_palette(), youtube_palette()])
def test_rgb_in_palette_colours_keeps_the_palettes_ids(tmp_path: Path, palette: np.ndarray) -> None:
    labels = blocks(i9=(5, 5, 20, 20), i3=(25, 30, 40, 60))
    mask = read_mask(save(tmp_path / "a.png", palette[labels]))
    assert np.array_equal(mask.labels, labels)
    other = palette.copy()
    other[3] = 7, 8, 9  # of no palette, so all colours are numbered from the top
    assert read_mask(save(tmp_path / "b.png", other[labels])).labels[5, 5] == 1


def test_rgba_painted_and_cut_out(tmp_path: Path) -> None:
    alpha = np.where(TWO > 0, 255, 0).astype(np.uint8)[..., None]
    painted = np.concatenate([np.array([(9, 9, 9), (255, 0, 0), (0, 0, 255)], np.uint8)[TWO], alpha], axis=2)
    assert np.array_equal(read_mask(save(tmp_path / "painted.png", painted)).labels, TWO)
    photo = np.random.default_rng(0).integers(0, 255, (H, W, 3), dtype=np.uint8)
    mask = read_mask(save(tmp_path / "cut.png", np.concatenate([photo, alpha], axis=2)))
    assert np.array_equal(mask.labels, TWO > 0) and "cut out by transparency" in mask.notes[0]
    whole = np.concatenate([painted[..., :3] * (TWO[..., None] > 0), np.full_like(alpha, 255)], axis=2)
    assert np.array_equal(read_mask(save(tmp_path / "whole.png", whole)).labels, TWO)


def test_npy_kinds(tmp_path: Path) -> None:
    for array in (TWO, TWO.astype(np.int64), TWO.astype(np.float32), TWO[None], TWO[..., None]):
        assert np.array_equal(read_mask(save(tmp_path / "a.npy", array)).labels, TWO)
    stack = np.stack([TWO == 1, TWO == 2])
    assert np.array_equal(read_mask(save(tmp_path / "s.npy", stack), size=(H, W)).labels, TWO)
    soft = read_mask(save(tmp_path / "p.npy", (TWO == 2) * 0.8 + 0.1))
    assert np.array_equal(soft.labels, TWO == 2) and "0.5" in soft.notes[0]


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (TWO.astype(np.int32) - 1, "-1"),
        (TWO.astype(np.int32) * 40_000, "80000"),
        (TWO.astype(np.float64) * 1.5, "fractions"),
        (np.full((H, W), np.nan), "NaN"),
        (np.zeros((2, H, W, 3)), "shape"),
        (np.ones((2, H, W), bool), f"{H * W:,} pixels to several"),
        (np.array(["a"]), "no numbers"),
        (np.zeros((H, W)), "every pixel is background"),
    ],
)
def test_bad_npy(tmp_path: Path, array: np.ndarray, words: str) -> None:
    with pytest.raises(InputError, match=words):
        read_mask(save(tmp_path / "a.npy", array), size=(H, W) if array.shape[-2:] == (H, W) else None)


def test_npy_with_python_objects_is_not_unpickled(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="Python objects"):
        read_mask(tmp_path / "a.npy")
    for content, words in ((b"\x93NUMPY broken", " that can be read"), (b"text", ", whatever its name says")):
        (tmp_path / "b.npy").write_bytes(content)
        with pytest.raises(InputError, match=rf"b\.npy is not an \.npy array{words}"):
            read_mask(tmp_path / "b.npy")


def test_wrong_size_names_both_and_the_kind_of_mismatch(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", TWO)
    with pytest.raises(InputError, match=r"64x48 but the frames are 128x96, the same aspect ratio"):
        read_mask(path, size=(96, 128))
    with pytest.raises(InputError, match=r"another aspect ratio \(1\.33, not 1\.78\)"):
        read_mask(path, size=(480, 854))
    with pytest.raises(InputError, match="is on its side"):
        read_mask(path, size=(64, 48))


def test_empty_mask(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no object"):
        read_mask(save(tmp_path / "a.png", np.zeros((H, W), np.uint8)))
    np.save(tmp_path / "soft.npy", np.full((H, W), 0.4))
    with pytest.raises(InputError, match=r"holds no object: .*read as probabilities: one object .* above 0\.5"):
        read_mask(tmp_path / "soft.npy")


def soft_files() -> dict[str, np.ndarray]:
    disk = soft_circle()
    few = np.where((disk > 60) & (disk < 200), 128, (disk >= 200) * 255).astype(np.uint8)
    rgb = np.stack([disk, disk // 2, 255 - disk], axis=2)
    label_map = Image.fromarray(TWO * 10).resize((2 * W, 2 * H), Image.Resampling.BILINEAR)
    return {"grey": disk, "few levels": few, "rgb": rgb, "resized label map": np.asarray(label_map)}


@pytest.mark.parametrize("kind", ["grey", "few levels", "rgb", "resized label map"])
def test_soft_edges_are_refused_with_their_cause(tmp_path: Path, kind: str) -> None:
    with pytest.raises(InputError, match=r"soft edges: .* only along edges"):
        read_mask(save(tmp_path / "a.png", soft_files()[kind]))


def test_soft_binary_mask_is_told_to_threshold_and_jpeg_copy_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="threshold it at 128"):
        read_mask(save(tmp_path / "a.png", soft_circle()))
    once_jpeg = Image.open(save(tmp_path / "a.jpg", (soft_circle() > 127).astype(np.uint8) * 255, quality=60))
    with pytest.raises(InputError, match="JPEG"):
        read_mask(save(tmp_path / "b.png", np.asarray(once_jpeg)))


def test_photographs_given_as_masks_are_told_what_makes_masks(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (H, W, 3), dtype=np.uint8)
    for name, image in (("0.jpg", noise), ("0.png", noise[..., 0])):
        (tmp_path / name[2:]).mkdir()
        Image.fromarray(image).save(tmp_path / name[2:] / name)
        with pytest.raises(InputError, match=r"draw (its|a) mask with `hodor annotate`"):
            read_mask_argument(str(tmp_path / name[2:]), FakeVideo())


def test_a_descriptor_file_given_as_a_mask_is_no_picture(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "objects.h5", "w"):
        pass
    with pytest.raises(InputError, match=r"objects\.h5 is not a mask image that can be read"):
        read_mask(tmp_path / "objects.h5")


def test_lossless_looking_jpeg_is_noticed(tmp_path: Path) -> None:
    near = blocks(i255=(5, 5, 20, 20), i254=(20, 5, 30, 20), i1=(40, 40, 45, 60))
    with pytest.raises(InputError, match="values close to 0 and 255"):
        read_mask(save(tmp_path / "a.png", near))


def test_photograph_is_no_mask(tmp_path: Path) -> None:
    photo = np.random.default_rng(0).normal(120, 40, (H, W, 3)).clip(0, 255).astype(np.uint8)
    with pytest.raises(InputError, match="photograph"):
        read_mask(save(tmp_path / "a.png", photo))
    with pytest.raises(InputError, match="save the mask as PNG"):
        read_mask(save(tmp_path / "a.jpg", photo))


def test_small_and_thin_objects_are_not_taken_for_soft_edges(tmp_path: Path) -> None:
    labels = blocks(i1=(2, 2, 20, 20), i2=(30, 30, 31, 60))
    for number in range(3, 30):  # dots of two pixels
        labels[44, 2 * number] = labels[45, 2 * number] = number
    mask = read_mask(save(tmp_path / "a.png", labels))
    assert mask.object_ids == list(range(1, 30)) and mask.notes == []


def test_files_that_are_no_masks(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("no image")
    with pytest.raises(InputError, match=r"a\.png is not a mask image"):
        read_mask(tmp_path / "a.png")
    with pytest.raises(InputError, match="is a folder"):
        read_mask(tmp_path)
    with pytest.raises(InputError, match=r"no mask .*did you mean .*a\.png"):
        read_mask(tmp_path / "aa.png")


def test_black_in_the_middle_of_a_palette_is_pointed_out(tmp_path: Path) -> None:
    image = Image.fromarray(TWO)
    image.putpalette([255, 255, 255, 0, 0, 0, 90, 0, 0])
    image.save(tmp_path / "a.png")
    assert "index 0, drawn in #ffffff, is the background" in read_mask(tmp_path / "a.png").notes[0]


# ---- arguments -------------------------------------------------------------------------------------------------------


def test_argument_with_and_without_frame(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", TWO)
    assert list(read_mask_argument(str(path), FakeVideo())) == [0]
    assert list(read_mask_argument(str(path), FakeVideo(start=4))) == [4]
    assert list(read_mask_argument(f"7={path}", FakeVideo())) == [7]
    odd = save(tmp_path / "5=b.png", TWO)
    assert list(read_mask_argument(str(odd), FakeVideo())) == [0]


def test_argument_frame_errors(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", TWO)
    with pytest.raises(InputError, match=r"past the end: clip\.mp4 has frames 0 to 9"):
        read_mask_argument(f"10={path}", FakeVideo())
    with pytest.raises(InputError, match="before `start` 4"):
        read_mask_argument(f"3={path}", FakeVideo(start=4))
    with pytest.raises(InputError, match="`end` is 5"):
        read_mask_argument(f"5={path}", FakeVideo(end=5))
    with pytest.raises(UsageError, match="count from 0"):
        read_mask_argument(f"-1={path}", FakeVideo())
    with pytest.raises(UsageError, match="must be a number"):
        read_mask_argument(f"first={path}", FakeVideo())
    for nothing in ("", "0="):
        with pytest.raises(UsageError, match="names no file"):
            read_mask_argument(nothing, FakeVideo())
    with pytest.raises(UsageError, match="folder"):
        read_mask_argument(f"0={tmp_path}", FakeVideo())
    with pytest.raises(InputError, match="no mask"):
        read_mask_argument(f"0={tmp_path / 'nothing.png'}", FakeVideo())


def test_folder_of_masks_for_a_video_goes_by_number(tmp_path: Path) -> None:
    for name in ("00000", "00004", "7", "00012"):  # the last is past the end
        save(tmp_path / f"{name}.png", TWO)
    save(tmp_path / "00005.png", np.zeros((H, W), np.uint8))  # nothing there yet: no reference mask
    (tmp_path / "readme.txt").touch()
    assert list(read_given([str(tmp_path)], FakeVideo()).masks) == [0, 4, 7]


def test_folder_of_masks_for_images_goes_by_stem(tmp_path: Path) -> None:
    images, masks = tmp_path / "images", tmp_path / "masks"
    images.mkdir()
    masks.mkdir()
    for name in ("car_a", "car_b", "car_c"):
        save(images / f"{name}.jpg", np.zeros((H, W, 3), np.uint8))
    save(masks / "car_b.png", TWO)
    save(masks / "other.png", TWO)
    source = open_source(images)
    assert list(read_given([str(masks)], source).masks) == [1]
    (masks / "car_b.png").rename(masks / "00002.png")
    assert list(read_given([str(masks)], source).masks) == [2]
    (masks / "00002.png").unlink()
    with pytest.raises(InputError, match=r"named like other\.png, the frames like car_a"):
        read_given([str(masks)], source)


def test_folder_without_masks(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").touch()
    with pytest.raises(InputError, match=r"no masks \(PNG or \.npy\) but 1 \.mp4 file"):
        read_given([str(tmp_path)], FakeVideo())
    (tmp_path / "a.mp4").unlink()
    save(tmp_path / "00000.png", np.zeros((H, W), np.uint8))
    with pytest.raises(InputError, match="hold no object"):
        read_given([str(tmp_path)], FakeVideo())


def test_one_object_masks_of_a_frame_are_numbered_in_order(tmp_path: Path) -> None:
    first = save(tmp_path / "dog.png", (TWO == 1).astype(np.uint8) * 255)
    second = save(tmp_path / "cat.png", TWO == 2)
    combined = read_given([str(first), str(second)], FakeVideo()).masks
    assert list(combined) == [0] and combined[0].object_ids == (1, 2)
    assert np.array_equal(combined[0].labels, TWO)
    assert any("dog.png is 1, cat.png is 2" in note for note in combined[0].notes)
    assert combined[0].files == (str(first), str(second))


def test_given_ids_stay_and_one_object_masks_make_room(tmp_path: Path) -> None:
    ids = save(tmp_path / "ids.png", blocks(i1=(5, 5, 20, 20), i3=(25, 30, 40, 60)))
    other = save(tmp_path / "other.png", blocks(i1=(2, 40, 20, 60)) * 255)
    later = save(tmp_path / "later.png", blocks(i2=(1, 1, 9, 9)))
    combined = read_given([str(other), str(ids), f"5={later}"], FakeVideo()).masks
    assert combined[0].object_ids == (1, 3, 4)  # 2 is taken at frame 5
    assert int(combined[0].labels[10, 50]) == 4
    assert any("other.png is 4" in note for note in combined[0].notes)


def test_masks_that_claim_the_same_pixels(tmp_path: Path) -> None:
    first = save(tmp_path / "a.png", blocks(i1=(0, 0, 10, 10)))
    second = save(tmp_path / "b.png", blocks(i5=(5, 5, 15, 15)))
    words = r"a\.png and .*b\.png give 25 pixels of frame 2 to the objects 1 and 5"
    with pytest.raises(InputError, match=words):
        read_given([f"2={first}", f"2={second}"], FakeVideo())
    with pytest.raises(InputError, match="objects 1 and 2"):
        read_given([str(first), str(first)], FakeVideo())
    white = save(tmp_path / "white.png", blocks(i1=(0, 0, 10, 10)) * 255)
    both = save(tmp_path / "both.png", blocks(i1=(5, 5, 15, 15), i2=(20, 20, 30, 30)))
    for given in (white, both), (both, white):
        with pytest.raises(InputError, match=r"of one object gets a free id: white\.png is 3\); trim one mask"):
            read_given([*map(str, given)], FakeVideo())
    assert list(read_given([f"2={first}", f"3={second}"], FakeVideo()).masks) == [2, 3]


def test_two_masks_of_an_object_in_one_frame_must_agree(tmp_path: Path) -> None:
    first, same = (
        save(tmp_path / "a.png", blocks(i2=(0, 0, 10, 10))),
        save(tmp_path / "c.png", blocks(i2=(0, 0, 10, 10))),
    )
    other = save(tmp_path / "b.png", blocks(i2=(20, 20, 30, 30)))
    words = r"a\.png and .*b\.png give different masks of object 2 in frame 5; give only one of them"
    for arguments in ([f"5={first}", f"5={other}"], [f"5:2={first}", f"5:2={other}"], [f"5={first}", f"5:2={other}"]):
        with pytest.raises(InputError, match=words):
            read_given(arguments, FakeVideo())
    assert read_given([f"5={first}", f"5:2={same}"], FakeVideo()).masks[5].object_ids == (2,)


def test_an_id_that_the_user_names_is_not_given_to_another_object(tmp_path: Path) -> None:
    first, second = (
        save(tmp_path / "a.png", blocks(i1=(0, 0, 9, 9))),
        save(tmp_path / "b.png", blocks(i1=(20, 20, 30, 30))),
    )
    combined = read_given([f"5={first}", f"5:1={second}"], FakeVideo()).masks[5]
    assert combined.object_ids == (1, 2) and combined.labels[25, 25] == 1
    with pytest.raises(InputError, match="different masks of object 1"):
        read_given([f"5:1={first}", f"5:1={second}"], FakeVideo())


def test_a_second_mask_of_an_object_is_said_to_correct_it(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", (TWO == 1).astype(np.uint8) * 255)
    combined = read_given([f"0={path}", f"6={path}", f"7={path}"], FakeVideo()).masks
    assert combined[6].object_ids == (1,)
    assert any("corrects the object 1 of frame 0" in note for note in combined[6].notes)
    assert not any("corrects" in note for note in combined[7].notes)  # it is told once


def test_a_colour_is_one_object_over_all_files(tmp_path: Path) -> None:
    colours = np.array([(0, 0, 0), (250, 0, 0), (0, 0, 250)], np.uint8)
    save(tmp_path / "0.png", colours[TWO * (TWO == 2)])
    save(tmp_path / "1.png", colours[TWO])
    combined = read_given([str(tmp_path)], FakeVideo()).masks
    assert combined[0].object_ids == (1,) and combined[1].colours == {1: (0, 0, 250), 2: (250, 0, 0)}
    assert np.array_equal(combined[1].labels == 1, TWO == 2)


def test_real_annotations(data_dir: Path) -> None:
    images = data_dir / "davis_multi/JPEGImages/240p/schoolgirls"
    source = open_source(images, end=3)
    combined = read_given([str(data_dir / "davis_multi/Annotations/240p/schoolgirls")], source).masks
    assert list(combined) == [0, 1, 2] and combined[0].object_ids == (1, 2, 3, 4, 5, 6, 7)
    single = read_mask(data_dir / "davis2016_dev/Annotations/480p/libby/00000.png", size=(480, 854))
    assert single.object_ids == [1]


def test_a_colour_is_the_canvas_only_if_it_fills_nearly_the_whole_border(tmp_path: Path) -> None:
    picture = np.full((20, 20, 3), 255, np.uint8)
    picture[:, 19] = (200, 0, 0)
    Image.fromarray(picture).save(tmp_path / "edge.png")
    assert np.unique(read_mask(tmp_path / "edge.png").labels).tolist() == [1, 2]
    picture[:, 19] = 255
    picture[5:9, 5:9] = (200, 0, 0)
    Image.fromarray(picture).save(tmp_path / "inside.png")
    assert np.unique(read_mask(tmp_path / "inside.png").labels).tolist() == [0, 1]


def test_a_mask_that_may_be_inverted_is_said(tmp_path: Path) -> None:
    labels = np.full((H, W), 255, np.uint8)
    labels[10:30, 20:40] = 0
    Image.fromarray(labels).save(tmp_path / "inverted.png")
    Image.fromarray(255 - labels).save(tmp_path / "object.png")
    inverted, meant = read_mask(tmp_path / "inverted.png"), read_mask(tmp_path / "object.png")
    assert "inverted.png: objects cover the whole edge of the picture" in inverted.notes[-1] and inverted.labels[0, 0]
    assert not any("edge" in note for note in meant.notes)
    canvas = np.full((H, W, 3), 255, np.uint8)
    canvas[10:30, 20:40] = (200, 0, 0)
    canvas[10:12, 20:40] = 0  # black is the background, so white is an object
    Image.fromarray(canvas).save(tmp_path / "canvas.png")
    assert read_mask(tmp_path / "canvas.png").notes[-1].endswith("if that is the background, paint it black")
