"""`hodor segment` as a user types it: a real mp4, a real mask, a toy network."""

from __future__ import annotations

import errno
import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from command import hodor, refused
from conftest import moving_square, write_video
from PIL import Image
from segment_fakes import read_video
from typer.testing import CliRunner, Result

import hodor_cli
from hodor_cli import SegmentOptions
from hodor_cli.cli import app
from hodor_cli.cli.segment_texts import print_summary
from hodor_cli.engine.segmenter import Segmenter
from hodor_cli.errors import UsageError
from hodor_cli.images.label_png import read_label_png
from hodor_cli.model import build_model
from hodor_cli.records import ReviewItem
from hodor_cli.run.settings import SegmentSummary
from hodor_cli.weights.checkpoint import save_checkpoint

COUNT = 12


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of the toy network, with random weights."""
    import torch

    path = tmp_path_factory.mktemp("weights") / "toy.safetensors"
    torch.manual_seed(0)
    model = build_model("toy")
    save_checkpoint(path, model)
    return path


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """clip.mp4 and its first mask, mask.png (0 and 255), in one folder."""
    folder = tmp_path_factory.mktemp("clip")
    frames, masks = moving_square(COUNT)
    write_video(folder / "clip.mp4", frames)
    Image.fromarray(masks[0] * 255).save(folder / "mask.png")
    return folder


def segment(*arguments: object, code: int = 0) -> Result:
    result = hodor("segment", *arguments, code=code)
    assert result.output.count("error: ") == (code != 0)
    return result


def test_exports_that_read_a_pipe_again_are_refused_before_the_run(tmp_path: Path, clip: Path) -> None:
    write_video(tmp_path / "clip.mkv", moving_square(COUNT)[0])
    arguments = ["segment", "-", "--mask", clip / "mask.png", "-o", tmp_path / "out", "--export", "csv,prores"]
    result = CliRunner().invoke(app, [str(part) for part in arguments], input=(tmp_path / "clip.mkv").read_bytes())
    wanted = "error: prores reads standard input again, which is impossible; save the video first\n"
    assert result.output.endswith(wanted) and result.exit_code == 2 and not (tmp_path / "out").exists()


def test_the_main_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clip: Path, toy: Path) -> None:
    monkeypatch.chdir(tmp_path)
    result = segment(clip / "clip.mp4", "--mask", clip / "mask.png", "--weights", toy, "--coco", "--export", "csv")
    out = tmp_path / "clip.hodor"
    assert len(list((out / "masks").glob("*.png"))) == COUNT
    assert len(read_video(out / "overlay.mp4")) == COUNT
    assert "12 frames, object 1" in result.output and "clip.hodor/overlay.mp4" in result.output
    noted = "mask.png holds only 0 and 255: it is one object, with id 1"  # once on the terminal, and in the report
    assert result.output.count(noted) == 1 and noted in json.loads((out / "report.json").read_text())["warnings"]
    assert re.search(r"\d frames/s", result.output) and "review" in result.output
    assert "Frame 0: object 1 from" in result.output
    report = json.loads((out / "report.json").read_text())
    assert report["weights"]["name"] == str(toy) and re.fullmatch(r"[0-9a-f]{64}", report["weights"]["fingerprint"])
    assert report["used"]["device"] in ("cpu", "cuda", "mps") and report["used"]["min_dim"] == 64
    assert (out / "export" / "csv" / "tracks.csv").is_file() and not (out / ".progress").exists()
    annotations = json.loads((out / "export" / "coco-video" / "annotations.json").read_text())
    assert json.loads((out / "annotations.json").read_text()) == annotations  # where version 0.1 wrote it
    assert len(annotations["annotations"][0]["segmentations"]) == COUNT
    assert "warning: --coco is --export coco-video" in result.output
    again = segment(clip / "clip.mp4", "--mask", clip / "mask.png", "--weights", toy, "--overwrite", "--export", "csv")
    assert not (out / "export" / "coco-video").exists() and (out / "export" / "csv").is_dir()
    assert "hodor export clip.hodor --to coco-video" in again.output


def test_the_way_out_of_a_full_disk_at_an_export_can_be_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clip: Path, toy: Path
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    out = tmp_path / "two words"
    arguments = ("--weights", toy, "--no-overlay", "-o", out, "--export", "csv,coco")
    with monkeypatch.context() as patch:
        patch.setattr("hodor_cli.formats.writing.put_in_place", full)
        said = refused("segment", clip / "clip.mp4", "--mask", clip / "mask.png", *arguments, code=6)
    program, *typed = shlex.split(said.partition("make room and run ")[2])
    hodor(*typed)
    assert program == "hodor" and {path.name for path in (out / "export").iterdir()} == {"csv", "coco"}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--name", "7=mug"), "there is no object 7 to name"),
        (("--name", "mug"), "'mug' is not a valid name"),
        (("--remove", "7=3"), "object 7 cannot be removed in frame 3"),
        (("--appear", "7=3"), "object 7 cannot appear in frame 3"),
        (("--adapt=5x",), "5x"),
        (("--max-dim", "40"), "--max-dim must be 64 (--min-dim) to"),
    ],
)
def test_bad_options_are_refused_before_masks_are_reported(
    clip: Path, toy: Path, tmp_path: Path, options: tuple[str, ...], said: str
) -> None:
    arguments = ("--mask", clip / "mask.png", "--weights", toy, "-o", tmp_path / "out", *options)
    result = CliRunner().invoke(app, ["segment", *map(str, (clip / "clip.mp4", *arguments))])
    assert result.exit_code == 2 and said in result.output and "Frame 0" not in result.output
    assert not (tmp_path / "out").exists()


def test_a_video_as_mask_is_refused(clip: Path) -> None:
    said = refused("segment", clip / "mask.png", "--mask", clip / "clip.mp4", code=2)
    assert "clip.mp4 is a video; give the video first, and its mask after --mask" in said


def test_preview_says_that_it_writes_no_results(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = segment(clip / "clip.mp4", "--mask", clip / "mask.png", "--preview", "-o", "out")
    assert "--preview does not write to out" in result.stderr and not (tmp_path / "out").exists()


def test_unusable_weights_are_refused_before_masks_are_reported(tmp_path: Path, clip: Path) -> None:
    given = (clip / "clip.mp4", "--mask", clip / "mask.png", "--weights", "none", "-o", tmp_path / "out")
    assert segment(*given, code=4).output.startswith("error: there are no weights named 'none'")
    assert hodor("suggest", *given[:5], code=4).output.startswith("error: there are no weights named 'none'")


def test_a_second_thread_looks_ahead(tmp_path: Path, clip: Path, toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    expected: list[object] = []
    monkeypatch.setattr(Segmenter, "expect", lambda self, frame: expected.append(frame))
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        segment(
            clip / "clip.mp4", "--mask", clip / "mask.png", "--weights", toy, "--device", "cpu", "-o", tmp_path / "out"
        )
    finally:
        torch.set_num_threads(threads)
    assert len(expected) == COUNT - 1


def test_no_matching_uses_descriptors_alone(tmp_path: Path, clip: Path) -> None:
    arguments = (clip / "clip.mp4", "--mask", clip / "mask.png", "--end", 4, "--min-dim", 64, "--no-overlay")
    segment(*arguments, "-o", tmp_path / "with")
    segment(*arguments, "-o", tmp_path / "without", "--no-matching")
    reports = [json.loads((tmp_path / name / "report.json").read_text()) for name in ("with", "without")]
    assert [report["settings"]["matching"] for report in reports] == [True, False]
    assert reports[0]["frames"] != reports[1]["frames"]
    assert "matching" in segment(*arguments, "-o", tmp_path / "with", "--no-matching", "--resume", code=6).output


def test_segment_video_is_the_same_command(tmp_path: Path, clip: Path, toy: Path) -> None:
    arguments = [
        clip / "clip.mp4",
        "--mask",
        clip / "mask.png",
        "--weights",
        toy,
        "-o",
        tmp_path / "out",
        "--no-overlay",
    ]
    result = hodor("segment-video", *arguments)
    assert "warning: hodor segment-video is hodor segment now" in result.stderr
    assert (tmp_path / "out" / "report.json").is_file() and not (tmp_path / "out" / "overlay.mp4").exists()


def test_a_window_of_a_folder_keeps_the_images_names(tmp_path: Path, clip: Path, toy: Path) -> None:
    frames, _ = moving_square(6)
    (tmp_path / "shots").mkdir()
    for number, frame in enumerate(frames, start=8):
        Image.fromarray(frame).save(tmp_path / "shots" / f"img{number}.png")
    options = ["--weights", toy, "--start", 1, "--end", 4, "-o", tmp_path / "out"]
    result = segment(tmp_path / "shots", "--mask", clip / "mask.png", *options)
    assert sorted(path.name for path in (tmp_path / "out" / "masks").iterdir()) == [
        "img10.png",
        "img11.png",
        "img9.png",
    ]
    assert "Frame 1: object 1" in result.output


def test_a_box_instead_of_a_mask(tmp_path: Path, clip: Path, toy: Path) -> None:
    options = ["--weights", toy, "-o", tmp_path / "out"]
    # The mask has the id 1, so the box's object becomes 2.
    segment(clip / "clip.mp4", "--mask", f"3={clip / 'mask.png'}", "--box", "0=2,18,26,28", *options)

    made = read_label_png(tmp_path / "out" / "box_masks" / "00000_id2.png")
    _, masks = moving_square(COUNT)
    assert set(np.unique(made)) == {0, 2}
    assert ((made == 2) & (masks[0] == 1)).sum() / ((made == 2) | (masks[0] == 1)).sum() > 0.8


def test_existing_results_resume_and_overwrite(tmp_path: Path, clip: Path, toy: Path) -> None:
    options = [clip / "clip.mp4", "--mask", clip / "mask.png", "--weights", toy, "-o", tmp_path / "out"]
    segment(*options)
    refused = segment(*options, "--mask", "not-read-before-this", "--box", "0=2,18,26,28", code=6).output
    assert re.search("--resume.*--overwrite", refused) and "from the box" not in refused
    assert "finished already" in segment(*options, "--resume").output
    assert "history (7 then, 2 now)" in segment(*options, "--resume", "--history", 2, code=6).output
    segment(*options, "--overwrite", "--history", 2)
    assert json.loads((tmp_path / "out" / "report.json").read_text())["settings"]["history"] == 2


def test_the_results_of_a_run_are_no_source_of_the_run_that_replaces_them(
    tmp_path: Path, clip: Path, toy: Path
) -> None:
    out = tmp_path / "out"
    network = ("--weights", toy, "-o", out)
    segment(clip / "clip.mp4", "--mask", clip / "mask.png", *network)
    said = segment(out / "overlay.mp4", "--mask", out / "masks" / "00000.png", *network, "--overwrite", code=6).output
    assert "choose another --out" in said and (out / "overlay.mp4").is_file() and (out / "report.json").is_file()


def test_a_correction_without_an_id_never_takes_the_id_of_another_object(tmp_path: Path, clip: Path, toy: Path) -> None:
    options = [clip / "clip.mp4", "--weights", toy, "-o", tmp_path / "out", "--no-overlay"]
    first = ["--box", "2,18,26,28", "--click", "12,30"]
    segment(*options, *first, "--box", "5=4,18,26,28")
    assert "finished already" in segment(*options, *first, "--box", "5=4,18,26,28", "--resume").output
    for given, example in ((["--box", "3=40,18,20,20"], "3:3=40,18,20,20"), (["--click", "3=-50,20"], "3:3=-50,20")):
        said = segment(*options, *given, "--resume", code=2).output
        assert "one of the objects 1, 2 of the earlier run" in said and example in said
    again = SegmentOptions(weights=str(toy), resume=True)
    with pytest.raises(UsageError, match="could correct one of the objects 1, 2"):
        hodor_cli.segment(clip / "clip.mp4", box=(40, 18, 20, 20), out=tmp_path / "out", options=again)
    said = segment(*options, "--click", "5=79,2", "--resume", code=2).output  # far from the only object given there
    assert "one of the objects 1, 2 of the earlier run" in said and "5:3=79,2" in said
    assert "Frame 5: object 2 from 1 click" in segment(*options, "--click", "5=12,30", "--resume").output


def test_a_name_given_later_is_in_the_report(tmp_path: Path, clip: Path, toy: Path) -> None:
    options = [clip / "clip.mp4", "--mask", clip / "mask.png", "--weights", toy, "-o", tmp_path / "out"]
    segment(*options)
    masks = {path: path.read_bytes() for path in (tmp_path / "out" / "masks").iterdir()}
    assert "no object 7 to name" in segment(*options, "--name", "7=mug", "--resume", code=2).output
    assert "0.0 frames/s" not in segment(*options, "--name", "1=mug", "--resume").output
    assert json.loads((tmp_path / "out" / "report.json").read_text())["names"] == {"1": "mug"}
    assert masks == {path: path.read_bytes() for path in (tmp_path / "out" / "masks").iterdir()}


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["nothing.mp4", "--mask", "MASK"], 3, "nothing.mp4"),
        (["CLIP"], 2, "--mask"),
        (["CLIP", "--mask", "99=MASK"], 3, "99"),
        (["CLIP", "--mask", "MASK", "--box", "1,2,3"], 2, "x,y,w,h"),
        (["CLIP", "--mask", "MASK", "--start", "50"], 3, "--start"),
        (["CLIP", "--mask", "MASK", "--weights", "no-such-weights"], None, "no-such-weights"),
        (["CLIP", "--mask", "MASK", "--resume", "--overwrite"], 2, "--resume"),
        (["CLIP", "--mask", "MASK", "--device", "tpu"], 2, "tpu"),
    ],
)
def test_bad_input_is_one_sentence_and_leaves_nothing(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    clip: Path,
    toy: Path,
    arguments: list[str],
    code: int | None,
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = [
        item.replace("CLIP", str(clip / "clip.mp4")).replace("MASK", str(clip / "mask.png")) for item in arguments
    ]
    if "--weights" not in arguments:
        arguments += ["--weights", str(toy)]
    assert words in refused("segment", *arguments, code=code)
    assert not list(tmp_path.iterdir())


def test_a_truncated_video_is_segmented_as_far_as_it_goes(tmp_path: Path, clip: Path, toy: Path) -> None:
    index_first = {"movflags": "+faststart"}
    whole = write_video(tmp_path / "whole.mp4", moving_square(40)[0], options={}, container_options=index_first)
    data = whole.read_bytes()
    (tmp_path / "cut.mp4").write_bytes(data[: len(data) * 3 // 4])
    result = segment(tmp_path / "cut.mp4", "--mask", clip / "mask.png", "--weights", toy, "-o", tmp_path / "out")
    done = len(list((tmp_path / "out" / "masks").iterdir()))
    assert 0 < done < 40 and "warning: " in result.output and "cut off" in result.output
    assert any("cut off" in text for text in json.loads((tmp_path / "out" / "report.json").read_text())["warnings"])


def test_ctrl_c_says_how_to_continue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clip: Path, toy: Path) -> None:
    step, count = Segmenter.step, 0

    def interrupted(self, frame, masks=None, **at):
        nonlocal count
        count += 1
        if count == 5:
            raise KeyboardInterrupt
        return step(self, frame, masks, **at)

    monkeypatch.setattr(Segmenter, "step", interrupted)
    options = [clip / "clip.mp4", "--mask", clip / "mask.png", "--weights", toy, "-o", tmp_path / "out"]
    result = hodor("segment", *options, code=130)
    assert "--resume" in result.output
    assert "4 of them before" in segment(*options, "--resume").output
    count = 0
    said = " ".join(hodor("segment", *options, "--overwrite", code=130).output.split())
    assert "continue with the same command, with --resume instead of --overwrite" in said


def test_misplaced_values_are_explained(tmp_path: Path, clip: Path) -> None:
    out, mask = tmp_path / "out", clip / "mask.png"
    assert f"{mask} belongs to no option: a file follows its option" in refused(
        "segment", clip / "clip.mp4", mask, code=2
    )
    said = refused("segment", clip / "clip.mp4", "--box", "10", "8", "20", "20", code=2)
    assert "8 20 20 belongs to no option" in said and "joined by commas" in said
    assert "begin with two dashes" in refused("segment", clip / "clip.mp4", "-mask", mask, code=2)
    said = refused("segment", clip / "clip.mp4", "--mask", mask, "--name", "5=mug", "-o", out, code=2)
    assert said.endswith("there is no object 5 to name; the ids are 1") and not out.exists()


def test_a_cut_is_one_line_of_the_frames_to_review_for_all_objects(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cuts = [ReviewItem(number, "cut", 7, 7, "00007", "00007") for number in range(1, 21)]
    lost = [ReviewItem(1, "lost", at, at, f"{at:05d}", f"{at:05d}") for at in range(8, 32, 2)]
    print_summary(SegmentSummary(tmp_path, 40, (*range(1, 21),), 9.0, (*cuts, *lost), ()), printed=())
    lines = capsys.readouterr().out.partition("Frames to review:\n")[2].splitlines()
    assert lines[0].startswith("  00007, object 1: cut; also 19 objects (2, 3, ")
    assert lines[1] == "  00008, object 1: lost" and len(lines) == 13 and "and 1 more" in lines[-1]
