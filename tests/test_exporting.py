"""Masks drawn in other tools into a run, its result out again, and TIFFs with several axes."""

from __future__ import annotations

import base64
import errno
import io
import json
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from command import hodor, refused
from conftest import write_video
from data_fakes import make_coco, save_coco
from PIL import Image
from segment_fakes import COLOURS, ColourSegmenter, read_video, two_squares

from hodor_cli.annotate.result import open_target
from hodor_cli.datasets.limits import ObjectLimits
from hodor_cli.descriptors.export.export import find_sources
from hodor_cli.errors import InputError, OutputError, UsageError
from hodor_cli.formats.mask_arguments import read_given
from hodor_cli.formats.opening import open_set
from hodor_cli.images.label_png import read_label_png, write_label_png
from hodor_cli.images.picture import read_picture
from hodor_cli.run.exporting import ExportOptions, export_result, names_of
from hodor_cli.run.inputs import RunInputs
from hodor_cli.run.output import OutputFolder
from hodor_cli.run.runner import segment_source
from hodor_cli.run.settings import RunOutput, SegmentSummary
from hodor_cli.video.source import open_source


def labelme(path: Path, *shapes: tuple[str, int | None, int, int], width: int = 64) -> Path:
    """A LabelMe file with 12x12 squares: name, group, left, top."""
    content = [
        {"label": name, "group_id": group, "shape_type": "rectangle", "points": [[x, y], [x + 12, y + 12]], "flags": {}}
        for name, group, x, y in shapes
    ]
    more = {"imagePath": f"{path.stem}.jpg", "imageData": None, "imageHeight": 48, "imageWidth": width}
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"version": "5.5.0", "flags": {}, "shapes": content} | more))
    return path


BOTH = (("mug", 1, 2, 6), ("dog", 2, 34, 24))


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> SegmentSummary:
    """Two objects followed through eight frames of an mp4, from a LabelMe file."""
    folder = tmp_path_factory.mktemp("run")
    write_video(folder / "clip.mp4", two_squares(8)[0])
    with open_source(folder / "clip.mp4") as source:
        given = read_given([str(labelme(folder / "first.json", *BOTH))], source)
        inputs = RunInputs(given.masks, names=given.names | {2: "hound"})
        return segment_source(source, inputs, folder / "out", ColourSegmenter())


def test_names_stand_in_the_report_and_in_every_export(result: SegmentSummary, tmp_path: Path) -> None:
    assert json.loads((result.out / "report.json").read_text())["names"] == {"1": "mug", "2": "hound"}
    places = export_result(result.out, ["coco", "csv", "labelme", "cvat", "yolo"], ExportOptions(out=tmp_path))
    for name, file in (("coco", "annotations/instances_default.json"), ("csv", "tracks.csv"), ("labelme", "00000.json"),
                       ("cvat", "annotations.xml"), ("yolo", "data.yaml")):  # fmt: skip
        text = (places[name] / file).read_text()
        assert "mug" in text and "hound" in text, name
    export_result(str(result.out), "coco", ExportOptions(out=tmp_path, overwrite=True, names={2: "fox"}))
    assert "fox" in (tmp_path / "coco" / "annotations/instances_default.json").read_text()


def test_an_export_serves_as_masks_again(result: SegmentSummary, tmp_path: Path) -> None:
    export_result(result.out, ["cvat", "coco", "coco-video", "labelme"], ExportOptions(out=tmp_path))
    with open_source(result.out.parent / "clip.mp4") as source:
        for name in ("cvat/annotations.xml", "coco", "coco-video/annotations.json", "labelme"):
            given = read_given([str(tmp_path / name)], source)
            assert list(given.masks) == list(range(8)) and given.names == {1: "mug", 2: "hound"}
            for frame, mask in given.masks.items():
                np.testing.assert_array_equal(mask.labels, read_label_png(result.out / f"masks/{frame:05d}.png"))


