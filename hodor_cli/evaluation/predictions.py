"""Scores masks of any origin, in one folder per sequence, several sequences in parallel; also runs the official
DAVIS-2017 evaluation on them if its package is installed."""

from __future__ import annotations

import contextlib
import io
import multiprocessing
import sys
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import cv2
import numpy as np
from PIL import Image

from hodor_cli.datasets.dataset import Dataset, VideoSequence
from hodor_cli.datasets.folders import first_folders, folders_by_name, masks_in, masks_of_frames, suggestion
from hodor_cli.datasets.labels.decode import LabelReader, is_binary, read_labels
from hodor_cli.datasets.labels.mask_values import MASK_SUFFIXES, read_numbers
from hodor_cli.errors import HodorError, InputError, UsageError
from hodor_cli.evaluation.results import Scored
from hodor_cli.evaluation.scoring import DAVIS, Rules, SequenceScore, SequenceScorer, rules_of
from hodor_cli.evaluation.settings import Progress
from hodor_cli.images.paths import listed, require_exists, visible_files, visible_folders
from hodor_cli.runtime.threads import end_with_parent, forkable_opencv, usable_cores

_Task = tuple[VideoSequence, Path, Rules]


def score_predictions(
    dataset: Dataset, predictions: Path, *, workers: int | None = None, progress: Progress | None = None
) -> Scored:
    """Score the masks under `predictions` against the truth of all sequences that have it.

    predictions: SEQ/FRAME.png, possibly in a subfolder (predictions, Annotations/480p, ...); SEQ/masks/FRAME.png, as
    `hodor segment-many` writes them; or just FRAME.png for a data set of one sequence. Names must be those of the true
    masks. workers: number of processes, by default one per core.
    """
    sequences = {name: sequence for name, sequence in dataset.sequences.items() if sequence.has_truth}
    places, rules = find_predictions(predictions, sequences), rules_of(dataset)
    there = [place.name for place in visible_folders(predictions)]
    outcomes: dict[str, SequenceScore | str] = {
        name: f"{predictions} has no predictions of {name}{suggestion(name, there)}"
        for name in sequences
        if name not in places
    }
    tasks = [(sequences[name], places[name], rules) for name in places]
    total, done = sum(len(sequence.masks) for sequence, _, _ in tasks), 0
    for sequence, outcomes[sequence.name] in _run(tasks, workers):
        done += len(sequence.masks)
        if progress is not None:
            progress(done, total)
    scores = {name: found for name in sequences if not isinstance(found := outcomes[name], str)}
    failed = {name: outcome for name, outcome in outcomes.items() if isinstance(outcome, str)}
    return Scored(scores, failed, places)


def find_predictions(root: Path, sequences: Mapping[str, VideoSequence]) -> dict[str, Path]:
    """Sequence name -> folder of its predicted masks, for sequences that have any. Raises InputError if none has."""
    require_exists(root, "folder of predictions")
    if root.is_file():
        what = "a zip archive; unpack it and give" if root.suffix.lower() == ".zip" else "a file; give"
        raise InputError(f"{root} is {what} the folder of predicted masks")
    usual = [root, root / "predictions", root / "Annotations"]
    found: dict[Path, dict[str, Path]] = {}
    empty: list[Path] = []
    for place in dict.fromkeys([*usual, *visible_folders(root), *visible_folders(root / "Annotations")]):
        named = {name: folder for name, folder in folders_by_name(place).items() if name in sequences}
        found[place] = {name: masks for name, folder in named.items() if (masks := _masks_at(folder))}
        empty += named.values()
    most = max(map(len, found.values()))
    best = [place for place, masks in found.items() if masks and len(masks) == most]
    if len(best) > 1 and best[0] not in usual:
        several = listed((str(place.relative_to(root)) for place in best), 8)
        raise InputError(f"{root} holds the predictions of several methods: {several}; give the folder of one")
    if best:
        return {name: found[best[0]][name] for name in sequences if name in found[best[0]]}
    if len(sequences) == 1 and (masks := _masks_at(root)):
        return {next(iter(sequences)): masks}
    if empty:
        held = listed(visible_files(empty[0]), 3) or "no files"
        raise InputError(f"{empty[0]} holds no masks ({', '.join(MASK_SUFFIXES)} files); it holds {held}")
    raise InputError(f"{root} has no folder named like a sequence ({next(iter(sequences), '?')}){first_folders(root)}")


def _masks_at(folder: Path) -> Path | None:
    """The folder itself if it has masks, or else its subfolder `masks`, as in the results of `hodor segment`."""
    return next((place for place in (folder, folder / "masks") if masks_in(place)), None)


def score_masks(sequence: VideoSequence, folder: Path, rules: Rules) -> SequenceScore:
    """Read and score the masks of one sequence in `folder`, a frame at a time.

    Raises InputError, listing the frames, if predictions are missing.
    """
    names = list(sequence.masks)
    counted = set(names[1:-1] if rules.drop_last else names[1:])
    called = f"the predictions of {sequence.name}"  # the folder may be temporary
    files, match = masks_of_frames(folder, sequence.frames)
    missing = [name for name in names if name in counted and name not in files]
    if missing:
        example = next(iter(masks_in(folder).values()), None)
        hint = "the folder holds no masks" if example is None else f"the folder holds {example.name} and so on"
        if example is not None and len(missing) < len(counted):
            hint = "add their masks, named like the annotations"
        raise InputError(f"{sequence.name} has no prediction for frame {listed(missing, 20)}; {hint}")
    scorer = SequenceScorer(sequence.name, rules)
    reader = LabelReader(called, check_edges=False)
    for name, truth in sequence.masks.items():
        scorer.add(name, truth, reader.read(files[name], name).ids if name in counted else None)
    score = scorer.finish()
    notes = match.describe(called)
    if folder.resolve() == next(iter(sequence.masks.values())).parent.resolve():
        notes.append(f"{called} are its ground truth itself")
    notes += [note if sequence.name in note else f"{sequence.name}: {note}" for note in reader.notes]
    return replace(score, notes=(*notes, *score.notes))


