"""Several processes on the CPU."""

from __future__ import annotations

import dataclasses
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from training_fakes import losses_of, make_blobs, start

import hodor_cli
from hodor_cli.errors import DataError, DeviceError, UsageError
from hodor_cli.formats.opening import open_set
from hodor_cli.model import build_model
from hodor_cli.samples.settings import ClipOptions
from hodor_cli.samples.sources import build_sets
from hodor_cli.training.config import train_preset
from hodor_cli.training.launch import Process, in_processes, layout_of
from hodor_cli.training.loop import fit
from hodor_cli.training.options import LaunchSettings, RunOptions
from hodor_cli.training.plan import Plan
from hodor_cli.weights import load_checkpoint


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_blobs(tmp_path_factory.mktemp("photos") / "set")


def test_two_processes_with_half_the_batch_each_follow_one(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As many threads as here: the order of a sum, and so its last bits, may depend on their number.
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.setenv(name, str(torch.get_num_threads()))
    settings = {"iterations": 5, "batch_size": 4}
    common = {"preset": "toy", "workers": 0, "settings": settings, "sheet_every": 1000}
    exact = LaunchSettings(precision="fp32")
    alone = start(hodor_cli.pretrain, photos, out=tmp_path / "one", launch=exact, **common)
    before = dict(os.environ)
    both = dataclasses.replace(exact, processes=2)
    two = start(hodor_cli.pretrain, photos, out=tmp_path / "two", launch=both, **common)
    assert dict(os.environ) == before
    assert two.iterations == 5
    # Halves of a batch are rounded differently on some CPUs, and one kink may then be taken on its other side: 2e-4.
    assert losses_of(two.folder) == pytest.approx(losses_of(alone.folder), abs=1e-3)
    ours, theirs = (load_checkpoint(result.last).state_dict for result in (two, alone))
    assert all(torch.allclose(ours[name], theirs[name], atol=1e-3) for name in theirs)


def test_two_machines_follow_one(photos: Path, tmp_path: Path) -> None:
    """The same command on each of two machines, here two processes that meet at an address and share a folder."""
    root = Path(__file__).resolve().parent.parent
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])

    def begin(folder: str, *flags: str, **environ: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "hodor_cli", "pretrain", "--preset", "toy", "--data", str(photos), *flags]
        command += ["--iterations", "3", "--batch-size", "4", "--workers", "0", "-o", str(tmp_path / folder)]
        command += ["--precision", "fp32"]
        places = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "PYTHONPATH": str(root)}
        return subprocess.Popen(
            command, env={**os.environ, **places, **environ}, stderr=subprocess.PIPE, text=True, cwd=tmp_path
        )

    meet = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    runs = [begin("two", "--processes", "1", "--nodes", "2", NODE_RANK=rank, **meet) for rank in "01"]
    runs.append(begin("one"))
    for run in runs:  # all with one thread: the order of a sum may depend on their number
        _, said = run.communicate(timeout=300)
        assert run.returncode == 0, said
    assert losses_of(tmp_path / "two") == pytest.approx(losses_of(tmp_path / "one"), abs=1e-4)


def test_a_fault_in_one_of_several_processes_is_its_own_sentence(tmp_path: Path) -> None:
    broken = make_blobs(tmp_path / "set")
    for picture in (broken / "images").iterdir():
        picture.write_bytes(b"no picture")  # what a quick check does not open
    with pytest.raises(DataError, match=r"png is not an image that can be read"):
        start(
            hodor_cli.pretrain,
            broken,
            out=tmp_path / "run",
            preset="toy",
            workers=0,
            launch=LaunchSettings(processes=2),
        )


def train_here(process: Process, photos: Path, folders: list[Path]) -> None:
    """Resume in a folder of the process's own, as on machines that share no disk."""
    config = train_preset("toy")
    sets, _ = build_sets([open_set(photos)], [1.0], ClipOptions(), config.limits, config.augment, config.held_out)
    plan = Plan(config, RunOptions(folders[process.rank], resume=True, workers=0), model=build_model("toy"), sets=sets)
    fit(process, plan)


def test_processes_that_see_different_runs_are_refused(photos: Path, tmp_path: Path) -> None:
    began = start(hodor_cli.pretrain, photos, out=tmp_path / "a", preset="toy", workers=0, settings={"iterations": 1})
    (tmp_path / "b").mkdir()
    before = began.last.read_bytes()
    settings = LaunchSettings(processes=2)
    with pytest.raises(UsageError, match=r"the processes do not see the same run in .*; all machines must share `out`"):
        in_processes(layout_of(settings), train_here, photos, [began.folder, tmp_path / "b"])
    assert began.last.read_bytes() == before
    assert not any((tmp_path / "b").iterdir())


def wait_or_die(process: Process) -> None:
    if process.rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    process.barrier()


def test_a_killed_process_is_one_sentence_with_a_way_out() -> None:
    with pytest.raises(DeviceError, match=r"one of 2 processes was killed, .* continue with `resume` and fewer"):
        in_processes(layout_of(LaunchSettings(processes=2)), wait_or_die)


