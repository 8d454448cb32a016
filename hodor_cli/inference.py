"""Deprecated: the segmenter under its module name of version 0.1, kept for one version."""

from __future__ import annotations

import sys
import warnings

from hodor_cli.engine import Segmenter
from hodor_cli.run import pipeline
from hodor_cli.runtime import device

__all__ = ["Segmenter"]

warnings.warn("hodor_cli.inference is now hodor_cli.engine and hodor_cli.run", DeprecationWarning, stacklevel=2)
sys.modules[f"{__name__}.device"] = device
sys.modules[f"{__name__}.pipeline"] = pipeline
