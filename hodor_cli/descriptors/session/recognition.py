"""Watching a run that starts from saved objects: do the objects found look like the saved ones?"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from hodor_cli.descriptors.export.encode import FeatureTap
from hodor_cli.descriptors.search.projection import Projection
from hodor_cli.descriptors.session.watches import Note, unit_of
from hodor_cli.descriptors.store.crops import masks_of_labels
from hodor_cli.engine import Segmenter, StepResult
from hodor_cli.errors import UsageError
from hodor_cli.video.frames import Frame

#: Without a projection: the distance between descriptors, in the object's unit, above which the found object is taken
#: for another one.
RECOGNISED_BELOW = 0.28


class Recognition:
    """Compares the objects found with the saved objects {id: (K, C)}, frame by frame.

    A network that starts from a saved object tends to find something in any video: a sleeve where the object is a mug.
    So what it finds is compared with the saved object by their distance under the projection, which has learned how far
    apart views of one object are. Without a projection, descriptors are compared, in units of the saved object's
    distance from its own background, which is unreliable (`benchmarks/from_descriptors.py`).

    background (9, C): the saved scene, which sets the unit of distances between descriptors.
    projection: requires `baseline`, the saved rows' features {id: (K, B)}, and `tap`, for the found objects' features.
    saved_as: {id: what the object is called where it is saved}, for people.
    """

    def __init__(
        self,
        objects: Mapping[int, np.ndarray],
        background: np.ndarray,
        *,
        baseline: Mapping[int, np.ndarray] | None = None,
        projection: Projection | None = None,
        tap: FeatureTap | None = None,
        saved_as: Mapping[int, str] | None = None,
    ) -> None:
        self.saved_as: Mapping[int, str] = saved_as or {}
        self._projection, self._tap = projection, tap
        if projection is not None and baseline is not None:
            self._saved = {key: projection(rows, baseline[key]) for key, rows in objects.items()}
            self._unit, self.limit = dict.fromkeys(objects, 1.0), projection.alike_below
        else:
            self._saved = {key: np.atleast_2d(rows).astype(np.float64) for key, rows in objects.items()}
            units = {key: unit_of(rows.mean(axis=0), background) for key, rows in self._saved.items()}
            self._unit, self.limit = {key: max(unit, 1e-9) for key, unit in units.items()}, RECOGNISED_BELOW
        self._found = dict.fromkeys(objects, 0)
        self._alike = dict.fromkeys(objects, 0)

    def distance(self, object_id: int, descriptor: np.ndarray, features: np.ndarray | None = None) -> float:
        """From a descriptor (C,), with a projection also features (B,), to the nearest saved row of an object."""
        if self._projection is not None and features is not None:
            descriptor = self._projection(descriptor[None], features[None])[0]
        return float(np.linalg.norm(self._saved[object_id] - descriptor, axis=1).min()) / self._unit[object_id]

    def review(self, frame: Frame, result: StepResult, segmenter: Segmenter) -> list[Note]:
        """The objects of the segmenter's latest frame that do not look like the saved ones."""
        descriptors = segmenter.descriptors().objects
        features = {} if self._tap is None else self._tap.means(masks_of_labels(result.labels))
        notes: list[Note] = []
        for object_id in sorted(self._saved.keys() & descriptors.keys() & result.objects.keys()):
            if result.objects[object_id].lost or (self._tap is not None and object_id not in features):
                continue
            apart = self.distance(object_id, descriptors[object_id], features.get(object_id))
            self._found[object_id] += 1
            if apart < self.limit:
                self._alike[object_id] += 1
            else:
                detail = f"distance {apart:.2f}, alike below {self.limit:.2f}"
                notes.append((object_id, "unlike the saved object", detail))
        return notes

    def unrecognised(self) -> dict[int, tuple[int, int]]:
        """Objects that are probably not in the video: {id: (frames in which it looked alike, frames in which found)}.

        They look like the saved object in fewer than half of the frames in which something was found.
        """
        counts = {key: (self._alike[key], self._found[key]) for key in self._saved}
        return {key: (alike, found) for key, (alike, found) in counts.items() if 2 * alike < found or not found}

    def close(self) -> None:
        """Remove the hook from the network."""
        if self._tap is not None:
            self._tap.close()

    def state(self) -> dict[str, np.ndarray]:
        """The counts so far, as arrays that `np.savez` can write."""
        counts = np.array([(key, self._found[key], self._alike[key]) for key in self._saved])
        return {"counts": counts, "limit": np.array(self.limit)}

    def load_state(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Continue from the result of `state`. Raises UsageError if it was made with another projection."""
        if arrays.get("limit", self.limit) != self.limit:  # older versions did not save it
            raise UsageError("the run began with another `projection`; give that one, or start again with `overwrite`")
        for key, found, alike in arrays["counts"].tolist():
            self._found[key], self._alike[key] = found, alike
