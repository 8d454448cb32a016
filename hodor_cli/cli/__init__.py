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


def _spec(module: str, help: str, attribute: str = "") -> CommandSpec:
    """The entry of a command whose function is `attribute`, by default named like its module."""
    return CommandSpec(f"hodor_cli.cli.{module}", attribute or module, help)


#: The subcommands by name.
COMMANDS: dict[str, CommandSpec] = {
    "segment": _spec("segment", "Segment a video from one mask."),
    "look": _spec("choosing", "Draw a frame with its coordinates and first mask.", "look"),
    "segment-many": _spec("segment_many", "Segment many videos in parallel."),
    "annotate": _spec("annotate", "Click, track, correct and export in the browser."),
    "suggest": _spec("choosing", "Suggest which frames of a video to mask next.", "suggest"),
    "evaluate": _spec("evaluate", "Run and score a benchmark, or score masks."),
    "evaluate-clicks": _spec("clicks", "Score masks made from simulated clicks.", "evaluate_clicks"),
    "pretrain": _spec("training", "Train on labelled photographs.", "pretrain"),
    "finetune": _spec("training", "Continue training on video frames.", "finetune"),
    "data": _spec("data", "Check a data set; draw training samples.", "app"),
    "export": _spec("export", "Export a result to the formats of other tools."),
    "convert": _spec("export", "Convert annotations between tools.", "convert"),
    "export-descriptors": _spec(
        "descriptors", "Save a descriptor of every object in every frame.", "export_descriptors"
    ),
    "retrieval": _spec("retrieval", "Find an object again; draw precision-recall curves."),
    "train-projection": _spec("descriptors", "Learn the projection that retrieval compares.", "train_projection"),
    "train-clicks": _spec("clicks", "Train the network that makes masks from clicks.", "train_clicks"),
    "map": _spec("views", "Draw descriptors as a 2-D map with crops (t-SNE, PCA).", "map_command"),
    "heatmaps": _spec("views", "Show what the background descriptors attend to.", "heatmaps"),
    "weights": _spec("weights", "List, describe, verify, average and publish weights.", "app"),
    "bench": _spec("bench", "Measure speed and memory on this machine."),
    "export-onnx": _spec("export", "Export the network to ONNX.", "export_onnx"),
    "info": _spec("info", "Print versions, devices and weights for a bug report."),
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
