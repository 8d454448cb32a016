"""Interruptions at many moments: `python tests/fuzz/interruptions.py kill|ctrl-c|two|full-disk [--times N] [--seed N]`.

Real commands on small inputs are killed, interrupted, run twice at once, or run on a full disk (a small tmpfs, which
needs root on Linux). Then the run is resumed, and its masks are compared with those of an undisturbed run. Each fault
is a line on standard output; the last line counts them.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

_TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(_TESTS), str(_TESTS.parent)]

FRAMES, SIZE = 60, (64, 96)
#: How long a command may take to end once it has been interrupted, in seconds.
PATIENCE = 60.0
#: Sizes, in KiB, of the disks on which commands run out of space at different moments.
DISKS = (8, 32, 96, 192, 384)


@dataclass(frozen=True)
class Inputs:
    """Small inputs of every command."""

    video: Path
    mask: Path
    weights: Path
    photographs: Path
    davis: Path


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit code (negative for a signal; None for one that hung) and what it said."""

    code: int | None
    said: str

    def fault(self, codes: tuple[int, ...]) -> str | None:
        """What is wrong with this end, or None; `codes` are the exit codes that it may have."""
        if self.code is None:
            return "hangs"
        if self.code not in codes or "Traceback" in self.said or "error: unexpected" in self.said:
            return f"ends with {self.code}: {self.said.strip()[-300:]!r}"
        return None


def make_inputs(folder: Path) -> Inputs:
    """Write a video, the mask of its first frame, weights, photographs and a data set into `folder`."""
    from conftest import write_video
    from descriptor_helpers import toy_model
    from evaluation_fakes import davis, moving_labels, write_labels
    from training_fakes import make_blobs

    from hodor_cli.weights.checkpoint import save_checkpoint

    labels = moving_labels(FRAMES, size=SIZE)
    colours = np.array([(90, 90, 90), (200, 40, 40)], np.uint8)
    video, mask = folder / "clips/clip.mp4", folder / "masks/clip.png"
    mask.parent.mkdir()
    write_video(video, [colours[(frame > 0).astype(int)] for frame in labels])
    write_labels(mask, labels[0])
    save_checkpoint(folder / "toy.safetensors", toy_model(), {})
    photographs = make_blobs(folder / "photographs")
    davis(folder / "davis", {"one": labels[:12], "two": labels[:12]})
    return Inputs(video, mask, folder / "toy.safetensors", photographs, folder / "davis")


def start(where: Path, *arguments: object) -> subprocess.Popen[str]:
    """Start `hodor` with these arguments in the folder `where`."""
    where.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(_TESTS.parent)}
    command = [sys.executable, "-m", "hodor_cli", *map(str, arguments)]
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, cwd=where, env=environment, text=True, errors="replace", **pipes)  # type: ignore[call-overload, no-any-return]


def end(process: subprocess.Popen[str]) -> Ended:
    """Wait for a command; one that takes longer than PATIENCE is killed and counts as hanging."""
    try:
        said = process.communicate(timeout=PATIENCE)[1]
        return Ended(process.returncode, said)
    except subprocess.TimeoutExpired:
        process.kill()
        return Ended(None, process.communicate()[1])


def masks_of(folder: Path) -> dict[str, bytes]:
    """The masks of a result folder by name."""
    return {path.name: path.read_bytes() for path in sorted((folder / "masks").glob("*.png"))}


def segment(inputs: Inputs, *more: object) -> tuple[object, ...]:
    """The arguments of a small `hodor segment`."""
    return ("segment", inputs.video, "--mask", inputs.mask, "--weights", inputs.weights, "-o", "out", *more)


def interrupted(inputs: Inputs, work: Path, number: int, send: int, times: int, rng: random.Random) -> list[str]:
    """Send a signal to `times` runs, each at a moment of its own, and resume each of them."""
    began = time.monotonic()
    undisturbed = end(start(work / "whole", *segment(inputs)))
    length, expected = time.monotonic() - began, masks_of(work / "whole/out")
    faults = [] if undisturbed.code == 0 else [f"the undisturbed run: {undisturbed.said}"]
    for i in range(times):
        folder, moment = work / f"{number}-{i}", rng.uniform(0.0, 1.05 * length)
        process = start(folder, *segment(inputs))
        time.sleep(moment)
        process.send_signal(send)
        ended = end(process)
        # Python itself can be interrupted before hodor has begun, and ends by the signal then.
        wrong = ended.fault((0, -send) if send == signal.SIGKILL else (0, 130, -send))
        resumed = end(start(folder, *segment(inputs, "--resume")))
        wrong = wrong or resumed.fault((0,))
        if wrong is None and masks_of(folder / "out") != expected:
            wrong = f"has other masks than the undisturbed run ({len(masks_of(folder / 'out'))} of {len(expected)})"
        if wrong is not None:
            faults.append(f"signal {send} after {moment:.2f} s of {length:.2f} s: {wrong}")
    return faults


