"""How the click network is trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from hodor_cli.errors import UsageError
from hodor_cli.settings import about, check_settings
from hodor_cli.training.options import seconds_in

#: The coarsest stride of the network.
_STRIDE = 32


@dataclass(frozen=True)
class ClickTraining:
    """Settings for training the click network. The network in the package was trained with the defaults."""

    time: Annotated[
        str,
        about(
            "Total training time, including resumed runs: 9m, 90s or 1h30m. The learning rate decays over this time."
        ),
    ] = "60m"
    batch_size: Annotated[int, about("Pictures per iteration.", least=1)] = 8
    objects: Annotated[int, about("Objects per picture.", least=1)] = 2
    rounds: Annotated[int, about("Clicks per iteration that contribute to the loss.", least=1)] = 2
    late: Annotated[int, about("Maximum number of clicks before those, in a third of the iterations.", least=1)] = 3
    side: Annotated[int, about("Side of the training pictures, in pixels; a multiple of 32.", least=64)] = 256
    learning_rate: Annotated[float, about("Peak learning rate.", above=0)] = 1e-3
    backbone_rate: Annotated[float, about("Factor on the learning rate of the backbone.", least=0)] = 0.2
    frozen_stages: Annotated[
        int, about("Number of backbone stages that stay frozen, from the first.", least=0, most=4)
    ] = 1
    average: Annotated[float, about("Decay of the running average of the weights.", least=0, most=1)] = 0.995
    frame_share: Annotated[float, about("Share of frames from clips among the pictures.", least=0, most=1)] = 0.2
    every: Annotated[int, about("Use every n-th frame of a clip.", least=1)] = 5
    extra_blocks: Annotated[
        int, about("Blocks to add to the head; they have no effect until they are trained.", least=0, most=16)
    ] = 0
    seed: Annotated[int, about("Random seed.", least=0)] = 0
    device: Annotated[str, about("Device to run on.")] = "auto"

    def __post_init__(self) -> None:
        check_settings(self)
        if self.side % _STRIDE:
            raise UsageError(f"`side` must be a multiple of {_STRIDE}, not {self.side}")
        self.seconds  # noqa: B018 (refuses a text that is not a time)

    @property
    def seconds(self) -> float:
        """`time` in seconds. Raises UsageError for a text that is not a time."""
        return seconds_in(self.time, "time")
