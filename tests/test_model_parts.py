"""The network's parts, each against its definition written out."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from segmenter_fakes import toy_history
from torch import Tensor

from hodor_cli.config import NUM_NON_OBJECT
from hodor_cli.model import History, KeyedMasks, build_model
from hodor_cli.model.background import grid_cells, predicted_masks, reference_masks, to_stride8
from hodor_cli.model.encoder import SoftMaskedAttention, start_of_tokens
from hodor_cli.model.fast.attention import CarriedAttention
from hodor_cli.model.position import sinusoidal_position
from hodor_cli.model.swin import relative_position_index, shifted_window_mask
from hodor_cli.presets import preset
from hodor_cli.runtime.preprocess import Geometry

CPU = torch.device("cpu")


# --- the background grid


@pytest.mark.parametrize(
    ("height", "width", "rows", "columns"),
    [
        (9, 6, [3, 3, 3], [2, 2, 2]),
        (11, 10, [3, 3, 5], [3, 3, 4]),  # the last row and column take the remainder
        (4, 5, [1, 1, 2], [1, 1, 3]),
        (2, 1, [1, 1, 0], [1, 0, 0]),  # fewer pixels than cells: the last stay empty
    ],
)
def test_grid_cells_have_the_sizes_of_the_definition(
    height: int, width: int, rows: list[int], columns: list[int]
) -> None:
    cells = grid_cells(height, width, CPU)
    assert cells.shape == (9, height, width)
    torch.testing.assert_close(cells.sum(dim=0), torch.ones(height, width))  # each pixel in exactly one cell
    found = cells.flatten(1).sum(dim=1).view(3, 3)
    torch.testing.assert_close(found, torch.tensor(rows).float()[:, None] * torch.tensor(columns).float())


def test_grid_cells_are_numbered_row_by_row() -> None:
    owner = grid_cells(6, 9, CPU).argmax(dim=0)
    assert owner[0].tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert owner[:, 0].tolist() == [0, 0, 3, 3, 6, 6]


def test_stride_8_is_the_mean_of_the_middle_pixels() -> None:
    masks = torch.rand(1, 2, 16, 24)
    middle = F.avg_pool2d(masks[..., 3:, 3:], 2, stride=8)
    torch.testing.assert_close(to_stride8(masks), middle)


def test_reference_background_is_cut_at_full_resolution_and_predicted_at_stride_8() -> None:
    masks = torch.zeros(1, 2, 64, 64)
    masks[0, 0, 8:40, 8:40] = 1
    masks[0, 1, 40:64, 0:24] = 1
    objects, background = reference_masks(masks)
    assert objects.shape == (1, 2, 8, 8) and background.shape == (1, 9, 8, 8)
    # 64 // 3 = 21: the middle of the cells at columns 16..23 lies at 19 and 20, still in the first cell of three.
    assert background[0, 0, 0, 2] == 1 and background[0, 1, 0, 3] == 1
    torch.testing.assert_close(objects.sum(dim=1) + background.sum(dim=1), torch.ones(1, 8, 8))
    kept, predicted = predicted_masks(objects)
    assert kept is objects
    # 8 // 3 = 2: the same place belongs to the second cell there.
    assert predicted[0, 0, 0, 2] == 0 and predicted[0, 1, 0, 2] == 1
    torch.testing.assert_close(objects.sum(dim=1) + predicted.sum(dim=1), torch.ones(1, 8, 8))


def test_soft_masks_stay_soft_and_differentiable() -> None:
    soft = torch.rand(1, 2, 6, 6).mul(0.5).requires_grad_()
    _, background = predicted_masks(soft)
    torch.testing.assert_close(background.sum(dim=1), 1 - soft.sum(dim=1))
    background.sum().backward()
    torch.testing.assert_close(soft.grad, -torch.ones(1, 2, 6, 6))


# --- position


def test_position_is_the_formula_of_detr_with_coordinates_from_one() -> None:
    height, width, channels = 3, 5, 16
    found = sinusoidal_position(height, width, channels, CPU).view(height, width, channels)
    for row in range(height):
        for column in range(width):
            for channel in range(channels):
                of_y, i = channel < channels // 2, channel % (channels // 2)
                coordinate, size = (row + 1, height) if of_y else (column + 1, width)
                angle = coordinate / (size + 1e-6) * 2 * math.pi * 10000 ** (-2 * (i // 2) / (channels // 2))
                expected = math.sin(angle) if i % 2 == 0 else math.cos(angle)
                assert found[row, column, channel] == pytest.approx(expected, abs=1e-5)


def test_positions_differ_everywhere_and_rows_share_their_half() -> None:
    found = sinusoidal_position(6, 7, 32, CPU)
    assert torch.pdist(found).min() > 0.05
    by_place = found.view(6, 7, 32)
    assert (by_place[:, :, :16] == by_place[:, :1, :16]).all() and (by_place[:, :, 16:] == by_place[:1, :, 16:]).all()


# --- shifted windows


def test_shifted_windows_see_only_what_was_next_to_them_before_the_shift() -> None:
    window, shift, rows, columns = 4, 2, 2, 3
    height, width = rows * window, columns * window
    mask = shifted_window_mask(rows, columns, window, shift, CPU)
    assert mask.shape == (rows * columns, window**2, window**2)
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")

    def windows(values: Tensor) -> Tensor:
        rolled = torch.roll(values, (-shift, -shift), dims=(0, 1))
        return rolled.view(rows, window, columns, window).transpose(1, 2).reshape(rows * columns, -1)

    own_y, own_x = windows(y), windows(x)
    # Truly neighbouring pixels of one window are less than a window apart; wrapped-around ones are farther.
    near = ((own_y[:, :, None] - own_y[:, None]).abs() < window) & ((own_x[:, :, None] - own_x[:, None]).abs() < window)
    torch.testing.assert_close(mask, torch.where(near, 0.0, -100.0))


def test_a_map_of_one_window_is_masked_too() -> None:
    mask = shifted_window_mask(1, 1, 4, 2, CPU)
    assert (mask == -100).any() and (mask.diagonal(dim1=1, dim2=2) == 0).all()


def test_relative_position_index_counts_offsets_row_by_row() -> None:
    index = relative_position_index(3, CPU)
    assert index.shape == (9, 9) and index.min() == 0 and index.max() == 24
    assert (index.diagonal() == 12).all()  # no offset: the middle of the 5 x 5 table
    assert index[0, 1] == 11 and index[0, 3] == 7  # one to the right; one below


# --- soft-masked attention and the tokens' start


def masked_attention_by_definition(
    attention: SoftMaskedAttention, tokens: Tensor, pixels: Tensor, masks: Tensor
) -> Tensor:
    """Keys and values of every pixel, one head at a time."""
    heads = attention.heads
    width = tokens.shape[-1] // heads
    flat = pixels.transpose(1, 2)
    q, k, v = attention.q_proj(tokens), attention.k_proj(flat), attention.v_proj(flat)
    out = []
    for head in range(heads):
        part = slice(head * width, (head + 1) * width)
        scores = q[..., part] @ k[..., part].transpose(1, 2) / math.sqrt(width)
        scores = scores - attention.scaling_factors[head] * (1 - masks)
        out.append(scores.softmax(dim=-1) @ v[..., part])
    return attention.out_proj(torch.cat(out, dim=-1))


@pytest.mark.parametrize("form", [SoftMaskedAttention, CarriedAttention])
def test_soft_masked_attention_equals_keys_and_values_per_pixel(form: type[SoftMaskedAttention]) -> None:
    torch.manual_seed(1)
    attention = form(channels=32, map_channels=24, heads=4, dropout=0.0).double()
    tokens, pixels = torch.randn(2, 5, 32).double(), torch.randn(2, 24, 30).double()
    masks = torch.rand(2, 5, 30).double().requires_grad_()
    found = attention(tokens, pixels, masks)
    expected = masked_attention_by_definition(attention, tokens, pixels, masks)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)  # the scores are made in float32
    gradient = torch.autograd.grad(found.square().sum(), masks, retain_graph=True)[0]
    by_definition = torch.autograd.grad(expected.square().sum(), masks)[0]
    torch.testing.assert_close(gradient, by_definition, rtol=1e-3, atol=1e-5)
    assert gradient.abs().sum() > 0


def test_heads_start_with_the_published_strengths() -> None:
    strengths = SoftMaskedAttention(channels=64, map_channels=64, heads=8, dropout=0.0).scaling_factors
    assert strengths.tolist() == [32, 32, 16, 16, 8, 8, 4, 4]


def test_attention_with_an_empty_mask_is_attention_to_the_whole_map() -> None:
    torch.manual_seed(2)
    attention = SoftMaskedAttention(channels=16, map_channels=16, heads=2, dropout=0.0)
    tokens, pixels = torch.randn(1, 1, 16), torch.randn(1, 16, 20)
    found = [attention(tokens, pixels, torch.full((1, 1, 20), value)) for value in (0.0, 1.0)]
    torch.testing.assert_close(found[0], found[1], atol=1e-5, rtol=1e-4)


def test_tokens_start_as_the_mean_inside_their_masks() -> None:
    pixels, masks = torch.randn(1, 3, 8), torch.zeros(1, 11, 8)
    masks[0, 8, :2] = 0.6
    masks[0, 9, 2:5] = 1
    masks[0, 10, 5:] = torch.tensor([0.1, 0.4, 0.3])
    start = start_of_tokens(pixels, masks)
    torch.testing.assert_close(start[0, 8], pixels[0, :, :2].mean(dim=-1))
    torch.testing.assert_close(start[0, 9], pixels[0, :, 2:5].mean(dim=-1))
    torch.testing.assert_close(start[0, 10], pixels[0, :, 6])  # nothing above 0.5: the highest pixel


def test_an_empty_background_cell_starts_at_zero_and_an_empty_object_does_not() -> None:
    pixels, masks = torch.randn(1, 3, 8), torch.full((1, 10, 8), 0.2)
    start = start_of_tokens(pixels, masks)
    assert (start[0, :9] == 0).all()
    torch.testing.assert_close(start[0, 9], pixels[0, :, 0])


def test_the_start_of_a_large_object_fits_half_precision() -> None:
    pixels = torch.full((1, 2, 200_000), 3.0, dtype=torch.float16)
    start = start_of_tokens(pixels, torch.ones(1, 1, 200_000, dtype=torch.float16))
    torch.testing.assert_close(start, torch.full((1, 1, 2), 3.0, dtype=torch.float16), rtol=1e-2, atol=0)


# --- the decoder


def test_absent_descriptors_have_no_influence_whatever_stands_in_their_place() -> None:
    model = build_model("toy")
    with torch.inference_mode():
        maps = model.extract(torch.randn(1, 3, 64, 64))
        history = toy_history(3, 2)
        history.has_object[0, 1, 0] = history.has_background[0, 2] = False
        before = model.decode(maps, history)
        history.objects[0, 1, 0] = 100.0
        history.background[0, 2] = -100.0
        torch.testing.assert_close(model.decode(maps, history), before)
        history.objects[0, 1, 1] = 100.0
        assert not torch.allclose(model.decode(maps, history), before)


def test_logits_stay_finite_where_the_history_has_no_background() -> None:
    """Interpolating an infinite logit would make the frame's edge not a number."""
    model = build_model("toy")
    with torch.inference_mode():
        maps = model.extract(torch.randn(1, 3, 64, 64))
        history = toy_history(1, 1)
        history.has_background[:] = False
        logits = model.decode(maps, history)
        assert logits.shape == (1, NUM_NON_OBJECT + 1, 16, 16)
        probabilities = F.interpolate(logits, scale_factor=4, mode="bilinear").softmax(dim=1)
    assert probabilities.isfinite().all()
    assert (probabilities[:, 1:NUM_NON_OBJECT] == 0).all()


