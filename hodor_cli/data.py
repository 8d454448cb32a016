"""Deprecated: `hodor_cli.datasets` under its name of version 0.1, kept for one version."""

from __future__ import annotations

import sys
import warnings

from hodor_cli.datasets import clips, coco

warnings.warn("hodor_cli.data is now hodor_cli.datasets", DeprecationWarning, stacklevel=2)
sys.modules[f"{__name__}.clips"] = clips
sys.modules[f"{__name__}.coco"] = coco
