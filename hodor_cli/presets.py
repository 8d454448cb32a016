"""The networks by name."""

from __future__ import annotations

from hodor_cli.config import MatchingConfig, MobileNetConfig, ModelConfig
from hodor_cli.errors import UsageError

PRESETS: dict[str, ModelConfig] = {
    # The network of the paper and of the authors' released checkpoints.
    "swin-tiny": ModelConfig(name="swin-tiny"),
    # For CPUs: an ImageNet MobileNetV2, half the width, fewer layers, a lower working resolution, and the cue.
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
        matching=MatchingConfig(colours=True),
        position_codes=True,
        places=True,
        cue_gate=True,
        deform_channels=32,
        upsampled_channels=32,
        min_dim=288,
        max_dim=555,
        adapted_min_dim=384,
        tiny_min_dim=576,
        small_min_dim=432,
        medium_min_dim=360,
        hold_lost_objects=True,
        fitted_steps=20,
    ),
    # For tests: tens of thousands of parameters, and frames of 64 x 64 at full resolution.
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
        places=True,
        deform_channels=16,
        upsampled_channels=16,
        min_dim=64,
        max_dim=128,
    ),
}


def preset(name: str) -> ModelConfig:
    """The preset of that name. Raises UsageError, listing the presets, for an unknown name."""
    if name not in PRESETS:
        raise UsageError(f"there is no model preset '{name}'; choose one of {', '.join(PRESETS)}")
    return PRESETS[name]
