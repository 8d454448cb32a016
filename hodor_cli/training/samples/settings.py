"""Settings of the training data: how a photograph becomes a sequence."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from hodor_cli.errors import UsageError

Range = tuple[float, float]


@dataclass(frozen=True)
class AugmentSettings:
    """How a photograph becomes a sequence. The defaults of the first block are the paper's (HODOR, CVPR 2022).

    Ranges are (least, most); chances are 0..1 per sample unless said otherwise; lengths are fractions of the side.
    """

    maker: str = "fast"  # "imgaug" (the paper's augmenters) or "fast" (our own)
    frames: int = 3  # 1 = no sequence, the single-image ablation

    # The paper's ranges, in both directions; the motion is drawn anew for every frame.
    translation: Range = (0.0, 0.25)  # of the side
    rotation: Range = (0.0, 10.0)  # degrees
    shear: Range = (0.0, 10.0)  # degrees
    crop_keep: Range = (0.6, 0.9)  # of the side that a crop keeps
    hue: Range = (0.0, 0.12)  # of the colour circle
    saturation: Range = (0.0, 0.12)
    contrast: Range = (0.0, 0.05)
    brightness: Range = (0.0, 0.25)
    colour_each_frame: bool = True  # False: one draw of the colours for the whole sequence
    flip: float = 0.5  # chance of mirroring the whole sequence

    # Beyond the paper; used by the fast maker only, all off by default.
    view_scale: Range = (1.0, 1.0)  # zoom shared by all frames, about an object
    view_rotation: float = 0.0  # degrees shared by all frames
    frame_scale: Range = (1.0, 1.0)  # zoom drawn anew for every frame
    scale_jump: float = 0.0  # chance, per frame, of a zoom from scale_jump_range on top
    scale_jump_range: Range = (0.6, 1.7)
    path: float = 0.0  # chance that the frames follow one smooth motion, as in a video, instead of a draw for each
    path_step: Range = (0.05, 0.4)  # how far each frame then goes, as a share of the way between two draws
    independent: float = 0.0  # chance that the objects move on their own, on a background that moves on its own
    other_background: float = 0.0  # chance, if so, that the background is another photograph
    object_motion: float = 0.15  # how far objects then move (of the side) about their place
    occluder: float = 0.0  # chance of cut-out objects of other photographs in front
    distractor: float = 0.0  # chance of such cut-outs behind the objects (with independent motion)
    pasted: int = 0  # most objects of other pictures and clips that are put into a sample, labelled
    pasted_twin: float = 0.25  # chance that such an object is another one of the sample's own picture or clip
    elastic: float = 0.0  # chance, per frame, of a smooth deformation
    elastic_strength: float = 0.03  # its standard deviation, of the side
    shared_colour: float = 0.0  # strength of one colour change of the whole sequence
    grey: float = 0.0  # chance of a grey sequence
    blur: float = 0.0  # chance, per frame, of defocus or motion blur
    compression: float = 0.0  # chance, per frame, of JPEG and resampling artefacts
    min_visible: float = 0.001  # of the frame's pixels: each object shows at least this in frame 0

    def __post_init__(self) -> None:
        if self.maker not in ("fast", "imgaug"):
            raise UsageError(f"The sequence maker is 'fast' or 'imgaug', not '{self.maker}'.")
        if not 0 <= self.pasted <= 254:
            raise UsageError(f"pasted must lie in 0..254, not {self.pasted}.")
        if self.frames < 1:
            raise UsageError(f"A sequence needs at least 1 frame, not {self.frames}.")
        for name in _CHANCES:
            value = getattr(self, name)
            if not 0.0 <= value <= 1.0:
                raise UsageError(f"{name} is a chance in 0..1, not {value}.")
        for name in _RANGES:
            low, high = getattr(self, name)
            if low > high or low < 0:
                raise UsageError(f"{name} must be (least, most) with 0 <= least <= most, not ({low}, {high}).")

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> AugmentSettings:
        """Settings from saved JSON; unknown names are refused."""
        known = {field.name for field in fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise UsageError(f"Unknown augmentation settings: {', '.join(unknown)}.")
        typed: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
        return cls(**typed)


_CHANCES = (
    "flip", "scale_jump", "path", "independent", "other_background", "occluder", "distractor", "pasted_twin", "elastic",
    "grey", "blur", "compression",
)  # fmt: skip
_RANGES = (
    "translation", "rotation", "shear", "crop_keep", "hue", "saturation", "contrast", "brightness", "view_scale",
    "frame_scale", "scale_jump_range", "path_step",
)  # fmt: skip

PAPER = AugmentSettings(maker="imgaug", colour_each_frame=False)

MINI = AugmentSettings(
    translation=(0.0, 0.15), rotation=(0.0, 12.0), shear=(0.0, 8.0), crop_keep=(0.75, 1.0),
    hue=(0.0, 0.02), saturation=(0.0, 0.12), contrast=(0.0, 0.1), brightness=(0.0, 0.12),
    view_scale=(0.95, 1.6), view_rotation=8.0, frame_scale=(0.87, 1.2), scale_jump=0.15,
    scale_jump_range=(0.7, 1.6), path=0.5,
    independent=0.5, other_background=0.5, occluder=0.25, distractor=0.3, elastic=0.5, elastic_strength=0.025,
    shared_colour=0.2, grey=0.03, blur=0.15, compression=0.15,
)  # fmt: skip

PRESETS: dict[str, AugmentSettings] = {
    "paper": PAPER,
    "paper-coco": PAPER,
    "paper-finetune": PAPER,
    "fast": AugmentSettings(colour_each_frame=False),
    "mini": MINI,
    "swin-tiny": PAPER,
    "toy": AugmentSettings(
        translation=(0.0, 0.05), rotation=(0.0, 5.0), shear=(0.0, 2.0), crop_keep=(0.95, 1.0),
        hue=(0.0, 0.02), saturation=(0.0, 0.05), brightness=(0.0, 0.1),
    ),
}  # fmt: skip


def augment_preset(name: str) -> AugmentSettings:
    """The augmentation of a preset by name. Raises UsageError naming the known ones."""
    if name not in PRESETS:
        raise UsageError(f"No augmentation preset '{name}'; there are {', '.join(PRESETS)}.")
    return PRESETS[name]
