"""Both halves of a batch at once, in two threads."""

from __future__ import annotations

import dataclasses
from contextlib import closing
from pathlib import Path

import cv2
import pytest
import torch
from torch import Tensor, nn
from training_fakes import losses_of, make_blobs, start

import hodor_cli
from hodor_cli.runtime.second_thread import SecondThread
from hodor_cli.runtime.threads import using_threads
from hodor_cli.training.config import train_preset
from hodor_cli.training.cycles import Prediction
from hodor_cli.training.damage import NO_HARDSHIP
from hodor_cli.training.halves import can_be_halved, objective_in_halves
from hodor_cli.training.launch import Process
from hodor_cli.training.losses import Losses
from hodor_cli.training.options import LaunchSettings
from hodor_cli.weights import load_checkpoint


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_two_threads_learn_what_one_learns_of_a_half_at_a_time(tmp_path: Path, precision: str) -> None:
    photos = make_blobs(tmp_path / "photos")
    launch = LaunchSettings(device="cpu", precision=precision)
    runs = {"in turn": (1, {"micro_batch": 2}), "at once": (2, {}), "again": (2, {})}
    for name, (threads, more) in runs.items():
        settings = {"iterations": 3, "batch_size": 4, **more}
        with using_threads(threads):
            start(
                hodor_cli.pretrain, photos, out=tmp_path / name, preset="toy", workers=0, launch=launch,
                settings=settings,
            )  # fmt: skip
    learned = {name: load_checkpoint(tmp_path / name / "last.safetensors").state_dict for name in runs}
    for name in ("at once", "again"):
        assert losses_of(tmp_path / name) == losses_of(tmp_path / "in turn")
        assert all(torch.equal(value, learned["in turn"][key]) for key, value in learned[name].items())
    # A sheet has the samples of both threads.
    rows = {name: cv2.imread(str(tmp_path / name / "sheets" / "000001.png")).shape[0] for name in runs}
    assert rows["at once"] > 1.5 * rows["in turn"]


@pytest.mark.parametrize("setting", ["damage_cue", "wrong_cue", "contrast", "micro_batch"])
def test_a_batch_stays_whole_where_its_halves_would_learn_something_else(setting: str) -> None:
    config = dataclasses.replace(train_preset("toy"), batch_size=4)
    assert can_be_halved(config, Process("cpu"), dropout=0.0)
    assert not can_be_halved(dataclasses.replace(config, **{setting: 1}), Process("cpu"), dropout=0.0)
    assert not can_be_halved(config, Process("cpu"), dropout=0.1)


def test_what_only_one_half_uses_learns_from_it() -> None:
    class OnlyPositive(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weights, self.unused = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(1))

        def forward(self, values: Tensor, *_: object) -> tuple[Losses, list[Prediction]]:
            used = self.weights * values.sum() if values[0] > 0 else values.sum().requires_grad_()
            return Losses(used.sum(), *torch.zeros(3)), []

    for values in ([2.0, 3.0, -1.0, -1.0], [-1.0, -1.0, 2.0, 3.0]):
        objective = OnlyPositive()
        with closing(SecondThread()) as second:
            objective_in_halves(objective, second, torch.tensor(values), (), NO_HARDSHIP)[0].total.backward()
        assert objective.weights.grad is not None and objective.weights.grad.tolist() == [2.5, 2.5]
        assert objective.unused.grad is None
