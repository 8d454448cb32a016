"""The results of an evaluation: scores per object, sequence and data set, as values, JSON and CSV."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from hodor_cli.evaluation.scoring import ObjectScore, SequenceScore
from hodor_cli.files import csv_text, json_text, write_result
from hodor_cli.images.paths import as_path

JSON_NAME = "results.json"


@dataclass(frozen=True)
class Timing:
    """Frames processed by a model, seconds inside the network, and seconds including reading and writing."""

    frames: int
    network_seconds: float
    seconds: float

    @property
    def frames_per_second(self) -> float | None:
        return self.frames / self.network_seconds if self.network_seconds else None

    @property
    def frames_per_second_end_to_end(self) -> float | None:
        return self.frames / self.seconds if self.seconds else None

    @classmethod
    def total(cls, timings: Mapping[str, Timing]) -> Timing:
        """The sum over sequences."""
        parts = timings.values()
        return cls(sum(t.frames for t in parts), sum(t.network_seconds for t in parts), sum(t.seconds for t in parts))


@dataclass
class Scored:
    """The outcome of each sequence of a data set, by name: its scores or why it failed, and a model's timings.

    places: folders of predicted masks. notes: sentences for the user. kept: sequences that an earlier run finished.
    """

    scores: dict[str, SequenceScore] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    places: dict[str, Path] = field(default_factory=dict)
    timings: dict[str, Timing] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)


_METRICS: dict[str, Callable[[ObjectScore], float]] = {
    "J&F": lambda score: score.jf,
    "J": lambda score: score.j,
    "J_recall": lambda score: score.j_statistics.recall,
    "J_decay": lambda score: score.j_statistics.decay,
    "F": lambda score: score.f,
    "F_recall": lambda score: score.f_statistics.recall,
    "F_decay": lambda score: score.f_statistics.decay,
}


@dataclass(frozen=True)
class EvaluationResult:
    """Scores 0..1 of a data set: means over all its objects, as in the official DAVIS evaluation.

    If objects belong to groups (YouTube-VOS: seen and unseen), a score is the mean of the groups' means. Without public
    truth there are no scores: the values are NaN, null in JSON.
    """

    dataset: str
    sequences: dict[str, SequenceScore]
    settings: dict[str, Any] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    timings: dict[str, Timing] = field(default_factory=dict)
    groups: dict[tuple[str, int], str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    submission: Path | None = None

    @property
    def j(self) -> float:
        """Mean J."""
        return self.metric("J")

    @property
    def f(self) -> float:
        """Mean F."""
        return self.metric("F")

    @property
    def jf(self) -> float:
        """J&F: the mean of the two."""
        return self.metric("J&F")

    @property
    def frames_per_second(self) -> float | None:
        """Frames over seconds inside the network, for all objects together; None if no model was run."""
        return Timing.total(self.timings).frames_per_second

    @property
    def frames_per_second_end_to_end(self) -> float | None:
        """Frames over seconds of reading, network and writing, without scoring; None if no model was run."""
        return Timing.total(self.timings).frames_per_second_end_to_end

    def metric(self, name: str) -> float:
        """One of J&F, J, J_recall, J_decay, F, F_recall, F_decay over the data set."""
        groups = list(self.group_means().values()) or [_means([score for _, score in self._objects()])]
        return float(np.mean([group[name] for group in groups]))

    def group_means(self) -> dict[str, dict[str, float]]:
        """{group: {metric: mean over its objects}}; empty if objects have no groups."""
        members: dict[str, list[ObjectScore]] = {}
        for sequence, score in self._objects():
            if group := self.groups.get((sequence.name, score.object_id)):
                members.setdefault(group, []).append(score)
        return {group: _means(scores) for group, scores in sorted(members.items())}

    def worst_first(self) -> list[SequenceScore]:
        """Sequences in order of J&F, lowest first."""
        return sorted(self.sequences.values(), key=lambda sequence: (sequence.jf, sequence.name))

    def worst_objects(self, count: int | None = None) -> list[tuple[SequenceScore, ObjectScore]]:
        """The `count` objects (all by default) with the lowest J&F, lowest first."""
        return sorted(self._objects(), key=lambda pair: (pair[1].jf, pair[0].name, pair[1].object_id))[:count]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, with the field's usual names (J, F, J&F, J_recall, ...), 0..1."""
        groups = self.group_means()
        sequences: dict[str, dict[str, Any]] = {}
        for name, sequence in self.sequences.items():
            objects: dict[str, dict[str, Any]] = {}
            for object_id, score in sequence.objects.items():
                group = self.groups.get((name, object_id))
                one = {**_means([score]), "frames": len(score.frames)}
                objects[str(object_id)] = one | ({"group": group} if group else {})
            speed = self.timings[name].frames_per_second if name in self.timings else None
            means = _means(list(sequence.objects.values()))
            sequences[name] = {**means, "objects": objects, "frames_per_second": speed}
        return {
            **{name: _plain(self.metric(name)) for name in _METRICS},
            **{f"{name}_{group}": _plain(groups[group][name]) for group in groups for name in ("J&F", "J", "F")},
            "sequences": sequences,
            "failed": dict(self.failed),
            "frames_per_second": self.frames_per_second,
            "frames_per_second_end_to_end": self.frames_per_second_end_to_end,
            "dataset": self.dataset,
            "settings": self.settings,
            "notes": list(self.notes),
        }

    def to_json(self) -> str:
        """The content of results.json."""
        return json_text(self.to_dict())

    def write(self, folder: str | Path) -> None:
        """Write results.json, sequences.csv and objects.csv (worst first), and frames.csv, each atomically."""
        folder = as_path(folder, "`folder`")
        rows: list[list[Any]] = []
        for sequence in self.worst_first():
            timing = self.timings.get(sequence.name)
            scores = list(sequence.objects.values())
            longest = max(len(score.frames) for score in scores)
            speed = "" if timing is None else timing.frames_per_second
            rows.append([sequence.name, len(scores), longest, *_means(scores).values(), speed])
        objects: list[list[Any]] = [
            [sequence.name, score.object_id, len(score.frames), *_means([score]).values()]
            for sequence, score in self.worst_objects()
        ]
        frames: list[list[Any]] = [
            [sequence.name, frame, score.object_id, float(j), float(f)]
            for sequence, score in self._objects()
            for frame, j, f in zip(score.frames, score.j_values, score.f_values, strict=True)
        ]
        tables: dict[str, list[list[Any]]] = {
            "sequences.csv": [["sequence", "objects", "frames", *_METRICS, "frames_per_second"], *rows],
            "objects.csv": [["sequence", "object", "frames", *_METRICS], *objects],
            "frames.csv": [["sequence", "frame", "object", "J", "F"], *frames],
        }
        for name, table in tables.items() if self.sequences else ():
            shown = ([f"{value:.6f}" if isinstance(value, float) else value for value in row] for row in table)
            write_result(folder / name, csv_text(shown).encode())
        write_result(folder / JSON_NAME, self.to_json().encode())

    def _objects(self) -> list[tuple[SequenceScore, ObjectScore]]:
        return [(sequence, score) for sequence in self.sequences.values() for score in sequence.objects.values()]


def _means(scores: list[ObjectScore]) -> dict[str, float]:
    """The mean of each metric over some objects; NaN without objects."""
    values = {name: [metric(score) for score in scores] for name, metric in _METRICS.items()}
    return {name: float(np.mean(of)) if of else float("nan") for name, of in values.items()}


def _plain(value: float) -> float | None:
    """The value, or None for NaN, which JSON lacks."""
    return None if value != value else value
