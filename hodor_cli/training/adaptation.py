"""Adapting a network to a video's first frame.

HODOR learns from still images, so the frame that the user gave, with its masks, is itself a training set: a copy of the
network is fine-tuned on augmented sequences of it, with the loss and the cycles of training, within a budget.
"""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from hodor_cli.errors import InputError, UsageError
from hodor_cli.model.hodor import Hodor
from hodor_cli.runtime.device import autocast, choose_precision
from hodor_cli.runtime.preprocess import Geometry
from hodor_cli.training.config import LearningRate
from hodor_cli.training.cycles import Hardship, schedule
from hodor_cli.training.objective import Objective
from hodor_cli.training.optimiser import WeightAverage, freeze_stages, rate_at
from hodor_cli.training.samples.sample import TrainingSample
from hodor_cli.training.samples.sequence import make_still_sequence
from hodor_cli.training.samples.settings import MINI, AugmentSettings
from hodor_cli.weights.checkpoint import model_fingerprint, model_from_checkpoint, save_checkpoint


@dataclass(frozen=True)
class Budget:
    """How long adaptation may take: seconds of wall time, or steps; one of the two."""

    seconds: float | None = None
    steps: int | None = None

    def __post_init__(self) -> None:
        if (self.seconds is None) == (self.steps is None):
            raise UsageError("the budget of --adapt is either seconds (60s) or steps (200steps)")
        if (self.seconds is not None and self.seconds <= 0) or (self.steps is not None and self.steps <= 0):
            raise UsageError("the budget of --adapt must be above 0; leave --adapt out to run without it")

    @staticmethod
    def parse(text: str) -> Budget:
        """A budget from "60", "60s" (seconds) or "200steps". Raises UsageError for anything else."""
        number = text.strip().lower()
        try:
            if number.endswith("steps"):
                return Budget(steps=int(number.removesuffix("steps")))
            return Budget(seconds=float(number.removesuffix("s")))
        except ValueError as error:
            raise UsageError(f"'{text}' is no budget for --adapt; write seconds (60s) or steps (200steps)") from error


#: What is used when a user asks for adaptation and says no more: about a minute on two CPU cores.
DEFAULT_BUDGET = Budget(seconds=60.0)


@dataclass(frozen=True)
class AdaptSettings:
    """How adaptation trains. `max_objects` of the frame's objects are in each sequence, drawn anew.

    area: pixels of a training frame, as a share of those of the working resolution. Views of a part of the frame at
        about its own scale cost less, and so more steps fit into the budget.
    frozen_stages: stages of the backbone that stay as they are.
    blend: how far the result lies from the given weights (0) to the adapted ones (1). On the 8 sequences of the model
        card J&F was 82.7 without adaptation at the same resolution, and 84.4, 84.9 and 84.8 with 0.5, 0.8 and 1; what
        loses by adaptation (parkour) loses most with 1.
    damage_cue: chance of mistakes in the masks that the cue carries along, so that the object itself is learned.
    """

    learning_rate: float = 2e-4
    backbone_rate: float = 0.3
    area: float = 0.33
    frozen_stages: int = 1
    blend: float = 0.8
    sequence: int = 3
    schedule: str = "chain"
    max_objects: int = 4
    average: float = 0.98
    clip_norm: float = 1.0
    drop_cue: float = 0.15
    damage_cue: float = 0.25
    seed: int = 0
    #: "fp32", "bf16" or "auto": bfloat16 where the device multiplies in it, which leaves time for more steps; so is
    #: "fp16", in which a network runs but does not train.
    precision: str = "auto"
    #: Motion as between frames of a video: objects and background move apart, little else changes.
    augment: AugmentSettings = dataclasses.field(
        default_factory=lambda: dataclasses.replace(
            MINI, other_background=0.0, view_scale=(1.0, 1.8), independent=0.7, grey=0.0, compression=0.1
        )
    )


@dataclass(frozen=True)
class Example:
    """A frame (H, W, 3) uint8 RGB whose label map (H, W) the user gave."""

    frame: NDArray[np.uint8]
    labels: NDArray[np.uint16]


