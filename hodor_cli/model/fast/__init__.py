"""The same network, faster: layers that compute the same as those in `hodor_cli.model` in less time.

`accelerate` exchanges a network's layers for their fast forms, and `plain` exchanges them back. A fast form is a
subclass of its plain layer with exactly the same parameters, so state dicts, copies and training do not change. A test
checks that both return the same in float32.
"""

from __future__ import annotations

from typing import TypeVar

from torch import nn

from hodor_cli.model.deform_conv import DeformConv
from hodor_cli.model.encoder import SoftMaskedAttention
from hodor_cli.model.fast.attention import CarriedAttention
from hodor_cli.model.fast.deform_conv import GatheredDeformConv
from hodor_cli.model.fast.learning import FloatConv, FloatConv2d, FloatGroupNorm
from hodor_cli.model.fast.matching import TiledMatcher
from hodor_cli.model.fast.mobilenet import FusedResidual
from hodor_cli.model.fast.pyramid import FoldedPyramid
from hodor_cli.model.fpn import FeaturePyramid
from hodor_cli.model.matching import Matcher
from hodor_cli.model.mobilenet import Conv, InvertedResidual

FAST_FORMS: dict[type[nn.Module], type[nn.Module]] = {
    SoftMaskedAttention: CarriedAttention,
    DeformConv: GatheredDeformConv,
    Matcher: TiledMatcher,
    Conv: FloatConv,
    FeaturePyramid: FoldedPyramid,
    InvertedResidual: FusedResidual,
    nn.Conv2d: FloatConv2d,
    nn.GroupNorm: FloatGroupNorm,
}
Network = TypeVar("Network", bound=nn.Module)


def accelerate(model: Network) -> Network:
    """Exchange the layers of a network, in place, for their fast forms. Returns the network."""
    return _exchange(model, FAST_FORMS)


def plain(model: Network, *kinds: type[nn.Module]) -> Network:
    """Exchange the layers of a network, in place, for the plain ones that follow the paper. Returns the network.

    kinds: the plain layers to restore; all of them if none is named.
    """
    return _exchange(model, {fast: slow for slow, fast in FAST_FORMS.items() if not kinds or slow in kinds})


def _exchange(model: Network, forms: dict[type[nn.Module], type[nn.Module]]) -> Network:
    for module in model.modules():
        # Both forms have the same parameters and attributes; only their methods differ.
        module.__class__ = forms.get(type(module), type(module))
    return model
