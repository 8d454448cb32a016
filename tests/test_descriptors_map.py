"""Maps of descriptors, precision-recall pictures and heat maps: the files a person looks at."""

from __future__ import annotations

import csv
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from descriptor_helpers import clip, clustered_store, toy_model
from PIL import Image

from hodor_cli.descriptors import DescriptorStore
from hodor_cli.descriptors.search.comparison import vectors_of_store
from hodor_cli.descriptors.search.protocol import score_retrieval
from hodor_cli.descriptors.views.heatmaps import Heatmaps, compute_heatmaps, first_masks, write_heatmaps
from hodor_cli.descriptors.views.layout import make_map, project
from hodor_cli.descriptors.views.map_files import write_map_image, write_map_page, write_points_csv
from hodor_cli.descriptors.views.retrieval import write_curves_csv, write_curves_image
from hodor_cli.engine import Segmenter
from hodor_cli.errors import InputError, OutputError
from hodor_cli.video.frames import Frame
from hodor_cli.weights import load_model


@pytest.mark.parametrize("method", ["pca", "tsne"])
def test_maps_are_deterministic_and_keep_objects_together(tmp_path: Path, method: str) -> None:
    path = clustered_store(tmp_path / "objects.h5")
    with DescriptorStore(path) as store:
        first, again = (make_map(store, method=method, seed=4) for _ in range(2))  # type: ignore[arg-type]
        assert first == again and len(first.points) == 48
        places = np.array([(point.x, point.y) for point in first.points])
        groups = np.array([f"{point.video}/{point.object_id}" for point in first.points])
        assert np.abs(places).max() <= 1.000001
        apart = np.linalg.norm(places[:, None] - places[None], axis=2) + np.eye(len(places)) * 9
        assert (groups[apart.argmin(axis=1)] == groups).mean() > 0.9
        few = make_map(store, method="pca", most=12)
        assert len(few.points) == 12 and len({(p.video, p.object_id) for p in few.points}) == 6 and few.rows == 48
        only = make_map(store, method="pca", videos=["v2"])
        assert {point.video for point in only.points} == {"v2"} and only.points[0].crop is not None
        assert make_map(store, method="pca", videos=["v2", "v2"]) == only


@pytest.mark.parametrize("method", ["pca", "tsne"])
def test_vectors_of_one_number_have_a_map(method: str) -> None:
    places = project(np.random.default_rng(0).normal(size=(12, 1)), method, 0)  # type: ignore[arg-type]
    assert places.shape == (12, 2) and np.isfinite(places).all()


def test_principal_axes_have_a_fixed_sign() -> None:
    rows = np.random.default_rng(0).normal(size=(30, 5)) * np.array([9, 4, 1, 1, 1])
    np.testing.assert_allclose(project(rows, "pca", 0), project(rows[::-1], "pca", 0)[::-1], atol=1e-9)


