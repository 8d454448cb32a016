"""The network as three pure functions, from which streaming, training cycles and export are built.

    extract(frames)            -> maps at strides 4 and 8          needs no mask: batch it, run it ahead
    encode(maps, masks)        -> object and background descriptors
    decode(maps, history, cue) -> logits at stride 4

High-level Object Descriptors for Object Re-segmentation (Athar et al., CVPR 2022).
"""

from __future__ import annotations

from msgspec.structs import asdict
from torch import Tensor, nn

from hodor_cli.config import MobileNetConfig, ModelConfig, SwinConfig
from hodor_cli.model.colour import colour_codes
from hodor_cli.model.decoder import Decoder
from hodor_cli.model.encoder import Encoder
from hodor_cli.model.fpn import FeaturePyramid
from hodor_cli.model.matching import Matcher, with_recent
from hodor_cli.model.mobilenet import MobileNetV2
from hodor_cli.model.region import Norms, Region
from hodor_cli.model.swin import Swin
from hodor_cli.model.types import Cue, Descriptors, History, KeyedMasks, Maps

Backbone = Swin | MobileNetV2
_BACKBONES: dict[type, type[Backbone]] = {SwinConfig: Swin, MobileNetConfig: MobileNetV2}


class Hodor(nn.Module):
    """The network for a configuration; its weights are random until others are loaded."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = backbone = _BACKBONES[type(config.backbone)](**asdict(config.backbone))
        self.fpn = FeaturePyramid(
            inputs=backbone.out_channels,
            channels=config.channels,
            stride4_channels=config.stride4_channels,
            norm_groups=config.norm_groups,
        )
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)
        self.matcher: Matcher | None = None
        if config.matching is not None:
            self.matcher = Matcher(
                inputs=(backbone.out_channels[1], backbone.out_channels[2]), **asdict(config.matching)
            )

    def extract(self, frames: Tensor, fine_from: int = 0) -> Maps:
        """Feature maps of normalised frames (B, 3, H, W) whose sides are multiples of 32.

        fine_from: the frames before this one get no map at stride 4, because they are encoded but never decoded.
        """
        levels = self.backbone(frames)
        stride4, stride8 = self.fpn(levels, fine_from)
        keys = None
        if self.matcher is not None:
            colours = None
            if self.matcher.colours:
                colours = colour_codes(frames.float(), self.config.pixel_mean, self.config.pixel_std)
            keys = self.matcher.keys(levels[1], levels[2], colours)
        return Maps(stride4=stride4, stride8=stride8, keys=keys)

    def encode(self, maps: Maps, object_masks: Tensor, background_masks: Tensor) -> Descriptors:
        """Descriptors of objects (B, I, h, w) and background cells (B, 9, h, w): soft masks in 0..1 at stride 8."""
        return self.encoder(maps.stride8, object_masks, background_masks)

    def decode(
        self,
        maps: Maps,
        history: History,
        cue: Cue | None = None,
        region: Region | None = None,
        norms: Norms | None = None,
    ) -> Tensor:
        """Logits (B, 1 + 9 + I, H/4, W/4) of the catch-all, the background cells and the objects, float32.

        Softmax over the channels gives probabilities. cue: for models with a matcher; optional. region: the part of the
        maps, at stride 8, to decode alone; it needs a cue, and the `norms` of a frame that was decoded as a whole.
        """
        embeddings = (self.encoder.fg_query_embed, self.encoder.bg_query_embed)
        place = self.encoder.place
        return self.decoder(maps, history, embeddings, cue=cue, place=place, region=region, norms=norms)

    def without_place(self, objects: Tensor) -> Tensor:
        """Object descriptors (..., D) without the place of their objects, such as for another video."""
        return objects if self.encoder.place is None else self.encoder.place.forget(objects)

    def match(
        self,
        maps: Maps,
        previous: KeyedMasks,
        reference: KeyedMasks,
        recent: KeyedMasks | None = None,
        *,
        fine: bool = False,
    ) -> Cue | None:
        """The correspondence cue for a frame, or None for a model without a matcher.

        fine: match with the reference and the recent frame as the segmenter does, once more where that is unsure;
        training does without.
        """
        if self.matcher is None or maps.keys is None:
            return None
        carried, matched = self.matcher.nearby(maps.keys, previous)
        coarse = self.matcher.every_second(maps.keys)
        keys = maps.keys if fine else None
        found = self.matcher.anywhere(coarse, reference, keys)
        if recent is not None:
            given = reference.masks.flatten(2).sum(dim=2)
            found = with_recent(found, self.matcher.anywhere(coarse, recent, keys), recent.masks, given)
        return Cue(carried, found, matched=matched)
