"""`hodor finetune`: continue training a network on the frames of videos."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hodor_cli.cli.training_options import declared, given, train_with, training_command
from hodor_cli.training.options import ClipOptions


@training_command(*declared(ClipOptions), leave_out=("backbone",))
def finetune(values: Mapping[str, Any]) -> None:
    """Continue training on clips in the DAVIS or YouTube-VOS layout, from a trained network (mini by default).

    With sparse, one labelled frame of each clip is read and no other label.

    hodor finetune --mode sparse --data DAVIS --weights runs/mini/last.safetensors
    hodor finetune --mode dense --data DAVIS:0.7 --data stills:0.3 -o runs/mixed
    """
    from hodor_cli.training.runs import finetune as run

    train_with(run, values["data"], values, clips=given(ClipOptions, values))
