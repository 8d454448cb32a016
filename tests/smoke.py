"""python tests/smoke.py: the installed hodor works, its command, its library and a run, from an empty folder."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np


def main() -> int:
    """Run it; return the exit code."""
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        import hodor_cli

        rng = np.random.default_rng(0)
        from PIL import Image

        from hodor_cli.video.h264 import VideoWriter

        Path("clip").mkdir()
        labels = np.zeros((120, 160), np.uint8)
        labels[30:70, 20:60] = 1
        film = VideoWriter("film.mp4", 25)
        for index in range(4):
            picture = rng.integers(90, 120, (120, 160, 3), dtype=np.uint8)
            picture[30:70, 20 + 3 * index : 60 + 3 * index] = (220, 60, 40)
            Image.fromarray(picture).save(f"clip/{index:03d}.png")
            film.write(picture)
        film.close()
        Image.fromarray(labels).save("first.png")
        for command in (
            ["--version"],
            ["info"],
            ["weights", "verify"],
            ["look", "clip", "--mask", "first.png"],
            ["segment", "clip", "--mask", "first.png", "-o", "out"],
            ["segment", "film.mp4", "--mask", "first.png", "--export", "csv,prores,webm"],
        ):
            subprocess.run([sys.executable, "-m", "hodor_cli", *command], check=True, stdout=subprocess.DEVNULL)
        assert {"masks", "overlay.mp4", "report.json", "review.html"} <= {path.name for path in Path("out").iterdir()}
        result = hodor_cli.segment("clip", mask=labels, out="library")
        assert (Path("film.hodor") / "export" / "webm" / "film.webm").is_file()
        assert result.frames == 4 and "data:video/mp4" in result._repr_html_()
        python, place = sys.version.split()[0], Path(hodor_cli.__file__).parent
        print(f"hodor {hodor_cli.__version__} at {place} works on Python {python}")
        os.chdir(Path(folder).parent)
    return 0


if __name__ == "__main__":
    sys.exit(main())
