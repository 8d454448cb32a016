"""The projection of descriptors and baseline features: learned from photographs, saved, and used by retrieval."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from command import hodor, refused
from data_fakes import make_coco
from descriptor_helpers import INFO, clustered_store, toy_model, write_davis

from hodor_cli.descriptors import DescriptorStore
from hodor_cli.descriptors.export.encode import FrameEncoder
from hodor_cli.descriptors.search import projection_training
from hodor_cli.descriptors.search.comparison import Comparison, choose_comparison, distances
from hodor_cli.descriptors.search.projection import (
    ALIKE_BELOW,
    Projection,
    load_projection,
    projection_for,
    save_projection,
)
from hodor_cli.descriptors.search.projection_training import (
    ObjectViews,
    encode_views,
    fit_projection,
    stills_for_projection,
)
from hodor_cli.descriptors.search.query import queries_of_store
from hodor_cli.descriptors.search.search import search_objects
from hodor_cli.errors import DataError, InputError, UsageError, WeightsError
from hodor_cli.weights import load_model, model_fingerprint
from hodor_cli.weights.checkpoint import save_checkpoint


def noisy_views(objects: int = 40, views: int = 6, seed: int = 0) -> ObjectViews:
    """Objects whose rows vary strongly in two directions that say nothing about them."""
    rng = np.random.default_rng(seed)
    instance = np.repeat(np.arange(objects), views)
    descriptors = rng.normal(size=(objects, 16))[instance] + 0.1 * rng.normal(size=(len(instance), 16))
    descriptors[:, :2] += 20 * rng.normal(size=(len(instance), 2))
    baseline = 0.3 * rng.normal(size=(objects, 4))[instance] + 0.03 * rng.normal(size=(len(instance), 4))
    baseline[:, 0] += rng.normal(size=len(instance))
    return ObjectViews(descriptors.astype(np.float32), baseline.astype(np.float32), instance)


def nearest_is_the_same_object(vectors: np.ndarray, instance: np.ndarray) -> float:
    apart = np.linalg.norm(vectors[:, None].astype(np.float64) - vectors[None], axis=2)
    np.fill_diagonal(apart, np.inf)
    return float((instance[apart.argmin(axis=1)] == instance).mean())


def test_the_projection_ignores_what_varies_within_objects(tmp_path: Path) -> None:
    projection = fit_projection(noisy_views(seed=1), "f" * 64, dimensions=12)
    other = noisy_views(seed=2)
    projected = projection(other.descriptors, other.baseline)
    assert projected.shape == (240, 12) and projected.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(projected, axis=1), 1, rtol=1e-5)
    assert nearest_is_the_same_object(other.descriptors, other.instance) < 0.6
    assert nearest_is_the_same_object(projected, other.instance) > 0.95
    save_projection(tmp_path / "p.safetensors", projection)
    loaded = load_projection(tmp_path / "p.safetensors")
    np.testing.assert_array_equal(loaded(other.descriptors, other.baseline), projected)
    assert loaded.model_fingerprint == "f" * 64 and loaded.settings["objects"] == 40
    with pytest.raises(InputError, match="takes 16 and 4 channels, not 8 and 4"):
        loaded(other.descriptors[:, :8], other.baseline)
    with pytest.raises(DataError, match="two objects with two views each"):
        fit_projection(ObjectViews(other.descriptors[:4], other.baseline[:4], np.arange(4)), "f" * 64)


def test_search_by_a_projection_needs_the_same_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = clustered_store(tmp_path / "library.h5", baseline_noise=0.01)
    projection = fit_projection(noisy_views(), INFO.model_fingerprint)
    query = queries_of_store(f"{library}#v1/2")[0]
    with DescriptorStore(library) as store:
        # The same vectors whether they are read block by block or computed at once.
        comparison = Comparison("projection", projection)
        at_once = projection(*(store.read(name, 0, len(store)) for name in ("descriptor", "baseline")))
        monkeypatch.setattr("hodor_cli.descriptors.search.comparison.BLOCK", 7)
        np.testing.assert_allclose(comparison.vectors(store).read(0, len(store)), at_once, atol=1e-6)
        np.testing.assert_allclose(comparison.vectors(store).take(np.array([3, 40])), at_once[[3, 40]], atol=1e-6)
        best = search_objects(store, replace(query, store=None), comparison=comparison)[0]
        assert (best.video, best.object_id) == ("v1", 2)
        foreign = Comparison("projection", replace(projection, model_fingerprint="0" * 64))
        with pytest.raises(InputError, match="is for other weights; learn one with `fit_projection`"):
            search_objects(store, query, comparison=foreign)
        with pytest.raises(InputError, match="there is no projection for the model of"):
            choose_comparison(store, "projection")
        assert choose_comparison(store).by == "baseline"
    with pytest.raises(UsageError, match="must be given to compare by projection"):
        Comparison("projection")


def test_the_bundled_projection_belongs_to_the_bundled_network() -> None:
    model = load_model("mini")
    projection = projection_for(model_fingerprint(model))
    assert projection is not None, "learn it again with `hodor train-projection` after the bundled weights changed"
    assert len(projection.mean) == model.config.descriptor_channels


def test_files_that_are_no_projection_are_refused(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "weights.safetensors", toy_model(), {})
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "weights.safetensors").read_bytes()[:100])
    with pytest.raises(WeightsError, match="is not a projection file"):
        load_projection(tmp_path / "weights.safetensors")
    with pytest.raises(WeightsError, match="damaged or not a projection"):
        load_projection(tmp_path / "cut.safetensors")
    with pytest.raises(InputError, match="there is no projection file"):
        load_projection(tmp_path / "none.safetensors")


def test_the_command_learns_one_that_retrieval_uses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save_checkpoint(tmp_path / "toy.safetensors", toy_model(), {})
    make_coco(tmp_path / "photos")
    weights = ("--weights", "toy.safetensors")
    learn = ("train-projection", "--data", "photos", *weights, "--photographs", "3", "--dimensions", "5")
    result = hodor(*learn)
    assert "projection.safetensors  5 numbers per object" in result.output
    assert "too few objects to measure" in result.stderr and f"bundled weights, {ALIKE_BELOW}," in result.stderr
    make_coco(tmp_path / "more", 6)
    few = hodor("train-projection", "--data", "more", *weights, "-o", "more.safetensors").stderr
    assert "12 objects are few" in few and "give photographs with 100 or more" in few
    assert "exists already" in refused(*learn)
    assert "no folder" in refused(*learn, "-o", "nowhere/p.safetensors")
    projection = load_projection("projection.safetensors")
    write_davis(tmp_path / "davis", {"bear": 250, "cow": 90}, count=3)
    assert "holds clips; give a folder of labelled" in refused(*learn[:2], "davis", "-o", "other")
    hodor("convert", "photos", "yolo", "--to", "yolo", "--frames")
    hodor(*learn[:2], "yolo", *learn[3:], "-o", "of_yolo.safetensors")
    hodor("export-descriptors", "davis", *weights)
    result = hodor("retrieval", "--query", "objects.h5#bear/1", "--projection", "projection.safetensors", "--json")
    found = json.loads(result.stdout)[0]
    assert found["by"] == "projection", result.output
    alike = [match for match in found["matches"] if match["distance"] < found["alike_below"]]
    assert ("bear/1 is probably nowhere else" in result.stderr) == (not alike)
    result = hodor("retrieval", "--pr-curve", "--projection", "projection.safetensors", "--json")
    assert next(iter(json.loads(result.stdout)["curves"])) == "projection, Euclidean across"
    again = ("retrieval", "--query", "objects.h5#bear/1", "--overwrite", "--projection")
    assert "contradicts --by baseline" in refused(*again, "projection.safetensors", "--by", "baseline")
    hodor("map", "--projection", "projection.safetensors", "--method", "pca")
    shutil.copy("objects.h5", "plain.h5")
    with h5py.File("plain.h5", "r+") as file:
        del file["videos/bear/baseline"]
    search = ("segment", "davis/JPEGImages/480p/bear", "--from", "plain.h5#bear/1", "-o", "x", *weights)
    said = refused(*search, "--projection", "projection.safetensors")
    assert "plain.h5#bear/1 has no baseline features, which --projection needs" in said
    save_projection("other.safetensors", replace(projection, model_fingerprint="0" * 64))
    assert "other weights" in refused(*again, "other.safetensors")


def test_the_same_seed_draws_the_same_views(tmp_path: Path) -> None:
    make_coco(tmp_path / "photos")
    stills = stills_for_projection(tmp_path / "photos")
    model = toy_model()
    first, again = (encode_views(FrameEncoder(model), stills, photographs=2, frames=2) for _ in range(2))
    np.testing.assert_array_equal(first.descriptors, again.descriptors)
    assert len(first.instance) >= 4 and isinstance(fit_projection(first, "f" * 64), Projection)


def test_the_limit_divides_views_of_one_object_from_those_of_others() -> None:
    """What a run takes for the saved object is learned with the projection, not a number of one network's."""
    clear, noisy = noisy_views(), noisy_views(seed=5)
    noisy = replace(noisy, baseline=noisy.baseline + np.random.default_rng(1).normal(size=(240, 4)).astype(np.float32))
    limits = [fit_projection(views, "f" * 64).alike_below for views in (clear, noisy)]
    assert 0 < limits[0] < limits[1] < 2
    comparison = Comparison("projection", fit_projection(clear, "f" * 64))
    distance = comparison.alike_below("euclidean")
    assert distance == limits[0]
    pair = np.array([[1, 0], [1 - distance**2 / 2, np.sqrt(1 - (1 - distance**2 / 2) ** 2)]])
    assert np.linalg.norm(pair[0] - pair[1]) == pytest.approx(distance)
    assert comparison.alike_below("cosine") == pytest.approx(distances(pair[:1], pair[1:], "cosine").item())
    assert Comparison("baseline").alike_below("cosine") is None
    projection, held_out = fit_projection(clear, "f" * 64), noisy_views(seed=9)
    vectors = projection(held_out.descriptors, held_out.baseline)
    alike = np.linalg.norm(vectors[:, None] - vectors[None], axis=2) < projection.alike_below
    same = held_out.instance[:, None] == held_out.instance[None]
    assert alike[same].mean() > 0.8 and alike[~same].mean() < 0.2
    assert replace(projection, settings={}).alike_below == ALIKE_BELOW


def test_a_limit_is_measured_on_objects_with_two_views_and_on_not_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    views = noisy_views(objects=32, views=2)
    once = np.unique(views.instance, return_index=True)[1][::2]
    views = views.select(np.delete(np.arange(64), once))
    assert "alike_below" in fit_projection(views, "f" * 64).settings
    measured: list[int] = []
    monkeypatch.setattr(projection_training, "alike_limit", lambda judge, views: measured.append(len(views.instance)))
    fit_projection(noisy_views(objects=3000, views=4), "f" * 64)
    assert 0 < measured[0] <= 4096  # their distances to each other are in memory
