"""Tells whether one result is better than another, or whether the difference could be chance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
import numpy.typing as npt

from hodor_cli.datasets.parsing import parse_json
from hodor_cli.errors import InputError, UsageError
from hodor_cli.images.paths import require_exists

RESAMPLES = 10_000
CONFIDENCE = 0.95
LEAST_SEQUENCES = 4
"""With fewer sequences, a bootstrap is meaningless, so there is no interval."""


class _ObjectRecord(msgspec.Struct):
    """An object of a results.json."""

    jf: float = msgspec.field(name="J&F")
    frames: int | None = None


class _SequenceRecord(msgspec.Struct):
    objects: Annotated[dict[str, _ObjectRecord], msgspec.Meta(min_length=1)]


class _ResultRecord(msgspec.Struct):
    """The part of a results.json that is used in comparisons."""

    sequences: dict[str, _SequenceRecord]


@dataclass(frozen=True)
class ResultComparison:
    """How B differs from A in J&F on the sequences that both have; differences are B minus A."""

    name_a: str
    name_b: str
    value_a: float
    value_b: float
    interval: tuple[float, float] | None
    """95 % bootstrap interval of the difference, over sequences; None with fewer than `LEAST_SEQUENCES`."""
    sequences: dict[str, tuple[float, float]]
    """Sequence -> (A, B)."""
    only_in_one: tuple[str, ...] = ()

    @property
    def difference(self) -> float:
        return self.value_b - self.value_a

    @property
    def verdict(self) -> str:
        """ "better", "worse", "no clear difference" or "too few sequences to tell"."""
        if self.interval is None:
            return "too few sequences to tell"
        low, high = self.interval
        return "better" if low > 0 else "worse" if high < 0 else "no clear difference"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "metric": "J&F",
            "a": {"name": self.name_a, "J&F": self.value_a},
            "b": {"name": self.name_b, "J&F": self.value_b},
            "difference": self.difference,
            "interval": None if self.interval is None else list(self.interval),
            "verdict": self.verdict,
            "sequences": {name: {"a": a, "b": b, "difference": b - a} for name, (a, b) in self.sequences.items()},
            "only_in_one": list(self.only_in_one),
        }


def compare(paths: Sequence[Path]) -> list[ResultComparison]:
    """Compare the J&F of results.json files: each against the first.

    The interval is a paired bootstrap: sequences are drawn with replacement, the same for both results, and the values
    are means over their objects. The draw is seeded, so the result is reproducible. Raises UsageError
    for fewer than two files, InputError if a file is not a result or shares no sequence with the first.
    """
    if len(paths) < 2:
        raise UsageError("a comparison needs two or more results; give another results.json")
    what, advice = "the results.json of one evaluation", "give the file that `evaluate` writes into its `out`"
    results = []
    for path in map(Path, paths):
        require_exists(path, "results.json of an evaluation")
        results.append(parse_json(path, _ResultRecord, what, advice))
    names = [Path(path).stem for path in paths]
    if len(set(names)) < len(names):
        names = [str(path) for path in paths]
    pairs = zip(results[1:], names[1:], strict=True)
    return [_compare(results[0], other, names[0], name) for other, name in pairs]


def bootstrap_interval(differences: npt.NDArray[np.float64], weights: npt.NDArray[np.float64]) -> tuple[float, float]:
    """95 % interval of sum(differences) / sum(weights) when sequences are drawn with replacement.

    `differences` (N,) holds each sequence's sum of B - A over its objects, `weights` (N,) its number of objects.
    """
    drawn = np.random.default_rng(0).integers(0, len(differences), (RESAMPLES, len(differences)))
    means = differences[drawn].sum(axis=1) / weights[drawn].sum(axis=1)
    low, high = np.quantile(means, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def _compare(a: _ResultRecord, b: _ResultRecord, name_a: str, name_b: str) -> ResultComparison:
    shared = [name for name in a.sequences if name in b.sequences]
    if not shared:
        raise InputError(f"{name_a} and {name_b} have no sequence in common; compare results on the same data set")
    rows = []
    for name in shared:
        pair = a.sequences[name].objects, b.sequences[name].objects
        counted = [{number: one.frames for number, one in of.items()} for of in pair]
        if counted[0] != counted[1]:
            what = "scored frames" if counted[0].keys() == counted[1].keys() else "objects"
            raise InputError(f"{name_a} and {name_b} have different {what} in {name}; compare results for one truth")
        rows.append([*(sum(one.jf for one in of.values()) for of in pair), len(pair[0])])
    sums_a, sums_b, weights = np.array(rows, np.float64).T
    means = zip((sums_a / weights).tolist(), (sums_b / weights).tolist(), strict=True)
    interval = bootstrap_interval(sums_b - sums_a, weights) if len(shared) >= LEAST_SEQUENCES else None
    value_a, value_b = (float(sums.sum() / weights.sum()) for sums in (sums_a, sums_b))
    sequences, apart = dict(zip(shared, means, strict=True)), tuple(sorted(set(a.sequences) ^ set(b.sequences)))
    return ResultComparison(name_a, name_b, value_a, value_b, interval, sequences, apart)
