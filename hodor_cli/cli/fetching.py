"""Weights from elsewhere are fetched once, with a bar, before a command begins its work."""

from __future__ import annotations

import re


def fetched(weights: str | None) -> str | None:
    """The value of `--weights` as it is; what it names elsewhere is in the cache afterwards."""
    if weights is None or not re.match("https?://", weights):
        return weights
    from hodor_cli.cli.terminal import note, progress_to
    from hodor_cli.weights.registry import weights_path
    from hodor_cli.weights.tensor_files import file_sha256

    began = False
    with progress_to("fetching weights", None, "MB") as show:

        def progress(done: int, total: int | None) -> None:
            nonlocal began
            began = True
            show(done // 10**6, None if total is None else total // 10**6)

        path = weights_path(weights, progress)
    if began and "#" not in weights:
        note(f"Kept as {path}. To accept nothing else from there: {weights}#sha256={file_sha256(path)}")
    return weights
