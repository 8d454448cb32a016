"""The check of a data set names every fault at once; the preview draws what training would see."""

from __future__ import annotations

import json
import re

import cv2
import numpy as np
import pytest
from command import hodor, refused
from data_fakes import make_clips, make_coco, save_coco
from PIL import Image

from hodor_cli.datasets.coco import StillImages
from hodor_cli.datasets.dataset import recognise
from hodor_cli.datasets.labels.mask_file import read_mask
from hodor_cli.datasets.limits import ObjectLimits
from hodor_cli.errors import DataError, InputError, OutputError, UsageError
from hodor_cli.formats.check import check_dataset
from hodor_cli.formats.opening import is_clips, open_benchmark, open_set
from hodor_cli.formats.photograph_masks import find_beside
from hodor_cli.formats.recognise import read_annotations
from hodor_cli.samples.sheet import draw_sample, preview_samples, write_sheet
from hodor_cli.training.config import train_preset

LIMITS = ObjectLimits(min_area=100, min_side=5, at_area=None)


def kinds(report):
    return {fault.kind: fault.where for fault in report.found}


def test_a_sound_set_passes(tmp_path):
    make_coco(tmp_path, 4)
    for full in (False, True):
        report = check_dataset(tmp_path, limits=LIMITS, full=full)
        assert report.ok and not report.found
        assert (report.images, report.samples, report.objects) == (4, 4, 8)
        assert report.sentence() == ""


def test_a_coco_file_is_the_set_beside_or_below_which_it_lies(tmp_path):
    make_coco(tmp_path, 4)
    beside, below = tmp_path / "instances.json", tmp_path / "annotations" / "instances_train.json"
    assert check_dataset(beside, limits=LIMITS).samples == len(open_set(beside, limits=LIMITS)) == 4
    below.parent.mkdir()
    beside.rename(below)
    assert check_dataset(below, limits=LIMITS).ok and len(open_set(below, limits=LIMITS)) == 4


def test_every_fault_of_photographs_at_once(tmp_path):
    content = make_coco(tmp_path, 8)
    images, annotations = content["images"], content["annotations"]
    (tmp_path / "images" / "001.png").unlink()
    Image.new("RGB", (30, 30)).save(tmp_path / "images" / "002.png")
    (tmp_path / "images" / "003.png").write_bytes(b"broken")
    annotations[6]["segmentation"]["size"] = [10, 10]
    annotations[8]["segmentation"]["counts"] = [5, 5]
    annotations[10]["segmentation"] = []
    annotations[11]["segmentation"]["counts"] = [96 * 128]
    annotations[12].update(area=12.0, bbox=[0, 0, 3, 4])
    annotations[13]["id"] = annotations[0]["id"]
    annotations[14]["image_id"] = 999
    annotations[15]["iscrowd"] = 1
    images.append(dict(images[6], id=77))
    images.append(dict(images[5], file_name="other.png"))
    images.append({"id": 100})
    save_coco(tmp_path, content)
    report = check_dataset(tmp_path, limits=LIMITS, full=True)
    found = kinds(report)
    assert found["missing image"] == "001.png"
    assert found["broken image"] == "003.png"
    assert "002.png" in {fault.where for fault in report.found if fault.kind == "size mismatch"}
    assert any("10x10" in fault.detail for fault in report.found if fault.kind == "size mismatch")
    assert "005.png" in found["broken mask"] and "006.png" in found["empty mask"]
    assert found["duplicate annotation id"] == "1" and found["duplicate image id"] == "6"
    assert found["annotation of an unknown image"] == "annotation 15"
    assert found["image listed more than once"] == "007.png"
    assert "listed more than once: 1; give all its annotations the id of one entry" in "\n".join(report.lines())
    assert "image entry without id or file_name" in found
    assert any("1 crowd" in fact for fact in report.facts)
    assert any("1 object below the limits" in fact for fact in report.facts)
    assert not report.ok
    text = "\n".join(report.lines())
    assert all(kind in text for kind in found)
    assert report.sentence().count("\n") == 0 and "broken image" in report.sentence()


def test_pages_of_a_photograph_after_the_first_are_told(tmp_path):
    make_coco(tmp_path, 2)
    path = tmp_path / "images" / "001.png"
    page = Image.open(path).convert("RGB")
    page.save(path, save_all=True, append_images=[Image.new("RGB", page.size, colour) for colour in ("black", "white")])
    report = check_dataset(tmp_path, limits=LIMITS)
    assert report.ok and [str(fault) for fault in report.found] == ["001.png: 2 pages"]
    assert "left out: pages after the first: 1" in report.lines()


