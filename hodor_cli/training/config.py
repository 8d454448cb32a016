"""Settings of a training run: one frozen dataclass, its presets, saved with every checkpoint."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import msgspec

from hodor_cli.datasets.limits import ObjectLimits
from hodor_cli.errors import UsageError, closest
from hodor_cli.samples.settings import MINI, PAPER, AugmentSettings, BatchSettings, augment_preset, chance
from hodor_cli.settings import about, check_settings

#: Settings that are copies of another one.
DERIVED = {"augment.frames": "sequence", "batches.batch_size": "batch_size"}


@dataclass(frozen=True)
class LearningRate:
    """The learning rate over the iterations: linear warm-up from 0 to `peak`, then `decay`.

    decay: "steps" multiplies it by `factor` at each milestone (as in the paper); "cosine" lowers it to `floor` times
    the peak at the end; "constant" keeps the peak.
    """

    peak: Annotated[float, about("The learning rate after the warm-up.", above=0)] = 1e-4
    warmup: Annotated[int, about("Iterations over which the learning rate rises.", least=0)] = 10_000
    decay: Annotated[
        Literal["steps", "cosine", "constant"], about("How it then decays: in steps, along a cosine, or not at all.")
    ] = "steps"
    milestones: Annotated[tuple[int, ...], about("Iterations at which a step begins.")] = (100_000,)
    factor: Annotated[float, about("Factor applied at each step.", least=0)] = 0.1
    floor: Annotated[float, about("Share of the peak that remains at the end of a cosine.", least=0, most=1)] = 0.01

    def __post_init__(self) -> None:
        check_settings(self)


@dataclass(frozen=True)
class TrainConfig:
    """All settings of a training run, except the location of the data and the number of processes."""

    model: Annotated[str, about("Architecture: swin-tiny, mini, toy.")] = "swin-tiny"
    iterations: Annotated[int, about("Number of training iterations.", least=1)] = 250_000
    batch_size: Annotated[int, about("Samples per iteration, over all processes.", least=1, most=10_000)] = 8
    micro_batch: (
        Annotated[
            int,
            about(
                "Samples that a process runs at a time (gradients accumulate). By default all; on a CPU with several"
                " cores, half in each of two threads.",
                least=1,
            ),
        ]
        | None
    ) = None
    sequence: Annotated[int, about("Frames per sample; 1 means single images, an ablation of the paper.", least=1)] = 3
    schedule: Annotated[
        Literal["paper", "chain", "self-chain"],
        about("Cycles forwards and back; forwards only, as in a video; or forwards, plus the first frame from itself."),
    ] = "paper"
    supervise: Annotated[
        Literal["all", "reference"],
        about("Which predictions are supervised: all, or those of the labelled frame (cyclic consistency)."),
    ] = "all"
    learning_rate: LearningRate = field(default_factory=LearningRate)
    backbone_rate: Annotated[float, about("Factor on the learning rate of the backbone; paper: 1.", least=0)] = 1.0
    frozen_stages: Annotated[
        int, about("Number of backbone stages that stay frozen, from the first.", least=0, most=4)
    ] = 0
    weight_decay: Annotated[float, about("Weight decay of AdamW.", least=0)] = 0.01
    clip_norm: Annotated[float, about("Maximum gradient norm; none for no limit (paper).", above=0)] | None = None
    average: (
        Annotated[
            float,
            about("Decay of the running average of the weights, which is saved; none for no average.", least=0, most=1),
        ]
        | None
    ) = None
    drop_cue: Annotated[float, chance("per iteration that the correspondence cue is left out")] = 0.0
    drop_history: Annotated[float, chance("per iteration that only the newest descriptors are used")] = 0.0
    damage_cue: Annotated[float, chance("per object and step of mistakes in the masks that the cue carries")] = 0.0
    wrong_cue: Annotated[float, chance("per object and sample that the cue shows it elsewhere or nowhere")] = 0.0
    contrast: Annotated[float, about("Weight of the contrastive loss between the descriptors of a batch.", least=0)] = (
        0.0
    )
    held_out: Annotated[
        int, about("Pictures kept out of training, to measure the network at the start and at the end.", least=0)
    ] = 8
    seed: Annotated[int, about("Random seed of the order and of every other random choice.", least=0)] = 0
    batches: BatchSettings = field(default_factory=BatchSettings)
    augment: AugmentSettings = PAPER
    limits: ObjectLimits = field(default_factory=ObjectLimits)

    def __post_init__(self) -> None:
        # `augment` and `batches` are also used without a TrainConfig, so each holds a copy of what it needs.
        object.__setattr__(self, "augment", dataclasses.replace(self.augment, frames=self.sequence))
        object.__setattr__(self, "batches", dataclasses.replace(self.batches, batch_size=self.batch_size))
        check_settings(self)
        if self.sequence not in (1, 3) and self.schedule == "paper":
            raise UsageError(f"`schedule=paper` needs `sequence=3` (or 1, the ablation), not {self.sequence}")
        if self.supervise == "reference" and self.schedule != "paper" and self.sequence > 1:
            raise UsageError("`supervise=reference` needs cycles that return to that frame; set `schedule=paper`")
        if self.micro_batch and self.batch_size % self.micro_batch:
            raise UsageError(f"`batch_size={self.batch_size}` must be a multiple of `micro_batch={self.micro_batch}`")

    def to_dict(self) -> dict[str, Any]:
        """A JSON-serialisable form."""
        return dataclasses.asdict(self)

    def micro_batch_in(self, world: int) -> int:
        """Samples that one of `world` processes runs at a time. Raises UsageError for uneven shares."""
        if self.batch_size % world:
            raise UsageError(f"`batch_size={self.batch_size}` cannot be shared evenly by {world} processes")
        share = self.batch_size // world
        micro = min(self.micro_batch or share, share)
        if share % micro:
            raise UsageError(
                f"`micro_batch={micro}` does not divide `batch_size={self.batch_size}` ({share} per process)"
            )
        return micro

    @staticmethod
    def from_dict(values: Any) -> TrainConfig:
        """The settings from `to_dict`. Raises UsageError if they are damaged or from another version."""
        try:
            config = msgspec.convert(values, TrainConfig)
        except msgspec.ValidationError as error:
            raise UsageError(f"the saved training settings are damaged or from another version ({error})") from error
        known = flat(config.to_dict())
        if unknown := sorted(name for name in flat(values) if name not in known):
            raise UsageError(f"the saved training settings are from another version of hodor ({', '.join(unknown)})")
        return config


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Settings from `to_dict`, by dotted names."""
    out: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict) and name != "source_weights":
            out |= flat(value, f"{prefix}{name}.")
        else:
            out[prefix + name] = value
    return out


