"""The baseline's features of what a segmenter finds, without running the backbone again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from hodor_cli.descriptors.export.encode import masked_mean

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from hodor_cli.engine import Segmenter


class FeatureTap:
    """Keeps the backbone's maps of the newest frame while a segmenter runs. `close` ends that."""

    def __init__(self, segmenter: Segmenter) -> None:
        self._segmenter = segmenter
        self._levels: list[torch.Tensor] = []
        self._hook = segmenter.model.backbone.register_forward_hook(self._keep)

    def means(self, masks: Mapping[int, NDArray[np.bool_]]) -> dict[int, NDArray[np.float32]]:
        """{id: (H, W) mask of the newest frame} -> {id: (B,)}; empty before the first frame."""
        import torch

        from hodor_cli.runtime.preprocess import Geometry, pad, resize

        if not masks or not self._levels:
            return {}
        stacked = np.stack(list(masks.values()))
        segmenter = self._segmenter
        geometry = Geometry.of(*stacked.shape[1:], min_dim=segmenter.min_dim, max_dim=segmenter.max_dim)
        with torch.inference_mode():
            given = torch.from_numpy(stacked)[None].float().to(self._levels[0].device)
            means = masked_mean(self._levels, pad(resize(given, geometry.scaled), geometry.padded))
        return {key: means[number] for number, key in enumerate(masks)}

    def close(self) -> None:
        """Let go of the network."""
        self._hook.remove()
        self._levels = []

    def _keep(self, module: Any, inputs: Any, output: Any) -> None:
        self._levels = list(output)
