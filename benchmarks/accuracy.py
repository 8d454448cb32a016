# ruff: noqa: T201
"""Whether speed costs quality: J&F with the accelerated network and with the plain one in float32 on a data set.

    python benchmarks/accuracy.py DAVIS [--weights mini] [--precision auto] [--limit 30]

Prints both, sequence by sequence, and the difference.
"""

from __future__ import annotations

import argparse

from hodor_cli.engine import Segmenter
from hodor_cli.evaluation.runner import evaluate
from hodor_cli.evaluation.settings import EvaluationSettings
from hodor_cli.model import plain
from hodor_cli.weights import load_model


def main() -> None:
    """Evaluate twice and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset")
    parser.add_argument("--weights", default="mini")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--limit", type=int, help="frames of each sequence")
    arguments = parser.parse_args()
    settings = EvaluationSettings(device=arguments.device, precision=arguments.precision, limit=arguments.limit)
    engine = evaluate(arguments.dataset, model=load_model(arguments.weights), settings=settings)
    slow = Segmenter(plain(load_model(arguments.weights)), device=arguments.device, precision="fp32")
    reference = evaluate(arguments.dataset, model=slow, settings=settings)
    for name, score in reference.sequences.items():
        found = engine.sequences[name]
        print(f"{name:<24} plain {score.jf:.4f}  engine {found.jf:.4f}  difference {found.jf - score.jf:+.4f}")
    print(f"{'all':<24} plain {reference.jf:.4f}  engine {engine.jf:.4f}  difference {engine.jf - reference.jf:+.4f}")


if __name__ == "__main__":
    main()
