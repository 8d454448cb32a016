"""`hodor data`: check a data set, and draw training samples made from it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hodor_cli.cli.flags import with_flags
from hodor_cli.cli.help import HodorCommand
from hodor_cli.cli.options import OverwriteOption, out_option
from hodor_cli.cli.terminal import counted, note, progress_bar, stdout_console
from hodor_cli.errors import DataError

app = typer.Typer(
    help="Check a data set, and draw training samples made from it.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

PathArgument = Annotated[
    Path,
    typer.Argument(
        metavar="PATH",
        help="A folder of labelled photographs (COCO, LabelMe, YOLO, CVAT, ...) or of clips (DAVIS, YouTube-VOS).",
    ),
]
AnnotationsOption = Annotated[
    Path | None, typer.Option("--annotations", metavar="FILE", help="COCO annotations; PATH then holds the images.")
]
MinAreaOption = Annotated[float, typer.Option(min=0, metavar="PX", help="Least area of an object.")]
MinSideOption = Annotated[float, typer.Option(min=0, metavar="PX", help="Least width and height of an object.")]
FilePixelsOption = Annotated[
    bool, typer.Option("--file-pixels", help="Measure these in the file, not in an image scaled to 300,000 px.")
]


@app.command(cls=HodorCommand)
def check(
    path: PathArgument,
    annotations: AnnotationsOption = None,
    full: Annotated[bool, typer.Option("--full", help="Open every image and every mask.")] = False,
    min_area: MinAreaOption = 2000,
    min_side: MinSideOption = 20,
    file_pixels: FilePixelsOption = False,
    examples: Annotated[int, typer.Option(min=1, metavar="N", help="Examples of each kind of fault.")] = 3,
) -> None:
    """Report all faults of a data set at once, and how many samples can be used for training.

    Ends with exit code 7 if a fault would stop training or make it learn something wrong.
    """
    from hodor_cli.datasets.limits import ObjectLimits
    from hodor_cli.formats.check import check_dataset

    limits = ObjectLimits(min_area, min_side, at_area=None if file_pixels else ObjectLimits().at_area)
    with progress_bar("checking", None, "items") as advance:

        def progress(done: int, total: int) -> None:
            advance(1, total=total)

        report = check_dataset(path, annotations=annotations, limits=limits, full=full, progress=progress)
    console = stdout_console()
    for line in report.lines(examples):
        console.print(with_flags(line))
    if not report.ok:
        raise DataError(report.sentence())


@app.command(cls=HodorCommand)
def preview(
    path: PathArgument,
    out: Annotated[Path, out_option("FILE", "The sheet, a PNG.")],
    annotations: AnnotationsOption = None,
    count: Annotated[int, typer.Option(min=1, max=1000, metavar="N", help="Number of samples.")] = 16,
    preset: Annotated[str, typer.Option(metavar="NAME", help="Augmentation: mini, paper, fast or toy.")] = "mini",
    mode: Annotated[str, typer.Option(metavar="frames|sparse|dense", help="How clips are used.")] = "dense",
    area: Annotated[float, typer.Option(min=1024, metavar="PX", help="Pixels of a frame.")] = 65536,
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Random seed of the samples.")] = 0,
    overwrite: OverwriteOption = False,
) -> None:
    """Draw training samples: frames side by side, masks as outlines, invalid pixels hatched."""
    from hodor_cli.training.options import DataSource
    from hodor_cli.training.pictures import preview_samples, require_new_sheet, write_sheet

    require_new_sheet(out, overwrite=overwrite)
    source = DataSource(path, annotations=annotations)
    with progress_bar("drawing", count, "samples") as advance:
        samples = preview_samples(source, count, preset=preset, mode=mode, area=area, seed=seed, progress=advance)
    write_sheet(out, samples, overwrite=overwrite)
    note(f"wrote {out}: {counted(len(samples), 'sample')}")