def _run(tasks: list[_Task], workers: int | None) -> Iterator[tuple[VideoSequence, SequenceScore | str]]:
    """Yield each sequence with its score, or a sentence that says what is wrong, in the order in which they finish."""
    count = min(len(tasks), usable_cores() if workers is None else max(1, workers))
    if count <= 1 or sum(len(task[0].masks) for task in tasks) < 50:
        yield from ((task[0], _outcome(*task)) for task in tasks)
        return
    # Forks start fast; where forking is not safe, processes are spawned.
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    with forkable_opencv(), warnings.catch_warnings():
        # Python warns about forking a process with threads; the workers use no lock that another thread could hold.
        warnings.simplefilter("ignore", DeprecationWarning)
        pool = ProcessPoolExecutor(count, context, initializer=_begin)
        try:
            # The longest first, so that the cores finish at about the same time.
            longest_first = sorted(tasks, key=lambda task: -len(task[0].masks))
            waiting = {pool.submit(_outcome, *task): task[0] for task in longest_first}
            for future in as_completed(waiting):
                sequence = waiting[future]
                try:
                    yield sequence, future.result()
                except BrokenExecutor as error:  # a process was killed, probably for lack of memory
                    yield sequence, f"{sequence.name} lost its process ({error}); try fewer `workers`"
        finally:
            pool.shutdown(cancel_futures=True)


def _begin() -> None:
    """Prepare a worker: it ends with its parent, and uses one thread, because the processes already use all cores."""
    end_with_parent()
    cv2.setNumThreads(1)


def _outcome(sequence: VideoSequence, folder: Path, rules: Rules) -> SequenceScore | str:
    try:
        return score_masks(sequence, folder, rules)
    except HodorError as error:
        return str(error)
    except Exception as error:  # one sequence must not stop the others
        return f"{sequence.name} could not be scored ({type(error).__name__}: {error})"


SOURCE = "git+https://github.com/davisvideochallenge/davis2017-evaluation"


def require_official(dataset: Dataset) -> None:
    """Raise UsageError if the official package is not installed or does not support the data set."""
    if rules_of(dataset) != DAVIS:
        raise UsageError(f"`official` works only for DAVIS, but {dataset.root} is {dataset.layout}; leave it out")
    try:
        import davis2017.evaluation  # type: ignore[import-not-found,unused-ignore]  # noqa: F401
    except (ImportError, AttributeError) as error:
        raise UsageError(f"`official` needs davis2017-evaluation ({error}); pip install {SOURCE}") from error


def run_official(dataset: Dataset, places: Mapping[str, Path], names: Iterable[str]) -> dict[str, float]:
    """J, F and their recall and decay for the named sequences, as the official package computes them.

    places: the folder of each sequence's predicted masks. The package reads a copy of them in a temporary folder, in
    which binary masks (0 and 255) are rewritten as 0 and 1, because the package treats 255 as void. Unlike our code, it
    holds whole sequences in memory. Call `require_official` first. Raises InputError, with the package's reason, if it
    rejects the masks.
    """
    from davis2017.evaluation import DAVISEvaluation

    names = list(names)
    said = io.StringIO()
    with tempfile.TemporaryDirectory(prefix="hodor-official-") as temporary:
        root, results = Path(temporary) / "davis", Path(temporary) / "results"
        lists = root / "ImageSets" / "2017"
        lists.mkdir(parents=True)
        (lists / "val.txt").write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
        for name in names:
            _lay_out(dataset.sequences[name], places[name], root, results / name)
        # The package uses `np.bool`, which NumPy 1.24 removed and 2.0 restored.
        numpy = mock.patch.object(np, "bool", np.bool_, create=True)
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(io.StringIO()), numpy:
            try:
                evaluation = DAVISEvaluation(davis_root=str(root), task="semi-supervised", gt_set="val")
                found: dict[str, Any] = evaluation.evaluate(str(results))
            except SystemExit as error:
                reason = (said.getvalue().strip().splitlines() or ["it gave no reason"])[-1]
                raise InputError(f"the official evaluation refuses the masks: {reason}") from error
    names_of = {"M": "", "R": "_recall", "D": "_decay"}.items()
    means = {f"{metric}{end}": float(np.mean(found[metric][key])) for metric in "JF" for key, end in names_of}
    return {"J&F": (means["J"] + means["F"]) / 2, **means}


def _lay_out(sequence: VideoSequence, predictions: Path, root: Path, results: Path) -> None:
    """Write one sequence in the layout that the package expects."""
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
            ids = (read_labels(source).ids != 0).astype(np.uint8) if binary else read_numbers(source)
            if ids is None:
                raise InputError(f"{source} has colours, not ids; give `official` indexed or grey PNGs, or omit it")
            Image.fromarray(ids).save(folder / f"{name}.png")
