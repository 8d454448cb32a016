"""Segments a whole source into a result folder: the library function behind `hodor segment`.

    source -> reading thread -> Segmenter.step -> writing thread -> masks/, overlay.mp4, report.json

Memory does not grow with the number of frames: queues are bounded, and everything else is on disk.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from hodor_cli.adaptation.adapt import adapted
from hodor_cli.adaptation.examples import Example, Rgb, followed_after
from hodor_cli.adaptation.settings import AdaptProgress, Budget
from hodor_cli.datasets.labels.combining import PackedMask
from hodor_cli.engine.following import GivenMasks, passes_backward
from hodor_cli.engine.keyframes import OfflineSegmenter
from hodor_cli.engine.soft_maps import MapFolder
from hodor_cli.errors import HodorError, UsageError
from hodor_cli.files import put_in_place, writing
from hodor_cli.images.paths import as_path
from hodor_cli.locks import locked_folder
from hodor_cli.model.hodor import Hodor
from hodor_cli.records import RunIdentity
from hodor_cli.run.correction import correct, finish_correction, is_moving
from hodor_cli.run.earlier import corrected_run
from hodor_cli.run.finish import finish_run, read_summary
from hodor_cli.run.inputs import RunInputs
from hodor_cli.run.loop import NothingToFollowError, RunLoop
from hodor_cli.run.output import OutputFolder
from hodor_cli.run.results import join_overlay
from hodor_cli.run.resume import prepare, run_identity
from hodor_cli.run.settings import RunHooks, RunJob, RunOutput, RunSegmenter, SegmentSettings, SegmentSummary
from hodor_cli.runtime.device import choose_device, choose_precision
from hodor_cli.settings import options_of
from hodor_cli.video.frames import FrameSource
from hodor_cli.weights import load_model, model_fingerprint

#: The warning about a network that adaptation leaves as it is.
UNADAPTED = "the objects change so much that adapting to the given masks would do harm; the network stays as it is"
_ADVICE = "wait until it ends, or choose another folder with `out`"


def segment_source(
    source: FrameSource,
    inputs: RunInputs,
    out: Path | str,
    network: Hodor | RunSegmenter,
    *,
    settings: SegmentSettings | None = None,
    output: RunOutput | None = None,
    hooks: RunHooks | None = None,
) -> SegmentSummary:
    """Follow objects through a source and write masks, overlay video and report into the folder `out`.

        with open_source("clip.mp4") as source:
            inputs = RunInputs(masks={0: read_mask("first.png").labels})
            summary = segment_source(source, inputs, "clip.hodor", load_model("mini"))

    Args:
        source: An open `hodor_cli.video.FrameSource`.
        inputs: The masks, boxes and removals by frame.
        out: The result folder, described in `hodor_cli/run/output.py`. It is locked during the run.
        network: The network that `load_model` returns; or a segmenter that is new, reset, or started from saved
            descriptors, with its own history, resolution, device and precision, and adapted or not.
        settings: History, working resolution, device, precision, whether to adapt the network to the masks, and whether
            to draw the overlay.
        output: Whether to replace or resume the results in `out`.
        hooks: Functions to call after each frame.

    Returns:
        The files, the frames to review, and warnings.

    Raises:
        UsageError, InputError: The inputs do not fit; nothing is left in `out`.
        OutputError: `out` exists, is being written to, cannot be written to, or belongs to a run with other inputs or
            settings.
    """
    settings, output = options_of(SegmentSettings, settings, "settings"), options_of(RunOutput, output, "output")
    folder, hooks = OutputFolder(as_path(out, "`out`")), options_of(RunHooks, hooks, "hooks")
    if not isinstance(source, FrameSource):
        raise UsageError(f"`source` is a {type(source).__name__}; give open_source(...)")
    inputs = options_of(RunInputs, inputs, "inputs")
    folder.require(output, source.place)
    for note in inputs.notes:
        source.warn(note)
    if output.resume and source.kind == "camera":
        raise UsageError("a camera's frames cannot be read again, so its run cannot be resumed; use `overwrite`")
    if settings.adapt and not isinstance(network, RunSegmenter):
        network, settings = adapted_to_given(network, source, inputs, settings)
    segmenter = network if isinstance(network, RunSegmenter) else settings.offline(network)
    if output.resume and is_moving(folder):
        with locked_folder(folder.root, advice=_ADVICE):
            finish_correction(folder)
    earlier, known = None, tuple(segmenter.object_ids)  # objects started from saved descriptors
    able = source.reiterable and not known
    offline = segmenter if able and isinstance(segmenter, OfflineSegmenter) else None  # to follow objects backward
    if output.resume and offline is not None:
        earlier, inputs = corrected_run(folder, source, inputs, settings, segmenter)
    inputs.check(source, known=known)
    identity = run_identity(source, inputs, settings, segmenter)
    finished = output.resume and earlier is None and folder.state() == "finished"
    if finished and not folder.progress.exists():
        return read_summary(folder, identity)
    side = settings.overlay_side if settings.overlay else None
    job = RunJob(source, inputs, side, len({*inputs.object_ids, *known}) > 1, output, hooks)
    with locked_folder(folder.root, advice=_ADVICE):
        if earlier is not None and offline is not None:
            return correct(folder, earlier, job, offline, identity)
        if output.resume and folder.state() == "finished":
            shutil.rmtree(folder.progress, ignore_errors=True)  # killed after the report, before the cleanup
            return read_summary(folder, identity)
        return _segment(folder, job, segmenter, offline, identity)


def _segment(
    folder: OutputFolder, job: RunJob, segmenter: RunSegmenter, offline: OfflineSegmenter | None, identity: RunIdentity
) -> SegmentSummary:
    """Segment the remaining frames, and write overlay and report. A run that fails early leaves no files."""
    source, checkpoint = job.source, prepare(folder, identity, job.output)
    try:
        # The frames of a camera or a pipe can be read only once, so their masks are used only from their frame on.
        if offline is not None and set(job.inputs.starts) != {source.start}:
            job = replace(job, backward=_follow_backward(job, offline, folder))
        run = RunLoop(job, segmenter, folder, checkpoint)
        run.work()
        if job.overlay_side:
            join_overlay(folder, source, run.results.pieces(), run.results.first_time or 0.0)
            put_in_place(folder.joined, folder.overlay)
        return finish_run(folder, identity, run.progress, resumed_from=checkpoint.progress.done if checkpoint else 0)
    except BaseException as error:
        resumable = folder.checkpoint.exists() or (folder.backward.is_dir() and not isinstance(error, HodorError))
        if not resumable or isinstance(error, NothingToFollowError):
            folder.remove_results()
        raise


def _follow_backward(job: RunJob, segmenter: OfflineSegmenter, folder: OutputFolder) -> int:
    """Encode all masks and make the unfinished passes backward; the segmenter can then go forward.

    The passes store soft maps in `.progress`, which the segmenter merges with its results on the way forward. Returns
    the number of frames in all passes.
    """
    source, inputs = job.source, job.inputs
    made = {frame: PackedMask(labels) for frame, labels in inputs.prompted(source)}
    given = GivenMasks({**inputs.masks, **made}, inputs.removals, inputs.appears)
    with writing(folder.root):
        maps = MapFolder(folder.backward)
        segmenter.plan(given.plan, first=source.start, maps=maps)
        stretches = list(given.plan.stretches(source.start, inputs.starts[-1]))
        return passes_backward(
            segmenter, source, given, stretches, maps, progress=job.hooks.backward_progress(source.length)
        )


def load_network(settings: SegmentSettings, *, here: bool = True) -> Hodor:
    """Load the network of a run and check the settings against it, before anything is read or written.

    here: whether it runs on this machine, whose device is then checked, too. Raises UsageError, WeightsError or
    DeviceError.
    """
    if settings.adapt:
        Budget.parse(settings.adapt)
    model = load_model(settings.weights)
    if here:
        choose_precision(settings.precision, choose_device(settings.device))
    model.config.resolution(settings.min_dim, settings.max_dim)
    return model


def require_adaptable(source: FrameSource, budget: str) -> None:
    """Raise UsageError for a budget that is not like `60s` or `200steps`, or a source that can be read only once."""
    Budget.parse(budget)
    if not source.reiterable:
        raise UsageError(f"`adapt` reads frames in advance, but {source.label} can be read only once; leave it out")


def adapted_to_given(
    model: Hodor,
    source: FrameSource,
    inputs: RunInputs,
    settings: SegmentSettings,
    *,
    progress: Callable[[AdaptProgress], None] | None = None,
) -> tuple[Hodor, SegmentSettings]:
    """A copy of the model adapted to `inputs` (from the cache if possible), and the settings to run it with: they have
    the resolution of adapted runs unless the user chose one. If the copy is as the model was, the source warns of it.

    settings: `adapt` is the budget, such as `60s` or `200steps`. Raises UsageError for any other budget or a source
    that can be read only once, InputError for masks that do not fit.
    """
    require_adaptable(source, settings.adapt)
    inputs.check(source)
    following = followed_after(inputs.starts)
    wanted = {index: mark for mark, indices in following.items() for index in indices}
    examples: dict[int, Example] = {}
    seen: dict[int, list[Rgb]] = {mark: [] for mark in following}
    for frame in source:
        given = inputs.at(frame).labels if frame.index in following else None
        if given is not None:
            examples[frame.index] = Example(frame.image, given, seen[frame.index])
        elif frame.index in wanted:
            seen[wanted[frame.index]].append(frame.image)
        if frame.index >= max(*following, *wanted):
            break
    network, settings = adapted(model, list(examples.values()), settings.adapt, settings, progress=progress)
    if model_fingerprint(network) == model_fingerprint(model):
        source.warn(UNADAPTED)
    return network, settings
