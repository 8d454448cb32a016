"""Runs the commands that README and the tutorials show, and makes the tutorials' pictures.

    python docs/tutorials.py                    # every page; stops at the first command that fails
    python docs/tutorials.py one-video --pictures   # one page, and update its pictures
    python docs/tutorials.py --files try        # makes the files that the pages use, to try the commands

A page is run in a new folder that holds what `prepare` makes: the demo's clip, masks, photographs in COCO format, a
DAVIS tree. Blocks of ```bash and ```python are run in order; a comment `<!-- not run: reason -->` before a block skips
it. `<!-- picture: FILE[@FRAME] NAME.jpg -->` names the file from which a picture of the page is made; NAME.webp is an
animation.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

DOCS = Path(__file__).parent
ROOT = DOCS.parent
sys.path[:0] = [str(ROOT), str(ROOT / "examples")]
_BLOCK = re.compile(r"(?P<skip><!-- not run: [^>]+ -->\n+)?^```(?P<kind>bash|python)\n(?P<code>.*?)^```$", re.M | re.S)
_PICTURE = re.compile(r"<!-- picture: (?P<file>\S+?)(?:@(?P<frame>\d+))? (?P<name>\S+\.(?:jpg|webp)) -->")
_WIDTH, _QUALITY = 960, 76
_MOVING_WIDTH, _MOVING_QUALITY = 640, 40


@dataclass(frozen=True)
class Block:
    """A block of a page, to be run by its reader."""

    kind: str
    code: str
    skipped: bool


def pages() -> list[Path]:
    """README and the tutorials, in the order in which they are run."""
    return [ROOT / "README.md", *sorted((DOCS / "tutorials").glob("*.md"))]


def blocks(page: Path) -> Iterator[Block]:
    """The blocks of a page that are commands or Python."""
    for found in _BLOCK.finditer(page.read_text(encoding="utf-8")):
        yield Block(found["kind"], found["code"], bool(found["skip"]))


def commands(page: Path) -> Iterator[str]:
    """Every line that begins with `hodor`, up to a `>`, in all blocks of a page, including those that are not run."""
    for block in blocks(page):
        for line in block.code.replace("\\\n", " ").splitlines():
            if line.split(" ")[0] in ("hodor", ".venv/bin/hodor"):
                yield line.split("hodor ", 1)[1].split(" > ")[0]


def run_page(page: Path, folder: Path) -> None:
    """Run a page in a folder. Raises CalledProcessError for the first block that fails."""
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
    }
    for block in blocks(page):
        if block.skipped:
            continue
        print(f"--- {page.name}\n{block.code}", flush=True)
        # README's lines are alternatives: each may write the default result folder again.
        alone = block.kind == "bash" and page.parent == ROOT
        for code in block.code.splitlines() if alone else [block.code]:
            if alone and code.startswith("hodor segment "):
                for result in folder.glob("*.hodor"):
                    shutil.rmtree(result)
            command = ["bash", "-euo", "pipefail", "-c"] if block.kind == "bash" else [sys.executable, "-c"]
            subprocess.run([*command, code], cwd=folder, env=environment, check=True, stdin=subprocess.DEVNULL)


def make_pictures(page: Path, folder: Path) -> None:
    """Make the pictures that a page names from the output of its commands."""
    for found in _PICTURE.finditer(page.read_text(encoding="utf-8")):
        target = DOCS / "pictures" / found["name"]
        target.parent.mkdir(exist_ok=True)
        if target.suffix == ".webp":
            _animate(folder / found["file"], target)
        else:
            _draw(folder / found["file"], found["frame"], target)
        print(f"{target.relative_to(ROOT)}: {target.stat().st_size // 1024} KiB")


def _draw(file: Path, frame: str | None, target: Path) -> None:
    """Save a picture, or a frame of a video, as a small JPEG."""
    import av
    from PIL import Image

    if frame is None:
        picture = Image.open(file).convert("RGB")
    else:
        with av.open(str(file)) as video:
            picture = next(decoded.to_image() for n, decoded in enumerate(video.decode(video=0)) if n == int(frame))
    picture.thumbnail((_WIDTH, 2 * _WIDTH))
    picture.save(target, quality=_QUALITY, optimize=True)


def _animate(file: Path, target: Path) -> None:
    """Save every second frame of a video as an endless animation at its original speed."""
    import av

    with av.open(str(file)) as video:
        pictures = [frame.to_image() for frame in video.decode(video=0)][::2]
        shown = round(2000 / float(video.streams.video[0].average_rate))
    for picture in pictures:
        picture.thumbnail((_MOVING_WIDTH, 2 * _MOVING_WIDTH))
    pictures[0].save(
        target, save_all=True, append_images=pictures[1:], duration=shown, loop=0, quality=_MOVING_QUALITY, method=6
    )


def prepare(folder: Path) -> None:
    """Make everything that the pages use: clips, masks, photographs, a benchmark."""
    from demo_clip import DemoClip, write_clip

    davis = write_clip(folder / "DAVIS", DemoClip(frames=24))
    davis.video.unlink()
    shutil.copytree(davis.masks_folder, folder / "masks" / "demo")
    files = write_clip(folder / "made", DemoClip())
    os.replace(files.video, folder / "clip.mp4")
    shutil.copy(files.first_mask, folder / "first.png")
    shutil.copy(files.masks_folder / "00040.png", folder / "fixed.png")
    (folder / "DAVIS" / "ImageSets" / "2017").mkdir(parents=True)
    (folder / "DAVIS" / "ImageSets" / "2017" / "val.txt").write_text("demo\n")
    _write_masks(folder, files.masks_folder)
    shutil.copytree(files.frames_folder, folder / "frames")
    shutil.copy(folder / "clip.mp4", folder / "new.mp4")
    (folder / "clips").mkdir()
    (folder / "first_masks").mkdir()
    for name, length in (("morning", 24), ("evening", 16)):
        made = write_clip(folder / ".making", DemoClip(frames=length, height=240, width=428), overwrite=True)
        os.replace(made.video, folder / "clips" / f"{name}.mp4")
        shutil.copy(made.first_mask, folder / "first_masks" / f"{name}.png")
    shutil.rmtree(folder / ".making")
    _write_photographs(folder / "photos", files.frames_folder, files.masks_folder)
    shutil.rmtree(folder / "made")


def _write_masks(folder: Path, masks: Path) -> None:
    """Write cat.png and dog.png, one object each, and a folder of two masks."""
    import numpy as np
    from PIL import Image

    for name, frame, object_id in (("cat", 0, 1), ("dog", 40, 2)):
        labels = np.asarray(Image.open(masks / f"{frame:05d}.png"))
        Image.fromarray(((labels == object_id) * object_id).astype(np.uint8)).save(folder / f"{name}.png")
    (folder / "frames_masks").mkdir()
    for name in ("00000.png", "00030.png"):
        shutil.copy(masks / name, folder / "frames_masks" / name)


def _write_photographs(folder: Path, frames: Path, masks: Path) -> None:
    """Write every fourth frame as a photograph in COCO format, labelled by its true masks."""
    import numpy as np
    from PIL import Image
    from pycocotools import mask as coco

    content: dict[str, list[dict[str, object]]] = {"images": [], "annotations": []}
    content["categories"] = [{"id": 1, "name": "astronaut"}, {"id": 2, "name": "cup"}]
    (folder / "images").mkdir(parents=True)
    for number, frame in enumerate(sorted(frames.iterdir())[::4], start=1):
        shutil.copy(frame, folder / "images" / frame.name)
        labels = np.asarray(Image.open(masks / f"{frame.stem}.png"))
        height, width = labels.shape
        content["images"].append({"id": number, "file_name": frame.name, "height": height, "width": width})
        for category in (1, 2):
            runs = coco.encode(np.asfortranarray((labels == category).astype(np.uint8)))
            area = int(coco.area(runs))
            if area:
                content["annotations"].append({
                    "id": len(content["annotations"]) + 1, "image_id": number, "category_id": category, "iscrowd": 0,
                    "area": area, "bbox": [float(side) for side in coco.toBbox(runs)],
                    "segmentation": {"size": [height, width], "counts": runs["counts"].decode()},
                })  # fmt: skip
    (folder / "instances.json").write_text(json.dumps(content))


def main() -> int:
    """Run the pages; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="names of pages without .md; all of them by default")
    parser.add_argument("--pictures", action="store_true", help="update the pages' pictures")
    parser.add_argument("--files", type=Path, metavar="FOLDER", help="make the files that the pages use")
    asked = parser.parse_args()
    if unknown := sorted(set(asked.names) - {page.stem for page in pages()}):
        parser.error(f"there is no page {unknown[0]}; the pages are {', '.join(page.stem for page in pages())}")
    if asked.files:
        if asked.files.exists():
            parser.error(f"{asked.files} exists already; name a new folder")
        asked.files.mkdir(parents=True)
        prepare(asked.files.resolve())
        print(f"Made {asked.files}; continue there: cd {asked.files}")
        return 0
    for page in pages():
        if asked.names and page.stem not in asked.names:
            continue
        with tempfile.TemporaryDirectory(prefix="hodor-tutorial-") as temporary:
            prepare(Path(temporary))
            run_page(page, Path(temporary))
            if asked.pictures:
                make_pictures(page, Path(temporary))
    return 0


if __name__ == "__main__":
    sys.exit(main())
