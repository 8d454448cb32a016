"""Measures what additional masks are worth: J and F of the frames without given masks, by the number of given masks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from hodor_cli.adaptation.adapt import adapted
from hodor_cli.adaptation.examples import Example, followed_after
from hodor_cli.datasets.dataset import Dataset, VideoSequence
from hodor_cli.datasets.labels.decode import LabelReader, Labels
from hodor_cli.engine.following import follow
from hodor_cli.engine.keyframes import OfflineSegmenter
from hodor_cli.engine.step_result import ObjectResult
from hodor_cli.engine.suggesting import doubt_of, suggest_frames
from hodor_cli.errors import DataError, UsageError, closest
from hodor_cli.evaluation.metrics import score_frame
from hodor_cli.evaluation.model_run import require_images
from hodor_cli.evaluation.output import write_given_figure
from hodor_cli.evaluation.settings import EvaluationSettings, Progress
from hodor_cli.files import json_text, write_result
from hodor_cli.images.label_png import ids_in
from hodor_cli.images.paths import listed, plural
from hodor_cli.images.picture import read_picture
from hodor_cli.model.hodor import Hodor

Choose = Literal["uniform", "suggest", "random", "one-way"]
#: Makes a segmenter whose network is adapted to examples.
Adapt = Callable[[Sequence[Example]], OfflineSegmenter]
CHOICES: tuple[Choose, ...] = get_args(Choose)


@dataclass(frozen=True)
class GivenScore:
    """The scores for a number of given masks.

    choose: how the given frames were chosen. objects, frames, unknown: for each sequence, (J, F) of each object, 0..1;
    the names of the given frames; and the objects that no given mask shows, which cannot be found and count as missed.
    """

    choose: Choose
    given: int
    objects: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    frames: dict[str, list[str]] = field(default_factory=dict)
    unknown: dict[str, list[int]] = field(default_factory=dict)

    def means(self, *names: str) -> dict[str, float]:
        """J&F, J and F over the objects of the named sequences, or of all."""
        pairs = [pair for name in names or self.objects for pair in self.objects[name]]
        j, f = np.mean(pairs, axis=0).tolist()
        return {"J&F": (j + f) / 2, "J": j, "F": f}

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        sequences = {name: {**self.means(name), "frames": self.frames[name]} for name in self.objects}
        return {"choose": self.choose, "given": self.given, **self.means(), "sequences": sequences}


@dataclass(frozen=True)
class GivenSettings:
    """counts: how many masks to give. choose: how to choose their frames, always including the first: evenly spread
    ("uniform"), by `suggest_frames` ("suggest"), or at random ("random"); "one-way" is uniform, but segments only
    forward, like a live stream."""

    counts: tuple[int, ...]
    choose: tuple[Choose, ...] = ("uniform",)

    def __post_init__(self) -> None:
        if not self.counts or min(self.counts) < 1:
            raise UsageError("`given` takes numbers of masks, each at least 1, such as 1,2,3,5")
        for way in self.choose or ("",):
            if way not in CHOICES:
                raise UsageError(f"`choose` takes {listed(CHOICES)}, not {way!r}{closest(way, CHOICES)}")


def evaluate_given(
    dataset: Dataset,
    segmenter: OfflineSegmenter,
    settings: GivenSettings,
    *,
    adapt: Adapt | None = None,
    progress: Progress | None = None,
) -> list[GivenScore]:
    """Give the true masks of more and more frames and score the other labelled frames, for each way and each count.

    adapt: makes a segmenter from the given frames, used instead of `segmenter`.

    Raises DataError if a sequence has no images, too few labelled frames, or too few that show an object, to give the
    largest count and score others.
    """
    counts = sorted(set(settings.counts))
    for sequence in dataset.sequences.values():
        require_images(sequence)
        clip = _Clip(sequence, segmenter, adapt)
        if len(clip.truth) <= counts[-1] or len(clip.candidates) < counts[-1]:
            raise DataError(
                f"{sequence.name} has {plural(len(clip.truth), 'labelled frame')} ({len(clip.candidates)} with an"
                f" object), too few to give {counts[-1]} and score others; give fewer with `given`, or leave it out of"
                " `sequences`"
            )
    scores: dict[tuple[Choose, int], GivenScore] = {}
    runs = len(settings.choose) * len(counts)
    total, done = runs * sum(len(one) for one in dataset.sequences.values()), 0
    for name, sequence in dataset.sequences.items():
        clip = _Clip(sequence, segmenter, adapt)
        for way in settings.choose:
            for count, marks in _choices(clip, way, counts):
                score = scores.setdefault((way, count), GivenScore(way, count))
                score.objects[name] = clip.score(marks)
                score.frames[name] = [clip.names[index] for index in sorted(marks)]
                if unknown := clip.unknown(marks):
                    score.unknown[name] = unknown
                done += len(clip)
                if progress is not None:
                    progress(done, total)
    return list(scores.values())


def adapted_segmenter(model: Hodor, settings: EvaluationSettings, examples: Sequence[Example]) -> OfflineSegmenter:
    """A segmenter whose network is adapted to examples within the budget of the settings."""
    network, settings = adapted(model, examples, settings.adapt or "", settings)
    return settings.offline(network)


class _Clip:
    """A sequence's frames by index, its true masks, and the latest results. marks: the frames with given masks.

    candidates: the labelled frames that show an object, whose masks can be given.
    """

    def __init__(self, sequence: VideoSequence, segmenter: OfflineSegmenter, adapt: Adapt | None) -> None:
        self._segmenter, self._adapt = segmenter, adapt
        self.names, self._files = list(sequence.images), list(sequence.images.values())
        reader = LabelReader(sequence.name)
        self.truth: dict[int, Labels] = {
            index: reader.read(sequence.masks[name], name)
            for index, name in enumerate(self.names)
            if name in sequence.masks
        }
        self.candidates = [index for index, truth in self.truth.items() if truth.ids.any()]
        self.object_ids = sorted({object_id for truth in self.truth.values() for object_id in ids_in(truth.ids)})
        self.found: dict[int, np.ndarray] = {}
        self.objects: dict[int, dict[int, ObjectResult]] = {}

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> np.ndarray:
        return read_picture(self._files[index])

    def follow(self, marks: Sequence[int], *, forward: bool = False, around: int | None = None) -> None:
        """Segment all frames, or only those between the neighbours of `around`, from the true masks of `marks`."""
        first, last, segmenter = 0, len(self) - 1, self._segmenter
        if self._adapt is not None:
            after = followed_after(marks, len(self))
            segmenter = self._adapt(
                [
                    Example.of(self[mark], self.truth[mark].ids, following=[self[index] for index in after[mark]])
                    for mark in marks
                ]
            )
        elif around is not None:
            first = max((mark for mark in marks if mark < around), default=first)
            last = min((mark for mark in marks if mark > around), default=last)
        given = {mark: self.truth[mark].ids for mark in marks}
        if forward:
            segmenter.reset()
            for index in range(len(self)):
                self.found[index] = segmenter.step(self[index], given.get(index))
                self.objects[index] = segmenter.last.objects
            return
        for one in follow(segmenter, self, given, frames=(first, last)):  # type: ignore[arg-type]
            self.found[one.frame], self.objects[one.frame] = one.labels, one.result.objects

    def unknown(self, marks: Sequence[int]) -> list[int]:
        """The objects that appear in no mask of `marks`."""
        return sorted(set(self.object_ids).difference(*(ids_in(self.truth[mark].ids) for mark in marks)))

    def score(self, marks: Sequence[int]) -> list[tuple[float, float]]:
        """(J, F) of each object, over the labelled frames without a given mask."""
        rows = []
        for index, truth in self.truth.items():
            if index not in marks:
                scores = score_frame(truth.ids, self.found[index], self.object_ids, truth.void)
                rows.append([scores[object_id] for object_id in self.object_ids])
        return [(float(j), float(f)) for j, f in np.mean(rows, axis=0)]


def _choices(clip: _Clip, way: Choose, counts: Sequence[int]) -> Iterable[tuple[int, list[int]]]:
    """Yield each count with the given frames, after segmenting the clip from their masks."""
    candidates = clip.candidates
    if way in ("uniform", "one-way"):
        for count in counts:
            marks = [candidates[len(candidates) * k // count] for k in range(count)]
            clip.follow(marks, forward=way == "one-way")
            yield count, marks
        return
    marks, chance = candidates[:1], np.random.default_rng(0)
    clip.follow(marks)
    for count in range(1, counts[-1] + 1):
        if count > 1:
            if way == "suggest":
                doubts = [doubt_of(clip.objects[index].values()) for index in candidates]
                new = candidates[suggest_frames(doubts, [candidates.index(mark) for mark in marks])[0].frame]
            else:
                new = int(chance.choice([index for index in candidates if index not in marks]))
            marks = sorted((*marks, new))
            # If all masks show all objects, a new mask affects only the frames between its neighbours.
            whole = all(ids_in(clip.truth[mark].ids) == clip.object_ids for mark in marks)
            clip.follow(marks, around=new if whole else None)
        if count in counts:
            yield count, marks


def write_given(scores: Sequence[GivenScore], content: dict[str, Any], folder: Path) -> None:
    """Write `content` as given.json, and the curve given.png, into a folder. Raises OutputError."""
    write_result(folder / "given.json", json_text(content).encode())
    write_given_figure(scores, folder / "given.png")
