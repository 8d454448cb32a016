"""What a run of `segment` can be told, and what it returns."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from hodor_cli.engine.settings import SegmenterSettings
from hodor_cli.run.records import ReviewItem
from hodor_cli.settings import about

if TYPE_CHECKING:
    from hodor_cli.engine import StepResult
    from hodor_cli.video.frames import Frame


class Click(NamedTuple):
    """A click at pixel (x, y) of the source's frames, on an object or on what is not."""

    x: int
    y: int
    positive: bool = True


@dataclass(frozen=True)
class SegmentSettings(SegmenterSettings):
    """Everything that changes the masks or the overlay of a run; written into the report and compared on resuming."""

    #: As the user gave it; the fingerprint of the weights is stored beside it.
    weights: Annotated[str, about("Weights by name (`hodor weights list`), a file, hf://OWNER/NAME or https://...")] = (
        "mini"
    )
    overlay: Annotated[bool, about("Write overlay.mp4.")] = True
    start_from: Annotated[
        str, about("Objects known from a descriptor file: what was named, and a hash of the descriptors.")
    ] = ""


@dataclass(frozen=True)
class RunOutput:
    """What happens to the result folder.

    overwrite: replace the results that an earlier run left in it (and no other files). resume: continue an interrupted
    run of the same inputs and settings; a finished one is left as it is. checkpoint_seconds: about how much work a kill
    may lose; at most 48 frames in any case.
    """

    overwrite: bool = False
    resume: bool = False
    checkpoint_seconds: float = 2.0


class RunSegmenter(Protocol):
    """The part of `hodor_cli.engine.Segmenter` that a run needs; anything with it can stand in.

    A step that raises leaves the state, and `last`, as they were.
    """

    def step(
        self, frame: NDArray[np.uint8], masks: NDArray[np.integer] | None = None, *, time: float | None = None
    ) -> NDArray[np.uint16]: ...
    def remove(self, object_id: int) -> None: ...
    def state(self) -> dict[str, NDArray[Any]]: ...
    def load_state(self, state: Mapping[str, NDArray[Any]]) -> None: ...
    @property
    def last(self) -> StepResult: ...
    @property
    def object_ids(self) -> list[int]: ...


#: Called after each frame with the frames done and how many there are (None: nobody knows).
Progress = Callable[[int, "int | None"], None]
#: Called after each new frame with the frame and its label map.
OnFrame = Callable[["Frame", NDArray[np.uint16]], None]
#: Called after each step with the frame, `segmenter.last` and the segmenter; what it returns (plain JSON values) is
#: added to the frame's entry in the report, and to the frames to review if it has a `review` list.
OnStep = Callable[["Frame", Any, Any], "Mapping[str, Any] | None"]


@dataclass(frozen=True)
class RunHooks:
    """What a caller wants to see while a run works."""

    progress: Progress | None = None
    on_frame: OnFrame | None = None
    on_step: OnStep | None = None


@dataclass(frozen=True)
class SegmentSummary:
    """What a finished run made."""

    out: Path
    frames: int
    object_ids: tuple[int, ...]
    frames_per_second: float
    review: tuple[ReviewItem, ...]
    warnings: tuple[str, ...]
    #: Result files and folders by what they are: "masks", "overlay", "review", "report", "boxes".
    files: Mapping[str, Path] = field(default_factory=dict)
    #: Frames that an earlier, interrupted run had done.
    resumed_from: int = 0
    #: The run had been finished before; nothing was done.
    already_finished: bool = False

    def to_supervision(self) -> Iterator[Any]:
        """`supervision.Detections` of one frame after the other, with the objects' ids as `tracker_id`."""
        from hodor_cli.run.exporting import detections

        return detections(self.out)

    def _repr_html_(self) -> str:
        """The result as a notebook shows it: the overlay to play, its objects, the frames to review."""
        from hodor_cli.run.notebook import notebook_html

        return notebook_html(self)