def test_only_of_many_photographs_the_quick_check_reads_headers_alone(tmp_path, monkeypatch):
    make_coco(tmp_path, 2)
    path = tmp_path / "images" / "001.png"
    whole = path.read_bytes()
    path.write_bytes(whole[:200])
    assert not check_dataset(tmp_path, limits=LIMITS).ok
    monkeypatch.setattr("hodor_cli.formats.check.OPENED", 1)
    quick = check_dataset(tmp_path, limits=LIMITS)
    assert quick.ok and quick.lines()[-1] == "only the headers of images were read; `full` reads every image and mask"
    assert not check_dataset(tmp_path, limits=LIMITS, full=True).ok
    path.write_bytes(b"no picture")
    assert kinds(check_dataset(tmp_path, limits=LIMITS)) == {"broken image": "001.png"}
    Image.new("RGB", (30, 30)).save(path)
    assert kinds(check_dataset(tmp_path, limits=LIMITS)) == {"size mismatch": "001.png"}


def test_missing_photographs_are_left_out_and_all_of_them_can_be_listed(tmp_path):
    make_coco(tmp_path, 6)
    for number in range(1, 6):
        (tmp_path / "images" / f"00{number}.png").unlink()
    report = check_dataset(tmp_path, limits=LIMITS)
    assert report.ok and (report.images, report.samples, report.objects) == (6, 1, 2)
    text = "\n".join(report.lines())
    assert "left out: missing image: 5; put the images next to their annotations, or" in text
    assert "and 2 more (`examples=5` lists them)" in text
    assert "without an object" not in text
    assert len(StillImages(tmp_path, limits=LIMITS)) == 1
    (tmp_path / "images" / "006.png").unlink()
    report = check_dataset(tmp_path, limits=LIMITS)
    assert not report.ok and "missing image (6, such as 001.png); put" in report.sentence()
    assert "nothing is left" in report.sentence() and "min_area" not in report.sentence()
    assert "fault: nothing is left to train on" in report.lines()


@pytest.mark.parametrize(
    "command",
    [
        "data preview SET --count 1 --preset toy -o PNG",
        "evaluate-clicks SET --method grabcut --limit 1",
        "train-clicks --data SET --time 1m -o OUT",
    ],
)
def test_commands_that_read_photographs_say_which_are_missing(tmp_path, monkeypatch, command):
    make_coco(tmp_path / "set", 4)
    for name in ("002.png", "003.png"):
        (tmp_path / "set" / "images" / name).unlink()
    monkeypatch.setattr("hodor_cli.clicks.training._Run.train", lambda run, progress: None)
    places = {"SET": tmp_path / "set", "PNG": tmp_path / "sheet.png", "OUT": tmp_path / "run"}
    said = hodor(*(places.get(part, part) for part in command.split())).stderr
    assert "warning: 2 images of" in said
    assert "are missing and left out, such as 002.png; `hodor data check` lists them" in said


def test_the_check_counts_the_objects_of_each_class(tmp_path):
    content = make_coco(tmp_path, 3)
    content["categories"] += [{"id": 8, "name": "lid"}, {"id": 9, "name": "tape"}]
    content["annotations"][0]["category_id"] = 8
    save_coco(tmp_path, content)
    assert "objects by class: box 5, lid 1, tape 0" in check_dataset(tmp_path, limits=LIMITS).facts


def test_photographs_without_an_object_are_named(tmp_path):
    content = make_coco(tmp_path, 6)
    content["annotations"] = [one for one in content["annotations"] if one["image_id"] in (3, 6)]
    save_coco(tmp_path, content)
    told = "4 photographs without an object to train on: 001.png, 002.png, 004.png and 1 more"
    assert told in check_dataset(tmp_path, limits=LIMITS).facts


def test_nothing_left_is_a_fault(tmp_path):
    make_coco(tmp_path, 2)
    report = check_dataset(tmp_path, limits=ObjectLimits(min_area=1e7))
    assert not report.ok and report.samples == 0
    assert "nothing is left" in report.sentence()


def test_annotations_with_nonsense_in_them_are_faults_of_the_set(tmp_path):
    content = make_coco(tmp_path, 3)
    content["images"][0]["height"] = "tall"
    content["annotations"][2].update(area="large", bbox=["a", "b", "c", "d"])
    content["annotations"][3]["segmentation"]["size"] = ["x", "y"]
    content["images"].append("no image")
    content["annotations"].append("no annotation")
    save_coco(tmp_path, content)
    found = kinds(check_dataset(tmp_path, limits=LIMITS))
    assert found["image entry without height or width"] == "001.png"
    assert "image entry without id or file_name" in found and "annotation without image_id" in found
    with pytest.raises(DataError):
        list(preview_samples(open_set(tmp_path), preset="toy"))


