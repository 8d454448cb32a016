"""The network, free of any input or output: `extract`, `encode` and `decode` as pure functions of tensors."""

from hodor_cli.model.decoder import History
from hodor_cli.model.encoder import Descriptors
from hodor_cli.model.fpn import Maps
from hodor_cli.model.hodor import Hodor, build_model
from hodor_cli.model.matching import Cue, KeyedMasks

__all__ = ["Cue", "Descriptors", "History", "Hodor", "KeyedMasks", "Maps", "build_model"]
