"""Finds the frames of a run that a person should review.

Events of an object (it is lost, returns, jumps in size) are always listed. Whether a mask is still good is estimated by
logistic regression from four measures: the network's confidence, the agreement with the mask that matching propagates
from the frame in which the object was given, the change of the object's descriptor since then, and the share of the
mask outside its largest part. `benchmarks/review.py` fits the weights and the threshold to frames with ground truth,
and prints precision and recall.
"""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from msgspec.structs import replace

from hodor_cli.records import BoxRecord, FrameRecord, ObjectRecord, ReviewItem

LOST, RETURNED = "lost", "returned"
LOW_CONFIDENCE, CONFIDENCE_FELL = "low confidence", "confidence fell"
AREA_JUMPED, PLACE_JUMPED, CUT_OFF = "area jumped", "position jumped", "part of it lay too far away and was left out"
UNLIKE_REFERENCE, CHANGED = "may be another object", "has changed much since it was given"
SCATTERED, TOO_SMALL = "lies in several places", "the given mask is too small to be used"
#: All reasons that a run gives; a caller may add others.
REASONS = (
    LOST, RETURNED, LOW_CONFIDENCE, CONFIDENCE_FELL, AREA_JUMPED, PLACE_JUMPED, CUT_OFF, UNLIKE_REFERENCE, CHANGED,
    SCATTERED, TOO_SMALL,
)  # fmt: skip

# A present object is listed if ...
#: ... the mean probability inside its mask is below this,
_LOW_CONFIDENCE = 0.6
#: its confidence falls by more than this below the median of the frames just before,
_CONFIDENCE_FALL = 0.15
#: its area grows or shrinks by more than this factor from one frame to the next,
_AREA_JUMP = 2.5
#: its box moves by more than this many times its own size from one frame to the next,
_PLACE_JUMP = 1.0
#: more than this share of it is outside its largest part,
_SCATTERED = 0.3
#: or at least this share was cut off because it moved farther than expected.
_CUT_OFF = 0.1
#: Jumps of areas below this many pixels are ignored.
_SMALL_AREA = 64
_RECENT_FRAMES = 5

#: A mask is listed if the probability that its IoU with the ground truth is below 0.5 exceeds this.
DOUBT = 0.5


@dataclass(frozen=True)
class _Measure:
    """One term of the estimate: its weight, its value for a good mask, and the reason and detail for a bad one."""

    weight: float
    good: float
    reason: str
    words: str


_MEASURES = {
    "confidence": _Measure(-17.3, 0.94, LOW_CONFIDENCE, "down to {:.2f}"),
    "agreement": _Measure(-5.1, 0.50, UNLIKE_REFERENCE, "overlap {:.2f} with what looks like it"),
    "change": _Measure(6.1, 0.28, CHANGED, "change {:.2f}"),
    "elsewhere": _Measure(3.4, 0.0, SCATTERED, "{:.0%} outside its largest part"),
}
_BIAS = -3.5
#: For models without matching, and so without `agreement`.
_BIAS_WITHOUT_AGREEMENT = -2.3
#: Larger changes are clipped to this.
_MOST_CHANGE = 3.0


def doubt(entry: ObjectRecord) -> tuple[float, str, str]:
    """The probability that the IoU of a present object's mask is below 0.5, the main reason, and its detail."""
    terms = {}
    for name, measure in _MEASURES.items():
        value = getattr(entry, name)
        if value is not None:
            terms[name] = measure.weight * (min(value, _MOST_CHANGE) - measure.good)
    bias = _BIAS if entry.agreement is not None else _BIAS_WITHOUT_AGREEMENT
    worst = max(terms, key=lambda name: terms[name])
    measure = _MEASURES[worst]
    probability = 1 / (1 + math.exp(-min(max(bias + sum(terms.values()), -50.0), 50.0)))
    return probability, measure.reason, measure.words.format(getattr(entry, worst))