def test_annotations_without_objects_are_not_taken_for_none(tmp_path):
    content = make_coco(tmp_path, 2)
    save_coco(tmp_path, {**content, "annotations": []})
    with pytest.raises(DataError, match="no object within the limits"):
        list(preview_samples(open_set(tmp_path), 1, preset="toy"))


def test_missing_photographs_are_not_called_small(tmp_path):
    make_coco(tmp_path, 1)
    (tmp_path / "images" / "001.png").unlink()
    with pytest.raises(DataError, match=r"has no photograph to train on; missing image: 001\.png; put the images"):
        open_set(tmp_path)
    said = refused("train-clicks", "--data", tmp_path, "-o", tmp_path / "run", code=7)
    assert said.endswith("put the images next to their annotations, or links to them")  # no option that it lacks


def test_every_fault_of_clips_at_once(tmp_path):
    make_clips(tmp_path, {"bear": 5, "cow": 4, "dog": 3, "eel": 3, "fox": 3})
    frames, masks = tmp_path / "JPEGImages" / "480p", tmp_path / "Annotations" / "480p"
    (masks / "bear" / "00001.png").write_bytes(b"broken")
    Image.new("L", (10, 10), 255).save(masks / "bear" / "00002.png")
    Image.new("L", (128, 96), 0).save(masks / "bear" / "00003.png")
    (masks / "bear" / "00004.png").unlink()
    noise = np.random.default_rng(0).integers(0, 255, (96, 128, 3), dtype=np.uint8)
    Image.fromarray(noise).save(masks / "cow" / "00001.png")
    (frames / "cow" / "00003.jpg").unlink()
    for path in (masks / "dog").iterdir():
        path.rename(path.with_suffix(".jpg"))
    for path in (masks / "eel").iterdir():
        path.rename(path.with_name(f"mask_{path.name}"))
    for path in (frames / "fox").iterdir():
        path.rename(path.with_suffix(".txt"))
    report = check_dataset(tmp_path, limits=LIMITS, full=True)
    where = {fault.kind: [f.where for f in report.found if f.kind == fault.kind] for fault in report.found}
    assert where["broken mask"] == ["bear/00001.png", "cow/00001.png"]
    assert where["size mismatch"] == ["bear/00002.png"]
    assert where["empty mask"] == ["bear/00003.png"]
    assert where["annotation without a frame"] == ["cow/00003.png"]
    assert where["sequence without annotations"] == ["dog"]
    assert where["names do not match"] == ["eel"]
    assert where["sequence without frames"] == ["fox"]
    assert any(".jpg" in fault.detail for fault in report.found if fault.where == "dog")
    assert any(".txt" in fault.detail for fault in report.found if fault.where == "fox")
    assert report.samples == 3 and not report.ok
    assert any("7 frames have no annotation" in fact for fact in report.facts)


def test_a_folder_without_images_is_explained(tmp_path):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "later").mkdir()
    for folder, what in ((tmp_path / "notes" / "later", "is empty"), (tmp_path / "notes", "holds no images")):
        with pytest.raises(DataError, match=f"{folder} {what}: photographs need .* clips need JPEGImages"):
            check_dataset(folder)


def test_a_bare_folder_of_png_frames_is_explained(tmp_path):
    for t in range(3):
        Image.new("RGB", (20, 20)).save(tmp_path / f"{t:05d}.png")
    with pytest.raises(DataError) as caught:
        check_dataset(tmp_path)
    text = str(caught.value)
    assert "3 images (.png)" in text and "instances.json" in text and "JPEGImages" in text


def test_folders_of_frames_and_a_file_are_explained_too(tmp_path):
    (tmp_path / "clip").mkdir()
    Image.new("RGB", (20, 20)).save(tmp_path / "clip" / "0.png")
    with pytest.raises(DataError, match=r"folders of images \(clip\)"):
        check_dataset(tmp_path)
    with pytest.raises(DataError, match="is a file"):
        check_dataset(tmp_path / "clip" / "0.png")
    with pytest.raises(InputError, match=r"no data set .*none.*holds clip"):
        check_dataset(tmp_path / "none")


