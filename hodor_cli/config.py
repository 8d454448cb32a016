"""The network's configuration: one frozen dataclass, its presets, and its form in a checkpoint."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from hodor_cli.errors import UsageError, WeightsError

#: Cells of the background grid per side; the background has GRID_SIZE ** 2 descriptors (HODOR, sec. 3.2).
GRID_SIZE = 3
#: Background descriptors per frame.
NUM_BACKGROUND = GRID_SIZE * GRID_SIZE
#: Logit channels in front of the objects': the catch-all and the background descriptors.
NUM_NON_OBJECT = 1 + NUM_BACKGROUND


@dataclass(frozen=True)
class SwinConfig:
    """A Swin transformer backbone; the defaults are Swin-T."""

    embed_channels: int = 96
    depths: tuple[int, ...] = (2, 2, 6, 2)
    heads: tuple[int, ...] = (3, 6, 12, 24)
    window: int = 7
    mlp_ratio: int = 4
    drop_path: float = 0.2


@dataclass(frozen=True)
class MobileNetConfig:
    """A MobileNetV2 1.0 backbone whose batch norms are folded into its convolutions."""

    #: (expansion, output channels, blocks, stride of the first block) of each group of blocks.
    groups: tuple[tuple[int, int, int, int], ...] = (
        (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1),
    )  # fmt: skip
    stem_channels: int = 32


@dataclass(frozen=True)
class MatchingConfig:
    """The correspondence cue: labels carried from the reference and the previous frame by matching features.

    An addition to the paper's network (see `hodor_cli/model/matching.py`). Its memory is one frame of keys for each of
    the two, whatever the length of the video.
    """

    key_channels: int = 128
    #: Width, in stride-8 cells, of the Gaussian that ties a match with the previous frame to the same place.
    sigma: float = 4.0
    #: How far, in stride-8 cells along each side, a match with the previous frame is looked for.
    reach: int = 8
    #: How far, likewise, an object may spread from one frame to the next: what is farther is another one.
    spread: int = 4


@dataclass(frozen=True)
class ModelConfig:
    """Everything that determines the network's parameters and their use.

    `channels` is the width of the maps and the decoder, `descriptor_channels` that of a descriptor and the encoder.
    Heads are contiguous slices of `head_channels` channels everywhere. The defaults are the paper's (`swin-tiny`).
    """

    name: str
    backbone: SwinConfig | MobileNetConfig = dataclasses.field(default_factory=SwinConfig)
    channels: int = 256
    descriptor_channels: int = 256
    head_channels: int = 32
    norm_groups: int = 16
    encoder_layers: int = 5
    encoder_ffn_channels: int = 1024
    decoder_layers: int = 5
    decoder_ffn_channels: int = 256
    #: Width of the pyramid's stride-4 map, and of its reduction that the decoder adds to its own map.
    stride4_channels: int = 256
    stride4_reduced_channels: int = 64
    #: Width of the decoder's stride-4 map on which the masks are read off.
    mask_channels: int = 256
    catch_all_channels: int = 128
    dropout: float = 0.1
    matching: MatchingConfig | None = None
    #: Additions to the paper's network. Codes of where a pixel lies, added to what descriptors are made from and to the
    #: map that they are multiplied with, so that a descriptor can tell apart objects that look alike.
    position_codes: bool = False
    #: A factor per pixel on what the cue adds to the logits, so that the network decides where to believe it.
    cue_gate: bool = False
    #: Width of the map that deformable convolutions sample; None: all channels.
    deform_channels: int | None = None
    #: Width to which the decoder's map is reduced before it is upsampled to stride 4; None: all channels.
    upsampled_channels: int | None = None
    #: The working resolution: the shorter side is scaled to min_dim, unless the longer would exceed max_dim.
    min_dim: int = 512
    max_dim: int = 987
    #: min_dim of runs that adapt first: who spends a minute on a video has time for more pixels. None: min_dim.
    adapted_min_dim: int | None = None
    #: While an object is lost, keep its last descriptor instead of encoding the likeliest pixel, as the paper does.
    hold_lost_objects: bool = False

    @property
    def pixel_mean(self) -> tuple[float, float, float]:
        """What is subtracted from RGB on 0..255: the mean of the data that the backbone was first trained on."""
        return (123.675, 116.28, 103.53) if isinstance(self.backbone, SwinConfig) else (127.5, 127.5, 127.5)

    @property
    def pixel_std(self) -> tuple[float, float, float]:
        """What RGB is divided by after the mean is subtracted."""
        return (58.395, 57.12, 57.375) if isinstance(self.backbone, SwinConfig) else (127.5, 127.5, 127.5)

    def resolution(self, min_dim: int | None, max_dim: int | None, *, adapted: bool = False) -> tuple[int, int]:
        """min_dim and max_dim of a run, in pixels, where None stands for the model's own (those of adapted runs for
        `adapted`); one given alone keeps their proportion. Raises UsageError where they contradict each other."""
        if adapted and min_dim is None and max_dim is None:
            min_dim = self.adapted_min_dim
        if max_dim is None:
            max_dim = self.max_dim if min_dim is None else round(min_dim * self.max_dim / self.min_dim)
        min_dim = self.min_dim if min_dim is None else min_dim
        if min_dim < 32 or max_dim < min_dim:
            raise UsageError(f"--min-dim {min_dim} must be at least 32 and --max-dim {max_dim} not below it")
        return min_dim, max_dim

    def to_dict(self) -> dict[str, Any]:
        """A JSON-serialisable form that `from_dict` reads back."""
        values = dataclasses.asdict(self)
        values["backbone"]["kind"] = "swin" if isinstance(self.backbone, SwinConfig) else "mobilenet-v2"
        return values

    @staticmethod
    def from_dict(values: dict[str, Any]) -> ModelConfig:
        """The configuration that `to_dict` wrote. Raises WeightsError if a field is unknown or missing."""
        try:
            values = dict(values)
            backbone = dict(values.pop("backbone"))
            matching = values.pop("matching", None)
            kind: Literal["swin", "mobilenet-v2"] = backbone.pop("kind")
            backbone_type = {"swin": SwinConfig, "mobilenet-v2": MobileNetConfig}[kind]
            return ModelConfig(
                backbone=backbone_type(**{key: _tuples(value) for key, value in backbone.items()}),
                matching=None if matching is None else MatchingConfig(**matching),
                **values,
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise WeightsError(f"the model configuration does not fit this version: {error}") from error


PRESETS: dict[str, ModelConfig] = {
    # The network of the paper and of the authors' released checkpoints.
    "swin-tiny": ModelConfig(name="swin-tiny"),
    # For CPUs: the ImageNet MobileNetV2, half the width, fewer layers, a smaller working resolution, and the cue.
    "mini": ModelConfig(
        name="mini",
        backbone=MobileNetConfig(),
        channels=128,
        encoder_layers=3,
        encoder_ffn_channels=512,
        decoder_layers=3,
        decoder_ffn_channels=256,
        stride4_channels=64,
        stride4_reduced_channels=32,
        mask_channels=64,
        catch_all_channels=32,
        dropout=0.0,
        matching=MatchingConfig(),
        min_dim=288,
        max_dim=555,
        adapted_min_dim=384,
        hold_lost_objects=True,
    ),
    # For tests: a few ten thousand parameters, whole frames of 64 x 64.
    "toy": ModelConfig(
        name="toy",
        backbone=MobileNetConfig(groups=((1, 8, 1, 2), (2, 12, 1, 2), (2, 16, 1, 2), (2, 16, 1, 2)), stem_channels=8),
        channels=32,
        descriptor_channels=32,
        head_channels=8,
        norm_groups=4,
        encoder_layers=2,
        encoder_ffn_channels=64,
        decoder_layers=2,
        decoder_ffn_channels=32,
        stride4_channels=16,
        stride4_reduced_channels=8,
        mask_channels=32,
        catch_all_channels=16,
        dropout=0.0,
        position_codes=True,
        deform_channels=16,
        upsampled_channels=16,
        min_dim=64,
        max_dim=128,
    ),
}


def preset(name: str) -> ModelConfig:
    """The preset of that name. Raises UsageError naming the presets there are."""
    if name not in PRESETS:
        raise UsageError(f"there is no model preset '{name}'; choose one of {', '.join(PRESETS)}")
    return PRESETS[name]


def _tuples(value: Any) -> Any:
    """Lists, as JSON gives them, to the tuples that frozen dataclasses hold."""
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value
