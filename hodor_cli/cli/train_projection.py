"""`hodor train-projection`: learn from photographs what `hodor retrieval` compares objects by."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hodor_cli.cli.options import OverwriteOption, out_option
from hodor_cli.cli.parameters import Fields
from hodor_cli.cli.terminal import progress_bar, say
from hodor_cli.run.settings import SegmentSettings

_DEFAULT_OUT = Path("projection.safetensors")


def train_projection(
    *,
    data: Annotated[
        Path, typer.Option("--data", metavar="FOLDER", help="Photographs with labelled objects, in COCO format.")
    ],
    out: Annotated[Path, out_option("FILE", "The projection to write, for `--projection`.")] = _DEFAULT_OUT,
    photographs: Annotated[
        int, typer.Option("--photographs", metavar="N", min=2, help="How many photographs to draw.")
    ] = 300,
    frames: Annotated[int, typer.Option("--frames", metavar="N", min=2, help="Changed views of each.")] = 3,
    dimensions: Annotated[int, typer.Option("--dimensions", metavar="N", min=1, help="Numbers per vector.")] = 256,
    seed: Annotated[int, typer.Option("--seed", metavar="N", min=0, help="Which photographs and views.")] = 0,
    overwrite: OverwriteOption = False,
    settings: Annotated[SegmentSettings, Fields("weights", "device", "precision")],
) -> None:
    """Learn a projection of descriptors and baseline features that tells objects of different videos apart.

    hodor train-projection --data photos --weights runs/mine/last.safetensors -o mine.projection.safetensors

    Takes a few minutes on a CPU. The bundled weights have one already, which `hodor retrieval` uses by itself; weights
    of your own need their own.
    """
    from hodor_cli.descriptors.export.encode import FrameEncoder
    from hodor_cli.descriptors.search.projection import save_projection
    from hodor_cli.descriptors.search.projection_training import (
        ViewSettings,
        encode_views,
        fit_projection,
        stills_for_projection,
    )
    from hodor_cli.errors import OutputError
    from hodor_cli.weights import load_model, model_fingerprint

    if out.exists() and not overwrite:
        raise OutputError(f"{out} exists already; give another --out or --overwrite")
    if not out.parent.is_dir():
        raise OutputError(f"there is no folder {out.parent} to write {out.name} into; make it first")
    stills = stills_for_projection(data)
    model = load_model(settings.weights)
    count = min(photographs, len(stills))
    with progress_bar("encoding", count, "photographs") as advance:
        views = encode_views(
            FrameEncoder(model, device=settings.device, precision=settings.precision),
            stills,
            ViewSettings(count, frames, seed),
            progress=lambda done: advance(1),
        )
    projection = fit_projection(views, model_fingerprint(model), dimensions=dimensions)
    save_projection(out, projection)
    learned = projection.settings
    say(
        f"{out}  {learned['dimensions']} numbers per object, learned from {learned['rows']:,} views of "
        f"{learned['objects']:,} objects in {count:,} photographs"
    )
