"""J and F of a sequence, frame by frame: memory does not grow with its length, because only scores are kept."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import zip_longest
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hodor_cli.datasets.dataset import Dataset
from hodor_cli.datasets.labels.decode import LabelReader, Labels, present_ids
from hodor_cli.datasets.labels.mask_values import LabelMap
from hodor_cli.errors import DataError, InputError
from hodor_cli.evaluation.metrics import Statistics, score_frame, statistics
from hodor_cli.evaluation.remarks import refuse_soft_map, starting_late, swapped_ids
from hodor_cli.images.label_png import checked_labels
from hodor_cli.images.paths import listed, plural, size_text


@dataclass(frozen=True)
class Rules:
    """Which objects and frames of a sequence count. The first labelled frame never does."""

    every_id: bool
    """True, as in the official DAVIS evaluation: the objects are all ids from 1 to the truth's largest, they count in
    all frames, and larger ids in predictions are an error. False: the objects are those in the truth, and each counts
    from the labelled frame after its first."""
    drop_last: bool
    """Whether the last labelled frame does not count either."""


DAVIS = Rules(every_id=True, drop_last=True)
DAVIS_LIKE = Rules(every_id=False, drop_last=True)
YOUTUBE_VOS = Rules(every_id=False, drop_last=False)


def rules_of(dataset: Dataset) -> Rules:
    """The rules of a data set's benchmark."""
    return {"davis-2016": DAVIS, "davis-2017": DAVIS, "youtube-vos": YOUTUBE_VOS}.get(dataset.kind, DAVIS_LIKE)


@dataclass(frozen=True)
class ObjectScore:
    """J and F (0..1) of one object in each frame that counts, with the names of these frames."""

    object_id: int
    frames: tuple[str, ...]
    j_values: npt.NDArray[np.float64]
    f_values: npt.NDArray[np.float64]

    def __repr__(self) -> str:  # without the values of every frame, so that results can be read
        return f"ObjectScore(object_id={self.object_id}, j={self.j:.4f}, f={self.f:.4f}, {len(self.frames)} frames)"

    @cached_property
    def j_statistics(self) -> Statistics:
        return statistics(self.j_values)

    @cached_property
    def f_statistics(self) -> Statistics:
        return statistics(self.f_values)

    @property
    def j(self) -> float:
        """Mean J."""
        return self.j_statistics.mean

    @property
    def f(self) -> float:
        """Mean F."""
        return self.f_statistics.mean

    @property
    def jf(self) -> float:
        """J&F: the mean of the two."""
        return (self.j + self.f) / 2


@dataclass(frozen=True)
class SequenceScore:
    """The scores of a sequence's objects, and remarks about how they were counted."""

    name: str
    objects: dict[int, ObjectScore]
    notes: tuple[str, ...] = ()

    @property
    def j(self) -> float:
        """Mean J over objects."""
        return float(np.mean([score.j for score in self.objects.values()]))

    @property
    def f(self) -> float:
        """Mean F over objects."""
        return float(np.mean([score.f for score in self.objects.values()]))

    @property
    def jf(self) -> float:
        """J&F: the mean of the two."""
        return (self.j + self.f) / 2


def score_sequence(
    truth: Iterable[LabelMap],
    predictions: Iterable[LabelMap],
    *,
    name: str = "sequence",
    rules: Rules = DAVIS,
) -> SequenceScore:
    """Score predicted label maps against true ones, frame by frame. Both may be (T, H, W) arrays or generators.

        from hodor_cli.evaluation.scoring import YOUTUBE_VOS

        score = score_sequence(true_labels, predicted_labels, rules=YOUTUBE_VOS)
        print(score.jf, score.objects[1].j)

    Args:
        truth: Label maps (H, W) of the labelled frames, starting with the first: object ids, 0 background, 255 void; or
            only 0 and 255, where 255 is the object.
        predictions: The same number of label maps of the same size. Those of frames that do not count are ignored.
        name: The sequence's name in messages and results.
        rules: What counts: `DAVIS` (the official evaluation), `DAVIS_LIKE` or `YOUTUBE_VOS`.

    Raises:
        InputError: a prediction has the wrong size or ids that the rules do not allow, or their number is wrong.
        DataError: the truth has mixed sizes, no objects, or no frame that counts.
    """
    scorer = SequenceScorer(name, rules)
    missing = object()
    for index, (true, predicted) in enumerate(zip_longest(truth, predictions, fillvalue=missing)):
        if true is missing or predicted is missing:
            raise InputError(f"{name} has {'more' if true is missing else 'fewer'} predictions than labelled frames")
        frame = f"{index:05d}"
        what = f"frame {frame} of {name}"
        # Copies, because the scorer holds one frame back, and the caller may reuse its array.
        found = None if predicted is None else checked_labels(predicted, f"the prediction of {what}").copy()
        scorer.add(frame, checked_labels(true, f"the truth of {what}", DataError).copy(), found)
    return scorer.finish()


def require_frames(name: str, labelled: int, rules: Rules) -> None:
    """Raise DataError if a sequence has too few labelled frames for any to count."""
    least, why = (3, "the first and the last do") if rules.drop_last else (2, "the first does")
    if labelled < least:
        raise DataError(
            f"{name} has {plural(labelled, 'labelled frame')}, but {why} not count, so at least {least} are needed;"
            " leave it out of `sequences`"
        )


