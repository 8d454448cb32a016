"""Following objects through a video: the segmenter, its memory, and running it over a source."""

from hodor_cli.inference.segmenter import Segmenter
from hodor_cli.inference.step_result import FrameDescriptors, ObjectResult, StepResult

__all__ = ["FrameDescriptors", "ObjectResult", "Segmenter", "StepResult"]
