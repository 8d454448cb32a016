"""Checks a data set before training and reports all faults together.

It opens the data set as training does (`StillImages` or `ClipSet`) and reports what is left out, and why.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from hodor_cli.datasets.clips import ClipSet
from hodor_cli.datasets.coco import StillImages
from hodor_cli.datasets.faults import BELOW, CheckReport, Faults
from hodor_cli.datasets.limits import ObjectLimits
from hodor_cli.errors import as_data_error
from hodor_cli.formats.numbering import cut_outlines
from hodor_cli.formats.opening import open_set
from hodor_cli.images.label_png import ids_in
from hodor_cli.images.paths import listed, plural
from hodor_cli.images.picture import read_header

Progress = Callable[[int, int], None]
#: Every photograph of a data set with up to this many is opened. In larger sets only headers are read, to save time.
OPENED = 500


def check_dataset(
    path: str | Path,
    *,
    annotations: str | Path | None = None,
    limits: ObjectLimits | None = None,
    full: bool = False,
    progress: Progress | None = None,
) -> CheckReport:
    """Check a set of annotated photographs or a folder of clips and report all faults together.

    path: the folder of the data set, or of the images if `annotations` (a COCO file) is given. full: open every image
    and mask, as is always done for up to `OPENED` photographs. Otherwise only the headers of photographs are read; of
    clips, names are compared and one mask per sequence is read. progress: called with (done, total).
    Raises DataError only if `path` is not a data set; the message says what the folder contains.
    """
    limits = limits or ObjectLimits()
    found = open_set(path, annotations, limits=limits, allow_empty=True)
    return check_opened(found, limits, full=full, progress=progress)


def check_opened(
    found: StillImages | ClipSet, limits: ObjectLimits, *, full: bool = False, progress: Progress | None = None
) -> CheckReport:
    """`check_dataset` for a set that `open_set` returned with `allow_empty`."""
    if isinstance(found, StillImages):
        return _check_stills(found, full, progress)
    return _check_clips(found, limits, full, progress)


def _check_stills(stills: StillImages, full: bool, progress: Progress | None) -> CheckReport:
    full = full or len(stills) <= OPENED
    report = CheckReport(**vars(stills.faults), full=full, images=stills.images_listed)
    report.samples, report.objects = len(stills), sum(stills.object_counts)
    for index in range(len(stills)):
        _check_photograph(stills, index, full, report)
        if progress is not None:
            progress(index + 1, len(stills))
    if len(stills) and set(stills.classes) - {"object"}:
        counts = [f"{name} {count}" for name, count in stills.classes.most_common()]
        report.facts.append(f"objects by class: {listed(counts, 20)}")
    report.facts.extend(cut_outlines(stills.cut))
    if stills.below_limits:
        report.facts.append(f"{plural(stills.below_limits, 'object')} below the limits ({stills.limits})")
    if bare := stills.without_objects:
        report.facts.append(f"{plural(len(bare), 'photograph')} without an object to train on: {listed(bare, 3)}")
    return report


def _check_photograph(stills: StillImages, index: int, full: bool, report: CheckReport) -> None:
    """Read the header of a photograph or, with `full`, the photograph and all its masks."""
    name = Path(stills.name(index)).name
    with report.noting("broken image", name), as_data_error():
        header = read_header(stills.path(index))
        if header.pages > 1:
            report.add("pages after the first", name, plural(header.pages - 1, "page"), serious=False)
        if not full:
            return stills.require_size(index, header.size)
        for item in stills.load(index).objects:
            if not item.mask.any():
                report.add("empty mask", f"annotation {item.annotation_id} of {name}", "no pixel", serious=False)


def _check_clips(clips: ClipSet, limits: ObjectLimits, full: bool, progress: Progress | None) -> CheckReport:
    """Check clips. Without `full`, only names and each sequence's middle annotation, which `sparse` finetuning uses."""
    report = CheckReport(**vars(clips.faults), kind="clips", full=full)
    report.facts.append(plural(len(clips) + report.counts.total(), "sequence"))
    report.facts.extend(clips.dataset.notes)
    unlabelled = report.images = clips.frames_left_out
    for number, clip in enumerate(clips.clips):
        report.images += len(clip.frames)
        unlabelled += len(clip.frames) - len(clip.labelled)
        for file in clip.strays:
            report.add("annotation without a frame", f"{clip.name}/{file.name}", serious=False)
        if full:
            for frame, file in enumerate(clip.frames):
                with report.noting("broken image", f"{clip.name}/{file.name}"):
                    clips.load_frame(number, frame)
        chosen = clip.labelled if full else clip.labelled[len(clip.labelled) // 2 :][:1]
        share = 1 if full else len(clip.labelled)  # the middle annotation represents those that are not opened
        for frame in chosen:
            found = _check_labels(clips, number, frame, limits, report)
            report.samples += share * (found > 0)
            report.objects += share * found
        if progress is not None:
            progress(number + 1, len(clips))
    if report.counts[BELOW]:
        report.facts.append(f"limits of objects: {limits}")
    if unlabelled:
        report.facts.append(f"{unlabelled} frames have no annotation: only `sparse` finetuning can use them")
    if not full:
        report.facts.append("samples are estimated from the middle annotation of each sequence; `full` reads them all")
    return report


def _check_labels(clips: ClipSet, number: int, frame: int, limits: ObjectLimits, faults: Faults) -> int:
    """Check one annotation and return its number of usable objects."""
    where = f"{clips.clips[number].name}/{clips.clips[number].frames[frame].stem}.png"
    usable = 0
    with faults.noting("broken mask", where):
        labels = clips.load_labels(number, frame)
        present, usable = len(ids_in(labels)), len(limits.usable_ids(labels))
        if not present:
            faults.add("empty mask", where, "no pixel of any object", serious=False)
        elif present > usable:
            faults.add(BELOW, where, f"{present - usable} of {present}", serious=False)
    return usable
