"""Adapting a network to the frames whose masks were given.

HODOR learns from still images, so a frame with given masks is itself a training set: a copy of the network is trained
on augmented sequences of it, within a budget. The result is between the given weights and the learned ones. How far
is decided without labels: the more the objects change after the given frames, the closer it stays to the given weights.
"""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import json
import math
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

import hodor_cli
from hodor_cli.adaptation.examples import Example, trust_in
from hodor_cli.adaptation.settings import AREA, BLEND, NOMINAL_STEPS, TRAINING, AdaptProgress, AdaptSettings, Budget
from hodor_cli.engine.segmenter import Segmenter
from hodor_cli.engine.settings import SegmenterSettings
from hodor_cli.errors import OutputError, TrainingError, UsageError, WeightsError
from hodor_cli.model.hodor import Hodor
from hodor_cli.runtime.device import choose_device, choose_precision, own_random_state, placed, precision_name
from hodor_cli.runtime.preprocess import Geometry
from hodor_cli.samples.sample import collate
from hodor_cli.training.cycles import Objective, inputs_of, schedule
from hodor_cli.training.damage import Hardship
from hodor_cli.training.learner import Learner, freeze_stages, rate_at
from hodor_cli.weights.checkpoint import model_fingerprint, model_from_checkpoint, save_checkpoint
from hodor_cli.weights.registry import cache_folder

Settings = TypeVar("Settings", bound=SegmenterSettings)

#: If the result would be less than this share of the way to the learned weights, learning is not worth the time.
_WORTH = 0.1


def adapt(
    model: Hodor,
    examples: Sequence[Example],
    settings: AdaptSettings,
    *,
    cache: Path | None = None,
    progress: Callable[[AdaptProgress], None] | None = None,
) -> Hodor:
    """A copy of the model that has learned from the examples; the model itself does not change.

    Use it at the resolution that it was trained at: `model.config.resolution(min_dim, max_dim,
    adapted_lines=min(height, width))`.

    Args:
        model: the network to start from; the copy is on the same device.
        examples: frames with their masks, in the order of the video; objects need not be the same in all. If none of
            them has frames that follow it, the result goes the full `BLEND` of the way to the learned weights.
        settings: the budget, the resolution and the precision.
        cache: folder of adapted networks, which are found again by a hash of everything they depend on.
        progress: called after every training step, and after every frame segmented to judge how the objects change.
    Raises:
        InputError if a mask is empty or covers the whole frame, UsageError if there is no example.
    """
    if not examples:
        raise UsageError("adaptation needs at least one frame with a mask")
    for number, example in enumerate(examples):
        example.require_usable(number)
    lines = min(examples[0].labels.shape)
    size = model.config.resolution(settings.min_dim, settings.max_dim, adapted_lines=lines)
    device = next(model.parameters()).device
    # Gradients leave the range of float16.
    wanted = "auto" if settings.precision == "fp16" else settings.precision
    precision = precision_name(choose_precision(wanted, device))
    key = _key(model, examples, [dataclasses.asdict(settings), size, precision])
    stored = None if cache is None else cache / f"{key}.safetensors"
    if stored is not None and stored.is_file():
        with suppress(WeightsError):  # a damaged file is replaced
            return model_from_checkpoint(stored).to(device)

    learned = _Adaptation(model, precision, examples, settings, size, progress).run()
    if stored is not None:
        with suppress(OutputError):  # a cache on a full or read-only disk must not cost the result
            save_checkpoint(stored, learned, {"adapted_from": model_fingerprint(model)})
    return learned.eval()


def adapted(
    model: Hodor,
    examples: Sequence[Example],
    budget: str,
    settings: Settings,
    *,
    progress: Callable[[AdaptProgress], None] | None = None,
) -> tuple[Hodor, Settings]:
    """A network adapted within a budget (`60s`, `200steps`) or taken from the cache, and the settings to use it with.
    It learns on the device of the settings.

    The settings have the resolution of adapted runs, unless the user chose one. Raises UsageError for an invalid
    budget, and the errors of `adapt`.
    """
    model, lines = placed(model, choose_device(settings.device)), min(examples[0].labels.shape)
    min_dim, max_dim = model.config.resolution(settings.min_dim, settings.max_dim, adapted_lines=lines)
    how = AdaptSettings(Budget.parse(budget), min_dim=min_dim, max_dim=max_dim, precision=settings.precision)
    network = adapt(model, examples, how, cache=cache_folder("adapted"), progress=progress)
    return network, dataclasses.replace(settings, min_dim=min_dim, max_dim=max_dim)


