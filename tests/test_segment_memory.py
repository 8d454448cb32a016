"""Peak memory does not grow with the length of the video, measured from an mp4 to the results."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import REPOSITORY, write_video

from hodor_cli.images.label_png import write_label_png

HEIGHT, WIDTH = 120, 160  # large enough that keeping every frame would show

RUN = """
import resource, sys
import torch
torch.set_num_threads(1)
from hodor_cli.run.runner import segment_source
from hodor_cli.run.inputs import RunInputs
from hodor_cli.run.settings import RunOutput, SegmentSettings
from hodor_cli.model import build_model
from hodor_cli.formats.mask_arguments import read_given
from hodor_cli.video.source import open_source

torch.manual_seed(0)
with open_source(sys.argv[1], end=int(sys.argv[4])) as source:
    masks = read_given([sys.argv[2]], source).masks
    settings = SegmentSettings(device="cpu", precision="fp32", min_dim=32, max_dim=64)
    output = RunOutput(checkpoint_seconds=0.2)
    inputs = RunInputs(masks)
    summary = segment_source(source, inputs, sys.argv[3], build_model("toy"), settings=settings, output=output)
assert summary.frames == int(sys.argv[4]), summary.frames
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="resource.getrusage is missing on Windows")
def test_peak_memory_is_the_same_for_60_and_600_frames(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    ground = rng.integers(60, 180, (HEIGHT, WIDTH * 2, 3), dtype=np.uint8)
    labels = np.zeros((HEIGHT, WIDTH), np.uint16)
    labels[30:80, 20:70], labels[60:110, 90:140] = 1, 2

    def frames(count: int):
        for index in range(count):
            frame = ground[:, index % WIDTH : index % WIDTH + WIDTH].copy()
            frame[labels == 1], frame[labels == 2] = (220, 30, 30), (30, 30, 220)
            yield frame

    clip, mask = write_video(tmp_path / "clip.mp4", frames(600)), tmp_path / "mask.png"
    write_label_png(mask, labels)

    def peak(count: int) -> int:
        command = [sys.executable, "-c", RUN, str(clip), str(mask), str(tmp_path / f"out{count}"), str(count)]
        # Otherwise new threads get separate heaps, and their number varies from run to run.
        settings = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"}
        environment = {**os.environ, **settings}
        environment["PYTHONPATH"] = os.pathsep.join([str(REPOSITORY), environment.get("PYTHONPATH", "")])
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
        assert done.returncode == 0, done.stderr
        return int(done.stdout.split()[-1])

    short, long = peak(60), peak(600)
    assert long <= 1.05 * short, f"60 frames: {short / 1024:.0f} MB, 600 frames: {long / 1024:.0f} MB"
