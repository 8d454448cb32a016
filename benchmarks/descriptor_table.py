# ruff: noqa: T201
"""The README's retrieval table: descriptors and cheap changes to them against the backbone's mean features.

    hodor export-descriptors DAVIS2016_TRAIN DAVIS2016_DEV DAVIS_MULTI -o objects.h5
    python benchmarks/descriptor_table.py objects.h5
    python benchmarks/descriptor_table.py objects.h5 --stills STILLS       # minutes: learns projections of either alone

A store made with other weights needs those at --weights and their projection at --projection. `--stills` (a COCO-format
folder) adds what a projection makes of either kind of vectors alone. No row of the store is used to learn any of them.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from hodor_cli.descriptors.search.transforms import (
    average_over_frames,
    decoder_query,
    standardise,
    within_object_whitening,
)

from hodor_cli.descriptors import DescriptorStore
from hodor_cli.descriptors.search.projection import projection_for
from hodor_cli.descriptors.search.projection_training import encode_views, stills_for_projection
from hodor_cli.descriptors.search.protocol import score_retrieval
from hodor_cli.descriptors.store.vectors import Metric, vectors_of_array, vectors_of_store
from hodor_cli.weights import load_model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path)
    parser.add_argument("--weights", default="mini")
    parser.add_argument("--projection", type=Path, help="of train-projection; by default the package's own")
    parser.add_argument("--stills", type=Path, help="photographs in COCO format")
    parser.add_argument("--photographs", type=int, default=300)
    options = parser.parse_args()
    with DescriptorStore(options.store) as store:
        index = store.index()
        descriptors = vectors_of_store(store).load()
        baseline = vectors_of_store(store, "baseline").load()
        print(
            f"{len(index):,} rows, {len(np.unique(index.instance))} objects, {len(store.videos)} videos; {store.info}"
        )
        fingerprint = store.info.model_fingerprint
    model = load_model(options.weights)
    rows: list[tuple[str, np.ndarray, Metric]] = [
        ("baseline: mean backbone features in the mask", baseline, "euclidean"),
        ("descriptor, Euclidean", descriptors, "euclidean"),
        ("descriptor, cosine", descriptors, "cosine"),
        ("descriptor, channels standardised", standardise(vectors_of_array(descriptors))(descriptors), "euclidean"),
        ("the decoder's projected query, cosine", decoder_query(model)(descriptors), "cosine"),
        ("descriptor, averaged over 3 frames", average_over_frames(descriptors, index, 1), "euclidean"),
        ("baseline, averaged over 3 frames", average_over_frames(baseline, index, 1), "euclidean"),
    ]
    projection = projection_for(fingerprint, options.projection)
    if projection is None:
        print("no projection: the package has none for this model, and --projection names none")
    else:
        projected = projection(descriptors, baseline)
        rows.append(("**projection** of both", projected, "euclidean"))
        rows.append(("projection, averaged over 3 frames", average_over_frames(projected, index, 1), "euclidean"))
    if options.stills is not None:
        views = encode_views(model, stills_for_projection(options.stills), photographs=options.photographs)
        either = (("descriptor", views.descriptors, descriptors), ("baseline", views.baseline, baseline))
        for name, learned, vectors in either:
            whitened = within_object_whitening(learned, views.instance, shrink=0.3)(vectors)
            rows.append((f"projection of the {name} alone", whitened, "euclidean"))
    print(
        "| compared by | mAP | P@50 % | R@1 | mAP within | P@50 % within | R@1 within |\n|---|---|---|---|---|---|---|"
    )
    for name, vectors, metric in rows:
        numbers_of_row = []
        for within in (False, True):
            scores = score_retrieval(vectors.astype(np.float32), index, metric=metric, within_video=within)
            numbers_of_row += [
                scores.mean_average_precision,
                scores.precision_at_half_recall,
                scores.recall_at_1,
            ]
        print(f"| {name} | " + " | ".join(f"{100 * value:.1f}" for value in numbers_of_row) + " |", flush=True)


if __name__ == "__main__":
    main()
