"""Settings of adaptation: the budget, the resolution, and how the network trains on the given frames."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Annotated

from hodor_cli.errors import UsageError
from hodor_cli.samples.settings import MINI
from hodor_cli.settings import about, check_settings
from hodor_cli.training.config import LearningRate, TrainConfig

#: Nominal length of the learning rate's schedule, in which the share of the budget that is spent is the position.
NOMINAL_STEPS = 1000


@dataclass(frozen=True)
class Budget:
    """How long adaptation may take: either seconds of wall time or training steps."""

    seconds: float | None = None
    steps: int | None = None

    def __post_init__(self) -> None:
        if (self.seconds is None) == (self.steps is None):
            raise UsageError("the budget of `adapt` must be either seconds (60s) or steps (200steps)")
        if not 0 < (self.seconds or 0) + (self.steps or 0) < math.inf:
            raise UsageError("the budget of `adapt` must be above 0; leave `adapt` out to run without it")

    @staticmethod
    def parse(text: str) -> Budget:
        """A budget from "60", "60s" (seconds) or "200steps". Raises UsageError for anything else."""
        number = text.strip().lower()
        try:
            if number.endswith("steps"):
                return Budget(steps=int(number.removesuffix("steps")))
            return Budget(seconds=float(number.removesuffix("s")))
        except ValueError as error:
            raise UsageError(f"'{text}' is not a budget of `adapt`; give seconds (60s) or steps (200steps)") from error


#: Training on the given frames: motion as between the frames of a video, objects that move relative to the background,
#: and little else. The learning rate falls with the share of the budget that is spent, not with iterations.
TRAINING = TrainConfig(
    iterations=NOMINAL_STEPS,
    batch_size=1,
    schedule="chain",
    learning_rate=LearningRate(peak=2e-4, warmup=5, decay="cosine", floor=0.05),
    backbone_rate=0.3,
    frozen_stages=1,
    weight_decay=0.0,
    clip_norm=1.0,
    average=0.98,
    drop_cue=0.15,
    damage_cue=0.25,
    augment=dataclasses.replace(
        MINI, other_background=0.0, view_scale=(1.0, 1.8), independent=0.7, grey=0.0, compression=0.1
    ),
)


#: Pixels of a training frame, as a share of a frame at the working resolution. Crops of a frame at about its own scale
#: cost less, so more steps fit into the budget.
AREA = 0.33
#: How far to go from the given weights to the learned ones. On the 8 sequences of the model card, J&F was 82.7 without
#: adaptation at the same resolution, and 84.4, 84.9 and 84.8 with 0.5, 0.8 and 1. A sequence that adaptation harms
#: (parkour) loses most with 1.
BLEND = 0.8


@dataclass(frozen=True)
class AdaptSettings:
    """How long adaptation trains, at which resolution and in which precision."""

    budget: Budget
    #: None: the resolution that the model's configuration has for adapted runs.
    min_dim: Annotated[int, about("Shorter side of the network's input.", least=32)] | None = None
    max_dim: Annotated[int, about("Limit of its longer side.", least=32)] | None = None
    #: "auto" is bfloat16 if the device has units for it, which leaves time for more steps. "fp16" means the same,
    #: because a network can run but not train in it.
    precision: str = "auto"

    def __post_init__(self) -> None:
        check_settings(self)


@dataclass(frozen=True)
class AdaptProgress:
    """Steps and seconds spent so far, their share of the budget (0..1), and the latest loss.

    blend: set at the end: how far the result goes from the given weights (0) to the learned ones (1).
    """

    steps: int
    seconds: float
    share: float
    loss: float
    blend: float | None = None
