"""hodor: video object segmentation from one mask, by high-level object descriptors (HODOR, CVPR 2022).

All of `hodor segment` in one call:

    result = hodor_cli.segment("clip.mp4", box=(310, 120, 200, 260))

The same frame by frame:

    from hodor_cli import Segmenter, load_model, open_source, read_mask

    segmenter = Segmenter(load_model("mini"))
    first = read_mask("first.png").labels
    for frame in open_source("clip.mp4"):
        labels = segmenter.step(frame.image, masks=first if frame.index == 0 else None)

Names are imported when they are first used, so `import hodor_cli` is fast.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

#: The public names that each module defines.
_NAMES = {
    "hodor_cli.errors": "DataError DeviceError HodorError InputError OutputError TrainingError UsageError WeightsError",
    "hodor_cli.engine": "FrameDescriptors ObjectResult Segmenter SegmenterSettings StepResult",
    "hodor_cli.weights": "load_model",
    "hodor_cli.clicks.clicker": "Clicker",
    "hodor_cli.video.frames": "Frame FrameSource",
    "hodor_cli.video.source": "open_source",
    "hodor_cli.datasets.labels.mask_file": "read_mask",
    "hodor_cli.datasets.labels.mask_values": "MaskFile",
    "hodor_cli.images.label_png": "write_label_png",
    "hodor_cli.run.exporting": "ExportOptions export_result",
    "hodor_cli.run.runner": "segment_source",
    "hodor_cli.run.segment": "segment",
    "hodor_cli.run.inputs": "RunInputs",
    "hodor_cli.run.settings": "RunHooks RunOutput SegmentOptions SegmentSettings SegmentSummary",
    "hodor_cli.evaluation.results": "EvaluationResult",
    "hodor_cli.evaluation.runner": "evaluate",
    "hodor_cli.evaluation.scoring": "score_sequence",
    "hodor_cli.evaluation.settings": "EvaluationOutput EvaluationSettings",
    "hodor_cli.training.runs": "finetune pretrain",
    "hodor_cli.samples.settings": "ClipOptions",
    "hodor_cli.training.recipe": "Recipe",
    "hodor_cli.training.options": "Callbacks LaunchSettings RunOptions TrainingResult",
    "hodor_cli.descriptors": "DescriptorStore",
    "hodor_cli.descriptors.export.encode": "FrameEncoder",
    "hodor_cli.descriptors.export.export": "export_sources find_sources",
    "hodor_cli.descriptors.search.comparison": "choose_comparison",
    "hodor_cli.descriptors.search.query": "queries_of_store",
    "hodor_cli.descriptors.search.search": "search_objects",
    "hodor_cli.weights.onnx.export": "ExportSizes export_onnx",
}
_HOME_OF = {name: module for module, names in _NAMES.items() for name in names.split()}

if TYPE_CHECKING:
    from hodor_cli.clicks.clicker import Clicker as Clicker
    from hodor_cli.datasets.labels.mask_file import read_mask as read_mask
    from hodor_cli.datasets.labels.mask_values import MaskFile as MaskFile
    from hodor_cli.descriptors import DescriptorStore as DescriptorStore
    from hodor_cli.descriptors.export.encode import FrameEncoder as FrameEncoder
    from hodor_cli.descriptors.export.export import export_sources as export_sources
    from hodor_cli.descriptors.export.export import find_sources as find_sources
    from hodor_cli.descriptors.search.comparison import choose_comparison as choose_comparison
    from hodor_cli.descriptors.search.query import queries_of_store as queries_of_store
    from hodor_cli.descriptors.search.search import search_objects as search_objects
    from hodor_cli.engine import FrameDescriptors as FrameDescriptors
    from hodor_cli.engine import ObjectResult as ObjectResult
    from hodor_cli.engine import Segmenter as Segmenter
    from hodor_cli.engine import SegmenterSettings as SegmenterSettings
    from hodor_cli.engine import StepResult as StepResult
    from hodor_cli.errors import DataError as DataError
    from hodor_cli.errors import DeviceError as DeviceError
    from hodor_cli.errors import HodorError as HodorError
    from hodor_cli.errors import InputError as InputError
    from hodor_cli.errors import OutputError as OutputError
    from hodor_cli.errors import TrainingError as TrainingError
    from hodor_cli.errors import UsageError as UsageError
    from hodor_cli.errors import WeightsError as WeightsError
    from hodor_cli.evaluation.results import EvaluationResult as EvaluationResult
    from hodor_cli.evaluation.runner import evaluate as evaluate
    from hodor_cli.evaluation.scoring import score_sequence as score_sequence
    from hodor_cli.evaluation.settings import EvaluationOutput as EvaluationOutput
    from hodor_cli.evaluation.settings import EvaluationSettings as EvaluationSettings
    from hodor_cli.images.label_png import write_label_png as write_label_png
    from hodor_cli.run.exporting import ExportOptions as ExportOptions
    from hodor_cli.run.exporting import export_result as export_result
    from hodor_cli.run.inputs import RunInputs as RunInputs
    from hodor_cli.run.runner import segment_source as segment_source
    from hodor_cli.run.segment import segment as segment
    from hodor_cli.run.settings import RunHooks as RunHooks
    from hodor_cli.run.settings import RunOutput as RunOutput
    from hodor_cli.run.settings import SegmentOptions as SegmentOptions
    from hodor_cli.run.settings import SegmentSettings as SegmentSettings
    from hodor_cli.run.settings import SegmentSummary as SegmentSummary
    from hodor_cli.samples.settings import ClipOptions as ClipOptions
    from hodor_cli.training.options import Callbacks as Callbacks
    from hodor_cli.training.options import LaunchSettings as LaunchSettings
    from hodor_cli.training.options import RunOptions as RunOptions
    from hodor_cli.training.options import TrainingResult as TrainingResult
    from hodor_cli.training.recipe import Recipe as Recipe
    from hodor_cli.training.runs import finetune as finetune
    from hodor_cli.training.runs import pretrain as pretrain
    from hodor_cli.video.frames import Frame as Frame
    from hodor_cli.video.frames import FrameSource as FrameSource
    from hodor_cli.video.source import open_source as open_source
    from hodor_cli.weights import load_model as load_model
    from hodor_cli.weights.onnx.export import ExportSizes as ExportSizes
    from hodor_cli.weights.onnx.export import export_onnx as export_onnx
else:
    __all__ = ["__version__", *sorted(_HOME_OF)]


def __getattr__(name: str) -> Any:
    """Import a public name from its module, at its first use."""
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME_OF})
