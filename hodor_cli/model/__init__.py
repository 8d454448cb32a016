"""The network: `extract`, `encode` and `decode` as pure functions of tensors, without any file access.

The files here follow the paper; `fast` has faster forms of the layers, with the same results.
"""

from hodor_cli.model.build import build_model
from hodor_cli.model.fast import accelerate, plain
from hodor_cli.model.hodor import Hodor
from hodor_cli.model.types import Cue, Descriptors, History, KeyedMasks, Maps

__all__ = ["Cue", "Descriptors", "History", "Hodor", "KeyedMasks", "Maps", "accelerate", "build_model", "plain"]
