"""3x3 convolutions with a quarter of the multiplications: Winograd's F(4x4, 3x3) (Lavin and Gray, CVPR 2016).

A tile of 4 x 4 outputs needs 6 x 6 = 36 products for each pair of channels instead of 16 * 9 = 144, because the
convolution of a tile is a product of two polynomials, which is fixed by its values at six points. The values are sums
of few pixels, so the products are 36 large matrix products and all the rest is additions. It is the same convolution,
with rounding errors of about 1e-5 of the largest output in float32.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: Outputs and inputs of a tile, per side.
_OUT, _IN = 4, 6
#: Tiles that are transformed at once: with 256 channels 36 values each fill about half of a third-level cache.
_TILES = 256
#: Below these the additions cost more than the multiplications that are saved.
_MIN_CHANNELS, _MIN_PAIRS, _MIN_PIXELS = 64, 128 * 128, 1024
#: Values of the kernel's three taps at the six points 0, 1, -1, 2, -2 and infinity.
_KERNEL_VALUES = (
    (1 / 4, 0, 0), (-1 / 6, -1 / 6, -1 / 6), (-1 / 6, 1 / 6, -1 / 6),
    (1 / 24, 1 / 12, 1 / 6), (1 / 24, -1 / 12, 1 / 6), (0, 0, 1),
)  # fmt: skip


class Conv3x3(nn.Conv2d):
    """A 3x3 convolution, stride 1, padding 1, whose inference in float32 on a CPU goes the short way.

    Parameters are those of `nn.Conv2d`. The transformed kernel is kept and made anew when the weight has changed.
    """

    def __init__(self, inputs: int, outputs: int, *, bias: bool = True) -> None:
        super().__init__(inputs, outputs, 3, padding=1, bias=bias)
        self._kept: tuple[tuple[int, int], Tensor] | None = None

    def forward(self, x: Tensor) -> Tensor:
        return conv3x3_winograd(x, self._kernel(), self.bias) if self._is_short(x) else super().forward(x)

    def _is_short(self, x: Tensor) -> bool:
        """Whether the short way is open: it is written for inference, and other devices have their own."""
        return (
            not torch.compiler.is_compiling()
            and not torch.is_grad_enabled()
            and not torch.is_autocast_enabled("cpu")
            and x.device.type == "cpu"
            and x.dtype == self.weight.dtype == torch.float32
            and min(self.in_channels, self.out_channels) >= _MIN_CHANNELS
            and self.in_channels * self.out_channels >= _MIN_PAIRS
            and x.shape[-2] * x.shape[-1] >= _MIN_PIXELS
        )

    def _kernel(self) -> Tensor:
        # An inference tensor counts no versions; but nothing can train it either.
        version = 0 if self.weight.is_inference() else self.weight._version
        key = (self.weight.data_ptr(), version)
        if self._kept is None or self._kept[0] != key:
            self._kept = (key, transformed_kernel(self.weight))
        return self._kept[1]

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_kept": None}  # a copy makes its own


def transformed_kernel(weight: Tensor) -> Tensor:
    """(O, C, 3, 3) -> (36, C, O): the kernel's values at the 6 x 6 points, x before y."""
    with torch.no_grad():
        values = torch.tensor(_KERNEL_VALUES, dtype=torch.float64)
        kernel = torch.einsum("yi,xj,ocij->xyco", values, values, weight.double())
        return kernel.flatten(0, 1).float().contiguous()


