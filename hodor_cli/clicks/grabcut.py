"""GrabCut (Rother, Kolmogorov, Blake, SIGGRAPH 2004) from clicks: the baseline for the click network."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: The longer side, in pixels, to which a picture is reduced; GrabCut's time grows with the area.
_WORK_SIDE = 400
_RADIUS = 5
_ITERATIONS = 3


class GrabCutClicker:
    """Segments one object of a frame from clicks, by colour alone."""

    def set_frame(self, image: NDArray[np.uint8]) -> None:
        """Take a frame (H, W, 3) uint8 RGB."""
        import cv2

        self._size = (image.shape[0], image.shape[1])
        self._scale = min(1.0, _WORK_SIDE / max(self._size))
        size = (max(1, round(self._size[1] * self._scale)), max(1, round(self._size[0] * self._scale)))
        self._bgr = np.ascontiguousarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA)[..., ::-1])
        self._labels: NDArray[np.uint8] = np.full(size[::-1], cv2.GC_PR_BGD, dtype=np.uint8)
        self._clicked: NDArray[np.uint8] = np.full(size[::-1], 255, dtype=np.uint8)

    def click(self, x: float, y: float, *, positive: bool = True) -> NDArray[np.bool_]:
        """Add a click at pixel (x, y). Returns the mask, (H, W) bool."""
        import cv2

        sure = cv2.GC_FGD if positive else cv2.GC_BGD
        place = (round(x * self._scale), round(y * self._scale))
        cv2.circle(self._clicked, place, _RADIUS, int(sure), thickness=-1)
        labels = np.where(self._clicked == 255, self._labels, self._clicked)
        if not (labels == cv2.GC_BGD).any() and not (labels == cv2.GC_PR_BGD).any():
            labels[0, 0] = cv2.GC_BGD
        cv2.setRNGSeed(0)
        background, foreground = np.zeros((1, 65)), np.zeros((1, 65))
        try:
            cv2.grabCut(self._bgr, labels, (0, 0, 1, 1), background, foreground, _ITERATIONS, cv2.GC_INIT_WITH_MASK)
        except cv2.error:  # too few pixels of one kind; the clicked pixels remain the result
            pass
        found = (labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)
        self._labels = np.where(found, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
        large = cv2.resize(found.astype(np.uint8), self._size[::-1], interpolation=cv2.INTER_NEAREST)
        return np.asarray(large, dtype=bool)
