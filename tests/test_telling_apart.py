"""What tells objects apart: codes of place, the cue's gate, wrong cues, contrast of descriptors, the self step."""

from __future__ import annotations

import copy

import msgspec
import pytest
import torch
from torch import Tensor, nn

from hodor_cli.config import ModelConfig
from hodor_cli.model import Cue, History, Hodor, KeyedMasks, build_model, plain
from hodor_cli.model.background import reference_masks
from hodor_cli.model.deform_conv import DeformConv
from hodor_cli.model.matching import CueInjection
from hodor_cli.model.position import PositionCodes, position_codes
from hodor_cli.presets import preset
from hodor_cli.training import cycles
from hodor_cli.training.cycles import Objective, schedule
from hodor_cli.training.damage import NO_HARDSHIP, Hardship, WrongCue
from hodor_cli.training.losses import contrast_loss

NOWHERE = torch.device("cpu")
MINI = preset("mini")


def _scattered(config: ModelConfig) -> Hodor:
    """A network in which no parameter is zero, so that every part of it shows."""
    model = build_model(config)
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "gate" in name or "offsets" in name:
                parameter.normal_(std=0.05)
    return model


def _history(model: Hodor, frames: Tensor, masks: Tensor) -> tuple[History, Cue | None, Tensor]:
    maps = model.extract(frames)
    objects, background = reference_masks(masks)
    descriptors = model.encode(maps, objects, background)
    history = History(
        descriptors.objects[:, None],
        descriptors.background[:, None],
        torch.ones(1, 1, masks.shape[1], dtype=torch.bool),
        torch.ones(1, 1, dtype=torch.bool),
    )
    cue = None
    if maps.keys is not None:
        source = KeyedMasks(maps.keys, objects)
        cue = model.match(maps, source, source)
    return history, cue, model.decode(maps, history, cue)


@pytest.mark.parametrize("config", [preset("toy"), MINI], ids=lambda config: config.name)
def test_the_fast_network_equals_the_plain_one_with_all_additions(config: ModelConfig) -> None:
    model = _scattered(config)
    torch.manual_seed(0)
    frames, masks = torch.rand(1, 3, 96, 128), torch.zeros(1, 2, 96, 128)
    masks[0, 0, 10:40, 20:60], masks[0, 1, 50:90, 70:110] = 1, 1
    with torch.no_grad():
        fast = _history(model, frames, masks)[2]
        slow = _history(plain(copy.deepcopy(model)), frames, masks)[2]
    torch.testing.assert_close(fast, slow, atol=2e-3, rtol=1e-3)


def test_the_papers_network_has_none_of_the_additions() -> None:
    config = preset("swin-tiny")
    assert (config.position_codes, config.places, config.cue_gate) == (False, False, False)
    assert (config.deform_channels, config.upsampled_channels) == (None, None)


def test_a_configuration_without_the_new_fields_is_the_network_it_was() -> None:
    values = MINI.to_dict()
    for name in ("position_codes", "places", "cue_gate", "deform_channels", "upsampled_channels"):
        del values[name]
    names = build_model(ModelConfig.from_dict(values)).state_dict().keys()
    added = ("place", "gate", "deform.reduce", "upsample_reduce")
    assert not [name for name in names if any(part in name for part in added)]


def test_places_have_codes_of_their_own_at_every_size() -> None:
    small, large = (position_codes(height, width, 64, NOWHERE) for height, width in ((12, 16), (36, 48)))
    nearness = torch.nn.functional.normalize(small, dim=1) @ torch.nn.functional.normalize(small, dim=1).T
    assert (nearness.argmax(dim=1) == torch.arange(12 * 16)).all()
    assert nearness[0, -1] < 0.5 < nearness[0, 1]
    # The middle cell of three by three is where the one cell was.
    torch.testing.assert_close(large.view(36, 48, 64)[1::3, 1::3], small.view(12, 16, 64), atol=1e-4, rtol=0)


def test_two_objects_that_look_the_same_get_other_descriptors_from_their_places() -> None:
    config = preset("toy")
    frames, masks = torch.full((1, 3, 64, 64), 0.3), torch.zeros(1, 2, 64, 64)
    masks[0, 0, 24:40, 8:24], masks[0, 1, 24:40, 40:56] = 1, 1
    apart = {}
    for coded in (True, False):
        torch.manual_seed(0)
        model = Hodor(msgspec.structs.replace(config, position_codes=coded, places=False)).eval()
        model.backbone.requires_grad_(False)
        with torch.no_grad():
            objects, background = reference_masks(masks)
            maps = model.extract(frames)
            flat = maps._replace(stride8=torch.ones_like(maps.stride8))
            a, b = model.encode(flat, objects, background).objects[0]
        apart[coded] = float((a - b).norm())
    assert apart[False] < 1e-4 < 0.1 < apart[True]


def test_codes_keep_the_memory_layout_of_maps() -> None:
    maps = torch.rand(2, 16, 6, 8).contiguous(memory_format=torch.channels_last)
    placed = PositionCodes(16)(maps)
    assert placed.is_contiguous(memory_format=torch.channels_last)
    assert placed.dtype == maps.dtype and PositionCodes(16)(maps.bfloat16()).dtype == torch.bfloat16