def test_a_script_that_starts_processes_when_it_is_imported_is_told_how_to_avoid_it(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(_SLEEPS.replace('if __name__ == "__main__":', "if True:"))
    ended = subprocess.run([sys.executable, script, tmp_path], capture_output=True, text=True, check=False)
    assert ended.stderr.splitlines()[-1].startswith("hodor_cli.errors.UsageError: a process ended before it began;")
    assert not list(tmp_path.glob("began*"))


def test_callbacks_that_cannot_be_sent_to_processes_are_refused_before_anything_starts(
    photos: Path, tmp_path: Path
) -> None:
    callbacks = hodor_cli.Callbacks(note=lambda _: None)
    with pytest.raises(UsageError, match="`callbacks` cannot be sent to several processes"):
        hodor_cli.pretrain(
            photos, hodor_cli.Recipe("toy"), RunOptions(tmp_path / "run"), LaunchSettings(processes=2), callbacks
        )
    assert not (tmp_path / "run").exists()


def test_uneven_shares_are_refused_before_anything_starts(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="`batch_size=2` cannot be shared evenly by 3 processes"):
        start(hodor_cli.pretrain, photos, out=tmp_path / "run", preset="toy", launch=LaunchSettings(processes=3))
    with pytest.raises(UsageError, match=r"`micro_batch=4` does not divide `batch_size=12` \(6 per process\)"):
        start(
            hodor_cli.pretrain, photos, out=tmp_path / "run", preset="toy",
            settings={"batch_size": 12, "micro_batch": 4}, launch=LaunchSettings(processes=2),
        )  # fmt: skip
    assert not (tmp_path / "run").exists()


def test_more_gpus_than_there_are(photos: Path, tmp_path: Path) -> None:
    there = torch.cuda.device_count()
    with pytest.raises(DeviceError, match=rf"`gpus={there + 1}` asks for.*this machine has {there}"):
        start(hodor_cli.pretrain, photos, out=tmp_path / "run", preset="toy", launch=LaunchSettings(gpus=there + 1))


_SLEEPS = """
import sys, time
from pathlib import Path
from hodor_cli.training.launch import in_processes, layout_of
from hodor_cli.training.options import LaunchSettings

def sleep(process, folder):
    try:
        (folder / f"began{process.rank}").touch()
        time.sleep(600)
    except KeyboardInterrupt:
        (folder / f"ended{process.rank}").touch()

if __name__ == "__main__":
    in_processes(layout_of(LaunchSettings(processes=2)), sleep, Path(sys.argv[1]))
"""


def test_an_interrupt_reaches_the_processes_that_were_started(tmp_path: Path) -> None:
    """Interrupted alone, as `kill -INT` does; a terminal's Ctrl-C reaches all of them by itself."""
    script = tmp_path / "sleeps.py"
    script.write_text(_SLEEPS)
    begun = subprocess.Popen([sys.executable, script, tmp_path], stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        _wait_for(tmp_path / "began0", tmp_path / "began1")
        begun.send_signal(signal.SIGINT)
        _wait_for(tmp_path / "ended0", tmp_path / "ended1")
    finally:
        with suppress(ProcessLookupError):
            os.killpg(begun.pid, signal.SIGKILL)
        begun.wait()


_STARTS_SLOWLY = """
import os, sys, time
from pathlib import Path
from hodor_cli.training.launch import in_processes, layout_of
from hodor_cli.training.options import LaunchSettings

def arrive(folder):
    try:
        (folder / "first").mkdir()
    except FileExistsError:
        (folder / "second").touch()
        time.sleep(3)

class Late:
    def __reduce__(self):
        return arrive, (Path(sys.argv[1]),)

if __name__ == "__main__":
    try:
        in_processes(layout_of(LaunchSettings(processes=2)), print, Late())
    except KeyboardInterrupt:
        sys.exit(130)
"""


def test_an_interrupt_while_processes_start_ends_all_of_them(tmp_path: Path) -> None:
    """Without the second process, which the interrupt reaches first, the first one would wait for hours."""
    script = tmp_path / "starts.py"
    script.write_text(_STARTS_SLOWLY)
    begun = subprocess.Popen([sys.executable, script, tmp_path], stderr=subprocess.PIPE, start_new_session=True)
    try:
        _wait_for(tmp_path / "second")
        os.killpg(begun.pid, signal.SIGINT)  # as Ctrl-C does
        said = begun.communicate(timeout=120)[1].decode()
        assert begun.returncode == 130
        assert "Traceback" not in said
    finally:
        with suppress(ProcessLookupError):
            os.killpg(begun.pid, signal.SIGKILL)
        begun.wait()


def _wait_for(*files: Path) -> None:
    """Return when all files are there."""
    deadline = time.monotonic() + 120
    while not all(file.exists() for file in files):
        assert time.monotonic() < deadline, f"missing of {files}"
        time.sleep(0.1)