def test_exporting_the_network_leaves_it_usable() -> None:
    """While torch exports, tensors are stand-ins; none of them may stay behind in a cache."""

    class Decode(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = build_model("toy")

        def forward(self, frames: Tensor, objects: Tensor, background: Tensor) -> Tensor:
            present = objects.new_ones(objects.shape[:3], dtype=torch.bool)
            history = History(objects, background, present, present[..., 0])
            return self.network.decode(self.network.extract(frames), history)

    history = toy_history(2, 2)
    inputs = (torch.randn(1, 3, 64, 192), history.objects, history.background)
    decode = Decode()
    with torch.no_grad():
        exported = torch.export.export(decode, inputs, strict=False).module()  # strict, PyTorch 2.6 fails
        torch.testing.assert_close(exported(*inputs), decode(*inputs), atol=1e-4, rtol=1e-4)


# --- the whole


@pytest.mark.parametrize("name", ["toy", "mini"])
def test_training_works_at_a_size_that_was_segmented_before(name: str) -> None:
    """Constants cached while segmenting must not be tensors that autograd refuses."""
    model = build_model(name)
    size = (64, 160)  # of no other test: nothing is cached yet

    def loss() -> Tensor:
        maps = model.extract(torch.randn(1, 3, *size))
        soft = torch.full((1, 2, size[0] // 8, size[1] // 8), 0.3, requires_grad=True)
        descriptors = model.encode(maps, *predicted_masks(soft))
        history = History(
            descriptors.objects[:, None],
            descriptors.background[:, None],
            torch.ones(1, 1, 2, dtype=torch.bool),
            torch.ones(1, 1, dtype=torch.bool),
        )
        source = KeyedMasks(maps.keys, soft) if maps.keys is not None else None
        cue = None if source is None else model.match(maps, source, source)
        return model.decode(maps, history, cue).square().mean()

    with torch.inference_mode():
        before = loss()
    assert before.isfinite()
    model.train()
    loss().backward()
    unreached = [name for name, value in model.named_parameters() if value.grad is None]
    assert not unreached


@pytest.mark.parametrize(("size", "scaled", "padded"), [
    ((480, 854), (512, 911), (512, 928)),
    ((480, 1200), (395, 987), (416, 992)),  # the longer side decides
    ((854, 480), (911, 512), (928, 512)),
    ((1, 3000), (1, 987), (32, 992)),
])  # fmt: skip
def test_frames_are_scaled_to_the_working_resolution_and_padded(
    size: tuple[int, int], scaled: tuple[int, int], padded: tuple[int, int]
) -> None:
    config = preset("swin-tiny")
    geometry = Geometry.of(*size, min_dim=config.min_dim, max_dim=config.max_dim)
    assert (geometry.scaled, geometry.padded) == (scaled, padded)


def test_frames_that_are_never_decoded_need_no_fine_map() -> None:
    model = build_model("toy")
    frames = torch.randn(3, 3, 64, 64)
    with torch.no_grad():
        whole, part = model.extract(frames), model.extract(frames, fine_from=2)
    assert part.stride4.shape[0] == 1
    torch.testing.assert_close(part.stride4, whole.stride4[2:])
    torch.testing.assert_close(part.stride8, whole.stride8)
