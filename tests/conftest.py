"""Fixtures for all tests: the development data, small generated videos, and networks with random weights."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

# Before torch or NumPy is imported anywhere: tests are small, and more threads than cores only slow them down.
_processes = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
for _variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_variable, str(max(1, min(2, (os.cpu_count() or 1) // _processes))))
# On a shared machine, threads that spin while they wait take time from the threads they wait for.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# Help texts are compared line by line, so their width is fixed.
os.environ["COLUMNS"] = "100"
os.environ.pop("HODOR_DEBUG", None)
# A shell lets its background jobs ignore Ctrl-C, and so would the processes that tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

import numpy as np
import pytest

if TYPE_CHECKING:
    from hodor_cli.model import Hodor

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def repository() -> Path:
    """Root of the source tree."""
    return REPOSITORY


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The development data (`HODOR_DATA_DIR`, or shared/data next to the source tree); tests skip without them."""
    path = Path(os.environ.get("HODOR_DATA_DIR", REPOSITORY.parent / "shared" / "data"))
    if not path.is_dir():
        pytest.skip(f"development data not found at {path}; set HODOR_DATA_DIR to their folder")
    return path


@pytest.fixture(scope="session")
def reference_dir() -> Path:
    """Results of the authors' network (`HODOR_REFERENCE_DIR`, or reference/ in the data); tests skip without them."""
    data = Path(os.environ.get("HODOR_DATA_DIR", REPOSITORY.parent / "shared" / "data"))
    path = Path(os.environ.get("HODOR_REFERENCE_DIR", data / "reference"))
    if not path.is_dir():
        pytest.skip(f"reference files not found at {path}; set HODOR_REFERENCE_DIR to their folder")
    return path


@pytest.fixture
def one_thread() -> Iterator[None]:
    """PyTorch with one thread, so that results are bit-identical with and without the look-ahead thread."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def write_video(
    path: Path | str,
    frames: Iterable[np.ndarray],
    fps: float = 25.0,
    *,
    codec: str = "libx264",
    pixels: str | None = None,
    times_ms: Sequence[int] | None = None,
    rotate: int | None = None,
    mirror: bool = False,
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
) -> Path:
    """Write (H, W, 3) uint8 RGB frames of one size as an H.264 file and return its path.

    pixels: pixel format; by default yuv420p like most videos, but yuv444p for odd sizes, as H.264 requires. times_ms:
    time of each frame. rotate, mirror: what a player must apply. options: of the codec; the defaults encode quickly and
    with few artefacts.
    """
    import av

    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", options=container_options or {}) as container:
        stream = None
        for index, image in enumerate(frames):
            if stream is None:
                stream = container.add_stream(codec, rate=Fraction(fps).limit_denominator(1001))
                stream.height, stream.width = image.shape[:2]
                even = image.shape[0] % 2 == image.shape[1] % 2 == 0
                stream.pix_fmt = pixels or ("yuv420p" if even else "yuv444p")
                stream.options = {"crf": "12", "preset": "ultrafast"} if options is None else options
                if times_ms is not None:
                    stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
                if rotate is not None:
                    if not hasattr(stream, "set_display_rotation"):
                        pytest.skip("this PyAV cannot write rotation metadata")
                    stream.set_display_rotation(rotate, hflip=mirror)
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            if times_ms is not None:
                frame.pts, frame.time_base = times_ms[index], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        if stream is None:
            raise ValueError("a video needs at least one frame")
        container.mux(stream.encode())
    return path


def moving_square(count: int = 8, height: int = 64, width: int = 96) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """A red square that moves over a textured background: `count` RGB frames and their (H, W) uint8 0/1 masks."""
    rows, columns = np.mgrid[:height, :width]
    ground = np.stack([60 + rows % 40, 110 + columns % 50, 90 + (rows + columns) % 60], -1).astype(np.uint8)
    side = max(8, height // 3)
    frames, masks = [], []
    for index in range(count):
        top = (height - side) // 2 + round(3 * np.sin(index))
        left = 4 + round(index * (width - side - 8) / max(1, count - 1))
        mask = np.zeros((height, width), np.uint8)
        mask[top : top + side, left : left + side] = 1
        frame = ground.copy()
        frame[mask == 1] = (200, 40, 30)
        frames.append(frame)
        masks.append(mask)
    return frames, masks


@pytest.fixture(scope="session")
def toy() -> Hodor:
    """The smallest network, with random weights."""
    from segmenter_fakes import make_model

    return make_model("toy")


@pytest.fixture(scope="session")
def mini() -> Hodor:
    """The architecture that also matches frames, with random weights."""
    from segmenter_fakes import make_model

    return make_model("mini")


@pytest.fixture(params=["toy", "mini"])
def model(request: pytest.FixtureRequest) -> Hodor:
    """Both networks, one after the other."""
    found: Hodor = request.getfixturevalue(request.param)
    return found


def one_sentence(error: pytest.ExceptionInfo[Exception]) -> str:
    """The message; asserts that it is a single line."""
    text = str(error.value)
    assert text and "\n" not in text
    return text
