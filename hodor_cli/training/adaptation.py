"""Adapting a network to the frames whose masks were given.

HODOR learns from still images, so a frame that the user gave, with its masks, is itself a training set: a copy of the
network learns from augmented sequences of it, by the steps of training, within a budget. How far to go towards what it
learned is decided by a test that needs no labels: follow the objects forwards through some frames and back again, and
compare with the masks that were given (the cycle of HODOR, sec. 3.5).
"""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import json
import math
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from hodor_cli.errors import UsageError
from hodor_cli.model.hodor import Hodor
from hodor_cli.runtime.device import choose_precision, precision_name
from hodor_cli.runtime.preprocess import Geometry
from hodor_cli.training.adapt_settings import NOMINAL_STEPS, AdaptProgress, AdaptSettings
from hodor_cli.training.agreement import CycleTest, Example, Rgb
from hodor_cli.training.cycles import Hardship, schedule
from hodor_cli.training.launch import Process
from hodor_cli.training.samples.sample import collate
from hodor_cli.training.step import Learner, Weights, holding, put_weights, rate_at, weights_of
from hodor_cli.weights.checkpoint import model_fingerprint, model_from_checkpoint, save_checkpoint
from hodor_cli.weights.registry import cache_folder

#: Frames that the cycle goes through, at most.
_CYCLE_FRAMES = 12
#: How far to go, apart from `blend`: not at all, half the way, the whole way.
_BLENDS = (0.0, 0.5, 1.0)
#: What another choice must be better by, in IoU, than the one that is usually best; and what ends adaptation half-way.
_MARGIN, _COLLAPSE = 0.01, 0.1


def adapt(
    model: Hodor,
    examples: Sequence[Example],
    settings: AdaptSettings | None = None,
    *,
    frames: Sequence[Rgb] | None = None,
    cache: Path | None = None,
    progress: Callable[[AdaptProgress], None] | None = None,
) -> Hodor:
    """A copy of the model that has learned from the examples; the model itself is not changed.

    Use it at `model.config.resolution(min_dim, max_dim, adapted=True)`, for which it was made.

    Args:
        model: the network to start from; the copy is on the same device.
        examples: frames with their masks; objects need not be the same in all.
        settings: the budget, the resolution and how to train.
        frames: some frames that follow the first example in its video, in order, a dozen at most, such as every third
            of the next second: what the cycle goes through. Without them the result lies `blend` of the way.
        cache: folder of adapted networks, found again by a hash of all that they depend on.
        progress: called after every step, and after every frame of the cycle.
    Raises:
        InputError for a mask that is empty or covers the whole frame, UsageError for no example.
    """
    settings = settings or AdaptSettings()
    if not examples:
        raise UsageError("adaptation needs at least one frame with a mask")
    for number, example in enumerate(examples):
        example.require_usable(number)
    size = model.config.resolution(settings.min_dim, settings.max_dim, adapted=True)
    device = next(model.parameters()).device
    # Gradients need the range that float16 does not have.
    wanted = "auto" if settings.precision == "fp16" else settings.precision
    precision = precision_name(choose_precision(wanted, device))
    used = list(frames or ())[:_CYCLE_FRAMES]
    key = _key(model, examples, used, [dataclasses.asdict(settings), size, precision])
    stored = None if cache is None else cache / f"{key}.safetensors"
    if stored is not None and stored.is_file():
        return model_from_checkpoint(stored).to(device)

    job = _Adaptation(copy.deepcopy(model), examples, settings, size, Process(device, precision), progress)
    job.run(used)
    adapted = job.learner.model
    if stored is not None:
        save_checkpoint(stored, adapted, {"adapted_from": model_fingerprint(model)})
    return adapted.eval()


def default_cache() -> Path:
    """Where adapted networks are kept: in `$HODOR_CACHE_DIR`, or in `hodor` in the user's folder for caches."""
    weights = cache_folder()
    return (weights if os.environ.get("HODOR_CACHE_DIR") else weights.parent) / "adapted"


