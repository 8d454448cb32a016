"""The field's numbers (J, F, J&F, frames per second), and pictures of what went wrong.

    from hodor_cli.evaluation import evaluate, score_sequence

    result = evaluate("DAVIS", model=load_model("mini"))          # run a model and score it
    result = evaluate("DAVIS", predictions="masks_of_anyone")     # score masks
    print(result.jf, result.sequences["camel"].objects[1].j)

Names are imported when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_HOME_OF = {
    "DAVIS": "hodor_cli.evaluation.scoring",
    "DAVIS_LIKE": "hodor_cli.evaluation.scoring",
    "YOUTUBE_VOS": "hodor_cli.evaluation.scoring",
    "EvaluationOutput": "hodor_cli.evaluation.settings",
    "EvaluationResult": "hodor_cli.evaluation.results",
    "EvaluationSettings": "hodor_cli.evaluation.settings",
    "SequenceScore": "hodor_cli.evaluation.scoring",
    "SequenceScorer": "hodor_cli.evaluation.scoring",
    "boundary_f": "hodor_cli.evaluation.metrics",
    "compare": "hodor_cli.evaluation.comparison",
    "evaluate": "hodor_cli.evaluation.runner",
    "evaluate_davis": "hodor_cli.evaluation.quick",
    "jaccard": "hodor_cli.evaluation.metrics",
    "score_sequence": "hodor_cli.evaluation.scoring",
    "statistics": "hodor_cli.evaluation.metrics",
}

__all__ = [
    "DAVIS",
    "DAVIS_LIKE",
    "YOUTUBE_VOS",
    "EvaluationOutput",
    "EvaluationResult",
    "EvaluationSettings",
    "SequenceScore",
    "SequenceScorer",
    "boundary_f",
    "compare",
    "evaluate",
    "evaluate_davis",
    "jaccard",
    "score_sequence",
    "statistics",
]

if TYPE_CHECKING:
    from hodor_cli.evaluation.comparison import compare
    from hodor_cli.evaluation.metrics import boundary_f, jaccard, statistics
    from hodor_cli.evaluation.quick import evaluate_davis
    from hodor_cli.evaluation.results import EvaluationResult
    from hodor_cli.evaluation.runner import evaluate
    from hodor_cli.evaluation.scoring import (
        DAVIS,
        DAVIS_LIKE,
        YOUTUBE_VOS,
        SequenceScore,
        SequenceScorer,
        score_sequence,
    )
    from hodor_cli.evaluation.settings import EvaluationOutput, EvaluationSettings


def __getattr__(name: str) -> Any:
    """Import a public name from the module that holds it, at its first use."""
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME_OF[name]), name)
    globals()[name] = value
    return value
