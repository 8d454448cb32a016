"""How an interrupted run is resumed from its identity, a journal and a checkpoint.

- The identity has the inputs and settings. A run is resumed only with the same ones.
- The journal has one line of JSON per frame. An incomplete line, and lines after the checkpoint, are dropped.
- The checkpoint is the segmenter's state after a frame. It is small and replaced atomically.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from hodor_cli.engine.segmenter import Segmenter
from hodor_cli.errors import OutputError
from hodor_cli.files import write_whole, writing
from hodor_cli.images.paths import listed, path_text
from hodor_cli.records import RunFile, RunIdentity, SourceRecord, WeightsRecord, decode
from hodor_cli.run.inputs import RunInputs
from hodor_cli.run.output import OutputFolder, damaged
from hodor_cli.run.settings import RunOutput, RunSegmenter, SegmentSettings
from hodor_cli.video.frames import FrameSource
from hodor_cli.video.h264 import MOST_SIDE
from hodor_cli.video.source import content_hash
from hodor_cli.weights.checkpoint import model_fingerprint

_STATE = "state:"
_Count = Annotated[int, msgspec.Meta(ge=0)]


@dataclass(frozen=True)
class RunProgress:
    """Frames done, the length of their journal, time spent, and the source's warnings."""

    done: _Count = 0
    journal_bytes: _Count = 0
    seconds: float = 0.0
    network_seconds: float = 0.0
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class RunState:
    """A point at which a run can be resumed: its progress, and the segmenter's state after its last frame."""

    progress: RunProgress
    state: Mapping[str, NDArray[Any]]


def save_run_state(path: Path, checkpoint: RunState) -> None:
    """Write a checkpoint atomically. Raises OSError."""
    arrays = {_STATE + key: np.asarray(value) for key, value in checkpoint.state.items()}
    buffer = io.BytesIO()
    meta = np.array(msgspec.json.encode(checkpoint.progress).decode())
    np.savez(buffer, allow_pickle=False, meta=meta, **arrays)
    write_whole(path, buffer.getvalue())


def load_run_state(path: Path) -> RunState | None:
    """The checkpoint, or None if there is none yet. Raises OutputError if it is damaged."""
    try:
        with np.load(path, allow_pickle=False) as file:
            progress = msgspec.json.decode(str(file["meta"]), type=RunProgress)
            state = {key[len(_STATE) :]: file[key] for key in file.files if key.startswith(_STATE)}
    except FileNotFoundError:
        return None
    except Exception as error:  # damaged data can raise any kind of exception
        raise damaged(path) from error
    return RunState(progress, state)


def prepare(folder: OutputFolder, identity: RunIdentity, output: RunOutput) -> RunState | None:
    """Prepare a folder for a new run, or for continuing an interrupted one, whose checkpoint is returned.

    Raises OutputError for a folder that may not be used, or an interrupted run with another identity.
    """
    state = folder.require(output)
    checkpoint = interrupted = None
    if output.resume and (interrupted := read_run(folder.run)) is not None:
        refuse_differences(interrupted, identity, folder.root)
        checkpoint = load_run_state(folder.checkpoint)
    with writing(folder.root):
        if checkpoint is not None:
            folder.remove_after(checkpoint.progress.journal_bytes)
            folder.remove_leftovers()
        elif state != "new":
            folder.remove_results(keep_backward=interrupted is not None)
        folder.masks.mkdir(parents=True, exist_ok=True)
        folder.progress.mkdir(exist_ok=True)
        file = RunFile(**{name: getattr(identity, name) for name in RunIdentity.__struct_fields__})
        write_whole(folder.run, msgspec.json.format(msgspec.json.encode(file), indent=1))
    return checkpoint


