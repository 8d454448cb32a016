"""`hodor data`: check a data set, and draw training samples made from it."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

from hodor_cli.cli.lazy import HodorCommand, group
from hodor_cli.cli.options import OverwriteOption, arg, opt, out_option, picture_file, switch
from hodor_cli.cli.terminal import note, progress_bar, say, warn, with_flags
from hodor_cli.datasets.limits import ObjectLimits
from hodor_cli.errors import DataError
from hodor_cli.images.paths import plural
from hodor_cli.training.config import train_preset

app = group("Check a data set, and draw training samples made from it.")

PathArgument = Annotated[
    Path,
    arg(
        "PATH",
        "A folder of labelled photographs (COCO, LabelMe, YOLO, CVAT, ...), the annotation file next to them, or a "
        "folder of clips (DAVIS, YouTube-VOS).",
    ),
]
AnnotationsOption = Annotated[
    Path | None, opt("FILE", "The annotations, if they are not in PATH, which then holds the images.", "--annotations")
]
#: As `hodor pretrain` and, for clips, `hodor finetune` train mini.
_LIMITS, _OF_CLIPS = (train_preset(name).limits for name in ("mini", "mini-finetune"))
_AREAS = f"{_LIMITS.min_area:g}; for clips {_OF_CLIPS.min_area:g}"
_SIDES = f"{_LIMITS.min_side:g}; for clips {_OF_CLIPS.min_side:g}"
MinAreaOption = Annotated[
    float | None, opt("PX", f"Minimum area of an object [default: {_AREAS}, as in training mini].", min=0)
]
MinSideOption = Annotated[float | None, opt("PX", f"Minimum width and height of an object [default: {_SIDES}].", min=0)]


@app.command(cls=HodorCommand)
def check(
    path: PathArgument,
    annotations: AnnotationsOption = None,
    full: Annotated[
        bool, switch("--full", "Open every image and mask, even of clips and of sets with more than 500 photographs.")
    ] = False,
    min_area: MinAreaOption = None,
    min_side: MinSideOption = None,
    examples: Annotated[int, opt("N", "Examples to show of each kind of fault.", min=1)] = 3,
) -> None:
    """Report all faults of a data set in one run, and how many samples can be used for training.

    Exits with code 7 if a fault would stop training or make it learn something wrong.
    """
    from hodor_cli.formats.check import check_dataset
    from hodor_cli.formats.writing import lacks_pictures

    limits = _limits(path, annotations, min_area, min_side)
    try:
        with progress_bar("checking", None, "items") as show:
            report = check_dataset(path, annotations=annotations, limits=limits, full=full, progress=show)
        for line in report.lines(examples):
            say(with_flags(line))
        if not report.ok:
            raise DataError(f"{path} cannot be trained on; correct the faults listed above")
    except DataError as error:
        if not lacks_pictures(path):
            raise
        raise DataError(f"{error}; this export has no pictures: write it again with --frames") from error
    of = shlex.quote(str(path)) + (f" --annotations {shlex.quote(str(annotations))}" if annotations else "")
    say(f"Next, look at training samples: hodor data preview {of} -o sheet.png")


@app.command(cls=HodorCommand)
def preview(
    path: PathArgument,
    out: Annotated[Path, out_option("FILE", "PNG file to write.")],
    annotations: AnnotationsOption = None,
    count: Annotated[int, opt("N", "Number of samples.", min=1, max=1000)] = 16,
    preset: Annotated[str, opt("NAME", "Augmentation preset: mini, paper, fast or toy.")] = "mini",
    mode: Annotated[str, opt("frames|sparse|dense", "How clips are used.")] = "dense",
    area: Annotated[float, opt("PX", "Area of a frame in pixels.", min=1024)] = 65536,
    seed: Annotated[int, opt("N", "Random seed.", min=0)] = 0,
    min_area: MinAreaOption = None,
    min_side: MinSideOption = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Draw training samples: frames side by side, masks as outlines, invalid pixels hatched."""
    from hodor_cli.formats.opening import open_set
    from hodor_cli.samples.sheet import preview_samples, write_sheet

    out = picture_file(out, overwrite=overwrite)
    limits = _limits(path, annotations, min_area, min_side)
    opened = open_set(path, annotations, limits=limits, warn=warn)
    with progress_bar("drawing", count, "samples") as show:
        samples = []
        for sample in preview_samples(opened, count, preset=preset, mode=mode, area=area, seed=seed, limits=limits):
            samples.append(sample)
            show(len(samples))
    write_sheet(out, samples, overwrite=overwrite)
    note(f"wrote {out}: {plural(len(samples), 'sample')}")


def _limits(path: Path, annotations: Path | None, area: float | None, side: float | None) -> ObjectLimits:
    from hodor_cli.formats.opening import is_clips

    usual = _OF_CLIPS if annotations is None and is_clips(path) else _LIMITS
    return ObjectLimits(usual.min_area if area is None else area, usual.min_side if side is None else side)
