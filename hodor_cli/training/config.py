"""Settings of a training run: one frozen dataclass, its presets, saved with every checkpoint."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any

from hodor_cli.datasets.limits import ObjectLimits
from hodor_cli.errors import UsageError
from hodor_cli.training.samples.samplers import BatchSettings
from hodor_cli.training.samples.settings import MINI, PAPER, AugmentSettings, augment_preset

#: The paper's cycles; forwards only; and that with the first frame from itself.
SCHEDULES = ("paper", "chain", "self-chain")


@dataclass(frozen=True)
class LearningRate:
    """The learning rate over the iterations: linear warm-up from 0 to `peak`, then what `decay` says.

    decay "steps" multiplies by `factor` at each milestone (the paper's); "cosine" falls to `floor` times the peak at
    the end; "constant" stays.
    """

    peak: float = 1e-4
    warmup: int = 10_000
    decay: str = "steps"
    milestones: tuple[int, ...] = (100_000,)
    factor: float = 0.1
    floor: float = 0.01

    def __post_init__(self) -> None:
        if self.decay not in ("steps", "cosine", "constant"):
            raise UsageError(f"decay is steps, cosine or constant, not '{self.decay}'")
        if not 0 < self.peak < math.inf or self.warmup < 0:
            raise UsageError(f"the learning rate ({self.peak}) must be above 0, warm-up ({self.warmup}) not below it")


@dataclass(frozen=True)
class TrainConfig:
    """Everything that determines a training run, apart from the data set's place and the number of processes."""

    model: str = "swin-tiny"
    iterations: int = 250_000
    batch_size: int = 8
    #: Samples that go through the network at once, per process; the rest of the batch is accumulated. None: all.
    micro_batch: int | None = None
    #: Frames of a sequence; 1 is the single-image ablation.
    sequence: int = 3
    #: "paper": the three cycles there and back; "chain": forwards only, as in a video (cheaper); "self-chain": that,
    #: and the labelled frame from its own descriptors alone.
    schedule: str = "paper"
    #: "all" predictions are supervised, or those of the labelled "reference" frame (cyclic consistency).
    supervise: str = "all"
    learning_rate: LearningRate = field(default_factory=LearningRate)
    #: Factor on the learning rate of the backbone; the paper has one rate for all parameters.
    backbone_rate: float = 1.0
    #: Stages of the backbone, from the first (strides up to 4, 8, ...), that stay as they are: on a CPU the way back
    #: through its large maps is a fifth of an iteration.
    frozen_stages: int = 0
    weight_decay: float = 0.01
    #: Largest norm of the gradient; None, as in the paper, does not clip.
    clip_norm: float | None = None
    #: Decay of the running average of the weights that is saved and validated; None saves the weights themselves.
    average: float | None = None
    #: Chance that the correspondence cue is left out in an iteration, and that only the newest descriptors are used.
    drop_cue: float = 0.0
    drop_history: float = 0.0
    #: Chance, per object and step, of mistakes in the masks that the cue carries along (see `damage.py`).
    damage_cue: float = 0.0
    #: Chance, per object and sequence, that the cue is wrong about all of it in every frame.
    wrong_cue: float = 0.0
    #: Weight of the loss that holds the descriptors of an object together and those of others apart.
    contrast: float = 0.0
    seed: int = 0
    batches: BatchSettings = field(default_factory=BatchSettings)
    augment: AugmentSettings = PAPER
    limits: ObjectLimits = field(default_factory=ObjectLimits)

    def __post_init__(self) -> None:
        if self.iterations < 1:
            raise UsageError(f"--iterations must be at least 1, not {self.iterations}")
        if self.schedule not in SCHEDULES:
            raise UsageError(f"the schedule is {', '.join(SCHEDULES[:-1])} or {SCHEDULES[-1]}, not '{self.schedule}'")
        if self.supervise not in ("all", "reference"):
            raise UsageError(f"what is supervised is all or reference, not '{self.supervise}'")
        if self.sequence not in (1, 3) and self.schedule == "paper":
            raise UsageError(f"--schedule paper needs --sequence 3 (or 1, the ablation), not {self.sequence}")
        if self.sequence < 1:
            raise UsageError(f"--sequence must be at least 1, not {self.sequence}")
        if self.supervise == "reference" and self.schedule != "paper" and self.sequence > 1:
            raise UsageError("supervising the reference frame alone needs cycles that return to it: --schedule paper")
        self._check_numbers()
        micro = self.micro_batch or self.batch_size
        if not 0 <= self.frozen_stages <= 4:
            raise UsageError(f"the backbone has 4 stages, of which {self.frozen_stages} cannot stay as they are")
        if self.batch_size < 1 or micro < 1 or self.batch_size % micro:
            raise UsageError(f"--batch-size {self.batch_size} must be a multiple of --micro-batch {micro}")

    def _check_numbers(self) -> None:
        for name in ("backbone_rate", "weight_decay", "contrast"):
            if not 0 <= getattr(self, name) < math.inf:
                raise UsageError(f"{name} must be a number of at least 0, not {getattr(self, name)}")
        for name in ("average", "drop_cue", "drop_history", "damage_cue", "wrong_cue"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise UsageError(f"{name} must be in 0..1, not {value}")
        if self.clip_norm is not None and not self.clip_norm > 0:
            raise UsageError(f"clip_norm must be above 0, not {self.clip_norm}")

    def to_dict(self) -> dict[str, Any]:
        """A JSON-serialisable form."""
        return dataclasses.asdict(self)

    @staticmethod
    def from_dict(values: dict[str, Any]) -> TrainConfig:
        """The settings that `to_dict` wrote. Raises UsageError if they cannot be understood."""
        try:
            values = dict(values)
            rate, batches, limits = (dict(values.pop(key)) for key in ("learning_rate", "batches", "limits"))
            rate["milestones"] = tuple(rate["milestones"])
            batches["aspects"] = tuple(batches["aspects"])
            return TrainConfig(
                learning_rate=LearningRate(**rate),
                batches=BatchSettings(**batches),
                limits=ObjectLimits(**limits),
                augment=AugmentSettings.from_dict(values.pop("augment")),
                **values,
            )
        except (KeyError, TypeError) as error:
            raise UsageError(f"the saved training settings are of another version of hodor ({error})") from error


PRESETS: dict[str, TrainConfig] = {
    # HODOR, CVPR 2022: still images (about 2 days on 4 RTX 3090), then video from the static checkpoint.
    "paper-coco": TrainConfig(),
    "paper-finetune": TrainConfig(
        iterations=20_000, learning_rate=LearningRate(peak=1e-5, warmup=10_000, decay="constant")
    ),
    # The bundled model: small frames, forward chains, richer sequences, balanced sources.
    "mini": TrainConfig(
        model="mini",
        iterations=12_000,
        batch_size=4,
        schedule="chain",
        learning_rate=LearningRate(peak=4e-4, warmup=300, decay="cosine", floor=0.02),
        backbone_rate=0.3,
        clip_norm=1.0,
        average=0.998,
        drop_cue=0.25,
        drop_history=0.15,
        batches=BatchSettings(batch_size=4, area=240 * 240, aspects=(3 / 4, 4 / 3), exact=False, balance=0.5),
        augment=MINI,
        limits=ObjectLimits(min_area=1500.0, min_side=20.0),
    ),
    # Longer chains, so that errors have time to drift; best with stills beside the clips.
    "mini-finetune": TrainConfig(
        model="mini",
        iterations=2_000,
        batch_size=4,
        sequence=4,
        schedule="chain",
        learning_rate=LearningRate(peak=2e-4, warmup=50, decay="cosine", floor=0.02),
        backbone_rate=0.3,
        clip_norm=1.0,
        average=0.995,
        drop_cue=0.15,
        drop_history=0.1,
        batches=BatchSettings(batch_size=4, area=200 * 356, aspects=(3 / 4, 4 / 3, 16 / 9), exact=False, balance=0.5),
        augment=MINI,
        limits=ObjectLimits(min_area=500.0, min_side=10.0),
    ),
    # For tests: seconds on a CPU.
    "toy": TrainConfig(
        model="toy",
        iterations=20,
        batch_size=2,
        learning_rate=LearningRate(peak=1e-3, warmup=5, decay="constant"),
        batches=BatchSettings(batch_size=2, area=64 * 64, exact=False),
        augment=augment_preset("toy"),
    ),
}


def train_preset(name: str) -> TrainConfig:
    """The preset of that name. Raises UsageError naming the presets there are."""
    if name not in PRESETS:
        raise UsageError(f"there is no training preset '{name}'; choose one of {', '.join(PRESETS)}")
    return PRESETS[name]
