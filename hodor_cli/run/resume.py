"""What an interrupted run leaves behind so that it can go on: its identity, a journal and a checkpoint.

- The identity says what the run was about. Going on with anything else would give a mixture, so it is refused.
- The journal has one line of JSON per frame. A line that a kill cut off, and lines past the checkpoint, are dropped.
- The checkpoint is the segmenter's state after a frame, small and written whole.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hodor_cli.errors import OutputError
from hodor_cli.files import write_whole
from hodor_cli.run.inputs import StartMasks
from hodor_cli.run.output import parse_line
from hodor_cli.run.settings import SegmentSettings
from hodor_cli.video.source import FrameSource

_SAMPLE_BYTES = 1 << 20  # hashed at the start, middle and end of a video file
_STATE = "state:"


@dataclass(frozen=True)
class Checkpoint:
    """Where a run stands: frames done, bytes of the journal that belong to them, the segmenter's state after them."""

    done: int
    journal_bytes: int
    seconds: float
    network_seconds: float
    warnings: tuple[str, ...]
    state: Mapping[str, NDArray[Any]]


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint so that the one before stays until the new one is whole. Raises OSError."""
    plain = {key: value for key, value in vars(checkpoint).items() if key != "state"}
    arrays = {_STATE + key: np.asarray(value) for key, value in checkpoint.state.items()}
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, meta=np.array(json.dumps(plain)), **arrays)
    write_whole(path, buffer.getvalue())


def load_checkpoint(path: Path) -> Checkpoint | None:
    """The checkpoint, or None if none was written yet. Raises OutputError if it is damaged."""
    try:
        with np.load(path, allow_pickle=False) as file:
            plain = json.loads(str(file["meta"]))
            state = {key[len(_STATE) :]: file[key] for key in file.files if key.startswith(_STATE)}
        return Checkpoint(**plain | {"warnings": tuple(plain["warnings"])}, state=state)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise OutputError(f"{path} is damaged, so the run cannot go on; start it again with --overwrite") from error


class Journal:
    """The records of the frames done so far, on disk and not in memory."""

    def __init__(self, path: Path, keep_bytes: int = 0) -> None:
        """Open for appending; only the first `keep_bytes` bytes of what is there stay."""
        self._file = path.open("r+b" if keep_bytes else "wb", buffering=0)
        self._file.truncate(keep_bytes)
        self._file.seek(keep_bytes)
        self.size = keep_bytes

    def append(self, record: Mapping[str, Any]) -> None:
        """Add one frame's record."""
        line = json.dumps(record, separators=(",", ":")).encode() + b"\n"
        written = self._file.write(line)
        if written != len(line):
            raise OSError(errno.ENOSPC, "the disk is full")
        self.size += len(line)

    def close(self) -> None:
        self._file.close()


def read_journal(path: Path, from_byte: int = 0, to_byte: int | None = None) -> Iterator[dict[str, Any]]:
    """The journal's whole records between two offsets, one at a time."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return
    with file:
        file.seek(from_byte)
        position = from_byte
        for line in file:
            position += len(line)
            if to_byte is not None and position > to_byte:
                return
            record = parse_line(line)
            if record is not None:
                yield record


def write_run(path: Path, identity: Mapping[str, Any]) -> None:
    """Write down what the run is about. Raises OSError."""
    write_whole(path, json.dumps({"format": "hodor-run", "version": 1, **identity}, indent=1).encode())


def read_run(path: Path) -> dict[str, Any] | None:
    """What an unfinished run is about; None if it was cut off before it wrote that. Raises OutputError if damaged."""
    try:
        identity: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return identity
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise OutputError(f"{path} is damaged, so the run cannot go on; start it again with --overwrite") from error


def run_identity(
    source: FrameSource, start: StartMasks, settings: SegmentSettings, segmenter: Any, *, fingerprint: str, coco: bool
) -> dict[str, Any]:
    """Everything that decides the results of a run, as plain JSON values. Content counts, not where it lies; `used` is
    what settings left open came to."""
    return {
        "source": {
            "name": source.name,
            "kind": source.kind,
            "size": [int(source.height), int(source.width)],
            "fps": float(source.fps),
            "start": source.start,
            "end": source.end,
            "content": _content_hash(source),
        },
        "masks": {str(frame): _array_hash(start.labels(frame)) for frame in start.mask_frames},
        "boxes": {
            str(frame): {str(key): [int(side) for side in box] for key, box in of.items()}
            for frame, of in sorted(start.boxes.items())
        },
        "weights": {"name": settings.weights, "fingerprint": fingerprint},
        "settings": {**{key: value for key, value in asdict(settings).items() if key != "weights"}, "coco": coco},
        "used": {
            "device": str(getattr(segmenter, "device", "")),
            "precision": str(getattr(segmenter, "dtype", "")).removeprefix("torch."),
            "min_dim": getattr(segmenter, "min_dim", None),
            "max_dim": getattr(segmenter, "max_dim", None),
        },
        # Where the source lay; not compared.
        "place": {"source": str(Path(source.label).resolve()) if Path(source.label).exists() else source.label},
    }


def differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What differs between two identities, in a user's words."""
    found = []
    for key, value in now["source"].items():
        was = then["source"].get(key)
        if was != value:
            found.append("the source" + ("" if key == "content" else f"'s {key} ({was} then, {value} now)"))
    for kind, word in (("masks", "the mask"), ("boxes", "the box")):
        frames = sorted(set(then[kind]) | set(now[kind]), key=int)
        found += [f"{word} of frame {frame}" for frame in frames if then[kind].get(frame) != now[kind].get(frame)]
    if then["weights"]["fingerprint"] != now["weights"]["fingerprint"]:
        found.append(f"the weights ({then['weights']['name']} then, {now['weights']['name']} now)")
    told = set()
    for part in ("settings", "used"):  # "auto" may have come to something else on another machine
        for key, value in now[part].items():
            was = then[part].get(key)
            if was != value and key not in told:
                told.add(key)
                found.append(f"{key.replace('_', '-')} ({_plain(was)} then, {_plain(value)} now)")
    return found


def refuse_differences(then: Mapping[str, Any], now: Mapping[str, Any], folder: Path) -> None:
    """Raise OutputError, naming what differs, unless a run with the identity `now` may go on in `folder`."""
    found = differences(then, now)
    if found:
        raise OutputError(
            f"the run in {folder} cannot be resumed because other inputs or settings were given: {', '.join(found)}; "
            "give the same ones, or start again with --overwrite"
        )


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return "default" if value is None else str(value)


def _array_hash(labels: NDArray[np.integer] | None) -> str:
    array = np.ascontiguousarray(labels, dtype=np.uint16)
    return hashlib.sha256(str(array.shape).encode() + array.tobytes()).hexdigest()


def _content_hash(source: FrameSource) -> str | None:
    """A fingerprint of a video file (its size and samples of its bytes) or an image folder (names and sizes)."""
    digest = hashlib.sha256()
    if source.kind == "folder" and hasattr(source, "files"):
        for file in source.files:
            digest.update(f"{file.name}\0{file.stat().st_size}\0".encode())
        return digest.hexdigest()
    path = getattr(source, "path", None)
    if source.kind != "video" or path is None or not Path(path).is_file():
        return None
    size = Path(path).stat().st_size
    digest.update(str(size).encode())
    with Path(path).open("rb") as file:
        for start in (0, size // 2, max(0, size - _SAMPLE_BYTES)):
            file.seek(start)
            digest.update(file.read(_SAMPLE_BYTES))
    return digest.hexdigest()
