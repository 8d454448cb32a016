"""`hodor export-descriptors` and `hodor train-projection`: save descriptors, and learn how to compare them."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hodor_cli.cli.options import OverwriteOption, arg, opt, out_option, switch
from hodor_cli.cli.parameters import Fields
from hodor_cli.cli.terminal import note, progress_bar, say, warn
from hodor_cli.errors import UsageError
from hodor_cli.files import require_place
from hodor_cli.images.paths import listed, plural
from hodor_cli.run.settings import SegmentSettings

if TYPE_CHECKING:
    from hodor_cli.descriptors.export.export import ExportedVideo
    from hodor_cli.descriptors.export.sources import ExportSource

#: With fewer objects, the limit between views of one object and views of others was off by a third.
_ENOUGH_OBJECTS = 100


def export_descriptors(
    sources: Annotated[
        list[Path] | None,
        arg(
            "SOURCE",
            "Result folders of `hodor segment` and `segment-many`, videos or folders of frames (with --masks), data "
            "sets in the DAVIS layout, or photographs in COCO format.",
        ),
    ] = None,
    *,
    out: Annotated[Path, out_option("FILE", "The descriptor file, created or added to.")] = Path("objects.h5"),
    masks: Annotated[
        Path | None,
        opt(
            "PATH",
            "Masks of a video: a folder of PNGs named like its frames, a result folder, or one file for frame 0. "
            "For several videos: a folder that holds one of these for each, with its name; for a data set, folders.",
        ),
    ] = None,
    annotations: Annotated[Path | None, opt("FILE", "COCO annotations; SOURCE holds the images.")] = None,
    every: Annotated[int, opt("N", "Keep every N-th frame.", min=1)] = 1,
    name: Annotated[str | None, opt("NAME", "Name under which to store a single video [default: its own].")] = None,
    remove: Annotated[list[str] | None, opt("NAME", "Remove a video from the file; needs no SOURCE.")] = None,
    thumbnails: Annotated[bool, switch("--thumbnails/--no-thumbnails", "Keep a crop of each object.")] = True,
    settings: Annotated[SegmentSettings, Fields("weights", "min_dim", "max_dim", "device", "precision")],
) -> None:
    """Save one descriptor per object and frame, with box, area, confidence and crop, in one HDF5 file.

    hodor export-descriptors clip.hodor -o objects.h5
    hodor export-descriptors clips.hodor -o objects.h5
    hodor export-descriptors clip.mp4 --masks masks/ -o objects.h5
    hodor export-descriptors DAVIS/ --every 5 -o objects.h5
    hodor export-descriptors --remove clip -o objects.h5

    Videos that are in the file already, unchanged, are skipped, so you can stop at any time and run the command again.
    """
    from hodor_cli.descriptors.export.encode import FrameEncoder
    from hodor_cli.descriptors.export.export import export_sources, find_sources
    from hodor_cli.descriptors.export.sources import is_batch_summary, sources_of_each
    from hodor_cli.descriptors.store.writer import remove_videos
    from hodor_cli.weights import load_model

    sources = sources or []
    if not sources and not remove:
        raise UsageError("give at least one SOURCE to export, or a video to --remove")
    if remove:
        remove_videos(out, remove)
        say(f"removed from {out}: {listed(remove, 8)}")
    if not sources:
        return
    if name is not None and len(sources) > 1:
        raise UsageError(f"--name names one video, but {len(sources)} sources are given; export them one by one")
    # A shell expands DIR/* to the summary of `segment-many`, too.
    if not (paths := [path for path in sources if not is_batch_summary(path)]):
        raise UsageError(f"{sources[0]} is only a summary; give the results folder, {sources[0].parent}")

    def sources_of(path: Path) -> list[ExportSource]:
        own = masks
        if masks is not None and len(paths) > 1:  # the name of a folder may have dots
            keys = (path.name, path.stem)
            folders = [masks / key for key in keys if (masks / key).is_dir()]
            own = next(iter(folders or [file for key in keys if (file := masks / f"{key}.png").is_file()]), masks)
        return find_sources(path, masks=own, annotations=annotations, every=every, name=name)

    found = sources_of_each(paths, sources_of)
    for source in found:
        for line in source.notes:
            note(line)
    frames = sum(-(-(source.length or 0) // every) for source in found)
    done = itertools.count(1)
    with progress_bar("exporting", frames) as show:
        encoder = FrameEncoder(load_model(settings.weights), settings)
        try:
            exported = export_sources(
                found,
                out,
                encoder,
                thumbnails=thumbnails,
                progress=lambda source, frame: show(next(done)),
                finished=_print_outcome,
            )
        except KeyboardInterrupt:
            note(f"Finished videos are kept in {out}; the same command continues with the others.")
            raise
    outcomes = [video.outcome for video in exported]
    say(f"written to {out}" if "written" in outcomes else f"nothing new for {out}")
    if failed := outcomes.count("failed"):
        warn(f"{failed} of {plural(len(found), 'video')} could not be exported")
        raise typer.Exit(3)


def _print_outcome(video: ExportedVideo) -> None:
    if video.outcome == "failed":
        warn(f"{video.name}: {video.reason}")
    elif video.outcome == "skipped":
        say(f"{video.name}: already there, skipped")
    else:
        instead = ", in place of the earlier ones" * video.replaced
        instead += f", in place of {video.renamed}, which was renamed" if video.renamed else ""
        say(f"{video.name}: {plural(video.rows, 'descriptor')} from {plural(video.frames, 'frame')}{instead}")
        for sentence in video.warnings:
            warn(sentence)
        if not video.rows:
            warn(f"{video.name}: its masks show no object, so nothing was stored; check them")


def train_projection(
    *,
    data: Annotated[Path, opt("FOLDER", "Photographs with labelled objects (COCO, LabelMe, YOLO, ...).")],
    out: Annotated[Path, out_option("FILE", "Projection file to write, for `--projection`.")] = Path(
        "projection.safetensors"
    ),
    photographs: Annotated[int, opt("N", "Number of photographs to sample.", min=2)] = 300,
    frames: Annotated[int, opt("N", "Augmented views of each photograph.", min=2)] = 3,
    dimensions: Annotated[int, opt("N", "Dimensions of the projected vectors.", min=1)] = 256,
    seed: Annotated[int, opt("N", "Random seed of the photographs and views.", min=0)] = 0,
    overwrite: OverwriteOption = False,
    settings: Annotated[SegmentSettings, Fields("weights", "device", "precision")],
) -> None:
    """Learn a projection of descriptors and baseline features that tells objects of different videos apart.

    hodor train-projection --data photos --weights runs/mine/last.safetensors -o mine.projection.safetensors

    Takes a few minutes on a CPU. The bundled weights come with a projection, which `hodor retrieval` uses by default;
    weights of your own need a new one.
    """
    from hodor_cli.descriptors.export.encode import FrameEncoder
    from hodor_cli.descriptors.search.projection import save_projection
    from hodor_cli.descriptors.search.projection_training import encode_views, fit_projection, stills_for_projection
    from hodor_cli.weights import load_model, model_fingerprint

    require_place(out, overwrite=overwrite)
    stills = stills_for_projection(data, warn)
    model = load_model(settings.weights)
    count = min(photographs, len(stills))
    with progress_bar("encoding", count, "photographs") as show:
        encoder = FrameEncoder(model, settings)
        views = encode_views(encoder, stills, photographs=count, frames=frames, seed=seed, progress=show)
    projection = fit_projection(views, model_fingerprint(model), dimensions=dimensions)
    save_projection(out, projection)
    learned = projection.settings
    say(
        f"{out}  {plural(learned['dimensions'], 'number')} per object, learned from {learned['rows']:,} views of "
        f"{learned['objects']:,} objects in {count:,} photographs"
    )
    if "alike_below" not in learned:
        limit = f"the limit of the bundled weights, {projection.alike_below}, stands in"
        warn(f"too few objects to measure how near views of one object are, so {limit}; give more photographs")
    elif learned["objects"] < _ENOUGH_OBJECTS:
        few = f"{learned['objects']} objects are few, so which matches show the same object is uncertain"
        warn(f"{few}; give photographs with {_ENOUGH_OBJECTS} or more")
