"""Trains the click network for a given time; a run can be resumed."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hodor_cli.clicks.network import ClickConfig, ClickNet, with_extra_blocks
from hodor_cli.clicks.network_file import load_click_net, save_click_net
from hodor_cli.clicks.samples import CropMaker
from hodor_cli.clicks.settings import ClickTraining
from hodor_cli.clicks.training_step import Simulation, batch, losses
from hodor_cli.datasets.clips import ClipSet
from hodor_cli.datasets.coco import StillImages
from hodor_cli.datasets.limits import ObjectLimits
from hodor_cli.errors import OutputError, TrainingError, UsageError
from hodor_cli.files import remove_leftovers, require_empty
from hodor_cli.formats.opening import open_set
from hodor_cli.locks import LOCK_FILE, locked_folder
from hodor_cli.model import accelerate
from hodor_cli.runtime.device import autocast, choose_device, choose_precision
from hodor_cli.runtime.interrupts import terminated_like_ctrl_c, uninterrupted
from hodor_cli.runtime.memory import keep_freed_memory
from hodor_cli.runtime.second_thread import SecondThread, second_thread
from hodor_cli.samples.clip_sets import ClipFrames
from hodor_cli.samples.settings import DataSource, parse_sources
from hodor_cli.training.config import LearningRate, TrainConfig
from hodor_cli.training.halves import learned_in_halves
from hodor_cli.training.learner import Learner, freeze_stages, rate_at
from hodor_cli.training.recipe import check_same
from hodor_cli.training.run_folder import TrainingState, read_state, restore_state, save_state
from hodor_cli.weights import load_model
from hodor_cli.weights.published import load_imagenet_backbone
from hodor_cli.weights.registry import name_in_record
from hodor_cli.weights.tensor_files import read_safetensors

#: Steps of the learning rate's schedule over the training time.
_STEPS = 10_000
_SAVE_EVERY = 300.0  # seconds
#: Share of iterations with clicks before those that contribute to the loss, so that later clicks are trained, too.
_LATE = 0.35
#: The trained network in the run's folder.
_FILE = "clicks.safetensors"
#: Settings that may change when a run is resumed.
_FREE = ("time", "device")
_LIMITS = ObjectLimits(min_area=500, min_side=12)


@dataclass(frozen=True)
class ClickProgress:
    """The progress of a run: iterations, share of the time used, running means of the loss and of the IoU per click."""

    iteration: int
    share: float
    loss: float
    ious: tuple[float, ...]


@terminated_like_ctrl_c()
def train_clicks(
    data: Sequence[str | Path],
    out: str | Path,
    settings: ClickTraining | None = None,
    *,
    weights: str | Path | None = None,
    resume: bool = False,
    progress: Callable[[ClickProgress], None] | None = None,
    warn: Callable[[str], object] | None = None,
) -> Path:
    """Train a click network on photographs (COCO format) and frames of clips; write it to `out`/clicks.safetensors.

    Ctrl-C or SIGTERM saves the state of the last whole iteration.

    weights: what to start from: a click network, a MobileNetV2 trained on ImageNet (safetensors), or weights of `hodor`
    (a name or a file), whose backbone is used; "mini" by default. resume: continue the run in `out`, or start one if
    there is none. warn: as for `open_set`.

    Returns the file. Raises DataError for data that cannot be used, OutputError if `out` holds other files, or a run or
    a click network that is not to be resumed, UsageError without data, or for other settings or weights than the
    resumed run began with, TrainingError if the loss or its gradient is not a number.
    """
    settings, out = settings or ClickTraining(), Path(out)
    if not data:
        raise UsageError("there is nothing to train on; give `data`, a folder of photographs or clips")
    with locked_folder(out, advice="wait until it ends, or train into another folder with `out`"):
        state = read_state(out)
        if state is None and (out / _FILE).exists():
            raise OutputError(f"{out} holds a click network but no run to continue; choose another folder with `out`")
        if state is not None and not resume:
            raise OutputError(f"{out} already holds a run; add `resume` to continue it, or choose another `out`")
        if state is None:
            require_empty(out, LOCK_FILE)
        else:
            given = {} if weights is None else {"weights": name_in_record(weights)}
            check_same(asdict(settings) | given, state.config, _FREE)  # older versions have other names for some
            weights = weights or state.config.get("weights")
        weights = weights or "mini"
        begin = out / _FILE if (out / _FILE).is_file() else weights  # the first weights may be gone by now
        remove_leftovers(out)
        keep_freed_memory()
        with torch.random.fork_rng(devices=[]):  # the caller's random state stays as it is
            torch.manual_seed(settings.seed)
            net = with_extra_blocks(starting_net(begin), settings.extra_blocks)
        run = _Run(net, name_in_record(weights), _crops(data, settings, warn), settings, out)
        if state is not None:
            run.restore(state)
        try:
            run.train(progress)
        except KeyboardInterrupt:
            with uninterrupted():
                run.save()
            raise
    return out / _FILE


def starting_net(weights: str | Path) -> ClickNet:
    """The network to train: the click network in `weights`, or a new one with the backbone of the network there."""
    path = Path(weights)
    if path.suffix == ".safetensors" and path.is_file():
        header = read_safetensors(path)[0].get("format", "")
        if header == "hodor-clicks":
            return load_click_net(path).requires_grad_(True)
        if header != "hodor":
            net = ClickNet(ClickConfig())
            load_imagenet_backbone(net.backbone, path)
            return net
    model = load_model(weights)
    net = ClickNet(ClickConfig(pixel_mean=model.config.pixel_mean, pixel_std=model.config.pixel_std))
    net.backbone.load_state_dict(model.backbone.state_dict())
    return net


def _crops(data: Sequence[str | Path], settings: ClickTraining, warn: Callable[[str], object] | None) -> CropMaker:
    sources = parse_sources([DataSource(Path(folder)) for folder in data])
    opened = [open_set(source.folder, limits=_LIMITS, warn=warn) for source in sources]
    stills = [found for found in opened if isinstance(found, StillImages)]
    clips = [ClipFrames(found, _LIMITS, every=settings.every) for found in opened if isinstance(found, ClipSet)]
    return CropMaker(stills, clips, settings, warn)


class _Run:
    """The state of a run. weights: what the network began from, for its record."""

    def __init__(self, net: ClickNet, weights: str, crops: CropMaker, settings: ClickTraining, out: Path) -> None:
        self.net, self.weights, self.crops, self.settings, self.out = net, weights, crops, settings, out
        self.device = choose_device(settings.device)
        self.dtype = choose_precision("auto", self.device)
        accelerate(net).train()
        freeze_stages(net.backbone, settings.frozen_stages)
        self.config = TrainConfig(
            iterations=_STEPS,
            learning_rate=LearningRate(peak=settings.learning_rate, warmup=_STEPS // 50, decay="cosine", floor=0.01),
            backbone_rate=settings.backbone_rate,
            clip_norm=1.0,
            average=settings.average,
        )
        self.learner = Learner(net, self.config, self.device)
        self.seconds = 0.0
        #: Running means of the loss and of the IoU after each click, since iteration `began`.
        self.began = 0
        self.means = np.zeros(1 + settings.rounds)

    def restore(self, state: TrainingState) -> None:
        restore_state(self.out, self.learner)
        self.learner.done = self.began = state.iteration
        self.seconds = float(state.config["seconds"])
        self.crops.unreadable.update(state.config.get("unread", ()))  # already warned about

    def train(self, progress: Callable[[ClickProgress], None] | None) -> None:
        budget, saved = self.settings.seconds, time.monotonic()
        # As in `pretrain`, two threads each learn from half of the batch.
        with second_thread(self.device.type == "cpu" and self.settings.batch_size > 1) as second:
            while self.seconds < budget:
                began = time.monotonic()
                with uninterrupted():
                    self._step(second)
                self.seconds += time.monotonic() - began
                if progress is not None:
                    loss, *ious = self.means.tolist()
                    progress(ClickProgress(self.learner.done, self.seconds / budget, loss, tuple(ious)))
                if time.monotonic() - saved > _SAVE_EVERY:
                    saved = time.monotonic()
                    self.save()
        self.save()

    def _step(self, second: SecondThread | None = None) -> None:
        """One iteration; `second` learns from half of the batch."""
        settings, count, learner = self.settings, self.settings.batch_size, self.learner
        rate = rate_at(self.config.learning_rate, int(self.seconds / settings.seconds * _STEPS), _STEPS)
        seeds = np.random.SeedSequence((settings.seed, learner.done)).spawn(1 + count * settings.objects)
        rng, *rngs = map(np.random.default_rng, seeds)
        frames, truths = batch([self.crops.draw(rng) for _ in range(count)], self.net)
        before = int(rng.integers(1, settings.late + 1)) if rng.random() < _LATE else 0

        def learn(begin: int, end: int) -> Tensor:
            """What some frames contribute to the batch's loss and to its IoU after each click."""
            objects = slice(begin * settings.objects, end * settings.objects)
            simulation = Simulation(truths[objects], rngs[objects])
            # With the cache, both threads would share autocast's copies of the weights.
            with autocast(self.device, self.dtype, cache=False):
                loss, ious = losses(
                    self.net, frames[begin:end].to(self.device), simulation, before=before, rounds=settings.rounds
                )
            return torch.cat((loss[None], ious)) * ((end - begin) / count)

        parameters = list(self.net.parameters())
        found = learn(0, count) if second is None else learned_in_halves(learn, count, parameters, second)
        found[0].backward()
        found = found.detach()
        if not learner.update(rate, found[:1]):
            raise TrainingError(f"the loss of iteration {learner.done + 1} is not a number; lower `learning_rate`")
        self.means += max(0.01, 1 / (learner.done - self.began)) * (found.cpu().numpy() - self.means)

    def save(self) -> None:
        more = {"seconds": self.seconds, "unread": sorted(self.crops.unreadable), "weights": self.weights}
        config = {**asdict(self.settings), **more}
        save_state(self.out, TrainingState(self.learner.done, config), self.learner)
        details = {"training": asdict(self.settings), "iterations": self.learner.done}
        save_click_net(self.out / _FILE, self.learner.learned, details)
