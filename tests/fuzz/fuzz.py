"""Run the commands on damaged files and say what went wrong: python -m fuzz.fuzz --runs 2000 --seed 1

A run is right when it ends in time with an exit code of hodor's own, not by a signal or as a fault of hodor (70); when
it says `error:` exactly once if and only if it failed; and when it leaves alone what lies outside its folder.
"""

from __future__ import annotations

import argparse
import faulthandler
import importlib
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from random import Random

# Before PyTorch is imported: its threads do not survive a fork, and a run that waits for them hangs.
os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")

from fuzz.inputs import make_inputs
from fuzz.mutations import mutate

#: Seconds until a run counts as hanging: each takes less than one on a quiet machine.
TIME_LIMIT = 120.0
#: Bytes of address space that a run may take beyond those of this process.
MEMORY = 6 << 30
_TOY = "--weights toy.safetensors --device cpu"

#: What is damaged (a pattern below the inputs), and the command that reads it.
SCENARIOS: tuple[tuple[str, str], ...] = (
    ("clip.mp4", f"segment clip.mp4 --mask mask.png {_TOY} -o out"),
    ("clip.gif", f"segment clip.gif --mask mask.png {_TOY} -o out"),
    ("pages.tif", f"segment pages.tif --mask mask.png {_TOY} -o out"),
    ("frames/*", f"segment frames --mask masks {_TOY} -o out"),
    ("masks/*", f"segment frames --mask masks {_TOY} -o out"),
    ("mask.png", f"segment clip.mp4 --mask mask.png {_TOY} -o out"),
    ("rgb.png", f"segment clip.mp4 --mask rgb.png {_TOY} -o out"),
    ("mask.npy", f"segment clip.mp4 --mask mask.npy {_TOY} -o out"),
    ("toy.safetensors", f"segment clip.mp4 --mask mask.png {_TOY} -o out"),
    ("toy.safetensors", "weights verify toy.safetensors"),
    ("toy.safetensors", "weights describe toy.safetensors"),
    ("toy.safetensors", "weights average toy.safetensors toy.safetensors -o mean.safetensors"),
    ("toy.pth", "weights describe toy.pth"),
    ("toy.pth", "segment clip.mp4 --mask mask.png --weights toy.pth -o out"),
    ("stopped/.progress/*", f"segment clip.mp4 --mask mask.png {_TOY} -o stopped --resume"),
    ("stopped/masks/*", f"segment clip.mp4 --mask mask.png {_TOY} -o stopped --resume"),
    ("result/report.json", f"segment clip.mp4 --mask mask.png {_TOY} -o result --overwrite"),
    ("result/report.json", f"segment clip.mp4 --mask mask.png {_TOY} -o result --resume"),
    ("result/report.json", f"export-descriptors result {_TOY} -o new.h5"),
    ("result/masks/*", f"export-descriptors result {_TOY} -o new.h5"),
    ("list.txt", f"segment-many list.txt --masks first {_TOY} -o out"),
    ("first/*", f"segment-many list.txt --masks first {_TOY} -o out"),
    ("davis/Annotations/480p/ball/*", "evaluate davis --predictions masks --workers 1"),
    ("masks/*", "evaluate davis --predictions masks --workers 1 -o scores"),
    ("davis/ImageSets/2017/val.txt", "evaluate davis --predictions masks --workers 1"),
    ("davis/JPEGImages/480p/ball/*", f"evaluate davis {_TOY} -o scores"),
    ("youtube/meta.json", "evaluate youtube --predictions masks --workers 1"),
    ("youtube/meta.json", "data check youtube --full"),
    ("eval/results.json", "evaluate --compare eval/results.json eval/results.json"),
    ("photos/instances.json", "data check photos --full --min-area 10 --min-side 3"),
    ("photos/instances.json", "data preview photos --count 1 --preset toy -o sheet.png"),
    ("photos/instances.json", f"export-descriptors photos {_TOY} -o new.h5"),
    ("photos/*.jpg", "data check photos --full --min-area 10 --min-side 3"),
    ("objects.h5", "retrieval objects.h5 --query objects.h5#clip/1"),
    ("objects.h5", "retrieval objects.h5 --pr-curve"),
    ("objects.h5", "map objects.h5 --method pca -o map"),
    ("objects.h5", f"segment clip.mp4 --from objects.h5#clip/1 {_TOY} -o out"),
    ("objects.h5", f"export-descriptors result {_TOY} -o objects.h5"),
    ("run/run.json", "pretrain --data photos --preset toy --iterations 1 --batch-size 1 --workers 0 -o run --resume"),
)  # fmt: skip


@dataclass(frozen=True)
class Finding:
    """One run that went wrong."""

    number: int
    command: str
    damage: str
    problem: str
    said: str

    def __str__(self) -> str:
        return f"run {self.number}: {self.problem}\n  {self.damage}\n  hodor {self.command}\n  {self.said[:1500]}"