def read_run(path: Path) -> RunIdentity | None:
    """The identity of an unfinished run; None if that was not written yet. Raises OutputError if damaged."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise damaged(path) from error
    return decode(data, RunFile, str(path))


def run_identity(
    source: FrameSource, inputs: RunInputs, settings: SegmentSettings, segmenter: RunSegmenter | None
) -> RunIdentity:
    """The inputs and settings that determine the results of a run, independent of where its files are; those that a
    segmenter uses are known of a `Segmenter` only."""
    used: dict[str, Any] = {"device": "", "precision": "", "min_dim": None, "max_dim": None}
    fingerprint, digests = "", {}
    if isinstance(segmenter, Segmenter):
        # Not its present dimensions, which depend on the objects that it has followed.
        min_dim, max_dim = segmenter.sides[0]
        precision, fingerprint = str(segmenter.dtype).removeprefix("torch."), model_fingerprint(segmenter.model)
        used = {"device": str(segmenter.device), "precision": precision, "min_dim": min_dim, "max_dim": max_dim}
    for frame in sorted(inputs.masks):
        labels = np.ascontiguousarray(inputs.labels(frame), dtype=np.uint16)
        digests[frame] = hashlib.sha256(str(labels.shape).encode() + labels.tobytes()).hexdigest()
    return RunIdentity(
        source=SourceRecord(
            name=source.name,
            kind=source.kind,
            size=(int(source.height), int(source.width)),
            fps=float(source.fps),
            start=source.start,
            end=source.end,
            content=content_hash(source),
            value_range=None if (scale := source.value_range) is None else (float(scale.low), float(scale.high)),
        ),
        masks=digests,
        boxes={frame: dict(of) for frame, of in sorted(inputs.boxes.items())},
        clicks={at: {key: tuple(clicks) for key, clicks in of.items()} for at, of in sorted(inputs.clicks.items())},
        removals={frame: tuple(sorted(ids)) for frame, ids in sorted(inputs.removals.items())},
        names=dict(sorted(inputs.names.items())),
        appears=dict(sorted(inputs.appears.items())),
        weights=WeightsRecord(settings.weights, fingerprint),
        settings={key: value for key, value in asdict(settings).items() if key != "weights"},
        used=used,
        place={"source": source.label if source.place is None else path_text(source.place)}
        | ({"axes": source.axes} if source.axes else {}),
    )


def differences(then: RunIdentity, now: RunIdentity) -> list[str]:
    """The differences between two identities, as phrases for a message."""
    found = []
    for key in SourceRecord.__struct_fields__:
        was, value = getattr(then.source, key), getattr(now.source, key)
        if was != value:
            values = f"'s {key} ({_plain(was)} then, {_plain(value)} now)"
            found.append("the source" + ("" if key == "content" else values))
    if (was := then.place.get("axes")) != (value := now.place.get("axes")):
        found.append(f"`axes` ({_plain(was)} then, {_plain(value)} now)")
    for kind, word in {"masks": "mask", "boxes": "box", "clicks": "clicks", "removals": "removal"}.items():
        before, after = getattr(then, kind), getattr(now, kind)
        frames = sorted({*before, *after})
        found += [f"the {word} of frame {frame}" for frame in frames if before.get(frame) != after.get(frame)]
    if then.appears != now.appears:
        found.append("where objects appear")
    if then.weights.fingerprint != now.weights.fingerprint:
        was, name = then.weights.name, now.weights.name
        why = f"{was} then, {name} now" if was != name else f"{name}, changed since, or adapted to other masks"
        found.append(f"the weights ({why})")
    changed: dict[str, str] = {}
    for part in ("settings", "used"):  # "auto" may have another value on another machine
        for key, value in getattr(now, part).items():
            was, name = getattr(then, part).get(key, value), key.replace("_", "-")
            same = was == value
            if key == "overlay_side":  # earlier versions drew every overlay at the source's size
                was = getattr(then, part).get(key, MOST_SIDE)
                was, value = (min(side, max(now.source.size)) for side in (was, value))
                same = was == value
            if key == "start_from":  # the saved objects count, by their hash, not where they are saved
                same, name = str(was).split()[-1:] == str(value).split()[-1:], "`known`"
            if not same:
                changed.setdefault(key, f"{name} ({_plain(was)} then, {_plain(value)} now)")
    return [*found, *changed.values()]


def refuse_differences(then: RunIdentity, now: RunIdentity, folder: Path) -> None:
    """Raise OutputError, naming what differs, unless a run with the identity `now` may be continued in `folder`."""
    if found := differences(then, now):
        raise OutputError(f"{folder} has other inputs or settings: {listed(found, 8)}; give the same, or `overwrite`")


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return "default" if value is None else str(value) or "none"
