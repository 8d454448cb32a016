"""The commands export-descriptors, retrieval, map and heatmaps, as a user types them."""

from __future__ import annotations

import json
import os
import shutil
import unicodedata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from command import hodor, refused
from conftest import write_video
from data_fakes import make_coco
from descriptor_helpers import clip, clustered_store, toy_model, write_davis, write_report
from PIL import Image
from video_fakes import damaged

import hodor_cli.weights
from hodor_cli.cli.retrieval_texts import show_matches
from hodor_cli.descriptors import DescriptorStore
from hodor_cli.descriptors.search.search import Match, VerifiedMatch
from hodor_cli.images.label_png import write_label_png
from hodor_cli.weights.checkpoint import save_checkpoint


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands run in an empty folder that has toy.safetensors."""
    monkeypatch.chdir(tmp_path)
    save_checkpoint(tmp_path / "toy.safetensors", toy_model(), {})


def test_of_many_results_those_whose_video_is_there_are_exported(tmp_path: Path) -> None:
    frames, labels = clip()
    (tmp_path / "clips").mkdir()
    for name in ("a", "b"):
        write_video(tmp_path / "clips" / f"{name}.mp4", frames)
        (tmp_path / "masks" / name).mkdir(parents=True)
        write_label_png(tmp_path / "masks" / name / "00000.png", labels[0])
    weights = ("--weights", "toy.safetensors")
    hodor("segment-many", "clips", "--masks", "masks", *weights, "-o", "out")
    everything = sorted(map(str, Path("out").iterdir()))  # as a shell's out/* has them
    (tmp_path / "clips" / "a.mp4").rename(tmp_path / "elsewhere.mp4")
    for sources in (["out"], everything):
        out = f"{len(sources)}.h5"
        said = " ".join(hodor("export-descriptors", *sources, "-o", out, *weights, code=3).output.split())
        assert "out/a: the video of out/a is missing" in said and "1 of 2 videos could not be exported" in said
        with DescriptorStore(tmp_path / out) as store:
            assert store.videos == ["b"]
    for summaries in (1, 2):
        said = refused("export-descriptors", *["out/summary.json"] * summaries, "-o", "no.h5", *weights, code=2)
        assert "out/summary.json is only a summary; give the results folder, out" in said
    (tmp_path / "clips" / "b.mp4").unlink()
    assert "the video of out/a is missing" in refused("export-descriptors", "out", "-o", "no.h5", *weights)
    assert not (tmp_path / "no.h5").exists()


@pytest.mark.parametrize(
    ("parent", "name"),
    [(b"clips", unicodedata.normalize("NFD", "café.mp4").encode()), (b"caf\xe9", b"clip.mp4"), (b"a", b"caf\xe9.mp4")],
    ids=["decomposed", "folder not UTF-8", "file not UTF-8"],
)
def test_names_in_any_encoding(tmp_path: Path, parent: bytes, name: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    frames, labels = clip(2)
    write_label_png(tmp_path / "mask.png", labels[0])
    place = tmp_path / os.fsdecode(parent)
    try:
        place.mkdir()
        write_video(tmp_path / "clip.mp4", frames).rename(place / os.fsdecode(name))
    except OSError:
        pytest.skip("this file system has no such names")
    monkeypatch.chdir(place)
    given = ("--weights", "../toy.safetensors")
    run = ("segment", os.fsdecode(name), "--mask", "../mask.png", "-o", "out", "--descriptors", "of_run.h5")
    assert "4 descriptors added" in hodor(*run, *given).output
    masked = ("export-descriptors", os.fsdecode(name), "--masks", "out")
    assert "4 descriptors from 2 frames" in hodor(*masked, *given).output
    if b"\xe9" not in name:
        assert "4 descriptors from 2 frames" in hodor("export-descriptors", "out", "-o", "result.h5", *given).output
    (place / "notes.txt").touch()  # a warning that names the folder is part of the saved run
    Image.fromarray(frames[0]).save(place / "0.png")
    hodor("segment", place, "--mask", "../mask.png", "-o", "again", *given)


def test_a_folder_of_results_and_pictures_is_called_what_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    frames, labels = clip(2)
    write_label_png(tmp_path / "mask.png", labels[0])
    write_video(tmp_path / "clip.mp4", frames)
    hodor("segment", "clip.mp4", "--mask", "mask.png", "--weights", "toy.safetensors")
    for number in (1, 2):  # of different sizes
        Image.new("RGB", (10 * number, 10)).save(tmp_path / f"{number}.jpg")
    said = refused("export-descriptors", ".", "--weights", "toy.safetensors", code=2)
    assert ". holds pictures and 1 result of `hodor segment`; give the results, such as clip.hodor, or" in said


def test_damage_of_a_video_is_told(tmp_path: Path) -> None:
    frames, labels = clip()
    path = damaged(write_video(tmp_path / "clip.avi", frames, codec="mpeg4", options={}), len(frames) // 2)
    (tmp_path / "masks").mkdir()
    write_label_png(tmp_path / "masks" / "00000.png", labels[0])
    write_label_png(tmp_path / "masks" / f"{len(frames) - 1:05d}.png", labels[0])
    said = hodor("export-descriptors", path, "--masks", "masks", "--weights", "toy.safetensors").output
    assert f"frame {len(frames) // 2} could not be decoded, so the previous frame is shown" in " ".join(said.split())


def test_from_a_data_set_to_curves_search_and_map(tmp_path: Path) -> None:
    write_davis(tmp_path / "davis", {"bear": 250, "cow": 90}, count=4)
    weights = ("--weights", "toy.safetensors")
    result = hodor("export-descriptors", "davis", "-o", "objects.h5", *weights)
    assert "bear: 8 descriptors from 4 frames" in result.output
    again = hodor("export-descriptors", "davis", *weights).output
    assert "bear: already there, skipped" in again and "nothing new for objects.h5" in again
    assert "in place of" not in result.output
    fewer = hodor("export-descriptors", "davis", "-o", "fewer.h5", "--every", "2", *weights).output
    assert "bear: 4 descriptors from 2 frames\n" in fewer
    replaced = hodor("export-descriptors", "davis", "-o", "fewer.h5", *weights).output
    assert "bear: 8 descriptors from 4 frames, in place of the earlier ones" in replaced

    result = hodor("retrieval", "--pr-curve")
    assert "mAP" in result.output and "baseline, Euclidean" in result.output
    assert (tmp_path / "pr_curve.png").exists() and (tmp_path / "pr_curve.csv").exists()
    curves = json.loads(hodor("retrieval", "--pr-curve", "--json", "--queries", "5", "-o", "few").stdout)["curves"]
    assert curves["descriptor, cosine within"]["sampled"]
    assert curves["descriptor, Euclidean across"]["queries"] == 5

    result = hodor("retrieval", "objects.h5", "--query", "objects.h5#bear/1", "--json", "--verify", *weights)
    found = json.loads(result.stdout)[0]
    assert len(found["matches"]) == 3 and "distance" in found["matches"][0]["verified"]
    assert (found["by"], found["metric"]) == ("baseline", "euclidean")
    result = hodor("retrieval", "--query", "objects.h5#bear/1", "--by", "descriptor", "--metric", "cosine", "-o", "b")
    assert "compared by descriptor, cosine distance" in result.output
    curves = json.loads(hodor("retrieval", "--pr-curve", "--json", "--by", "baseline", "--overwrite").stdout)["curves"]
    assert sorted(curves) == sorted(f"baseline, Euclidean {gallery}" for gallery in ("across", "within"))
    assert (tmp_path / "matches.png").exists()
    frames, labels = clip(1, hue=250)
    Image.fromarray(frames[0]).save("photo.png")
    write_label_png("mask.png", (labels[0] == 1).astype(np.uint16))
    result = hodor("retrieval", "--query", "photo.png", "--mask", "mask.png", "-o", "c", *weights)
    assert "photo.png: 4 most similar objects" in result.output

    result = hodor("map", "-o", "picture", "--method", "pca", "--trajectories", "--colour", "object")
    assert all((tmp_path / f"picture.{suffix}").exists() for suffix in ("png", "html", "csv"))

    result = hodor("map", "-o", "features", "--method", "pca", "--by", "baseline")
    assert '"baseline features"' in (tmp_path / "features.html").read_text()
    assert (tmp_path / "features.csv").read_text() != (tmp_path / "picture.csv").read_text()

    folder = "davis/JPEGImages/480p/bear"
    masks = "davis/Annotations/480p/bear"
    result = hodor("heatmaps", folder, "--mask", masks, "--frame", "3", "-o", "heat.png", *weights)
    assert (tmp_path / "heat.png").exists()
    result = hodor("heatmaps", folder, "--box", "8,6,20,20", "--frame", "3", "-o", "boxed.png", *weights)
    assert "object 1 from the box 8,6,20,20" in result.output and (tmp_path / "boxed.png").exists()
    nothing = refused("heatmaps", folder, "--frame", "3", "-o", "nothing.png", *weights)
    assert "give a --mask, --box or --click" in nothing


def test_videos_are_removed_from_a_file(tmp_path: Path) -> None:
    write_davis(tmp_path / "davis", {"bear": 250, "cow": 90}, count=2)
    hodor("export-descriptors", "davis", "--weights", "toy.safetensors")
    wrong = refused("export-descriptors", "--remove", "bear", "--remove", "camel")
    assert "objects.h5 has no video 'camel'; its videos: bear, cow" in wrong
    assert "removed from objects.h5: bear\n" in hodor("export-descriptors", "--remove", "bear").output
    with DescriptorStore("objects.h5") as store:
        assert store.videos == ["cow"]
    assert "give at least one SOURCE" in refused("export-descriptors")


def test_failures_are_one_sentence_with_a_way_out(tmp_path: Path) -> None:
    weights = ("--weights", "toy.safetensors")
    clustered_store(tmp_path / "other.h5")
    assert "made by `hodor export-descriptors`" in refused("retrieval", "--pr-curve")
    assert "--pr-curve" in refused("retrieval", "other.h5")
    assert "--query" in refused("retrieval", "other.h5", "--mask", "m.png")
    assert "FILE.h5#VIDEO/ID" in refused("retrieval", "other.h5", "--query", "photo.jpg")
    assert "--pr-curve" in refused("retrieval", "other.h5", "--query", "other.h5#v1/1", "--queries", "3")
    assert "--verify goes with --query" in refused("retrieval", "other.h5", "--pr-curve", "--verify")
    assert "--metric cosine goes with" in refused("retrieval", "other.h5", "--pr-curve", "--metric", "cosine")
    assert "only --verify uses --weights" in refused("retrieval", "other.h5", "--query", "other.h5#v1/1", *weights)
    assert "no video bear" in refused("retrieval", "other.h5", "--query", "other.h5#bear/1")
    assert "no object 9" in refused("retrieval", "other.h5", "--query", "other.h5#v1/9")
    assert "other weights" in refused("retrieval", "other.h5", "--query", "other.h5#v1/1", "--verify", *weights)
    assert "no video bear" in refused("map", "other.h5", "--video", "bear")
    assert "no such descriptor file" in refused("map", "none.h5")
    davis = write_davis(tmp_path / "davis", {"bear": 250}, count=2)
    bear = davis / "JPEGImages/480p/bear", "--masks", davis / "Annotations/480p/bear"
    assert "another model" in refused("export-descriptors", davis, "-o", "other.h5", *weights)
    assert "--name" in refused("export-descriptors", davis, davis, "--name", "x", *weights)
    assert "'' cannot name a video" in refused("export-descriptors", *bear, "--name", "", *weights)
    assert "there is no folder of masks nope" in refused("export-descriptors", davis, "--masks", "nope", *weights)
    assert "there are no masks" in refused("export-descriptors", davis / "JPEGImages/480p/bear", *weights)
    frames = ("heatmaps", davis / "JPEGImages/480p/bear", "--mask", davis / "Annotations/480p/bear/00000.png")
    for frame in (2, 40):
        assert "bear has no frame" in (said := refused(*frames, "--frame", frame, *weights)) and "it has 2," in said
    clustered_store(tmp_path / "one.h5", videos=1, frames=1)
    assert "no query has something to find" in refused("retrieval", "one.h5", "--pr-curve")
    assert "a map needs at least 3" in refused("map", "one.h5")


def test_a_picture_replaces_no_library_and_nothing_that_the_command_reads(tmp_path: Path) -> None:
    library = clustered_store(tmp_path / "other.h5")
    before = library.read_bytes()
    search = ("retrieval", "other.h5", "--query", "other.h5#v1/1")
    assert "ends in .png" in refused(*search, "-o", "other.h5")
    assert "ends in .png" in refused("retrieval", "other.h5", "--pr-curve", "-o", "other.h5")
    assert "ends in .png" in refused(*search, "-o", "sheet.jpg")
    assert "ends in .png" in refused("map", "other.h5", "-o", "map.jpg")
    assert library.read_bytes() == before
    (tmp_path / "photo.png").write_bytes(b"a photo")
    photo = ("retrieval", "other.h5", "--query", "photo.png", "--mask", "photo.png", "-o", "photo.png")
    assert "is an input of this command" in refused(*photo)
    davis = write_davis(tmp_path / "davis", {"bear": 250}, count=2)
    mask = davis / "Annotations/480p/bear/00000.png"
    heat = ("heatmaps", davis / "JPEGImages/480p/bear", "--mask", f"0={mask}", "--frame", "1", "-o")
    assert "ends in .png" in refused(*heat, "other.h5") and library.read_bytes() == before
    assert "is an input of this command" in refused(*heat, mask)
    assert "there is no folder made/later to write a.png into" in refused(*search, "-o", "made/later/a.png")
    hodor(*search, "-o", "sheet")
    assert (tmp_path / "sheet.png").is_file()
    shutil.copy(davis / "JPEGImages/480p/bear/00000.jpg", "matches_1.png")
    both = ("--query", "matches_1.png", "--mask", mask, "--overwrite", "--weights", "toy.safetensors")
    assert "matches_1.png is an input of this command" in refused("retrieval", "other.h5", *both)
    curves = hodor("retrieval", "other.h5", "--pr-curve", "-o", "curve.PNG")
    assert "curve.PNG  the curves" in curves.output  # and not curve.png, which may be another file


def test_pictures_replace_nothing_unless_asked(tmp_path: Path) -> None:
    clustered_store(tmp_path / "other.h5")
    davis = write_davis(tmp_path / "davis", {"bear": 250}, count=2)
    frames, masks = davis / "JPEGImages/480p/bear", davis / "Annotations/480p/bear"
    for kept, *command in (
        ("matches.png", "retrieval", "other.h5", "--query", "other.h5#v1/1"),
        ("matches_1.png", "retrieval", "other.h5", "--query", "other.h5#v1"),
        ("pr_curve.csv", "retrieval", "other.h5", "--pr-curve"),
        ("map.html", "map", "other.h5", "--method", "pca"),
        ("bear_frame1.png", "heatmaps", frames, "--mask", masks, "--frame", "1", "--weights", "toy.safetensors"),
    ):
        before = sorted(tmp_path.iterdir())
        (tmp_path / kept).write_text("mine")
        assert f"{kept} exists already; give another --out or --overwrite" in refused(*command)
        assert (tmp_path / kept).read_text() == "mine" and len(list(tmp_path.iterdir())) == len(before) + 1
        hodor(*command, "--overwrite")
        assert (tmp_path / kept).stat().st_size > 100
        for made in set(tmp_path.iterdir()).difference(before):
            made.unlink()


def test_a_query_that_is_neither_stored_nor_a_photo_says_what_is_one(tmp_path: Path) -> None:
    clustered_store(tmp_path / "other.h5")
    assert "give FILE.h5#VIDEO/ID" in refused("retrieval", "other.h5", "--query", "v1/1")
    assert "is not a stored object" in refused("retrieval", "other.h5", "--query", "other.h5/v1/1")
    mixed = ("retrieval", "other.h5", "--query", "other.h5#v1/1", "--mask", "m.png")
    assert "leave out --mask" in refused(*mixed)


def test_what_was_decoded_is_only_called_found_below_the_limit(capsys: pytest.CaptureFixture[str]) -> None:
    match = Match("bear", 1, 0.9, 5, 0, 4, 2, 2, 0.0, 0.4, 0.2, "bear.mp4", None)
    checks = [VerifiedMatch(match, True, 0.9, 0.5, distance) for distance in (0.9, 1.2)]
    checks.append(VerifiedMatch(match, problem="bear.mp4 no longer exists"))
    store = SimpleNamespace(path="objects.h5")
    found = "found there", "something else found there"
    for limit, alike in ((1.0, found), (None, ["something found there"] * 2)):
        query: dict[str, Any] = {"query": "bear/2", "by": "projection", "metric": "euclidean", "alike_below": limit}
        query |= {"contact_sheet": "sheet.png", "matches": [(match, check) for check in checks]}
        show_matches(store, [query], False)  # type: ignore[arg-type]
        first, *lines = capsys.readouterr().out.splitlines()
        assert first.endswith("ranked with what was found, 1 not checked at the end")
        shown = [line for line in lines if "confidence" in line]
        assert all(f"; {words}, distance" in line for words, line in zip(alike, shown, strict=True))


def test_masks_are_not_put_on_another_video_without_a_word(tmp_path: Path) -> None:
    frames, labels = clip(3)
    for name in ("dog", "cat"):
        (tmp_path / name).mkdir()
        for index, frame in enumerate(frames):
            Image.fromarray(frame).save(tmp_path / name / f"{index:05d}.png")
    result = tmp_path / "dog.hodor"
    (result / "masks").mkdir(parents=True)
    for index, label in enumerate(labels):
        write_label_png(result / "masks" / f"{index:05d}.png", label)
    write_report(result, "dog", str(tmp_path / "dog"))
    weights = ("--weights", "toy.safetensors")
    both = ("export-descriptors", "dog", "cat", "--masks")
    assert "is for both dog and cat" in refused(*both, "dog.hodor", *weights)
    for name in ("dog", "cat"):
        shutil.copytree(result / "masks", tmp_path / "masks" / name)
    each = hodor(*both, "masks", "-o", "each.h5", *weights)
    assert "cat: 6 descriptors" in each.output
    (tmp_path / "first").mkdir()
    for name in ("dog", "cat"):
        shutil.copy(result / "masks" / "00000.png", tmp_path / "first" / f"{name}.png")
    first = hodor(*both, "first", "-o", "first.h5", *weights)
    assert "cat: 2 descriptors from 1 frame" in first.output and "dog: 2 descriptors from 1 frame" in first.output
    alone = refused("export-descriptors", "dog", "--masks", "first", *weights)
    assert "give the file of frame 0 alone" in alone and "FRAME=FILE" not in alone
    for name in ("dog", "cat"):
        shutil.copytree(name, f"take.{name}")
        (tmp_path / "masks" / name).rename(tmp_path / "masks" / f"take.{name}")
    dots = hodor("export-descriptors", "take.dog", "take.cat", "--masks", "masks", "-o", "dots.h5", *weights)
    assert "take.cat: 6 descriptors" in dots.output
    one = hodor("export-descriptors", "cat", "--masks", "dog.hodor", *weights)
    assert "were made from dog and are now used for cat" in one.output
    (tmp_path / "clips.hodor").mkdir()
    for name in ("dog", "cat"):
        shutil.copytree(result, tmp_path / "clips.hodor" / name)
        write_report(tmp_path / "clips.hodor" / name, name, str(tmp_path / name))
    many = hodor("export-descriptors", "clips.hodor", "-o", "many.h5", *weights).output
    assert "cat: 6 descriptors" in many and "dog: 6 descriptors" in many
    assert "leave out --masks" in refused("export-descriptors", "dog.hodor", "--masks", "masks/take.cat", *weights)
    (tmp_path / "dog").rename(tmp_path / "moved")
    assert f"{tmp_path / 'dog'} no longer exists" in refused("export-descriptors", "dog.hodor", *weights)
    renamed = hodor("export-descriptors", "moved", "--masks", "dog.hodor", "-o", "each.h5", *weights)
    assert "moved: 6 descriptors from 3 frames, in place of dog, which was renamed" in renamed.output
    write_label_png("empty.png", np.zeros_like(labels[0]))
    empty = hodor("export-descriptors", "cat", "--masks", "empty.png", "-o", "empty.h5", *weights)
    assert "cat: its masks show no object" in empty.output


def test_the_object_is_marked_in_a_photo_or_a_video_frame(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    davis = write_davis(tmp_path / "davis", {"bear": 250, "cow": 90}, count=3)
    weights = ("--weights", "toy.safetensors")
    hodor("export-descriptors", "davis", *weights)
    frames, labels = clip(1, hue=250)
    Image.fromarray(frames[0]).save("photo.png")
    rows, columns = np.nonzero(labels[0] == 1)
    box = f"{columns.min()},{rows.min()},{np.ptp(columns) + 1},{np.ptp(rows) + 1}"
    found = hodor("retrieval", "--query", "photo.png", "--box", box, "--json", "-o", "a", *weights)
    assert len(json.loads(found.stdout)[0]["matches"]) == 4, found.output
    loaded: list[object] = []
    load = hodor_cli.weights.load_model
    monkeypatch.setattr("hodor_cli.weights.load_model", lambda *given: loaded.append(given) or load(*given))
    photo = ("retrieval", "--query", "photo.png", "--box", box, "-o", "verified", *weights)
    assert "photo.png: 4 most similar objects" in hodor(*photo, "--verify").output and len(loaded) == 1
    video = ("retrieval", "--query", davis / "JPEGImages/480p/bear", *weights)
    found = hodor(*video, "--box", f"0:1={box}", "--box", f"2:1={box}", "-o", "b")
    assert "bear: 4 most similar objects" in found.output, found.output
    write_label_png("small.png", labels[0][:32])
    assert "was it made for other frames?" in refused(*video, "--mask", "small.png", "-o", "c")
    write_label_png("empty.png", np.zeros_like(labels[0]))
    nothing = refused(*video, "--mask", "0:1=empty.png", "--verify", "-o", "c")
    assert nothing.endswith("no object is marked in bear; mark one with a --mask, a --box or a --click")


def test_a_match_among_photographs_names_the_file(tmp_path: Path) -> None:
    photographs = make_coco(tmp_path / "photos", count=2)["images"]
    (tmp_path / "photos" / "annotations").mkdir()
    (tmp_path / "photos" / "instances.json").rename(tmp_path / "photos" / "annotations" / "instances.json")
    weights = ("--weights", "toy.safetensors")
    hodor("export-descriptors", "photos", *weights)
    with DescriptorStore("objects.h5") as store:
        ids = store.object_ids("photos")
    names = [entry["file_name"] for entry in photographs]
    result = hodor("retrieval", "--query", f"objects.h5#photos/{ids[0]}", "--by", "descriptor")
    assert all(name in result.output for name in names)
    height, width = np.asarray(Image.open(next((tmp_path / "photos").rglob(names[0])))).shape[:2]
    write_label_png("mask.png", np.pad(np.ones((40, 40), np.uint16), ((0, height - 40), (0, width - 40))))
    photo = ("--query", next((tmp_path / "photos").rglob(names[0])), "--mask", "mask.png", *weights)
    found = json.loads(hodor("retrieval", *photo, "--by", "descriptor", "--verify", "--json", "--overwrite").stdout)
    assert {match["image_name"] for match in found[0]["matches"]} == set(names)
    assert not any(match["verified"]["problem"] for match in found[0]["matches"])
    (tmp_path / "photos" / "annotations").rename(tmp_path / "labels")
    hodor("export-descriptors", "photos", "--annotations", "labels/instances.json", "-o", "apart.h5", *weights)
    apart = hodor("retrieval", "apart.h5", *photo, "--by", "descriptor", "--verify", "--json", "--overwrite").stdout
    assert not any(match["verified"]["problem"] for match in json.loads(apart)[0]["matches"])
    clustered_store(tmp_path / "other.h5")
    assert "weights of the library (--weights)" in refused("retrieval", "other.h5", *photo, "--overwrite")