# The bundled model: small frames, forward chains, richer sequences, balanced sources.
_MINI = TrainConfig(
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
    batches=BatchSettings(area=240 * 240, aspects=(3 / 4, 4 / 3), exact=False, balance=0.5),
    augment=MINI,
    limits=ObjectLimits(min_area=1500.0, min_side=20.0),
)

PRESETS: dict[str, TrainConfig] = {
    # HODOR, CVPR 2022: still images (about 2 days on 4 RTX 3090), then video from the static checkpoint.
    "paper-coco": TrainConfig(),
    "paper-finetune": TrainConfig(
        iterations=20_000, learning_rate=LearningRate(peak=1e-5, warmup=10_000, decay="constant")
    ),
    "mini": _MINI,
    # Longer chains, so that errors have time to accumulate; best with stills in addition to clips.
    "mini-finetune": dataclasses.replace(
        _MINI,
        iterations=2_000,
        sequence=4,
        learning_rate=LearningRate(peak=2e-4, warmup=50, decay="cosine", floor=0.02),
        average=0.995,
        drop_cue=0.15,
        drop_history=0.1,
        batches=BatchSettings(area=200 * 356, aspects=(3 / 4, 4 / 3, 16 / 9), exact=False, balance=0.5),
        limits=ObjectLimits(min_area=500.0, min_side=10.0),
    ),
    # For tests: seconds on a CPU.
    "toy": TrainConfig(
        model="toy",
        iterations=20,
        batch_size=2,
        learning_rate=LearningRate(peak=1e-3, warmup=5, decay="constant"),
        batches=BatchSettings(area=64 * 64, exact=False),
        augment=augment_preset("toy"),
    ),
}


def train_preset(name: str) -> TrainConfig:
    """The preset with this name. Raises UsageError that lists the presets."""
    if name not in PRESETS:
        raise UsageError(
            f"there is no preset '{name}'; choose one of {', '.join(PRESETS)}, or a JSON file{closest(name, PRESETS)}"
        )
    return PRESETS[name]
