# ruff: noqa: T201
"""The README's retrieval table: descriptors and cheap changes to them against the backbone's mean features.

    hodor export-descriptors DAVIS2016_TRAIN DAVIS2016_DEV DAVIS_MULTI -o objects.h5
    python benchmarks/descriptor_table.py objects.h5 --weights mini --stills STILLS

A store made with other weights needs those at --weights. `--stills` (a COCO-format folder) adds the projection learned
from photographs that are moved and recoloured; no row of the store is used to learn it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from hodor_cli.descriptors import DescriptorStore
from hodor_cli.descriptors.encode import FrameEncoder
from hodor_cli.descriptors.protocol import score_retrieval
from hodor_cli.descriptors.transforms import (
    average_over_frames,
    decoder_query,
    standardise,
    within_object_whitening,
)
from hodor_cli.descriptors.vectors import Metric, vectors_of_array, vectors_of_store
from hodor_cli.model.hodor import Hodor
from hodor_cli.weights import load_model


def augmented_pairs(model: Hodor, stills: Path, count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Descriptors (n, C), baseline features (n, B) and object numbers (n,) of photographs and of two changed copies."""
    import cv2

    from hodor_cli.descriptors.stills import coco_stills

    rng = np.random.default_rng(seed)
    encoder = FrameEncoder(model)
    sources = coco_stills(stills)
    every = max(sum(source.length or 0 for source in sources) // count, 1)
    descriptors, features, numbers, known = [], [], [], 0
    for source in coco_stills(stills, every=every):
        for frame in source.frames():
            masks = {key: mask for key, mask in frame.masks.items() if mask.sum() > 0.01 * mask.size}
            if not masks:
                continue
            height, width = frame.image.shape[:2]
            for copy in range(3):
                angle, scale = rng.uniform(-10, 10), rng.uniform(0.8, 1.25)
                move = cv2.getRotationMatrix2D((width / 2, height / 2), angle, scale)
                move[:, 2] += rng.uniform(-0.15, 0.15, 2) * (width, height)
                move = np.eye(2, 3) if copy == 0 else move
                gain = rng.uniform(0.8, 1.2, 3) if copy else 1.0
                image = cv2.warpAffine(frame.image, move, (width, height), borderMode=cv2.BORDER_REFLECT)
                image = np.clip(image * gain, 0, 255).astype(np.uint8)
                moved = {
                    key: cv2.warpAffine(mask.astype(np.uint8), move, (width, height)) > 0 for key, mask in masks.items()
                }
                moved = {key: mask for key, mask in moved.items() if mask.sum() > 0.005 * mask.size}
                found = encoder.encode(image, moved)
                for number, key in enumerate(masks):
                    if key in moved:
                        descriptors.append(found.objects[key])
                        features.append(found.baseline[key])
                        numbers.append(known + number)
            known += len(masks)
    return np.stack(descriptors), np.stack(features), np.array(numbers)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path)
    parser.add_argument("--weights", default="mini")
    parser.add_argument("--stills", type=Path)
    parser.add_argument("--photographs", type=int, default=400)
    options = parser.parse_args()
    with DescriptorStore(options.store) as store:
        index = store.index()
        descriptors = vectors_of_store(store).load()
        baseline = vectors_of_store(store, "baseline").load()
        print(
            f"{len(index):,} rows, {len(np.unique(index.instance))} objects, {len(store.videos)} videos; {store.info}"
        )
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
    if options.stills is not None:
        shown, features, numbers = augmented_pairs(model, options.stills, options.photographs)
        projected = within_object_whitening(shown, numbers)(descriptors)
        rows.append(("descriptor, projection learned on photographs", projected, "euclidean"))
        rows.append(
            (
                "baseline, projection learned on photographs",
                within_object_whitening(features, numbers)(baseline),
                "euclidean",
            )
        )
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
