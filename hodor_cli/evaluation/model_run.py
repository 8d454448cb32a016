"""Runs a model on a data set: every sequence from its own reference masks, scored along the way."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from hodor_cli.datasets.dataset import Dataset, VideoSequence
from hodor_cli.datasets.folders import masks_in
from hodor_cli.datasets.labels.decode import LabelReader
from hodor_cli.errors import DataError, HodorError, OutputError
from hodor_cli.evaluation.predictions import score_masks
from hodor_cli.evaluation.results import Scored, Timing
from hodor_cli.evaluation.scoring import Rules, SequenceScorer, require_frames, rules_of
from hodor_cli.evaluation.settings import OnStart, Progress, Start, StepSegmenter
from hodor_cli.files import write_result, writing
from hodor_cli.images.label_png import checked_labels, write_label_png
from hodor_cli.images.paths import listed, plural, size_text
from hodor_cli.images.picture import read_picture
from hodor_cli.records import is_report
from hodor_cli.weights.tensor_files import file_sha256


class _Record(msgspec.Struct):
    """Marks the masks of one sequence as complete, and says what they were made with. Holds no scores.

    given: the SHA-256 of each true mask that the network was given, by frame; older records have none.
    """

    identity: dict[str, Any]
    timing: Timing
    given: dict[str, str] = {}


@dataclass(frozen=True)
class MaskFolder:
    """Where a model's masks are kept: folder/predictions/SEQ/FRAME.png.

    identity: what the masks depend on (weights, history, ...). resume: sequences finished with the same identity are
    not run again; only their masks are scored again.
    """

    folder: Path
    identity: Mapping[str, Any]
    resume: bool = False

    def masks_of(self, name: str) -> Path:
        """The folder of a sequence's masks."""
        return self.folder / "predictions" / name

    def record_of(self, name: str) -> Path:
        """The file that marks a sequence as finished."""
        return self.folder / ".progress" / f"{name}.json"

    def finished(self, sequence: VideoSequence) -> Timing | None:
        """How long the sequence took; None unless it was finished with the same identity and given masks, and none of
        its masks is missing."""
        try:
            record = msgspec.json.decode(self.record_of(sequence.name).read_bytes(), type=_Record)
        except (OSError, msgspec.DecodeError):
            return None
        whole = set(sequence.images) <= set(masks_in(self.masks_of(sequence.name)))
        known = {frame: file_sha256(file) for frame, file in sequence.masks.items() if frame in record.given}
        whole = whole and known == record.given
        return record.timing if whole and record.identity == json.loads(json.dumps(self.identity)) else None

    def clear(self, name: str) -> None:
        """Remove a sequence's masks and record from an earlier run."""
        with writing(self.folder):
            self.record_of(name).unlink(missing_ok=True)
            if self.masks_of(name).is_dir():
                shutil.rmtree(self.masks_of(name))


def run_model(
    dataset: Dataset,
    segmenter: StepSegmenter,
    *,
    masks: MaskFolder | None = None,
    on_start: OnStart | None = None,
    progress: Progress | None = None,
) -> Scored:
    """Run every sequence of a data set. A sequence that fails is recorded, and the others continue.

    masks: where to keep the masks; None keeps only the scores. Raises OutputError if they cannot be written.
    """
    run, rules = Scored(), rules_of(dataset)
    if masks is not None and not masks.resume:
        for name in dataset.sequences:
            masks.clear(name)
    total, done = sum(map(len, dataset.sequences.values())), 0

    def advance(frames: int) -> None:
        if progress is not None:
            progress(done + frames, total)

    for name, sequence in dataset.sequences.items():
        try:
            if masks is None or not masks.resume or not _take_finished(run, sequence, masks, rules):
                _check(sequence, rules)
                _run_sequence(run, sequence, segmenter, masks, rules, on_start, advance)
        except OutputError:
            raise
        except HodorError as error:
            run.failed[name] = str(error)
        except Exception as error:  # one sequence must not stop the others
            run.failed[name] = f"{name} could not be run ({type(error).__name__}: {' '.join(str(error).split())[:200]})"
        done += len(sequence)
        advance(0)
    return run


