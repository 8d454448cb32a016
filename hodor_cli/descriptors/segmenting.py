"""What descriptors add to `segment`: starting from saved objects, and several callbacks as one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from hodor_cli.descriptors.query import start_descriptors
from hodor_cli.errors import InputError

if TYPE_CHECKING:
    from hodor_cli.inference import Segmenter

OnStep = Callable[[Any, Any, Any], Mapping[str, Any] | None]


def start_from_store(segmenter: Segmenter, arguments: list[str]) -> list[int]:
    """Let a segmenter follow the objects that "FILE.h5#VIDEO/ID" arguments name; returns their ids.

    Raises InputError if they were saved with other weights than the segmenter's, or do not exist.
    """
    from hodor_cli.weights.checkpoint import model_fingerprint

    objects, background, fingerprint = start_descriptors(arguments)
    if fingerprint != model_fingerprint(segmenter.model):
        raise InputError(
            f"{arguments[0]} was saved with other weights than those in use; give the same with --weights, or "
            "export it again"
        )
    segmenter.start_from(objects, background)
    return list(objects)


def all_of(*callbacks: OnStep | None) -> OnStep:
    """One `on_step` that calls several and joins what they return; lists under one key are appended."""

    def on_step(frame: Any, result: Any, segmenter: Any) -> Mapping[str, Any]:
        joined: dict[str, Any] = {}
        for callback in callbacks:
            for key, value in ((callback and callback(frame, result, segmenter)) or {}).items():
                joined[key] = joined[key] + value if isinstance(joined.get(key), list) else value
        return joined

    return on_step
