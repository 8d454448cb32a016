"""Following objects through a video: the segmenter, its memory, its settings. Arrays in, arrays out; no files.

Names are imported when they are first used, so that the settings can be imported without PyTorch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__all__ = [
    "FollowedFrame", "FrameDescriptors", "GivenMasks", "LookAhead", "ObjectResult", "OfflineSegmenter", "Plan",
    "Segmenter", "SegmenterSettings", "StepResult", "follow",
]  # fmt: skip

if TYPE_CHECKING:
    from hodor_cli.engine.ahead import LookAhead
    from hodor_cli.engine.following import FollowedFrame, GivenMasks, follow
    from hodor_cli.engine.keyframes import OfflineSegmenter
    from hodor_cli.engine.plan import Plan
    from hodor_cli.engine.segmenter import Segmenter
    from hodor_cli.engine.settings import SegmenterSettings
    from hodor_cli.engine.step_result import FrameDescriptors, ObjectResult, StepResult

_HOME_OF = {
    "Segmenter": "segmenter", "SegmenterSettings": "settings", "OfflineSegmenter": "keyframes", "Plan": "plan",
    "FollowedFrame": "following", "GivenMasks": "following", "follow": "following",
    "LookAhead": "ahead",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    """Import a public name from the module that holds it, at its first use."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME_OF.get(name, 'step_result')}"), name)
