"""The data sets of a run: which they are, opened once, and checked before anything is written."""

from __future__ import annotations

from hodor_cli.datasets.clips import ClipSet
from hodor_cli.datasets.coco import StillImages
from hodor_cli.datasets.coco_find import workspace_stills
from hodor_cli.errors import DataError, UsageError
from hodor_cli.formats.check import check_opened
from hodor_cli.formats.opening import is_clips, open_set
from hodor_cli.samples.settings import ClipOptions, DataSource
from hodor_cli.training.config import TrainConfig
from hodor_cli.training.options import Callbacks


def named_sources(kind: str, data: list[DataSource], began: list[DataSource]) -> list[DataSource]:
    """The data sets that are named, or that the run began with, or those of the prepared workspace.

    Raises UsageError for other weights than the run began with, DataError where there is nothing.
    """
    if data and began and [source.weight for source in data] != [source.weight for source in began]:
        had = " ".join(f"`data={source.folder}:{source.weight:g}`" for source in began)
        raise UsageError(f"`data` contradicts `resume`: the run began with {had}; leave it out to keep them")
    if data or began:
        return data or began
    if kind == "finetune":
        raise DataError("there is nothing to fine-tune on; give `data`, a folder with JPEGImages and Annotations")
    images, annotations = workspace_stills()
    return [DataSource(images, annotations=annotations)]


def opened_sources(sources: list[DataSource], config: TrainConfig, clips: ClipOptions) -> list[StillImages | ClipSet]:
    """The data sets, opened once for the check and for training. Raises DataError for a folder without any."""
    opened = []
    for source in sources:
        if not clips.mode and source.annotations is None and is_clips(source.folder):
            raise DataError(
                f"{source.folder} holds clips: train on them with `finetune` (`mode=frames` takes each as a photograph)"
            )
        opened.append(
            open_set(
                source.folder,
                source.annotations,
                limits=config.limits,
                resolution=clips.resolution,
                split=clips.split,
                allow_empty=True,
            )
        )
    if clips.mode in ("sparse", "dense") and not any(isinstance(found, ClipSet) for found in opened):
        raise DataError(
            f"`mode={clips.mode}` learns from clips and {sources[0].folder} holds photographs: train on them with"
            " `pretrain`, or put the frames of a clip into images/NAME/ and their masks into masks/NAME/"
        )
    return opened


def checked_sources(
    sources: list[DataSource],
    opened: list[StillImages | ClipSet],
    before: list[DataSource],
    config: TrainConfig,
    clips: ClipOptions,
    callbacks: Callbacks,
) -> list[DataSource]:
    """The data sets by their whole paths, with their numbers of samples.

    Raises DataError for sets that cannot be used, or that have more or fewer samples than when the run began.
    """
    reports = [
        check_opened(found, source.folder, config.limits, progress=callbacks.checking)
        for source, found in zip(sources, opened, strict=True)
    ]
    if faults := [report.sentence() for report in reports if not report.ok]:
        raise DataError("; ".join(faults))
    found = []
    for source, report in zip(sources, reports, strict=True):
        sparse = clips.mode == "sparse" and report.kind == "clips"
        one_each = f"{report.path}: {report.images} frames; of each sequence one labelled frame is read"
        callbacks.note(one_each if sparse else report.lines()[0])
        if missing := report.missing():
            callbacks.warn(missing)
        annotations = None if source.annotations is None else source.annotations.absolute()
        found.append(DataSource(source.folder.absolute(), source.weight, annotations, report.samples))
    for now, earlier in zip(found, before, strict=False):
        if earlier.samples not in (None, now.samples):
            was = "" if now.folder == earlier.folder else f"{earlier.folder} "
            raise DataError(
                f"{now.folder} has {now.samples} samples now, and {was}had {earlier.samples} when the run began, so"
                " `resume` cannot give the same batches; put it back or train into another folder"
            )
    return found
