"""Does the list of frames to review name the bad ones? Precision and recall against J below 0.5, with true masks.

python benchmarks/review.py DAVIS [DAVIS ...] [--sequences A,B] [--step N] [--fit]

Every sequence is segmented from its first masks; --step takes only every N-th frame, which is harder. Over all objects
and frames except those whose mask was given, it prints precision (share of flagged ones that are bad), recall (share of
bad ones that are flagged) and false alarms (share of good ones that are flagged): for each reason, for all together,
and for the estimate alone at several limits. --fit prints the weights that fit these frames best, for
`hodor_cli/run/review.py`; fit them on other sequences than those that are reported.

Measured on DAVIS-2017's and DAVIS-2016's development sequences, the 7 girls and every tenth frame of DAVIS-2016's
training sequences, each sequence scored with weights fitted without it: precision 0.82, recall 0.79, false alarms 0.10
for the estimate above 0.5; the rules before it had 1.00 and 0.23 with earlier weights. Since masks are also propagated
from a recent frame, fewer masks are bad, and bad ones look more like good ones: 0.67, 0.63 and 0.13 with the same
weights, and 0.61, 0.62 and 0.17 with newly fitted ones, so the weights were not changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from as_command import as_command

from hodor_cli import Segmenter, load_model
from hodor_cli.datasets.dataset import VideoSequence, recognise
from hodor_cli.datasets.labels.decode import LabelReader
from hodor_cli.evaluation.metrics import jaccard
from hodor_cli.images.picture import read_picture
from hodor_cli.records import ObjectRecord
from hodor_cli.run.inputs import FrameInputs
from hodor_cli.run.results import FrameResult, frame_record
from hodor_cli.run.review import DOUBT, REASONS, Recent, doubt, reasons
from hodor_cli.video.frames import Frame

BAD = 0.5
LIMITS = (0.3, 0.4, DOUBT, 0.6, 0.7)


@dataclass(frozen=True)
class Judged:
    """One object in one frame: its IoU with the truth, its record, the reasons to review it, and the estimate."""

    iou: float
    entry: ObjectRecord
    flags: frozenset[str]
    doubt: float


def judge(sequence: VideoSequence, segmenter: Segmenter, step: int) -> Iterator[Judged]:
    """Yield every object of a sequence in every frame in which its mask is not given."""
    segmenter.reset()
    reader = LabelReader(sequence.name)
    recent: dict[int, Recent] = {}
    for index, (name, file) in enumerate(islice(sequence.images.items(), 0, None, step)):
        truth = reader.read(sequence.masks[name], name) if name in sequence.masks else None
        given = {} if truth is None else {key: truth.ids == key for key in truth.new}
        image = read_picture(file)
        labels = segmenter.step(image, given or None)
        frame = Frame(index, name, image, index / 24)
        record = frame_record(FrameResult(frame, segmenter.last, FrameInputs(given=tuple(given))), ticks=0)
        flags = list(reasons(record, recent))
        if truth is None:
            continue
        for key in record.objects.keys() - given.keys():
            yield Judged(
                iou=jaccard(labels == key, truth.ids == key),
                entry=record.objects[key],
                flags=frozenset(reason for object_id, reason, _ in flags if object_id == key),
                doubt=1.0 if record.objects[key].lost else doubt(record.objects[key])[0],
            )


def row(what: str, judged: list[Judged], is_flagged: Callable[[Judged], bool]) -> str:
    """A line of the table: precision, recall, false alarms."""
    flagged, bad = np.array([(is_flagged(one), one.iou < BAD) for one in judged], bool).reshape(-1, 2).T
    hits, alarms = int((flagged & bad).sum()), int((flagged & ~bad).sum())
    precision = hits / max(hits + alarms, 1)
    recall = hits / max(int(bad.sum()), 1)
    false_alarms = alarms / max(int((~bad).sum()), 1)
    return f"{what:44} {precision:9.2f} {recall:7.2f} {false_alarms:13.2f} {hits + alarms:8}"


def print_fit(judged: list[Judged]) -> None:
    """Print the weights of a logistic regression on these frames, with and without the agreement."""
    from sklearn.linear_model import LogisticRegression

    kept = [one for one in judged if not one.entry.lost and one.entry.agreement is not None]
    bad = [one.iou < BAD for one in kept]
    for names in (("confidence", "agreement", "change", "elsewhere"), ("confidence", "change", "elsewhere")):
        values = np.array([[min(getattr(one.entry, name) or 0.0, 3.0) for name in names] for one in kept])
        fit = LogisticRegression(C=10, max_iter=2000).fit(values, bad)
        terms = ", ".join(f"{name} {weight:.1f}" for name, weight in zip(names, fit.coef_[0], strict=True))
        print(f"fit: {terms}, constant {fit.intercept_[0]:.1f}")


def main(
    datasets: list[Path], sequences: str | None = None, step: int = 1, weights: str = "mini", fit: bool = False
) -> None:
    segmenter = Segmenter(load_model(weights))
    names = sequences.split(",") if sequences else None
    judged: list[Judged] = []
    for folder in datasets:
        for name, sequence in recognise(folder).select(names).sequences.items():
            found = list(judge(sequence, segmenter, step))
            judged += found
            bad = sum(one.iou < BAD for one in found)
            print(row(name, found, lambda one: bool(one.flags)), f" {bad} of {len(found)} are bad")
    print(f"\n{'':44} precision  recall  false alarms  flagged")
    for reason in REASONS:
        print(row(reason, judged, lambda one, reason=reason: reason in one.flags))  # type: ignore[misc]
    for limit in LIMITS:
        print(row(f"estimate above {limit}", judged, lambda one, limit=limit: one.doubt > limit))  # type: ignore[misc]
    print(row("everything", judged, lambda one: bool(one.flags)))
    if fit:
        print_fit(judged)


if __name__ == "__main__":
    as_command(main, __doc__)