@dataclass
class Recent:
    """An object in the preceding frames: its last area and box, and its recent confidences."""

    area: int = 0
    box: BoxRecord | None = None
    lost: bool = False
    confidences: deque[float] = field(default_factory=lambda: deque(maxlen=_RECENT_FRAMES))


def review_frames(records: Iterable[FrameRecord]) -> list[ReviewItem]:
    """The ranges of frames to review, in order, including those from the records' own notes (`review`)."""
    recent: dict[int, Recent] = {}
    running: dict[tuple[int, str], tuple[int, ReviewItem]] = {}
    done: list[ReviewItem] = []
    for position, record in enumerate(records):
        for object_id, reason, detail in reasons(record, recent):
            index, name = record.frame, record.name
            last, item = running.get((object_id, reason), (-2, None))
            if item is None or last != position - 1:
                done += [] if item is None else [item]
                item = ReviewItem(object_id, reason, index, index, name, name, detail)
            # A range keeps its lowest confidence, and the first detail of any other reason.
            kept = min(item.detail, detail) if reason == LOW_CONFIDENCE else item.detail or detail
            running[object_id, reason] = (position, replace(item, last_frame=index, last_name=name, detail=kept))
    done += [item for _, item in running.values()]
    return sorted(done, key=lambda item: (item.first_frame, item.object_id, item.reason))


def reasons(record: FrameRecord, recent: dict[int, Recent]) -> Iterator[tuple[int, str, str]]:
    """Yield (object id, reason, detail) for one frame; `recent` is carried from frame to frame."""
    for object_id, entry in record.objects.items():
        known = recent.setdefault(object_id, Recent())
        given = object_id in record.given
        if entry.too_small:
            yield object_id, TOO_SMALL, ""
        if entry.lost:
            yield object_id, LOST, ""
            known.confidences.clear()
        elif not given:
            for reason, detail in _of_present(entry, known):
                yield object_id, reason, detail
        known.area, known.box, known.lost = entry.area, entry.box, entry.lost
        if given:
            known.confidences.clear()
        elif not entry.lost:
            known.confidences.append(entry.confidence)
    for note in record.review:
        yield note.object, note.reason, note.detail


def _of_present(entry: ObjectRecord, known: Recent) -> Iterator[tuple[str, str]]:
    if known.lost:
        yield RETURNED, ""
    probability, reason, words = doubt(entry)
    doubted = probability > DOUBT
    if entry.confidence < _LOW_CONFIDENCE or (doubted and reason == LOW_CONFIDENCE):
        yield LOW_CONFIDENCE, f"down to {entry.confidence:.2f}"
    if doubted and reason != LOW_CONFIDENCE:
        yield reason, words
    before = statistics.median(known.confidences) if known.confidences else 0.0
    if before - entry.confidence > _CONFIDENCE_FALL:
        yield CONFIDENCE_FELL, f"from {before:.2f} to {entry.confidence:.2f}"
    low, high = sorted((entry.area, known.area))
    if low > 0 and high >= _SMALL_AREA and high > _AREA_JUMP * low:
        yield AREA_JUMPED, f"from {known.area} to {entry.area} px"
    moved, was, now = 0.0, known.box, entry.box
    if was is not None and now is not None:  # distance of the centres, relative to the larger box's mean side
        ways = (now[axis] + now[axis + 2] / 2 - was[axis] - was[axis + 2] / 2 for axis in (0, 1))
        moved = math.hypot(*ways) / math.sqrt(max(was[2] * was[3], now[2] * now[3]))
    if moved > _PLACE_JUMP and high >= _SMALL_AREA:
        yield PLACE_JUMPED, f"by {moved:.1f} times its size"
    if entry.elsewhere is not None and entry.elsewhere > _SCATTERED and not (doubted and reason == SCATTERED):
        yield SCATTERED, f"{entry.elsewhere:.0%} outside its largest part"
    if entry.cut_off is not None and entry.cut_off >= _CUT_OFF:
        yield CUT_OFF, f"{entry.cut_off:.0%} of it"
