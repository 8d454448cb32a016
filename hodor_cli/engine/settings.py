"""Settings of a segmenter, declared once for every command and function that makes one."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Annotated, Any

from hodor_cli.settings import about, check_settings

if TYPE_CHECKING:
    from hodor_cli.engine.keyframes import OfflineSegmenter
    from hodor_cli.engine.segmenter import Segmenter
    from hodor_cli.model.hodor import Hodor


@dataclass(frozen=True)
class SegmenterSettings:
    """How a network follows objects: its memory, its working resolution, and where it computes."""

    history: Annotated[int, about("Number of past frames that masks are decoded from.", least=1)] = 7
    min_dim: Annotated[
        int | None,
        about("Shorter side of the network's input [default: the model's, finer to follow small objects].", least=32),
    ] = None
    max_dim: Annotated[int | None, about("Limit on the input's longer side [default: the model's].", least=32)] = None
    device: Annotated[str, about("Device to run on; auto picks the fastest.")] = "auto"
    precision: Annotated[
        str, about("Arithmetic; auto picks the fastest that keeps the quality on this device. CPUs are slow in fp16.")
    ] = "auto"
    matching: Annotated[
        bool, about("Also propagate masks by matching features, in models that can; else use only descriptors.")
    ] = True

    def __post_init__(self) -> None:
        check_settings(self)

    def segmenter(self, model: Hodor) -> Segmenter:
        """A new segmenter with this network. Raises DeviceError if the device or precision is not available."""
        from hodor_cli.engine.segmenter import Segmenter

        return Segmenter(model, **self._arguments())

    def offline(self, model: Hodor) -> OfflineSegmenter:
        """The same for a video whose masks are all known beforehand."""
        from hodor_cli.engine.keyframes import OfflineSegmenter

        return OfflineSegmenter(model, **self._arguments())

    def _arguments(self) -> dict[str, Any]:
        return {one.name: getattr(self, one.name) for one in fields(SegmenterSettings)}