class _Adaptation:
    """A network that learns from examples, and the weights that may become the result."""

    def __init__(
        self,
        model: Hodor,
        examples: Sequence[Example],
        settings: AdaptSettings,
        size: tuple[int, int],
        process: Process,
        progress: Callable[[AdaptProgress], None] | None,
    ) -> None:
        self.examples, self.settings, self.size, self.progress = examples, settings, size, progress
        self.given = weights_of(model)
        self.learner = Learner(model, settings.training, process)
        self.started = time.perf_counter()
        self.loss = math.nan

    def run(self, frames: Sequence[Rgb]) -> None:
        """Learn within the budget, and leave in the model what the cycle found best."""
        whole = CycleTest(self.examples[0], list(frames), self.size, self.learner.process, self._tell)
        cycle = whole.affordable(self.learner.model, self.settings.budget.seconds, tests=len(_BLENDS) + 2)
        tried: list[tuple[float, float, Weights]] = []  # IoU in the cycle, how far, towards which weights
        reserved = 0.0
        if cycle is not None:
            began = time.perf_counter()
            tried.append((cycle.iou(self.learner.model), 0.0, self.given))
            reserved = len(_BLENDS) * (time.perf_counter() - began)
            self._learn(0.5, reserved)
            tried.append(self._try(cycle, self.settings.blend))
        if cycle is None or tried[1][0] >= tried[0][0] - _COLLAPSE:
            self._learn(1.0, reserved)
        far, weights = self.settings.blend, self._learned()
        if cycle is not None:
            # Where the cycle can hardly tell, the result is the usual one.
            tried += [self._try(cycle, blend) for blend in sorted({self.settings.blend, *_BLENDS} - {0.0})]
            usual = next(choice for choice in reversed(tried) if choice[1] == self.settings.blend)
            best = max(tried, key=lambda choice: choice[0])
            iou, far, weights = best if best[0] > usual[0] + _MARGIN else usual
            self._tell(far, iou)
        put_weights(self.learner.model, self._towards(weights, far))
        self.learner.model.requires_grad_(True)

    def _learn(self, until: float, reserved: float) -> None:
        """Take steps until that share of the budget is spent, `reserved` seconds of which are not for learning."""
        config = self.settings.training
        share = self._share(reserved)
        self.learner.objective.train()
        while share < until or self.learner.done == 0:
            step = self.learner.done
            rng = np.random.default_rng([config.seed, step])
            example = self.examples[int(rng.integers(len(self.examples)))]
            size = self._sample_size(example)
            sample = example.sample(rng, config.augment, size, max_objects=config.batches.max_objects)
            warmup = config.learning_rate.warmup
            at = step if step < warmup else int(NOMINAL_STEPS * share) + warmup
            rate = rate_at(config.learning_rate, at, NOMINAL_STEPS)
            torch.manual_seed(int(rng.integers(2**31)))
            steps = schedule(config.schedule, step, config.sequence)
            hardship = Hardship(cue_dropped=bool(rng.random() < config.drop_cue), cue_damage=config.damage_cue)
            values, _ = self.learner.step(collate([sample]), rate, steps, hardship)
            self.loss = float(values[:2].sum())
            share = self._share(reserved)
            self._tell()

    def _sample_size(self, example: Example) -> tuple[int, int]:
        """(height, width) of a sample: the share `area` of the working resolution."""
        whole = Geometry.of(*example.labels.shape, min_dim=self.size[0], max_dim=self.size[1]).padded
        height, width = (max(32, round(side * math.sqrt(self.settings.area) / 32) * 32) for side in whole)
        return height, width

    def _share(self, reserved: float) -> float:
        budget = self.settings.budget
        if budget.steps is not None:
            return self.learner.done / budget.steps
        seconds = budget.seconds or math.inf
        return (time.perf_counter() - self.started) / max(seconds - reserved, seconds / 2)

    def _tell(self, blend: float | None = None, cycle: float | None = None) -> None:
        if self.progress is not None:
            seconds, share = time.perf_counter() - self.started, min(self._share(0.0), 1.0)
            done = 1.0 if blend is not None else share
            self.progress(AdaptProgress(self.learner.done, seconds, done, self.loss, blend, cycle))

    def _try(self, cycle: CycleTest, far: float) -> tuple[float, float, Weights]:
        """What the cycle says of going so far; learning then continues as if nothing had been tried."""
        learned = self._learned()
        with holding(self.learner.model, self._towards(learned, far)):
            return cycle.iou(self.learner.model), far, learned

    def _learned(self) -> Weights:
        assert self.learner.learned is not None  # the settings ask for an average
        return copy.deepcopy(self.learner.learned)

    def _towards(self, learned: Weights, far: float) -> Weights:
        return {name: torch.lerp(given, learned[name], far) for name, given in self.given.items()}


def _key(model: Hodor, examples: Sequence[Example], frames: Sequence[Rgb], details: list[object]) -> str:
    """What an adapted network depends on, as one hash."""
    digest = hashlib.sha256(model_fingerprint(model).encode())
    digest.update(json.dumps(details, sort_keys=True).encode())
    for example in examples:
        for part in (repr(example.labels.shape).encode(), example.frame.tobytes(), example.labels.tobytes()):
            digest.update(part)
    for frame in frames:
        digest.update(frame.tobytes())
    return digest.hexdigest()[:32]
