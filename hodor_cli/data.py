"""The place that data sets had in version 0.1, kept for one version: `hodor_cli.datasets` is what it is called now."""

from __future__ import annotations

import sys
import warnings

from hodor_cli.datasets import clips, coco

warnings.warn("hodor_cli.data is called hodor_cli.datasets now", DeprecationWarning, stacklevel=2)
sys.modules[f"{__name__}.clips"] = clips
sys.modules[f"{__name__}.coco"] = coco
