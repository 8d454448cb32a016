"""The settings and the summary of a run of `segment`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from hodor_cli.engine.settings import SegmenterSettings
from hodor_cli.records import ReviewItem
from hodor_cli.settings import about

if TYPE_CHECKING:
    from hodor_cli.engine import StepResult
    from hodor_cli.run.inputs import RunInputs
    from hodor_cli.video.frames import Frame, FrameSource
    from hodor_cli.video.yuv import Picture


@dataclass(frozen=True)
class SegmentSettings(SegmenterSettings):
    """All settings that change the masks or the overlay of a run. The report stores them; resuming compares them."""

    #: As the user gave it; the report also stores the fingerprint of the weights.
    weights: Annotated[str, about("Weights: a name (`hodor weights list`), a file, hf://OWNER/NAME or https://...")] = (
        "mini"
    )
    overlay: Annotated[bool, about("Write overlay.mp4.")] = True
    overlay_side: Annotated[
        int, about("Longest side of overlay.mp4; larger frames are scaled down in it, but not in masks.", least=16)
    ] = 1920
    start_from: Annotated[
        str, about("Objects known from a descriptor file: what was named, and a hash of the descriptors.")
    ] = ""
    adapt: Annotated[str, about("Budget for adapting the network to the given masks, such as 60s.")] = ""


@dataclass(frozen=True)
class RunOutput:
    """How the result folder is used.

    overwrite: replace the results of an earlier run in it, but no other files. resume: continue an interrupted run with
    the same inputs and settings, or correct a finished one with additional masks. checkpoint_seconds: time between
    checkpoints, and so about how much work a kill may lose; there is also one every 48 frames.
    """

    overwrite: bool = False
    resume: bool = False
    checkpoint_seconds: float = 2.0


@runtime_checkable
class RunSegmenter(Protocol):
    """The part of `hodor_cli.engine.Segmenter` that a run needs.

    A frame is (H, W, 3) uint8 RGB, or a picture that `np.asarray` converts to it. `last` has the label map that `step`
    returned. A step that raises must not change the state or `last`.
    """

    def step(
        self, frame: Picture, masks: NDArray[np.integer] | None = None, *, time: float | None = None
    ) -> NDArray[np.uint16]: ...
    def remove(self, object_id: int) -> None: ...
    def state(self) -> dict[str, NDArray[Any]]: ...
    def load_state(self, state: Mapping[str, NDArray[Any]]) -> None: ...
    @property
    def last(self) -> StepResult: ...
    @property
    def object_ids(self) -> list[int]: ...


#: Called after each frame with the number of frames done and the number of all frames (None if unknown).
Progress = Callable[[int, "int | None"], None]
#: Called after each new frame with the frame and its label map.
OnFrame = Callable[["Frame", NDArray[np.uint16]], None]
#: Called after each step with the frame, `segmenter.last` and the segmenter; returns notes for review: an object's id,
#: a reason, and a detail ("" for none).
OnStep = Callable[["Frame", Any, Any], "Sequence[tuple[int, str, str]] | None"]


@dataclass(frozen=True)
class RunHooks:
    """Functions that a run calls."""

    progress: Progress | None = None
    on_frame: OnFrame | None = None
    on_step: OnStep | None = None

    def backward_progress(self, ahead: int | None) -> Callable[[int, int], None]:
        """The progress function of the passes backward. ahead: the number of frames of the pass forward after them."""

        def report(done: int, count: int) -> None:
            if self.progress is not None:
                self.progress(done, None if ahead is None else count + ahead)

        return report


@dataclass(frozen=True)
class RunJob:
    """What a run does, independent of its folder and its segmenter.

    overlay_side: the overlay's longest side, None for no overlay. shows_ids: whether it shows object ids. parts: the
    ranges (first, stop) of frames to segment, in order; all frames if None. ticks: frame -> its time in the overlay, if
    known in advance. backward: number of frames of the passes backward, which progress counts as done. corrects:
    whether a frame gets a new result; otherwise it keeps the earlier run's, and `on_step` is not called.
    """

    source: FrameSource
    inputs: RunInputs
    overlay_side: int | None
    shows_ids: bool
    output: RunOutput
    hooks: RunHooks
    parts: Sequence[tuple[int, int]] | None = None
    ticks: Mapping[int, int] = field(default_factory=dict)
    backward: int = 0
    corrects: Callable[[int], bool] = lambda _: True


@dataclass(frozen=True)
class SegmentOptions(SegmentSettings):
    """The settings of a run, and the less common options of `hodor_cli.segment`.

    overwrite, resume: as in `RunOutput`. remove: {id: frame}: the object is absent from that frame on. hooks: functions
    to call after each frame.
    """

    overwrite: bool = False
    resume: bool = False
    remove: Mapping[int, int] = field(default_factory=dict)
    hooks: RunHooks | None = None

    @property
    def settings(self) -> SegmentSettings:
        return SegmentSettings(**{one.name: getattr(self, one.name) for one in fields(SegmentSettings)})


@dataclass(frozen=True)
class SegmentSummary:
    """The result of a finished run."""

    out: Path
    frames: int
    object_ids: tuple[int, ...]
    frames_per_second: float
    review: tuple[ReviewItem, ...]
    warnings: tuple[str, ...]
    #: Result files and folders by kind: "masks", "overlay", "review", "report", "boxes".
    files: Mapping[str, Path] = field(default_factory=dict)
    #: The number of frames done before the run was resumed.
    resumed_from: int = 0
    #: Whether the run was already finished, so that nothing was done.
    already_finished: bool = False

    def to_supervision(self) -> Iterator[Any]:
        """Yield `supervision.Detections` frame by frame, with the objects' ids as `tracker_id`."""
        from hodor_cli.run.exporting import detections

        return detections(self.out)

    def _repr_html_(self) -> str:
        """The result in a notebook: the overlay video, its objects, the frames to review."""
        from hodor_cli.run.review_page import notebook_html

        return notebook_html(self)
