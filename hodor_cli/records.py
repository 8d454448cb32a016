"""The files of a run as typed records: one schema per file, checked on reading.

Names in report.json and the journal become paths, so a record with a name that leads outside its folder is rejected.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

import msgspec
from msgspec import Meta, Struct, field

from hodor_cli.errors import InputError, OutputError
from hodor_cli.files import is_plain_name

ObjectId = Annotated[int, Meta(ge=1, le=65_535)]
Count = Annotated[int, Meta(ge=0)]
#: x, y, width, height in pixels.
BoxRecord = tuple[int, int, int, int]
Plain = str | int | float | bool | None

Schema = TypeVar("Schema")


class Click(NamedTuple):
    """A click at pixel (x, y) of the source's frames, on an object (positive) or off it."""

    x: int
    y: int
    positive: bool = True


class ObjectRecord(Struct, frozen=True, omit_defaults=True):
    """One object in one frame: area (px), box (null where it is absent), confidence (0..1) and whether it is lost.

    cut_off, agreement, change, disagreement, too_small: as in `ObjectResult`. elsewhere: the share of the mask outside
    its largest part. None means a share of 0 or an unknown value, and is left out of the file.
    """

    area: Count
    box: BoxRecord | None
    confidence: float
    lost: bool
    cut_off: float | None = None
    elsewhere: float | None = None
    agreement: float | None = None
    change: float | None = None
    disagreement: float | None = None
    too_small: bool = False


class ReviewNote(Struct, frozen=True):
    """A note for review about an object, from `RunHooks.on_step`."""

    object: int
    reason: str
    detail: str = ""


class FrameRecord(Struct, frozen=True, omit_defaults=True):
    """One frame: its index from 0, the name of its mask file without suffix, its time in seconds, and its objects.

    given: the objects with a mask in the input, also one made from boxes or clicks. removed: the objects that end here.
    ticks: its time in the overlay.
    """

    frame: Count
    name: str
    time: float
    objects: dict[ObjectId, ObjectRecord]
    given: tuple[ObjectId, ...] = ()
    boxes: dict[ObjectId, BoxRecord] = field(default_factory=dict)
    clicks: dict[ObjectId, tuple[Click, ...]] = field(default_factory=dict)
    removed: tuple[ObjectId, ...] = ()
    warnings: tuple[str, ...] = ()
    review: tuple[ReviewNote, ...] = ()
    ticks: int = 0


class SourceRecord(Struct, frozen=True):
    """The source of the frames. content: a fingerprint of the file or folder. value_range: the values shown as black
    and white, in frames of more than 8 bits."""

    name: str
    kind: str
    size: tuple[int, int]
    fps: float
    start: int = 0
    end: int | None = None
    content: str | None = None
    value_range: tuple[float, float] | None = None


class WeightsRecord(Struct, frozen=True):
    """The name of the weights as the user gave it, and their fingerprint."""

    name: str
    fingerprint: str


class RunIdentity(Struct, frozen=True):
    """All inputs and settings that determine the results of a run; a run is resumed only with the same ones.

    masks: frame -> hash of its label map. used: the values chosen for automatic settings. place: of the source;
    only its axes are compared. names: of the objects; they are not compared.
    """

    source: SourceRecord
    masks: dict[Count, str]
    boxes: dict[Count, dict[ObjectId, BoxRecord]]
    weights: WeightsRecord
    settings: dict[str, Plain]
    used: dict[str, Plain]
    place: dict[str, str] = field(default_factory=dict)
    removals: dict[Count, tuple[ObjectId, ...]] = field(default_factory=dict)
    clicks: dict[Count, dict[ObjectId, tuple[Click, ...]]] = field(default_factory=dict)
    names: dict[ObjectId, str] = field(default_factory=dict)
    appears: dict[ObjectId, Count] = field(default_factory=dict)


class RunFile(RunIdentity, frozen=True, kw_only=True):
    """run.json of an unfinished run of `segment`; training runs have another format."""

    format: Literal["hodor-segment-run"] = "hodor-segment-run"
    version: int = 1


class SpeedRecord(Struct, frozen=True):
    """How fast a run was. seconds: wall time; network_seconds: the part spent in the network."""

    frames: Count
    frames_per_second: float
    seconds: float = 0.0
    network_seconds: float = 0.0


class ObjectSummary(Struct, frozen=True):
    """One object over all frames."""

    first_frame: Count
    frames_present: Count
    frames_lost: Count
    mean_confidence: float