def test_the_command_counts_the_objects_that_pretrain_uses(tmp_path):
    make_coco(tmp_path, 1)
    limits = train_preset("mini").limits  # of README's `hodor pretrain --weights mini`
    said = hodor("data", "check", tmp_path).output
    assert f"with {check_dataset(tmp_path, limits=limits).objects} objects" in said
    help_text = hodor("data", "check", "--help").output
    assert f"[default: {limits.min_area:g}" in help_text and f"[default: {limits.min_side:g}" in help_text


def test_the_command_counts_the_objects_of_clips_that_finetune_uses(tmp_path):
    make_clips(tmp_path, {"bear": 2}, size=(480, 640))  # 1,718 px of an image of 300,000
    assert "2 left to train on with 2 objects" in hodor("data", "check", tmp_path).output
    assert train_preset("mini-finetune").limits.min_area == 500
    fewer = hodor("data", "check", tmp_path, "--min-area", "2000", "--full", code=7).output
    assert "limits of objects: area >= 2000 px and sides >= 10 px in an image scaled to 300,000 px" in fewer


def test_the_preview_draws_the_objects_that_the_check_counts(tmp_path):
    content = make_coco(tmp_path / "set", 2, objects=1)
    for annotation in content["annotations"]:
        annotation.update(area=100.0, bbox=[10, 20, 10, 10])  # 2,400 px and 24 px of an image of 300,000
    save_coco(tmp_path / "set", content)
    sheet = ["data", "preview", str(tmp_path / "set"), "--count", "1", "--preset", "toy", "-o"]
    hodor("data", "check", tmp_path / "set")
    hodor(*sheet, tmp_path / "a.png")
    content["annotations"][0].update(area=70.0)  # 1,700 px: above the limits of mini, below those of the paper
    content["annotations"].pop()
    save_coco(tmp_path / "set", content)
    hodor(*sheet, tmp_path / "b.png")
    too_small = hodor(*sheet, tmp_path / "c.png", "--min-area", "2000", code=7)
    assert "no object within the limits" in too_small.output


def test_a_json_that_annotates_nothing_is_not_taken_for_annotations(tmp_path):
    make_coco(tmp_path, 2)
    (tmp_path / "instances.json").rename(tmp_path / "labels.json")
    (tmp_path / "config.json").write_text('{"author": "me"}')
    assert check_dataset(tmp_path, limits=LIMITS).ok
    (tmp_path / "other.json").write_bytes((tmp_path / "labels.json").read_bytes())
    with pytest.raises(DataError, match=r"\(labels.json, other.json\); give one .*[/\\]labels.json$"):
        check_dataset(tmp_path)
    assert check_dataset(tmp_path / "labels.json", limits=LIMITS).ok
    (tmp_path / "labels.json").unlink()
    (tmp_path / "other.json").unlink()
    with pytest.raises(DataError, match=r"holds folders of images .* but no annotations"):
        check_dataset(tmp_path)


def test_missing_annotations_are_a_missing_file(tmp_path):
    make_coco(tmp_path / "set", 1)
    result = hodor("data", "check", tmp_path / "set", "--annotations", "missing.json", code=3)
    assert "there is no file of annotations missing.json" in result.output


@pytest.mark.parametrize("name", ["coco", "yolo", "labelme", "cvat", "png"])
def test_an_export_without_its_pictures_says_how_to_write_them(tmp_path, name):
    make_coco(tmp_path / "set", 2)
    for more in ([], ["--frames"]):
        out = str(tmp_path / f"out{len(more)}")
        hodor("convert", tmp_path / "set", out, "--to", name, *more)
        result = hodor("data", "check", out, code=0 if more else 7)
        assert ("this export has no pictures: write it again with --frames" in result.output) == (not more)


def test_png_frames_inside_the_layout_count(tmp_path):
    make_clips(tmp_path, {"bear": 3})
    for path in sorted((tmp_path / "JPEGImages" / "480p" / "bear").iterdir()):
        Image.open(path).save(path.with_suffix(".png"))
        path.unlink()
    report = check_dataset(tmp_path, limits=LIMITS, full=True)
    assert report.ok and report.samples == 3


