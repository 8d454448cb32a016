"""`hodor export`, `convert` and `export-onnx`: results, annotations and the network in the formats of other tools."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from hodor_cli.cli.options import OverwriteOption, arg, names_in, opt, out_option, switch
from hodor_cli.cli.parameters import Fields
from hodor_cli.cli.terminal import note, say, warn
from hodor_cli.errors import UsageError
from hodor_cli.images.paths import plural
from hodor_cli.run.settings import SegmentSettings

NameOption = Annotated[
    list[str] | None, opt("ID=NAME", "Name of an object, for the report and exports. Repeatable.", "--name")
]
_SIMPLIFY = opt(
    "PX",
    "How far polygons may deviate from a mask's outline, to save points; 0 is exact.",
    "--simplify",
    min=0,
    show_default=False,
)
_FRAMES = switch("--frames", "Also write the pictures.")


def export(
    result: Annotated[Path, arg("RESULT", "The result folder of `hodor segment`.")],
    *,
    to: Annotated[str, opt("FORMAT[,...]", "Formats to write; `--to list` shows them.")],
    out: Annotated[
        Path | None, out_option("FOLDER", "Folder with a subfolder for each format [default: RESULT/export].")
    ] = None,
    source: Annotated[str | None, opt("SOURCE", "The video of the run, if it was moved.")] = None,
    only: Annotated[list[int] | None, opt("ID", "Write only this object. Repeatable.")] = None,
    name: NameOption = None,
    frames: Annotated[bool, _FRAMES] = False,
    simplify: Annotated[float, _SIMPLIFY] = 0.0,
    overwrite: OverwriteOption = False,
) -> None:
    """Export the masks of a result to other formats: COCO, YOLO, LabelMe, CVAT, TIFF, CSV, video with alpha.

    hodor export clip.hodor --to coco,csv
    hodor export clip.hodor --to labelme --frames --name 1=mug
    hodor export clip.hodor --to prores,webm
    """
    if to == "list":
        _list_formats()
        return
    from hodor_cli.images.paths import require_exists
    from hodor_cli.run.exporting import ExportOptions, export_result, names_of

    formats = formats_of(to)
    _require_used(formats, frames, simplify)
    require_exists(result, "result")
    options = ExportOptions(out, overwrite, simplify, frames, names_of(name or []), source, only or (), warn=warn)
    print_exports(export_result(result, formats, options))


def convert(
    annotations: Annotated[Path, arg("IN", "An annotation file or folder of another tool.")],
    out: Annotated[Path, arg("OUT", "Folder to write.")],
    *,
    to: Annotated[str, opt("FORMAT", "Format to write; `--to list` shows them.")],
    frames: Annotated[bool, _FRAMES] = False,
    simplify: Annotated[float, _SIMPLIFY] = 0.0,
    overwrite: OverwriteOption = False,
) -> None:
    """Convert annotations between tools. The format of IN is detected from its content.

    hodor convert labelme_photos/ photos/ --to coco --frames
    hodor convert annotations.xml masks/ --to png
    """
    from hodor_cli.formats.recognise import read_annotations, writer_of
    from hodor_cli.formats.writing import new_folder
    from hodor_cli.records import is_report

    if to == "list":
        _list_formats()
        return
    if len(names_in(to)) > 1:
        raise UsageError(f"--to takes one format here, not '{to}'; convert once for each")
    writer = writer_of(to)
    if writer.media:
        raise UsageError(f"{to} needs a result: hodor export RESULT --to {to}")
    _require_used([to], frames, simplify)
    if annotations.resolve().is_relative_to(out.resolve()):
        raise UsageError(f"{annotations} is what is read and {out} what is written; choose another place with `out`")
    found = read_annotations(annotations)
    for line in (f"{annotations} {found.origin}", *found.notes):
        note(line)
    names = [picture.name for picture in found.pictures]
    with new_folder(out, tolerance=simplify, frames=frames, names=names, overwrite=overwrite) as folder:
        writer.write(found, folder)
    if frames and (lost := sum(picture.file is None for picture in found.pictures)):
        what = f"{plural(lost, 'picture')} of {annotations} could not be found, so they were not written"
        hint = f"; hodor export {shlex.quote(str(annotations))} --to {to} --frames writes them"
        warn(what + hint * is_report(annotations / "report.json"))
    masks = plural(sum(len(picture.object_ids) for picture in found.pictures), "mask")
    shapes = [shape for picture in found.pictures for shape in picture.shapes]
    count = len({shape.object_id for shape in shapes})
    of = f" of {plural(count, 'object')}" if found.tracked and any(shape.key is not None for shape in shapes) else ""
    say(f"{out}  {plural(len(found.pictures), 'picture')}, {masks}{of}: {writer.about}")


def export_onnx(
    *,
    out: Annotated[Path, out_option("FOLDER", "Folder for the files.")],
    size: Annotated[str, opt("WxH", "Size of the video's frames.")] = "854x480",
    objects: Annotated[int, opt("N", "Number of object slots.", min=1)] = 4,
    overwrite: OverwriteOption = False,
    settings: Annotated[SegmentSettings, Fields("weights", "history", "min_dim", "max_dim")],
) -> None:
    """Export extract, masks, encode, decode (and match) as ONNX files, with a hodor.json that describes them.

    hodor export-onnx --size 1280x720 --objects 2 -o onnx/

    Frame size, object slots and history length are fixed at export; slots may stay unused. examples/onnx_loop.py
    segments a video with the files and needs only NumPy and onnxruntime.
    """
    from hodor_cli.bench.settings import bench_model, parse_size
    from hodor_cli.weights.onnx import export as onnx

    model, trained = bench_model(settings.weights)
    if not trained:
        note(f"note: there are no weights named '{settings.weights}'; the files hold random ones of that architecture")
    sizes = onnx.ExportSizes(parse_size(size), objects, settings.history, settings.min_dim, settings.max_dim)
    files = onnx.export_onnx(model, out, sizes, overwrite=overwrite, progress=lambda name: note(f"exporting {name}"))
    for path in files:
        say(f"{path}  {path.stat().st_size / 2**20:.1f} MiB")


def formats_of(text: str | None) -> list[str]:
    """The names in FORMAT[,FORMAT]; an empty list for None. Raises UsageError for an empty text or an unknown name."""
    from hodor_cli.formats.recognise import writer_of

    if text is None:
        return []
    names = names_in(text)
    if not names:
        raise UsageError("no format is named; give one or more, for example coco,csv")
    return list(dict.fromkeys(writer_of(name).name for name in names))


def _require_used(formats: Sequence[str], frames: bool, simplify: float) -> None:
    """Raise UsageError for an option that none of the formats has a use for."""
    from hodor_cli.formats.recognise import WRITERS

    writers = [WRITERS[name] for name in formats]
    if frames and not any(writer.pictures for writer in writers):
        raise UsageError(f"{', '.join(formats)} cannot have the pictures next to the result; leave out --frames")
    if simplify and not any(writer.polygons for writer in writers):
        raise UsageError(f"{', '.join(formats)} has no polygons; leave out --simplify")


def print_exports(places: dict[str, Path]) -> None:
    from hodor_cli.formats.recognise import WRITERS

    for name, path in places.items():
        say(f"  {path}/  {WRITERS[name].about}")


def _list_formats() -> None:
    from hodor_cli.formats.recognise import WRITERS

    width = max(map(len, WRITERS))
    for writer in WRITERS.values():
        say(f"{writer.name:<{width}}  {writer.about}")