def test_objects_cut_out_of_the_video(result: SegmentSummary, tmp_path: Path) -> None:
    import av

    places = export_result(result.out, ["prores", "webm", "green", "matte", "cutouts"], ExportOptions(out=tmp_path))
    truth = [read_label_png(result.out / f"masks/{frame:05d}.png") > 0 for frame in range(8)]
    for name, decoder in (("prores/clip.mov", ""), ("webm/clip.webm", "libvpx-vp9")):
        with av.open(str(tmp_path / name)) as container:
            stream = container.streams.video[0]
            context = av.CodecContext.create(decoder, "r") if decoder else stream.codec_context
            frames = [frame for packet in container.demux(stream) if packet.size for frame in context.decode(packet)]
            frames += context.decode(None)
            assert float(stream.average_rate) == 25 and len(frames) == 8
        for frame, mask in zip(frames, truth, strict=True):
            alpha = frame.to_ndarray(format="rgba")[..., 3] > 127
            assert (alpha & mask).sum() / (alpha | mask).sum() > 0.9, name
    matte = read_video(places["matte"] / "clip.mp4")
    assert all((((frame[..., 0] > 127) == mask).mean() > 0.99) for frame, mask in zip(matte, truth, strict=True))
    green = read_video(places["green"] / "clip.mp4")[0]
    assert green[0, 0, 1] > 240 and green[0, 0, 0] < 30 and green[12, 8, 0] > 150
    with Image.open(tmp_path / "cutouts/1_mug/00000.png") as picture:
        assert picture.mode == "RGBA" and max(picture.size) <= 14


def test_videos_with_alpha_have_the_size_of_the_source_even_if_it_is_odd(tmp_path: Path) -> None:
    import av

    (tmp_path / "clip").mkdir()
    frames, labels = two_squares(3)
    for place, frame in enumerate(frames):
        Image.fromarray(frame[:-1, :-3]).save(tmp_path / f"clip/{place}.png")
    with open_source(tmp_path / "clip") as source:
        segment_source(source, RunInputs({0: labels[:-1, :-3]}), tmp_path / "out", ColourSegmenter())
    export_result(tmp_path / "out", ["prores", "webm"], ExportOptions(out=tmp_path))
    for name in ("prores/clip.mov", "webm/clip.webm"):
        with av.open(str(tmp_path / name)) as container:
            picture = next(container.decode(video=0))
        assert (picture.height, picture.width) == (frames[0].shape[0] - 1, frames[0].shape[1] - 3), name


def test_a_single_object_is_exported(result: SegmentSummary, tmp_path: Path) -> None:
    options = ExportOptions(out=tmp_path, objects=[2])
    places = export_result(result.out, ["png", "csv", "matte"], options)
    labels = read_label_png(result.out / "masks/00003.png")
    np.testing.assert_array_equal(read_label_png(places["png"] / "00003.png"), np.where(labels == 2, 2, 0))
    assert "hound" in (text := (places["csv"] / "tracks.csv").read_text()) and "mug" not in text
    assert ((read_video(places["matte"] / "clip.mp4")[3][..., 0] > 127) == (labels == 2)).all()
    with pytest.raises(UsageError, match="there is no object 5 to export; the ids are 1, 2"):
        export_result(result.out, "csv", ExportOptions(out=tmp_path / "none", objects=[5]))
    hodor("export", result.out, "--to", "csv", "-o", tmp_path / "one", "--only", 1)
    assert "hound" not in (tmp_path / "one/csv/tracks.csv").read_text()


def test_a_matte_has_no_grey_outlines(tmp_path: Path) -> None:
    rows, columns = np.mgrid[:96, :128]
    discs = [(rows - 48) ** 2 + (columns - 40 - 4 * frame) ** 2 < 900 for frame in range(4)]
    write_video(tmp_path / "clip.mp4", [disc[..., None] * np.array(COLOURS[1], np.uint8) for disc in discs])
    with open_source(tmp_path / "clip.mp4") as source:
        segment_source(source, RunInputs({0: discs[0].astype(np.uint16)}), tmp_path / "out", ColourSegmenter())
    place = export_result(tmp_path / "out", "matte", ExportOptions(out=tmp_path))["matte"]
    for frame in read_video(place / "clip.mp4"):
        assert np.minimum(frame, 255 - frame).max() < 5


def test_pages_of_frames_that_are_not_read_are_counted(tmp_path: Path) -> None:
    frames, labels = two_squares(4)
    pages = [Image.fromarray(labels.astype(np.uint8))] * 4
    pages[0].save(tmp_path / "labels.tif", save_all=True, append_images=pages[1:])
    with open_source(write_video(tmp_path / "clip.mp4", frames), end=3) as source:
        given = read_given([str(tmp_path / "labels.tif")], source)
    notes = [note for mask in given.masks.values() for note in mask.notes]
    assert f"{tmp_path / 'labels.tif'}: 1 not used, because their frames are not read, such as 00003" in notes


