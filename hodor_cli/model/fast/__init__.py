"""The same network, faster: layers that compute what those of `hodor_cli.model` do in less time.

`accelerate` exchanges a network's layers for their fast forms and `plain` exchanges them back. A fast form is a
subclass that has the parameters of its plain layer and no others, so that state dicts, copies and training do not
change; a test holds both equal in float32.
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
    """Exchange the layers of a network, in place, for those that read as the method. Returns the network.

    kinds: the plain layers that are wanted; without any, all are.
    """
    return _exchange(model, {fast: slow for slow, fast in FAST_FORMS.items() if not kinds or slow in kinds})


def _exchange(model: Network, forms: dict[type[nn.Module], type[nn.Module]]) -> Network:
    for module in model.modules():
        # Both have the same parameters and attributes: only the methods differ.
        module.__class__ = forms.get(type(module), type(module))
    return model
