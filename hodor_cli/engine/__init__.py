"""Following objects through a video: the segmenter, its memory, and running it over a source."""

from hodor_cli.engine.segmenter import Segmenter
from hodor_cli.engine.step_result import FrameDescriptors, ObjectResult, StepResult

__all__ = ["FrameDescriptors", "ObjectResult", "Segmenter", "StepResult"]
