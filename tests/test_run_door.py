"""`hodor_cli.segment`, the one call, and how its result shows itself: in a notebook and as review.html."""

from __future__ import annotations

import json
import os
import re
import tracemalloc
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from browser import Browser
from conftest import write_video
from msgspec.structs import replace
from PIL import Image
from segment_fakes import ColourSegmenter

import hodor_cli
from hodor_cli import MaskFile
from hodor_cli.errors import InputError, OutputError, UsageError
from hodor_cli.evaluation.output import check_output
from hodor_cli.images.label_png import read_label_png
from hodor_cli.records import (
    FrameRecord,
    ObjectRecord,
    ObjectSummary,
    ReviewItem,
    RunIdentity,
    SourceRecord,
    SpeedRecord,
    WeightsRecord,
)  # fmt: skip
from hodor_cli.run.finish import report_of
from hodor_cli.run.review_page import write_review_page
from hodor_cli.run.settings import SegmentSummary
from hodor_cli.samples.settings import AugmentSettings, BatchSettings


@pytest.fixture
def clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Eight frames with a red and a blue square on grey noise; the red one is gone in the frames 4 and 5."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "<b>clip"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for index in range(8):
        picture = rng.integers(100, 130, (120, 160, 3), dtype=np.uint8)
        if index not in (4, 5):
            picture[40:80, 20 + 2 * index : 60 + 2 * index] = (200, 40, 30)
        picture[50:90, 110:140] = (30, 60, 220)
        Image.fromarray(picture).save(folder / f"{index:05d}.png")
    return folder


@pytest.fixture
def first() -> np.ndarray:
    labels = np.zeros((120, 160), np.uint8)
    labels[40:80, 20:60], labels[50:90, 110:140] = 1, 2
    return labels


def run(clip: Path, **options: object) -> SegmentSummary:
    return hodor_cli.segment(clip, model=ColourSegmenter(), **options)  # type: ignore[arg-type]


def test_one_call_follows_masks_given_as_arrays_or_files(clip: Path, first: np.ndarray, tmp_path: Path) -> None:
    result = run(clip, mask=first, out="a")
    assert result.frames == 8 and result.object_ids == (1, 2) and result.out == Path("a")
    Image.fromarray(first).save("first.png")
    run(clip, mask="first.png", out="b")
    assert run(clip, mask=np.ma.masked_equal(first, 2), out="masked").object_ids == (1,)  # hidden pixels are background
    (entry,) = (entry for entry in os.scandir(tmp_path) if entry.name == clip.name)  # an os.PathLike without a `str`
    (file,) = (entry for entry in os.scandir(tmp_path) if entry.name == "first.png")
    assert hodor_cli.segment(entry, model=ColourSegmenter(), mask={0: file}).out == Path(f"{clip.name}.hodor")
    later = run(clip, mask={0: Path("first.png"), 6: (first == 2).astype(np.uint8) * 3}, out="c")
    for name in ("00000.png", "00005.png"):
        assert np.array_equal(read_label_png(Path("a/masks") / name), read_label_png(Path("b/masks") / name))
    assert later.object_ids == (1, 2, 3)


@pytest.mark.parametrize("values", [{0: 0, 1: 255, 2: 255}, {0: 0, 1: 255, 2: 7}, {0: 0, 1: 3, 2: 300}])
def test_an_array_means_what_a_file_of_it_means(
    clip: Path, first: np.ndarray, values: dict[int, int], tmp_path: Path
) -> None:
    array = np.vectorize(values.get)(first).astype(np.uint16 if max(values.values()) > 255 else np.uint8)
    Image.fromarray(array).save("first.png")
    ids = run(clip, mask=array, out="a").object_ids
    assert ids == run(clip, mask="first.png", out="b").object_ids
    assert ids == {7: (7,), 255: (1,), 300: (3, 300)}[values[2]]
    assert run(clip, mask=array > 0, out="c").object_ids == (1,)
    with pytest.raises(InputError, match="the `mask` of frame 0 holds the value -1; object ids must be between 1 and "):
        run(clip, mask=-(first == 1).astype(int), out="d")


