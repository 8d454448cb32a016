"""`hodor map`: descriptors as a 2-D map with each object's crop at its point."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from hodor_cli.cli.options import ByName, out_option
from hodor_cli.cli.terminal import note, say


class MapMethod(str, Enum):
    """How descriptors become points."""

    tsne = "tsne"
    pca = "pca"


class MapColour(str, Enum):
    """What colours mean."""

    video = "video"
    object = "object"
    frame = "frame"


def map_command(
    store: Annotated[
        Path | None,
        typer.Argument(metavar="FILE", help="A descriptor file [default: objects.h5 here or in the workspace]."),
    ] = None,
    out: Annotated[str, out_option("NAME", "Writes NAME.png, NAME.html and NAME.csv; in a folder, map.*.")] = "map",
    method: Annotated[
        MapMethod, typer.Option("--method", help="tsne keeps neighbours together, pca keeps distances and axes.")
    ] = MapMethod.tsne,
    colour: Annotated[
        MapColour, typer.Option("--colour", help="What the frames around the crops mean.")
    ] = MapColour.video,
    by: Annotated[
        ByName, typer.Option("--by", help="What is laid out: the descriptors, or what `hodor retrieval` compares.")
    ] = ByName.descriptor,
    projection: Annotated[
        Path | None,
        typer.Option("--projection", metavar="FILE", help="With --by projection, for weights of your own."),
    ] = None,
    trajectories: Annotated[bool, typer.Option("--trajectories", help="Join each object's frames in time.")] = False,
    video: Annotated[
        list[str] | None, typer.Option("--video", metavar="NAME", help="Only this video; repeatable.")
    ] = None,
    most: Annotated[
        int, typer.Option("--max-points", metavar="N", min=3, help="Show at most N rows, spread over every object.")
    ] = 1500,
    seed: Annotated[
        int, typer.Option("--seed", metavar="N", min=0, max=2**32 - 1, help="The same seed gives the same map.")
    ] = 0,
    perplexity: Annotated[
        float | None, typer.Option("--perplexity", metavar="P", help="t-SNE's size of a neighbourhood [default: 30].")
    ] = None,
) -> None:
    """Draw descriptors as points of a plane with each crop pasted at its point: PNG, an HTML page to explore, and CSV.

    hodor map objects.h5 -o map --trajectories
    """
    from hodor_cli.descriptors.export.finding import find_store
    from hodor_cli.descriptors.search.comparison import choose_comparison
    from hodor_cli.descriptors.store.store import DescriptorStore
    from hodor_cli.descriptors.views.layout import make_map
    from hodor_cli.descriptors.views.map_files import write_map_image, write_map_page, write_points_csv

    path = find_store(store)
    files = map_files(out)
    with DescriptorStore(path) as opened:
        for name in video or []:
            opened.video(name)
        found = make_map(
            opened,
            comparison=choose_comparison(opened, by.value, projection),
            method=method.value,
            seed=seed,
            most=most,
            perplexity=perplexity,
            videos=video or None,
        )
    if len(found.points) < found.rows:
        note(f"{len(found.points)} of {found.rows} rows are shown; --max-points shows more")
    write_map_image(files[0], found, colour_by=colour.value, trajectories=trajectories)
    write_map_page(files[1], found, colour_by=colour.value, trajectories=trajectories, title=path.name)
    write_points_csv(files[2], found)
    for file, what in zip(
        files, ("for print", "open it in a browser: zoom, hover, colours", "the points"), strict=True
    ):
        say(f"{file}  {what}")


def map_files(out: str) -> list[Path]:
    """The three files that `--out` means. Raises OutputError for a place where they cannot be."""
    from hodor_cli.errors import OutputError
    from hodor_cli.files import require_replaceable

    path = Path(out)
    if path.name in ("", ".."):
        raise OutputError(f"{out or 'an empty name'} names no file; name one, for example {path / 'map'}")
    if path.is_dir() or out.endswith("/"):
        path /= "map"
    elif path.suffix.lower() in (".png", ".html", ".csv"):
        path = path.with_suffix("")
    if not path.parent.is_dir():
        raise OutputError(f"there is no folder {path.parent} to write {path.name} into; make it first")
    files = [path.with_name(path.name + suffix) for suffix in (".png", ".html", ".csv")]
    for file in files:
        require_replaceable(file)
    return files
