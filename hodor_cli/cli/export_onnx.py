"""`hodor export-onnx`: the network as ONNX files for onnxruntime and others."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from hodor_cli.cli.options import OverwriteOption, opt, out_option
from hodor_cli.cli.parameters import Fields
from hodor_cli.cli.terminal import note, stdout_console
from hodor_cli.run.settings import SegmentSettings


def export_onnx(
    *,
    out: Annotated[Path, out_option("FOLDER", "Folder for the files.")],
    size: Annotated[str, opt("WxH", "Size of the video's frames.")] = "854x480",
    objects: Annotated[int, opt("N", "Slots for objects.", min=1)] = 4,
    overwrite: OverwriteOption = False,
    settings: Annotated[SegmentSettings, Fields("weights", "history", "min_dim", "max_dim")],
) -> None:
    """Write extract, masks, encode, decode (and match) as ONNX files, and hodor.json that describes them.

    hodor export-onnx --size 1280x720 --objects 2 -o onnx/

    Frame size, object slots and history are fixed in the files; slots may stay unused. examples/onnx_loop.py follows
    objects with them and needs NumPy and onnxruntime only.
    """
    from hodor_cli.bench.settings import bench_model, parse_size
    from hodor_cli.weights.onnx.export import ExportSizes
    from hodor_cli.weights.onnx.export import export_onnx as export

    model, trained = bench_model(settings.weights)
    if not trained:
        note(f"note: there are no weights named '{settings.weights}'; the files hold random ones of that architecture")
    sizes = ExportSizes(parse_size(size), objects, settings.history, settings.min_dim, settings.max_dim)
    files = export(model, out, sizes, overwrite=overwrite, progress=lambda name: note(f"exporting {name}"))
    console = stdout_console()
    for path in files:
        console.print(f"{path}  {path.stat().st_size / 2**20:.1f} MiB")
