"""Many videos side by side: on the cores or GPUs of one machine, or on a Ray cluster."""

from hodor_cli.run.many.jobs import VideoJob, find_jobs, unused_masks
from hodor_cli.run.many.local import LocalExecutor
from hodor_cli.run.many.run import BatchProgress, BatchSummary, JobResult, WorkOptions, segment_videos

__all__ = [
    "BatchProgress",
    "BatchSummary",
    "JobResult",
    "LocalExecutor",
    "VideoJob",
    "WorkOptions",
    "find_jobs",
    "segment_videos",
    "unused_masks",
]
