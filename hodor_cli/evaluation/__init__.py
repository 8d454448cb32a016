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

#: Where each public name is defined.
_NAMES = {
    "comparison": ("compare",),
    "metrics": ("boundary_f", "jaccard", "statistics"),
    "results": ("EvaluationResult",),
    "runner": ("evaluate",),
    "scoring": ("DAVIS", "DAVIS_LIKE", "YOUTUBE_VOS", "SequenceScore", "SequenceScorer", "score_sequence"),
    "settings": ("EvaluationOutput", "EvaluationSettings"),
}
_HOME_OF = {name: module for module, names in _NAMES.items() for name in names}

__all__ = [
    "DAVIS", "DAVIS_LIKE", "YOUTUBE_VOS", "EvaluationOutput", "EvaluationResult", "EvaluationSettings",
    "SequenceScore", "SequenceScorer", "boundary_f", "compare", "evaluate", "jaccard",
    "score_sequence", "statistics",
]  # fmt: skip

if TYPE_CHECKING:
    from hodor_cli.evaluation.comparison import compare
    from hodor_cli.evaluation.metrics import boundary_f, jaccard, statistics
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
    return getattr(importlib.import_module(f"{__name__}.{_HOME_OF[name]}"), name)
