"""The network's configuration: typed, checked, and converted to and from the form in a checkpoint."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import msgspec

from hodor_cli.errors import UsageError, WeightsError

#: Cells of the background grid per side; the background has GRID_SIZE ** 2 descriptors (HODOR, sec. 3.2).
GRID_SIZE = 3
#: Background descriptors per frame.
NUM_BACKGROUND = GRID_SIZE * GRID_SIZE
#: Logit channels before those of the objects: the catch-all and the background descriptors.
NUM_NON_OBJECT = 1 + NUM_BACKGROUND
#: Numbers that encode the colour of a cell for matching.
COLOUR_CHANNELS = 6

#: Smallest and largest sides of the network's input, in pixels. Outside them nothing is found, or memory runs out.
MIN_SIDE, MAX_MIN_DIM, MAX_MAX_DIM = 32, 8192, 16384

# Limits on what a file may say, so that a bad configuration is refused before it costs memory or time.
Width = Annotated[int, msgspec.Meta(ge=1, le=8192)]
Depth = Annotated[int, msgspec.Meta(ge=1, le=64)]
FittedSteps = Annotated[int, msgspec.Meta(ge=0, le=1000)]
Cells = Annotated[int, msgspec.Meta(ge=1, le=64)]
Share = Annotated[float, msgspec.Meta(ge=0, lt=1)]
MinDim = Annotated[int, msgspec.Meta(ge=MIN_SIDE, le=MAX_MIN_DIM)]
MaxDim = Annotated[int, msgspec.Meta(ge=MIN_SIDE, le=MAX_MAX_DIM)]
#: A value for red, green and blue, each in 0..255.
Rgb = tuple[float, float, float]
#: Blocks in all stages of a backbone together.
_MOST_BLOCKS = 256
Name = Annotated[str, msgspec.Meta(pattern=r"\A[\w.+ -]{1,64}\Z")]


def _divides(part: int, part_name: str, whole: int, whole_name: str) -> None:
    if whole % part:
        raise ValueError(f"{whole} {whole_name} cannot be divided into {part} {part_name}")


class SwinConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="swin"):
    """A Swin transformer backbone; the defaults are Swin-T.

    pixel_mean, pixel_std: those of the data on which it was pretrained. imagenet: its published weights, in words.
    """

    pixel_mean: ClassVar[Rgb] = (123.675, 116.28, 103.53)
    pixel_std: ClassVar[Rgb] = (58.395, 57.12, 57.375)
    imagenet: ClassVar[str] = "Swin-T (.pth)"

    embed_channels: Width = 96
    depths: Annotated[tuple[Depth, ...], msgspec.Meta(min_length=1, max_length=8)] = (2, 2, 6, 2)
    heads: Annotated[tuple[Width, ...], msgspec.Meta(min_length=1, max_length=8)] = (3, 6, 12, 24)
    window: Cells = 7
    mlp_ratio: Annotated[int, msgspec.Meta(ge=1, le=16)] = 4
    drop_path: Share = 0.2

    def __post_init__(self) -> None:
        if sum(self.depths) > _MOST_BLOCKS:
            raise ValueError(f"the stages have {sum(self.depths)} blocks together; at most {_MOST_BLOCKS} are allowed")
        if len(self.heads) != len(self.depths):
            raise ValueError(f"{len(self.depths)} depths need as many heads, not {len(self.heads)}")
        for stage, heads in enumerate(self.heads):
            _divides(heads, "heads", self.embed_channels * 2**stage, f"channels of stage {stage}")

    def parameters_at_least(self) -> int:
        """As `ModelConfig.parameters_at_least`."""
        widths = [self.embed_channels * 2**stage for stage in range(len(self.depths))]
        return sum(n * (4 + 2 * self.mlp_ratio) * width**2 for n, width in zip(self.depths, widths, strict=True))


class MobileNetConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="mobilenet-v2"):
    """A MobileNetV2 1.0 backbone whose batch norms are folded into its convolutions."""

    pixel_mean: ClassVar[Rgb] = (127.5, 127.5, 127.5)
    pixel_std: ClassVar[Rgb] = (127.5, 127.5, 127.5)
    imagenet: ClassVar[str] = "MobileNetV2 (.safetensors)"

    #: (expansion, output channels, blocks, stride of the first block) of each group of blocks.
    groups: Annotated[tuple[tuple[Depth, Width, Depth, Depth], ...], msgspec.Meta(min_length=1, max_length=32)] = (
        (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1),
    )  # fmt: skip
    stem_channels: Width = 32

    def __post_init__(self) -> None:
        blocks = sum(group[2] for group in self.groups)
        if blocks > _MOST_BLOCKS:
            raise ValueError(f"the groups have {blocks} blocks together, and at most {_MOST_BLOCKS} are allowed")

    def parameters_at_least(self) -> int:
        """As `ModelConfig.parameters_at_least`."""
        return sum((blocks - 1) * 2 * expansion * width**2 for expansion, width, blocks, _ in self.groups)


class MatchingConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The correspondence cue: labels propagated from the reference and the previous frame by matching features.

    This is an addition to the paper's network (see `hodor_cli/model/matching.py`). It stores the keys of a few frames,
    however long the video is.
    """

    key_channels: Width = 128
    #: Compare the colours of cells, too, with those of frames farther back than the previous one.
    colours: bool = False
    #: Width, in stride-8 cells, of the Gaussian that prefers matches at the same place of the previous frame.
    sigma: Annotated[float, msgspec.Meta(gt=0, le=1000)] = 4.0
    #: How far, in stride-8 cells along each axis, a match in the previous frame is searched for.
    reach: Cells = 8
    #: How far, in the same unit, an object may spread from one frame to the next; anything farther is another object.
    spread: Cells = 4

    @property
    def stored_channels(self) -> int:
        """How many channels a frame's keys have with their colours."""
        return self.key_channels + COLOUR_CHANNELS * self.colours


class ModelConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything that determines the network's parameters and their use.

    `channels` is the width of the maps and the decoder, `descriptor_channels` the width of descriptors and the encoder.
    Attention heads are contiguous slices of `head_channels` channels. The defaults are the paper's (`swin-tiny`).
    """

    name: Name
    backbone: SwinConfig | MobileNetConfig = SwinConfig()
    channels: Width = 256
    descriptor_channels: Width = 256
    head_channels: Width = 32
    norm_groups: Width = 16
    encoder_layers: Depth = 5
    encoder_ffn_channels: Width = 1024
    decoder_layers: Depth = 5
    decoder_ffn_channels: Width = 256
    #: Width of the pyramid's stride-4 map, and of the reduced copy that the decoder adds to its own map.
    stride4_channels: Width = 256
    stride4_reduced_channels: Width = 64
    #: Width of the decoder's stride-4 map, from which the masks are computed.
    mask_channels: Width = 256
    catch_all_channels: Width = 128
    dropout: Share = 0.1
    matching: MatchingConfig | None = None
    #: Add position codes to the map that descriptors are made from and to the map that they are multiplied with, so
    #: that a descriptor can tell apart objects that look alike. This and the next four are not in the paper.
    position_codes: bool = False
    #: Encode an object's place in its descriptor; without the cue, pixels near that place are preferred.
    places: bool = False
    #: A factor per pixel on what the cue adds to the logits, so that the network decides where to trust it.
    cue_gate: bool = False
    #: Width of the map that deformable convolutions sample; None: all channels.
    deform_channels: Width | None = None
    #: Width to which the decoder's map is reduced before it is upsampled to stride 4; None: all channels.
    upsampled_channels: Width | None = None
    #: The working resolution: the shorter side is scaled to min_dim, unless the longer would exceed max_dim.
    min_dim: MinDim = 512
    max_dim: MaxDim = 987
    #: min_dim of adapted runs: a user who waits a minute for each video can afford more pixels. None: min_dim.
    adapted_min_dim: MinDim | None = None
    #: min_dim of runs with medium-sized and small objects, which cover few cells of the maps. None: min_dim. That with
    #: tiny ones is small_min_dim if it is None.
    tiny_min_dim: MinDim | None = None
    small_min_dim: MinDim | None = None
    medium_min_dim: MinDim | None = None
    #: Keep the last descriptor of a lost object. The paper encodes its most likely pixel instead.
    hold_lost_objects: bool = False
    #: Steps that fit the descriptors of given masks to their own frame, if masks are decoded from descriptors alone.
    #: Not in the paper.
    fitted_steps: FittedSteps = 0

    def __post_init__(self) -> None:
        for name in ("channels", "descriptor_channels"):
            _divides(self.head_channels, "head_channels", getattr(self, name), name)
        for name in ("channels", "stride4_channels"):
            _divides(self.norm_groups, "norm_groups", getattr(self, name), name)
        for name in ("stride4_reduced_channels", "mask_channels", "catch_all_channels"):
            _divides(8, "groups", getattr(self, name), name)
        _divides(2, "halves", self.channels, "channels")  # of the sinusoids: one for y, one for x
        if self.upsampled_channels is None and self.stride4_reduced_channels > self.channels:
            raise ValueError(f"stride4_reduced_channels must not exceed channels ({self.channels})")

    @property
    def pixel_mean(self) -> Rgb:
        """The mean to subtract from RGB values."""
        return self.backbone.pixel_mean

    @property
    def pixel_std(self) -> Rgb:
        """The standard deviation to divide RGB by, after subtracting the mean."""
        return self.backbone.pixel_std

    def parameters_at_least(self) -> int:
        """A lower bound on the number of parameters, which includes every term that is quadratic in a width.

        A configuration from a file is checked against it before its network is built.
        """
        d, c, sampled = self.descriptor_channels, self.channels, self.deform_channels or self.channels
        encoder = self.encoder_layers * (6 * d**2 + 2 * d * (c + self.encoder_ffn_channels))
        decoder = self.decoder_layers * (c * (9 * sampled + c + 4 * d) + 2 * c * self.decoder_ffn_channels)
        maps = 9 * c * (c + self.stride4_channels) + 9 * self.mask_channels * (
            (self.upsampled_channels or c) + self.catch_all_channels
        )
        return self.backbone.parameters_at_least() + encoder + decoder + maps

    def resolution(
        self, min_dim: int | None, max_dim: int | None, *, adapted_lines: int | None = None
    ) -> tuple[int, int]:
        """The working resolution (min_dim, max_dim) of a run, in pixels.

        None means the model's own value; if only min_dim is given, max_dim keeps the proportion. adapted_lines: shorter
        side of the frames of an adapted run, whose own resolution is finer if the frames are fine enough.
        Raises UsageError for values that contradict each other or are out of range.
        """
        if adapted_lines is not None and min_dim is None and max_dim is None and self.adapted_min_dim is not None:
            min_dim = max(self.min_dim, min(self.adapted_min_dim, adapted_lines))
        if max_dim is None:
            max_dim = self.max_dim if min_dim is None else round(min_dim * self.max_dim / self.min_dim)
        min_dim = self.min_dim if min_dim is None else min_dim
        if not MIN_SIDE <= min_dim <= MAX_MIN_DIM:
            raise UsageError(f"`min_dim` must be between {MIN_SIDE} and {MAX_MIN_DIM}, not {min_dim}")
        if not min_dim <= max_dim <= MAX_MAX_DIM:
            raise UsageError(f"`max_dim` must be {min_dim} (`min_dim`) to {MAX_MAX_DIM}, not {max_dim}; leave it out")
        return min_dim, max_dim

    def resolutions(self, min_dim: int | None, max_dim: int | None, *, matching: bool) -> tuple[tuple[int, int], ...]:
        """The working resolutions for large, medium-sized, small and tiny objects.

        All are the user's if min_dim or max_dim is given. matching: whether masks are propagated; for descriptors
        alone, which gain nothing from `tiny_min_dim`, tiny objects are small ones. Raises UsageError as `resolution`.
        """
        if min_dim is not None or max_dim is not None:
            return (self.resolution(min_dim, max_dim),) * 4
        tiny = self.tiny_min_dim if matching else None
        sides = (None, self.medium_min_dim, self.small_min_dim, tiny or self.small_min_dim)
        return tuple(self.resolution(side, None) for side in sides)

    def to_dict(self) -> dict[str, Any]:
        """A JSON-serialisable form, which `from_dict` converts back."""
        values: dict[str, Any] = msgspec.to_builtins(self)
        return values

    @staticmethod
    def from_dict(values: Any) -> ModelConfig:
        """The configuration that `to_dict` wrote. Raises WeightsError, naming the field, for anything else."""
        try:
            config = msgspec.convert(values, ModelConfig)
            config.resolution(None, None)
        except (msgspec.ValidationError, RecursionError, UsageError) as error:
            reason = str(error).replace("`", "'").replace(" - at '$", " at '")
            raise WeightsError(f"the model configuration does not fit this version: {reason}") from error
        return config
