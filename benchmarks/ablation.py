"""What does each part of training on photographs bring? Short runs that differ in one setting, scored on a benchmark.

    python benchmarks/ablation.py --data STILLS --backbone MOBILENET_V2 --davis DAVIS2016_DEV -o runs/ablation
    python benchmarks/ablation.py ... --rows base,"no averaging of weights" --precision bf16 --iterations 400

Each row is `hodor pretrain --preset mini` with one setting changed, and `hodor evaluate` of the result. All start from
the same backbone; the second row shows how much chance alone changes. Finished parts are kept in the folder, so the
same command continues where it was interrupted. A row takes minutes.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer
from as_command import as_command

#: Small frames and a quick warm-up, so that a few hundred iterations show a difference.
COMMON = {"batches.area": "36864", "learning_rate.warmup": "60", "learning_rate.peak": "6e-4", "average": "0.985"}

ROWS: dict[str, str] = {
    "base": "",
    "another seed": "--seed 1",
    "objects and background move together": "--set augment.independent=0",
    "nothing pasted": "--set augment.other_background=0 --set augment.distractor=0 --set augment.occluder=0",
    "the paper's augmentation": "--augment paper",
    "cue never left out": "--set drop_cue=0",
    "no averaging of weights": "--set average=0",
    "sources as they come": "--set batches.balance=1",
    "no zoom": "--set augment.view_scale=1,1 --set augment.frame_scale=1,1 --set augment.scale_jump=0",
    "no blur or compression": "--set augment.blur=0 --set augment.compression=0",
    "single images": "--sequence 1",
    "sequences of 5": "--sequence 5",
    "history never left out": "--set drop_history=0",
    "no elastic change of shape": "--set augment.elastic=0",
}


def main(
    data: Annotated[str, typer.Option(help="Photographs in COCO format.")],
    backbone: Annotated[str, typer.Option(help="ImageNet weights of the backbone.")],
    davis: Annotated[str, typer.Option(help="The benchmark to measure on.")],
    out: Annotated[Path, typer.Option("--out", "-o")] = Path("runs/ablation"),
    rows: Annotated[str | None, typer.Option(help="Names separated by commas; all if left out.")] = None,
    iterations: int = 400,
    precision: str = "auto",
    device: str = "auto",
) -> None:
    """Run the rows that are missing, and print the table."""
    names = list(ROWS) if rows is None else [name.strip() for name in rows.split(",")]
    unknown = [name for name in names if name not in ROWS]
    if unknown:
        raise typer.BadParameter(f"no row {', '.join(unknown)}; there are: {', '.join(ROWS)}")
    train = ["--data", data, "--backbone", backbone, "--iterations", str(iterations), "--precision", precision]
    found = {name: _row(name, out, [*train, "--device", device], [davis, "--device", device]) for name in names}
    print(f"\n| {iterations} iterations of 4 samples | changed | J&F | J | F | J&F, descriptors alone |")
    print("|---|---|---|---|---|---|")
    for name, scores in found.items():
        change = f"`{ROWS[name]}`" if ROWS[name] else ""
        print(f"| {name} | {change} | {' | '.join(f'{score:.1f}' for score in scores)} |")


def _row(name: str, out: Path, train: list[str], evaluate: list[str]) -> list[float]:
    """Train and measure a row, or read its earlier results: J&F, J, F, and J&F by descriptors alone, 0..100.

    train, evaluate: the arguments that all rows have in common.
    """
    folder = out / name.replace(" ", "-").replace("'", "")
    run = folder / "run"
    weights = run / "last.safetensors"
    if not (folder / "trained").exists():
        arguments = ["pretrain", "--preset", "mini", *train, "--resume", "-o", str(run), *ROWS[name].split()]
        for setting, value in COMMON.items():
            if f"--set {setting}=" not in ROWS[name]:  # the row sets it itself
                arguments += ["--set", f"{setting}={value}"]
        _hodor(arguments)
        (folder / "trained").touch()
    scores = []
    for part, more in (("all", []), ("descriptors", ["--no-matching"])):
        results = folder / f"{part}.json"
        if not results.exists():
            _hodor(["evaluate", *evaluate, "--weights", str(weights), "--json", str(results), *more])
        scores.append(json.loads(results.read_text(encoding="utf-8")))
    everything, alone = scores
    print(f"{name}: J&F {100 * everything['J&F']:.1f}, descriptors alone {100 * alone['J&F']:.1f}", flush=True)
    return [100 * value for value in (everything["J&F"], everything["J"], everything["F"], alone["J&F"])]


def _hodor(arguments: list[str]) -> None:
    """Run a `hodor` command and show its output. Exits if it fails."""
    if subprocess.run([sys.executable, "-m", "hodor_cli", *arguments]).returncode:
        sys.exit(f"hodor {arguments[0]} failed")


if __name__ == "__main__":
    as_command(main, __doc__)
