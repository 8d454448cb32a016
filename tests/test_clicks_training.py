"""Training of the click network: gradients, simulated prompts, and resuming a run."""

from __future__ import annotations

import copy
import signal
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from training_fakes import make_blobs

from hodor_cli.clicks.network import ClickConfig, ClickNet, FrameMaps, channels_last, with_extra_blocks
from hodor_cli.clicks.network_file import load_click_net
from hodor_cli.clicks.settings import ClickTraining
from hodor_cli.clicks.training import ClickProgress, train_clicks
from hodor_cli.clicks.training_step import Simulation, losses
from hodor_cli.errors import DataError, OutputError, UsageError
from hodor_cli.model import accelerate
from hodor_cli.runtime.device import autocast
from hodor_cli.runtime.second_thread import SecondThread
from hodor_cli.training.halves import learned_in_halves
from hodor_cli.training.run_folder import read_state, save_state

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def net() -> ClickNet:
    torch.manual_seed(0)
    return channels_last(ClickNet(ClickConfig())).train()


def rngs(count: int) -> list[np.random.Generator]:
    return [np.random.default_rng(seed) for seed in range(count)]


def truths() -> np.ndarray:
    """The masks of two frames with two objects each."""
    masks = np.zeros((4, 64, 64), dtype=bool)
    for i in range(4):
        masks[i, 8 + i : 36 + 4 * i, 10 + 6 * i : 34 + 6 * i] = True
    return masks


def loss_of(net: ClickNet, dtype: torch.dtype, begin: int = 0, end: int = 2) -> Tensor:
    """The loss of frames `begin` to `end` after one click or another prompt."""
    frames = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    frames = frames[begin:end].contiguous(memory_format=torch.channels_last)
    simulation = Simulation(truths()[2 * begin : 2 * end], rngs(4)[2 * begin : 2 * end])
    with autocast(torch.device("cpu"), dtype, cache=False):
        return losses(net, frames, simulation, before=0, rounds=1)[0]


def gradient(net: ClickNet, dtype: torch.dtype) -> Tensor:
    """The gradient of all parameters together."""
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss_of(net, dtype), list(net.parameters()))])


def test_the_fast_network_has_the_gradient_of_the_plain_one(net: ClickNet) -> None:
    fast = accelerate(copy.deepcopy(net))
    exact = gradient(net, torch.float32)
    torch.testing.assert_close(gradient(fast, torch.float32), exact)
    plain, found = gradient(net, torch.bfloat16), gradient(fast, torch.bfloat16)
    assert torch.cosine_similarity(found, exact, dim=0) > torch.cosine_similarity(plain, exact, dim=0) - 0.01
    assert found.norm().item() == pytest.approx(exact.norm().item(), rel=0.05)


def operations(loss: Tensor) -> Iterator[Any]:
    """The autograd nodes that the gradient of a loss passes through."""
    ahead, seen = [loss.grad_fn], set()
    while ahead:
        node = ahead.pop()
        if node is not None and node not in seen:
            seen.add(node)
            ahead += [before for before, _ in node.next_functions]
            yield node


def test_no_gradient_uses_a_slow_bfloat16_kernel(net: ClickNet) -> None:
    fast = accelerate(copy.deepcopy(net))
    found = list(operations(loss_of(fast, torch.bfloat16)))
    convolutions = [node for node in found if node.name() == "ConvolutionBackward0"]
    slow = [
        node._saved_weight.dtype
        for node in convolutions
        if node._saved_groups > 1 and (node._saved_weight.shape[-1] > 3 or 2 in node._saved_stride)
    ]
    norms = [node._saved_input.dtype for node in found if node.name() == "NativeGroupNormBackward0"]
    assert len(slow) > 10 and len(norms) > 10 and {*slow, *norms} == {torch.float32}
    assert sum(node._saved_weight.dtype == torch.bfloat16 for node in convolutions) > len(slow)


def test_extra_blocks_change_nothing_until_they_are_trained(net: ClickNet) -> None:
    deeper = channels_last(with_extra_blocks(net, 2))
    assert deeper.config.extra_blocks == 2 and with_extra_blocks(deeper, 1) is deeper
    before, after = loss_of(net, torch.float32), loss_of(deeper, torch.float32)
    torch.testing.assert_close(after, before)
    after.backward()  # type: ignore[no-untyped-call]
    for name, parameter in deeper.head.named_parameters():
        if "extra" in name and "narrow" in name:
            assert parameter.grad is not None and bool(parameter.grad.any()), name