def test_a_webm_of_a_video_with_wide_pixels_is_warned_about(tmp_path: Path) -> None:
    frames, labels = two_squares(2)
    write_video(tmp_path / "clip.mp4", frames, options={"x264-params": "sar=4/3"})
    with open_source(tmp_path / "clip.mp4") as source:
        segment_source(source, RunInputs({0: labels}), tmp_path / "out", ColourSegmenter())
    said: list[str] = []
    export_result(tmp_path / "out", ["prores", "webm"], ExportOptions(out=tmp_path, warn=said.append))
    assert said == ["clip.webm has square pixels; those of its source are 1.33 times as wide"]


def test_exported_videos_show_every_frame_as_long_as_the_source_does(tmp_path: Path) -> None:
    import av

    shown = [40, 160, 300, 700, 900]  # milliseconds
    pictures = [Image.fromarray(frame) for frame in two_squares(5)[0]]
    pictures[0].save(tmp_path / "clip.gif", save_all=True, append_images=pictures[1:], duration=shown)
    labels = two_squares(5)[1]
    with open_source(tmp_path / "clip.gif") as source:
        segment_source(source, RunInputs({0: labels}), tmp_path / "out", ColourSegmenter())
    places = export_result(tmp_path / "out", ["prores", "matte"], ExportOptions(out=tmp_path))
    for file in (tmp_path / "out/overlay.mp4", places["prores"] / "clip.mov", places["matte"] / "clip.mp4"):
        with av.open(str(file)) as container:
            packets = [packet for packet in container.demux(video=0) if packet.size]
        assert [round(1000 * float(p.duration * p.time_base)) for p in packets] == shown, file


def test_frames_beside_labels(result: SegmentSummary, tmp_path: Path) -> None:
    export_result(result.out, ["labelme"], ExportOptions(out=tmp_path, frames=True))
    content = json.loads((tmp_path / "labelme/00003.json").read_text())
    assert (tmp_path / "labelme" / content["imagePath"]).is_file() and content["imagePath"] == "00003.jpg"
    output = hodor("export", result.out, "--to", "labelme,csv", "--frames", "-o", tmp_path / "both").output
    assert "csv cannot have the pictures next to the result" in output and "labelme cannot" not in output


