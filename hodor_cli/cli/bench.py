"""`hodor bench`: speed and memory on this machine, against a plain float32 loop."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from hodor_cli.bench.settings import BenchSettings, parse_size
from hodor_cli.cli.options import JsonFileOption, opt, require_new_json, switch, write_json
from hodor_cli.cli.parameters import Fields
from hodor_cli.cli.terminal import new_console, note, progress_bar, warn
from hodor_cli.errors import UsageError
from hodor_cli.images.paths import plural

if TYPE_CHECKING:
    from rich.console import Console

_MACHINE_FIELDS = ("device", "precision", "threads", "contend")
#: A ratio that falls by more than this is not noise.
_NOTABLE_LOSS = 0.07


def bench(
    *,
    size: Annotated[str, opt("WxH", "Size of the clip.")] = "854x480",
    train: Annotated[bool, switch("--train", "Measure training instead of segmentation.")] = False,
    batch_size: Annotated[int | None, opt("N", "Samples per batch, with --train.", min=1)] = None,
    workers: Annotated[int | None, opt("N", "Loader processes, with --train.", min=0)] = None,
    json_file: JsonFileOption = None,
    record: Annotated[
        Path | None, opt("FILE", "Append the result to this history file and compare it with this machine's last one.")
    ] = None,
    settings: Annotated[
        BenchSettings,
        Fields("objects", "frames", "rounds", "weights", "history", "min_dim", "max_dim", *_MACHINE_FIELDS),
    ],
) -> None:
    """Compare the engine with a plain float32 loop on a generated clip, both in one run.

    hodor bench
    hodor bench --weights swin-tiny --objects 2
    hodor bench --train
    hodor bench --contend 1

    Without a weights file, swin-tiny runs with random weights: speed does not depend on them.
    """
    from hodor_cli.runtime.threads import using_threads

    settings = replace(settings, size=parse_size(size))
    if not train and (batch_size is not None or workers is not None):
        raise UsageError("--batch-size and --workers need --train; add it or leave them out")
    require_new_json(json_file)
    with progress_bar("measuring", None, "steps") as show, using_threads(settings.threads):
        if train:
            from hodor_cli.bench.training import measure_training

            result = measure_training(settings, batch_size=batch_size, workers=workers, progress=show)
        else:
            from hodor_cli.bench.measure import measure

            result = measure(settings, show)
    load = result["machine"]["load"]
    if load is not None and load > 0.5:
        warn(f"the machine is busy (load {load} per core), so absolute times are too long; ratios suffer less")
    if json_file != "-":
        _print(result, train, new_console())
    write_json(result, json_file)
    if record is not None:
        from hodor_cli.bench.settings import append_record, earlier_record

        earlier = earlier_record(record, append_record(record, result))
        note(f"appended to {record}")
        if earlier is not None:
            change = result["speedup"] / earlier["speedup"] - 1
            when = f"{earlier['speedup']:.2f} times at {earlier['commit'] or earlier['version']}"
            text = f"{result['speedup']:.2f} times as fast as plain, {when} ({earlier['date'][:10]})"
            (warn if change < -_NOTABLE_LOSS else note)(f"{text}: {100 * change:+.0f} %")


#: Rows of the tables: title, key, digits after the point.
_VIDEO_ROWS = (
    ("frames/s", "frames_per_second", 2),
    ("ms per frame", "ms_per_frame", 1),
    ("processor ms per frame", "processor_ms_per_frame", 1),
)
_TRAINING_ROWS = (
    ("samples/s", "samples_per_second", 3),
    ("seconds per iteration", "seconds_per_iteration", 3),
    ("processor seconds, without workers", "processor_seconds_per_iteration", 3),
)
_MEMORY_ROWS = (("peak host memory, MiB", "peak_host_mib", 0), ("peak device memory, MiB", "peak_device_mib", 0))


def _print(result: dict[str, Any], train: bool, console: Console) -> None:
    from rich.table import Column, Table

    machine, settings, stages = result["machine"], result["settings"], result.get("stages", {})
    random = "" if settings["trained"] else ", random weights"
    objects = f", {plural(settings['objects'], 'object')}, history {settings['history']}" if stages else ""
    console.print(f"{settings['weights']}{random}, {settings['size'][0]}x{settings['size'][1]}{objects}")
    console.print(f"{machine['device']}, PyTorch {machine['torch']}")
    numbers = (Column(name, justify="right") for name in ("plain", "engine"))
    table = Table("", *numbers, box=None, pad_edge=False)
    for title, key, digits in (*(_TRAINING_ROWS if train else _VIDEO_ROWS), *_MEMORY_ROWS):
        table.add_row(title, *(_number(result[name][key], digits) for name in ("plain", "engine")))
    for stage, row in stages.items():
        table.add_row(f"  {stage.replace('_', ' ')}, ms", *(_number(row[name], 2) for name in ("plain", "engine")))
    console.print(table)
    rounds = ", ".join(f"{value:.2f}" for value in result["speedup_rounds"])
    console.print(f"{result['speedup']:.2f} times as fast as plain (rounds: {rounds})")
    if not train:
        whole = result["end_to_end"]
        processor = f"{whole['processor_ms_per_frame']:.1f} ms of processor time per frame"
        console.print(f"{whole['frames_per_second']:.2f} frames/s {whole['what']}, {processor}")
    if (found := result["contention"]) is not None:
        beside = plural(found["processes"], "busy process", "busy processes")
        speed = f"{found['beside']:.2f} {'samples/s' if train else 'frames/s'} alongside {beside}"
        console.print(f"{speed}: {found['share']:.2f} times the {found['alone']:.2f} without")
    if train:
        loader = result["loader"]
        console.print(
            f"by processor time {result['speedup_processor']:.2f} times as fast; the engine spends"
            f" {100 * loader['idle_share']:.1f} % of the time waiting for its {plural(loader['workers'], 'worker')}"
        )
    elif (pixels := result["label_pixels"])["different"] is None:
        console.print("label pixels are not compared: with random weights, rounding errors grow from frame to frame")
    else:
        console.print(f"{pixels['different']} of {pixels['of']} label pixels differ from plain")


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"
