"""J, F and their statistics equal those of the official DAVIS-2017 evaluation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hodor_cli.evaluation.scoring import score_sequence


def test_scores_equal_the_reference(reference_dir: Path) -> None:
    file = reference_dir / "davis_metrics.npz"
    if not file.is_file():
        pytest.skip(f"{file} is not there")
    with np.load(file) as reference:
        sequences = sorted({key.split("/")[0] for key in reference.files})
        assert sequences
        for name in sequences:
            score = score_sequence(reference[f"{name}/gt"], reference[f"{name}/pred"], name=name)
            expected = {metric: reference[f"{name}/{metric}"] for metric in "JF"}
            statistics = {metric: reference[f"{name}/{metric}_mean_recall_decay"] for metric in "JF"}
            assert list(score.objects) == list(range(1, len(expected["J"]) + 1))
            for object_id, found in score.objects.items():
                for metric, values, stats in (
                    ("J", found.j_values, found.j_statistics),
                    ("F", found.f_values, found.f_statistics),
                ):
                    np.testing.assert_allclose(values, expected[metric][object_id - 1], rtol=0, atol=1e-9)
                    np.testing.assert_allclose(
                        [stats.mean, stats.recall, stats.decay], statistics[metric][object_id - 1], rtol=0, atol=1e-9
                    )
