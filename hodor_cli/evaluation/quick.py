"""A short evaluation from inside a program: numbers only, nothing written, the model left as it was."""

from __future__ import annotations

from pathlib import Path

from hodor_cli.evaluation.results import EvaluationResult
from hodor_cli.evaluation.runner import evaluate
from hodor_cli.evaluation.settings import EvaluationSettings
from hodor_cli.model.hodor import Hodor


def evaluate_davis(
    model: Hodor, dataset_root: str | Path, *, device: str = "cpu", precision: str = "auto",
    history: int = 7, limit: int | None = None,
) -> EvaluationResult:  # fmt: skip
    """Run `model` on a data set (DAVIS or any other layout) and score it; `limit`: so many frames per sequence.

    Returns the result: `.jf`, `.j`, `.f` (0..1). The model's training mode is left as it was.
    """
    training = bool(model.training)
    settings = EvaluationSettings(history=history, device=device, precision=precision, limit=limit)
    try:
        return evaluate(dataset_root, model=model, settings=settings)
    finally:
        model.train(training)