def test_how_a_mask_was_read_is_among_the_warnings(clip: Path, first: np.ndarray) -> None:
    Image.fromarray((first == 1).astype(np.uint8) * 255).save("first.png")
    told = "first.png holds only 0 and 255: it is one object, with id 1"
    assert told in run(clip, mask="first.png", out="file").warnings
    void = np.where(first == 2, 255, first).astype(np.uint8)
    told = "the `mask` of frame 3 has 1,200 pixels of 255 besides other ids: read as void, which is background"
    assert told in run(clip, mask={0: first, 3: void}, out="array").warnings
    assert not run(clip, mask=first, out="plain").warnings


def test_boxes_come_in_three_forms(clip: Path) -> None:
    red, blue = (12, 32, 56, 56), (104, 44, 42, 52)
    assert run(clip, box=red, out="one").object_ids == (1,)
    assert run(clip, box=[red, blue], out="two").object_ids == (1, 2)
    assert run(clip, box={7: red}, out="named").object_ids == (7,)
    options = hodor_cli.SegmentOptions(remove={1: 6})
    late = run(clip, box={0: {1: red}, 3: {2: blue}}, options=options, out="frames")
    assert late.object_ids == (1, 2)
    assert set(np.unique(read_label_png(Path("frames/masks/00007.png")))) == {0, 2}


def test_clicks_without_an_id_mean_what_they_mean_in_the_command(clip: Path, first: np.ndarray) -> None:
    red, blue = (40, 60), (125, 70)

    def clicked(**options: object) -> list[str]:
        """The ids of the objects that the clicks are on."""
        report = run(clip, **options, out="r", options=hodor_cli.SegmentOptions(overwrite=True)).files["report"]
        return list(json.loads(report.read_text())["frames"][0]["clicks"])

    assert clicked(click=red) == clicked(click=[red, (*blue, False)]) == ["1"]
    assert clicked(mask=(first == 1).astype(np.uint8) * 7, click=(*blue, False)) == ["7"]
    assert clicked(box={5: (12, 32, 56, 56)}, click=red) == ["5"]
    assert clicked(mask={3: first}, click=red) == ["3"]  # a new object
    assert clicked(mask=first, click={0: {2: blue}}) == clicked(mask=first, click={2: blue}) == ["2"]
    with pytest.raises(UsageError, match="any of the objects 1, 2; give `click` the frame and the id"):
        run(clip, mask=first, click=red)


def test_boxes_without_an_id_start_new_objects(clip: Path, first: np.ndarray) -> None:
    assert run(clip, mask=(first == 1).astype(np.uint8), box=(104, 44, 42, 52)).object_ids == (1, 2)


def test_the_masks_of_a_result_are_no_frames(clip: Path, first: np.ndarray) -> None:
    run(clip, mask=first, out="r")
    with pytest.raises(InputError, match=r"masks holds the masks of a result, which are not frames; give .*/<b>clip$"):
        run(Path("r/masks"), mask=first, out="again")
    with pytest.raises(InputError, match=r"it holds the masks of a result; give .*/<b>clip$"):  # not its overlay.mp4
        run(Path("r"), mask=first, out="again")
    assert not Path("again").exists()