def test_maps_of_several_objects_keep_their_layout(net: ClickNet) -> None:
    maps = net.features(torch.randn(2, 3, 64, 64).to(memory_format=torch.channels_last))
    repeated = maps.repeat(3)
    for once, thrice in zip(flat(maps), flat(repeated), strict=True):
        assert torch.equal(thrice, once.repeat_interleave(3, 0))
    for level in (*repeated.levels, repeated.fine):
        assert level.is_contiguous(memory_format=torch.channels_last)


def flat(maps: FrameMaps) -> list[Tensor]:
    return [*maps.levels, maps.fine, maps.keys]


def test_the_prompts_of_an_object_do_not_depend_on_the_others_in_the_batch() -> None:
    masks, logits = truths(), torch.randn(4, 1, 32, 32, generator=torch.Generator().manual_seed(2))
    whole, half = Simulation(masks, rngs(4)), Simulation(masks[2:], rngs(4)[2:])
    for _ in range(3):
        for all_, some in zip(whole.prompts(CPU), half.prompts(CPU), strict=True):
            torch.testing.assert_close(all_[2:], some, rtol=0, atol=0, equal_nan=True)
        whole.add_clicks(logits)
        half.add_clicks(logits[2:])


def test_two_threads_compute_the_gradient_of_the_whole_batch(net: ClickNet) -> None:
    parameters = list(net.parameters())
    net.zero_grad(set_to_none=True)
    with closing(SecondThread()) as second:
        learned_in_halves(
            lambda begin, end: loss_of(net, torch.float32, begin, end)[None] / 2, 2, parameters, second
        ).sum().backward()
    found = torch.cat([p.grad.flatten() for p in parameters])
    net.zero_grad(set_to_none=True)
    torch.testing.assert_close(found, gradient(net, torch.float32), rtol=1e-3, atol=1e-5)


SMALL = ClickTraining(batch_size=4, objects=1, rounds=1, late=1, side=64, device="cpu")


