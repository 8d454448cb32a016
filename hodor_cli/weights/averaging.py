"""The mean of networks that were trained on from one another ("model soups", Wortsman et al., ICML 2022)."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from pathlib import Path

from hodor_cli.errors import UsageError, WeightsError
from hodor_cli.model.hodor import Hodor
from hodor_cli.weights.checkpoint import load_parameters


def average_models(
    models: Sequence[Hodor], shares: Sequence[float] | None = None, *, origins: Sequence[str | Path] | None = None
) -> Hodor:
    """A new network, float32, whose parameters are the weighted mean of those of the given ones.

    Networks that were fine-tuned from the same start lie in one valley of the loss, and their mean often follows
    objects better than each; of networks with different starts it is useless. The first one's configuration is kept.

    Args:
        models: two or more networks of one architecture.
        shares: how much of each, above 0; they are divided by their sum. None: equal shares.
        origins: what to call the networks in errors, such as their files.
    Raises:
        UsageError for fewer than two networks or shares that do not fit; WeightsError if the architectures differ.
    """
    if len(models) < 2:
        raise UsageError("a mean needs at least two networks; name another checkpoint")
    shares = [1.0] * len(models) if shares is None else list(shares)
    if len(shares) != len(models):
        raise UsageError(f"{len(models)} networks need {len(models)} shares, not {len(shares)}")
    if not all(0 < share < math.inf for share in shares):
        raise UsageError(f"shares must be numbers above 0, not {', '.join(f'{share:g}' for share in shares)}")
    names = (
        [str(origin) for origin in origins] if origins is not None else [f"network {n + 1}" for n in range(len(models))]
    )
    first = models[0].config
    for name, model in zip(names[1:], models[1:], strict=True):
        if model.config.name != first.name:
            raise WeightsError(
                f"{name} is a '{model.config.name}' and {names[0]} a '{first.name}'; only networks of one architecture"
                " have a mean"
            )
    mean = copy.deepcopy(models[0]).float()
    states = [model.state_dict() for model in models]
    for name, state in zip(names[1:], states[1:], strict=True):
        load_parameters(mean, state, origin=name)  # says which parameter does not fit
    total = sum(shares)
    parts = [share / total for share in shares]
    mean.load_state_dict(
        {
            key: sum(part * state[key].float() for part, state in zip(parts, states, strict=True))
            if value.is_floating_point()
            else value
            for key, value in states[0].items()
        }
    )
    return mean.eval()


def shares_from_text(text: str) -> list[float]:
    """Shares from "1,1" or "0.7,0.3". Raises UsageError for anything else."""
    try:
        return [float(part) for part in text.split(",")]
    except ValueError as error:
        raise UsageError(f"'{text}' are no shares; write a number for each checkpoint, such as 1,1") from error