@dataclass(frozen=True)
class AdaptProgress:
    """Steps and seconds spent so far, and the share of the budget they are (0..1)."""

    steps: int
    seconds: float
    share: float
    loss: float


def adapt_model(
    model: Hodor,
    examples: Sequence[Example],
    budget: Budget = DEFAULT_BUDGET,
    *,
    settings: AdaptSettings | None = None,
    min_dim: int | None = None,
    max_dim: int | None = None,
    cache: Path | None = None,
    progress: Callable[[AdaptProgress], None] | None = None,
) -> Hodor:
    """A copy of the model, fine-tuned on the examples; the model itself is not changed.

    Args:
        model: the network to start from; the copy is on the same device.
        examples: frames with their masks; objects need not be the same in all.
        budget: when to stop.
        settings: how to train.
        min_dim, max_dim: working resolution; None for the model's own.
        cache: folder of adapted networks, found again by a hash of weights, examples, budget and settings.
        progress: called after every step.
    Raises:
        InputError for a mask that is empty or covers the whole frame.
    """
    settings = settings or AdaptSettings()
    for number, example in enumerate(examples):
        _check(example, number)
    if not examples:
        raise UsageError("adaptation needs at least one frame with a mask")
    size = model.config.resolution(min_dim, max_dim)
    device = next(model.parameters()).device
    key = _key(model, examples, budget, settings, size, _precision(settings, device))
    stored = None if cache is None else cache / f"{key}.safetensors"
    if stored is not None and stored.is_file():
        return model_from_checkpoint(stored).to(device)

    adapted = copy.deepcopy(model).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    _train(adapted, examples, budget, settings, size, progress)
    if stored is not None:
        save_checkpoint(stored, adapted, {"adapted_from": model_fingerprint(model)})
    return adapted.eval()


def default_cache() -> Path:
    """Where adapted networks are kept: `$HODOR_CACHE_DIR`, or `hodor` in the user's cache folder."""
    import os

    base = os.environ.get("HODOR_CACHE_DIR")
    if base:
        return Path(base) / "adapted"
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "hodor" / "adapted"


def _train(
    model: Hodor,
    examples: Sequence[Example],
    budget: Budget,
    settings: AdaptSettings,
    size: tuple[int, int],
    progress: Callable[[AdaptProgress], None] | None,
) -> None:
    freeze_stages(model, settings.frozen_stages)
    objective = Objective(model, supervise="all").train()
    given = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    optimiser = torch.optim.AdamW(_groups(objective, settings), weight_decay=0.0)
    average = WeightAverage(model.named_parameters(), settings.average)
    augment = dataclasses.replace(settings.augment, frames=settings.sequence)
    rate = LearningRate(peak=settings.learning_rate, warmup=5, decay="cosine", floor=0.05)
    device = next(model.parameters()).device
    dtype = _precision(settings, device)
    started = time.perf_counter()
    step, share = 0, 0.0
    while share < 1:
        rng = np.random.default_rng([settings.seed, step])
        sample = _sample(examples[int(rng.integers(len(examples)))], rng, augment, settings, size)
        inputs = [
            torch.from_numpy(values)[None].to(device)
            for values in (sample.frames, sample.masks, sample.valid, sample.presence)
        ]
        # The learning rate falls with the share of the budget that is spent, whether it is time or steps.
        for group in optimiser.param_groups:
            group["lr"] = (
                rate_at(rate, step if step < rate.warmup else int(1000 * share) + rate.warmup, 1000) * (group["factor"])
            )
        torch.manual_seed(int(rng.integers(2**31)))
        optimiser.zero_grad(set_to_none=True)
        steps = schedule(settings.schedule, step, settings.sequence)
        with autocast(device, dtype):
            hardship = Hardship(cue_dropped=bool(rng.random() < settings.drop_cue), cue_damage=settings.damage_cue)
            losses, _ = objective(*inputs, steps, hardship)
        losses.total.backward()
        torch.nn.utils.clip_grad_norm_(objective.parameters(), settings.clip_norm)
        optimiser.step()
        average.update(model.named_parameters(), step)
        step += 1
        seconds = time.perf_counter() - started
        share = step / budget.steps if budget.steps is not None else seconds / (budget.seconds or seconds)
        if progress is not None:
            progress(AdaptProgress(step, seconds, min(share, 1.0), float(losses.total.detach())))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.lerp(given[name], average.values[name], settings.blend))
            parameter.requires_grad_(True)
    model.eval()


