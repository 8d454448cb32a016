"""A short evaluation from inside a program: numbers only, nothing written. Training uses it to validate."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hodor_cli.evaluation.predictions import Progress
from hodor_cli.evaluation.results import EvaluationResult
from hodor_cli.evaluation.runner import evaluate


def evaluate_davis(
    model: Any,
    dataset_root: str | Path,
    *,
    sequences: Sequence[str] | None = None,
    history: int = 7,
    min_dim: int | None = None,
    max_dim: int | None = None,
    device: str = "cpu",
    precision: str = "auto",
    limit: int | None = None,
    progress: Progress | None = None,
) -> EvaluationResult:
    """Run `model` on a data set (DAVIS or any other layout) and score it.

    Args:
        sequences: Names; all by default.
        limit: At most so many frames per sequence, to be quick; None for all.
        progress: Called with frames done and frames in all.

    Returns:
        The result: `.jf`, `.j`, `.f` (0..1), `.sequences[name].jf`, `.frames_per_second`. The model's training mode is
        left as it was.
    """
    training = bool(model.training)
    try:
        return evaluate(
            dataset_root,
            model=model,
            sequences=sequences,
            history=history,
            min_dim=min_dim,
            max_dim=max_dim,
            device=device,
            precision=precision,
            limit=limit,
            progress=progress,
        )
    finally:
        model.train(training)
