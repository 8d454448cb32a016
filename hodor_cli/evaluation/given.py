"""How much each further mask is worth: J and F of the frames that were not given, against the number that were."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from hodor_cli.datasets.dataset import Dataset, VideoSequence
from hodor_cli.datasets.labels.decode import LabelReader, Labels, Void
from hodor_cli.engine.following import follow
from hodor_cli.engine.keyframes import OfflineSegmenter
from hodor_cli.engine.step_result import ObjectResult
from hodor_cli.engine.suggesting import doubt_of, suggest_frames
from hodor_cli.errors import DataError, UsageError
from hodor_cli.evaluation.metrics import score_frame
from hodor_cli.evaluation.settings import Progress
from hodor_cli.images.picture import read_picture

Choose = Literal["suggest", "uniform", "random"]


@dataclass(frozen=True)
class GivenScore:
    """One number of given masks: mean J and F (0..1) over all objects of a data set, and those of each sequence.

    frames: the frames given, by sequence.
    """

    given: int
    j: float
    f: float
    sequences: dict[str, tuple[float, float]] = field(default_factory=dict)
    frames: dict[str, list[str]] = field(default_factory=dict)

    @property
    def jf(self) -> float:
        """J&F: the mean of the two."""
        return (self.j + self.f) / 2

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        sequences = {
            name: {"J&F": (j + f) / 2, "J": j, "F": f, "frames": self.frames[name]}
            for name, (j, f) in self.sequences.items()
        }
        return {"given": self.given, "J&F": self.jf, "J": self.j, "F": self.f, "sequences": sequences}


@dataclass(frozen=True)
class GivenSettings:
    """counts: numbers of masks. choose: by `suggest_frames`, evenly, or by chance, always from the first frame on.
    forward: masks count from their frame on, as in a live stream, and nothing is joined."""

    counts: tuple[int, ...]
    choose: Choose = "uniform"
    forward: bool = False

    def __post_init__(self) -> None:
        if not self.counts or min(self.counts) < 1:
            raise UsageError("`given` takes numbers of masks from 1 on, such as 1,2,3,5")


def evaluate_given(
    dataset: Dataset, segmenter: OfflineSegmenter, settings: GivenSettings, *, progress: Progress | None = None
) -> list[GivenScore]:
    """Give the true masks of more and more frames and score all other labelled frames, for each of the counts.

    Raises DataError for a sequence with fewer labelled frames than masks to give, or without truth.
    """
    counts = sorted(set(settings.counts))
    _check(dataset.sequences.values(), counts[-1])
    parts: dict[int, dict[str, list[tuple[float, float]]]] = {count: {} for count in counts}
    frames: dict[int, dict[str, list[str]]] = {count: {} for count in counts}
    done = 0
    for name, sequence in dataset.sequences.items():
        clip = _Clip(sequence)
        for count, marks in _choices(clip, segmenter, settings, counts):
            parts[count][name] = clip.score(marks)
            frames[count][name] = [clip.names[index] for index in sorted(marks)]
            done += len(clip)
            if progress is not None:
                progress(done, len(counts) * sum(len(one) for one in dataset.sequences.values()))
    found = []
    for count in counts:
        whole = np.mean([pair for pairs in parts[count].values() for pair in pairs], axis=0)
        means = {name: np.mean(pairs, axis=0) for name, pairs in parts[count].items()}
        sequences = {name: (float(pair[0]), float(pair[1])) for name, pair in means.items()}
        found.append(GivenScore(count, float(whole[0]), float(whole[1]), sequences, frames[count]))
    return found


class _Clip:
    """A sequence as frames by number, its truth, and what was found last."""

    def __init__(self, sequence: VideoSequence) -> None:
        self.names, self._files = list(sequence.images), list(sequence.images.values())
        reader = LabelReader(sequence.name, Void.APART)
        self.truth: dict[int, Labels] = {
            index: reader.read(sequence.masks[name], name)
            for index, name in enumerate(self.names)
            if name in sequence.masks
        }
        self.object_ids = sorted({int(i) for truth in self.truth.values() for i in np.unique(truth.ids) if i})
        self.found: dict[int, np.ndarray] = {}
        self.objects: dict[int, dict[int, ObjectResult]] = {}

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> np.ndarray:
        return read_picture(self._files[index])

    def candidates(self) -> list[int]:
        """The labelled frames that show an object."""
        return [index for index, truth in self.truth.items() if truth.ids.any()]

    def follow(self, segmenter: OfflineSegmenter, marks: Sequence[int], *, forward: bool, around: int | None) -> None:
        """Find all frames from the true masks of `marks`; or, where one was added, those between its neighbours."""
        first, last = 0, len(self) - 1
        if around is not None:
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

    def score(self, marks: Sequence[int]) -> list[tuple[float, float]]:
        """(J, F) of each object, over the labelled frames that were not given."""
        rows = []
        for index, truth in self.truth.items():
            if index not in marks:
                scores = score_frame(truth.ids, self.found[index], self.object_ids, truth.void)
                rows.append([scores[object_id] for object_id in self.object_ids])
        return [(float(j), float(f)) for j, f in np.mean(rows, axis=0)]


def _choices(
    clip: _Clip, segmenter: OfflineSegmenter, settings: GivenSettings, counts: Sequence[int]
) -> Iterable[tuple[int, list[int]]]:
    """Each count with the frames given; what is found with them lies in the clip then."""
    candidates = clip.candidates()
    if settings.choose == "uniform":
        for count in counts:
            marks = [candidates[len(candidates) * k // count] for k in range(count)]
            clip.follow(segmenter, marks, forward=settings.forward, around=None)
            yield count, marks
        return
    marks, chance = candidates[:1], np.random.default_rng(0)
    clip.follow(segmenter, marks, forward=settings.forward, around=None)
    for count in range(1, counts[-1] + 1):
        if count > 1:
            new = _next(clip, candidates, marks) if settings.choose == "suggest" else _chance(candidates, marks, chance)
            marks = sorted((*marks, new))
            # A mask changes what lies between its neighbours: where each mask tells of all objects, that is all.
            whole = all(set(np.unique(clip.truth[mark].ids)) >= set(clip.object_ids) for mark in marks)
            clip.follow(segmenter, marks, forward=settings.forward, around=new if whole else None)
        if count in counts:
            yield count, marks


def _next(clip: _Clip, candidates: Sequence[int], marks: Sequence[int]) -> int:
    doubts = [doubt_of(clip.objects[index].values()) for index in candidates]
    masked = [candidates.index(mark) for mark in marks]
    return candidates[suggest_frames(doubts, masked)[0].frame]


def _chance(candidates: Sequence[int], marks: Sequence[int], chance: np.random.Generator) -> int:
    return int(chance.choice([index for index in candidates if index not in marks]))


def _check(sequences: Iterable[VideoSequence], most: int) -> None:
    for sequence in sequences:
        if len(sequence.masks) <= most:
            raise DataError(
                f"{sequence.name} has {len(sequence.masks)} labelled frames, too few to give {most} and score others; "
                "give fewer with `given`, or leave it out of `sequences`"
            )


def write_given(scores: Sequence[GivenScore], how: dict[str, Any], folder: Path) -> None:
    """Write given.json and the curve given.png into a folder. Raises OutputError."""
    import json

    from hodor_cli.evaluation.history_figure import write_given_figure
    from hodor_cli.files import write_result

    record = {**how, "scores": [score.to_dict() for score in scores]}
    write_result(folder / "given.json", (json.dumps(record, indent=2) + "\n").encode())
    write_given_figure(scores, str(how.get("choose", "")), folder / "given.png")
