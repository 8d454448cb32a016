"""The damage found in a video: which frames are missing or incomplete, and sentences about it for the user."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from av.packet import Packet

from hodor_cli.images.paths import listed, plural

#: A packet closer to a frame than this fraction of the shortest frame interval is part of it, such as its second field.
_APART = 0.75
#: Frames, or ranges of frames, that a sentence lists.
_LISTED = 8


@dataclass
class Damage:
    """The damage that `decode_frames` finds in a stream. Frames are counted from the first decoded one."""

    failed: int = 0  # packets that could not be decoded
    timed: bool = True  # every frame has a time stamp, so that missing frames are known
    missing: list[int] = field(default_factory=list)  # frames that show the previous one, because decoding failed
    patched: list[int] = field(default_factory=list)  # incomplete frames whose missing parts the decoder filled in
    left_out: int = 0  # packets decoded but not shown, because the file's edit list leaves them out
    before: int = 0  # frames before the first that could be decoded
    after: int = 0  # frames after the last that could be decoded
    #: Frame -> seconds before it without a frame; also in undamaged files with a variable frame rate.
    jumps: dict[int, float] = field(default_factory=dict)
    torn: bool = False  # packets are incomplete or missing
    cut_tail: bool = False  # the last packet or frame is incomplete
    finished: bool = False  # the stream was read to its end

    def note(self, index: int, *, missing: bool, patched: bool) -> None:
        """Record what is wrong with a frame."""
        if missing:
            self.missing.append(index)
        elif patched:
            self.patched.append(index)

    @property
    def misnumbered(self) -> bool:
        """Whether frames decoded from now on may have numbers that do not match their times."""
        return self.failed > 0 and not self.timed

    def sentences(self, label: str) -> Iterator[str]:
        """Sentences about the damage in a stream that was read, except about a cut end."""
        if self.before:
            frames = plural(self.before, "frame")
            yield f"{label} begins with {frames} that cannot be decoded; frame 0 is the first one that can"
        if self.misnumbered:
            packets = plural(self.failed, "packet")
            yield f"{label} is damaged: {packets} could not be decoded; later frames are numbered without them"
        parts = []
        if self.missing:
            parts.append(f"{frames_text(self.missing)} could not be decoded, so the previous frame is shown")
        if self.patched:
            parts.append(f"the decoder filled in missing parts of {frames_text(self.patched)}")
        if parts:
            yield f"{label} is damaged: {', and '.join(parts)}; frames after that may show traces of it"
        if self.jumps and self.torn:
            jumps = listed((f"{seconds:.2g} s before frame {at}" for at, seconds in self.jumps.items()), _LISTED)
            yield f"{label} is damaged: {jumps} are missing; the remaining frames are numbered without a gap"
        if self.after and not self.cut_tail:
            yield f"{label} is damaged: {plural(self.after, 'frame')} at its end could not be decoded"


def frames_text(frames: Sequence[int]) -> str:
    """Ascending frame numbers as text: "frame 7", "frames 7, 9-12"."""
    runs = [[at for _, at in run] for _, run in groupby(enumerate(frames), lambda item: item[1] - item[0])]
    parts = [str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs]
    more = f" and later ones, {len(frames)} in all" if len(parts) > _LISTED else ""
    return f"frame{'s' * (len(frames) > 1)} {', '.join(parts[:_LISTED])}{more}"


class SentPackets:
    """The packets that were sent to a decoder and have not produced a frame yet, by presentation time in ticks.

    If a later packet produces a frame first, the frame of an earlier one is missing, unless that packet is only a part
    of a neighbouring frame.
    """

    def __init__(self, frame_ticks: float) -> None:
        """frame_ticks: the mean time between two frames."""
        self._durations: dict[int, int] = {}
        self._step = frame_ticks
        self._last: int | None = None

    def add(self, packet: Packet) -> None:
        if packet.pts is not None and not packet.is_discard:
            self._durations[packet.pts] = packet.duration or 0

    def missing_before(self, stamp: int | None = None) -> list[tuple[int, int]]:
        """The time and duration of each missing frame before the frame at `stamp`; None: before the end."""
        missing, last = [], self._last
        for at in sorted(at for at in self._durations if stamp is None or at < stamp):
            duration = self._durations.pop(at)
            apart = _APART * self._step
            if (last is None or at - last >= apart) and (stamp is None or stamp - at >= apart):
                missing.append((at, duration))
                last = at
        if stamp is not None:
            if last is not None and stamp > last:
                self._step = min(self._step, stamp - last)
            self._last = stamp
        return missing

    def take(self, stamp: int) -> int:
        """Remove the packet of a decoded frame and return its duration, 0 if unknown."""
        return self._durations.pop(stamp, 0)
