"""`hodor train-projection`: learn from photographs what `hodor retrieval` compares objects by."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from hodor_cli.cli.options import OverwriteOption, opt, out_option
from hodor_cli.cli.parameters import Fields
from hodor_cli.cli.terminal import progress_bar, say
from hodor_cli.run.settings import SegmentSettings

_DEFAULT_OUT = Path("projection.safetensors")


def train_projection(
    *,
    data: Annotated[Path, opt("FOLDER", "Photographs with labelled objects, in COCO format.")],
    out: Annotated[Path, out_option("FILE", "The projection to write, for `--projection`.")] = _DEFAULT_OUT,
    photographs: Annotated[int, opt("N", "How many photographs to draw.", min=2)] = 300,
    frames: Annotated[int, opt("N", "Changed views of each.", min=2)] = 3,
    dimensions: Annotated[int, opt("N", "Numbers per vector.", min=1)] = 256,
    seed: Annotated[int, opt("N", "Which photographs and views.", min=0)] = 0,
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
    with progress_bar("encoding", count, "photographs") as show:
        views = encode_views(
            FrameEncoder(model, device=settings.device, precision=settings.precision),
            stills,
            ViewSettings(count, frames, seed),
            progress=show,
        )
    projection = fit_projection(views, model_fingerprint(model), dimensions=dimensions)
    save_projection(out, projection)
    learned = projection.settings
    say(
        f"{out}  {learned['dimensions']} numbers per object, learned from {learned['rows']:,} views of "
        f"{learned['objects']:,} objects in {count:,} photographs"
    )
