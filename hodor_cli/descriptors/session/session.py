"""What descriptors add to a run of `segment`: objects known from a file, recording, and watching for drift."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from hodor_cli.descriptors.export.encode import FeatureTap
from hodor_cli.descriptors.search.projection import projection_for
from hodor_cli.descriptors.search.query import start_descriptors
from hodor_cli.descriptors.session.drift import DriftMonitor
from hodor_cli.descriptors.session.recognition import Recognition
from hodor_cli.descriptors.session.recorder import DescriptorRecorder
from hodor_cli.errors import InputError, UsageError

if TYPE_CHECKING:
    import numpy as np

    from hodor_cli.engine import Segmenter
    from hodor_cli.video.frames import FrameSource


class DescriptorSession:
    """A context around `segment_source`: give it the context's `segmenter` and `on_step`.

    The context's segmenter is the given one, whose saved state also holds what the watches over drift and identity
    need, so that a run that is resumed reports the same.

        with DescriptorSession(segmenter, source, known=["objects.h5#bear/1"], record="new.h5") as session:
            segment_source(source, RunInputs(masks), out, session.segmenter, hooks=RunHooks(on_step=session.on_step))

    Args:
        segmenter: New; it starts from the objects of `known`, if any.
        source: What will be segmented.
        masks: {frame: label map} that start further objects.
        known: "FILE.h5#VIDEO/ID" or "FILE.h5#VIDEO" arguments.
        projection: File of `fit_projection`, by which objects of `known` are recognised; by default the
            package's own for its weights, and none for others.
        record: Descriptor file to add this video to, in the same pass.
        result: The run's result folder, by which the file tells results of one video apart.
    Raises:
        InputError, UsageError: an argument names no stored object, or one saved with other weights.
        OutputError: the file cannot be written.
    """

    def __init__(
        self,
        segmenter: Segmenter,
        source: FrameSource,
        *,
        masks: Mapping[int, Any] | None = None,
        known: Sequence[str] = (),
        projection: Path | None = None,
        record: str | Path | None = None,
        result: Path | None = None,
    ) -> None:
        self.object_ids: list[int] = []
        #: What determines the result besides masks, for the run's settings: the arguments and their hash.
        self.start_from = ""
        self.recorder: DescriptorRecorder | None = None
        #: Whether what is found looks like the saved objects; None without `known`.
        self.recognition: Recognition | None = None
        if projection is not None and not known:
            raise UsageError("`projection` is what objects of `known` are recognised by; give `known` as well")
        if known:
            if masks:
                raise UsageError("objects come either from masks or from a descriptor file; give `mask` or `known`")
            self.recognition, self.object_ids, digest = start_from_store(segmenter, list(known), projection)
            self.start_from = f"{' '.join(known)} sha256:{digest}"
        if record is not None:
            self.recorder = DescriptorRecorder(
                record, source, segmenter, masks, result=result, start_from=self.start_from
            )
        watches: dict[str, DriftMonitor | Recognition] = {"drift": DriftMonitor()}
        if self.recognition is not None:
            watches["recognition"] = self.recognition
        self.segmenter = WatchedSegmenter(segmenter, watches)
        self._watches = watches.values()

    def on_step(self, frame: Any, result: Any, segmenter: Any) -> Mapping[str, Any]:
        """Record a frame, and name its objects to review, in the form that the report takes."""
        if self.recorder is not None:
            self.recorder.on_step(frame, result, segmenter)
        said = [watch.on_step(frame, result, segmenter) for watch in self._watches]
        review = [item for one in said for item in one.get("review", ())]
        return {"review": review} if review else {}

    def __enter__(self) -> DescriptorSession:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.recognition is not None:
            self.recognition.close()
        if self.recorder is not None:
            self.recorder.__exit__(kind, error, trace)


class WatchedSegmenter:
    """A segmenter in all respects, with the states of those that watch it inside its own."""

    def __init__(self, segmenter: Segmenter, watches: Mapping[str, DriftMonitor | Recognition]) -> None:
        self._segmenter, self._watches = segmenter, watches

    def __getattr__(self, name: str) -> Any:
        return getattr(self._segmenter, name)

    def state(self) -> dict[str, np.ndarray]:
        """All states in one dictionary, each watch's under `watch/NAME/`."""
        arrays = dict(self._segmenter.state())
        for name, watch in self._watches.items():
            arrays |= {f"watch/{name}/{key}": value for key, value in watch.state().items()}
        return arrays

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Continue from what `state` gave, or from a plain segmenter's state."""
        self._segmenter.load_state({key: value for key, value in state.items() if not key.startswith("watch/")})
        for name, watch in self._watches.items():
            prefix = f"watch/{name}/"
            own = {key[len(prefix) :]: value for key, value in state.items() if key.startswith(prefix)}
            if own:
                watch.load_state(own)


def start_from_store(
    segmenter: Segmenter, arguments: list[str], projection_file: Path | None = None
) -> tuple[Recognition, list[int], str]:
    """Let a segmenter follow the objects that "FILE.h5#VIDEO/ID" arguments name.

    Returns what tells whether they are recognised, their ids, and a hash of the descriptors. Raises InputError if they
    were saved with other weights than the segmenter's, or do not exist.
    """
    from hodor_cli.weights.checkpoint import model_fingerprint

    objects, background, fingerprint, baseline = start_descriptors(arguments)
    if fingerprint != model_fingerprint(segmenter.model):
        raise InputError(
            f"{arguments[0]} was saved with other weights than those in use; name the same `weights`, or "
            "export it again"
        )
    segmenter.start_from(objects, background)
    digest = hashlib.sha256(background.tobytes())
    for key, value in objects.items():
        digest.update(f"{key}{value.shape}".encode() + value.tobytes())
    projection = projection_for(fingerprint, projection_file) if baseline.keys() == objects.keys() else None
    tap = FeatureTap(segmenter) if projection is not None else None
    recognition = Recognition(objects, background, baseline=baseline, projection=projection, tap=tap)
    return recognition, list(objects), digest.hexdigest()