def test_map_files(tmp_path: Path) -> None:
    with DescriptorStore(clustered_store(tmp_path / "objects.h5")) as store:
        found = make_map(store, method="pca")
    write_map_image(tmp_path / "map.png", found, colour_by="frame", trajectories=True)
    image = Image.open(tmp_path / "map.png")
    assert image.size[1] == 3000 and round(image.info["dpi"][0]) == 300
    assert (np.asarray(image) < 250).any(axis=2).mean() > 0.02
    write_points_csv(tmp_path / "map.csv", found)
    with (tmp_path / "map.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 48 and rows[1]["time"] == "0.100" and rows[0]["video"] == "v0"
    write_map_page(tmp_path / "map.html", found, title="a <b> & c")
    page = (tmp_path / "map.html").read_text()
    assert "color-scheme: light dark" in page and not re.search(r"(color|background): #[0-9a-f]{3}\b", page)
    assert "http" not in page.replace("http-equiv", "") and "a &lt;b&gt; &amp; c" in page and "data:image/jpeg" in page
    with pytest.raises(OutputError):
        write_points_csv(tmp_path / "nowhere" / "map.csv", found)


def test_the_page_works_in_a_browser(tmp_path: Path) -> None:
    browser = next(
        (shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome") if shutil.which(name)), None
    )
    if browser is None:
        pytest.skip("no Chromium found to open the page in")
    with DescriptorStore(clustered_store(tmp_path / "objects.h5")) as store:
        write_map_page(tmp_path / "map.html", make_map(store, method="pca"))
    # Hover over a point, zoom in, colour by object and filter, and write down what the page then says. Browsers cut a
    # wheel's place to whole pixels, so zooming in twice may move the point under it by up to 1.6.
    script = """<script>window.addEventListener("load", () => setTimeout(() => {
      const out = [], kinds = {wheel: WheelEvent, pointermove: PointerEvent};
      const send = (type, x, y, more) => canvas.dispatchEvent(
        new kinds[type](type, {clientX: x, clientY: y, bubbles: true, ...more}));
      const [x, y] = place(0);
      send("pointermove", x, y);
      out.push($("tip").style.display, $("what").textContent, atlas.naturalWidth > 0);
      const before = view.scale; send("wheel", x, y, {deltaY: -500});
      out.push(view.scale > before, Math.hypot(place(0)[0] - x, place(0)[1] - y) < 2);
      $("colour").value = "object"; $("colour").onchange();
      out.push($("legend").children.length);
      $("filter").value = "v1"; $("filter").oninput(); fit();
      out.push(visible.filter(Boolean).length);
      DATA.videos[1] = "my v1"; $("filter").value = "my v1/2"; $("filter").oninput();
      out.push(visible.filter(Boolean).length);
      const first = document.querySelector("#legend button");
      $("filter").value = ""; first.focus(); first.click();
      out.push(visible.filter(Boolean).length, document.activeElement.className); fit();
      const pixels = ctx.getImageData(0, 0, canvas.width, canvas.height).data;
      out.push(pixels.some(value => value));
      $("colour").value = "video"; $("colour").onchange();
      out.push(visible.filter(Boolean).length);
      document.body.textContent = "RESULT " + JSON.stringify(out) + " END";
    }, 200));</script>"""
    page = (tmp_path / "map.html").read_text().replace("</body>", script + "</body>")
    (tmp_path / "test.html").write_text(page)
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
               "--disable-background-networking", f"--user-data-dir={tmp_path / 'profile'}",
               "--virtual-time-budget=4000", "--dump-dom",
               (tmp_path / "test.html").as_uri()]  # fmt: skip
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    answer = result.stdout.partition("RESULT ")[2].partition(" END")[0]
    assert answer.startswith('["block","v'), (answer, result.stderr[-500:])
    assert answer.endswith('frame 0, 0.00 s, confidence 0.90",true,true,true,6,16,8,40,"off",true,48]')


def test_curves_as_picture_and_numbers(tmp_path: Path) -> None:
    with DescriptorStore(clustered_store(tmp_path / "objects.h5", noise=1.5)) as store:
        curves = {
            f"{name}, Euclidean {gallery}": score_retrieval(
                vectors_of_store(store, name), store.index(), within_video=gallery == "within"
            )
            for gallery in ("across", "within")
            for name in ("descriptor", "baseline")
        }
    write_curves_csv(tmp_path / "curve.csv", curves)
    with (tmp_path / "curve.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 101 and rows[50]["recall"] == "0.50"
    expected = curves["descriptor, Euclidean across"].precision_at_half_recall
    assert float(rows[50]["descriptor, Euclidean across"]) == pytest.approx(expected, abs=1e-6)
    write_curves_image(tmp_path / "curve.png", curves, "objects.h5")
    assert Image.open(tmp_path / "curve.png").size[0] > 1000


def frames_of(images: list[np.ndarray]) -> list[Frame]:
    return [Frame(index, f"{index:05d}", image, index / 25) for index, image in enumerate(images)]


def test_each_heatmap_shows_its_own_part_of_the_background(monkeypatch: pytest.MonkeyPatch) -> None:
    model = toy_model()
    plain = model.decoder.forward

    def decided(*inputs: Any, **options: Any) -> Any:
        """Catch-all in the left third; in the others background descriptor k in row k of the frame."""
        logits = torch.full_like(plain(*inputs, **options), -20.0)
        height, width = logits.shape[-2:]
        logits[:, 0, :, : width // 3] = 20.0
        for k in range(9):
            logits[:, 1 + k, k * height // 9 : (k + 1) * height // 9, width // 3 :] = 20.0
        return logits

    monkeypatch.setattr(model.decoder, "forward", decided)
    images, labels = clip(2, height=144, width=144)
    found = compute_heatmaps(frames_of(images), {0: labels[0]}, 1, Segmenter(model, min_dim=288, max_dim=288))
    assert found.catch_all[:, :40].min() > 0.9 and found.catch_all[:, 56:].max() < 0.1
    for k in range(9):
        inside = np.zeros((144, 144), bool)
        inside[16 * k + 4 : 16 * k + 12, 56:] = True
        assert found.background[k][inside].min() > 0.9 and found.background[k][:, :40].max() < 0.1
        assert all(found.background[other][inside].max() < 0.1 for other in range(9) if other != k)


def test_heatmaps_lie_on_the_frame_where_the_object_is_small() -> None:
    """Of such a frame `segment` decodes only the part where the object can be."""
    rows, columns = np.mgrid[:240, :320]
    noise = np.random.default_rng(0).integers(0, 25, (240, 320, 3))
    disks = [(rows - 60) ** 2 + (columns - 70 - 4 * index) ** 2 < 30**2 for index in range(3)]
    images = [
        (np.where(disk[..., None], (220, 120, 20), (40, 110, 50)) + noise).clip(0, 255).astype(np.uint8)
        for disk in disks
    ]
    segmenter = Segmenter(load_model("mini"))
    found = compute_heatmaps(frames_of(images), {0: disks[0].astype(np.uint16)}, 2, segmenter)
    assert not segmenter.network.whole_frames
    of_object = found.catch_all + found.background.sum(axis=0) < 0.5
    assert (of_object & disks[2]).sum() > 0.8 * (of_object | disks[2]).sum()


def test_heatmaps_say_what_is_drawn_beside_them(tmp_path: Path) -> None:
    images, labels = clip(4)
    model = toy_model()
    for wanted in (0, 3):  # a frame with a mask of its own is decoded, too
        found = compute_heatmaps(frames_of(images), {0: labels[0]}, wanted, Segmenter(model))
        assert found.image is images[wanted] and found.given is (labels[0] if wanted == 0 else None)
        assert found.background.shape == (9, 64, 96) and found.catch_all.shape == (64, 96)
    shown = []
    for number, beside in enumerate((None, labels[0], labels[3])):
        write_heatmaps(tmp_path / "heat.png", replace(found, given=beside), labels[3] if number == 2 else None)
        shown.append(np.asarray(Image.open(tmp_path / "heat.png"))[:300, :420])  # the panel at the top left
    assert shown[0].size and all(np.any(shown[0] != other) for other in shown[1:]) and np.any(shown[1] != shown[2])
    assert Image.open(tmp_path / "heat.png").size[0] > 1500
    assert not model.decoder._forward_hooks
    means = []
    for value in (0.0, 1.0):
        write_heatmaps(tmp_path / "heat.png", replace(found, catch_all=np.full_like(found.catch_all, value)))
        means.append(np.asarray(Image.open(tmp_path / "heat.png")).mean())
    assert means[0] < means[1]  # from black for 0 to yellow for 1
    with pytest.raises(InputError, match="no frame 9"):
        compute_heatmaps(frames_of(images), {0: labels[0]}, 9, Segmenter(model))
    with pytest.raises(InputError, match="no mask is given at or before frame 1"):
        compute_heatmaps(frames_of(images), {2: labels[0]}, 1, Segmenter(model))


def test_a_very_wide_frame_has_heatmaps(tmp_path: Path) -> None:
    image, share = np.zeros((2, 2000, 3), np.uint8), np.zeros((2, 2000), np.float32)
    found = Heatmaps(image, None, np.zeros((2, 2000), np.uint16), share, np.stack([share] * 9))
    write_heatmaps(tmp_path / "heat.png", found)
    assert Image.open(tmp_path / "heat.png").size[0] > 1500


def test_of_many_masks_each_objects_first_is_used() -> None:
    first = np.array([[1, 0], [0, 0]], np.uint16)
    later = np.array([[1, 2], [0, 2]], np.uint16)
    found = first_masks({0: first, 3: later, 5: later})
    assert sorted(found) == [0, 3] and found[3].tolist() == [[0, 2], [0, 2]]
