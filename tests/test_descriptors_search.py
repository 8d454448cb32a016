"""Searching a library for an object, and checking what was found."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from descriptor_helpers import clip, clustered_store, toy_model, write_davis
from PIL import Image

from hodor_cli.descriptors import DescriptorStore
from hodor_cli.descriptors.export.encode import FrameEncoder
from hodor_cli.descriptors.export.export import export_sources, find_sources
from hodor_cli.descriptors.export.sources import LabelledFrame
from hodor_cli.descriptors.search.comparison import Comparison, choose_comparison
from hodor_cli.descriptors.search.query import parse_reference, queries_of_frames, queries_of_store
from hodor_cli.descriptors.search.search import VerifiedMatch, search_objects, verify_matches
from hodor_cli.descriptors.session import session
from hodor_cli.descriptors.session.session import start_from_store
from hodor_cli.descriptors.store.crops import masks_of_labels
from hodor_cli.descriptors.views import retrieval
from hodor_cli.descriptors.views.retrieval import describe_times, write_contact_sheet
from hodor_cli.engine import Segmenter, SegmenterSettings
from hodor_cli.errors import InputError, UsageError
from hodor_cli.images.sheet import text_line


def test_objects_are_ranked_not_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = clustered_store(tmp_path / "library.h5")
    query = queries_of_store(f"{library}#v1/2")[0]
    with DescriptorStore(library) as store:
        others = search_objects(store, query)
        assert ("v1", 2) not in [(match.video, match.object_id) for match in others] and len(others) == 5
        assert [match.distance for match in others] == sorted(match.distance for match in others)
        best = search_objects(store, replace(query, store=None))[0]
        assert (best.video, best.object_id, best.frames) == ("v1", 2, 8) and best.distance < 0.1 * others[0].distance
        assert (best.first_time, best.last_time) == (0.0, 0.7) and best.source == "/clips/v1.mp4"
        assert len(search_objects(store, query, top=2)) == 2
        # The naive answer: mean over the query's rows of the nearest row of each object.
        rows = store.object("v0", 1).descriptor.astype(np.float64)
        apart = np.linalg.norm(query.descriptors[:, None].astype(np.float64) - rows[None], axis=2).min(axis=1).mean()
        assert next(m for m in others if (m.video, m.object_id) == ("v0", 1)).distance == pytest.approx(apart, rel=1e-5)
        monkeypatch.setattr("hodor_cli.descriptors.search.comparison.BLOCK", 5)
        in_pieces = search_objects(store, query)
        assert [m.video for m in in_pieces] == [m.video for m in others]
        assert search_objects(store, replace(query, store=None), metric="cosine")[0].video == "v1"


def test_what_is_compared_can_be_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Descriptors are noise here, and the baseline's features tell the objects apart.
    library = clustered_store(tmp_path / "library.h5", noise=20, baseline_noise=0.01)
    query = queries_of_store(f"{library}#v1/2")[0]
    assert query.baseline is not None and query.baseline.shape == (8, 4)
    with DescriptorStore(library) as store:
        comparison = choose_comparison(store)
        assert comparison.by == "baseline" and choose_comparison(store, "descriptor").by == "descriptor"
        best = search_objects(store, replace(query, store=None), comparison=comparison)[0]
        assert (best.video, best.object_id) == ("v1", 2)
        rows = store.dataset("v0", "baseline")[store.dataset("v0", "object_id") == 1].astype(np.float64)
        apart = np.linalg.norm(query.baseline[:, None].astype(np.float64) - rows[None], axis=2).min(axis=1).mean()
        monkeypatch.setattr("hodor_cli.descriptors.search.comparison.BLOCK", 5)
        others = search_objects(store, query, comparison=comparison)
        assert next(m for m in others if (m.video, m.object_id) == ("v0", 1)).distance == pytest.approx(apart, rel=1e-4)
    all_objects = queries_of_store(f"{library}#v1")
    np.testing.assert_array_equal(all_objects[1].baseline, query.baseline)


def test_queries_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    library = clustered_store(tmp_path / "library.h5")
    query = queries_of_store(f"{library}#v1/2")[0]
    with DescriptorStore(library) as store:
        with pytest.raises(UsageError, match="the `metric` is euclidean or cosine, not 'l1'"):
            search_objects(store, query, metric="l1")  # type: ignore[arg-type]
        with pytest.raises(InputError, match=r"another model.*again with the weights of the other"):
            search_objects(store, replace(query, model_fingerprint="0" * 64))
        with pytest.raises(InputError, match=r"vectors of v1/2 have length 8 and those of .*library\.h5 16; "):
            search_objects(store, replace(query, descriptors=query.descriptors[:, :8]))
        by_baseline = Comparison("baseline")
        with pytest.raises(InputError, match="have length 3 and"):
            search_objects(store, replace(query, baseline=query.descriptors[:, :3]), comparison=by_baseline)
        with pytest.raises(InputError, match=r"v1/2 has no baseline features"):
            search_objects(store, replace(query, baseline=None), comparison=by_baseline)
    with DescriptorStore(clustered_store(tmp_path / "bare.h5", baseline=False)) as store:
        with pytest.raises(InputError, match=r"no baseline of video v0; export it again"):
            search_objects(store, query, comparison=by_baseline)
        assert choose_comparison(store).by == "descriptor"
    with pytest.raises(UsageError, match="not by 'colour'"):
        Comparison("colour")  # type: ignore[arg-type]
    for wrong in ("objects.h5", "objects.h5#", "#bear/1", "objects.h5#bear/x", "objects.h5#bear/"):
        with pytest.raises(UsageError, match="does not name a stored object"):
            parse_reference(wrong)
    assert parse_reference("a#b.h5#bear/12") == (Path("a#b.h5"), "bear", 12)
    assert parse_reference("a.h5#bear") == (Path("a.h5"), "bear", None)


def test_videos_with_features_of_different_lengths_are_refused(tmp_path: Path) -> None:
    library = clustered_store(tmp_path / "library.h5", videos=2)
    with h5py.File(library, "r+") as file:
        features = file["videos/v1/baseline"][:, :3]
        del file["videos/v1/baseline"]
        file["videos/v1/baseline"] = features
    query = queries_of_store(f"{library}#v0/2")[0]
    with DescriptorStore(library) as store, pytest.raises(InputError, match=r"library.h5 is damaged"):
        search_objects(store, query, comparison=Comparison("baseline"))


def test_the_contact_sheet_shows_query_and_matches(tmp_path: Path) -> None:
    library = clustered_store(tmp_path / "library.h5")
    query = queries_of_store(f"{library}#v1/2")[0]
    with DescriptorStore(library) as store:
        matches = search_objects(store, query, top=3)
        write_contact_sheet(tmp_path / "sheet.png", store, query, matches)
    sheet = np.asarray(Image.open(tmp_path / "sheet.png"))
    assert sheet.shape[0] > 4 * 100 and (sheet[120:, 300:400] < 250).any()
    assert describe_times(matches[0]).startswith("0:00.0 to 0:00.7, best 0:0")
    assert f", frame {matches[0].best_frame} ({matches[0].frames} frames)" in describe_times(matches[0])
    assert describe_times(replace(matches[0], first_time=None)).startswith("image")
    late = replace(matches[0], first_time=59.94, last_time=3599.96, best_time=59.96)
    assert describe_times(late).startswith("0:59.9 to 1:00:00.0, best 1:00.0, ")


def test_the_contact_sheet_shows_what_verified_matches_are_ranked_by(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = clustered_store(tmp_path / "library.h5")
    written: list[str] = []

    def line(text: str, *how: int) -> np.ndarray:
        written.append(text)
        return text_line(text, *how)

    monkeypatch.setattr(retrieval, "text_line", line)
    query = queries_of_store(f"{library}#v1/2")[0]
    with DescriptorStore(library) as store:
        matches = [replace(match, distance=0.5) for match in search_objects(store, query, top=3)]
        found, lost = VerifiedMatch(matches[0], True, distance=0.25), VerifiedMatch(matches[1])
        checks = [found, lost, VerifiedMatch(matches[2], problem="bear.mp4 has moved")]
        write_contact_sheet(tmp_path / "sheet.png", store, query, matches, checks)
    shown = [text.removeprefix("distance 0.500, ") for text in written if text.startswith("distance")]
    assert shown == ["0.250 to what was found", "not found", "not checked"]


def test_a_caption_that_is_too_long_keeps_its_beginning_and_its_end() -> None:
    lines = [text_line(f"{first}{'v' * 90}/{last}", 80) for first, last in ((1, 1), (1, 2), (2, 1))]
    assert all(line.shape[1] == 80 and (line[:, -2:] == 255).all() for line in lines)
    assert (lines[0] != lines[1])[:, 40:].any() and (lines[0] != lines[2])[:, :40].any()


def test_an_equal_view_has_no_distance(tmp_path: Path) -> None:
    library = clustered_store(tmp_path / "library.h5", frames=20)
    with DescriptorStore(library) as store:
        for query in queries_of_store(f"{library}#v1"):
            for metric in ("euclidean", "cosine"):
                found = search_objects(store, replace(query, store=None), metric=metric)[0]
                assert (found.video, found.object_id) == ("v1", query.object_id) and 0 <= found.distance < 1e-5


def test_a_photo_finds_its_video_and_verification_runs_the_network(tmp_path: Path) -> None:
    model = toy_model()
    encoder = FrameEncoder(model, SegmenterSettings(precision="fp32"))  # rounding exchanges what random weights see
    library = tmp_path / "library.h5"
    root = write_davis(tmp_path / "davis", {"bear": 250, "cow": 90})
    export_sources(find_sources(root), library, encoder)
    frames, labels = clip(3, hue=250)
    photo = LabelledFrame(0, frames[2], masks_of_labels(labels[2]))
    queries = queries_of_frames([photo], "photo.png", encoder)
    assert [query.label for query in queries] == ["photo.png object 1", "photo.png object 2"]
    assert queries[0].thumbnail is not None and queries[0].descriptors.shape[0] == 1
    twice = queries_of_frames([photo, LabelledFrame(5, frames[1], {2: labels[1] == 2})], "clip.mp4", encoder)
    assert [len(query.descriptors) for query in twice] == [1, 2]
    with DescriptorStore(library) as store:
        matches = search_objects(store, queries[0])
        assert (matches[0].video, matches[0].object_id) == ("bear", 1)
        by_baseline = Comparison("baseline")
        found = search_objects(store, queries[0], comparison=by_baseline)
        checked = verify_matches(store, queries[0], found, Segmenter(model), comparison=by_baseline)
        # Features of unit length twice over: no distance between them is longer than the square root of 8.
        assert all(v.distance < 8**0.5 + 1e-5 for v in checked if v.found)
        verified = verify_matches(store, queries[0], matches, Segmenter(model))
        assert sorted(v.match.video for v in verified) == ["bear", "bear", "cow", "cow"]
        assert not any(v.problem for v in verified)
        assert all(np.isfinite(v.distance) == v.found for v in verified)
        (root / "JPEGImages/480p/cow").rename(tmp_path / "elsewhere")
        verified = verify_matches(store, queries[0], matches, Segmenter(model))
        assert [v.match.video for v in verified if "no longer exists" in v.problem] == ["cow", "cow"]
        assert all(v.problem for v in verified[2:])  # those that cannot be checked come last


def test_a_segmenter_starts_from_saved_objects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = toy_model()
    library = tmp_path / "library.h5"
    export_sources(
        find_sources(write_davis(tmp_path / "davis", {"bear": 250, "cow": 90})), library, FrameEncoder(model)
    )
    segmenter = Segmenter(model)
    assert list(start_from_store(segmenter, [f"{library}#bear"])[0].unrecognised()) == [1, 2]  # nothing found yet
    found = segmenter.step(clip(1)[0][0])
    assert found.shape == (64, 96) and set(segmenter.last.objects) == {1, 2}
    monkeypatch.setattr(session, "MOST_ROWS", 3)
    monkeypatch.setattr(Segmenter, "start_from", lambda self, *saved: given.extend(saved))
    given: list[Any] = []
    recognition, _ = start_from_store(segmenter, [f"{library}#bear/2", f"{library}#cow/2"])
    objects, background = given
    assert sorted(objects) == [1, 2] and objects[1].shape == (3, 32)  # both were 2: they are renumbered
    saved_as = {1: f"bear/2 of the descriptor file {library}", 2: f"cow/2 of the descriptor file {library}"}
    assert recognition.saved_as == saved_as and background.shape == (9, 32)
    given.clear()
    monkeypatch.setattr(session, "MAX_ID", 1)  # ids of photographs can be larger than those of masks
    again, _ = start_from_store(segmenter, [f"{library}#bear/2"])
    assert again.saved_as == {1: saved_as[1]} and list(given[0]) == [1]
    with pytest.raises(InputError, match="other weights"):
        start_from_store(Segmenter(toy_model()), [f"{clustered_store(tmp_path / 'other.h5')}#v0/1"])
    with pytest.raises(InputError, match=r"other.h5#v0/1 was saved with other weights"):
        start_from_store(segmenter, [f"{library}#bear/2", f"{tmp_path / 'other.h5'}#v0/1"])
