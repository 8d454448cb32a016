"""The two jobs of training, as a program calls them: `pretrain` on still images, `finetune` on video frames."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import hodor_cli
from hodor_cli.data.check import CheckReport
from hodor_cli.errors import DataError, UsageError
from hodor_cli.training.began import Began
from hodor_cli.training.choice import choose_config, config_notes, preset_name, resumed_config
from hodor_cli.training.config import train_preset
from hodor_cli.training.execution import RunPlan, execute
from hodor_cli.training.launch import resolve
from hodor_cli.training.options import RunOptions, TrainingResult
from hodor_cli.training.run_folder import RunFolder
from hodor_cli.training.sources import ClipOptions, DataSource, check_sources, parse_source
from hodor_cli.training.start import architecture_of
from hodor_cli.training.time_limit import TimeLimit, parse_duration
from hodor_cli.training.watching import WatchSettings

Data = Sequence["str | Path | DataSource"] | str | Path | DataSource | None


def pretrain(
    data: Data = None,
    *,
    images: str | Path | None = None,
    annotations: str | Path | None = None,
    **options: Any,
) -> TrainingResult:
    """Train on still images in COCO format (HODOR, CVPR 2022, sec. 3.5).

    Args:
        data: folders, each with a weight if wanted (`"stills:0.5"`). None: the photographs of the prepared workspace.
        images, annotations: a folder of images and a COCO file that lies elsewhere, instead of a folder.
        options: the fields of `RunOptions`.
    Returns:
        Where the checkpoints are.
    Raises:
        UsageError, DataError, WeightsError, DeviceError, OutputError, TrainingError: each with one sentence.
    """
    chosen = RunOptions(**options)
    if (images is None) != (annotations is None):
        raise UsageError("--images and --annotations belong together; give both, or a folder with --data")
    sources = _sources(data)
    if images is not None and annotations is not None:
        sources.append(DataSource(Path(images), annotations=Path(annotations)))
    return _run("pretrain", sources, ClipOptions(), chosen)


def finetune(
    data: Data = None,
    *,
    mode: str | None = None,
    max_gap: int = 10,
    every: int = 1,
    resolution: str | None = None,
    split: str | None = None,
    **options: Any,
) -> TrainingResult:
    """Go on training on clips in the DAVIS or YouTube-VOS layout, from a trained network.

    Args:
        data: folders, each with a weight if wanted. Photographs may stand beside clips.
        mode: "frames" (annotated frames as more photographs), "sparse" (cyclic consistency with the one labelled frame
            of each clip; HODOR, sec. 3.5) or "dense" (all frames labelled).
        max_gap: frames of a sample lie at most so many frames apart (sparse, dense).
        every: take each n-th labelled frame (frames).
        resolution, split: which folder below JPEGImages and which list of ImageSets; by default 480p and train.
        options: the fields of `RunOptions`; without `weights` it starts from the package's weights.
    Returns:
        Where the checkpoints are.
    Raises:
        UsageError, DataError, WeightsError, DeviceError, OutputError, TrainingError: each with one sentence.
    """
    chosen = RunOptions(**options)
    if chosen.backbone is not None:
        raise UsageError("--backbone starts a new network; fine-tuning starts from --weights")
    clips = ClipOptions(mode or "", max_gap, every, resolution, split)
    return _run("finetune", _sources(data), clips, chosen)


def _sources(data: Data) -> list[DataSource]:
    if data is None:
        return []
    return [parse_source(item) for item in ([data] if isinstance(data, str | Path | DataSource) else data)]


def _run(kind: str, sources: list[DataSource], clips: ClipOptions, options: RunOptions) -> TrainingResult:
    # Everything that can be refused is, in the order of what it costs to find out.
    limit = _time_limit(options.time_limit)
    layout = resolve(options.launch)
    out = Path(options.out) if options.out is not None else _default_folder(kind, clips, options)
    folder = RunFolder(out)
    began = Began.read(folder, kind) if options.resume else Began()
    clips = began.clips(clips)
    if kind == "finetune" and not clips.mode:
        raise UsageError("say how clips are used: --mode frames, sparse or dense")
    if began.config is None:
        options = _with_start(kind, options)
        preset = preset_name(kind, options.preset, _architecture(options))
        config = choose_config(preset, options.model, clips.mode, options.settings)
        weights, backbone = _as_text(options.weights), _as_text(options.backbone)
        if weights and not (options.preset or options.model or "model" in options.settings):
            config = dataclasses.replace(config, model=architecture_of(weights))
    else:
        config = resumed_config(began.config, options.preset, options.model, clips.mode, options.settings)
        preset, weights, backbone = (began.facts.get(name) or "" for name in ("preset", "weights", "backbone"))
    sources = began.sources(sources) or _default_sources(kind)
    note = options.note or _silent
    facts: dict[str, Any] = {
        "hodor": hodor_cli.__version__,
        "kind": kind,
        "preset": preset,
        "data": [source.to_dict() for source in sources],
        "clips": dataclasses.asdict(clips) if clips.mode else None,
        "weights": weights,
        "backbone": backbone,
        "settings": config.to_dict(),
    }
    watching = WatchSettings(None if options.val is None else Path(options.val), options.val_every, options.sheet_every)
    if layout.rank == 0:
        _check_validation(watching)
        for remark in config_notes(config):
            note(remark)
        reports = check_sources(sources, config, clips, options.checking)
        for place, report in enumerate(reports):
            note(_data_line(report, clips))
            facts["data"][place]["samples"] = report.samples
        began.check_samples(sources, [report.samples for report in reports])
    plan = RunPlan(
        folder=out,
        config=config,
        sources=tuple(sources),
        clips=clips,
        weights=weights or None,
        backbone=backbone or None,
        resume=options.resume,
        overwrite=options.overwrite,
        save_every=options.save_every,
        workers=options.workers,
        watch=watching,
        limit=limit,
        launch=options.launch,
        facts=facts,
        progress=options.progress,
        note=note,
    )
    done = execute(plan, layout)
    best = folder.best if folder.best.is_file() else None
    score = done.get("best", -1.0)
    return TrainingResult(
        folder=out,
        last=folder.last,
        best=best,
        iterations=done.get("iterations", config.iterations),
        score=score if score >= 0 else None,
        wanted=config.iterations,
        is_first=layout.rank == 0,
    )


def _default_folder(kind: str, clips: ClipOptions, options: RunOptions) -> Path:
    preset = preset_name(kind, options.preset, _architecture(_with_start(kind, options)))
    return Path("runs") / "-".join(filter(None, (preset, clips.mode)))


def _with_start(kind: str, options: RunOptions) -> RunOptions:
    """Fine-tuning without weights starts from the package's own of that architecture."""
    if kind == "pretrain" or options.weights is not None:
        return options
    from hodor_cli.weights import DEFAULT_WEIGHTS, available_weights

    architecture = options.model or (train_preset(options.preset).model if options.preset else DEFAULT_WEIGHTS)
    if architecture not in available_weights():
        raise UsageError(
            f"fine-tuning starts from a trained network and there are no weights named '{architecture}': give"
            " --weights FILE"
        )
    return dataclasses.replace(options, weights=architecture)


