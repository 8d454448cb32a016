"""`hodor map` and `hodor heatmaps`: descriptors as pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from hodor_cli.cli.marks import Marks
from hodor_cli.cli.options import ByName, OverwriteOption, arg, opt, out_option, picture_file, switch
from hodor_cli.cli.parameters import Fields
from hodor_cli.cli.terminal import note, progress_bar, say
from hodor_cli.errors import InputError, OutputError
from hodor_cli.files import require_place
from hodor_cli.run.settings import SegmentSettings


def map_command(
    store: Annotated[
        Path | None, arg("FILE", "A descriptor file [default: objects.h5 here or in the workspace].")
    ] = None,
    out: Annotated[str, out_option("NAME", "Writes NAME.png, NAME.html and NAME.csv; in a folder, map.*.")] = "map",
    method: Annotated[
        Literal["tsne", "pca"], opt("", "tsne keeps neighbours together, pca keeps distances and axes.")
    ] = "tsne",
    colour: Annotated[
        Literal["video", "object", "frame"] | None,
        opt("", "What the border colour of a crop shows [default: video; for a single video, object]."),
    ] = None,
    by: Annotated[
        ByName | None,
        opt(
            "",
            "What to lay out: descriptors, or other vectors that `hodor retrieval` compares [default: projection with "
            "--projection, else descriptor].",
        ),
    ] = None,
    projection: Annotated[Path | None, opt("FILE", "A projection for weights of your own.")] = None,
    trajectories: Annotated[bool, switch("--trajectories", "Connect each object's frames in order.")] = False,
    video: Annotated[list[str] | None, opt("NAME", "Only this video; repeatable.")] = None,
    most: Annotated[int, opt("N", "Show at most N rows, spread over every object.", "--max-points", min=3)] = 1500,
    seed: Annotated[int, opt("N", "The same seed gives the same map.", min=0, max=2**32 - 1)] = 0,
    overwrite: OverwriteOption = False,
) -> None:
    """Draw descriptors as points of a plane, each with its crop: a PNG, an HTML page to explore, and a CSV file.

    hodor map objects.h5 -o map --trajectories
    """
    from hodor_cli.descriptors.search.comparison import choose_comparison
    from hodor_cli.descriptors.store.store import DescriptorStore, find_store
    from hodor_cli.descriptors.views.layout import make_map
    from hodor_cli.descriptors.views.map_files import write_map_image, write_map_page, write_points_csv

    path = find_store(store)
    image, page, table = map_files(out, overwrite=overwrite)
    with DescriptorStore(path) as opened:
        for name in video or []:
            opened.video(name)
        found = make_map(
            opened,
            comparison=choose_comparison(opened, by or ("projection" if projection else "descriptor"), projection),
            method=method,
            seed=seed,
            most=most,
            videos=video or None,
        )
    colour = colour or ("video" if len(found.videos) > 1 else "object")
    if len(found.points) < found.rows:
        note(f"{len(found.points)} of {found.rows} rows are shown; --max-points shows more")
    write_map_image(image, found, colour_by=colour, trajectories=trajectories)
    write_map_page(page, found, colour_by=colour, trajectories=trajectories, title=path.name)
    write_points_csv(table, found)
    say(f"{image}  for print")
    say(f"{page}  open it in a browser: zoom, hover, colours")
    say(f"{table}  the points")


def map_files(out: str, *, overwrite: bool = False) -> list[Path]:
    """The three files that `--out` names.

    Raises OutputError if they cannot be written there, or if one exists, unless `overwrite`.
    """
    from hodor_cli.images.picture import PICTURE_SUFFIXES

    path = Path(out)
    if path.name in ("", ".."):
        raise OutputError(f"{out or 'an empty name'} names no file; name one, for example {path / 'map'}")
    if path.is_dir() or out.endswith("/"):
        path /= "map"
    elif path.suffix.lower() in (".png", ".html", ".csv"):
        path = path.with_suffix("")
    elif path.suffix.lower() in PICTURE_SUFFIXES:
        raise OutputError(f"the picture of a map is a PNG; give --out a name that ends in .png, not in {path.suffix}")
    files = [path.with_name(path.name + suffix) for suffix in (".png", ".html", ".csv")]
    for file in files:
        require_place(file, overwrite=overwrite)
    return files


def heatmaps(
    source: Annotated[str, arg("VIDEO", "A video file or a folder of images.")],
    *,
    marks: Annotated[Marks, Fields()],
    frame: Annotated[int, opt("N", "Number of the frame to show, from 0.", min=0)],
    out: Annotated[Path | None, out_option("FILE", "PNG to write [default: NAME_frameN.png].")] = None,
    truth: Annotated[Path | None, opt("FILE", "True mask of that frame, to draw as well.")] = None,
    overwrite: OverwriteOption = False,
    settings: Annotated[SegmentSettings, Fields("weights", "history", "min_dim", "max_dim", "device", "precision")],
) -> None:
    """Show what the catch-all and each of the 3x3 background descriptors attend to in a frame, as ten heat maps.

    If --mask is a folder with a mask for every frame, only the first mask of each object is used, and the mask of the
    shown frame is drawn next to the prediction.

    hodor heatmaps clip.mp4 --mask first_frame.png --frame 40
    hodor heatmaps clip.mp4 --box 310,120,200,260 --frame 40
    """
    import numpy as np

    from hodor_cli.datasets.labels.mask_file import read_mask
    from hodor_cli.descriptors.views.heatmaps import compute_heatmaps, write_heatmaps
    from hodor_cli.video.source import open_source
    from hodor_cli.weights import load_model

    with open_source(source) as frames:
        path = out or Path(f"{frames.name}_frame{frame}.png")
        path = picture_file(path, source, truth, *marks.files, overwrite=overwrite)
        if not frames.has_frame(frame):
            count = frames.count_up_to(frame + 1)
            raise InputError(f"{frames.name} has no frame {frame}; it has {count}, counted from 0")
        segmenter = settings.segmenter(load_model(settings.weights))
        inputs = marks.read(frames)
        inputs.check(frames)
        given = {index: np.asarray(inputs.labels(index), np.uint16) for index in inputs.masks}
        given |= inputs.prompted(frames)
        true = None if truth is None else read_mask(truth, size=(frames.height, frames.width)).labels
        with progress_bar(frames.name, frame + 1) as show:
            found = compute_heatmaps(frames, given, frame, segmenter, progress=lambda index: show(index + 1))
    write_heatmaps(path, found, true)
    say(f"{path}  frame {frame}: prediction, catch-all and 3x3 background descriptors")
