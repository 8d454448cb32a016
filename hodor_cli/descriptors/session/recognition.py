"""Is what a segmenter finds really the saved object it was started from?

A network that starts from a saved object tends to find something in any video: a sleeve where the object is a mug. So
what it finds is compared with the saved object by their distance under the projection, which has learned how far apart
views of one object are. Without a projection, descriptors are compared, in units of how far the saved object is from
its own background; that says little, as `benchmarks/from_descriptors.py` shows. Neither corrects a wrong mask: frames
are named for review.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from hodor_cli.descriptors.export.encode import FeatureTap
from hodor_cli.descriptors.search.comparison import Projection
from hodor_cli.descriptors.store.crops import masks_of_labels
from hodor_cli.engine import Segmenter, StepResult
from hodor_cli.video.frames import Frame

#: Without a projection: the distance of descriptors, in the object's unit, above which the found object is taken for
#: another one.
RECOGNISED_BELOW = 0.28


class Recognition:
    """Compares what is found with the saved objects {id: (K, C)}, frame by frame; hand `on_step` to `segment_source`.

    background (9, C): the saved scene, which gives the unit of distances between descriptors.
    baseline {id: (K, B)}, projection and tap go together: the features of the saved objects' rows, what makes them
    comparable, and where those of what is found come from.
    """

    def __init__(
        self,
        objects: Mapping[int, np.ndarray],
        background: np.ndarray,
        *,
        baseline: Mapping[int, np.ndarray] | None = None,
        projection: Projection | None = None,
        tap: FeatureTap | None = None,
    ) -> None:
        self._projection, self._tap = projection if baseline else None, tap
        self._projected: dict[int, np.ndarray] = {}
        self.limit = RECOGNISED_BELOW
        if projection is not None and baseline:
            self._projected = {key: projection(rows, baseline[key]) for key, rows in objects.items()}
            self.limit = projection.alike_below
        self._objects = {key: np.atleast_2d(rows).astype(np.float64) for key, rows in objects.items()}
        self._unit = {
            key: max(float(np.median(np.linalg.norm(background - rows.mean(axis=0), axis=1))), 1e-9)
            for key, rows in self._objects.items()
        }
        self._found = dict.fromkeys(objects, 0)
        self._alike = dict.fromkeys(objects, 0)

    def distance(self, object_id: int, descriptor: np.ndarray, features: np.ndarray | None = None) -> float:
        """From a descriptor (C,) and baseline features (B,) to the nearest saved row of an object.

        Without a projection features are not read, and the unit is the object's own.
        """
        if self._projection is not None and features is not None:
            vector = self._projection(descriptor[None], features[None])
            return float(np.linalg.norm(self._projected[object_id] - vector, axis=1).min())
        apart = np.linalg.norm(self._objects[object_id] - descriptor, axis=1)
        return float(apart.min()) / self._unit[object_id]

    def on_step(self, frame: Frame, result: StepResult, segmenter: Segmenter) -> Mapping[str, Any]:
        """Name the objects of this frame that do not look like the saved ones, in the form that the report takes."""
        descriptors = segmenter.descriptors().objects
        features: Mapping[int, np.ndarray] = {}
        if self._tap is not None and self._projection is not None:
            features = self._tap.means(masks_of_labels(result.labels))
        review = []
        for object_id in self._objects.keys() & descriptors.keys():
            if object_id not in result.objects or result.objects[object_id].lost:
                continue
            if self._projection is not None and object_id not in features:
                continue
            apart = self.distance(object_id, descriptors[object_id], features.get(object_id))
            self._found[object_id] += 1
            if apart < self.limit:
                self._alike[object_id] += 1
            else:
                detail = f"distance {apart:.2f}, alike below {self.limit:.2f}"
                review.append({"object": object_id, "reason": "unlike the saved object", "detail": detail})
        return {"review": sorted(review, key=lambda item: item["object"])} if review else {}

    def unrecognised(self) -> dict[int, tuple[int, int]]:
        """Objects that are probably not in the video: {id: (frames in which it looked alike, frames in which found)}.

        Those are the ones that look alike in fewer than half of the frames in which something was found.
        """
        counts = {key: (self._alike[key], self._found[key]) for key in self._objects}
        return {key: (alike, found) for key, (alike, found) in counts.items() if 2 * alike < found or not found}

    def close(self) -> None:
        """Remove the hook from the network."""
        if self._tap is not None:
            self._tap.close()

    def state(self) -> dict[str, np.ndarray]:
        """The counts so far, as arrays that `np.savez` can write."""
        return {"counts": np.array([(key, self._found[key], self._alike[key]) for key in self._objects])}

    def load_state(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Continue from what `state` gave."""
        for key, found, alike in arrays["counts"].tolist():
            self._found[key], self._alike[key] = found, alike