def _groups(objective: Objective, settings: AdaptSettings) -> list[dict[str, object]]:
    backbone = list(objective.model.backbone.parameters())
    known = {id(parameter) for parameter in backbone}
    rest = [parameter for parameter in objective.parameters() if id(parameter) not in known]
    return [{"params": rest, "factor": 1.0}, {"params": backbone, "factor": settings.backbone_rate}]


def _sample(
    example: Example,
    rng: np.random.Generator,
    augment: AugmentSettings,
    settings: AdaptSettings,
    size: tuple[int, int],
) -> TrainingSample:
    """An augmented sequence of an example at the working resolution."""
    ids = [int(i) for i in np.unique(example.labels) if i != 0]
    chosen = rng.permutation(ids)[: settings.max_objects]
    masks = [example.labels == i for i in chosen]
    whole = Geometry.of(*example.labels.shape, min_dim=size[0], max_dim=size[1]).padded
    height, width = (max(32, round(side * math.sqrt(settings.area) / 32) * 32) for side in whole)

    def others(rng: np.random.Generator) -> tuple[NDArray[np.uint8], list[NDArray[np.bool_]]]:
        return example.frame, _pieces_of_background(masks, example.labels > 0, rng)

    return make_still_sequence(example.frame, masks, rng, augment, (height, width), others=others)


def _pieces_of_background(
    masks: Sequence[NDArray[np.bool_]], objects: NDArray[np.bool_], rng: np.random.Generator
) -> list[NDArray[np.bool_]]:
    """At most one mask (H, W): the shape of an object at a place where mostly background is.

    Such pieces are what passes in front of the objects and behind them. Were they cut out of the objects, the network
    would learn that what looks like an object need not be it, and not find one again that it lost.
    """
    shape = masks[int(rng.integers(len(masks)))]
    rows, columns = np.nonzero(shape)
    rows, columns = rows - rows.min(), columns - columns.min()
    if rng.random() < 0.5:
        columns = columns.max() - columns
    spare = shape.shape[0] - rows.max(), shape.shape[1] - columns.max()
    for _ in range(10):
        piece = np.zeros_like(shape)
        piece[rows + int(rng.integers(spare[0])), columns + int(rng.integers(spare[1]))] = True
        piece &= ~objects
        if np.count_nonzero(piece) > len(rows) / 2:
            return [piece]
    return []


def _check(example: Example, number: int) -> None:
    inside = np.count_nonzero(example.labels)
    if inside == 0:
        raise InputError(f"the mask of example {number} is empty, so there is nothing to adapt to; mark the object")
    if inside == example.labels.size:
        raise InputError(
            f"the mask of example {number} covers the whole frame, so there is no background to adapt against;"
            " mark the object alone or leave --adapt out"
        )


def _precision(settings: AdaptSettings, device: torch.device) -> torch.dtype:
    # Gradients need the range that float16 lacks.
    wanted = "auto" if settings.precision == "fp16" else settings.precision
    return choose_precision(wanted, device, dense=True)


def _key(
    model: Hodor,
    examples: Sequence[Example],
    budget: Budget,
    settings: AdaptSettings,
    size: tuple[int, int],
    dtype: torch.dtype,
) -> str:
    """What an adapted network depends on, as one hash."""
    digest = hashlib.sha256(model_fingerprint(model).encode())
    details = [dataclasses.asdict(budget), dataclasses.asdict(settings), size, str(dtype)]
    digest.update(json.dumps(details, sort_keys=True).encode())
    for example in examples:
        digest.update(repr(example.labels.shape).encode())
        digest.update(np.ascontiguousarray(example.frame).tobytes())
        digest.update(np.ascontiguousarray(example.labels).tobytes())
    return digest.hexdigest()[:32]


__all__ = ["DEFAULT_BUDGET", "AdaptProgress", "AdaptSettings", "Budget", "Example", "adapt_model", "default_cache"]
