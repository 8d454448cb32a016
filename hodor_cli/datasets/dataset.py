"""Video data sets on disk, recognised by their layout.

DAVIS         JPEGImages/RES/SEQ/*.jpg  Annotations/RES/SEQ/*.png  [ImageSets/YEAR/SPLIT.txt]
YouTube-VOS   JPEGImages/SEQ/*.jpg      Annotations/SEQ/*.png      meta.json
MOSE, LVOS    JPEGImages/SEQ/*.jpg      Annotations/SEQ/*.png
two folders   images/[SEQ/]*            masks/[SEQ/]*.png
masks only    [SEQ/]*.png               (only to score predictions)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

from hodor_cli.datasets.folders import (
    VideoMeta,
    depth,
    first_folders,
    folders_by_name,
    images_and_masks,
    masks_in,
    pictures_in,
    read_meta,
    require_one_size,
    scored_splits,
    suggestion,
)
from hodor_cli.datasets.labels.decode import LabelReader, is_binary
from hodor_cli.datasets.matching import NameMatch, match_names
from hodor_cli.errors import DataError, HodorError, InputError, UsageError
from hodor_cli.images.paths import as_path, listed, plural, require_exists, visible_folders

Kind = Literal["davis-2016", "davis-2017", "youtube-vos", "davis-like", "plain"]


@dataclass(frozen=True)
class VideoSequence:
    """One video: its images and masks by frame name, in order.

    objects: object id -> names of the frames in which it is labelled; None without a meta.json. groups: object id ->
    "seen" or "unseen". known_truth: whether the masks are ground truth; None to infer it from the masks. folders: the
    folders of images and masks.
    """

    name: str
    images: Mapping[str, Path]
    masks: Mapping[str, Path]
    objects: Mapping[int, frozenset[str]] | None = None
    groups: Mapping[int, str] = field(default_factory=dict)
    known_truth: bool | None = None
    folders: tuple[Path | None, Path | None] = (None, None)

    def __len__(self) -> int:
        return len(self.images) or len(self.masks)

    @property
    def frames(self) -> list[str]:
        """The frame names in order: the images' names, or the masks' names if there are no images."""
        return list(self.images) or list(self.masks)

    @cached_property
    def has_truth(self) -> bool:
        """Whether the masks are ground truth; False if they only show the first frame of each object."""
        if self.known_truth is not None:
            return self.known_truth
        if not self.masks or len(self.masks) >= len(self.images):
            return bool(self.masks)
        reader = LabelReader(self.name, check_edges=False)
        for file in self.masks.values():
            started = bool(reader.ids)
            try:
                if not reader.read(file).new and started:
                    return True
            except HodorError:  # reported when the sequence is scored
                return True
        return False

    @property
    def wanted(self) -> tuple[str, ...]:
        """The frames that the evaluation server wants; empty if it wants all."""
        return tuple(sorted({frame for frames in (self.objects or {}).values() for frame in frames}))

    def check_names(self) -> str:
        """What is wrong with the masks' names (they match no frame, or only by number); "" if nothing is."""
        if not self.images or not self.masks:
            return ""
        match = NameMatch({})
        with suppress(InputError):
            match = match_names(list(self.masks), list(self.images))
        if match.frames and not match.how:
            return ""
        example = f"frames such as {next(iter(self.images))}, masks such as {next(iter(self.masks))}"
        return example + (f" (apparently {match.how}; rename them)" if match.how else "")


@dataclass(frozen=True)
class Dataset:
    """A recognised data set: its layout and its sequences by name. `kind` decides which scoring rules apply. split: the
    list, or lists, that the sequences are from; "" if they were chosen one by one, or if there is none."""

    root: Path
    kind: Kind
    layout: str
    sequences: Mapping[str, VideoSequence]
    notes: tuple[str, ...] = ()
    splits: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    #: Sequences on disk that are not in the chosen split; `select` finds them by name.
    others: Mapping[str, VideoSequence] = field(default_factory=dict)
    split: str = ""

    @property
    def has_truth(self) -> bool:
        """Whether any sequence can be scored."""
        return any(sequence.has_truth for sequence in self.sequences.values())

    def describe(self) -> str:
        """One sentence: the layout, and how many sequences and frames there are."""
        frames = plural(sum(len(sequence) for sequence in self.sequences.values()), "frame")
        truth = "" if self.has_truth else ", truth not public"
        split = f", split {self.split}" if self.split else ""
        return f"{self.root}: {self.layout}{split}, {plural(len(self.sequences), 'sequence')}, {frames}{truth}"

    def select(self, names: Sequence[str] | None) -> Dataset:
        """The data set with only these sequences, in the given order; a split's name stands for its sequences.

        Raises UsageError for an unknown name.
        """
        if names is None:
            return self
        known = {**self.others, **self.sequences}
        chosen: dict[str, VideoSequence] = {}
        for name in names:
            if name in known:
                chosen[name] = known[name]
            elif name in self.splits:
                chosen.update({member: known[member] for member in self.splits[name]})
            else:
                raise UsageError(f"{self.root} has no sequence {name!r}{suggestion(name, [*known, *self.splits])}")
        if not chosen:
            raise UsageError(f"no sequence was named; {self.root} has {listed(known, 8)}")
        split = "" if any(name in known for name in names) else ", ".join(names)
        return replace(self, sequences=chosen, split=split)


