"""What is damaged in a video: which frames are missing, which are incomplete, and the sentences about that."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from av.packet import Packet

from hodor_cli.images.paths import listed, plural

#: Of the shortest time between two frames: what lies nearer to a frame is another part of it, such as its second field.
_APART = 0.75


@dataclass
class Tally:
    """The damage that `decode_frames` meets in a stream. Frames are counted from the first that is decoded."""

    failed: int = 0  # packets that could not be decoded
    timed: bool = True  # every frame has a time stamp, so that the missing ones are known
    missing: list[int] = field(default_factory=list)  # frames that show the one before, because they were not decoded
    patched: list[int] = field(default_factory=list)  # incomplete frames whose missing parts the decoder filled in
    before: int = 0  # frames before the first that could be decoded
    after: int = 0  # frames after the last that could be decoded
    #: Frame -> for how many seconds nothing is shown before it; also in whole files whose frame rate varies.
    jumps: dict[int, float] = field(default_factory=dict)
    torn: bool = False  # packets are incomplete or missing
    cut_tail: bool = False  # the last packet or frame is incomplete
    finished: bool = False  # the stream was read to its end

    def note(self, index: int, *, missing: bool, patched: bool) -> None:
        """Note what is wrong with a frame."""
        if missing:
            self.missing.append(index)
        elif patched:
            self.patched.append(index)

    @property
    def misnumbered(self) -> bool:
        """Whether the number of a frame decoded from now on may not be that of its time."""
        return self.failed > 0 and not self.timed

    def sentences(self, label: str) -> Iterator[str]:
        """What to tell of the damage of a stream that was read; nothing of its cut end."""
        if self.before:
            frames = plural(self.before, "frame")
            yield f"{label} begins with {frames} that cannot be decoded; frame 0 is the first one that can"
        if self.misnumbered:
            packets = plural(self.failed, "packet")
            yield (
                f"{label} is damaged: {packets} could not be decoded and were skipped; later frames are numbered"
                " without them"
            )
        parts = [f"{numbered(self.missing)} could not be decoded, so the frame before is shown"] if self.missing else []
        parts += [f"the decoder filled in missing parts of {numbered(self.patched)}"] if self.patched else []
        if parts:
            yield f"{label} is damaged: {', and '.join(parts)}; frames after that may show traces of it"
        if self.jumps and self.torn:
            jumps = listed((f"{seconds:.2g} s before frame {at}" for at, seconds in self.jumps.items()), 8)
            yield f"{label} is damaged: it lacks {jumps}; the frames that it has are numbered without those"
        if self.after and not self.cut_tail:
            yield f"{label} is damaged: {plural(self.after, 'frame')} at its end could not be decoded"


def numbered(frames: Sequence[int], most: int = 8) -> str:
    """Rising numbers of frames as text: "frame 7", "frames 7, 9-12"."""
    runs = [[at for _, at in run] for _, run in groupby(enumerate(frames), lambda item: item[1] - item[0])]
    parts = [str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs]
    more = f" and later ones, {len(frames)} in all" if len(parts) > most else ""
    return f"frame{'s' * (len(frames) > 1)} {', '.join(parts[:most])}{more}"


class SentPackets:
    """The packets that a decoder has and that gave no frame yet, by their presentation times in ticks.

    A packet that is passed over gave none: its frame is missing, unless it is only a part of the frame beside it.
    """

    def __init__(self, frame_ticks: float) -> None:
        """frame_ticks: the mean time between two frames."""
        self._durations: dict[int, int] = {}
        self._step = frame_ticks
        self._last: int | None = None

    def add(self, packet: Packet) -> None:
        if packet.pts is not None and not packet.is_discard:
            self._durations[packet.pts] = packet.duration or 0

    def passed(self, stamp: int | None = None) -> list[tuple[int, int]]:
        """The time and duration of each frame that is missing before that of `stamp`; None: before the end."""
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
        """The duration of the packet of a decoded frame, 0 if it has none."""
        return self._durations.pop(stamp, 0)