def test_results_go_beside_the_working_directory_by_default(clip: Path, first: np.ndarray) -> None:
    assert run(clip, mask=first).out == Path("<b>clip.hodor")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "there is no object to follow"),
        ({"box": (1, 2, 3)}, "give x, y, width and height in pixels"),
        ({"box": {1: "abcd"}}, "give x, y, width and height in pixels"),
        ({"box": {1: (12, 32, 56, 56), 2: {3: (12, 32, 56, 56)}}}, "give x, y, width and height in pixels"),
        ({"box": (0.1, 0.25, 0.5, 0.5)}, "looks like fractions of .*; give pixels, here 16,30,80,60"),
        ({"click": [(0.5, 0.25)]}, "looks like fractions of .*; give pixels, here 80,30"),
        ({"click": (1, "b")}, r"is not a valid `click`; give \(x, y\)"),
        ({"mask": np.zeros((120, 160, 3))}, "an .H, W. integer array"),
        ({"mask": np.zeros((120, 160))}, "an .H, W. integer array"),
        ({"mask": [[1], [1, 2]]}, r"the `mask` of frame 0 cannot be read \(.*\); give a NumPy array"),
        ({"mask": MaskFile(np.ones((120, 160), int))}, "`mask` of frame 0 is a MaskFile; give a file"),
        ({"mask": {"a": np.zeros((120, 160), int)}}, "`mask` has the frame 'a'; give a frame number"),
        ({"box": {0: (12, 32, 56, 56)}}, "`box` has the object id 0; ids must be between 1"),
        ({"click": {0: {70_000: (40, 60)}}}, "`click` has the object id 70000; ids must be between 1 and 65535"),
        (
            {"options": hodor_cli.SegmentOptions(remove={"1": 5})},  # type: ignore[dict-item]
            "`remove` has the object id '1'; ids must be between 1",
        ),
        ({"click": (40, 999)}, "the click 40,999 is outside the 160x120 frame"),
        ({"options": {"overwrite": True}}, r"`options` is a dict; give SegmentOptions\(\.\.\.\)"),
        ({"out": 5}, "`out` must be a path, not a int"),
        ({"box": None, "click": None}, "there is no object to follow"),
        ({"click": {3: {1: [(40, 60), (-1, 5, False)]}}}, "the click -1,5 is outside the 160x120 frame"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_done(
    clip: Path, options: dict[str, object], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hodor_cli.clicks.clicker.Clicker.__init__", lambda *_, **__: pytest.fail("too late"))
    with pytest.raises(UsageError, match=said):
        run(clip, **options)
    assert not Path("<b>clip.hodor").exists()


@pytest.mark.parametrize(
    "call",
    [
        hodor_cli.load_model, hodor_cli.read_mask, hodor_cli.Clicker, hodor_cli.DescriptorStore,
        hodor_cli.EvaluationOutput,
        lambda path: hodor_cli.Recipe(weights=path),
        lambda path: hodor_cli.write_label_png(path, np.ones((2, 2), int)),
        lambda path: hodor_cli.export_result(path, "coco"),
        lambda path: hodor_cli.evaluate(path, predictions="masks"),
        hodor_cli.find_sources,
        lambda path: hodor_cli.find_sources("clip.mp4", masks=path),
    ],
)  # fmt: skip
def test_what_is_no_path_is_refused(call: Callable[[object], object]) -> None:
    with pytest.raises(UsageError, match="must be a path, not a int"):
        call(5)


@pytest.mark.parametrize(("name", "said"), [("a" * 300, "has a name that is too long"), ("a\0", "has a zero byte")])
def test_names_that_no_file_can_have_are_refused(clip: Path, first: np.ndarray, name: str, said: str) -> None:
    for call in (
        lambda: hodor_cli.segment(clip, mask=first, out=name),
        lambda: hodor_cli.write_label_png(f"{name}.png", first),
        lambda: hodor_cli.RunOptions(out=name),
        lambda: hodor_cli.load_model(name),
    ):
        with pytest.raises(UsageError, match=said):
            call()
    with pytest.raises(InputError, match="there is no data set"):
        hodor_cli.pretrain(name, hodor_cli.Recipe("toy"))


def test_a_label_png_is_called_png(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"x\.jpg would be a PNG picture"):
        hodor_cli.write_label_png(tmp_path / "x.jpg", np.ones((2, 2), int))
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: AugmentSettings(rotation=(0, "a")), r"`rotation` must hold 2 numbers, not \(0, 'a'\)"),
        (lambda: AugmentSettings(rotation=(5,)), "`rotation` must hold 2 numbers"),
        (lambda: hodor_cli.ExportSizes((854.5, 480)), r"`size` must hold 2 whole numbers, not \(854.5, 480\)"),  # type: ignore[arg-type]
        (lambda: BatchSettings(aspects=("wide",)), "`aspects` must hold numbers, not"),
        (lambda: BatchSettings(source_weights={"coco": "2"}), "`source_weights` must hold numbers, not"),  # type: ignore[dict-item]
        (lambda: hodor_cli.EvaluationSettings(sequences=(1,)), "`sequences` must hold text, not"),
        (partial(hodor_cli.read_mask, "a.png", size="a"), r"`size` must be \(height, width\) in pixels, not 'a'"),
        (partial(hodor_cli.read_mask, "a.png", size=(48,)), "`size` must be"),
        (lambda: hodor_cli.SegmentOptions(remove=[1]), r"`remove` must be a Mapping, not \[1\]"),
        (lambda: hodor_cli.SegmentOptions(hooks=print), "`hooks` must be a RunHooks"),
        (lambda: hodor_cli.EvaluationSettings(sequences="bear"), "`sequences` must be a tuple, not 'bear'"),
        (lambda: hodor_cli.evaluate("DAVIS", settings={}), r"`settings` is a dict; give EvaluationSettings\(\.\.\.\)"),
        (lambda: check_output("results"), r"`output` is a str; give EvaluationOutput\("),
        (lambda: hodor_cli.finetune([], "sparse"), r"`clips` is a str; give ClipOptions\("),
        (lambda: hodor_cli.finetune([], hodor_cli.Recipe("toy"), hodor_cli.RunOptions()), "`clips` is a Recipe; give"),
        (lambda: hodor_cli.RunOptions(out=5), "`out` must be a path, not a int"),
        (lambda: hodor_cli.Recipe(changes=None), "`changes` must be a Mapping"),
        (lambda: hodor_cli.pretrain([], hodor_cli.Recipe("toy"), "runs/mine"), r"`run` is a str; give RunOptions\("),
        (lambda: hodor_cli.RunInputs(np.ones((2, 2), int)), "`masks` must be a dict whose keys are whole numbers"),
        (lambda: hodor_cli.RunInputs(removals=[1]), "`removals` must be a dict whose keys are whole numbers"),  # type: ignore[arg-type]
        (lambda: hodor_cli.segment_source("a.mp4", {}, "r", None), r"`source` is a str; give open_source\("),
        (lambda: hodor_cli.export_result("r", "coco", {}), r"`options` is a dict; give ExportOptions\("),
    ],
)
def test_options_of_another_type_are_refused(call: Callable[[], object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        call()


def test_the_review_page_shows_the_moments_and_plays_the_overlay(clip: Path, first: np.ndarray) -> None:
    result = run(clip, mask=first, out="r")
    page = result.files["review"].read_text()
    assert 'src="overlay.mp4"' in page
    assert page.count('class="lost"') == 2  # the two frames without the red square
    assert "object 1: lost" in " ".join(page.split())
    assert page.count("data:image/jpeg;base64,") >= 1
    assert "8 frames, 160x120" in page
    assert "hodor annotate" in page
    assert "&lt;b&gt;clip" in page and "<b>" not in page


def _page(folder: Path, review: tuple[ReviewItem, ...], confidences: list[float | None]) -> Path:
    """The page of a run without an overlay. confidences: of object 1 in each frame, None where it is lost."""
    source, weights = SourceRecord("clip", "video", (90, 160), 25.0), WeightsRecord("mini", "")
    identity = RunIdentity(source, {}, {}, weights, {}, {}, names={1: "<mug>"})
    objects = {key: ObjectSummary(0, len(confidences), 0, 0.9) for key in (1, 2)}
    report = replace(report_of(identity, SpeedRecord(len(confidences), 0.0), (), lambda: ()), review=review)
    entries = [ObjectRecord(9, None, one or 0.0, one is None) for one in confidences]
    records = [FrameRecord(at, f"{at:05d}", at / 25, {1: entry}) for at, entry in enumerate(entries)]
    write_review_page(folder / "review.html", replace(report, objects=objects), records, None)
    return folder / "review.html"


def test_the_page_names_objects_and_shows_a_picture_once_for_all_reasons(tmp_path: Path) -> None:
    def one(object_id: int, reason: str, last: int) -> ReviewItem:
        return ReviewItem(object_id, reason, 0, last, "00000", f"{last:05d}", "by 3")

    review = (one(1, "returned", 0), one(1, "area jumped", 0), one(1, "area jumped", 1), one(2, "area jumped", 0))
    page = _page(tmp_path, review, [0.9, 0.9]).read_text()
    assert "object 1 (&lt;mug&gt;)" in page and "object 2 (" not in page
    assert page.count("<button") == 3 and "00000, object 1: returned (by 3); area jumped (by 3)<" in page


def test_a_lost_object_is_one_even_bar_on_the_page(tmp_path: Path) -> None:
    page = _page(tmp_path, (), [None] * 40)
    browser = Browser(tmp_path / "profile", 613, 400)  # columns end between pixels
    try:
        browser.open(page.as_uri())
        browser.screenshot(tmp_path / "shot.png")
        box = browser.run("document.querySelector('svg').getBoundingClientRect().toJSON()")
    finally:
        browser.close()
    row = np.asarray(Image.open(tmp_path / "shot.png").convert("RGB"))[int(box["y"]) + 20, 50:500]
    assert len(np.unique(row, axis=0)) == 1 and row.max() < 240


def test_the_pages_times_show_those_frames_of_the_overlay(clip: Path, first: np.ndarray) -> None:
    pictures = [np.asarray(Image.open(path)) for path in sorted(clip.iterdir())]
    result = run(write_video("clip.mp4", pictures, 30), mask=first, out="r")
    lost = next(item for item in result.review if item.reason == "lost")
    assert lost.first_frame == 4
    import av

    with av.open(str(result.files["overlay"])) as video:
        times = [float(frame.time or 0.0) for frame in video.decode(video=0)]
    seconds = [float(text) for text in re.findall(r'data-seconds="(.+?)"', result.files["review"].read_text())]
    assert any(times[4] < one < times[5] for one in seconds)


def test_without_an_overlay_the_page_has_no_player(clip: Path, first: np.ndarray) -> None:
    result = run(clip, mask=first, out="r", options=hodor_cli.SegmentOptions(overlay=False))
    page = result.files["review"].read_text()
    assert "<video" not in page and "object 1: lost" in " ".join(page.split())


def test_overwriting_removes_the_page_of_the_earlier_run(clip: Path, first: np.ndarray) -> None:
    page = run(clip, mask=first, out="r").files["review"]
    page.write_text("old")
    run(clip, mask=first, out="r", options=hodor_cli.SegmentOptions(overwrite=True))
    assert page.read_text() != "old"


def test_the_page_of_a_long_video_keeps_its_worst_frame_and_takes_little_memory(tmp_path: Path) -> None:
    source, page = SourceRecord("clip", "video", (90, 160), 25.0), tmp_path / "review.html"
    identity = RunIdentity(source, {}, {}, WeightsRecord("mini", ""), {}, {})
    empty = report_of(identity, SpeedRecord(0, 0.0), (), lambda: ())

    def write(count: int) -> None:
        objects = ({1: ObjectRecord(9, None, 0.2 if at == 7001 else 0.9, at == 9000)} for at in range(count))
        records = (FrameRecord(at, f"{at:05d}", at / 25, of) for at, of in enumerate(objects))
        report = replace(empty, speed=SpeedRecord(count, 0.0), objects={1: ObjectSummary(0, count, 0, 0.9)})
        write_review_page(page, report, records, None)

    write(2)  # loads modules
    tracemalloc.start()
    write(20_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    heights = [float(height) for height in re.findall(r'<rect [^>]*height="([0-9.]+)"', page.read_text())]
    assert len(heights) == 480 and min(heights) == 7.6  # 0.2 of 38
    assert peak < 2**20


def test_a_notebook_shows_the_video_the_objects_and_the_reviews(clip: Path, first: np.ndarray) -> None:
    html = run(clip, mask=first, out="r")._repr_html_()
    assert "data:video/mp4;base64," in html and "<td>6</td><td>2</td>" in html
    assert "object 1: lost</li>" in html and "<li>00006, object 1: low confidence (down to 0.14)</li>" in html


def test_a_notebook_escapes_names_and_survives_files_that_are_gone(tmp_path: Path) -> None:
    item = ReviewItem(1, "<script>", 0, 0, "<i>", "<i>")
    gone = {"overlay": tmp_path / "overlay.mp4", "report": tmp_path / "report.json"}
    html = SegmentSummary(tmp_path, 3, (1,), 9.0, (item,), ("a <b> warning",), gone)._repr_html_()
    assert "<script>" not in html and "<b>" not in html and "&lt;script&gt;" in html
    assert "The video is not embedded" in html