def test_a_new_gate_believes_the_cue_as_before_and_a_trained_one_decides_by_place() -> None:
    injection, plain = (
        CueInjection(channels=4, descriptor_channels=8, gate=True),
        CueInjection(channels=4, descriptor_channels=8),
    )
    logits, masks, stride8 = torch.zeros(1, 12, 8, 8), torch.rand(1, 2, 4, 4) / 2, torch.zeros(1, 4, 4, 4)
    cue = Cue(masks, masks.flip(3))
    torch.testing.assert_close(injection.add_to_logits(logits, cue, stride8), plain.add_to_logits(logits, cue, stride8))
    assert isinstance(injection.gate, nn.Conv2d)
    with torch.no_grad():
        injection.gate.weight[:, 0] = -30.0
    stride8[:, 0, :, 2:] = 1.0  # where the map says so, the cue is not believed
    added = injection.add_to_logits(logits, cue, stride8)[:, 10:]
    assert added[..., :2].abs().max() > 0.1 and added[..., 6:].abs().max() < 1e-4


def test_a_narrow_deformable_convolution_equals_the_wide_one_that_it_factors() -> None:
    torch.manual_seed(0)
    wide, narrow = DeformConv(channels=8), DeformConv(channels=8, sampled=3)
    x = torch.rand(1, 8, 10, 12)
    with torch.no_grad():
        wide.offsets.weight.normal_(std=0.1)
        narrow.offsets.load_state_dict(wide.offsets.state_dict())
        assert narrow.reduce is not None
        wide.weight.copy_(torch.einsum("okyx,kc->ocyx", narrow.weight, narrow.reduce.weight.flatten(1)))
        torch.testing.assert_close(narrow(x), wide(x), atol=1e-5, rtol=1e-4)


def test_a_wrong_cue_errs_about_whole_objects_in_every_frame_and_about_nothing_without_a_chance() -> None:
    masks = torch.zeros(4, 2, 8, 8)
    masks[:, 0, 1:4, 1:4], masks[:, 1, 5:8, 4:8] = 0.9, 0.8
    cue = Cue(masks, masks)
    torch.manual_seed(3)
    assert torch.equal(WrongCue.draw(4, 2, 0.0, NOWHERE).apply(cue).previous, masks)
    wrong = WrongCue.draw(4, 2, 1.0, NOWHERE)
    first, again = wrong.apply(cue), wrong.apply(cue)
    assert torch.equal(first.previous, again.previous) and first.previous.sum(dim=1).max() <= 1 + 1e-6
    kinds = torch.stack((wrong.gone, wrong.moved, wrong.swapped))
    assert (kinds.sum(dim=0) == 1).all() and kinds.flatten(1).any(dim=1).all()
    for b, i in wrong.gone.nonzero().tolist():
        assert first.previous[b, i].max() == 0
    for b, i in wrong.swapped.nonzero().tolist():
        overlap = first.previous[b, i] * masks[b, 1 - i]
        assert overlap.sum() > 0
    kept = ~wrong.both
    torch.testing.assert_close(first.reference[kept], masks[kept])


def test_contrast_is_low_where_frames_agree_and_objects_differ() -> None:
    generator = torch.Generator().manual_seed(0)
    objects = torch.randn(3, 2, 32, generator=generator)
    sure = [torch.ones(3, 2, dtype=torch.bool)] * 2
    told_apart = contrast_loss([objects, objects + 0.1 * torch.randn(3, 2, 32, generator=generator)], sure)
    alike = torch.ones(3, 2, 32)
    collapsed = contrast_loss([alike, alike], sure)
    assert told_apart < 0.1 < 2.0 < collapsed
    nobody = [torch.zeros(3, 2, dtype=torch.bool)] * 2
    assert contrast_loss([objects, objects], nobody) == 0
    # What is not sure is neither asked nor in the way.
    unsure = [sure[0], torch.tensor([[True, True], [True, False], [True, True]])]
    assert contrast_loss([objects, objects], unsure).isfinite()


def test_the_self_step_decodes_the_labelled_frame_without_the_cue(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = schedule("self-chain", 0, 3)
    assert [(step.target, step.without_cue) for step in steps] == [(1, False), (2, False), (0, True)]
    compared: list[tuple[list[torch.Tensor], list[torch.Tensor]]] = []
    monkeypatch.setattr(cycles, "contrast_loss", lambda *of_all: compared.append(of_all) or torch.zeros(()))
    objective = Objective(build_model(MINI), supervise="all", contrast=1.0)
    torch.manual_seed(0)
    frames = torch.randint(0, 256, (1, 2, 64, 64, 3), dtype=torch.uint8)
    masks = torch.zeros(1, 2, 64, 64, dtype=torch.uint8)
    masks[..., 8:40, 8:40] = 1
    presence, steps = torch.ones(1, 2, 1, dtype=torch.bool), schedule("self-chain", 0, 2)
    with torch.no_grad():
        with_cue, without = (
            objective(frames, masks, masks < 2, presence, steps, hardship)[1]
            for hardship in (NO_HARDSHIP, Hardship(drop_cue=True))
        )
    assert torch.equal(with_cue[1].logits, without[1].logits)
    assert not torch.equal(with_cue[0].logits, without[0].logits)
    (descriptors, *_), (sure, *_) = compared[0]
    assert sure.all() and descriptors.shape == (1, 1, 256)
