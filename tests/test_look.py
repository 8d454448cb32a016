"""`hodor look`: coordinates that are right, and the mask a run would start from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from command import hodor
from PIL import Image

from hodor_cli.run.choosing import draw_look, grid_step


@pytest.fixture
def clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three frames with a red square on a ground of blue noise, which moves by 10 px."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "clip"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for index in range(3):
        picture = rng.integers(0, 60, (120, 160, 3), dtype=np.uint8)
        picture[..., 2] += 120
        picture[40:80, 50 + 10 * index : 90 + 10 * index] = (210, 40, 30)
        Image.fromarray(picture).save(folder / f"{index:05d}.png")
    return folder


def look(*arguments: str, code: int = 0) -> str:
    result = hodor("look", *arguments, code=code)
    return result.output


def test_the_picture_has_the_frames_size_and_is_named_by_the_frame(clip: Path) -> None:
    assert "clip.frame1.png: frame 1 of clip, 160x120, a line every 20 px" in look("clip", "--frame", "1")
    with Image.open("clip.frame1.png") as picture:
        assert picture.size == (160, 120)
    look("clip", "--frame", "1")  # its own picture makes room
    Image.new("RGB", (4, 4)).save("clip.frame1.png")
    assert "exists already" in look("clip", "--frame", "1", code=6)
    look("clip", "--frame", "1", "--overwrite")


def test_the_frame_of_the_first_mask_is_shown_by_both_spellings(clip: Path) -> None:
    boxes = ("--box", "2=72,42,40,40", "--box", "1:5=62,42,40,40")
    said = look("clip", *boxes)
    assert "clip.frame1.png: frame 1 of clip" in said and "object 5: " in said
    drawn = Path("clip.frame1.png").read_bytes()
    result = hodor("segment", "clip", *boxes, "--preview")
    assert result.output == said, result.output
    assert Path("clip.frame1.png").read_bytes() == drawn and not Path("clip.hodor").exists()


def test_a_box_shows_the_mask_it_would_become_in_the_frame_that_is_shown(clip: Path) -> None:
    said = look("clip", "--frame", "2", "--box", "62,32,60,60", "-o", "look.png")
    assert "object 1: " in said
    pixels = int(said.split("object 1: ")[1].split(" ")[0].replace(",", ""))
    assert abs(pixels - 1600) < 160
    drawn = np.asarray(Image.open("look.png")).astype(int)
    plain = np.asarray(Image.open(clip / "00002.png")).astype(int)
    assert np.abs(drawn - plain)[50:70, 75:105].mean() > 30  # where the object is
    assert np.abs(drawn - plain)[90:110, 30:38].mean() < 12  # and not elsewhere, but for the grid


def test_a_mask_is_shown_with_its_ids(clip: Path) -> None:
    labels = np.zeros((120, 160), np.uint8)
    labels[40:80, 50:90] = 3
    Image.fromarray(labels).save("m.png")
    assert "object 3: 1,600 pixels" in look("clip", "--mask", "m.png")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["clip", "-o", "grid.jpg"], 6, "give --out a name that ends in .png"),
        (
            ["clip/00000.png", "-o", "clip/00000.png", "--overwrite"],
            6,
            "is an input of this command and is not overwritten",
        ),
        (["nothing.mp4"], 3, "nothing.mp4"),
        (["clip", "--frame", "9"], 3, "9"),
        (["clip", "--box", "150,100,60,60"], 2, "reaches outside"),
        (["clip", "--mask", "none.png"], 3, "none.png"),
        (["clip", "-o", "."], 6, ". is a folder; name a picture in it"),
    ],
)
def test_mistakes_are_one_sentence(clip: Path, arguments: list[str], code: int, said: str) -> None:
    text = look(*arguments, code=code)
    assert said in text and text.count("\n") == 1 and "start" not in text


def test_what_was_done_to_the_frame_is_told(clip: Path) -> None:
    deep = (np.arange(120 * 160, dtype=np.uint16) % 3000).reshape(120, 160)
    Image.fromarray(deep).save("deep.png")
    assert "16-bit values are scaled so that 0 becomes black and 4095 white" in look("deep.png")


def test_lines_lie_at_their_coordinates() -> None:
    grey = np.full((200, 300, 3), 60, np.uint8)
    drawn = draw_look(grey).astype(int)
    step = grid_step(300)
    assert step == 25
    clear = drawn[190]  # below all digits
    assert [x for x in range(300) if clear[x, 0] > 80] == list(range(step, 300, step))


def test_the_grid_never_has_too_many_lines() -> None:
    for side in (32, 160, 854, 1920, 4096, 8192):
        assert side / grid_step(side) <= 13
    assert grid_step(1280) == 100