class _Adaptation:
    """A copy of a network that learns from examples, within a budget."""

    def __init__(
        self,
        given: Hodor,
        precision: str,
        examples: Sequence[Example],
        settings: AdaptSettings,
        size: tuple[int, int],
        progress: Callable[[AdaptProgress], None] | None,
    ) -> None:
        model, self.device = copy.deepcopy(given), next(given.parameters()).device
        freeze_stages(model.backbone, TRAINING.frozen_stages)
        self.given, self.precision = given, precision
        self.learner = Learner(model, TRAINING, self.device)
        self.examples, self.settings, self.size = examples, settings, size
        self.progress = progress
        self.started = time.perf_counter()
        self.loss = math.nan

    def run(self) -> Hodor:
        """Learn within the budget. Returns the copy, with weights between the given and the learned ones."""
        (min_dim, max_dim), model = self.size, self.learner.model
        segmenter = Segmenter(
            model.eval(), min_dim=min_dim, max_dim=max_dim, device=self.device, precision=self.precision
        )
        blend = BLEND * trust_in(self.examples, segmenter, self.settings.budget.seconds, self._report)
        if blend < _WORTH:
            blend = 0.0
        else:
            with own_random_state(self.device):
                self._learn()
        parameters = model.parameters(), self.given.parameters(), self.learner.learned.parameters()
        with torch.no_grad():
            for parameter, given, learned in zip(*parameters, strict=True):
                parameter.copy_(torch.lerp(given, learned, blend))
        if any(example.following for example in self.examples):
            self._report(blend)
        return model.requires_grad_(True)

    def _learn(self) -> None:
        """Take steps until the budget is spent."""
        config, learner = TRAINING, self.learner
        objective = Objective(
            learner.model, supervise=config.supervise, dtype=choose_precision(self.precision, self.device)
        ).train()
        while (share := self._share()) < 1 or learner.done == 0:
            step, warmup = learner.done, config.learning_rate.warmup
            rng = np.random.default_rng([config.seed, step])
            example = self.examples[int(rng.integers(len(self.examples)))]
            whole = Geometry.of(*example.labels.shape, min_dim=self.size[0], max_dim=self.size[1]).padded
            height, width = (max(32, round(side * math.sqrt(AREA) / 32) * 32) for side in whole)
            sample = example.sample(rng, config.augment, (height, width), max_objects=config.batches.max_objects)
            at = step if step < warmup else int(NOMINAL_STEPS * share) + warmup
            rate = rate_at(config.learning_rate, at, NOMINAL_STEPS)
            torch.manual_seed(int(rng.integers(2**31)))
            hardship = Hardship(drop_cue=bool(rng.random() < config.drop_cue), damage_cue=config.damage_cue)
            steps = schedule(config.schedule, step, config.sequence)
            losses, _ = objective(*inputs_of(collate([sample], (height, width)), self.device), steps, hardship)
            losses.total.backward()
            if not learner.update(rate, losses.values[:2]):
                raise TrainingError(f"no finite loss in step {step + 1} of adapting; drop `adapt` or change `weights`")
            self.loss = float(losses.values[:2].sum())
            self._report()

    def _share(self) -> float:
        """The share of the budget that is spent."""
        budget = self.settings.budget
        if budget.steps is not None:
            return self.learner.done / budget.steps
        return (time.perf_counter() - self.started) / (budget.seconds or math.inf)

    def _report(self, blend: float | None = None) -> None:
        if self.progress is not None:
            share = 1.0 if blend is not None else min(self._share(), 1.0)
            seconds = time.perf_counter() - self.started
            self.progress(AdaptProgress(self.learner.done, seconds, share, self.loss, blend))


def _key(model: Hodor, examples: Sequence[Example], details: list[object]) -> str:
    """A hash of everything that an adapted network depends on."""
    digest = hashlib.sha256(f"{_code_digest()} {model_fingerprint(model)}".encode())
    digest.update(json.dumps(details, sort_keys=True).encode())
    for example in examples:
        for part in (repr(example.labels.shape).encode(), example.frame.tobytes(), example.labels.tobytes()):
            digest.update(part)
        for frame in example.following:
            digest.update(frame.tobytes())
    return digest.hexdigest()[:32]


def _code_digest() -> str:
    """A hash of the package's version and code, so that networks adapted by other code are not reused.

    Most of the package has a part in adaptation, so all of it is hashed, which takes milliseconds.
    """
    package = Path(hodor_cli.__file__).parent
    digest = hashlib.sha256(hodor_cli.__version__.encode())
    for path in sorted(package.rglob("*.py")):
        digest.update(path.relative_to(package).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()
