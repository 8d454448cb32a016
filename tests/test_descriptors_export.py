"""Exporting descriptors: from data sets, videos with masks, results, stills, and while segmenting."""

from __future__ import annotations

import copy
import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import write_video
from descriptor_helpers import clip, toy_model, write_davis, write_report
from PIL import Image
from segment_fakes import MemorySource

from hodor_cli.descriptors import DescriptorStore
from hodor_cli.descriptors.export.encode import FeatureTap, FrameEncoder
from hodor_cli.descriptors.export.export import export_sources, find_sources, store_info
from hodor_cli.descriptors.export.sources import video_with_masks
from hodor_cli.descriptors.search.query import queries_of_store
from hodor_cli.descriptors.search.search import _read_frame, search_objects
from hodor_cli.descriptors.session.session import DescriptorRecorder
from hodor_cli.descriptors.store.crops import open_crop
from hodor_cli.descriptors.store.store import find_store
from hodor_cli.engine import Segmenter, SegmenterSettings
from hodor_cli.errors import DataError, InputError, UsageError
from hodor_cli.images.label_png import write_label_png
from hodor_cli.model.hodor import Hodor
from hodor_cli.records import FrameRecord, ObjectRecord
from hodor_cli.run.inputs import RunInputs
from hodor_cli.run.runner import segment_source
from hodor_cli.video.source import open_source


@pytest.fixture(scope="module")
def model() -> Hodor:
    return toy_model()


