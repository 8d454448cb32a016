"""Settings of adaptation: the budget, the resolution, and how the network is trained on the given frames."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Annotated

from hodor_cli.errors import UsageError
from hodor_cli.samples.settings import MINI
from hodor_cli.settings import about, check_settings
from hodor_cli.training.config import LearningRate, TrainConfig

#: Nominal length of the learning rate's schedule, which falls with the share of the budget that is spent.
NOMINAL_STEPS = 1000


@dataclass(frozen=True)
class Budget:
    """How long adaptation may take: seconds of wall time, or steps; one of the two."""

    seconds: float | None = None
    steps: int | None = None

    def __post_init__(self) -> None:
        if (self.seconds is None) == (self.steps is None):
            raise UsageError("the budget of `adapt` is either seconds (60s) or steps (200steps)")
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
            raise UsageError(f"'{text}' is no budget for `adapt`; write seconds (60s) or steps (200steps)") from error


#: Training on the frames themselves: the motion is as between frames of a video, objects and background move apart,
#: and little else changes. The learning rate falls with the share of the budget that is spent, not with iterations.
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


#: Pixels of a training frame, as a share of those of the resolution. Views of a part of the frame at about its own
#: scale cost less, and so more steps fit into the budget.
AREA = 0.33
#: How far to go from the given weights to the learned ones. On the 8 sequences of the model card J&F was 82.7 without
#: adaptation at the same resolution, and 84.4, 84.9 and 84.8 with 0.5, 0.8 and 1; what loses by adaptation (parkour)
#: loses most with 1.
BLEND = 0.8


@dataclass(frozen=True)
class AdaptSettings:
    """How long adaptation trains, at which resolution and with which arithmetic."""

    budget: Budget
    #: None for what the model's configuration names for adapted runs.
    min_dim: Annotated[int, about("Shorter side of the network's input.", least=32)] | None = None
    max_dim: Annotated[int, about("Limit of its longer side.", least=32)] | None = None
    #: "auto" is bfloat16 where the device multiplies in it, which leaves time for more steps; so is "fp16", in which a
    #: network runs but does not train.
    precision: str = "auto"

    def __post_init__(self) -> None:
        check_settings(self)


@dataclass(frozen=True)
class AdaptProgress:
    """Steps and seconds spent so far, and the share of the budget they are (0..1).

    blend: at the end, how far the result goes from the given weights (0) to the learned ones (1).
    """

    steps: int
    seconds: float
    share: float
    loss: float
    blend: float | None = None
