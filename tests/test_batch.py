"""`hodor segment-many FOLDER --masks FOLDER`: many videos, dying workers, interruptions, a lost node."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from command import hodor
from conftest import moving_square, write_video
from PIL import Image
from segment_fakes import read_video

from hodor_cli.errors import HodorError, UsageError
from hodor_cli.model import build_model
from hodor_cli.run.many.jobs import find_jobs
from hodor_cli.run.many.local import run_locally
from hodor_cli.run.many.on_ray import connect, run_on_ray
from hodor_cli.run.many.run import WorkOptions, segment_job, segment_videos
from hodor_cli.run.settings import SegmentSettings
from hodor_cli.weights.checkpoint import save_checkpoint

COUNT = 40
NAMES = ("a", "b", "c")


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of the toy network, with random weights."""
    import torch

    path = tmp_path_factory.mktemp("weights") / "toy.safetensors"
    torch.manual_seed(0)
    save_checkpoint(path, build_model("toy"))
    return path


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """clips/a.mp4, b.mp4, c.mp4 and masks/a.png, ... in one folder."""
    frames, masks = moving_square(COUNT)
    for folder in ("clips", "masks"):
        (tmp_path / folder).mkdir()
    for name in NAMES:
        write_video(tmp_path / "clips" / f"{name}.mp4", frames)
        Image.fromarray(masks[0] * 255).save(tmp_path / "masks" / f"{name}.png")
    return tmp_path


def many(*arguments: object, code: int = 0, command: str = "segment-many") -> str:
    return hodor(command, *arguments, code=code).output


def whole(out: Path) -> None:
    """Every video is there once, with all its masks and its overlay, and nothing else is."""
    assert sorted(path.name for path in out.iterdir()) == [*NAMES, "summary.json"]
    for name in NAMES:
        assert sorted(path.name for path in (out / name).iterdir()) == [
            "masks",
            "overlay.mp4",
            "report.json",
            "review.html",
        ]
        assert len(list((out / name / "masks").iterdir())) == COUNT
        assert len(read_video(out / name / "overlay.mp4")) == COUNT
        report = json.loads((out / name / "report.json").read_text())
        assert [frame["frame"] for frame in report["frames"]] == list(range(COUNT))


