"""Finds the annotations and the images of a COCO-format set."""

from __future__ import annotations

import os
import unicodedata
from contextlib import suppress
from pathlib import Path, PurePosixPath, PureWindowsPath

from hodor_cli.datasets.parsing import json_keys
from hodor_cli.errors import DataError
from hodor_cli.images.paths import listed, visible_folders
from hodor_cli.images.picture import PICTURE_SUFFIXES

VARIABLE = "HODOR_WORKSPACE_DIR"
_NAME = "coco_2017_train"


def find_coco(folder: Path) -> tuple[Path, Path]:
    """(image folder, annotation file) of a COCO-format folder.

    The annotations are `instances.json`, another single JSON file next to the images, or `annotations/instances*.json`,
    in the folder itself or in `train/`, where Roboflow puts them. Raises DataError if there are none, or several.
    """
    for place in (folder, folder / "train"):
        found = annotation_files(place)
        if len(found) > 1:
            names = listed((path.name for path in found), 4)
            raise DataError(f"{place} has several annotation files ({names}); give one of them, such as {found[0]}")
        if found:
            return place, found[0]
    for sub in visible_folders(folder):
        if found := annotation_files(sub):
            raise DataError(f"{folder} has no COCO annotations itself, but {sub.name}/ has {found[0].name}: give {sub}")
    raise DataError(f"{folder} has no COCO annotations: put an instances.json or annotations/*.json next to the images")


def annotation_files(folder: Path) -> list[Path]:
    """The annotation file of a folder, or several if it is unclear which is meant; empty if there is none."""
    if (folder / "instances.json").is_file():
        return [folder / "instances.json"]
    for pattern in ("annotations/instances*.json", "annotations/*.json", "*.json"):
        if found := [path for path in sorted(folder.glob(pattern)) if path.is_file() and _may_annotate(path)]:
            # COCO keeps its training and validation annotations in one folder; use the training ones.
            training = [path for path in found if "train" in path.stem]
            return training if len(found) > 1 and training else found
    return []


def json_annotations(path: Path) -> tuple[Path | None, frozenset[str]]:
    """A file itself, or the annotation file of a folder, with its `json_keys`; None if there is not exactly one."""
    found = annotation_files(path) if path.is_dir() else [path]
    return (found[0], json_keys(found[0])) if len(found) == 1 else (None, frozenset())


def annotations_beside(file: Path) -> list[Path]:
    """The other files of annotations in the folder of the one that `annotation_files` chose for its folder."""
    if file.suffix.lower() != ".json" or not json_keys(file) & {"images"}:
        return []
    return [one for one in sorted(file.parent.glob("*.json")) if one != file and "images" in json_keys(one)]


def _may_annotate(path: Path) -> bool:
    """Whether a JSON file may annotate many pictures: it has a key of COCO's or Label Studio's, or is damaged."""
    keys = json_keys(path)
    return not keys or bool(keys & {"images", "annotations", "data"})


class ImageFinder:
    """Finds the image files that annotations name, below the folder of a data set.

    A name is relative to that folder or to a sub-folder such as `images` or `train2017`. It may be in any Unicode form
    and have Windows backslashes. A name that leads outside the folder is refused.
    """

    def __init__(self, root: Path) -> None:
        inside = (
            "", "images", "imgs", "img", "image", "train2017", "val2017", "train", "JPEGImages", "images/default",
            "images/train",
        )  # fmt: skip
        self.folders = [root / name for name in inside if (root / name).is_dir()]
        self._names: dict[Path, dict[str, str]] = {}

    def find(self, file_name: str) -> Path | None:
        """The file of that name, or None if it is missing or refused."""
        if self.refusal(file_name):
            return None
        names = dict.fromkeys((file_name, file_name.replace("\\", "/")))
        return next(filter(None, (self._find(folder, name) for name in names for folder in self.folders)), None)

    def hint(self, file_name: str) -> str:
        """What may be wrong with the name of a missing file; "" if nothing is found."""
        stem = PureWindowsPath(file_name).stem.casefold()
        for folder in self.folders:
            self._find(folder, stem)  # lists it
        for names in self._names.values():
            for name in map(Path, names):
                if name.stem.casefold() == stem and name.suffix.lower() in PICTURE_SUFFIXES:
                    return f"{name} is there"
        return "its name has backslashes" if "\\" in file_name else ""

    @staticmethod
    def refusal(file_name: str) -> str:
        """Why a name is refused, for example because it leads outside the folder; "" if it is accepted."""
        windows = PureWindowsPath(file_name)
        if "\0" in file_name:
            return "no file can have this name"
        if windows.drive or windows.root or PurePosixPath(file_name).is_absolute():
            return "it is an absolute path; write it relative to the folder of the images"
        if ".." in windows.parts:
            return "it leads outside the folder of the images; write it relative to that folder"
        return ""

    def _find(self, folder: Path, name: str) -> Path | None:
        """The file called `name` below `folder`. Each folder is listed once, which is faster than looking up files."""
        path = folder / name
        if path.parent not in self._names:
            names: list[str] = []
            with suppress(OSError, ValueError):
                names = os.listdir(path.parent)
            self._names[path.parent] = {unicodedata.normalize("NFC", name): name for name in names}
        actual = self._names[path.parent].get(unicodedata.normalize("NFC", path.name), "")
        return path.with_name(actual) if actual and path.with_name(actual).is_file() else None


def workspace_stills() -> tuple[Path, Path]:
    """(image folder, annotation file) of a workspace set up as the paper's authors describe: the photographs are in
    $HODOR_WORKSPACE_DIR/dataset_images/coco_2017_train, the annotations next to them or in
    $HODOR_WORKSPACE_DIR/dataset_json_annotations/coco_2017_train.json. Raises DataError if they are missing.
    """
    workspace = os.environ.get(VARIABLE, "")
    if not workspace:
        raise DataError(f"there is nothing to train on; give `data`, photographs in COCO format, or set {VARIABLE}")
    images = Path(workspace) / "dataset_images" / _NAME
    if not images.is_dir():
        raise DataError(f"{VARIABLE} names {workspace}, but there is no folder {images}: give `data` FOLDER instead")
    annotations = Path(workspace) / "dataset_json_annotations" / f"{_NAME}.json"
    if annotations.is_file():
        return images, annotations
    try:
        return find_coco(images)
    except DataError as error:
        raise DataError(f"{images} has no annotations; put instances_train2017.json into its annotations/") from error
