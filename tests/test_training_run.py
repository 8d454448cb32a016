"""A run and its folder: what it leaves, going on with it, and what goes wrong."""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from training_fakes import losses_of, make_blobs, start

import hodor_cli
from hodor_cli.cli.training_parts import LiveLine
from hodor_cli.errors import DataError, DeviceError, InputError, OutputError, TrainingError, UsageError, WeightsError
from hodor_cli.locks import locked_folder
from hodor_cli.model import Hodor, build_model
from hodor_cli.model.mobilenet import Conv
from hodor_cli.model.swin import Swin
from hodor_cli.samples.sample import TrainingSample
from hodor_cli.samples.sets import TrainingSet
from hodor_cli.samples.settings import DataSource
from hodor_cli.training.config import train_preset
from hodor_cli.training.launch import Process, in_processes, layout_of
from hodor_cli.training.learner import Learner
from hodor_cli.training.loop import fit
from hodor_cli.training.options import Callbacks, LaunchSettings, RunOptions, TrainingProgress, TrainingResult
from hodor_cli.training.plan import Plan
from hodor_cli.training.recipe import with_settings
from hodor_cli.training.run_folder import STATE_FILE, TrainingState, read_state, save_state
from hodor_cli.training.watching import Events, Report, outlook
from hodor_cli.weights import load_checkpoint, load_model, save_checkpoint
from hodor_cli.weights.published import load_imagenet_backbone


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_blobs(tmp_path_factory.mktemp("photos") / "set")


def run(photos: Any, out: Path | str, iterations: int = 2, **options: Any) -> TrainingResult:
    """A tiny run in this process."""
    settings = {"iterations": iterations, **options.pop("settings", {})}
    options = {"preset": "toy", "workers": 0, "sheet_every": 1000, **options}
    result: TrainingResult = start(hodor_cli.pretrain, photos, out=out, settings=settings, **options)
    return result


def test_a_run_leaves_checkpoints_metrics_and_a_sheet(photos: Path, tmp_path: Path) -> None:
    told: list[TrainingProgress] = []
    notes: list[str] = []
    settings = {"batch_size": 4, "micro_batch": 2, "average": 0.5}
    random_state = torch.get_rng_state()
    result = run(photos, tmp_path / "run", 2, settings=settings, progress=told.append, note=notes.append)
    assert torch.equal(torch.get_rng_state(), random_state)  # the caller's
    assert (result.iterations, result.best, result.score) == (2, None, None)
    assert result.last == tmp_path / "run" / "last.safetensors"
    checkpoint = load_checkpoint(result.last)
    assert checkpoint.config.name == "toy"
    assert checkpoint.metadata["training"]["average"] == 0.5
    assert checkpoint.metadata["iteration"] == 2
    assert checkpoint.metadata["run"]["data"][0]["samples"] == 4
    # A checkpoint may be given away: it names the set, and not where it lies.
    assert checkpoint.metadata["run"]["data"][0]["folder"] == photos.name
    assert str(photos).encode() not in result.last.read_bytes()
    assert [report.iteration for report in told] == [1, 2]
    assert all(0 <= report.iou <= 1 and 0 <= report.loader_wait <= 1 for report in told)
    assert losses_of(result.folder) == pytest.approx([report.loss for report in told])
    facts = json.loads((result.folder / "run.json").read_text())
    assert (facts["kind"], facts["preset"], facts["settings"]["batch_size"]) == ("pretrain", "toy", 4)
    assert any("4 photographs, 4 left" in text for text in notes)
    assert any("never reaches rate" in text for text in notes)
    # Six predictions of two pictures each, two samples.
    sheet = cv2.imread(str(result.folder / "sheets" / "000001.png"))
    assert sheet.shape[1] > 6 * 2 * 64
    assert sheet.shape[0] > 2 * 64
    # Nothing else is left behind, in particular no lock and no temporary file.
    expected = {"last.safetensors", "metrics.csv", "run.json", "sheets", STATE_FILE}
    try:
        import tensorboard  # noqa: F401

        expected.add("tensorboard")
    except (ImportError, AttributeError, TypeError):
        pass  # the optional extra
    assert {entry.name for entry in result.folder.iterdir()} == expected


