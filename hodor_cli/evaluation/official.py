"""The official DAVIS-2017 evaluation beside ours, where its package is installed."""

from __future__ import annotations

import contextlib
import io
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from PIL import Image

from hodor_cli.datasets.dataset import Dataset, VideoSequence
from hodor_cli.datasets.folders import masks_of_frames
from hodor_cli.datasets.labels.decode import is_binary, read_labels
from hodor_cli.errors import InputError, UsageError
from hodor_cli.evaluation.predictions import find_predictions
from hodor_cli.evaluation.scoring import DAVIS, rules_of

SOURCE = "git+https://github.com/davisvideochallenge/davis2017-evaluation"


def require_official(dataset: Dataset) -> None:
    """Raise UsageError when the official package is not installed or does not fit the data set."""
    if rules_of(dataset) != DAVIS:
        raise UsageError(f"`official` is for DAVIS and {dataset.root} is {dataset.layout}; leave it out")
    try:
        import davis2017.evaluation  # type: ignore[import-not-found,unused-ignore]  # noqa: F401
    except (ImportError, AttributeError) as error:
        raise UsageError(
            f"`official` needs the package davis2017-evaluation ({error}); install it: pip install {SOURCE}"
        ) from error


def run_official(dataset: Dataset, predictions: Path, names: Iterable[str]) -> dict[str, float]:
    """J, F and their recall and decay as the official package computes them, for these sequences.

    It reads a copy of the masks in a temporary folder. Binary truth (0 and 255) is rewritten as 0 and 1 there, because
    the package takes 255 for void. It holds whole sequences in memory, unlike ours.
    Raises UsageError when it is not installed, InputError when it refuses the masks (with what it said).
    """
    require_official(dataset)
    from davis2017.evaluation import DAVISEvaluation

    names = list(names)
    places = find_predictions(predictions, dataset.sequences)
    said = io.StringIO()
    with tempfile.TemporaryDirectory(prefix="hodor-official-") as temporary:
        root, results = Path(temporary) / "davis", Path(temporary) / "results"
        lists = root / "ImageSets" / "2017"
        lists.mkdir(parents=True)
        (lists / "val.txt").write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
        for name in names:
            _lay_out(dataset.sequences[name], places[name], root, results / name)
        # The package asks for a name that NumPy 1.24 dropped and 2.0 brought back.
        numpy = mock.patch.object(np, "bool", np.bool_, create=True)
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(io.StringIO()), numpy:
            try:
                evaluation = DAVISEvaluation(davis_root=str(root), task="semi-supervised", gt_set="val")
                found: dict[str, Any] = evaluation.evaluate(str(results))
            except SystemExit as error:
                reason = (said.getvalue().strip().splitlines() or ["it gave no reason"])[-1]
                raise InputError(f"the official evaluation refuses {predictions}: {reason}") from error
    names_of = {"M": "", "R": "_recall", "D": "_decay"}.items()
    means = {f"{metric}{end}": float(np.mean(found[metric][key])) for metric in "JF" for key, end in names_of}
    return {"J&F": (means["J"] + means["F"]) / 2, **means}


def _lay_out(sequence: VideoSequence, predictions: Path, root: Path, results: Path) -> None:
    """One sequence the way the package wants it."""
    images, masks = root / "JPEGImages" / "480p" / sequence.name, root / "Annotations" / "480p" / sequence.name
    for folder in (images, masks, results):
        folder.mkdir(parents=True)
    predicted, _ = masks_of_frames(predictions, sequence.frames)
    binary = bool(is_binary(sequence.name, sequence.masks.values()))
    for name, file in sequence.masks.items():
        (images / f"{name}.jpg").touch()  # counted, never read
        for source, folder in ((file, masks), (predicted.get(name), results)):
            if source is None:
                continue
            if binary:
                Image.fromarray((read_labels(source).ids != 0).astype(np.uint8)).save(folder / f"{name}.png")
            else:
                shutil.copyfile(source, folder / f"{name}.png")