def recognise(root: str | Path, *, resolution: str | None = None, masks_needed: bool = True) -> Dataset:
    """Recognise the data set of a folder by its layout.

    resolution: the folder below JPEGImages and Annotations to use if there are several; 480p by default.

    Raises InputError if the folder is missing, DataError if it has no masks or is not a data set (the message says what
    is expected, and where a data set was found instead).
    """
    root = as_path(root, "a data set")
    require_exists(root, "data set")
    if not root.is_dir():
        raise DataError(f"{root} is a file; give the data set's folder")
    images, masks = root / "JPEGImages", root / "Annotations"
    levels = depth(masks) or depth(images)
    meta = read_meta(root) if masks.is_dir() or images.is_dir() else None
    if meta is not None:
        dataset = _youtube_vos(root, meta)
    elif levels == 2:
        dataset = _davis(root, resolution)
    elif levels == 1:
        dataset = Dataset(root, "davis-like", "DAVIS-like without sizes (MOSE, LVOS)", _sequences(images, masks))
    else:
        dataset = _plain(root)
    if masks_needed and not any(sequence.masks for sequence in dataset.sequences.values()):
        raise DataError(f"{root} looks like {dataset.layout} but has no masks; at least every first frame needs one")
    return dataset


def _davis(root: Path, resolution: str | None) -> Dataset:
    masks, images = root / "Annotations", root / "JPEGImages"
    sizes = [folder.name for folder in visible_folders(images) or visible_folders(masks)]
    both = [name for name in sizes if (images / name).is_dir() and (masks / name).is_dir()] or sizes
    if resolution is not None and resolution not in sizes:
        raise DataError(f"there is no folder {images / resolution}; there are {', '.join(sizes)}")
    size = resolution or ("480p" if "480p" in both else min(both, key=lambda name: name.startswith("Full")))
    sequences = _sequences(images / size, masks / size)
    # The first sequence with a non-empty mask decides.
    known = (is_binary(sequence.name, sequence.masks.values()) for sequence in sequences.values())
    binary = bool(next((found for found in known if found is not None), False))
    members, split, remarks = scored_splits(root, "2016" if binary else "2017", sequences)
    notes = [f"{size} is used; there is also {', '.join(n for n in both if n != size)}"] if len(both) > 1 else []
    layout = f"DAVIS {'2016 (one object: 255)' if binary else '2017 (object ids)'} at {size}"
    chosen = sequences if split is None else {name: sequences[name] for name in members[split]}
    others = {name: sequence for name, sequence in sequences.items() if name not in chosen}
    kind: Kind = "davis-2016" if binary else "davis-2017"
    return Dataset(root, kind, layout, chosen, (*notes, *remarks), members, others, split or "")


def _youtube_vos(root: Path, meta: Mapping[str, VideoMeta]) -> Dataset:
    sequences, others = {}, {}
    for name, sequence in _sequences(root / "JPEGImages", root / "Annotations").items():
        if name not in meta:
            others[name] = sequence
            continue
        objects, groups = meta[name]
        starts = {min(frames) for frames in objects.values() if frames}
        truth = bool(sequence.masks) and not set(sequence.masks) <= starts
        sequences[name] = replace(sequence, objects=objects, groups=groups, known_truth=truth)
    lost = [name for name in meta if name not in sequences]
    notes = [f"meta.json names {plural(len(lost), 'video')} that are not on disk, such as {lost[0]}"] if lost else []
    if not sequences:
        raise DataError(f"no video of {root / 'meta.json'} is in {root / 'JPEGImages'}; is the archive unpacked?")
    return Dataset(root, "youtube-vos", "YouTube-VOS", sequences, tuple(notes), others=others)


def _plain(root: Path) -> Dataset:
    images, masks = images_and_masks(root)
    if masks is None and (masks_in(root) or any(masks_in(folder) for folder in visible_folders(root))):
        images, masks = None, root
    if masks is None:
        raise DataError(
            f"{root} is no data set: it needs JPEGImages/SEQUENCE/00000.jpg and Annotations/SEQUENCE/00000.png,"
            f" or a folder of images and one of masks{first_folders(root)}"
        )
    name = root.resolve().name
    # Beside folders of masks, a picture that is no mask, such as a thumbnail, makes no sequence.
    flat = bool(masks_in(masks)) if images is None else not depth(masks)
    if flat and images is not None:
        require_one_size(images)
    sequences = {name: _sequence(name, images, masks)} if flat else _sequences(images, masks)
    layout = f"two folders, {images.name} and {masks.name}" if images is not None else "ground-truth masks only"
    layout += ", read as one clip (wrong for photographs, which have no score)" if flat and images is not None else ""
    return Dataset(root, "plain", layout, sequences)


def _sequences(images: Path | None, masks: Path) -> dict[str, VideoSequence]:
    of_images, of_masks = ({} if images is None else folders_by_name(images)), folders_by_name(masks)
    found = {
        name: _sequence(name, of_images.get(name, images and images / name), of_masks.get(name, masks / name))
        for name in sorted({*of_images, *of_masks})
    }
    return {name: sequence for name, sequence in found.items() if len(sequence)}


def _sequence(name: str, images: Path | None, masks: Path) -> VideoSequence:
    pictures = pictures_in(images) if images is not None else {}
    return VideoSequence(name, pictures, masks_in(masks), folders=(images, masks))
