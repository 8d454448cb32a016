"""The command `hodor`: a table of subcommands, most of them one function in a separate file.

Only the module of the subcommand that runs is imported, and torch only inside its function, so `hodor --help` is fast.
Only this folder prints, and no other part of the package imports it.
"""

from __future__ import annotations

import gc
import os
from typing import Annotated

import typer

from hodor_cli import __version__
from hodor_cli.cli.lazy import CommandSpec, LazyGroup
from hodor_cli.cli.terminal import prepare_streams, say
from hodor_cli.runtime.threads import wait_briefly

#: The subcommands by name.
COMMANDS: dict[str, CommandSpec] = {
    "segment": CommandSpec("segment", "Segment a video from one mask."),
    "look": CommandSpec("choosing", "Draw a frame with its coordinates and first mask."),
    "segment-many": CommandSpec("segment_many", "Segment many videos in parallel."),
    "annotate": CommandSpec("annotate", "Click, track, correct and export in the browser."),
    "suggest": CommandSpec("choosing", "Suggest which frames of a video to mask next."),
    "evaluate": CommandSpec("evaluate", "Run and score a benchmark, or score masks."),
    "evaluate-clicks": CommandSpec("clicks", "Score masks made from simulated clicks."),
    "pretrain": CommandSpec("training", "Train on labelled photographs."),
    "finetune": CommandSpec("training", "Continue training on video frames."),
    "data": CommandSpec("data", "Check a data set; draw training samples.", "app"),
    "export": CommandSpec("export", "Export a result to the formats of other tools."),
    "convert": CommandSpec("export", "Convert annotations between tools."),
    "export-descriptors": CommandSpec("descriptors", "Save a descriptor of every object in every frame."),
    "retrieval": CommandSpec("retrieval", "Find an object again; draw precision-recall curves."),
    "train-projection": CommandSpec("descriptors", "Learn the projection that retrieval compares."),
    "train-clicks": CommandSpec("clicks", "Train the network that makes masks from clicks."),
    "map": CommandSpec("views", "Draw descriptors as a 2-D map with crops (t-SNE, PCA).", "map_command"),
    "heatmaps": CommandSpec("views", "Show what the background descriptors attend to."),
    "weights": CommandSpec("weights", "List, describe, verify, average and publish weights.", "app"),
    "bench": CommandSpec("bench", "Measure speed and memory on this machine."),
    "export-onnx": CommandSpec("export", "Export the network to ONNX."),
    "info": CommandSpec("info", "Print versions, devices and weights for a bug report."),
}


class HodorGroup(LazyGroup):
    """The command `hodor`."""

    specs = COMMANDS


app = typer.Typer(
    name="hodor",
    cls=HodorGroup,
    invoke_without_command=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        say(f"hodor {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Follow objects through a video from one mask, box or click.

    hodor look clip.mp4
    hodor segment clip.mp4 --box 310,120,200,260
    hodor segment clip.mp4 --mask first_frame.png

    `look` draws a frame with a coordinate grid, on which you can read off a box (x, y, width, height); `segment` writes
    masks, an overlay video and a report to clip.hodor/; `annotate` does both in the browser. Runs on CPU, CUDA and
    Apple MPS. Set HODOR_DEBUG=1 to see the full traceback of an unexpected error.
    """
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def main() -> None:
    """Run the command line and exit with its code; `hodor_cli.__main__` calls it."""
    prepare_streams()
    wait_briefly()  # before PyTorch is imported
    os.environ.setdefault("PYTHONSAFEPATH", "1")  # workers do not import a signal.py of the current folder
    # Imports create many objects but no garbage; collecting every 700 objects takes a tenth of the start-up time.
    gc.set_threshold(50_000)
    app(prog_name="hodor")