@pytest.fixture
def one_iteration(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run ends after one more iteration, however long it takes."""

    def train(run: Any, progress: object) -> None:
        run._step()
        run.seconds += 1
        run.save()

    monkeypatch.setattr("hodor_cli.clicks.training._Run.train", train)


@pytest.mark.usefixtures("one_iteration")
def test_a_damaged_picture_does_not_end_training_and_is_reported_once(tmp_path: Path) -> None:
    made, said = make_blobs(tmp_path / "set"), list[str]()
    settings = replace(SMALL, batch_size=8)
    damaged = made / "images" / "2.png"
    damaged.write_bytes(damaged.read_bytes()[:200])
    for resume in (False, True, True):
        train_clicks([made], tmp_path / "run", settings, resume=resume, warn=said.append)
    assert len(said) == 1 and "2.png cannot be read" in said[0] and "; training continues without it" in said[0]
    state = read_state(tmp_path / "run")
    assert state is not None and state.iteration == 3
    for picture in (made / "images").iterdir():
        picture.write_bytes(damaged.read_bytes())
    with pytest.raises(DataError, match="cannot be read"):
        train_clicks([made], tmp_path / "run", settings, resume=True)


def test_the_seed_determines_the_initial_weights_of_a_new_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make_blobs(tmp_path / "set")
    monkeypatch.setattr("hodor_cli.clicks.training._Run.train", lambda run, progress: run.save())
    nets = [
        load_click_net(train_clicks([made], tmp_path / f"run{number}", replace(SMALL, seed=seed)))
        for number, seed in enumerate((0, 0, 1))
    ]
    first, again, other = (net.head.refine.weight for net in nets)
    assert torch.equal(first, again) and not torch.equal(first, other)


@pytest.mark.usefixtures("one_iteration")
def test_a_run_can_be_resumed_only_with_its_own_settings(tmp_path: Path) -> None:
    made, run = make_blobs(tmp_path / "set"), tmp_path / "run"
    train_clicks([made], run, SMALL)
    with pytest.raises(OutputError, match="already holds a run"):
        train_clicks([made], run, SMALL)
    with pytest.raises(UsageError, match="batch_size was 4, not 8"):
        train_clicks([made], run, replace(SMALL, batch_size=8), resume=True)
    with pytest.raises(UsageError, match=r"names .*set twice"):
        train_clicks([made, str(made)], tmp_path / "twice", SMALL)
    with pytest.raises(UsageError, match=r"weights was mini, not .*clicks\.safetensors"):
        train_clicks([made], run, SMALL, resume=True, weights=run / "clicks.safetensors")
    train_clicks([made], run, replace(SMALL, time="2h"), resume=True)
    state = read_state(run)
    assert state is not None and (state.iteration, state.config["seconds"]) == (2, 2)


@pytest.mark.usefixtures("one_iteration")
def test_a_resumed_run_remembers_the_weights_it_began_with(tmp_path: Path) -> None:
    made = make_blobs(tmp_path / "set")
    first = train_clicks([made], tmp_path / "first", replace(SMALL, extra_blocks=1))
    began = train_clicks([made], tmp_path / "run", SMALL, weights=first)
    size = len(load_click_net(began).state_dict())
    (tmp_path / "run" / ".training_state.safetensors.123.tmp").write_bytes(b"half")  # by a run that was killed
    first.unlink()  # a resumed run has its own copy
    assert len(load_click_net(train_clicks([made], tmp_path / "run", SMALL, resume=True)).state_dict()) == size
    state = read_state(tmp_path / "run")
    assert state is not None and state.config["weights"] == str(first)
    assert not list((tmp_path / "run").glob(".*.tmp"))


@pytest.mark.usefixtures("one_iteration")
def test_a_run_started_by_an_older_version_can_be_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, run = make_blobs(tmp_path / "set"), tmp_path / "run"
    new = {"time": "minutes", "learning_rate": "rate", "frozen_stages": "frozen"}
    with monkeypatch.context() as older:
        names = {**asdict(SMALL), "time": 60}
        older.setattr(
            "hodor_cli.clicks.training.asdict", lambda _: {new.get(key, key): value for key, value in names.items()}
        )
        train_clicks([made], run, SMALL)
    train_clicks([made], run, SMALL, resume=True)
    state = read_state(run)
    assert state is not None and state.iteration == 2 and state.config["time"] == "60m"


def test_after_ctrl_c_a_run_resumes_from_the_last_complete_iteration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, run = make_blobs(tmp_path / "set"), tmp_path / "run"

    def save(*given: Any) -> None:
        signal.raise_signal(signal.SIGINT)  # a second Ctrl-C
        save_state(*given)

    monkeypatch.setattr("hodor_cli.clicks.training.save_state", save)
    for wanted, resume in ((3, False), (4, True)):
        reported: list[ClickProgress] = []

        def stop(progress: ClickProgress, reported: list[ClickProgress] = reported, wanted: int = wanted) -> None:
            reported.append(progress)
            if progress.iteration == wanted:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            train_clicks([made], run, SMALL, resume=resume, progress=stop)
        state = read_state(run)
        assert state is not None and state.iteration == wanted
        # The mean of these iterations alone: cross-entropy and the soft Jaccard loss begin near 1.5.
        assert reported[0].loss > 0.8
    assert load_click_net(run / "clicks.safetensors").config.name == "clicks"


def test_training_without_data_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing to train on; give `data`"):
        train_clicks([], tmp_path / "out", SMALL)


def test_a_click_network_of_another_origin_is_not_replaced(tmp_path: Path) -> None:
    own = tmp_path / "clicks.safetensors"
    own.write_bytes(b"mine")
    for resume in (False, True):
        with pytest.raises(OutputError, match="choose another folder"):
            train_clicks([tmp_path], tmp_path, SMALL, resume=resume)
    assert own.read_bytes() == b"mine"
    own.rename(tmp_path / "report.json")  # like the results of another command
    with pytest.raises(OutputError, match="other files in it; choose another"):
        train_clicks([tmp_path], tmp_path, SMALL)


@pytest.mark.parametrize(
    ("wrong", "said"), [({"side": 100}, "`side` must be a multiple of 32"), ({"time": "long"}, "`time` cannot be")]
)
def test_invalid_settings_are_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        ClickTraining(**wrong)
