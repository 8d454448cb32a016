"""Following objects through a video: the segmenter, its memory, and running it over a source."""

from hodor_cli.inference.segmenter import FrameDescriptors, ObjectResult, Segmenter, StepResult

__all__ = ["FrameDescriptors", "ObjectResult", "Segmenter", "StepResult"]