class SequenceScorer:
    """Scores the labelled frames of one sequence in order.

    Invariant: the newest frame is held back, because it may be the last one, which may not count.
    """

    def __init__(self, name: str, rules: Rules = DAVIS, truth: LabelReader | None = None) -> None:
        """truth: the reader that decoded the true masks, if `add` is called with its results."""
        self.name, self.rules = name, rules
        self.labelled = 0
        self._truth = truth or LabelReader(name)
        self._frames: list[str] = []
        self._scores: list[dict[int, tuple[float, float]]] = []
        self._first_frame: dict[int, int] = {}  # of each object id seen in the truth so far
        self._predicted: set[int] = set()
        self._notes: list[str] = []
        self._held: tuple[str, LabelMap, LabelMap | None, npt.NDArray[np.bool_] | None] | None = None

    def add(self, frame: str, truth: LabelMap | Path | Labels, prediction: LabelMap | None) -> None:
        """Add the next labelled frame: its true labels as an array of ids, as a mask file, or already decoded.
        `prediction` may be None if the frame does not count (the first, or the last)."""
        labels = truth if isinstance(truth, Labels) else self._truth.read(truth, frame)
        if self._held is not None:
            self._score(*self._held)
        self._first_frame |= dict.fromkeys(labels.new, self.labelled)
        self._held = (frame, labels.ids, prediction, labels.void) if self.labelled else None
        self.labelled += 1

    def finish(self) -> SequenceScore:
        """The scores of the sequence. Raises DataError if nothing counts, InputError for ids that are not allowed."""
        if self._held is not None and not self.rules.drop_last:
            self._score(*self._held)
        self._held = None
        require_frames(self.name, self.labelled, self.rules)
        if not self._first_frame:
            raise DataError(f"the truth of {self.name} holds no object; leave it out of `sequences`")
        notes, extra = list(self._notes), sorted(self._predicted.difference(self._first_frame))
        highest = max(self._first_frame)
        if self.rules.every_id and (past := [object_id for object_id in extra if object_id > highest]):
            raise InputError(
                f"the prediction of {self.name} holds id {listed(past)}, but the truth's largest is {highest}, "
                "which the official DAVIS evaluation refuses too; keep the ids of the first frame"
            )
        if extra and not self.rules.every_id:
            notes.append(
                f"the prediction of {self.name} has id {listed(extra)}, which is not in the truth; its pixels "
                "are not scored, and count as missing from other objects"
            )
        counted = range(1, highest + 1) if self.rules.every_id else sorted(self._first_frame)
        if gaps := [object_id for object_id in counted if object_id not in self._first_frame]:
            notes.append(f"the truth of {self.name} has no object {listed(gaps)}; as in DAVIS, each counts nonetheless")
        notes += starting_late(self.name, self._first_frame) if self.rules.every_id else ()
        objects = {}
        for object_id in counted:
            start = 0 if self.rules.every_id else self._first_frame[object_id]
            # In frames without an entry, neither mask has the object.
            values = [scores.get(object_id, (1.0, 1.0)) for scores in self._scores[start:]]
            if not values:
                notes.append(f"object {object_id} of {self.name} appears too late to be scored in any frame")
                continue
            j, f = np.ascontiguousarray(np.array(values, np.float64).T)
            objects[object_id] = ObjectScore(object_id, tuple(self._frames[start:]), j, f)
        if unseen := [i for i, score in objects.items() if i not in self._predicted and not score.j_values.all()]:
            notes.append(f"the prediction of {self.name} never shows object {listed(unseen)} in the frames that count")
        if not objects:
            raise DataError(f"no object of {self.name} has a frame that counts; leave it out of `sequences`")
        of_truth = f"the truth of {self.name}: "
        notes += [note if self.name in note else of_truth + note for note in self._truth.colour_notes]
        if self._truth.has_void:
            notes.append(f"the truth of {self.name} has void pixels (255), which only the official package scores")
        return SequenceScore(self.name, objects, tuple(notes))

    def _score(
        self, frame: str, truth: LabelMap, prediction: LabelMap | None, void: npt.NDArray[np.bool_] | None
    ) -> None:
        if prediction is None:
            raise InputError(f"{self.name} has no prediction for frame {frame}, which counts")
        if prediction.shape != truth.shape:
            raise InputError(
                f"the prediction of {self.name} frame {frame} is {size_text(prediction.shape)} but the truth is "
                f"{size_text(truth.shape)}; predictions must have the size of the annotations"
            )
        if self._truth.binary:
            refuse_soft_map(prediction, self.name, frame)
            prediction = (prediction != 0).view(np.uint8)
        predicted = present_ids(prediction, self._first_frame)
        self._predicted.update(predicted)
        scores = score_frame(truth, prediction, {*self._first_frame, *predicted}, void)
        if not self._scores and not self._truth.binary:
            own = {object_id: scores[object_id][0] for object_id in self._first_frame}
            self._notes += swapped_ids(self.name, frame, truth, prediction, own)
        self._frames.append(frame)
        self._scores.append(scores)
