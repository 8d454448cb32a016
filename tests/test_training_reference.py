"""Losses and gradients of one training step against the authors' network with the same weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from test_model_reference import reference_state_dict

from hodor_cli.model import build_model
from hodor_cli.training.cycles import Objective, paper_schedule
from hodor_cli.weights.published import from_authors, own_name
from hodor_cli.weights.tensor_files import load_parameters


@pytest.mark.parametrize("iteration", [0, 1], ids=["even", "odd"])
@pytest.mark.parametrize("mode", ["dense", "sparse"])
def test_reference_training_step(reference_dir: Path, mode: str, iteration: int) -> None:
    path = reference_dir / f"training_{mode}.npz"
    if not path.is_file():
        pytest.skip(f"{path} is absent")
    with np.load(path) as arrays:
        recorded = dict(arrays)
    model = build_model("swin-tiny")  # evaluation mode: dropout and stochastic depth are off in the reference
    state = from_authors(reference_state_dict(reference_dir))
    load_parameters(model, state, origin="the reference weights", architecture="swin-tiny")

    frames, masks = torch.from_numpy(recorded["frames"]), torch.from_numpy(recorded["masks"])
    valid, presence = torch.ones_like(masks, dtype=torch.bool), torch.from_numpy(recorded["presence"])
    objective = Objective(model, supervise="all" if mode == "dense" else "reference")
    losses, predictions = objective(frames, masks, valid, presence, paper_schedule(iteration))
    assert [prediction.frame for prediction in predictions] == [0, 1, 0, 2, 1, 0]
    supervised = [p for p in predictions if mode == "dense" or p.frame == 0]
    assert len(supervised) == recorded[f"num_predictions_iter{iteration}"]
    assert losses.cross_entropy.item() == pytest.approx(float(recorded[f"cross_entropy_iter{iteration}"]), abs=1e-4)
    assert losses.dice.item() == pytest.approx(float(recorded[f"dice_iter{iteration}"]), abs=1e-5)

    losses.total.backward()
    parameters = dict(model.named_parameters())
    prefix = f"grad_norm_iter{iteration}/"
    names = [name.removeprefix(prefix) for name in recorded if name.startswith(prefix)]
    assert names
    for name in names:
        own = own_name(name)
        assert own is not None
        gradient = parameters[own].grad
        assert gradient is not None
        tolerance = 1e-2 if name.endswith("scaling_factors") else 3e-3
        assert gradient.norm().item() == pytest.approx(float(recorded[prefix + name]), rel=tolerance), name