def test_a_full_disk_names_no_way_that_an_export_has_not(
    result: SegmentSummary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("hodor_cli.formats.writing.put_in_place", full)
    said = refused("export", result.out, "--to", "csv", "-o", tmp_path / "full", code=6)
    assert said.endswith("make room and run the same again") and not list(tmp_path.rglob("*.csv"))


def test_a_report_whose_frames_are_out_of_order_is_not_exported(result: SegmentSummary, tmp_path: Path) -> None:
    out = Path(shutil.copytree(result.out, tmp_path / "out"))
    report = json.loads((out / "report.json").read_text())
    report["frames"][2]["frame"] = 9
    (out / "report.json").write_text(json.dumps(report))
    assert "no readable report.json" in refused("export", out, "--to", "csv", code=3)
    said = refused("export", out / "report.json", "--to", "csv", code=3)
    assert "report.json is a file; give the folder of a finished result" in said
    said = refused("export-descriptors", out, "-o", tmp_path / "o.h5")
    assert "frame 3 is out of order" in said and not (out / "export").exists()


def test_what_a_killed_export_left_is_removed(result: SegmentSummary, tmp_path: Path) -> None:
    folder = OutputFolder(tmp_path)

    def kill() -> None:
        for name in ("csv", "coco"):
            (folder.exports / f".{name}.tmp" / "labels").mkdir(parents=True)
            (folder.exports / f".{name}.tmp" / ".hodor-export").touch()
            (folder.exports / f".{name}.lock").touch()

    kill()
    assert folder.exported() == []
    export_result(result.out, ["csv", "coco"], ExportOptions(out=folder.exports))
    assert sorted(path.name for path in folder.exports.iterdir()) == ["coco", "csv"]
    kill()
    folder.remove_exports()
    assert not folder.exports.exists()


def test_a_second_export_to_the_same_place_waits_for_its_turn(result: SegmentSummary, tmp_path: Path) -> None:
    def again() -> None:
        with pytest.raises(OutputError, match=r"is being written by process .*; wait until it ends"):
            export_result(result.out, ["csv"], ExportOptions(out=tmp_path))

    export_result(result.out, ["csv"], ExportOptions(out=tmp_path, each=again))
    assert [path.name for path in tmp_path.iterdir()] == ["csv"]


def test_supervision_gets_tracker_ids(result: SegmentSummary) -> None:
    pytest.importorskip("supervision", reason="supervision is not installed")
    frames = list(result.to_supervision())
    assert len(frames) == 8 and list(frames[0].tracker_id) == [1, 2]
    assert list(frames[0].data["class_name"]) == ["mug", "hound"] and frames[0].mask.shape == (2, 48, 64)


def test_names_may_be_in_another_encoding() -> None:
    assert names_of(["1=m\udce9"]) == {1: r"m\udce9"}  # as it arrives from a terminal that uses Latin-1


def test_mistakes_with_exports(result: SegmentSummary, tmp_path: Path) -> None:
    assert "there is no result" in refused("export", tmp_path / "none", "--to", "csv", code=3)
    with pytest.raises(InputError, match=r"has no readable report\.json"):
        export_result(tmp_path, ["coco"])
    (tmp_path / "summary.json").touch()
    with pytest.raises(InputError, match="give one of the results in it"):
        export_result(tmp_path, ["coco"])
    with pytest.raises(UsageError, match="`tolerance` must be at least 0 pixels, not -1"):
        ExportOptions(tolerance=-1)
    export_result(result.out, ["csv"], ExportOptions(out=str(tmp_path)))
    with pytest.raises(OutputError, match="holds an export already"):
        export_result(result.out, ["csv"], ExportOptions(out=tmp_path))
    with pytest.raises(InputError, match="prores needs the video of the run"):
        export_result(result.out, ["prores"], ExportOptions(out=tmp_path, source=str(tmp_path / "gone.mp4")))
    assert "there is no video" in refused(
        "export", result.out, "--to", "csv", "--source", tmp_path / "gone.mp4", code=3
    )
    with pytest.raises(UsageError, match="'mug' is not a valid name; give ID=NAME"):
        names_of(["mug"])
    with pytest.raises(UsageError, match="there is no object 5 to name; the ids are 1"):
        export_result(result.out, ["csv"], ExportOptions(out=tmp_path / "named", names={5: "mug"}))
    assert not (tmp_path / "named").exists()
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"file cannot be created \(it is a file\); choose another with `out`"):
        export_result(result.out, ["csv"], ExportOptions(out=tmp_path / "file"))