def two_at_once(inputs: Inputs, work: Path, times: int, rng: random.Random) -> list[str]:
    """Start a second run on the folder of a live one; the first must end as if alone and the second be refused."""
    end(start(work / "whole", *segment(inputs)))
    expected, faults = masks_of(work / "whole/out"), []
    for i in range(times):
        folder, flag = work / f"two-{i}", ("--resume", "--overwrite", None)[i % 3]
        first = start(folder, *segment(inputs))
        # Once the folder is there, the first run has it; the second starts while frames are still computed.
        while first.poll() is None and not (folder / "out").exists():
            time.sleep(0.01)
        first.send_signal(signal.SIGSTOP)
        second = start(folder, *segment(inputs, *([flag] if flag else [])))
        time.sleep(rng.uniform(0.0, 2.0))
        seen = end(second)
        first.send_signal(signal.SIGCONT)
        wrong = seen.fault(tuple(range(1, 70))) or end(first).fault((0,))
        if wrong is None and masks_of(folder / "out") != expected:
            wrong = "the first run's masks differ"
        if wrong is not None:
            faults.append(f"second run with {flag}: {wrong}")
    return faults


def writing_commands(inputs: Inputs, result: Path, store: Path) -> dict[str, tuple[object, ...]]:
    """Each writing command with outputs in the folder `out` where it runs."""
    weights = ("--weights", inputs.weights)
    train = ("--data", inputs.photographs, "--preset", "toy", "--iterations", 6, "--workers", 0)
    return {
        "segment": segment(inputs, "--descriptors", "out.h5"),
        "export-descriptors": ("export-descriptors", result, *weights, "-o", "out.h5"),
        "evaluate": ("evaluate", inputs.davis, *weights, "-o", "out"),
        "pretrain": ("pretrain", *train, "-o", "out"),
        "map": ("map", store, "-o", "out"),
        "heatmaps": ("heatmaps", inputs.video, "--mask", inputs.mask, *weights, "--frame", 3, "-o", "out.png"),
        "retrieval": ("retrieval", store, "--query", f"{store}#clip/1", "-o", "out.png"),
        "data preview": ("data", "preview", inputs.photographs, "-o", "out.png"),
        "segment-many": ("segment-many", inputs.video.parent, "--masks", inputs.mask.parent, *weights, "-o", "out"),
        "export": ("export", result, "--to", "prores,matte,coco,labelme,csv,cutouts", "--frames", "-o", "out"),
        "convert": ("convert", inputs.photographs, "out", "--to", "yolo", "--frames"),
        "look": ("look", inputs.video, "--mask", inputs.mask, "-o", "out.png"),
        "suggest": ("suggest", result, "-o", "out.png"),
        "export-onnx": ("export-onnx", *weights, "--size", "96x64", "-o", "out"),
    }


def on_full_disks(inputs: Inputs, work: Path) -> list[str]:
    """Run every writing command on disks too small for its results."""
    result, store, faults = work / "whole/out", work / "whole/out.h5", []
    end(start(work / "whole", *segment(inputs, "--descriptors", "out.h5")))
    for name, command in writing_commands(inputs, result, store).items():
        for size in DISKS:
            disk = work / "disk"
            disk.mkdir(exist_ok=True)
            mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}k", "tmpfs", str(disk)], check=False)
            if mounted.returncode:
                return ["no tmpfs can be mounted here: run this as root on Linux"]
            try:
                wrong = end(start(disk, *command)).fault((0, 1, *range(3, 70)))  # 2 is a misspelt command
                left = [path.name for path in disk.rglob("*") if path.name.endswith((".tmp", ".part"))]
            finally:
                subprocess.run(["umount", str(disk)], check=True)
            if wrong is not None or left:
                faults.append(f"{name} on a disk of {size} KiB: {wrong or f'leaves {left} behind'}")
    return faults


def main() -> int:
    """Run one kind of interruption and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=("kill", "ctrl-c", "two", "full-disk"))
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # what runs in the background may have inherited none
    rng = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        inputs = make_inputs(work)
        kinds: dict[str, Callable[[], list[str]]] = {
            "kill": lambda: interrupted(inputs, work, 0, signal.SIGKILL, options.times, rng),
            "ctrl-c": lambda: interrupted(inputs, work, 1, signal.SIGINT, options.times, rng),
            "two": lambda: two_at_once(inputs, work, options.times, rng),
            "full-disk": lambda: on_full_disks(inputs, work),
        }
        faults = kinds[options.kind]()
    for fault in faults:
        print(fault)
    print(f"{options.kind}: {len(faults)} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
