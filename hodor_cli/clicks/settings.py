"""How the click network is trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from hodor_cli.settings import about, check_settings


@dataclass(frozen=True)
class ClickTraining:
    """How the click network is trained. The defaults made the network in the package."""

    minutes: Annotated[int, about("Time for training, in minutes, over all resumptions.", least=1)] = 60
    batch_size: Annotated[int, about("Pictures of an iteration.", least=1)] = 8
    objects: Annotated[int, about("Objects of a picture.", least=1)] = 2
    rounds: Annotated[int, about("Clicks that are learned from in an iteration.", least=1)] = 2
    late: Annotated[int, about("Most clicks that go before those, in a third of the iterations.", least=1)] = 3
    side: Annotated[int, about("Sides of the training pictures, in pixels; a multiple of 32.", least=64)] = 256
    rate: Annotated[float, about("Peak of the learning rate.", above=0)] = 1e-3
    backbone_rate: Annotated[float, about("Factor on it for the backbone.", least=0)] = 0.2
    frozen: Annotated[int, about("Stages of the backbone that stay as they are.", least=0, most=4)] = 1
    average: Annotated[float, about("Decay of the weights' running average.", least=0, most=1)] = 0.995
    frame_share: Annotated[float, about("Share of clips' frames among the pictures.", least=0, most=1)] = 0.2
    every: Annotated[int, about("Take each n-th frame of a clip.", least=1)] = 5
    seed: Annotated[int, about("Of everything drawn.", least=0)] = 0
    device: Annotated[str, about("Where to compute.")] = "auto"

    def __post_init__(self) -> None:
        check_settings(self)
