"""hodor: video object segmentation from one mask, by high-level object descriptors (HODOR, CVPR 2022).

The same job as `hodor segment`, frame by frame:

    from hodor_cli import Segmenter, load_model, open_source, read_mask

    segmenter = Segmenter(load_model("mini"))
    first = read_mask("first.png").labels
    for frame in open_source("clip.mp4"):
        labels = segmenter.step(frame.image, masks=first if frame.index == 0 else None)

Names are imported when they are first used, so that `import hodor_cli` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

_HOME_OF = {
    "DescriptorStore": "hodor_cli.descriptors",
    "FrameSource": "hodor_cli.video.source",
    "HodorError": "hodor_cli.errors",
    "Segmenter": "hodor_cli.engine",
    "evaluate": "hodor_cli.evaluation",
    "finetune": "hodor_cli.training.runs",
    "load_model": "hodor_cli.weights",
    "open_source": "hodor_cli.video.source",
    "pretrain": "hodor_cli.training.runs",
    "read_mask": "hodor_cli.datasets.labels.masks",
    "score_sequence": "hodor_cli.evaluation",
    "segment_source": "hodor_cli.run.runner",
    "write_label_png": "hodor_cli.images.label_png",
}

__all__ = [
    "DescriptorStore",
    "FrameSource",
    "HodorError",
    "Segmenter",
    "__version__",
    "evaluate",
    "finetune",
    "load_model",
    "open_source",
    "pretrain",
    "read_mask",
    "score_sequence",
    "segment_source",
    "write_label_png",
]

if TYPE_CHECKING:
    from hodor_cli.datasets.labels.masks import read_mask
    from hodor_cli.descriptors import DescriptorStore
    from hodor_cli.engine import Segmenter
    from hodor_cli.errors import HodorError
    from hodor_cli.evaluation import evaluate, score_sequence
    from hodor_cli.images.label_png import write_label_png
    from hodor_cli.run.runner import segment_source
    from hodor_cli.training.runs import finetune, pretrain
    from hodor_cli.video.source import FrameSource, open_source
    from hodor_cli.weights import load_model


def __getattr__(name: str) -> Any:
    """Import a public name from the module that holds it, at its first use."""
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