def test_progress_is_told(tmp_path):
    make_coco(tmp_path, 3)
    seen = []
    check_dataset(tmp_path, limits=LIMITS, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_a_drawn_sample_shows_outlines_and_invalid_pixels(tmp_path):
    make_coco(tmp_path, 3)
    samples = list(preview_samples(open_set(tmp_path), 5, area=64 * 64))
    assert len(samples) == 5
    for sample in samples:
        strip = draw_sample(sample)
        height, width = sample.frames.shape[1:3]
        assert strip.shape == (height + 16, 3 * width + 4, 3)
        drawn = strip[16:, :width]
        assert (drawn != sample.frames[0]).any(-1)[sample.masks[0] > 0].any(), "an outline is drawn on the object"
        hidden = ~sample.valid[0]
        assert not hidden.any() or set(np.unique(drawn[hidden])) <= {40, 110}


def test_a_sheet_is_not_overwritten_unless_asked(tmp_path):
    make_coco(tmp_path / "set", 3)
    samples = list(preview_samples(open_set(tmp_path / "set"), 3, preset="toy", area=64 * 64))
    target = tmp_path / "sheet.png"
    write_sheet(target, samples)
    first = target.read_bytes()
    with pytest.raises(OutputError, match="exists already"):
        write_sheet(target, samples[:1])
    write_sheet(target, samples[:1], overwrite=True)
    assert target.read_bytes() != first and sorted(path.name for path in tmp_path.iterdir()) == ["set", "sheet.png"]
    with pytest.raises(OutputError, match="no folder"):
        write_sheet(tmp_path / "none" / "sheet.png", samples)
    with pytest.raises(OutputError, match=r"does not end in \.png"):
        write_sheet(tmp_path / "sheet.jpg", samples)
    with pytest.raises(UsageError, match="preset"):
        list(preview_samples(open_set(tmp_path / "set"), preset="nope"))


def test_the_command_checks_and_draws(tmp_path):
    content = make_coco(tmp_path / "set", 4)
    done = hodor("data", "check", tmp_path / "set", "--full")
    assert "4 left to train on with 8 objects" in done.stdout and not done.stderr
    sheet = tmp_path / "sheet.png"
    hodor("data", "preview", tmp_path / "set", "-o", sheet, "--count", 4, "--preset", "toy")
    with Image.open(sheet) as image:
        assert image.width > 600
    content["images"].pop()
    save_coco(tmp_path / "set", content)
    (tmp_path / "set" / "images" / "001.png").write_bytes(b"")
    done = hodor("data", "check", tmp_path / "set", code=7)
    assert "broken image: 1" in done.stdout and "annotation of an unknown image: 2" in done.stdout
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    hodor("data", "preview", tmp_path / "none", "-o", tmp_path / "b.png", code=3)
    assert "is a folder; name a picture in it" in refused("data", "preview", tmp_path, "-o", tmp_path)


@pytest.mark.parametrize(("places", "second"), [(("images", "masks"), (60, 80)), (("images", "masks"), (70, 90)),
                                                (("imgs/train", "labels/train"), (60, 80)),
                                                (("train/images", "train/gt"), (60, 80))])  # fmt: skip
def test_photographs_with_colour_masks_of_the_same_names_are_a_set(tmp_path, places, second):
    images, masks = (tmp_path / place for place in places)
    images.mkdir(parents=True)
    masks.mkdir(parents=True)
    for name, size in (("a b", (60, 80)), ("Gänse", second), ("bare", (60, 80)), ("soft", (60, 80))):
        Image.new("RGB", size[::-1]).save(images / f"{name}.JPG")
        colours = np.zeros((*size, 3), np.uint8)
        colours[10:40, 5:35], colours[10:40, 45:75] = (255, 0, 0), (0, 0, 255)
        if name == "soft":
            colours = cv2.GaussianBlur(colours, (9, 9), 0)
        if name != "bare":
            Image.fromarray(colours).save(masks / f"{name}.png")
    report = check_dataset(tmp_path, limits=LIMITS)
    assert (report.samples, report.objects, report.kind) == (2, 4, "coco")
    assert list(report.counts) == ["broken mask"]
    assert "1 photograph without a mask left out" in report.facts
    assert not is_clips(tmp_path)
    (masks / "soft.png").unlink()
    assert list(preview_samples(open_set(tmp_path, limits=LIMITS), 1, preset="toy"))


def test_mistakes_with_folders_of_masks_are_told(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    square = np.zeros((60, 80), np.uint8)
    square[10:40, 5:35] = 1
    for number in range(4):
        Image.new("RGB", (80, 60)).save(tmp_path / "images" / f"{number}.png")
        Image.fromarray(square).save(tmp_path / "masks" / f"{number}.jpg")
    assert "0.jpg is a JPEG, whose compression changes object ids" in check_dataset(tmp_path).sentence()
    for number, path in enumerate(sorted((tmp_path / "masks").iterdir())):
        path.unlink()
        Image.fromarray(square).save(tmp_path / "masks" / f"cell{3 * number + 1}.png")
    report = check_dataset(tmp_path, limits=LIMITS)
    assert not report.ok and "mask without a photograph (3, such as cell4.png: give each the" in report.sentence()
    for path in (tmp_path / "masks").iterdir():
        path.rename(path.with_name(f"{int(path.stem[4:]) // 3}.png"))
    Image.fromarray(square).save(tmp_path / "masks" / "9.png")
    report = check_dataset(tmp_path, limits=LIMITS)
    assert (report.ok, report.samples) == (True, 4) and "left out: mask without a photograph: 1" in report.lines()
    with pytest.raises(DataError, match=f"images holds only images; give {tmp_path} if"):
        check_dataset(tmp_path / "images")
    (tmp_path / "above").mkdir()
    (tmp_path / "images").rename(tmp_path / "above" / "images")
    (tmp_path / "masks").rename(tmp_path / "above" / "masks")
    with pytest.raises(DataError, match=f"is not a data set itself; give one of its folders, such as {tmp_path}/above"):
        check_dataset(tmp_path)


def test_a_missing_photograph_of_another_ending_is_named_and_boxes_are_no_outlines(tmp_path):
    content = make_coco(tmp_path, 2)
    content["images"][0]["file_name"] = "B.png"
    save_coco(tmp_path, content)
    (tmp_path / "images" / "001.png").rename(tmp_path / "images" / "b.jpeg")
    assert str(check_dataset(tmp_path, limits=LIMITS).found[0]) == "B.png: b.jpeg is there"
    content["images"][0]["file_name"] = content["images"][1]["file_name"] = "s3://cells/002.png"  # of Label Studio
    save_coco(tmp_path, {**content, "images": content["images"][1:]})
    assert str(check_dataset(tmp_path, limits=LIMITS).found[-1]) == "s3://cells/002.png: 002.png is there"
    content["images"][0]["file_name"] = "B.png"
    save_coco(tmp_path, content)
    (tmp_path / "images").rename(tmp_path / "imgs")
    for annotation in content["annotations"]:
        annotation["segmentation"] = []
    save_coco(tmp_path, content)
    report = check_dataset(tmp_path, limits=LIMITS)
    assert report.counts == {"box without an outline": 4} and not report.ok
    assert "box without an outline (4, such as annotation 1 of B.png: export segmentation)" in report.sentence()


def test_every_unreadable_file_of_a_folder_of_annotations_is_listed(tmp_path):
    for number in range(4):
        Image.new("RGB", (80, 60)).save(tmp_path / f"{number}.png")
        points = [[5, 10], [35, 10], [35, 40], [5, 40]]
        shapes = [{"label": "cell", "points": points, "shape_type": "polygon"}]
        content = {"shapes": shapes, "imagePath": f"{number}.png", "imageHeight": 60, "imageWidth": 80}
        (tmp_path / f"{number}.json").write_text(json.dumps(content)[: -20 if number < 2 else None])
    report = check_dataset(tmp_path, limits=LIMITS)
    assert not report.ok and (report.samples, report.counts["unreadable annotations"]) == (2, 2)
    assert all(f"{number}.json is not LabelMe's JSON" in str(report.found[number]) for number in (0, 1))
    with pytest.raises(InputError, match=r"0\.json is not LabelMe's .* \(1 other file of .* cannot be read either\)"):
        read_annotations(tmp_path)


def test_masks_in_which_a_value_is_a_class_are_told(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    cells = np.zeros((60, 80), np.uint8)
    for x in (5, 30, 55):
        cells[10:40, x : x + 20] = 255
    for number in range(3):
        Image.new("RGB", (80, 60)).save(tmp_path / "images" / f"{number}.png")
        Image.fromarray(cells).save(tmp_path / "masks" / f"{number}.png")
    told = f"in 3 of 3 masks of {tmp_path} a value has separate pieces: if each is an object, give each its own"
    assert any(told in doubt for doubt in check_dataset(tmp_path, limits=LIMITS).doubts)
    cells[10:40, 30:50], cells[10:40, 55:75] = 1, 2
    for number in range(2):
        Image.fromarray(cells).save(tmp_path / "masks" / f"{number}.png")
    assert not any("pieces" in line for line in check_dataset(tmp_path, limits=LIMITS).lines())
    for number in range(3):
        pages = [Image.fromarray(np.where(cells == part, 255, 0).astype(np.uint8)) for part in (1, 2)]
        pages[0].save(tmp_path / "masks" / f"{number}.png", save_all=True, append_images=pages[1:])
    assert any("3 of 3 masks" in one and "only the first page" in one for one in check_dataset(tmp_path).doubts)
    for number in range(3):
        Image.fromarray(np.where(cells, 0, 255).astype(np.uint8)).save(tmp_path / "masks" / f"{number}.png")
    told = f"in 3 of 3 masks of {tmp_path} objects cover the whole edge of the picture: if that is the background, give"
    assert any(told in line for line in check_dataset(tmp_path, limits=LIMITS).lines())


def test_photographs_with_masks_called_like_them_next_to_them_are_a_set(tmp_path):
    def save(name, place):
        mask = np.zeros((60, 80), np.uint8)
        mask[10:40, place : place + 30] = 255
        Image.fromarray(mask).save(tmp_path / "cysts" / name)

    (tmp_path / "cysts").mkdir()
    for name in ("a (1).png", "b.jpg", "bare.png"):
        Image.new("RGB", (80, 60)).save(tmp_path / "cysts" / name)
    save("a (1)_mask.png", 5)
    save("a (1)_mask_1.png", 45)
    save("b_Segmentation.png", 5)
    save("lost_mask.png", 5)
    report = check_dataset(tmp_path / "cysts", limits=LIMITS)
    assert (report.ok, report.kind, report.images, report.samples, report.objects) == (True, "coco", 2, 2, 3)
    assert kinds(report) == {"mask without a photograph": "lost_mask.png"}
    assert "1 photograph without a mask left out" in report.facts
    assert list(preview_samples(open_set(tmp_path / "cysts", limits=LIMITS), 1, preset="toy"))
    assert [len(picture.object_ids) for picture in read_annotations(tmp_path / "cysts").pictures] == [2, 1]
    with pytest.raises(DataError, match=r"is not a data set itself; give one of its folders, such as .*cysts$"):
        open_set(tmp_path)
    Image.new("L", (20, 20), 255).save(tmp_path / "cysts" / "b_mask.png")
    assert kinds(check_dataset(tmp_path / "cysts", limits=LIMITS))["size mismatch"] == "b_mask.png"


def test_a_fault_of_a_file_with_a_long_path_keeps_its_way_out(tmp_path):
    folder = tmp_path.joinpath(*["very_long_names" * 8] * 3)
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    Image.new("RGB", (80, 60)).save(folder / "images" / "a.png")
    square = cv2.rectangle(np.zeros((60, 80), np.uint8), (20, 20), (50, 40), 255, -1)
    cv2.imwrite(str(folder / "masks" / "a.png"), cv2.GaussianBlur(square, (9, 9), 3))
    fault = str(check_dataset(folder, limits=LIMITS).found[0])
    assert " ... " in fault and "a.png has soft edges" in fault and fault.endswith("threshold it at 128")


def test_folders_of_single_photographs_with_a_mask_for_each_object_are_a_set(tmp_path):
    for name in ("ab12", "cd34"):
        for part in ("images", "masks"):
            (tmp_path / name / part).mkdir(parents=True)
        Image.new("RGB", (80, 60)).save(tmp_path / name / "images" / f"{name}.png")
        for place in (5, 45):
            mask = np.zeros((60, 80), np.uint8)
            mask[10:40, place : place + 30] = 255
            Image.fromarray(mask).save(tmp_path / name / "masks" / f"{place}.png")
    report = check_dataset(tmp_path, limits=LIMITS)
    assert (report.ok, report.kind, report.samples, report.objects) == (True, "coco", 2, 4)
    assert not is_clips(tmp_path)
    (tmp_path / "ab12" / "masks" / "5.png").write_bytes(b"broken")
    assert kinds(check_dataset(tmp_path, limits=LIMITS)) == {"broken mask": "ab12"}


@pytest.mark.parametrize(
    ("photograph", "mask"),
    [
        ("{}/image.png", "{}/mask.png"),
        ("{}/img.tif", "{}/label_{}.tif"),
        ("{0}/{0}.png", "{0}/{0}_masks.png"),
        ("{}/image.png", "{}/masks/{}.png"),
        ("train/image/{}.png", "train/label/{}.png"),
        ("images/{}.png", "masks/{}_{}.png"),
        ("images/{}.png", "masks/{}_mask{}.png"),
        ("images/{}.png", "masks/{}/{}.png"),
        ("{}.png", "{}_{}.png"),
        ("{}.png", "{}_cp_masks.png"),
        ("{}_img.png", "{}_masks.png"),
        ("{}.png", "{}_seg.png"),
    ],
)
def test_photographs_are_found_with_one_mask_or_one_for_each_object(tmp_path, photograph, mask):
    def save(name, picture):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        picture.save(tmp_path / name)

    labels = np.zeros((60, 80), np.uint8)
    labels[10:40, 5:35], labels[10:40, 45:75] = 1, 2
    for name in ("cell_1", "cell_2", "x"):
        save(photograph.format(name), Image.new("RGB", (80, 60)))
        if mask.count("{}") == 2:  # the second mask overlaps the first
            save(mask.format(name, 1), Image.fromarray(np.where(labels, 255, 0).astype(np.uint8)))
            save(mask.format(name, 2), Image.fromarray(np.where(labels == 2, 255, 0).astype(np.uint8)))
        else:
            save(mask.format(name), Image.fromarray(labels))
    report = check_dataset(tmp_path, limits=LIMITS)
    assert (report.ok, report.images, report.samples, report.objects) == (True, 3, 3, 6) and not report.doubts
    areas = [item.mask.sum() for item in open_set(tmp_path, limits=LIMITS).load(0).objects]
    assert areas == ([1800, 900] if mask.count("{}") == 2 else [900, 900])
    assert [len(picture.object_ids) for picture in read_annotations(tmp_path).pictures] == [2, 2, 2]
    if not photograph.startswith(("train/", "images/")) or mask == "masks/{}/{}.png":  # the others may be one clip
        with (
            pytest.raises(DataError, match="holds labelled photographs, which have no score"),
            open_benchmark(tmp_path),
        ):
            pass
    Image.new("L", (20, 20), 255).save(tmp_path / mask.format("x", 1))
    assert not check_dataset(tmp_path, limits=LIMITS).ok


def test_photographs_without_a_mask_or_with_many_pages_or_in_a_pickle_are_told(tmp_path):
    tmp_path = tmp_path / "train"
    tmp_path.mkdir()
    square = np.zeros((60, 80), np.uint8)
    square[10:40, 5:35] = 1
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (80, 60)).save(tmp_path / name / "image.tif")
    Image.fromarray(square).save(tmp_path / "a" / "mask.tif")
    assert "1 photograph without a mask left out" in check_dataset(tmp_path, limits=LIMITS).facts
    with pytest.raises(DataError, match=f"is not a data set itself; give one of its folders, such as {tmp_path}"):
        check_dataset(tmp_path.parent)
    for name, picture in (("image", Image.new("RGB", (80, 60))), ("mask", Image.fromarray(square))):
        picture.save(tmp_path / "a" / f"{name}.tif", save_all=True, append_images=[picture])
    said = check_dataset(tmp_path, limits=LIMITS).sentence()
    assert "image.tif and its mask are stacks of pages" in said
    stacks = {"IMAGE": tmp_path / "a" / "image.tif", "MASK": tmp_path / "a" / "mask.tif", "R": tmp_path / "pages"}
    for command in re.findall("`hodor (.*?)`", said):
        hodor(*(stacks.get(word, word) for word in command.split()))
    assert check_dataset(tmp_path / "pages" / "export" / "coco", limits=LIMITS).samples == 2
    (tmp_path / "b" / "image_seg.npy").write_bytes(b"")
    advice = r"Cellpose's NAME_seg\.npy, .*; save its masks there as PNG"
    with pytest.raises(DataError, match=advice):
        check_dataset(tmp_path / "b")
    np.save(tmp_path / "b" / "image_seg.npy", np.array({"masks": square}))
    with pytest.raises(InputError, match=advice):
        read_mask(tmp_path / "b" / "image_seg.npy")
    Image.new("RGB", (80, 60)).save(tmp_path / "b" / "other.png")
    Image.fromarray(square).save(tmp_path / "b" / "other_mask.png")
    facts = check_dataset(tmp_path / "b", limits=LIMITS).facts
    assert re.search(f"1 photograph without a mask left out; there is {advice}", facts[-1])
    for mode in ("RGB", "L"):  # photographs with numbers, not masks
        (tmp_path / mode).mkdir()
        for name in ("x", "x_1", "x_2"):
            Image.new(mode, (80, 60)).save(tmp_path / mode / f"{name}.png")
        assert not find_beside(tmp_path / mode)


@pytest.mark.parametrize(("images", "masks"), [("images", "masks"), ("RGB", "truth"), ("footage", "gt")])
def test_clips_in_two_folders_are_clips_as_for_an_evaluation(tmp_path, images, masks):
    make_clips(tmp_path, {"bear": 3, "cow": 3}, resolution=None)
    (tmp_path / "JPEGImages").rename(tmp_path / images)
    (tmp_path / "Annotations").rename(tmp_path / masks)
    assert list(recognise(tmp_path).sequences) == ["bear", "cow"]
    report = check_dataset(tmp_path, limits=LIMITS)
    assert is_clips(tmp_path) and (report.kind, report.images) == ("clips", 6)