def test_a_missing_mask_and_an_unreadable_picture_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images, first = two_squares(3)
    (tmp_path / "frames").mkdir()
    for number, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / "frames" / f"{number}.png")
    with open_source(tmp_path / "frames") as source:
        out = segment_source(source, RunInputs({0: first}), tmp_path / "out", ColourSegmenter()).out

    def unreadable(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    hodor("export", out, "--to", "labelme", "--frames")
    with monkeypatch.context() as patch:
        patch.setattr("hodor_cli.formats.writing.picture_bytes", unreadable)
        arguments = (out / "export" / "labelme", tmp_path / "coco", "--to", "coco", "--frames")
        assert refused("convert", *arguments, code=3).endswith("0.png cannot be read: Permission denied")
    mask = out / "masks" / "1.png"
    write_label_png(mask, np.zeros((5, 6), np.uint16))
    said = refused("export", out, "--to", "csv", code=3)
    assert "1.png is not of the frames' size; recompute it: `hodor segment` with --overwrite" in said
    mask.unlink()
    said = refused("export", out, "--to", "csv", code=3)
    assert said.endswith("1.png is missing; recompute the result: `hodor segment` with --overwrite")


def test_annotations_name_the_pictures_of_the_folder_and_do_without_them(tmp_path: Path) -> None:
    images, first = two_squares(2)
    (tmp_path / "frames").mkdir()
    for name, image in zip(("a.png", "b.1.bmp"), images, strict=True):
        Image.fromarray(image).save(tmp_path / "frames" / name)
    with open_source(tmp_path / "frames") as source:
        out = segment_source(source, RunInputs({0: first}), tmp_path / "out", ColourSegmenter()).out

    def pictures() -> list[str]:
        place = export_result(out, "coco", ExportOptions(out=tmp_path, overwrite=True))["coco"]
        content = json.loads((place / "annotations/instances_default.json").read_text())
        return [picture["file_name"] for picture in content["images"]]

    assert pictures() == ["a.png", "b.1.bmp"]
    hodor("export", out, "--to", "csv")
    assert ",b.1," in (out / "export/csv/tracks.csv").read_text()  # the frame's name, as in report.json
    for file in (tmp_path / "frames").iterdir():
        file.unlink()
    assert pictures() == ["a.jpg", "b.1.jpg"]
    assert refused("export", out, "--to", "matte", code=3).endswith("frames; give --source")


def test_masks_of_other_tools_and_their_mistakes(tmp_path: Path) -> None:
    write_video(tmp_path / "clip.mp4", two_squares(8)[0])
    first, later = labelme(tmp_path / "a.json", *BOTH), labelme(tmp_path / "b.json", ("mug", 1, 8, 6))
    other = labelme(tmp_path / "c.json", ("cup", 1, 8, 6))
    wide = labelme(tmp_path / "d.json", ("mug", 1, 8, 6), width=128)
    with open_source(tmp_path / "clip.mp4") as source:
        given = read_given([f"0={first}", f"5={later}"], source)
        assert {frame: mask.object_ids for frame, mask in given.masks.items()} == {0: (1, 2), 5: (1,)}
        assert "is LabelMe's: 1 mug, 2 dog" in given.masks[0].notes[0]
        for group, told in ((1, False), (2, True)):  # the parts of an object may overlap
            parts = labelme(tmp_path / "p.json", ("mug", 1, 2, 6), ("mug" if group == 1 else "dog", group, 8, 6))
            assert told == ("objects overlap in 1 picture" in str(read_given([str(parts)], source).notes))
        with pytest.raises(InputError, match=r"object 1 is 'cup' in .* and 'mug' in"):
            read_given([f"0={first}", f"5={other}"], source)
        with pytest.raises(InputError, match="drawn on a picture of 128x48 pixels but the frames are 64x48"):
            read_given([str(wide)], source)
        with pytest.raises(InputError, match="or none with a pixel inside the picture"):
            read_given([str(labelme(tmp_path / "e.json", ("mug", 1, 200, 300)))], source)
        (tmp_path / "folder").mkdir()
        for name in ("00000", "00002"):
            labelme(tmp_path / "folder" / f"{name}.json", ("cat", None, 2, 6), ("cat", None, 34, 24))
        with pytest.raises(InputError, match=r"several objects called 'cat'"):
            read_given([str(tmp_path / "folder")], source)
        with pytest.raises(InputError, match=r"give 3=.*#NAME"):
            read_given([f"3={tmp_path / 'folder'}"], source)
        assert list(read_given([f"3={tmp_path / 'folder'}#00002.jpg"], source).masks) == [3]


def test_a_tiff_with_five_dimensions_asks_which_is_time(tmp_path: Path) -> None:
    tifffile = pytest.importorskip("tifffile", reason="tifffile is not installed")
    values = np.zeros((4, 3, 2, 40, 60), np.uint8)  # time, depth, channel
    for frame in range(4):
        values[frame, 2, 1] = 50 * frame
    for name, more in (("a.ome.tif", {"metadata": {"axes": "TZCYX"}}), ("b.tif", {"imagej": True}), ("c.tif", {})):
        tifffile.imwrite(tmp_path / name, values, photometric="minisblack", **more)
        letters = ("0", "1", "2") if name == "c.tif" else ("T", "Z", "C")
        with pytest.raises(
            InputError, match=rf"has the axes {letters[0]} \(4\), {letters[1]} \(3\), .*which one is time"
        ):
            open_source(tmp_path / name)
        axes = f"{letters[0]},{letters[1]}=2,{letters[2]}=1"
        with open_source(tmp_path / name, axes=axes) as source:
            assert [int(frame.image[0, 0, 0]) for frame in source] == [0, 50, 100, 150]
        with pytest.raises(InputError, match="3 pages along"):
            open_source(tmp_path / name, axes=axes.replace("=2", "=7"))
    Image.fromarray(np.ones(values.shape[3:], np.uint8)).save(tmp_path / "first.png")
    said = refused("suggest", tmp_path / "a.ome.tif", "--mask", tmp_path / "first.png", code=3)  # has no --axes
    assert "say in `hodor segment --axes` which one is time" in said
    tifffile.imwrite(tmp_path / "d.tif", values[:, 0, 0] / 3)
    for read in (open_source, read_picture):
        with pytest.raises(InputError, match="64-bit values"):
            read(tmp_path / "d.tif")
    with pytest.raises(UsageError, match="is only for a TIFF"):
        write_video(tmp_path / "clip.mp4", two_squares(2)[0])
        open_source(tmp_path / "clip.mp4", axes="T")


def test_a_result_of_a_tiff_with_several_axes_opens_its_frames_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tifffile = pytest.importorskip("tifffile", reason="tifffile is not installed")
    cells = tmp_path / "cells.tif"
    values = np.stack([np.zeros((4, 48, 64), np.uint16), [frame[..., 0] for frame in two_squares(4)[0]]], axis=1)
    tifffile.imwrite(cells, values, imagej=True, metadata={"axes": "TZYX"})
    out = tmp_path / "cells.hodor"
    with open_source(cells, axes="T,Z=1", value_range=(0, 500)) as source:
        segment_source(source, RunInputs({0: two_squares(1)[1]}), out, ColourSegmenter())
        frames = [frame.image for frame in source]
    with (
        open_source(cells, axes="T,Z=0", value_range=(0, 500)) as source,
        pytest.raises(OutputError, match=r"other inputs or settings: `axes` \(T,Z=1 then, T,Z=0 now\)"),
    ):
        given = RunInputs({0: two_squares(1)[1]})
        segment_source(source, given, out, ColourSegmenter(), output=RunOutput(resume=True))
    monkeypatch.chdir(tmp_path)  # where the result is by default
    for video, place in ((out, None), (cells, out), (cells, None)):
        with open_target(video, place)[0] as again:
            assert np.array_equal([frame.image for frame in again], frames)
        (exported,) = find_sources(video)
        assert np.array_equal([frame.image for frame in exported.frames()], frames)
    clip = write_video(tmp_path / "clip.mp4", two_squares(4)[0])  # has no axes
    with pytest.raises(OutputError, match="masks of another video"):
        open_target(clip, out)
    assert export_result(out, ["matte"], ExportOptions(source=clip))


def test_the_result_of_a_part_of_a_video_or_folder_is_opened_and_exported(tmp_path: Path) -> None:
    frames, first = two_squares(5)
    (tmp_path / "frames").mkdir()
    for number, frame in enumerate(frames):
        Image.fromarray(frame).save(tmp_path / "frames" / f"{number}.png")
    for place in (tmp_path / "frames", write_video(tmp_path / "clip.mp4", frames)):
        out = tmp_path / f"{place.stem}.hodor"
        with open_source(place, start=1) as source:
            segment_source(source, RunInputs({1: first}), out, ColourSegmenter())
        with open_target(out, None)[0] as again:
            assert [frame.index for frame in again] == [1, 2, 3, 4]
        (exported,) = find_sources(out)
        assert [frame.index for frame in exported.frames()] == [1, 2, 3, 4] and not exported.warnings()


def test_a_video_that_was_replaced_since_its_masks_were_made_is_told(tmp_path: Path) -> None:
    frames, first = two_squares(4)
    with open_source(write_video(tmp_path / "clip.mp4", frames)) as source:
        segment_source(source, RunInputs({0: first}), tmp_path / "out", ColourSegmenter())
    for replaced in (False, True):
        said: list[str] = []
        export_result(tmp_path / "out", "matte", ExportOptions(out=tmp_path / f"{replaced}", warn=said.append))
        (exported,) = find_sources(tmp_path / "out")
        assert list(exported.warnings()) == said and len(said) == replaced
        write_video(tmp_path / "clip.mp4", [255 - frame for frame in frames])
    assert said[0].endswith("clip.mp4 is not as it was when the masks were made; segment it again unless they fit")


def test_heic_photographs_stand_upright(tmp_path: Path) -> None:
    heif = pytest.importorskip("pillow_heif", reason="pillow-heif is not installed")

    heif.register_heif_opener()
    (tmp_path / "frames").mkdir()
    picture = np.zeros((64, 96, 3), np.uint8)
    picture[:32] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees to the right
    for name in ("a", "b"):
        turned = Image.fromarray(picture)
        turned.info["exif"] = exif.tobytes()
        turned.save(tmp_path / "frames" / f"{name}.heic")
    with open_source(tmp_path / "frames") as source:
        image = next(iter(source)).image
    assert image.shape[:2] == (96, 64) and image[:, 48:].mean() > 240 and image[:, :16].mean() < 15


@pytest.mark.parametrize("ending", ["gif", "webp", "apng"])
def test_animations_are_frames(tmp_path: Path, ending: str) -> None:
    frames = [Image.fromarray(image) for image in two_squares(4)[0]]
    frames[0].save(tmp_path / f"a.{ending}", save_all=True, append_images=frames[1:], duration=100, lossless=True,
                   format="PNG" if ending == "apng" else None)  # fmt: skip
    with open_source(tmp_path / f"a.{ending}") as source:
        found = list(source)
    assert len(found) == 4 and found[0].image.shape == (48, 64, 3) and found[3].time == pytest.approx(0.3, abs=0.02)
    assert abs(found[3].image[12, 12].astype(int) - np.array([200, 40, 30])).max() < 60


def test_an_object_without_a_group_is_counted_among_those_with_one(tmp_path: Path) -> None:
    labelme(tmp_path / "a.json", BOTH[0], ("dog", None, 34, 24))
    done = hodor("convert", tmp_path / "a.json", tmp_path / "out", "--to", "coco")
    assert "1 picture, 2 masks of 2 objects:" in done.output, done.output


def test_photographs_of_labelme_are_a_data_set(tmp_path: Path) -> None:
    for name in ("a", "b"):
        labelme(tmp_path / f"{name}.json", *BOTH)
        Image.fromarray(two_squares(1)[0][0]).save(tmp_path / f"{name}.jpg")
    done = hodor("data", "check", tmp_path, "--min-area", "50", "--min-side", "5")
    assert "is LabelMe's" in done.output, done.output
    done = hodor("convert", tmp_path, tmp_path / "yolo", "--to", "yolo", "--frames")
    assert "2 pictures, 4 masks of 2 objects:" in done.output, done.output
    again = hodor("convert", tmp_path / "yolo", tmp_path / "png", "--to", "png")
    assert "is YOLO's" in again.output, again.output
    again = hodor("convert", tmp_path / "png", tmp_path / "csv", "--to", "csv")
    assert "holds label pictures" in again.output, again.output
    done = hodor("data", "check", tmp_path / "yolo", "--min-area", "50", "--min-side", "5")
    assert "is YOLO's" in done.output, done.output
    (tmp_path / "b.jpg").unlink()
    both = hodor("convert", tmp_path, tmp_path / "both", "--to", "coco,yolo", code=2)
    assert both.stderr == "error: --to takes one format here, not 'coco,yolo'; convert once for each\n"
    done = hodor("convert", tmp_path, tmp_path / "less", "--to", "coco", "--frames")
    assert "warning: 1 picture of" in done.output and done.exit_code == 0, done.output
    done = hodor("convert", tmp_path / "yolo", tmp_path / "yolo", "--to", "coco", "--overwrite", code=2)
    assert "is what is read and" in done.output, done.output
    assert (tmp_path / "yolo" / "images" / "train" / "a.jpg").is_file()


def test_masks_find_photographs_by_likely_names_and_pictures_that_are_not_there_are_told(tmp_path: Path) -> None:
    for part in ("images", "masks"):
        (tmp_path / "set" / part).mkdir(parents=True)
    for name in ("a", "b"):
        Image.fromarray(two_squares(1)[0][0]).save(tmp_path / "set" / "images" / f"{name}.jpg")
        Image.fromarray(np.eye(48, 64, dtype=np.uint8)).save(tmp_path / "set" / "masks" / f"{name}_mask.png")
    done = hodor("convert", tmp_path / "set", tmp_path / "out", "--to", "coco", "--frames")
    assert done.exit_code == 0 and "warning" not in done.output, done.output
    assert sorted(file.name for file in (tmp_path / "out").rglob("*.jpg")) == ["a.jpg", "b.jpg"]
    (tmp_path / "set" / "images" / "b.jpg").unlink()
    done = hodor("convert", tmp_path / "set", tmp_path / "less", "--to", "coco", "--frames")
    assert "mask without a photograph: 1, such as b_mask.png" in done.output and done.exit_code == 0, done.output


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        (("day/a.png", "night/a.png", "day/b.png"), ["day_a", "day_b", "night_a"]),
        (("day/a.png", "night/c.png", "day/b.png"), ["a", "b", "c"]),
    ],
)
def test_pictures_of_one_name_in_two_folders_give_all_their_folders(
    tmp_path: Path, names: tuple[str, ...], wanted: list[str]
) -> None:
    content = make_coco(tmp_path / "set", len(names))
    for entry, name in zip(content["images"], names, strict=True):
        place = tmp_path / "set" / "images" / name
        place.parent.mkdir(exist_ok=True)
        (tmp_path / "set" / "images" / entry["file_name"]).rename(place)
        entry["file_name"] = name
    save_coco(tmp_path / "set", content)
    for kind in ("coco", "yolo"):
        hodor("convert", tmp_path / "set", tmp_path / kind, "--to", kind, "--frames")
        assert sorted(file.stem for file in (tmp_path / kind).rglob("*.png")) == wanted