def _architecture(options: RunOptions) -> str | None:
    """The architecture that the options name, by themselves or by the weights; None if they leave it open."""
    named = options.model or options.settings.get("model")
    if named is not None or options.weights is None or options.preset is not None:
        return named
    return architecture_of(options.weights)


def _default_sources(kind: str) -> list[DataSource]:
    if kind == "finetune":
        raise DataError("there is nothing to fine-tune on: give --data FOLDER with JPEGImages and Annotations")
    from hodor_cli.data.workspace import workspace_stills

    images, annotations = workspace_stills()
    return [DataSource(images, annotations=annotations)]


def _data_line(report: CheckReport, clips: ClipOptions) -> str:
    if clips.mode == "sparse" and report.kind == "clips":
        return f"{report.path}: {report.images} frames; of each sequence one labelled frame is read"
    return report.lines()[0]


def _check_validation(watching: WatchSettings) -> None:
    if watching.validation is not None:
        from hodor_cli.evaluation import recognise

        benchmark = recognise(watching.validation)
        if not benchmark.has_truth:
            raise DataError(f"--val {watching.validation} has no annotations to measure against")
        if not any(sequence.images for sequence in benchmark.sequences.values()):
            raise DataError(f"--val {watching.validation} has masks but no images to run the network on")


def _time_limit(given: float | str | None) -> TimeLimit | None:
    """The limit that a run was given, from now on. Raises UsageError."""
    return None if given is None else TimeLimit.after(parse_duration(str(given)))


def _as_text(path: str | Path | None) -> str:
    """A file by its whole path, a name as it is, "" for none."""
    if path is None:
        return ""
    return str(Path(path).absolute()) if Path(path).is_file() else str(path)


def _silent(text: str) -> None:
    """Say nothing."""