def conv3x3_winograd(x: Tensor, kernel: Tensor, bias: Tensor | None = None) -> Tensor:
    """Convolve x (B, C, H, W) with a 3x3 kernel (36, C, O) from `transformed_kernel`; zeros around the map.

    Returns (B, O, H, W), channels last in memory. Without gradients.
    """
    batch, channels, height, width = x.shape
    rows, columns = -(-height // _OUT), -(-width // _OUT)  # tiles
    outputs = kernel.shape[-1]
    y = x.new_empty(batch, rows * _OUT, columns * _OUT, outputs)
    # Values of a tile stay in the cache from the first addition to the last.
    block = min(rows, max(1, _TILES // columns))
    for sample, y_sample in zip(x.permute(0, 2, 3, 1), y, strict=True):
        for begin in range(0, rows, block):
            count = min(block, rows - begin)
            part = _with_margin(sample, _OUT * begin, _OUT * count, _OUT * columns)
            values = _input_values(part, count, columns)
            made = torch.bmm(values.view(_IN * _IN, count * columns, channels), kernel)
            y_part = y_sample[_OUT * begin : _OUT * (begin + count)]
            _outputs(made.view(_IN, _IN, count, columns, outputs), y_part, bias)
    return y[:, :height, :width].permute(0, 3, 1, 2)


def _with_margin(x: Tensor, first: int, height: int, width: int) -> Tensor:
    """Rows first - 1 .. first + height of x (H, W, C), with a column before and as many after as make width + 2."""
    part = x[max(first - 1, 0) : first + height + 1]
    above = 1 if first == 0 else 0
    return F.pad(part, (0, 0, 1, width + 1 - x.shape[1], above, height + 2 - above - len(part)))


def _input_values(x: Tensor, rows: int, columns: int) -> Tensor:
    """x (4 * rows + 2, 4 * columns + 2, C) -> (6 of x, 6 of y, rows, columns, C): values at the points."""
    by_row = x.new_empty(_IN, rows, x.shape[1], x.shape[2])
    _interpolate([x[i : i + _OUT * rows : _OUT] for i in range(_IN)], by_row)
    values = x.new_empty(_IN, _IN, rows, columns, x.shape[2])
    _interpolate([by_row[:, :, j : j + _OUT * columns : _OUT] for j in range(_IN)], values)
    return values


def _interpolate(taps: Sequence[Tensor], out: Tensor) -> None:
    """Six taps to their values at the six points (the transposed interpolation), into out (6, ...)."""
    d0, d1, d2, d3, d4, d5 = taps
    torch.sub(d4, d2, out=out[0])
    torch.sub(d3, d1, out=out[5])
    torch.add(out[0], out[5], alpha=2, out=out[3])
    torch.sub(out[0], out[5], alpha=2, out=out[4])
    out[0].add_(d0, alpha=4).sub_(d2, alpha=4)
    out[5].mul_(-4).add_(d5).sub_(d3)
    even, odd = torch.sub(d4, d2, alpha=4), torch.sub(d3, d1, alpha=4)
    torch.add(even, odd, out=out[1])
    torch.sub(even, odd, out=out[2])


def _outputs(made: Tensor, y: Tensor, bias: Tensor | None) -> None:
    """made (6 of x, 6 of y, rows, columns, O) -> y (4 * rows, 4 * columns, O), in place."""
    _, _, rows, columns, channels = made.shape
    by_column = made.new_empty(_OUT, _IN, rows, columns, channels)
    _evaluate(made, list(by_column))
    tiles = y.view(rows, _OUT, columns, _OUT, channels).permute(1, 3, 0, 2, 4)
    _evaluate(by_column.transpose(0, 1), list(tiles))
    if bias is not None:
        y += bias


def _evaluate(values: Tensor, out: Sequence[Tensor]) -> None:
    """Values (6, ...) at the six points to the four outputs of a tile, each into its own tensor."""
    v0, v1, v2, v3, v4, v5 = values
    even, odd = v1 + v2, v1 - v2
    even2, odd2 = v3 + v4, v3 - v4
    torch.add(v0, even, out=out[0]).add_(even2)
    torch.add(odd, odd2, alpha=2, out=out[1])
    torch.add(even, even2, alpha=4, out=out[2])
    torch.add(odd, odd2, alpha=8, out=out[3]).add_(v5)