def test_no_empty_folder_for_pictures_that_are_not_there(tmp_path: Path) -> None:
    page = Image.fromarray(np.eye(48, 64, dtype=np.uint8))
    page.save(tmp_path / "masks.tif", save_all=True, append_images=[page])
    said = hodor("convert", tmp_path / "masks.tif", tmp_path / "out", "--to", "png", "--frames").output
    assert "2 pictures" in said and "could not be found" in said
    assert [place.name for place in (tmp_path / "out").iterdir() if place.is_dir()] == ["Annotations"]


def test_a_result_is_no_data_set_but_its_export_is(result: SegmentSummary, tmp_path: Path) -> None:
    folder = tmp_path / "my clip"
    shutil.copytree(result.out, folder)
    (folder / "export").mkdir(exist_ok=True)  # masks/ and one other folder: no images
    said = refused("data", "check", folder, code=7)
    assert "is a result of `hodor segment`, without the frames" in said
    assert "ground-truth masks only" in hodor("evaluate", folder, "--predictions", folder).output
    for more in ((), ("--given", "1")):
        said_of_scoring = refused("evaluate", folder, *more, code=7)
        assert f"{folder} as --predictions" in said_of_scoring and "hodor segment" in said_of_scoring
    lost = hodor("convert", folder, tmp_path / "yolo", "--to", "yolo", "--frames").output
    assert f"hodor export '{folder}' --to yolo --frames writes them" in " ".join(lost.split())
    hodor(*shlex.split(said.split("`")[3])[1:])
    assert hodor("data", "check", folder / "export" / "png", "--min-area", "50", "--min-side", "5").exit_code == 0


