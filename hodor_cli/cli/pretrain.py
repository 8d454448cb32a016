"""`hodor pretrain`: train a video segmenter from still images."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hodor_cli.cli.training_options import plain, train_with, training_command
from hodor_cli.errors import UsageError


@training_command(
    plain("images", Path, "Photographs whose annotations lie elsewhere.", "DIR"),
    plain("annotations", Path, "Their annotations, in COCO format.", "FILE"),
)
def pretrain(values: Mapping[str, Any]) -> None:
    """Train on still images in COCO format: photographs in, a video segmenter out.

    Every photograph becomes a short augmented sequence. Without --data it uses the photographs of the prepared
    workspace ($HODOR_WORKSPACE_DIR) and the paper's settings.

    hodor pretrain --data photos --preset mini --backbone mobilenet_v2.safetensors
    hodor pretrain --data stills:0.5 --data mine:0.5 --preset mini
    hodor pretrain --gpus 4
    """
    from hodor_cli.training.options import DataSource
    from hodor_cli.training.runs import pretrain as run

    images, annotations = values["images"], values["annotations"]
    if (images is None) != (annotations is None):
        raise UsageError("`images` and `annotations` belong together; give both, or a folder with `data`")
    elsewhere = [] if images is None else [DataSource(images, annotations=annotations)]
    train_with(run, [*(values["data"] or ()), *elsewhere], values)
