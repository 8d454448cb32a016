"""Look through a data set before training on it, and report every fault at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from hodor_cli.datasets.limits import ObjectLimits
from hodor_cli.errors import DataError

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Fault:
    """One thing found. kind: what sort ("missing image"), where: file or annotation, detail: the rest of the story.

    serious: training would stop at it or learn from something wrong; otherwise it is only left out.
    """

    kind: str
    where: str
    detail: str = ""
    serious: bool = True


@dataclass
class CheckReport:
    """What `check_dataset` found.

    kind: "coco" or "clips". images: photographs or frames. objects: usable objects. samples: how many photographs or
    labelled frames are left to train on. facts: sentences worth reading that are no faults.
    """

    path: Path
    kind: str
    full: bool
    images: int = 0
    objects: int = 0
    samples: int = 0
    faults: list[Fault] = field(default_factory=list)
    facts: list[str] = field(default_factory=list)

    @property
    def serious(self) -> list[Fault]:
        """The faults that must be mended before training."""
        return [fault for fault in self.faults if fault.serious]

    @property
    def ok(self) -> bool:
        """Whether training can start: nothing serious, and something left to train on."""
        return not self.serious and self.samples > 0

    def add(self, kind: str, where: object, detail: str = "", *, serious: bool = True) -> None:
        """Note one fault."""
        self.faults.append(Fault(kind, str(where), detail, serious))

    def lines(self, examples: int = 3) -> list[str]:
        """The report as text: a headline, then each kind of fault with its number and some examples."""
        what = "photographs" if self.kind == "coco" else "frames"
        head = f"{self.path}: {self.images} {what}, {self.samples} left to train on with {self.objects} objects"
        out = [head, *self.facts]
        kinds = Counter(fault.kind for fault in self.serious)
        kinds.update(fault.kind for fault in self.faults if not fault.serious)
        for kind, count in kinds.items():
            found = [fault for fault in self.faults if fault.kind == kind]
            mark = "fault" if found[0].serious else "left out"
            out.append(f"{mark}: {kind}: {count}")
            out += [f"  {fault.where}{': ' if fault.detail else ''}{fault.detail}" for fault in found[:examples]]
            if count > examples:
                out.append(f"  and {count - examples} more")
        if not self.samples:
            out.append("fault: nothing is left to train on")
        if not self.full:
            out.append("Images and masks themselves were not opened; --full opens every one.")
        return out

    def sentence(self) -> str:
        """All serious faults in one sentence, for an error message; "" when there are none."""
        kinds = Counter(fault.kind for fault in self.serious)
        parts = [f"{kind} ({count}, such as {self._example(kind)})" for kind, count in kinds.items()]
        if not self.samples:
            parts.append("nothing is left to train on within the limits")
        return f"{self.path} cannot be trained on: {', '.join(parts)}; see `hodor data check`." if parts else ""

    def _example(self, kind: str) -> str:
        return next(fault.where for fault in self.faults if fault.kind == kind)


def check_dataset(
    path: str | Path,
    *,
    annotations: str | Path | None = None,
    limits: ObjectLimits | None = None,
    full: bool = False,
    resolution: str | None = None,
    split: str | None = None,
    progress: Progress | None = None,
) -> CheckReport:
    """Check a COCO-format set or a folder of clips and report every fault at once.

    path: the set's folder, or with `annotations` (a COCO file) the folder of its images. full: also open every image
    and every mask; otherwise only names, sizes and numbers are compared. progress(done, total) while files are opened.
    Raises DataError only when `path` is no data set at all, and says what it is instead.
    """
    folder = Path(path)
    limits = limits or ObjectLimits()
    if annotations is not None:
        from hodor_cli.datasets.check_coco import check_coco

        return check_coco(folder, Path(annotations), limits, full=full, progress=progress)
    if not folder.exists():
        raise DataError(f"There is no folder {folder}.")
    if looks_like_clips(folder):
        from hodor_cli.datasets.check_clips import check_clips

        return check_clips(folder, limits, full=full, resolution=resolution, split=split, progress=progress)
    from hodor_cli.datasets.check_coco import check_coco
    from hodor_cli.datasets.coco import find_coco

    try:
        images, file = find_coco(folder)
    except DataError as error:
        raise DataError(explain_folder(folder) or str(error)) from error
    return check_coco(images, file, limits, full=full, progress=progress)


def looks_like_clips(folder: Path) -> bool:
    """Whether the folder has the DAVIS or YouTube-VOS layout, or a part of it."""
    return any((folder / sub / name).is_dir() for sub in ("", "train") for name in ("JPEGImages", "Annotations"))


def explain_folder(folder: Path) -> str:
    """What a folder that is no data set holds instead, and what to do; "" when there is nothing to say."""
    from hodor_cli.datasets.clips import list_images

    if folder.is_file():
        return f"{folder} is a file: name the folder of the data set, or give its images and --annotations."
    if any(folder.glob("*.json")) or any((folder / "annotations").glob("*.json")):
        return ""  # there are annotations: what is wrong with them is better said by whoever read them
    images = list_images(folder)
    if not images:
        inside = [entry for entry in sorted(folder.iterdir()) if entry.is_dir() and list_images(entry)]
        if not inside:
            return ""
        names = ", ".join(entry.name for entry in inside[:3])
        return (
            f"{folder} holds folders of images ({names}) but no annotations: photographs need an instances.json in "
            "COCO format beside them, clips the folders JPEGImages/SEQUENCE and Annotations/SEQUENCE."
        )
    endings = ", ".join(sorted({image.suffix.lower() for image in images}))
    return (
        f"{folder} holds {len(images)} images ({endings}) but nothing that says where objects are: photographs need an "
        f"instances.json in COCO format beside them; frames of a clip belong into JPEGImages/{folder.name}/ with label "
        f"PNGs of the same names in Annotations/{folder.name}/."
    )