class ReviewItem(Struct, frozen=True, rename={"object_id": "object"}):
    """A range of frames in which a person should review one object.

    reason: one of `hodor_cli.run.review.REASONS`, or one added by the caller. detail: a number or phrase, such as
    "from 0.93 to 0.71".
    """

    object_id: int
    reason: str
    first_frame: int
    last_frame: int
    first_name: str
    last_name: str
    detail: str = ""

    def __str__(self) -> str:
        """As a line for a person: 00012 - 00015, object 1: confidence fell (from 0.93 to 0.71)."""
        names = self.first_name if self.first_frame == self.last_frame else f"{self.first_name} - {self.last_name}"
        return f"{names}, object {self.object_id}: {self.why}"

    @property
    def why(self) -> str:
        """The reason and its detail."""
        return self.reason + (f" ({self.detail})" if self.detail else "")


class SuggestedFrame(Struct, frozen=True):
    """A frame to mask next. gain: the share (0..1) of all doubt that its mask would remove."""

    frame: Count
    name: str
    gain: float


class ReportRecord(RunIdentity, frozen=True, kw_only=True):
    """report.json without its frames."""

    format: Literal["hodor-report"]
    version: int = 1
    speed: SpeedRecord
    warnings: tuple[str, ...] = ()
    objects: dict[ObjectId, ObjectSummary] = field(default_factory=dict)
    review: tuple[ReviewItem, ...] = ()
    suggest: tuple[SuggestedFrame, ...] = ()

    def axes_at(self, place: Path | str) -> str | None:
        """The axes that a run chose in its TIFF; None if it chose none, or if `place` is a file of another format."""
        return self.place.get("axes") if Path(place).suffix == Path(self.place.get("source", "")).suffix else None


class Report(ReportRecord, frozen=True, kw_only=True):
    """report.json with its frames, in order."""

    frames: list[FrameRecord]

    def __post_init__(self) -> None:
        last = self.source.start - 1
        for index in (frame.frame for frame in self.frames):
            if not last < index < (self.source.end or index + 1):
                raise ValueError(f"frame {index} is out of order")
            last = index


class MadeFrame(Struct, frozen=True):
    """The part of a frame's record that determines its files."""

    name: str
    boxes: dict[ObjectId, Any] = field(default_factory=dict)
    clicks: dict[ObjectId, Any] = field(default_factory=dict)


class ReportHead(Struct, frozen=True):
    """The part of report.json that says what it is."""

    format: Literal["hodor-report"]


class MadeFrames(ReportHead, frozen=True):
    """The part of report.json that determines the run's files."""

    frames: list[MadeFrame]


def decode(data: bytes, schema: type[Schema], what: str, way_out: str = "delete it") -> Schema:
    """Decode JSON from a result folder into a record. Raises OutputError, naming the file `what`, if it is invalid."""
    try:
        record = msgspec.json.decode(data, type=schema)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        why = str(error).replace("`", "'")  # backticks mark parameters
        raise OutputError(f"{what} is damaged or not hodor's ({why}); {way_out}, or choose another `out`") from error
    for frame in getattr(record, "frames", (record,)):
        if isinstance(frame, (FrameRecord, MadeFrame)):
            require_inside(frame.name, what)
    return record


def read_record(path: Path, schema: type[Schema], way_out: str = "delete it") -> Schema:
    """The record in a file of a result folder. Raises OutputError if it is damaged."""
    return decode(path.read_bytes(), schema, str(path), way_out)


def read_result(folder: Path) -> Report:
    """The report of a finished run. Raises InputError if it cannot be read, or if a mask of its frames is missing."""
    if folder.is_file():
        raise InputError(f"{folder} is a file; give the folder of a finished result")
    try:
        report = read_record(folder / "report.json", Report)
    except (OSError, OutputError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error.__cause__ or error).replace("`", "'")
        one = "one of the results in it" if (folder / "summary.json").exists() else "a finished result"
        raise InputError(f"{folder} has no readable report.json ({why}); give {one}") from error
    masks = (folder / "masks" / f"{frame.name}.png" for frame in report.frames)
    if missing := next((mask for mask in masks if not mask.exists()), None):
        raise InputError(f"the mask {missing} is missing; recompute the result: `segment_source` with `overwrite`")
    return report


def require_inside(name: str, what: str) -> None:
    """Raise OutputError for a frame's name whose mask would be outside its folder."""
    if not (is_plain_name(name) and is_plain_name(f"{name}.png")):
        raise OutputError(f"{what} names the frame {name[:80]!r} outside its folder; choose another `out`")


def is_report(path: Path) -> bool:
    """Whether the file is a report of `segment`, or is next to masks and damaged, so that reading it says why."""
    try:
        msgspec.json.decode(path.read_bytes(), type=ReportHead)
    except (OSError, msgspec.ValidationError):
        return False
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return (path.parent / "masks").is_dir()
    return True
