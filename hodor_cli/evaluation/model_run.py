"""Running a model through a data set: every sequence from its own reference masks, scored while it runs."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from hodor_cli.datasets.dataset import Dataset, VideoSequence
from hodor_cli.datasets.folders import masks_in
from hodor_cli.datasets.labels.decode import LabelReader, Void
from hodor_cli.errors import DataError, HodorError, OutputError
from hodor_cli.evaluation.predictions import score_files, scoring_task
from hodor_cli.evaluation.results import Timing
from hodor_cli.evaluation.scoring import Rules, SequenceScore, SequenceScorer, require_frames, rules_of
from hodor_cli.evaluation.settings import OnStart, Progress, Start, StepSegmenter
from hodor_cli.files import write_result, writing
from hodor_cli.images.label_png import write_label_png
from hodor_cli.images.paths import listed, plural
from hodor_cli.images.picture import read_picture

_LISTED = 20
_MARKS = ".progress"


@dataclass
class ModelRun:
    """The results of a run, by sequence."""

    scores: dict[str, SequenceScore] = field(default_factory=dict)
    timings: dict[str, Timing] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    """Sequences that an earlier run had finished."""


@dataclass(frozen=True)
class MaskFolder:
    """Where a model's masks are kept: folder/predictions/SEQ/FRAME.png.

    identity: what the masks depend on (weights, history, ...). resume: sequences that were finished there under the
    same identity are not run again; their masks are scored again.
    """

    folder: Path
    identity: Mapping[str, Any]
    resume: bool = False


def run_model(
    dataset: Dataset,
    segmenter: StepSegmenter,
    *,
    masks: MaskFolder | None = None,
    limit: int | None = None,
    on_start: OnStart | None = None,
    progress: Progress | None = None,
) -> ModelRun:
    """Run every sequence of a data set; one that fails is noted and the others are run.

    Args:
        masks: Where the masks are kept; None keeps numbers only.
        limit: At most so many frames per sequence.
        progress: Called with frames done and frames in all.

    Raises:
        OutputError: the masks cannot be written.
    """
    run, rules = ModelRun(), rules_of(dataset)
    lengths = {name: min(len(sequence), limit or len(sequence)) for name, sequence in dataset.sequences.items()}
    done = 0
    for name, sequence in dataset.sequences.items():

        def advance(frames: int, before: int = done) -> None:
            if progress is not None:
                progress(before + frames, sum(lengths.values()))

        try:
            part = _limited(sequence, limit)
            mark = None if masks is None else Mark(masks.folder, name, masks.identity)
            if mark is None or masks is None or not (masks.resume and _take_finished(run, part, mark, rules)):
                _check(part, rules)
                _run_anew(run, part, segmenter, mark, rules, on_start, advance)
        except OutputError:
            raise
        except HodorError as error:
            run.failed[name] = str(error)
        except Exception as error:  # one sequence must not take the others with it
            run.failed[name] = f"{name} could not be run ({type(error).__name__}: {' '.join(str(error).split())[:200]})"
        done += lengths[name]
        advance(lengths[name])
    return run


def _take_finished(run: ModelRun, part: VideoSequence, mark: Mark, rules: Rules) -> bool:
    """Score the masks of an earlier run, if it finished the sequence under the same identity."""
    timing = mark.finished(part.images)
    if timing is None:
        if mark.path.exists():
            run.notes.append(f"{part.name} was made with other settings, or masks are missing, and is run again")
        return False
    run.timings[part.name] = timing
    run.kept.append(part.name)
    if part.has_truth:
        run.scores[part.name] = score_files(scoring_task(part, mark.folder, rules, mark.folder.parent))
    return True


def _run_anew(
    run: ModelRun,
    part: VideoSequence,
    segmenter: StepSegmenter,
    mark: Mark | None,
    rules: Rules,
    on_start: OnStart | None,
    advance: Callable[[int], None],
) -> None:
    """Run the model through one sequence and keep the results."""
    if mark is not None:
        mark.begin()
    folder = None if mark is None else mark.folder
    score, timing = _run_sequence(part, segmenter, rules, folder, run.notes, on_start, advance)
    run.timings[part.name] = timing
    if score is not None:
        run.scores[part.name] = score
    if mark is not None:
        mark.finish(timing)


class _Record(msgspec.Struct):
    """The file of a `Mark`."""

    identity: dict[str, Any]
    timing: Timing


class Mark:
    """Says that the masks of one sequence in `out` are whole, and what they were made with. Holds no scores."""

    def __init__(self, out: Path, name: str, identity: Mapping[str, Any]) -> None:
        self.out, self.identity = out, json.loads(json.dumps(identity))
        self.folder = out / "predictions" / name
        self.path = out / _MARKS / f"{name}.json"

    def finished(self, frames: Iterable[str]) -> Timing | None:
        """How long the sequence took, if it was finished under the same identity and has all its masks."""
        if not set(frames) <= set(masks_in(self.folder)):
            return None
        try:
            record = msgspec.json.decode(self.path.read_bytes(), type=_Record)
        except (OSError, msgspec.DecodeError):
            return None
        return record.timing if record.identity == self.identity else None

    def begin(self) -> None:
        """Clear what an earlier run left of this sequence."""
        with writing(self.out):
            self.path.unlink(missing_ok=True)
            if self.folder.is_dir():
                shutil.rmtree(self.folder)
            self.folder.mkdir(parents=True)

    def finish(self, timing: Timing) -> None:
        write_result(self.path, msgspec.json.encode(_Record(self.identity, timing)))


def remove_predictions(out: Path, names: Sequence[str]) -> None:
    """Remove the masks of these sequences that an earlier run left in `out`, and all its marks."""
    with writing(out):
        for name in names:
            folder = out / "predictions" / name
            if folder.is_dir():
                shutil.rmtree(folder)
        if (out / _MARKS).is_dir():
            shutil.rmtree(out / _MARKS)


def _limited(sequence: VideoSequence, limit: int | None) -> VideoSequence:
    if limit is None:
        return sequence
    images = dict(islice(sequence.images.items(), limit))
    masks = {name: file for name, file in sequence.masks.items() if name in images}
    return replace(sequence, images=images, masks=masks, known_truth=sequence.has_truth)


def _check(sequence: VideoSequence, rules: Rules) -> None:
    """Refuse what cannot be run or scored before any time goes into it."""
    name = sequence.name
    if not sequence.images:
        raise DataError(f"{name} has masks but no images; there is nothing to run a model on")
    if not sequence.masks:
        raise DataError(f"{name} has no masks; a model needs the objects of the first frame")
    missing = [frame for frame in sequence.masks if frame not in sequence.images]
    if missing:
        raise DataError(f"{name} has no images of {plural(len(missing), 'labelled frame')}: {listed(missing, _LISTED)}")
    if wrong := sequence.check_names():
        raise DataError(f"the masks of {name} may not belong to the frames that they are named like: {wrong}")
    if sequence.has_truth:
        require_frames(name, len(sequence.masks), rules)


def _run_sequence(
    sequence: VideoSequence,
    segmenter: StepSegmenter,
    rules: Rules,
    folder: Path | None,
    notes: list[str],
    on_start: OnStart | None,
    advance: Callable[[int], None],
) -> tuple[SequenceScore | None, Timing]:
    """One sequence from its first frame on. Masks are given where the truth shows an object for the first time."""
    segmenter.reset()
    reader = LabelReader(sequence.name, Void.APART)
    scorer = SequenceScorer(sequence.name, rules, reader) if sequence.has_truth else None
    started, network_seconds, seconds = False, 0.0, 0.0
    for index, (frame, file) in enumerate(sequence.images.items()):
        truth = reader.read(sequence.masks[frame], frame) if frame in sequence.masks else None
        given: dict[int, npt.NDArray[np.bool_]] = {}
        if truth is not None:
            given = {object_id: truth.ids == object_id for object_id in truth.new}
        begun = time.perf_counter()
        image = read_picture(file)
        if given and not started and on_start is not None:
            segmenter = on_start(segmenter, Start(image, given, list(sequence.images.values())[index + 1 :]))
        started = started or bool(given)
        predicted = segmenter.step(image, masks=given or None)
        network_seconds += float(segmenter.last.network_seconds)
        if folder is not None:
            write_label_png(folder / f"{frame}.png", predicted)
        seconds += time.perf_counter() - begun
        notes += [f"{sequence.name}: {warning}" for warning in segmenter.last.warnings]
        if scorer is not None and truth is not None:
            scorer.add(frame, truth, predicted)
        advance(index + 1)
    timing = Timing(len(sequence.images), network_seconds, seconds)
    return None if scorer is None else scorer.finish(), timing