def fuzz(runs: int, seed: int, *, first: int = 0, inputs: Path | None = None, say: bool = False) -> list[Finding]:
    """Make `runs` runs, of which each depends on the seed and its number only; returns those that went wrong.

    inputs: where the valid files lie, or are written first; None makes them anew.
    """
    findings = []
    with tempfile.TemporaryDirectory(prefix="hodor-fuzz-") as temporary:
        inputs = inputs or Path(temporary) / "inputs"
        if not inputs.is_dir():
            _make_inputs_apart(_made(inputs))
        for number in range(first, first + runs):
            finding = _one_run(inputs, _made(Path(temporary) / f"run{number}" / "work"), number, seed)
            shutil.rmtree(Path(temporary) / f"run{number}", ignore_errors=True)
            if finding is not None:
                findings.append(finding)
                if say:
                    print(finding, flush=True)
    return findings


def _make_inputs_apart(folder: Path) -> None:
    """Make the inputs in a fork: libraries that read video keep threads, without which later forks would hang.

    The modules that it needed are then imported here, so that the runs need not do it.
    """
    modules = folder.parent / "modules"
    child = os.fork()
    if child == 0:
        code = 1
        try:
            make_inputs(folder)
            modules.write_text("\n".join(name for name in sys.modules if name.startswith("hodor_cli")))
            code = 0
        finally:
            os._exit(code)
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
        raise RuntimeError("the inputs could not be made")
    for name in modules.read_text().split():
        importlib.import_module(name)


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


def _one_run(inputs: Path, work: Path, number: int, seed: int) -> Finding | None:
    random = Random(f"{seed}/{number}")
    pattern, command = random.choice(SCENARIOS)
    for entry in inputs.iterdir():
        (shutil.copytree if entry.is_dir() else shutil.copy2)(entry, work / entry.name)
    canary = work.parent / "canary.png"
    canary.write_text("mine")
    files = sorted(path for path in work.glob(pattern) if path.is_file())
    target = random.choice(files)
    damage = "; ".join(mutate(target, random) for _ in range(random.choice((1, 1, 1, 2))))
    code, said = run_forked(command.split(), work)
    problem = _problem(code, said)
    if problem is None and sorted(path.name for path in work.parent.iterdir()) != ["canary.png", "said", "work"]:
        problem = f"wrote outside its folder: {sorted(path.name for path in work.parent.iterdir())}"
    return None if problem is None else Finding(number, command, damage, problem, said)


def _problem(code: int, said: str) -> str | None:
    errors = sum(line.startswith("error: ") for line in said.splitlines())
    if code < 0:
        return "hangs" if code == -signal.SIGKILL else f"ended by signal {-code}"
    if code == 70 or "Traceback" in said or code not in range(9):
        return f"exit code {code}"
    if "\x1b" in said:
        return "printed a terminal escape"
    # Where several things are done (many videos, weights, results), each fault is a line of its own.
    if (code == 0 and errors) or errors > 1:
        return f"exit code {code} with {errors} errors"
    return None


def run_forked(arguments: list[str], folder: Path) -> tuple[int, str]:
    """The exit code (negative: the signal) and output of a command in a fork of this process, which stays clean."""
    said = folder.parent / "said"
    child = os.fork()
    if child == 0:
        _be_the_command(arguments, folder, said)
    began = time.monotonic()
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            break
        if time.monotonic() - began > TIME_LIMIT:
            os.kill(child, signal.SIGKILL)
        time.sleep(0.005)
    return os.waitstatus_to_exitcode(status), said.read_text(encoding="utf-8", errors="replace")


def _be_the_command(arguments: list[str], folder: Path, said: Path) -> None:
    """In the child: run the command with its output in a file, and leave. Does not return."""
    code = 99
    try:
        os.chdir(folder)
        handle = os.open(said, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        faulthandler.dump_traceback_later(TIME_LIMIT - 2, file=2)  # says where a run hangs
        sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
        os.environ["HODOR_CACHE_DIR"] = str(folder / "cache")
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
        from hodor_cli.cli import app
        from hodor_cli.cli.terminal import prepare_streams

        prepare_streams()
        app(arguments, prog_name="hodor")
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0
    finally:
        sys.stdout.flush()
        os._exit(code)


def main() -> int:
    """The command line: prints each finding, and the kinds of them at the end."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="number of the first run, to repeat one")
    parser.add_argument("--inputs", type=Path, help="folder for the valid files; used again if it is there")
    options = parser.parse_args()
    began = time.monotonic()
    findings = fuzz(options.runs, options.seed, first=options.first, inputs=options.inputs, say=True)
    for problem, count in Counter(finding.problem for finding in findings).most_common():
        print(f"{count} x {problem}")
    print(f"{options.runs} runs, {len(findings)} wrong, {time.monotonic() - began:.0f} seconds")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