def test_an_unknown_format_is_refused_before_a_mask_is_made_of_a_box(result: SegmentSummary, tmp_path: Path) -> None:
    video = result.out.parent / "clip.mp4"
    arguments = ["segment", str(video), "--box", "5,5,30,30", "--export", "cooc", "-o", str(tmp_path / "out")]
    done = hodor(*arguments, code=2)
    assert "did you mean coco" in done.output, done.output
    assert "from the box" not in done.output and not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_photographs_inside_of_labelmes_files_are_a_data_set(tmp_path: Path, kind: str) -> None:
    image = two_squares(1)[0][0]
    for name in ("a", "b"):
        file = labelme(tmp_path / "set" / f"{name}.json", *BOTH)
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, kind)
        content = json.loads(file.read_text()) | {"imageData": base64.b64encode(buffer.getvalue()).decode()}
        file.write_text(json.dumps(content))
    limits = ("--min-area", "50", "--min-side", "5")
    done = hodor("data", "check", tmp_path / "set", *limits, "--full")
    assert "2 photographs" in done.output, done.output
    still = open_set(tmp_path / "set", limits=ObjectLimits(min_area=50, min_side=5)).load(1)
    assert abs(still.image.astype(int) - image).mean() < 6 and len(still.objects) == 2
    done = hodor("convert", tmp_path / "set", tmp_path / "coco", "--to", "coco", "--frames")
    assert Image.open(tmp_path / "coco" / "images" / "a.jpg").format == kind, done.output
    broken = json.loads(file.read_text()) | {"imageData": "bm8gcGljdHVyZQ=="}
    file.write_text(json.dumps(broken))
    done = hodor("data", "check", tmp_path / "set", *limits, "--full", code=7)
    assert "broken image: 1; delete its file to train without it\n  b.json" in done.output, done.output


def test_evaluation_of_what_other_tools_drew(result: SegmentSummary, tmp_path: Path) -> None:
    export_result(result.out, ["labelme", "coco"], ExportOptions(out=tmp_path, frames=True))
    arguments = ["evaluate", str(tmp_path / "labelme"), "--predictions", str(tmp_path / "coco"), "--json", "-"]
    done = hodor(*arguments)
    assert json.loads(done.stdout)["J&F"] == 1
    assert f"{tmp_path / 'labelme'}: a video of LabelMe, 1 sequence" in done.output.replace("\n", " ")