def _take_finished(run: Scored, part: VideoSequence, masks: MaskFolder, rules: Rules) -> bool:
    """Score the masks of an earlier run if it finished the sequence with the same identity; otherwise remove them."""
    timing = masks.finished(part)
    if timing is None:
        if masks.record_of(part.name).exists():
            why = "it was made with other settings or given masks, or masks are missing"
            run.notes.append(f"{part.name} is run again, because {why}")
        masks.clear(part.name)
        return False
    run.timings[part.name] = timing
    run.kept.append(part.name)
    run.places[part.name] = masks.masks_of(part.name)
    if part.has_truth:
        run.scores[part.name] = score_masks(part, run.places[part.name], rules)
    return True


def require_images(sequence: VideoSequence) -> None:
    """Raise DataError if a sequence has masks alone."""
    if not sequence.images:
        result = next(iter(sequence.masks.values()), Path()).parent.parent
        if is_report(result / "report.json"):
            way_out = f"give the data set that has the truth, and {result} as `predictions`"
            raise DataError(f"{result} is a result of `segment_source`, without the frames; to score it, {way_out}")
        wrong = f"{sequence.name} has masks but no images"
        raise DataError(f"{wrong}; add them, or score masks that exist with `predictions`")


def _check(sequence: VideoSequence, rules: Rules) -> None:
    """Raise DataError for a sequence that cannot be run or scored, before spending any time on it."""
    require_images(sequence)
    name = sequence.name
    if not sequence.masks:
        raise DataError(f"{name} has no masks, but a model needs the objects of the first frame")
    missing = [frame for frame in sequence.masks if frame not in sequence.images]
    if missing:
        wrong = f"{name} has no images for {plural(len(missing), 'labelled frame')}: {listed(missing, 8)}"
        raise DataError(wrong + (f"; it has {names}" if (names := sequence.check_names()) else ""))
    if sequence.has_truth:
        require_frames(name, len(sequence.masks), rules)


def _run_sequence(
    run: Scored,
    sequence: VideoSequence,
    segmenter: StepSegmenter,
    masks: MaskFolder | None,
    rules: Rules,
    on_start: OnStart | None,
    advance: Callable[[int], None],
) -> None:
    """Run one sequence. Each object's mask is given in the first frame in which the truth shows it."""
    name = sequence.name
    if masks is not None:
        with writing(masks.folder):
            masks.masks_of(name).mkdir(parents=True)
    segmenter.reset()
    reader = LabelReader(name)
    scorer = SequenceScorer(name, rules, reader) if sequence.has_truth else None
    started, network_seconds, seconds = False, 0.0, 0.0
    shown: dict[str, str] = {}
    for index, (frame, file) in enumerate(sequence.images.items()):
        truth = reader.read(sequence.masks[frame], frame) if frame in sequence.masks else None
        given = {} if truth is None else {object_id: truth.ids == object_id for object_id in truth.new}
        if given and masks is not None:
            shown[frame] = file_sha256(sequence.masks[frame])
        begun = time.perf_counter()
        image = read_picture(file)
        if truth is not None and truth.ids.shape != image.shape[:2]:
            sizes = f"{size_text(truth.ids.shape)} but {file.name} is {size_text(image.shape)}"
            raise DataError(f"{sequence.masks[frame]} is {sizes}; give masks of the images' size")
        if given and not started and on_start is not None:
            segmenter = on_start(segmenter, Start(image, given, list(sequence.images.values())[index + 1 :]))
        started = started or bool(given)
        stepped = time.perf_counter()
        result = segmenter.step(image, masks=given or None)
        predicted = checked_labels(result, f"the result of frame {frame} of {name}").copy()
        last = getattr(segmenter, "last", None)  # which other segmenters need not have
        network_seconds += float(getattr(last, "network_seconds", time.perf_counter() - stepped))
        if masks is not None:
            write_label_png(masks.masks_of(name) / f"{frame}.png", predicted)
        seconds += time.perf_counter() - begun
        run.notes += [f"{name}: {warning}" for warning in getattr(last, "warnings", ())]
        if scorer is not None and truth is not None:
            scorer.add(frame, truth, predicted)
        advance(index + 1)
    if scorer is not None:
        run.scores[name] = scorer.finish()
    run.timings[name] = Timing(len(sequence.images), network_seconds, seconds)
    if masks is not None:
        run.places[name] = masks.masks_of(name)
        record = _Record(dict(masks.identity), run.timings[name], shown)
        write_result(masks.record_of(name), msgspec.json.encode(record))