def test_results_do_not_lie_in_the_folder_that_is_read(
    library: Path, toy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(library / "clips")
    many(".", "--masks", "../masks", "--weights", toy.resolve(), "--no-overlay", "--end", 2)
    assert (library / "clips.hodor" / "summary.json").is_file() and not list((library / "clips").glob("*.hodor"))


def test_results_are_exported_and_what_is_missing_is_exported_later(library: Path, toy: Path) -> None:
    arguments = ("clips", "--masks", "masks", "--weights", toy.resolve(), "--no-overlay", "--end", 3, "--out", "out")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(library)
        many(*arguments, "--export", "csv")
        csv = library / "out" / "a" / "export" / "csv" / "tracks.csv"
        written = csv.stat().st_mtime_ns
        assert "coco-video, csv" in many(*arguments, "--export", "coco-video,csv", "--resume")
        assert csv.stat().st_mtime_ns == written
        assert (library / "out" / "b" / "export" / "coco-video" / "annotations.json").is_file()
        assert "there is no format 'cocoo'" in many(*arguments, "--export", "cocoo", code=2)


def test_a_full_disk_at_an_export_names_the_option_that_continues(
    library: Path, toy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    job = find_jobs(library / "clips", library / "masks")[0]
    options = WorkOptions(library / "out", SegmentSettings(weights=str(toy), overlay=False), end=2, export=("csv",))
    monkeypatch.setattr("hodor_cli.formats.writing.put_in_place", full)
    assert segment_job(job, options).error.endswith("make room and run again with `resume`")


def test_a_folder_of_videos(library: Path, toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(library)
    output = many("clips", "--masks", "masks", "--weights", toy.resolve(), "--workers", 2)
    assert f"3 videos of 3 done, {3 * COUNT} frames" in output and "  clips.hodor/summary.json" in output
    whole(library / "clips.hodor")
    assert "error:" in many("clips", "--masks", "masks", "--weights", toy, code=6)
    assert "(3 of them before)" in many("clips", "--masks", "masks", "--weights", toy, "--resume")
    whole(library / "clips.hodor")


def test_paths_are_told_as_they_were_given(library: Path, toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(library)
    Image.fromarray(np.ones((5, 5), np.uint8)).save(Path("masks") / "b.png")
    output = many("clips", "--masks", "masks", "--weights", toy.resolve(), "--no-overlay", "--end", 2, code=1)
    assert "  b: masks/b.png is 5x5" in output


def test_a_log_has_a_line_for_each_video_and_says_what_is_left_out(library: Path, toy: Path) -> None:
    clips, out = library / "clips", library / "out"
    for name in ("below", "result"):
        (clips / name).mkdir()
        shutil.copy(clips / "c.mp4", clips / name)
    (clips / "result" / "report.json").touch()
    (clips / "c.mp4").unlink()
    Image.fromarray(np.ones((5, 5), np.uint8)).save(library / "masks" / "b.png")
    arguments = (clips, "--masks", library / "masks", "--weights", toy, "-o", out, "--no-overlay", "--end", 2)
    output = many(*arguments, code=1)
    assert f"warning: left out 1 video in folders of {clips} (below); a list" in output
    assert re.search(r"^1 of 2 videos: a, 2 frames in 0:\d\d\n2 of 2 videos: b, failed\n", output, re.MULTILINE)
    assert "1 of 2 videos: a, done before\n" in many(*arguments, "--resume", code=1)


def test_a_warning_is_told_once_with_the_videos_it_is_about(library: Path, toy: Path) -> None:
    for name in ("a", "b"):
        labels = np.array(Image.open(library / "masks" / "a.png")) // 255
        labels[0, 0] = 2
        Image.fromarray(labels).save(library / "masks" / f"{name}.png")
    (library / "one.txt").write_text("clips/a.mp4\nclips/b.mp4\n")
    arguments = ("--weights", toy, "-o", library / "out", "--no-overlay", "--end", 2)
    output = many(library / "one.txt", "--masks", library / "masks", *arguments)
    assert "warning: a, b: a mask of object 2 is too small to be encoded" in output and "raise --min-dim" in output
    assert "Frames to review in 2 videos" in output


def test_how_the_masks_of_each_video_were_read_is_told_once_and_kept(library: Path, toy: Path) -> None:
    (library / "one.txt").write_text("clips/a.mp4\nclips/b.mp4\n")
    labels = np.array(Image.open(library / "masks" / "b.png")) // 255
    labels[0, :5] = 255
    (library / "masks" / "b").mkdir()
    for index in range(COUNT):
        Image.fromarray(labels).save(library / "masks" / "b" / f"{index:05d}.png")
    arguments = ("--masks", library / "masks", "--weights", toy, "-o", library / "out", "--no-overlay", "--end", 20)
    output = many(library / "one.txt", *arguments)
    read = "a.png holds only 0 and 255: it is one object, with id 1"
    assert output.count(f"a: {read}\n") == 1 and "warning: a: a.png" not in output
    assert output.count("pixels of 255 besides other ids") == 10 and "similar notes about 10 more masks" in output
    kept = json.loads((library / "out" / "summary.json").read_text())["videos"]
    assert kept["a"]["notes"] == [read] and read not in kept["a"]["warnings"] and len(kept["b"]["notes"]) == 12
    assert read in json.loads((library / "out" / "a" / "report.json").read_text())["warnings"]


def test_masks_among_the_videos_are_no_video(library: Path) -> None:
    (library / "masks").rename(library / "clips" / "masks")
    jobs = find_jobs(library / "clips", library / "clips" / "masks")
    assert [job.name for job in jobs] == list(NAMES)


def test_every_kind_of_video_that_is_read_alone_is_found(library: Path) -> None:
    clips, pages = library / "clips", [Image.fromarray(np.full((8, 9, 3), grey, np.uint8)) for grey in (10, 90, 200)]
    for name in ("tiff.tif", "webp.webp", "apng.png", "gif.gif", "a.tif"):
        pages[0].save(clips / name, save_all=True, append_images=pages[1:])
    for name in ("poster.png", "logo.gif"):
        pages[0].save(clips / name)
    (clips / "dicom").mkdir()
    (clips / "dicom" / "1.2.3").write_bytes(bytes(128) + b"DICM")
    for name in ("tiff", "webp", "apng", "gif", "dicom"):
        shutil.copy(library / "masks" / "a.png", library / "masks" / f"{name}.png")
    found = find_jobs(clips, library / "masks")
    assert sorted(job.source.name for job in found) == [
        "a.mp4", "apng.png", "b.mp4", "c.mp4", "dicom", "gif.gif", "tiff.tif", "webp.webp",
    ]  # fmt: skip


def test_a_failed_video_is_named_and_done_later(library: Path, toy: Path) -> None:
    good = (library / "masks" / "b.png").read_bytes()
    Image.fromarray(np.ones((5, 5), np.uint8)).save(library / "masks" / "b.png")
    arguments = (library / "clips", "--masks", library / "masks", "--weights", toy, "-o", library / "out")
    output = many(*arguments, code=1)
    assert "2 videos of 3 done" in output and "1 video failed" in output and "  b: " in output and "5x5" in output
    summary = json.loads((library / "out" / "summary.json").read_text())
    assert summary["failed"] == 1 and summary["videos"]["b"]["status"] == "failed"
    assert sorted(path.name for path in (library / "out").iterdir()) == ["a", "c", "summary.json"]
    before = (library / "out" / "a" / "report.json").stat().st_mtime_ns
    (library / "masks" / "b.png").write_bytes(good)
    many(*arguments, "--resume")
    whole(library / "out")
    assert (library / "out" / "a" / "report.json").stat().st_mtime_ns == before


def test_the_old_spelling_still_works_and_says_what_replaces_it(library: Path, toy: Path) -> None:
    (library / "one.txt").write_text("clips/a.mp4\n")
    arguments = (library / "one.txt", "--masks", library / "masks", "--weights", toy, "--output", library / "out")
    output = many(*arguments, "--workers", 1, "--no-overlay", "--coco", command="segment")
    assert (
        "1 video of 1 done" in output and "warning: hodor segment --masks is hodor segment-many --masks now" in output
    )
    assert (library / "out" / "a" / "export" / "coco-video" / "annotations.json").is_file()


def test_a_list_names_videos_beside_it(library: Path, toy: Path) -> None:
    (library / "some.txt").write_text("\ufeffclips/a.mp4\n# two of them\n\nclips/c.mp4\n", encoding="utf-8")
    output = many(library / "some.txt", "--masks", library / "masks", "--weights", toy, "-o", library / "out")
    assert "2 videos of 2 done" in output and "1 mask in " in output and "belongs to no video: b.png" in output
    assert sorted(path.name for path in (library / "out").iterdir()) == ["a", "c", "summary.json"]


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python 3.10 has no safe path")
def test_workers_import_nothing_from_the_current_folder(library: Path, toy: Path) -> None:
    program, masks = library / "program.py", library / "masks"
    program.write_text("from hodor_cli.cli import main\nif __name__ == '__main__':\n    main()\n")
    (library / "clips" / "signal.py").write_text("raise SystemExit(1)")
    command = [sys.executable, program, "segment-many", ".", "--masks", masks, "--weights", toy, "-o", library / "out"]
    ran = subprocess.run(command, cwd=library / "clips", capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr
    whole(library / "out")


def test_a_killed_worker_is_replaced(library: Path, toy: Path) -> None:
    killed: list[int] = []

    def kill_one(videos: int, failed: int, frames: int) -> None:
        if not killed and frames >= 5:
            worker = multiprocessing.active_children()[0]
            os.kill(worker.pid or 0, signal.SIGKILL)
            killed.append(worker.pid or 0)

    jobs = find_jobs(library / "clips", library / "masks")
    options = WorkOptions(library / "out", settings=SegmentSettings(weights=str(toy)))
    summary = segment_videos(jobs, options, partial(run_locally, workers=2), progress=kill_one)
    assert killed and not summary.failed
    assert max(result.attempts for result in summary.results) == 2
    whole(library / "out")


def test_a_worker_ends_with_a_killed_run(library: Path) -> None:
    """Its video is a pipe that nobody writes to, so it would never end."""
    os.mkfifo(library / "clip.ts")
    script = (
        "import os\n"
        "from pathlib import Path\n"
        "from hodor_cli.run.many.jobs import VideoJob\n"
        "from hodor_cli.run.many.local import run_locally\n"
        "from hodor_cli.run.many.run import WorkOptions\n"
        "job = VideoJob('clip', Path('clip.ts'), Path('masks/a.png'))\n"
        "running = run_locally([job], WorkOptions(Path('out')), workers=1)\n"
        "next(running)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    # The worker holds the output open as long as it lives.
    subprocess.run([sys.executable, "-c", script], cwd=library, stdout=subprocess.PIPE, timeout=60)


def test_an_interrupted_run_goes_on(library: Path, toy: Path) -> None:
    def interrupt(videos: int, failed: int, frames: int) -> None:
        if videos >= 1:
            raise KeyboardInterrupt

    jobs = find_jobs(library / "clips", library / "masks")
    options = WorkOptions(library / "out", settings=SegmentSettings(weights=str(toy)))
    with pytest.raises(KeyboardInterrupt):
        segment_videos(jobs, options, partial(run_locally, workers=1), progress=interrupt)
    assert not multiprocessing.active_children()
    assert not (library / "out" / "summary.json").exists()
    with pytest.raises(HodorError, match="`resume`"):
        segment_videos(jobs, options, partial(run_locally, workers=1))
    again = WorkOptions(library / "out", settings=SegmentSettings(weights=str(toy)), resume=True)
    assert segment_videos(jobs, again, partial(run_locally, workers=1)).results[0].already_finished
    whole(library / "out")


def test_overwriting_replaces_results_and_nothing_else(library: Path, toy: Path) -> None:
    arguments = (library / "clips", "--masks", library / "masks", "--weights", toy, "-o", library / "out")
    many(*arguments)
    others = [library / "out" / place for place in ("notes.txt", "a/notes.txt", "a/masks/notes.txt")]
    for file in others:
        file.write_text("mine")
    (library / "out" / "b" / "report.json").write_text('{"format": "hod')
    (library / "out" / "c").rename(library / "elsewhere")
    (library / "out" / "c").symlink_to(library / "elsewhere")
    output = many(*arguments, "--overwrite", "--end", 10, code=1)
    assert "b/report.json is damaged or not hodor's (Input data was truncated)" in output and "1 video failed" in output
    assert not (library / "out" / ".unfinished").exists()  # the video was not segmented in vain
    assert all(file.read_text() == "mine" for file in others)
    assert all(len(list((library / "out" / name / "masks").glob("*.png"))) == 10 for name in ("a", "c"))
    assert (library / "elsewhere" / "report.json").is_file()
    assert "(2 of them before)" in many(*arguments, "--resume", "--end", 10, code=1)


def test_mistakes_end_with_one_sentence(library: Path, toy: Path) -> None:
    clips, masks, mask = library / "clips", library / "masks", library / "masks" / "a.png"

    def error(*arguments: object, code: int, command: str = "segment-many") -> str:
        output = many(*arguments, "-o", library / "out", code=code, command=command)
        lines = [line for line in output.splitlines() if "error:" in line]
        assert len(lines) == 1 and not (library / "out").exists()
        return lines[0]

    for flag, value in (("--mask", mask), ("--descriptors", "x.h5"), ("--projection", "x")):
        line = error(clips, "--masks", masks, flag, value, code=2, command="segment")
        assert flag in line and "hodor segment-many --help" in line
    assert "--workers" in error(clips / "a.mp4", "--mask", mask, "--workers", 2, code=2, command="segment")
    assert "hodor segment-many" in error(clips, "--mask", mask, code=3, command="segment")
    assert "give it to `hodor segment`" in error(clips / "a.mp4", "--masks", masks, code=3)
    assert "is a file" in error(clips, "--masks", mask, code=3)
    assert "so it is one video" in error(masks, "--masks", masks, code=3)
    (library / "a.hodor").mkdir()
    for name in ("overlay.mp4", "report.json"):
        (library / "a.hodor" / name).touch()
    assert "its folders do (clips); give one of these" in error(library, "--masks", masks, code=3)
    assert "contradict" in error(clips, "--masks", masks, "--resume", "--overwrite", "--weights", toy, code=2)
    assert "contradict" in error(clips, "--masks", masks, "--gpus", 1, "--device", "cpu", code=2)
    assert "GPU" in error(clips, "--masks", masks, "--gpus", 99, "--weights", toy, code=5).upper()
    assert "above 0" in error(clips, "--masks", masks, "--weights", toy, "--adapt=0", code=2)
    assert "weights" in error(clips, "--masks", masks, "--weights", "nothing", code=4)
    (library / "clips" / "a.mkv").write_bytes((clips / "a.mp4").read_bytes())
    assert "both be called a" in error(clips, "--masks", masks, code=3)
    (library / "clips" / "a.mkv").rename(clips / "d.mkv")
    assert "1 video of 4 has no mask" in error(clips, "--masks", masks, code=3)
    (library / "list.txt").write_text("clips/z.mp4\n")
    assert "clips/z.mp4" in error(library / "list.txt", "--masks", masks, code=3)


def test_a_closed_cluster_address_is_told_at_once(library: Path, toy: Path) -> None:
    pytest.importorskip("ray", reason="Ray is an optional extra")
    arguments = (library / "clips", "--masks", library / "masks", "--weights", toy, "-o", library / "out")
    assert "no Ray cluster is at 127.0.0.1:9" in many(*arguments, "--ray", "127.0.0.1:9", code=2)
    assert "HOST:PORT" in many(*arguments, "--ray", "somewhere", code=2)
    assert not (library / "out").exists()


def test_a_missing_cluster_is_told_without_the_options_of_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = pytest.importorskip("ray", reason="Ray is an optional extra")

    def init(**_: object) -> None:
        raise ConnectionError("Could not find any running Ray instance. Please set the `--address` flag.")

    monkeypatch.setattr(ray, "init", init)
    with pytest.raises(UsageError, match="start one with `ray start --head`") as raised:
        connect("auto")
    assert "--address" not in str(raised.value)


def test_a_cluster_that_loses_a_node(library: Path, toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ray = pytest.importorskip("ray", reason="Ray is an optional extra")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
        removed = []

        def remove_node(videos: int, failed: int, frames: int) -> None:
            if not removed and frames >= 20:
                own = ray.get_runtime_context().get_node_id()  # older versions connect to any node
                other = next(node for node in nodes if node.node_id != own)
                removed.append(cluster.remove_node(other, allow_graceful=False))

        monkeypatch.chdir(library)  # the cluster's processes have other working directories
        jobs = find_jobs(Path("clips"), Path("masks"))
        options = WorkOptions(Path("out"), settings=SegmentSettings(weights=str(toy)))
        summary = segment_videos(jobs, options, partial(run_on_ray, address=cluster.address), progress=remove_node)
    finally:
        cluster.shutdown()
    assert removed and not summary.failed, summary
    whole(library / "out")


def test_ray_missing_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match="pip install"):
        connect("auto")