def test_a_davis_set_with_true_masks(tmp_path: Path, model: Hodor) -> None:
    root = write_davis(tmp_path / "davis", {"bear": 200, "cow": 120})
    output = tmp_path / "objects.h5"
    results = export_sources(find_sources(root, every=2), output, FrameEncoder(model))
    assert [(r.name, r.outcome, r.frames, r.rows) for r in results] == [
        ("bear", "written", 3, 6),
        ("cow", "written", 3, 6),
    ]
    with DescriptorStore(output) as store:
        rows = store.rows("bear")
        assert rows.frame.tolist() == [0, 0, 2, 2, 4, 4] and rows.object_id.tolist() == [1, 2] * 3
        assert rows.box[2].tolist() == [12, 8, 24, 20] and rows.area[0] == 480 and rows.confidence.tolist() == [1.0] * 6
        assert store.info == store_info(model)
        background, frames = store.background("bear")
        assert background.shape == (3, 9, 32) and frames.tolist() == [0, 2, 4]
        thumbnail = store.thumbnails("bear")[0]
        assert thumbnail is not None
        picture = np.asarray(open_crop(thumbnail))
        assert picture[picture.shape[0] // 2, picture.shape[1] // 2, 0] > 150  # the red square is in the middle
        assert store.dataset("bear", "baseline").shape == (6, 12 + 16)
        assert store.video("bear").settings["every"] == 2
    again = export_sources(find_sources(root, every=2), output, FrameEncoder(model))
    assert [r.outcome for r in again] == ["skipped", "skipped"]
    write_label_png(root / "Annotations/480p/cow/00002.png", clip(1)[1][0])
    changed = export_sources(find_sources(root, every=2), output, FrameEncoder(model))
    assert [r.outcome for r in changed] == ["skipped", "written"]
    with DescriptorStore(output) as store:
        assert len(store.rows("cow")) == 6 and store.rows("cow").box[2].tolist() == [4, 8, 24, 20]


def test_masks_of_davis_2016_and_predicted_masks(tmp_path: Path, model: Hodor) -> None:
    root = write_davis(tmp_path / "davis", {"bear": 200}, binary=True)
    export_sources(find_sources(root), tmp_path / "true.h5", FrameEncoder(model))
    with DescriptorStore(tmp_path / "true.h5") as store:
        assert store.object_ids("bear") == [1]
    predicted = tmp_path / "predicted" / "bear"
    predicted.mkdir(parents=True)
    for index, label in enumerate(clip()[1]):
        write_label_png(predicted / f"{index:05d}.png", label)
    export_sources(find_sources(root, masks=tmp_path / "predicted"), tmp_path / "predicted.h5", FrameEncoder(model))
    with DescriptorStore(tmp_path / "predicted.h5") as store:
        assert store.object_ids("bear") == [1, 2] and store.video("bear").kind == "davis-predicted"


def test_descriptors_are_those_of_a_first_frame(model: Hodor) -> None:
    frames, labels = clip(1)
    segmenter = Segmenter(model, device="cpu", precision="fp32")
    segmenter.step(frames[0], labels[0])
    expected = segmenter.descriptors()
    encoder = FrameEncoder(model, SegmenterSettings(device="cpu", precision="fp32"))
    found = encoder.encode(frames[0], {1: labels[0] == 1, 2: labels[0] == 2})
    for key in (1, 2):
        np.testing.assert_allclose(found.objects[key], expected.objects[key], atol=1e-5)
    np.testing.assert_allclose(found.background, expected.background, atol=1e-5)


def test_an_encoder_leaves_a_network_in_training_as_it_is(model: Hodor) -> None:
    training = copy.deepcopy(model).train()
    assert not FrameEncoder(training).model.training
    assert training.training
    with pytest.raises(UsageError, match="`model` is 'toy'; give a network"):
        FrameEncoder("toy")  # type: ignore[arg-type]


def test_segmenters_and_encoders_that_share_a_network_do_not_mix_their_frames(model: Hodor) -> None:
    images, labels = clip(2)
    masks = {key: labels[0] == key for key in (1, 2)}
    alone = FrameEncoder(model).encode(images[0], masks).baseline
    segmenter = Segmenter(model)
    with closing(FeatureTap(segmenter)) as tap:
        segmenter.step(images[0], labels[0])
        of_segmenter = tap.means(masks)
        with ThreadPoolExecutor(1) as other:  # as if it ran at the same time
            other.submit(Segmenter(model).step, images[1], labels[1]).result()
        for key in masks:
            np.testing.assert_array_equal(tap.means(masks)[key], of_segmenter[key])
    others = [torch.rand(1, 3, 64, 96)]

    def meanwhile(backbone: Any, _: object) -> None:
        """Another thread's frame passes through the network while this one's is in it."""
        if others:
            backbone(others.pop())

    hook = model.backbone.register_forward_pre_hook(meanwhile)
    found = FrameEncoder(model).encode(images[0], masks).baseline
    hook.remove()
    for key in masks:
        np.testing.assert_array_equal(found[key], alone[key])


def test_bfloat16_changes_features_by_rounding_alone(model: Hodor) -> None:
    frames, labels = clip(1)
    given = {1: labels[0] == 1}
    exact, rounded = (
        FrameEncoder(model, SegmenterSettings(device="cpu", precision=name)).encode(frames[0], given)
        for name in ("fp32", "bf16")
    )
    assert rounded.baseline[1].dtype == np.float32
    np.testing.assert_allclose(rounded.baseline[1], exact.baseline[1], atol=0.05)
    np.testing.assert_allclose(rounded.objects[1], exact.objects[1], atol=0.5)


def test_what_cannot_be_encoded_is_refused_and_masks_of_0_and_255_are_masks(model: Hodor) -> None:
    images, labels = clip(1)
    encoder, mask = FrameEncoder(model), labels[0] == 1
    for image, given, said in (
        (images[0] / 255, mask, "a frame must be .* uint8 RGB in a NumPy array, not .* float64"),
        (images[0], mask[:-1], "the mask of object 1 is 96x63 pixels and the frame is 96x64"),
        (images[0], mask / 2, "the mask of object 1 is float64; give true or false"),
    ):
        with pytest.raises(InputError, match=said):
            encoder.encode(image, {1: given})
    expected = encoder.encode(images[0], {1: mask}).objects[1]
    np.testing.assert_array_equal(encoder.encode(images[0], {1: 255 * mask.astype(np.uint8)}).objects[1], expected)


def test_a_frame_without_objects_has_a_background(model: Hodor) -> None:
    found = FrameEncoder(model, SegmenterSettings(device="cpu")).encode(clip(1)[0][0], {})
    assert not found.objects and found.background.shape == (9, 32) and np.isfinite(found.background).all()


def test_a_mask_too_small_for_the_network_still_gets_a_descriptor(model: Hodor) -> None:
    frames, _ = clip(1, height=256, width=384)
    mask = np.zeros((256, 384), bool)
    mask[100, 200] = True
    found = FrameEncoder(model, SegmenterSettings(device="cpu")).encode(frames[0], {5: mask})
    assert np.isfinite(found.objects[5]).all() and np.linalg.norm(found.baseline[5]) > 0


def test_a_video_with_masks_and_without(tmp_path: Path, model: Hodor) -> None:
    frames, labels = clip()
    video = write_video(tmp_path / "clip.mp4", frames)
    masks = tmp_path / "masks"
    masks.mkdir()
    for index in (0, 1, 3):
        write_label_png(masks / f"{index:05d}.png", labels[index])
    export_sources(find_sources(video, masks=masks), tmp_path / "objects.h5", FrameEncoder(model))
    with DescriptorStore(tmp_path / "objects.h5") as store:
        assert np.unique(store.rows("clip").frame).tolist() == [0, 1, 3]
        info = store.video("clip")
        assert (info.height, info.width, info.fps) == (64, 96, 25.0) and info.source == str(video.resolve())
    with pytest.raises(UsageError, match="there are no masks"):
        find_sources(video)
    wrong = tmp_path / "wrong"
    wrong.mkdir()
    write_label_png(wrong / "first.png", labels[0])
    with pytest.raises(InputError, match=r"no mask in .* belongs to a frame"):
        export_sources(find_sources(video, masks=wrong), tmp_path / "other.h5", FrameEncoder(model))


def test_a_result_folder_with_confidences(tmp_path: Path, model: Hodor) -> None:
    frames, labels = clip(3)
    write_video(tmp_path / "clip.mp4", frames)
    result = tmp_path / "clip.hodor"
    (result / "masks").mkdir(parents=True)
    entries = []
    for index, label in enumerate(labels):
        write_label_png(result / "masks" / f"{index:05d}.png", label)
        objects = {key: ObjectRecord(0, None, confidence, lost=False) for key, confidence in ((1, 0.5), (2, 0.25))}
        entries.append(FrameRecord(index, f"{index:05d}", index / 24, objects))
    write_report(result, "clip", frames=entries)
    for path in (result, tmp_path / "clip.mp4"):  # either the folder, or the video beside it
        output = tmp_path / f"{path.suffix[1:]}.h5"
        export_sources(find_sources(path), output, FrameEncoder(model))
        with DescriptorStore(output) as store:
            assert store.rows("clip").confidence.tolist() == [0.5, 0.25] * 3 and store.video("clip").kind == "segment"
    (beside,) = find_sources(tmp_path / "clip.mp4")
    assert any(note.endswith(f"using the masks of {result}") for note in beside.notes)
    assert not any("the masks are those" in note for source in find_sources(result) for note in source.notes)
    (result / "masks" / "00001.png").unlink()
    with pytest.raises(InputError, match=r"00001\.png is missing"):
        find_sources(result)


def test_a_match_in_16_bit_frames_is_read_as_it_was_saved(tmp_path: Path, model: Hodor) -> None:
    tifffile = pytest.importorskip("tifffile", reason="tifffile is not installed")
    frames, labels = clip(3)
    stack = np.stack([np.stack([3000 - f[..., 0].astype(np.uint16), 8 * f[..., 0].astype(np.uint16)]) for f in frames])
    tifffile.imwrite(tmp_path / "scan.tif", stack, imagej=True, metadata={"axes": "TCYX"})
    with open_source(tmp_path / "scan.tif", value_range=(400, 9000), axes="T,C=1") as source:
        seen = [frame.image for frame in source]
        segment_source(source, RunInputs({0: labels[0]}), tmp_path / "scan.hodor", Segmenter(model))
        with DescriptorRecorder(tmp_path / "run.h5", source, segmenter := Segmenter(model), {0: labels[0]}) as recorder:
            for frame in source:
                segmenter.step(frame.image, labels[0] if frame.index == 0 else None)
                recorder.on_step(frame, segmenter.last, segmenter)
    export_sources(find_sources(tmp_path / "scan.hodor"), tmp_path / "result.h5", FrameEncoder(model))
    for path in (tmp_path / "result.h5", tmp_path / "run.h5"):
        with DescriptorStore(path) as store:
            (match, *_) = search_objects(store, replace(queries_of_store(f"{path}#scan/1")[0], store=None))
            assert np.array_equal(_read_frame(store, match), seen[match.best_frame])
    write_video(tmp_path / "scan.mp4", frames)  # the same frames in a format without axes
    assert find_sources(tmp_path / "scan.mp4", masks=tmp_path / "scan.hodor")


def test_a_path_is_exported_as_what_is_found_there(tmp_path: Path, model: Hodor) -> None:
    root, output = write_davis(tmp_path / "davis", {"bear": 40}), tmp_path / "objects.h5"
    with pytest.raises(UsageError, match=r"`encoder` is a Hodor; give FrameEncoder\("):
        export_sources(str(root), output, model)  # type: ignore[arg-type]
    assert not output.exists()
    assert [found.name for found in export_sources(str(root), output, FrameEncoder(model))] == ["bear"]
    assert queries_of_store(Path(f"{output}#bear/1"))[0].object_id == 1


def test_an_unfinished_run_is_not_exported(tmp_path: Path) -> None:
    for name in ("masks", ".progress"):
        (tmp_path / "clip.hodor" / name).mkdir(parents=True)
    with pytest.raises(InputError, match=r"clip\.hodor holds an unfinished run of `segment_source`; `resume` it"):
        find_sources(tmp_path / "clip.hodor")


def test_photographs_in_coco_format(tmp_path: Path, model: Hodor) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    images, annotations = [], []
    for number in range(3):
        Image.fromarray(clip(1, hue=80 + 50 * number)[0][0]).save(folder / f"p{number}.jpg")
        images.append({"id": number + 1, "file_name": f"p{number}.jpg", "height": 64, "width": 96})
        for k, polygon in enumerate(([4, 8, 28, 8, 28, 28, 4, 28], [20, 20, 60, 20, 60, 56, 20, 56])):
            annotations.append(
                {"id": 10 * number + k + 1, "image_id": number + 1, "category_id": k, "segmentation": [polygon]}
            )
    categories = [{"id": 0, "name": "box"}, {"id": 1, "name": "crate"}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "instances.json").write_text(json.dumps(content))
    export_sources(find_sources(folder), tmp_path / "objects.h5", FrameEncoder(model))
    with DescriptorStore(tmp_path / "objects.h5") as store:
        rows = store.rows("photos")
        assert rows.object_id.tolist() == [1, 2, 11, 12, 21, 22] and rows.frame.tolist() == [0, 0, 1, 1, 2, 2]
        assert [bytes(value).decode() for value in store.dataset("photos", "category")] == ["box", "crate"] * 3
        assert [bytes(value).decode() for value in store.dataset("photos", "image_name")][::2] == [
            "p0.jpg", "p1.jpg", "p2.jpg",
        ]  # fmt: skip
        assert store.index().time(0) is None
        assert store.image_name("photos", 12) == "p1.jpg"
        with pytest.raises(InputError, match="no object 99 in video photos; it has 1, 2, 11"):
            store.image_name("photos", 99)
    (folder / "instances.json").rename(folder / "_annotations.coco.json")  # as Roboflow calls it
    assert find_sources(folder)[0].info.kind == "stills"
    (folder / "_annotations.coco.json").unlink()
    (folder / "p0.json").write_text('{"shapes": []}')
    with pytest.raises(UsageError, match=r"convert .* --to coco"):
        find_sources(folder)


def test_photographs_that_are_left_out_or_cannot_be_read(tmp_path: Path, model: Hodor) -> None:
    Image.fromarray(clip(1)[0][0]).save(tmp_path / "a.jpg")
    image = {"id": 1, "file_name": "a.jpg", "height": 64, "width": 96}
    whole = {"id": 1, "image_id": 1, "category_id": 1, "segmentation": [[4, 8, 28, 8, 28, 28, 4, 28]]}
    content = {"images": [image], "annotations": [whole, whole | {"id": 2, "segmentation": "none"}], "categories": []}
    (tmp_path / "instances.json").write_text(json.dumps(content))
    (source,) = find_sources(tmp_path)
    assert any("broken mask: 1, such as annotation 2 of a.jpg" in note for note in source.notes)
    (tmp_path / "instances.json").write_text(json.dumps(content | {"images": [image | {"width": 90}]}))
    with pytest.raises(DataError, match="annotated as 90x64"):
        export_sources(find_sources(tmp_path), tmp_path / "objects.h5", FrameEncoder(model))
    assert not (tmp_path / "objects.h5").exists()  # nothing was ever in it


def test_one_bad_video_does_not_stop_the_others(tmp_path: Path, model: Hodor) -> None:
    root = write_davis(tmp_path / "davis", {"bear": 200, "cow": 120})
    (root / "JPEGImages/480p/bear/00003.jpg").write_bytes(b"no image")
    sources = find_sources(write_davis(tmp_path / "more", {"dog": 90}))
    with pytest.raises(InputError):
        find_sources(root)  # a damaged header is found before any work
    (root / "JPEGImages/480p/bear/00003.jpg").unlink()
    (root / "Annotations/480p/cow/00002.png").write_bytes(b"no image")
    results = export_sources([*find_sources(root), *sources], tmp_path / "objects.h5", FrameEncoder(model))
    assert {r.name: r.outcome for r in results} == {"bear": "written", "cow": "failed", "dog": "written"}
    with DescriptorStore(tmp_path / "objects.h5") as store:
        assert store.videos == ["bear", "dog"]


def test_a_moved_video_is_known_by_its_new_place_when_it_is_exported_again(tmp_path: Path, model: Hodor) -> None:
    root, encoder = write_davis(tmp_path / "davis", {"bear": 200}), FrameEncoder(model)
    export_sources(find_sources(root), tmp_path / "objects.h5", encoder)
    shutil.copytree(root, tmp_path / "copy")
    assert export_sources(find_sources(tmp_path / "copy"), tmp_path / "objects.h5", encoder)[0].outcome == "skipped"
    root.rename(tmp_path / "moved")
    assert export_sources(find_sources(tmp_path / "moved"), tmp_path / "objects.h5", encoder)[0].outcome == "written"
    with DescriptorStore(tmp_path / "objects.h5") as store:
        assert store.video("bear").source == str(tmp_path / "moved/JPEGImages/480p/bear") and len(store) > 0


def test_a_renamed_video_replaces_itself_and_a_copy_does_not(tmp_path: Path, model: Hodor) -> None:
    frames, labels = clip(2)
    library, encoder = tmp_path / "objects.h5", FrameEncoder(model)

    def export(name: str) -> str:
        (exported,) = export_sources(find_sources(tmp_path / name, masks=tmp_path / "masks"), library, encoder)
        return exported.renamed

    for index, (frame, label) in enumerate(zip(frames, labels, strict=True)):
        for folder, values in (("old", frame), ("another", frame[::-1])):  # the same masks
            (tmp_path / folder).mkdir(exist_ok=True)
            Image.fromarray(values).save(tmp_path / folder / f"{index}.png")
        (tmp_path / "masks").mkdir(exist_ok=True)
        write_label_png(tmp_path / "masks" / f"{index}.png", label)
    shutil.copytree(tmp_path / "old", tmp_path / "copy")
    assert [export(name) for name in ("old", "another", "copy")] == ["", "", ""]
    (tmp_path / "another").rename(tmp_path / "gone")
    (tmp_path / "old").rename(tmp_path / "new")
    assert export("new") == "old"
    with DescriptorStore(library) as store:
        assert store.videos == ["another", "copy", "new"] and len(store) == 12


def test_two_sources_of_one_name_are_refused(tmp_path: Path, model: Hodor) -> None:
    sources = find_sources(write_davis(tmp_path / "a", {"bear": 1})) + find_sources(
        write_davis(tmp_path / "b", {"bear": 2})
    )
    with pytest.raises(UsageError, match="both be called bear"):
        export_sources(sources, tmp_path / "objects.h5", FrameEncoder(model))


def test_recording_while_segmenting(tmp_path: Path, model: Hodor) -> None:
    frames, labels = clip()
    path = write_video(tmp_path / "clip.mp4", frames)
    segmenter = Segmenter(model, device="cpu")
    seen = []
    with open_source(path) as source:
        with DescriptorRecorder(tmp_path / "objects.h5", source, segmenter, masks={0: labels[0]}) as recorder:
            for frame in source:
                segmenter.step(frame.image, labels[0] if frame.index == 0 else None)
                recorder.on_step(frame, segmenter.last, segmenter)
                present = [key for key, value in segmenter.last.objects.items() if not value.lost]
                seen += [(frame.index, key, segmenter.descriptors().objects[key]) for key in sorted(present)]
        with DescriptorStore(tmp_path / "objects.h5") as store:
            rows = store.rows("clip")
            assert list(zip(rows.frame.tolist(), rows.object_id.tolist(), strict=True)) == [s[:2] for s in seen]
            np.testing.assert_array_equal(rows.descriptor, np.stack([s[2] for s in seen]))
            assert store.has("clip", "baseline") and store.video("clip").kind == "segment"
        # A run that is cut off, and one that starts in the middle, leave the file as it was.
        before = (tmp_path / "objects.h5").read_bytes()
        with pytest.raises(RuntimeError), DescriptorRecorder(tmp_path / "objects.h5", source, segmenter):
            raise RuntimeError
        with DescriptorRecorder(tmp_path / "objects.h5", source, segmenter) as recorder:
            recorder.on_step(next(frame for frame in source if frame.index == 2), segmenter.last, segmenter)
        assert recorder.incomplete and (tmp_path / "objects.h5").read_bytes() == before
        # Another result of the video is refused before any work; the same result folder is recorded anew.
        other = tmp_path / "other"
        with pytest.raises(UsageError, match="another result of clip"):
            DescriptorRecorder(tmp_path / "objects.h5", source, segmenter, {0: labels[1]}, result=other)
        boxed = [{0: {1: (1, 2, 3, 4)}}]
        with pytest.raises(UsageError, match="another result of clip"):
            DescriptorRecorder(tmp_path / "objects.h5", source, segmenter, {0: labels[0]}, prompts=boxed, result=other)
        assert (tmp_path / "objects.h5").read_bytes() == before
    with open_source(path, start=1) as part, pytest.raises(UsageError, match="another result of clip"):
        DescriptorRecorder(tmp_path / "objects.h5", part, segmenter, {0: labels[0]}, result=other)


def test_times_are_those_at_which_frames_are_shown(tmp_path: Path, model: Hodor) -> None:
    """Not the frame's number divided by the frame rate, which may vary."""
    frames, labels = clip(3)
    times = [0.0, 2.0, 2.04]
    source, segmenter = MemorySource(frames, times=times), Segmenter(model, device="cpu")
    with DescriptorRecorder(tmp_path / "run.h5", source, segmenter, masks={0: labels[0]}) as recorder:
        for frame in source:
            segmenter.step(frame.image, labels[0] if frame.index == 0 else None)
            recorder.on_step(frame, segmenter.last, segmenter)
    (tmp_path / "masks").mkdir()
    for index, label in enumerate(labels):
        write_label_png(tmp_path / "masks" / f"{index:05d}.png", label)
    given = video_with_masks(source, tmp_path / "clip.mp4", tmp_path / "masks")
    export_sources([given], tmp_path / "masks.h5", FrameEncoder(model))
    for name in ("run.h5", "masks.h5"):
        with DescriptorStore(tmp_path / name) as store:
            rows = store.index()
            assert len(rows) and all(rows.time(row) == times[frame] for row, frame in enumerate(rows.frame))


def test_the_store_is_found_here_or_in_the_workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HODOR_WORKSPACE_DIR", raising=False)
    with pytest.raises(InputError, match=r"objects\.h5"):
        find_store(None)
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    (workspace / "objects.h5").touch()
    monkeypatch.setenv("HODOR_WORKSPACE_DIR", str(workspace))
    assert find_store(None) == workspace / "objects.h5"
    (tmp_path / "objects.h5").touch()
    assert find_store(None) == Path("objects.h5") and find_store(Path("x.h5")) == Path("x.h5")
