"""The check of clips in the DAVIS and YouTube-VOS layouts."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hodor_cli.datasets.check import CheckReport, Progress
from hodor_cli.datasets.clips import ClipLayout, find_clips, image_size, list_images, read_labels
from hodor_cli.datasets.coco import read_image
from hodor_cli.datasets.limits import ObjectLimits
from hodor_cli.errors import DataError
from hodor_cli.training.samples.clip_training import usable_objects


def check_clips(
    folder: Path,
    limits: ObjectLimits,
    *,
    full: bool = False,
    resolution: str | None = None,
    split: str | None = None,
    progress: Progress | None = None,
) -> CheckReport:
    """Check all sequences of a folder; see `check_dataset`. Quick: names, and the middle annotation of each sequence.

    The middle one is what `sparse` finetuning is given; a quick check opens no other.
    """
    layout = find_clips(folder, resolution=resolution, split=split)
    report = CheckReport(folder, "clips", full)
    unlabelled = 0
    for done, name in enumerate(layout.names, start=1):
        unlabelled += _check_sequence(layout, name, limits, report, full=full)
        if progress is not None:
            progress(done, len(layout.names))
    report.facts.insert(0, "1 sequence." if len(layout.names) == 1 else f"{len(layout.names)} sequences.")
    if unlabelled:
        report.facts.append(f"{unlabelled} frames have no annotation: only `sparse` finetuning can use them.")
    if not full:
        report.facts.append("Samples are counted from the middle annotation of each sequence; --full reads them all.")
    return report


def _check_sequence(layout: ClipLayout, name: str, limits: ObjectLimits, report: CheckReport, *, full: bool) -> int:
    """Check one sequence; returns how many of its frames have no annotation."""
    frames = list_images(layout.frames / name)
    if not frames:
        report.add("sequence without frames", name, _instead(layout.frames / name))
        return 0
    report.images += len(frames)
    stems = [frame.stem for frame in frames]
    for stem in sorted({stem for stem in stems if stems.count(stem) > 1}) if len(set(stems)) < len(stems) else []:
        report.add("frame there twice", f"{name}/{stem}", "the same name with different endings")
    folder = layout.annotations / name
    labels = {path.stem: path for path in list_images(folder) if path.suffix.lower() == ".png"}
    if not labels:
        report.add("sequence without annotations", name, _instead(folder))
        return len(frames)
    known = set(stems)
    if not known & set(labels):
        report.add(
            "names do not match", name, f"frames such as {frames[0].name}, annotations such as {min(labels)}.png"
        )
        return len(frames)
    for stem in sorted(set(labels) - known):
        report.add("annotation without a frame", f"{name}/{stem}.png", serious=False)
    size = _size(frames[0], name, report)
    annotated = [frame for frame in frames if frame.stem in labels]
    if full:
        for frame in frames:
            _check_frame(frame, name, size, report)
    usable = 0
    for frame in annotated if full else [annotated[len(annotated) // 2]]:
        found = _check_labels(labels[frame.stem], name, size, limits, report)
        usable += found > 0
        report.objects += found if full else found * len(annotated)
    # Without opening them, the other annotations are taken to be like the middle one.
    report.samples += usable if full else usable * len(annotated)
    return len(frames) - len(annotated)


def _check_frame(frame: Path, name: str, size: tuple[int, int] | None, report: CheckReport) -> None:
    try:
        actual = read_image(frame).shape[:2]
    except DataError as error:
        report.add("broken image", f"{name}/{frame.name}", str(error))
        return
    if size is not None and actual != size:
        report.add(
            "size mismatch", f"{name}/{frame.name}", f"{actual[1]}x{actual[0]}, the clip began with {size[1]}x{size[0]}"
        )


def _check_labels(
    path: Path, name: str, size: tuple[int, int] | None, limits: ObjectLimits, report: CheckReport
) -> int:
    """How many usable objects an annotation has."""
    where = f"{name}/{path.name}"
    try:
        labels = read_labels(path)
    except DataError as error:
        report.add("broken mask", where, str(error))
        return 0
    if size is not None and labels.shape != size:
        report.add("size mismatch", where, f"mask {labels.shape[1]}x{labels.shape[0]}, frame {size[1]}x{size[0]}")
        return 0
    if not labels.any():
        report.add("empty mask", where, "no pixel of any object", serious=False)
        return 0
    usable = usable_objects(labels, limits)
    small = len(np.flatnonzero(np.bincount(labels.ravel())[1:])) - len(usable)
    if small:
        report.add("objects below the limits", where, f"{small} of {small + len(usable)}", serious=False)
    return len(usable)


def _size(frame: Path, name: str, report: CheckReport) -> tuple[int, int] | None:
    try:
        return image_size(frame)
    except DataError as error:
        report.add("broken image", f"{name}/{frame.name}", str(error))
        return None


def _instead(folder: Path) -> str:
    """What a folder without what was looked for holds."""
    if not folder.is_dir():
        return f"there is no folder {folder}"
    endings = sorted({entry.suffix.lower() or "no ending" for entry in folder.iterdir() if entry.is_file()})
    if not endings:
        return f"{folder} is empty"
    return f"{folder} holds only {', '.join(endings)} files; annotations are label PNGs named like their frames"