def test_tensorboard_reads_the_events_of_a_resumed_run(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    for first, iterations in ((0, (10, 20, 30)), (20, (30,))):
        with closing(Events(tmp_path, first)) as events:
            for iteration in iterations:
                events.note(iteration, validation=iteration / 100 + first)
    read = accumulator.EventAccumulator(str(tmp_path))
    read.Reload()
    assert [(one.step, round(one.value, 4)) for one in read.Scalars("validation")] == [(10, 0.1), (20, 0.2), (30, 20.3)]


def test_gradients_of_micro_batches_add_up(photos: Path, tmp_path: Path) -> None:
    exact = LaunchSettings(precision="fp32")
    whole = run(photos, tmp_path / "a", 3, settings={"batch_size": 4}, launch=exact)
    parts = run(photos, tmp_path / "b", 3, settings={"batch_size": 4, "micro_batch": 1}, launch=exact)
    # Sums of other sizes are rounded differently on some CPUs, and one kink may then be taken on its other side: 3e-5.
    assert losses_of(parts.folder) == pytest.approx(losses_of(whole.folder), abs=2e-4)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_killed_or_interrupted_and_resumed_gives_the_same_losses(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: signal.Signals
) -> None:
    """Stopped with a data worker running; resumed at once, with other workers, from what lies in the folder."""
    # The same number of threads throughout: the order of a sum, and so its last bits, may depend on it.
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.setenv(name, str(torch.get_num_threads()))
    total = 30  # enough that the run is still on when the signal comes
    whole = run(photos, tmp_path / "whole", total)
    out = tmp_path / "killed"
    command = [sys.executable, "-m", "hodor_cli", "pretrain", "--data", str(photos), "--preset", "toy"]
    command += ["--iterations", str(total), "--save-every", "3", "--workers", "1", "-o", str(out)]
    root = Path(__file__).resolve().parent.parent
    process = subprocess.Popen(
        command, cwd=root, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        deadline = time.monotonic() + 300
        while not (out / "metrics.csv").is_file() or len((out / "metrics.csv").read_text().splitlines()) < 6:
            assert process.poll() is None, "it ended by itself"
            assert time.monotonic() < deadline
            time.sleep(0.005)
    finally:
        if how == signal.SIGTERM:
            os.killpg(process.pid, how)  # as a scheduler does, to the data worker, too
        else:
            process.send_signal(how)
    _, said = process.communicate(timeout=100)
    state = read_state(out)
    assert state is not None
    assert 3 <= state.iteration < total
    if how != signal.SIGKILL:
        assert process.returncode == 130, said
        assert f"interrupted after iteration {state.iteration} of {total}" in said
        assert "run the same command with --resume to continue" in said
        assert "Traceback" not in said
        assert len(losses_of(out)) == state.iteration  # nothing of what was done is lost
    else:
        assert process.returncode == -signal.SIGKILL
    # Its own settings and data: nothing needs to be said again.
    result = start(hodor_cli.pretrain, None, out=out, resume=True, workers=0)
    assert result.iterations == total
    assert losses_of(out) == pytest.approx(losses_of(whole.folder), abs=1e-5)
    # Weights may differ: the bias of keys has no effect, so its gradient is rounding alone, which AdamW scales up.


def test_the_average_of_a_resumed_run_keeps_what_is_not_learned(photos: Path, tmp_path: Path) -> None:
    model = build_model("toy")
    model.encoder.place.offset += 0.25  # a buffer
    save_checkpoint(tmp_path / "start.safetensors", model)
    run(photos, tmp_path / "run", 2, weights=str(tmp_path / "start.safetensors"), settings={"average": 0.9})
    notes: list[str] = []
    moved = shutil.copytree(photos, tmp_path / "moved")
    result = run(moved, tmp_path / "run", 4, settings={"average": 0.9}, resume=True, note=notes.append)
    assert f"{moved} takes the place of {photos}, with which the run began" in notes
    Path(moved).rename(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="moved any more; name the present places of all with `data`"):
        start(hodor_cli.pretrain, None, out=tmp_path / "run", resume=True, workers=0)
    assert load_model(result.last).encoder.place.offset.tolist() == [0.25] * 4


def test_a_run_is_neither_overwritten_nor_mixed_up(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    run(photos, out, 2)
    before = (out / STATE_FILE).read_bytes()
    with pytest.raises(OutputError, match=r"already holds a run.*`resume`.*`overwrite`"):
        run(photos, out)
    with pytest.raises(UsageError, match=r"`resume`.*`overwrite`"):
        run(photos, out, resume=True, overwrite=True)
    with pytest.raises(UsageError, match=r"settings \(batch_size was 2, not 4\)"):
        run(photos, out, 3, resume=True, settings={"batch_size": 4})
    with pytest.raises(UsageError, match=r"`iterations=1` contradicts `resume`: .* has done 2"):
        run(photos, out, 1, resume=True)
    with pytest.raises(UsageError, match=r"`data` contradicts `resume`"):
        run([f"{photos}:2"], out, 3, resume=True)
    with pytest.raises(
        UsageError, match=r"`weights=mini` contradicts `resume`: it began without `weights`; leave it out, or change"
    ):
        run(photos, out, 3, resume=True, weights="mini")
    with pytest.raises(UsageError, match="run of `hodor pretrain`"):
        start(hodor_cli.finetune, photos, mode="frames", out=out, resume=True)
    with pytest.raises(WeightsError, match=r"holds a 'toy' network, not 'mini' as the settings ask for"):
        run(photos, out, preset="mini", weights=out / "last.safetensors", overwrite=True)
    with pytest.raises(UsageError, match=r"`overwrite` would remove `weights="):
        run(photos, out, weights=out / "last.safetensors", overwrite=True)
    assert (out / "last.safetensors").is_file()
    assert (out / STATE_FILE).read_bytes() == before
    (out / "mine.txt").write_text("kept")
    run(photos, out, 1, settings={"seed": 1}, overwrite=True)
    assert (out / STATE_FILE).read_bytes() != before
    assert (out / "mine.txt").read_text() == "kept"


def test_a_resumed_run_is_not_validated_on_another_benchmark(photos: Path, tmp_path: Path) -> None:
    out, first = tmp_path / "run", {"validate": lambda model: 0.9, "benchmark": "DAVIS 2016, 20 sequences"}
    newer = first | {"benchmark": "DAVIS 2016, 20 sequences, bear to train"}  # says more of the same one
    run(photos, out, 1)  # a run without a validation gets one
    assert run(photos, out, 2, resume=True, **first).score == 0.9
    with pytest.raises(UsageError, match=r"`val=DAVIS 2017, .*it began with `val=DAVIS 2016, 20 sequences`"):
        run(photos, out, 3, resume=True, **first | {"benchmark": "DAVIS 2017, 30 sequences"})
    assert run(photos, out, 3, resume=True, **newer).iterations == 3
    with pytest.raises(UsageError, match=r"`val=.*, boat to train` contradicts .*`val=.*, bear to train`"):
        run(photos, out, 4, resume=True, **first | {"benchmark": "DAVIS 2016, 20 sequences, boat to train"})


def test_settings_that_imgaug_does_not_use_are_noted(photos: Path, tmp_path: Path) -> None:
    notes: list[str] = []
    settings = {"augment.maker": "imgaug", "augment.blur": 0.5}
    with suppress(DataError):  # imgaug may be missing
        run(photos, tmp_path / "run", 1, settings=settings, note=notes.append)
    assert "imgaug augments photographs without augment.blur; `augment=fast` uses them" in notes


def test_a_killed_worker_is_one_sentence_with_a_way_out(photos: Path, tmp_path: Path) -> None:
    def kill(progress: TrainingProgress) -> None:
        if progress.iteration == 5:
            os.kill(multiprocessing.active_children()[0].pid or 0, signal.SIGKILL)

    with pytest.raises(DeviceError, match=r"was killed, .* continue with `resume` and fewer `workers`"):
        run(photos, tmp_path / "run", 2000, workers=1, progress=kill)
    state = read_state(tmp_path / "run")
    assert state is not None and state.iteration >= 5  # nothing of what was done is lost
    assert len(losses_of(tmp_path / "run")) == state.iteration
    assert run(photos, tmp_path / "run", state.iteration + 1, resume=True).last.is_file()


def test_two_runs_into_one_folder(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    message = rf"is being written by process {os.getpid()} on"
    with locked_folder(out, advice="", name=".lock"), pytest.raises(OutputError, match=message):
        run(photos, out)


def test_what_a_run_killed_at_its_start_left_does_not_count_as_other_files(photos: Path, tmp_path: Path) -> None:
    left = tmp_path / "run" / ".run.json.123.tmp"
    left.parent.mkdir()
    left.write_bytes(b"half")
    assert run(photos, tmp_path / "run", 1).iterations == 1
    assert not left.exists()


def test_places_that_cannot_be_written_to(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be created"):
        run(photos, tmp_path / "file" / "run")
    with pytest.raises(OutputError, match=r"cannot be created \(it is a file\)"):
        run(photos, tmp_path / "file")
    (tmp_path / "holiday").mkdir()
    (tmp_path / "holiday" / "beach.jpg").write_text("")
    with pytest.raises(OutputError, match="other files in it"):
        run(photos, tmp_path / "holiday")


def test_the_last_good_checkpoint_survives_a_full_disk(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    run(photos, out, 1)
    before = {name: (out / name).read_bytes() for name in (STATE_FILE, "last.safetensors")}
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, usual[1]))
    try:
        with pytest.raises(OutputError, match=r"training_state.safetensors cannot be written.*`resume`"):
            run(photos, out, 2, resume=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)
    assert {name: (out / name).read_bytes() for name in before} == before
    assert not list(out.glob(".*.tmp"))
    (out / ".last.safetensors.123.tmp").write_bytes(b"half")  # of a run that was killed
    assert run(photos, out, 2, resume=True).iterations == 2
    assert not list(out.glob(".*.tmp"))


def test_damaged_files_of_a_run_are_one_sentence_with_a_way_out(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    run(photos, out, 1)
    whole = (out / STATE_FILE).read_bytes()
    for damage in (b"", whole[:-100], whole[:200], b"\0" * len(whole)):
        (out / STATE_FILE).write_bytes(damage)
        with pytest.raises(WeightsError, match=r"is damaged.*cannot be resumed; start over with `overwrite`"):
            run(photos, out, 2, resume=True)
    (out / STATE_FILE).write_bytes(whole)
    record = (out / "run.json").read_text()
    for damage in (b"[]", b"", b"{}", b"[" * 5000, record.replace('"pretrain"', "7", 1).encode()):
        (out / "run.json").write_bytes(damage)
        with pytest.raises(DataError, match=r"run\.json is not a training run's record"):
            run(photos, out, 2, resume=True)
    (out / "run.json").write_text(record)
    (out / "metrics.csv").write_bytes(b"\xff\0iteration\n")
    assert run(photos, out, 2, resume=True).iterations == 2


def test_a_limit_on_time_ends_a_run_that_can_be_resumed(photos: Path, tmp_path: Path) -> None:
    notes: list[str] = []
    told: list[TrainingProgress] = []
    begun = run(photos, str(tmp_path / "run"), 5000, time_limit="2s", note=notes.append, progress=told.append)
    assert 0 < begun.iterations < begun.wanted == 5000
    assert (tmp_path / "run" / "sheets" / f"{begun.iterations:06d}.png").is_file()  # what it can do now
    if begun.iterations >= 3:
        assert any("`time_limit` ends the run after about" in text for text in notes)
    assert all(report.limited and report.seconds_left <= 2 for report in told)
    resumed = run(photos, tmp_path / "run", begun.iterations + 1, resume=True)
    assert resumed.iterations == begun.iterations + 1
    for text in ("soon", "1h30"):  # minutes or seconds?
        with pytest.raises(UsageError, match=f"`time_limit` cannot be '{text}'"):
            run(photos, tmp_path / "other", time_limit=text)
    assert [RunOptions(time_limit=text).seconds for text in ("90", "2m30", "1h30m", "1.5h")] == [90, 150, 5400, 5400]


def test_the_speed_is_a_mean_without_the_first_iteration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[TrainingProgress] = []
    report = Report(Plan(train_preset("toy"), RunOptions(tmp_path), Callbacks(progress=told.append)), 0)
    for done, seconds in enumerate((100.0, 1.0, 1.0, 2.0), 1):  # of 2 samples each
        monkeypatch.setattr(time, "perf_counter", lambda now=seconds: now)
        report.write(done, torch.zeros(4), 1e-4, began=0.0, waited=0.0)
    report.close()
    assert [progress.samples_per_second for progress in told] == pytest.approx([0.02, 2.0, 2.0, 5 / 3])


def test_a_limit_on_time_says_how_far_it_reaches_and_how_to_have_a_whole_run_in_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(time, "time", lambda: 1000.0)
    config = with_settings(train_preset("mini"), {"iterations": 1003})  # 4 samples each, 300 of warm-up
    progress = TrainingProgress(3, 1003, 1.0, 0.5, 0.5, 0.5, 1e-4, 2.0, 100.0, 0.0, limited=True)
    longer, sooner = outlook(progress, config, until=1100.0)
    assert longer.startswith("about 34 min for the remaining 1,000 iterations")
    assert "after about 53 of them, while the learning rate still rises (300 iterations)" in sooner
    assert sooner.endswith("start over with `iterations=53` and `warmup=5`")
    assert len(outlook(progress._replace(limited=False), config, until=9000.0)) == 1
    assert not outlook(progress._replace(iteration=1003), config, until=None)
    assert "the remaining 1 iteration (" in outlook(progress._replace(iteration=1002), config, until=None)[0]
    LiveLine()(progress)
    LiveLine()(progress._replace(limited=False))
    limited, free = capsys.readouterr().err.splitlines()
    assert limited.endswith("1:40 left of the time limit") and free.endswith("1:40 left")


@pytest.mark.parametrize(("patience", "kept"), [(60.0, 3), (-1.0, 2)])
def test_ctrl_c_waits_for_the_iteration_and_a_later_one_does_not(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, patience: float, kept: int
) -> None:
    """In the third iteration. Two that come at once, as from an impatient finger, are one."""
    update, notes = Learner.update, list[str]()

    def interrupted(self: Learner, *arguments: Any) -> Any:
        for _ in range(2 if self.done == 2 else 0):
            signal.raise_signal(signal.SIGINT)
        return update(self, *arguments)

    monkeypatch.setattr(Learner, "update", interrupted)
    monkeypatch.setattr("hodor_cli.runtime.interrupts._IMPATIENCE", patience)
    with pytest.raises(KeyboardInterrupt):
        run(photos, tmp_path / "run", 6, save_every=2, note=notes.append)
    said = "training stops after this iteration; Ctrl-C again stops now and keeps only the first 2 iterations"
    assert notes.count(said) == 1
    assert any("interrupted after iteration 3" in text for text in notes) == (kept == 3)
    state = read_state(tmp_path / "run")
    assert state is not None and state.iteration == kept


def test_an_interrupt_of_the_last_save_loses_nothing(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saves = []

    def interrupted(folder: Path, state: TrainingState, learner: Learner) -> None:
        saves.append(state.iteration)
        if saves == [2, 3]:
            raise KeyboardInterrupt
        save_state(folder, state, learner)

    monkeypatch.setattr("hodor_cli.training.loop.save_state", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(photos, tmp_path / "run", 3, save_every=2)
    state = read_state(tmp_path / "run")
    assert state is not None and state.iteration == 3


def test_it_is_said_how_long_it_takes_and_whether_the_network_got_better(tmp_path: Path) -> None:
    photos = make_blobs(tmp_path / "photos", 16)
    notes: list[str] = []
    warnings: list[str] = []
    settings = {"held_out": 2, "learning_rate.warmup": 0}
    better = run(photos, tmp_path / "a", 25, settings=settings, note=notes.append, warn=warnings.append)
    assert better.before is not None
    assert better.after is not None
    assert better.after > better.before
    assert any("for the remaining 22 iterations" in text for text in notes)
    assert any("the network got better" in text and "2 held-out pictures" in text for text in notes)
    assert not any("warm-up" in text for text in notes)
    assert warnings == []
    settings["learning_rate.peak"] = 1e-12
    same = run(photos, tmp_path / "b", 1, settings=settings, warn=warnings.append)
    assert same.after == same.before
    assert "the network did not get better" in warnings[0]


@pytest.mark.parametrize(
    ("gain", "said"), [(0.001, "the network is about as good"), (0.02, "the network got better: mean IoU")]
)
def test_a_gain_that_may_be_chance_is_not_called_better(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gain: float, said: str
) -> None:
    scores = iter((0.9, 0.9 + gain))
    monkeypatch.setattr("hodor_cli.training.watching.HeldOut.measure", lambda self, learner: next(scores))
    notes: list[str] = []
    run(photos, tmp_path / "run", 1, settings={"held_out": 2}, note=notes.append)
    assert [text for text in notes if "mean IoU" in text] == [text for text in notes if text.startswith(said)] != []


def test_a_single_image_is_a_sequence_of_one(photos: Path, tmp_path: Path) -> None:
    result = run(photos, tmp_path / "run", 1, settings={"sequence": 1})
    assert load_checkpoint(result.last).metadata["training"]["augment"]["frames"] == 1


def test_several_sets_with_weights(photos: Path, tmp_path: Path) -> None:
    apart = DataSource(photos / "images", annotations=photos / "instances.json")
    result = run([f"{photos}:0.25", apart], tmp_path / "run", 1)
    data = json.loads((result.folder / "run.json").read_text())["data"]
    assert [item["weight"] for item in data] == [0.25, 1.0]


def test_masks_that_are_probably_inverted_are_warned_about(tmp_path: Path) -> None:
    for name, value in (("images", 90), ("masks", 1)):
        (tmp_path / "set" / name).mkdir(parents=True)
        for number in range(2):
            Image.fromarray(np.full((80, 80), value, np.uint8)).save(tmp_path / "set" / name / f"{number}.png")
    warnings: list[str] = []
    run(tmp_path / "set", tmp_path / "run", 1, settings={"held_out": 0}, warn=warnings.append)
    assert len(warnings) == 1 and "objects cover the whole edge of the picture" in warnings[0]


def test_data_that_cannot_be_trained_on(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HODOR_WORKSPACE_DIR", raising=False)
    with pytest.raises(DataError, match=r"give `data`, .*HODOR_WORKSPACE_DIR"):
        run(None, tmp_path / "run")
    with pytest.raises(DataError, match=r"nothing is left to train on .*`limits\.min_area`"):
        run(photos, tmp_path / "run", settings={"limits.min_area": 1e9})
    with pytest.raises(InputError, match="there is no data set"):
        run(tmp_path / "nowhere", tmp_path / "run")
    (tmp_path / "clips" / "JPEGImages").mkdir(parents=True)
    with pytest.raises(DataError, match="holds clips; use `finetune`"):
        run(tmp_path / "clips", tmp_path / "run")
    broken = make_blobs(tmp_path / "broken")
    whole = (broken / "images" / "2.png").read_bytes()
    (broken / "images" / "2.png").write_bytes(whole[:400])
    with pytest.raises(DataError, match=r"broken image \(1, such as 2.png: .*\); delete its file to train without it"):
        run(broken, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_missing_photographs_are_left_out_with_a_warning(tmp_path: Path) -> None:
    warned: list[str] = []
    made = make_blobs(tmp_path / "set")
    (made / "images" / "2.png").unlink()
    run(made, tmp_path / "run", 1, warn=warned.append)
    assert "1 image of" in warned[0] and "is missing and left out, such as 2.png; `check_dataset` lists" in warned[0]


def test_a_photograph_that_becomes_unreadable_does_not_end_a_run(tmp_path: Path) -> None:
    warned: list[str] = []
    made = make_blobs(tmp_path / "set")

    def damage(progress: TrainingProgress) -> None:
        (made / "images" / "2.png").write_bytes(b"damaged")

    result = run(made, tmp_path / "run", 20, progress=damage, warn=warned.append)
    assert result.iterations == 20
    about = [text for text in warned if "2.png is not an image" in text]
    assert len(about) == 1 and about[0].endswith("; training continues without it")


def test_an_unreadable_held_out_photograph_does_not_end_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hodor_cli.formats.check.OPENED", 0)  # of a large set only headers are read beforehand
    said: list[str] = []
    made = make_blobs(tmp_path / "set", 16)
    damaged = made / "images" / "5.png"  # 5 and 13 are held out
    damaged.write_bytes(damaged.read_bytes()[:200])
    options = {"settings": {"held_out": 2}, "note": said.append, "warn": said.append}
    run(made, tmp_path / "run", 1, **options)
    assert any("5.png cannot be read" in text and text.endswith("; training continues without it") for text in said)
    assert "on 1 held-out picture" in said[-1]
    assert run(made, tmp_path / "run", 2, resume=True, **options).after is not None


def test_a_source_without_weight_is_measured_and_an_unknown_one_is_named(tmp_path: Path) -> None:
    made = make_blobs(tmp_path / "set", 16)
    content = json.loads((made / "instances.json").read_text())
    content["images"][8]["source"] = "other"  # the one that is held out
    (made / "instances.json").write_text(json.dumps(content))
    settings = {"held_out": 1, "batches.source_weights": {"other": 0.0, "ohter": 1.0}}
    said: list[str] = []
    assert run(made, tmp_path / "run", 1, settings=settings, warn=said.append).after is not None
    assert said[0] == "the data have no source ohter, which `batches.source_weights` names"


def test_photographs_that_all_become_unreadable_end_a_run_that_can_be_resumed(tmp_path: Path) -> None:
    notes: list[str] = []
    made = make_blobs(tmp_path / "set")

    def damage(progress: TrainingProgress) -> None:
        for path in (made / "images").iterdir():
            path.write_bytes(b"damaged" if progress.iteration == 3 else path.read_bytes())

    with pytest.raises(DataError, match="is not an image"):
        run(made, tmp_path / "run", 20, progress=damage, note=notes.append)
    state = read_state(tmp_path / "run")
    assert state is not None and state.iteration == 3 and "with `resume` to continue" in notes[-1]


def test_a_validation_that_vanishes_ends_a_run_that_can_be_resumed(tmp_path: Path) -> None:
    notes: list[str] = []

    def vanished(model: Hodor) -> float:
        raise InputError("there is no data set val")

    made = make_blobs(tmp_path / "set")
    with pytest.raises(InputError, match="there is no data set val"):
        run(made, tmp_path / "run", 20, validate=vanished, val_every=3, note=notes.append)
    state = read_state(tmp_path / "run")
    assert state is not None and state.iteration == 3 and "with `resume` to continue" in notes[-1]


def test_a_kill_during_a_validation_loses_no_iteration_and_no_validation(photos: Path, tmp_path: Path) -> None:
    out, validated, saved = tmp_path / "run", list[int](), list[int]()

    class Killed(BaseException):
        """Like a kill, it lets nothing be saved."""

    def killed(model: Hodor) -> float:
        raise Killed

    def validate(model: Hodor) -> float:
        state = read_state(out)
        assert state is not None
        validated.append(len(losses_of(out)))
        saved.append(state.iteration)
        return 0.5

    with pytest.raises(Killed):
        run(photos, out, 4, validate=killed, val_every=3)
    assert run(photos, out, 4, resume=True, validate=validate, val_every=3).score == 0.5
    run(photos, out, 4, resume=True, validate=validate, val_every=3)
    assert validated == saved == [3, 4]


def test_the_prepared_workspace_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = make_blobs(tmp_path / "dataset_images" / "coco_2017_train")
    (made / "annotations").mkdir()
    (made / "instances.json").rename(made / "annotations" / "instances_train2017.json")
    monkeypatch.setenv("HODOR_WORKSPACE_DIR", str(tmp_path))
    assert run(None, tmp_path / "run", 1).iterations == 1


class Plain(TrainingSet):
    """A training set of grey pictures with one square; item 2 is white."""

    sizes = [(64, 64)] * 4
    object_counts = [1] * 4
    groups = [""] * 4

    def make(self, index: int, num_objects: int, rng: np.random.Generator, out_size: tuple[int, int]) -> TrainingSample:
        frames = np.full((3, 64, 64, 3), 255 if index == 2 else 90, np.uint8)
        masks = np.zeros((3, 64, 64), np.uint8)
        masks[:, 16:48, 16:48] = 1
        present = np.ones((3, 1), bool)
        return TrainingSample(frames, masks, np.ones((3, 64, 64), bool), present, f"picture {index}", present[:, 0])


class _SpoilWhite(torch.autograd.Function):
    """The identity, whose gradient is not a number where a picture is white."""

    @staticmethod
    def forward(context: Any, values: torch.Tensor, white: torch.Tensor) -> torch.Tensor:
        context.save_for_backward(white)
        return values.clone()

    @staticmethod
    def backward(context: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        (white,) = context.saved_tensors
        return torch.where(white, torch.full_like(gradient, float("nan")), gradient), None


def spoilt_model(what: str) -> Hodor:
    """A network whose loss or gradient is no number for white pictures."""

    def spoil(module: Any, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor:
        white = (inputs[0].flatten(1).amin(dim=1) > 0.99).view(-1, 1, 1, 1)
        if what == "gradient":
            return _SpoilWhite.apply(output, white)
        return torch.where(white, torch.full_like(output, float("nan")), output)

    model = build_model("toy")
    model.backbone.stem.register_forward_hook(spoil)
    return model


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_a_nan_is_stopped_and_its_sample_named(tmp_path: Path, what: str) -> None:
    model = spoilt_model(what)
    config = with_settings(train_preset("toy"), {"iterations": 30, "held_out": 0})
    plan = Plan(config, RunOptions(tmp_path, workers=0), model=model, sets=[Plain()])
    with pytest.raises(TrainingError, match=rf"the {what} is not a number in iteration \d+, at picture 2;"):
        fit(Process(), plan)
    # The step that would have spoilt the weights was not made.
    assert all(torch.isfinite(value).all() for value in model.state_dict().values())


def train_spoilt(process: Process, folder: Path, what: str) -> None:
    config = with_settings(train_preset("toy"), {"iterations": 30, "held_out": 0})
    fit(process, Plan(config, RunOptions(folder, workers=0), model=spoilt_model(what), sets=[Plain()]))


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_a_nan_in_one_of_two_processes_stops_both_and_its_sample_is_named(tmp_path: Path, what: str) -> None:
    """Each has one sample of a batch, so that at most one of them has the white picture."""
    settings = LaunchSettings(processes=2)
    with pytest.raises(TrainingError, match=rf"the {what} is not a number in iteration \d+, at picture 2;"):
        in_processes(layout_of(settings), train_spoilt, tmp_path, what)


def train_until_the_second_is_killed(process: Process, folder: Path) -> None:
    class Deadly(Plain):
        made = 0

        def make(self, *arguments: Any) -> TrainingSample:
            self.made += 1
            if process.rank == 1 and self.made == 4:
                os.kill(os.getpid(), signal.SIGKILL)
            return super().make(*arguments)

    config = with_settings(train_preset("toy"), {"iterations": 30, "held_out": 0})
    fit(process, Plan(config, RunOptions(folder, workers=0), model=build_model("toy"), sets=[Deadly()]))


def test_the_last_iteration_is_saved_if_another_process_is_killed(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="one of 2 processes was killed"):
        in_processes(layout_of(LaunchSettings(processes=2)), train_until_the_second_is_killed, tmp_path)
    state = read_state(tmp_path)
    assert state is not None and state.iteration == 3


def test_a_backbone_is_started_from_a_file(photos: Path, tmp_path: Path) -> None:
    model = build_model("toy")
    convolutions = [module for module in model.backbone.modules() if isinstance(module, Conv)]
    tensors = {}
    for number, conv in enumerate(convolutions):
        tensors |= {f"conv{number:02d}.weight": conv.weight.data, f"conv{number:02d}.bias": conv.bias.data}
    save_file(tensors, tmp_path / "backbone.safetensors")
    frozen = {"backbone_rate": 0.0, "learning_rate.peak": 1e-9}
    result = run(photos, tmp_path / "run", 1, backbone=tmp_path / "backbone.safetensors", settings=frozen)
    trained = load_model(result.last)
    assert torch.allclose(trained.backbone.stem.weight, model.backbone.stem.weight)
    with pytest.raises(UsageError, match=r"`weights`.*`backbone`"):
        run(photos, tmp_path / "b", backbone=tmp_path / "backbone.safetensors", weights=result.last)
    del tensors["conv03.weight"]
    save_file(tensors, tmp_path / "half.safetensors")
    with pytest.raises(WeightsError, match="conv03 should be"):
        run(photos, tmp_path / "b", backbone=tmp_path / "half.safetensors")


def test_a_swin_backbone_is_started_from_the_published_names(tmp_path: Path) -> None:
    sizes = {"embed_channels": 8, "depths": (1, 2), "heads": (1, 2), "window": 7, "mlp_ratio": 2, "drop_path": 0.0}
    published, own = Swin(**sizes), Swin(**sizes)
    state = {name: value for name, value in published.state_dict().items() if not name.startswith("norms.")}
    extra = {"norm.weight": torch.ones(16), "head.weight": torch.ones(3, 16)}
    torch.save({"model": {**state, **extra}}, tmp_path / "swin.pth")
    load_imagenet_backbone(own, tmp_path / "swin.pth")
    assert all(torch.equal(own.state_dict()[name], value) for name, value in state.items())
    torch.save({"model": extra}, tmp_path / "other.pth")
    with pytest.raises(WeightsError, match="does not fit the backbone"):
        load_imagenet_backbone(own, tmp_path / "other.pth")


def test_any_other_backbone_is_started_from_its_own_names(tmp_path: Path) -> None:
    own, published = (torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1)) for _ in range(2))
    save_file(published.state_dict(), tmp_path / "own.safetensors")
    load_imagenet_backbone(own, tmp_path / "own.safetensors")
    assert torch.equal(own[0].weight, published[0].weight)
    save_file({"head.weight": torch.ones(3)}, tmp_path / "other.safetensors")
    with pytest.raises(WeightsError, match="does not fit the backbone"):
        load_imagenet_backbone(own, tmp_path / "other.safetensors")
