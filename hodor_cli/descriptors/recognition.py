"""Is what a segmenter finds really the saved object it was started from?

A network that is told of an object tends to find something. What it found is encoded again: the distance of that
descriptor to the nearest saved one, in units of how far the saved object is from its own background, says whether the
two look alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from hodor_cli.inference import Segmenter, StepResult
    from hodor_cli.video.source import Frame

#: Above this the found object is taken for another one; `benchmarks/from_descriptors.py` shows both sides of it.
RECOGNISED_BELOW = 0.28


class Recognition:
    """Compares what is found with the saved objects {id: (K, C)}, frame by frame; hand `on_step` to `segment_source`.

    background (9, C): the saved scene, which gives the unit of distances.
    """

    def __init__(
        self, objects: Mapping[int, np.ndarray], background: np.ndarray, limit: float = RECOGNISED_BELOW
    ) -> None:
        self.limit = limit
        self._objects = {key: np.atleast_2d(rows).astype(np.float64) for key, rows in objects.items()}
        self._unit = {
            key: max(float(np.median(np.linalg.norm(background - rows.mean(axis=0), axis=1))), 1e-9)
            for key, rows in self._objects.items()
        }
        self._found = dict.fromkeys(objects, 0)
        self._alike = dict.fromkeys(objects, 0)

    def distance(self, object_id: int, descriptor: np.ndarray) -> float:
        """From a descriptor (C,) to the nearest saved one of an object, in the object's own unit."""
        apart = np.linalg.norm(self._objects[object_id] - descriptor, axis=1)
        return float(apart.min()) / self._unit[object_id]

    def on_step(self, frame: Frame, result: StepResult, segmenter: Segmenter) -> Mapping[str, Any]:
        """Name the objects of this frame that do not look like the saved ones, in the form that the report takes."""
        descriptors = segmenter.descriptors().objects
        review = []
        for object_id in self._objects.keys() & descriptors.keys():
            if object_id not in result.objects or result.objects[object_id].lost:
                continue
            apart = self.distance(object_id, descriptors[object_id])
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

    def state(self) -> dict[str, np.ndarray]:
        """The counts so far, as arrays that `np.savez` can write."""
        return {"counts": np.array([(key, self._found[key], self._alike[key]) for key in self._objects])}

    def load_state(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Go on from what `state` gave."""
        for key, found, alike in arrays["counts"].tolist():
            self._found[key], self._alike[key] = found, alike
