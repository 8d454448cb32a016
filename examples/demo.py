"""Segments a clip that it makes: `make demo`, or `python examples/demo.py`.

Makes a clip with known true masks from photographs that scikit-image ships, follows its two objects from the mask of
the first frame with the bundled weights, scores the result, and says which files to open.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from demo_clip import OBJECT_NAMES, PHOTOGRAPHS, ClipFiles, contact_sheet, save_picture, write_clip

OUT = Path("demo_output")
MOMENTS = (0, 14, 29, 36, 50, 71)


def main() -> int:
    """Run the demo in the current folder; return the exit code."""
    started = time.perf_counter()
    print(f"1. Making a clip with known true masks in {OUT}/ from photographs:")
    for photograph in PHOTOGRAPHS:
        print(f"   {photograph.title} ({photograph.credit})")
    clip = write_clip(OUT, overwrite=True)
    result = OUT / "result"

    command = ["segment", str(clip.video), "--mask", str(clip.first_mask), "-o", str(result), "--overwrite"]
    print(f"\n2. Following the astronaut and the cup from the mask of the first frame:\n   hodor {' '.join(command)}\n")
    sys.stdout.flush()
    code = subprocess.run([sys.executable, "-m", "hodor_cli", *command], check=False).returncode
    if code != 0:
        return code

    print("\n3. Comparing with the true masks (DAVIS measures, 1 is perfect):")
    print_scores(clip, result / "masks")
    save_picture(OUT / "contact_sheet.png", draw_sheet(clip, result / "masks"))

    print(f"\nDone in {time.perf_counter() - started:.0f} s. Open these:")
    print(f"   {OUT / 'contact_sheet.png'}   frames, results and truth at {len(MOMENTS)} moments")
    print(f"   {result / 'overlay.mp4'}   the video with the objects coloured")
    print(f"   {result / 'masks'}/   a mask for every frame; pixel value = object id")
    print(f"   {result / 'review.html'}   the objects over time, and the frames to review")
    print("\nYour own video:   .venv/bin/hodor look VIDEO                     a grid to read the object's box from")
    print("                  .venv/bin/hodor segment VIDEO --box X,Y,WIDTH,HEIGHT")
    return 0


def print_scores(clip: ClipFiles, masks: Path) -> None:
    """Print J, F and J&F of each object and their mean, over all frames except the first and the last."""
    from hodor_cli.evaluation.scoring import score_sequence
    from hodor_cli.images.label_png import read_label_png

    names = sorted(path.name for path in clip.masks_folder.iterdir())
    score = score_sequence(
        (read_label_png(clip.masks_folder / name) for name in names),
        (read_label_png(masks / name) for name in names),
        name="demo",
    )
    print(f"   {'':<14}   J&F      J      F")
    for object_id, of_object in score.objects.items():
        print(f"   {OBJECT_NAMES[object_id]:<14} {of_object.jf:.3f}  {of_object.j:.3f}  {of_object.f:.3f}")
    print(f"   {'mean':<14} {score.jf:.3f}  {score.j:.3f}  {score.f:.3f}")


def draw_sheet(clip: ClipFiles, masks: Path) -> np.ndarray:
    """Frame, result and truth at six moments: the first, the last, and between them the cup half hidden."""
    from PIL import Image

    from hodor_cli.images.label_png import read_label_png
    from hodor_cli.video.overlay import draw_overlay

    frames = sorted(clip.frames_folder.iterdir())
    rows: dict[str, list[np.ndarray]] = {"frame": [], "result": [], "truth": []}
    captions = []
    for index in MOMENTS:
        image = np.asarray(Image.open(frames[index]).convert("RGB"))
        name = f"{frames[index].stem}.png"
        rows["frame"].append(image)
        rows["result"].append(draw_overlay(image, read_label_png(masks / name)))
        rows["truth"].append(draw_overlay(image, read_label_png(clip.masks_folder / name)))
        captions.append(f"frame {index}" + (" (mask given)" if index == 0 else ""))
    return contact_sheet(list(rows.items()), captions)


if __name__ == "__main__":
    sys.exit(main())
